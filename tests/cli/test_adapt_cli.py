"""``insitu adapt`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from insitu.cli import main

SHORT = ["adapt", "--rules", "frozen,bp,etch", "--limit", "30", "--every", "15", "--seeds", "1", "--quiet"]
SHORT += ["--set", "rates=[0.01]", "--set", "pretrain.epochs=2"]


def test_a_run_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a"
    assert main([*SHORT, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "new domain %" in shown and all(rule in shown for rule in ("frozen", "bp", "etch"))
    stored = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert [row["label"] for row in stored["rows"]] == ["frozen", "bp", "etch"]
    # a rule of the defaults keeps its options
    assert stored["config"]["rules"][2]["precision"]["error_exponent"] == "static"
    assert "Old domain" in (out / "report.html").read_text(encoding="utf-8")
    assert main([*SHORT, "--out", str(out)]) == 2
    assert "pass --resume" in capsys.readouterr().err
    assert main([*SHORT, "--out", str(out), "--resume", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["rows"] == stored["rows"]


def test_a_network_of_ones_own_and_a_stored_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    net = "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), "
    Path("net.py").write_text(net + "nn.Linear(12, 10))\n", encoding="utf-8")
    words = [*SHORT, "--network", "net.py:make", "--jobs", "2"]
    assert main([*words, "--out", "a", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["network"] == "net.py:make"
    assert main(["adapt", "a/adapt.yaml", "--out", "b", "--json", "--quiet"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert [row["old"] for row in again["rows"]] == [row["old"] for row in first["rows"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["adapt", "new-planet"], "is unknown; use one of rotated"),
        (["adapt", "rotated", "--regime", "sudden"], "regime"),
        (["adapt", "--rules", "bq"], "rule 'bq' is unknown"),
        (["adapt", "--target", "nowhere"], "nowhere"),
        (["adapt", "--start", "nothing.npz"], "there is no nothing.npz"),
        (["adapt", "new-class", "--network", "mlp-64-32-9"], "has 9 outputs"),
    ],
)
def test_refusals(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--out", str(tmp_path / "a"), "--set", "pretrain.epochs=1"]) == 2
    assert message in capsys.readouterr().err
