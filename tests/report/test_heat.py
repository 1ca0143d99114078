"""The heat map and the table of a grid, from results without training."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image
from rich.console import Console

from insitu.errors import ConfigError
from insitu.experiment.grid import Bits, Cell, GridResults
from insitu.report import heat
from insitu.report.heat import grid_markdown, print_grid, save_heat
from tests.report import factory

COLUMNS = [
    *(Bits(w, a, r) for a in ("4", "8") for r in ("latent", "latent-free") for w in ("1", "t", "8")),
    Bits("32", "32", None),
]
REASON = "precision 'w1a4' is not for rule drtp; use 2 bits or more"


def cell(rule: str, bits: Bits, mean: float, **more: Any) -> Cell:
    runs: dict[str, Any] = {
        "seeds": list(factory.SEEDS),
        "points": [f"{rule}{bits.text}{seed}" for seed in factory.SEEDS],
        "test_accuracy": factory.spread(mean),
        "test_loss": factory.spread(1 - mean),
        "seconds": 1.5,
        "curves": [factory.curve(seed, mean) for seed in factory.SEEDS],
    }
    return Cell(
        rule=rule,
        label=rule,
        rule_options={},
        precision=bits.text,
        weight_bits=bits.weights,
        act_bits=bits.activations,
        regime=bits.regime,
        **({} if "refused" in more else runs) | more,
    )


@pytest.fixture(scope="module")
def grid() -> GridResults:
    """Three rules; drtp at w1a4 is refused, pred at w1a4 diverged with one seed."""
    rows = [
        cell(rule, bits, 0.5 + 0.1 * i + 0.01 * j)
        for i, rule in enumerate(("bp", "drtp", "pred"))
        for j, bits in enumerate(COLUMNS)
    ]
    rows[13] = cell("drtp", COLUMNS[0], 0, refused=REASON)
    rows[26] = cell("pred", COLUMNS[0], 0.1, diverged=1)
    return GridResults(
        insitu="0.1.0",
        created="2026-11-24T07:29:00+00:00",
        command="insitu grid",
        environment={},
        config={"network": "mlp-64-64-10", "data": "digits", "batch": 32, "seeds": 3},
        rows=rows,
    )


def drawn(grid: GridResults, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The axes of the map."""
    figures: list[Any] = []
    monkeypatch.setattr(heat, "write_figure", lambda figure, path: figures.append(figure) or path)
    save_heat(grid, Path("x.png"))
    return figures[0].axes[0]


def test_a_cell_says_its_accuracy_in_per_cent(grid: GridResults, monkeypatch: pytest.MonkeyPatch) -> None:
    ax = drawn(grid, monkeypatch)
    texts = {tuple(round(v) for v in text.get_position()): text.get_text() for text in ax.texts}
    assert texts[0, 0] == "50.0" and texts[12, 2] == "82.0"
    assert texts[0, 2] == "10.0†"
    assert (0, 1) not in texts and len(texts) == len(grid.rows) - 1
    hatched = [patch.get_xy() for patch in ax.patches if patch.get_hatch()]
    assert [(round(x + 0.48), round(y + 0.46)) for x, y in hatched] == [(0, 1)]


def test_rows_are_rules_and_columns_weight_bits_in_groups(
    grid: GridResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    ax = drawn(grid, monkeypatch)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["bp", "drtp", "pred"]
    assert [t.get_text() for t in ax.get_xticklabels()] == [bits.weights for bits in COLUMNS]
    above = [t.get_text().replace("\n", ", ") for t in ax.child_axes[0].get_xticklabels()]
    assert above == [
        *("latent, 4-bit act.", "latent-free, 4-bit act.", "latent, 8-bit act.", "latent-free, 8-bit act."),
        "float32",
    ]
    assert ax.get_xlabel() == "weight bits\nhatched: refused; †: a seed diverged"


def test_more_accuracy_is_more_colour(grid: GridResults, monkeypatch: pytest.MonkeyPatch) -> None:
    ax = drawn(grid, monkeypatch)
    blue = {
        (round(p.get_x() + 0.48), round(p.get_y() + 0.46)): sum(p.get_facecolor()[:3])
        for p in ax.patches
        if not p.get_hatch()
    }
    assert blue[0, 2] > blue[0, 0] > blue[1, 0] > blue[12, 2]


def test_files(grid: GridResults, tmp_path: Path) -> None:
    with Image.open(save_heat(grid, tmp_path / "heat.png")) as image:
        assert min(image.size) > 300
    first = save_heat(grid, tmp_path / "a.svg").read_bytes()
    assert first == save_heat(grid, tmp_path / "b.svg").read_bytes()
    assert ElementTree.fromstring(first).tag.endswith("svg")


def test_one_cell_no_accuracy_and_a_hostile_name(grid: GridResults, tmp_path: Path) -> None:
    losses = {"test_accuracy": None, "curves": [], "label": "$x_{<script>"}
    for change in (losses, losses | {"test_loss": None}):
        one = grid.model_copy(update={"rows": [grid.rows[0].model_copy(update=change)]})
        save_heat(one, tmp_path / "heat.png")
        assert "&lt;script" in grid_markdown(one)


def test_the_table_has_every_cell_once_and_the_reasons_below(grid: GridResults) -> None:
    stream = StringIO()
    print_grid(grid, Console(file=stream, width=80))
    lines = stream.getvalue().splitlines()
    assert sum(line.split()[:2] == ["drtp", "w1a4"] for line in lines) == 1
    assert all(sum(line.split()[:2] == [c.label, c.precision] for line in lines) == 1 for c in grid.rows)
    assert any("10.00 ± 0.40 †" in line for line in lines)
    below = " ".join(" ".join(lines[-6:]).split())
    assert f"drtp at w1a4 refused: {REASON}" in below
    assert "† pred at w1a4: 1 of 3 seeds diverged" in below
    assert "…" not in stream.getvalue()


def test_markdown(grid: GridResults) -> None:
    text = grid_markdown(grid)
    assert text.startswith("**mlp-64-64-10 on digits, batch 32, 3 seeds**\n\n| rule | precision |")
    assert text.count("\n| ") == len(grid.rows) + 2
    assert "| drtp | w1a4 | 1 | 4 | latent | refused | – |" in text
    assert f"\n- drtp at w1a4 refused: {REASON}\n" in text


def test_one_reason_is_told_once(grid: GridResults) -> None:
    both = {"refused": REASON, "points": []}
    rows = [c.model_copy(update=both) if c.label != "pred" and c.weight_bits == "1" else c for c in grid.rows]
    text = grid_markdown(grid.model_copy(update={"rows": rows}))
    assert f"\n- bp, drtp at w1a4, w1a4-free, w1a8, w1a8-free refused: {REASON}\n" in text


def test_refusals(grid: GridResults, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.png, \.svg or \.pdf"):
        save_heat(grid, tmp_path / "x.docx")
    with pytest.raises(ConfigError, match="run 'insitu grid' first"):
        save_heat(grid.model_copy(update={"rows": []}), tmp_path / "x.png")


def test_matplotlib_is_loaded_only_when_needed() -> None:
    code = "import insitu.report.heat, sys; sys.exit('matplotlib' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
