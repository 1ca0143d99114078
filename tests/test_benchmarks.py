"""The scripts of `benchmarks/` can be started: what they import is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = """
import importlib, pathlib, sys
sys.path.insert(0, "benchmarks")
for path in sorted(pathlib.Path("benchmarks").glob("*.py")):
    importlib.import_module(path.stem)
    print(path.name)
"""


def test_every_script_is_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {path.name for path in (ROOT / "benchmarks").glob("*.py")}
