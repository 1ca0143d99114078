"""The notebooks of the docs: their code runs, and what they show is what it gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells_of(path: Path) -> list[dict[str, Any]]:
    """The cells of code, each with its ``source`` and ``outputs``."""
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def printed(path: Path, folder: Path) -> str:
    """What the cells print, one after the other in a process of their own, without a kernel."""
    script = folder / "notebook.py"
    script.write_text("\n".join("".join(cell["source"]) for cell in cells_of(path)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore:FigureCanvasAgg", str(script)],
        env=os.environ | {"MPLBACKEND": "agg"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def stored(path: Path) -> str:
    """What a notebook keeps of that."""
    outputs = [out for cell in cells_of(path) for out in cell["outputs"]]
    assert not [out for out in outputs if out["output_type"] == "error" or out.get("name") == "stderr"]
    return "".join("".join(out["text"]) for out in outputs if out["output_type"] == "stream")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_code_runs(path: Path, tmp_path: Path) -> None:
    """Words are compared, and all numbers where nothing is trained: accuracies may differ between machines."""
    found, kept = printed(path, tmp_path), stored(path)
    assert kept, f"{path.name} was not executed: run scripts/notebooks.py"
    if path.stem == "size-a-chip":
        assert found == kept, "run scripts/notebooks.py"
    assert _words(found) == _words(kept), "run scripts/notebooks.py"


def _words(text: str) -> list[str]:
    return [word for word in text.split() if word.isalpha()]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_names_nothing_of_this_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text) < 60_000 and "/home/" not in text and "/tmp/" not in text and "site-packages" not in text
