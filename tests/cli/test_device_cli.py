"""``insitu device`` with a device on this machine: what docs/device.md shows."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from insitu.cli import main

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the device needs gcc")


def test_a_run_is_evaluated_and_goes_on_learning_on_a_device(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, project, state = tmp_path / "a", tmp_path / "c", tmp_path / "state.bin"
    words = "train --data digits --network mlp-64-32-10 --rule drtp --precision edge-latent-free-8 --batch 1 --lr 0.02"
    assert main([*words.split(), "--epochs", "1", "--engine", "c", "--out", str(run), "-q"]) == 0
    assert main(["export", "c", str(run), "-o", str(project), "-q"]) == 0
    subprocess.run(["make", "-s", "-C", str(project), "device/insitu-device"], check=True)
    port = ["device", "--port", f"exec:{project / 'device' / 'insitu-device'}"]

    def asked(*words: str) -> dict[str, float]:
        capsys.readouterr()
        assert main([*port, *words, str(run), "--json"]) == 0
        found: dict[str, float] = json.loads(capsys.readouterr().out)
        return found

    told = json.loads((run / "result.json").read_text())
    found = asked("evaluate")
    assert found["accuracy"] == pytest.approx(told["test_accuracy"])
    assert asked("learn", "--samples", "7")["step"] == found["step"] + 7
    assert len(asked("infer", "--samples", "3")["classes"]) == 3  # type: ignore[arg-type]
    assert main([*port, "save", str(state)]) == 0 and main([*port, "load", str(state)]) == 0
    other = [*port, "evaluate", str(run), "--batch", "2"]
    assert main(other) == 2 and "runs program" in capsys.readouterr().err
