from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from insitu.errors import ConfigError
from insitu.experiment.record import Results
from insitu.report import plots
from insitu.report.measure import ACCURACY, energy_cost, pareto
from insitu.report.plots import save_curves, save_memory, save_overview
from insitu.report.tables import networks
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


def drawn(results: Results, path: Path, **more: Any) -> str:
    """The texts of a picture."""
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none"}):
        plots.STYLE["svg.fonttype"] = "none"
        try:
            return save_overview(results, path, **more).read_text()
        finally:
            plots.STYLE["svg.fonttype"] = "path"


def front(results: Results) -> set[str]:
    """Labels on the front of any network."""
    fields = [[row for row in results.rows if row.network == name] for name in networks(results)]
    return {row.label for rows in fields for row in pareto(rows, ACCURACY)}


def test_only_the_front_is_named_and_a_legend_says_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: set[str] = set()
    monkeypatch.setattr(plots, "name_dots", lambda _ax, dots, _line: named.update(dot[0] for dot in dots))
    few = factory.results(rules=factory.RULES[:5])
    text = drawn(few, tmp_path / "few.svg")
    assert named == front(few) < {row.label for row in few.rows} and all(
        row.label in text for row in few.rows
    )
    many = factory.results(rules=[f"rule{n:02d}" for n in range(20)])
    assert not [row.label for row in many.rows if row.label in drawn(many, tmp_path / "many.svg")]


def test_a_picture_of_energy(results: Results, tmp_path: Path) -> None:
    rows = [
        row.model_copy(update={"hardware": factory.hardware(1e6 * (i + 1), i + 1.0)})
        for i, row in enumerate(results.rows)
    ]
    text = drawn(results.model_copy(update={"rows": rows}), tmp_path / "e.svg", cost=energy_cost)
    assert "energy of a learned sample on stm32l4r5-c" in text
    with pytest.raises(ConfigError, match="no such rows"):
        save_overview(results, tmp_path / "none.png", energy_cost)


def test_a_dot_at_chance_is_said_to_be(tmp_path: Path) -> None:
    few = factory.changed(factory.results(rules=factory.RULES[:3]), 0, majority=0.99, tested=100)
    assert f"{few.rows[0].label} (chance)" in drawn(few, tmp_path / "c.svg")


def test_refusals(results: Results, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.png, \.svg or \.pdf"):
        save_overview(results, tmp_path / "x.docx")
    with pytest.raises(ConfigError, match="insitu compare"):
        save_overview(results.model_copy(update={"rows": []}), tmp_path / "x.png")


def test_matplotlib_is_loaded_only_when_needed() -> None:
    code = "import insitu.report.plots, insitu.report.page, sys; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
