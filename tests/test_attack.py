"""The first cases of every kind of attack; benchmarks/attack.py goes on for as long as it is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SHORT = [
    "run-folder",
    "meaning",
    "results",
    "start",
    "race",
    "yaml",
    "set",
    "flags",
    "names",
    "arrays",
    "bombs",
]
LONG = ["kill-train", "kill-compare", "cache", "programs"]
BY_HAND = ["kill-grid", "kill-reproduce"]
"""A minute each."""


def attacked(folder: Path, kinds: list[str], *words: str) -> dict[str, Any]:
    """The report of an attack, in a process that has not used its threads: it forks."""
    command = [sys.executable, str(ROOT / "benchmarks" / "attack.py"), "--kinds", ",".join(kinds), *words]
    done = subprocess.run(
        [*command, "--out", str(folder / "attack.json")],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((folder / "attack.json").read_text())
    return found


@pytest.mark.parametrize("kinds, cases", [(SHORT, 4), (LONG, 1)], ids=["damage and text", "kills and caches"])
def test_no_case_finds_a_fault(tmp_path: Path, kinds: list[str], cases: int) -> None:
    found = attacked(tmp_path, kinds, "--cases", str(cases))
    assert found["faults"] == 0 and found["cases"] == cases * len(kinds)


def test_the_kinds_are_all_here() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "attack.py"), "--kinds", "nothing"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    told = done.stderr.rpartition("there are ")[2].strip().split(", ")
    assert set(told) == {*SHORT, *LONG, *BY_HAND}
