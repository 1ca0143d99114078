"""Network files that a configuration names run after a yes; results come out on any code page."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from insitu.cli import main

NET = """from pathlib import Path
from torch import nn
Path(__file__).with_name("ran").touch()

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""
TINY = ("--epochs", "1", "--batch", "8", "--set", "limit_train=16", "--set", "limit_test=8", "--quiet")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration and a network file that somebody handed on."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    Path("config.yaml").write_text("network: net.py:make\ndata: digits\nbatch: 8\n")
    Path("given").mkdir()
    Path("given/config.yaml").write_text("network: net.py:make\ndata: digits\nbatch: 8\n")
    Path("compare.yaml").write_text("networks: [net.py:make]\ndata: digits\n")
    for name in ("grid.yaml", "adapt.yaml"):
        Path(name).write_text("network: net.py:make\ndata: digits\n")
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("train", "config.yaml", "--out", "r"),
        ("train", "config.yaml", "--out", "r", "--set", "rule=dfa"),
        ("check", "."),
        ("check", "given/config.yaml"),
        ("export", "c", "given/config.yaml", "-o", "c"),
        ("compare", "compare.yaml", "--out", "r"),
        ("grid", "grid.yaml", "--out", "r"),
        ("adapt", "adapt.yaml", "--out", "r"),
    ],
    ids=" ".join,
)
def test_a_file_that_a_configuration_names_is_not_run(
    words: tuple[str, ...], elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(list(words)) == 2
    said = capsys.readouterr().err
    assert "names the network file" in said and "--trust" in said and "--network net.py:make" in said
    assert not Path("ran").exists() and not Path("r").exists()


def test_a_yes_holds_for_the_file_as_it_is(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = ["check", "given/config.yaml"]
    assert main([*check, "--trust"]) == 0
    assert Path("ran").exists()
    assert main(check) == 0
    Path("net.py").write_text(NET.replace("64, 10", "64, 10, bias=False"))
    assert main(check) == 2
    Path("net.py").write_text(NET)
    assert main(check) == 0
    Path("parts.py").write_text("")
    assert main(check) == 2


def test_the_configuration_of_the_working_folder_is_the_users_own(elsewhere: Path) -> None:
    assert main(["check", "config.yaml"]) == 0
    assert Path("ran").exists()


def test_an_own_run_goes_on_without_asking(elsewhere: Path) -> None:
    assert main(["train", "--network", "net.py:make", "--out", "r", *TINY]) == 0
    assert main(["train", "--out", "r", "--resume", "--quiet"]) == 0
    assert main(["check", "r"]) == 0


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "latin-1"])
def test_results_come_out_on_any_code_page(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["show", "rule", "etch"]) == 0
        assert main(["list", "rules"]) == 0
        stream.flush()
        said = raw.getvalue().decode(encoding)
    assert "etch" in said and ("?" in said or encoding != "ascii")
