from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from insitu.errors import ConfigError
from insitu.experiment.record import Results
from insitu.report.plots import save_curves, save_memory, save_overview
from tests.report import factory


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        colours = image.convert("RGB").resize((64, 64)).getcolors(64 * 64)
        assert len(colours) > 5, "an empty picture"
        return image.size


def test_png_files(results: Results, tmp_path: Path) -> None:
    row = results.rows[-1]
    assert min(size(save_curves(row.curves, tmp_path / "curves.png"))) > 400
    assert min(size(save_memory(row.timeline, tmp_path / "memory.png"))) > 400
    assert min(size(save_overview(results, tmp_path / "overview.png"))) > 400


def test_a_run_without_finite_numbers_has_pictures_too(tmp_path: Path) -> None:
    curve = factory.curve(1, 0.9, points=3)
    lost = curve.model_copy(
        update={"test_accuracy": [None] * 3, "test_loss": [None] * 3, "train_loss": [None] * 3}
    )
    save_curves([lost], tmp_path / "curves.png")
    save_curves([], tmp_path / "none.png")
    save_memory([], tmp_path / "memory.png")


def test_the_overview_is_the_same_svg_every_time(results: Results, tmp_path: Path) -> None:
    hostile = factory.changed(results, 0, label="$x_{<script>")
    first = save_overview(hostile, tmp_path / "a.svg").read_bytes()
    assert first == save_overview(hostile, tmp_path / "b.svg").read_bytes()
    assert ElementTree.fromstring(first).tag.endswith("svg")
    assert not [p for p in tmp_path.iterdir() if p.suffix not in (".svg",)]


def test_refusals(results: Results, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.png, \.svg or \.pdf"):
        save_overview(results, tmp_path / "x.docx")
    with pytest.raises(ConfigError, match="insitu compare"):
        save_overview(results.model_copy(update={"rows": []}), tmp_path / "x.png")


def test_matplotlib_is_loaded_only_when_needed() -> None:
    code = "import insitu.report.plots, insitu.report.page, sys; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
