"""Backends from outside, found by their entry points: one prints, one trains with the bits of the torch executor."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from insitu.backends import protocol
from insitu.cli import main
from insitu.errors import ConfigError
from insitu.run import checkpoint

FOLDER = Path(__file__).parents[2] / "examples" / "new_backend"
RUN = ["train", "--data", "digits", "--network", "mlp-64-12-10", "--rule", "drtp", "--epochs", "2"]
RUN += ["--batch", "8", "--set", "limit_train=30", "--set", "limit_test=20", "--set", "schedule.kind=cosine"]
INTEGERS = ["--precision", "edge-latent-free-8"]


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example as ``pip install`` leaves it: on the path, with the entry points of its pyproject.toml."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    place = tmp_path / "site" / "insitu_new_backend-1.0.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    entries = [f"{name} = {target}" for name, target in project["entry-points"]["insitu.backends"].items()]
    (place / "entry_points.txt").write_text("\n".join(["[insitu.backends]", *entries]) + "\n")
    for folder in (FOLDER, place.parent):
        monkeypatch.syspath_prepend(str(folder))
    protocol._makers.cache_clear()
    yield
    protocol._makers.cache_clear()
    for name in [n for n in sys.modules if n.startswith(("insitu_graph", "insitu_stepwise"))]:
        del sys.modules[name]


def trained(folder: Path, *words: str) -> Path:
    assert main([*RUN, *words, "--out", str(folder)]) == 0
    return folder


def test_both_are_known_by_name() -> None:
    assert {*protocol.names()} >= {"c", "graph", "stepwise"}


def test_the_engine_trains_with_the_bits_of_torch(tmp_path: Path) -> None:
    mine, theirs = (trained(tmp_path / e, *INTEGERS, "--engine", e) for e in ("stepwise", "torch"))
    ours, other = (checkpoint.load(folder / "checkpoint.pt").state for folder in (mine, theirs))
    assert ours.keys() == other.keys()
    assert all(
        torch.equal(ours[name], other[name]) and ours[name].dtype == other[name].dtype for name in ours
    )
    with np.load(mine / "parameters.npz") as a, np.load(theirs / "parameters.npz") as b:
        assert all(np.array_equal(a[name], b[name]) for name in b.files)
    results = [json.loads((folder / "result.json").read_text())["curve"] for folder in (mine, theirs)]
    assert results[0].pop("train_loss") == [None, None] and None not in results[1].pop("train_loss")
    assert results[0] == results[1]


@pytest.mark.parametrize("words", [INTEGERS, []], ids=["integers", "reals"])
def test_the_drawing_has_every_op(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = trained(tmp_path / "run", *words), tmp_path / "graph"
    capsys.readouterr()
    assert main(["export", "graph", str(run), "-o", str(out), "--formats", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["ops"]
    for name, count in counts.items():
        text = (out / f"{name}.dot").read_text()
        assert text.count("shape=box") == count > 0
        assert ("s0.7" in text or "s8" in text or "u" in text) if words else "f32" in text


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([*RUN, *INTEGERS, "--engine", "graph"], "backend graph writes projects but runs nothing"),
        ([*RUN, "--engine", "stepwise"], "engine stepwise computes in integers"),
        ([*RUN, "--engine", "rust"], "engine is unknown; use one of torch, c, graph, microcode"),
    ],
)
def test_what_cannot_run_is_one_line(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and reason in error and not (tmp_path / "run").exists()


def test_an_engine_alone_writes_no_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(tmp_path / "run", *INTEGERS)
    capsys.readouterr()
    assert main(["export", "stepwise", str(run), "-o", str(tmp_path / "out")]) == 2
    assert "backend stepwise writes no project" in capsys.readouterr().err


def test_check_asks_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "mlp-64-12-10", *INTEGERS, "--backend", "stepwise"]) == 0
    assert main(["check", "mlp-64-12-10", "--backend", "stepwise"]) == 1
    assert main(["check", "mlp-64-12-10", "--backend", "graph"]) == 0
    assert "works on reals" in capsys.readouterr().out


def test_a_script_registers_one_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(protocol.Backend):
        name = "mine"

    monkeypatch.setattr(protocol, "_registered", {})
    protocol.register(Mine())
    assert "mine" in protocol.names() and isinstance(protocol.find("mine"), Mine)
    with pytest.raises(
        ConfigError, match=r"backend 'yours' is unknown; use one of c, graph, .*mine, .*stepwise"
    ):
        protocol.find("yours")
