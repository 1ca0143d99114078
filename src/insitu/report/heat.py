"""A grid as a heat map, a row per rule and a column per precision, and as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from insitu.errors import ConfigError
from insitu.escape import markdown
from insitu.report.measure import Measure, measure_of
from insitu.report.palette import ROLE_COLOURS
from insitu.report.plots import STYLE, write_figure
from insitu.report.tables import table_line
from insitu.report.units import UNKNOWN, decimals, spread_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from insitu.experiment.grid import Cell, GridResults

PALE, FULL, INK = "#f3f7fb", ROLE_COLOURS["weight"][0], "#1a1d21"
DARK = 0.75
"""From this share of the full colour on, white is easier to read than ink."""

DIVERGED = "†"
HATCH = "////"
WIDTH, HEIGHT = 0.66, 0.42
"""Inches of a cell."""

TEXTS = (0, 1, 4)
"""Columns of the table that hold words."""


def save_heat(results: GridResults, path: Path) -> Path:
    """Mean accuracy (or loss) over the seeds as colour and number; a refused cell is hatched, ``†``: a seed diverged.

    Raises:
        ConfigError: if the results hold no rows, or the file's suffix is no picture format.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not results.rows:
        raise ConfigError("there is nothing to draw: the results hold no rows; run 'insitu grid' first")
    labels = list(dict.fromkeys(cell.label for cell in results.rows))
    columns = list({cell.precision: cell for cell in results.rows}.values())
    with rc_context(STYLE):
        width = max(2.9 + WIDTH * len(columns), 1 + 0.1 * len(_title(results)))
        figure = Figure(figsize=(width, 1.7 + HEIGHT * len(labels)), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        ax = figure.subplots()
        _cells(ax, results.rows, labels, [cell.precision for cell in columns])
        _axes(ax, labels, columns)
        ax.set_title(_title(results))
        ax.set_xlabel("\n".join(filter(None, ["weight bits", _legend(results.rows)])))
        return write_figure(figure, path)


def _cells(ax: Axes, rows: Sequence[Cell], labels: list[str], precisions: list[str]) -> None:
    """Colours, numbers and the colour bar."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.patches import Rectangle

    measure = measure_of(rows)
    ends = [PALE, FULL] if measure.higher else [FULL, PALE]
    colours = LinearSegmentedColormap.from_list("accuracy", ends)
    known = [measure.factor * spread.mean for cell in rows if (spread := measure.of(cell))]
    norm = Normalize(min(known, default=0), max(known, default=1))
    for cell in rows:
        x, y = precisions.index(cell.precision), labels.index(cell.label)
        box: dict[str, Any] = {"facecolor": "white", "edgecolor": "#c9ced5", "hatch": HATCH, "linewidth": 0}
        if not cell.refused:
            spread = measure.of(cell)
            share = float(norm(measure.factor * spread.mean)) if spread else 0.0
            dark = spread and (share if measure.higher else 1 - share) > DARK
            box = {"facecolor": colours(share) if spread else "white", "linewidth": 0}
            ax.text(
                x, y, _number(cell, measure), color="white" if dark else INK, fontsize=9,
                ha="center", va="center",
            )  # fmt: skip
        ax.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, **box))
    bar = ax.figure.colorbar(ScalarMappable(norm, colours), ax=ax, label=measure.axis, pad=0.02)
    bar.outline.set_visible(False)


def _number(cell: Cell, measure: Measure) -> str:
    spread = measure.of(cell)
    digits = 1 if measure.factor == 100 else measure.digits
    shown = f"{measure.factor * spread.mean:.{digits}f}" if spread else UNKNOWN
    return shown + (DIVERGED if cell.diverged else "")


def _axes(ax: Axes, labels: list[str], columns: Sequence[Cell]) -> None:
    """Rules from the top, weight bits below, regime and activation bits above each group of columns."""
    ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(labels) - 0.5, -0.5))
    ax.set_xticks(range(len(columns)), [cell.weight_bits for cell in columns])
    ax.set_yticks(range(len(labels)), [label.replace("$", r"\$") for label in labels])
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    middles, names, start = [], [], 0
    for (acts, regime), group in groupby(columns, key=lambda cell: (cell.act_bits, cell.regime)):
        count = len(list(group))
        middles.append(start + (count - 1) / 2)
        names.append(f"{regime}\n{_bits(acts)}" if regime else "float32")
        start += count
        if start < len(columns):
            ax.axvline(start - 0.5, color="#59626d", linewidth=0.8)
    above = ax.secondary_xaxis("top")
    above.set_xticks(middles, names, fontsize=8.5)
    above.tick_params(length=0)
    above.spines[:].set_visible(False)


def _bits(activations: str) -> str:
    return f"{activations}-bit act."


def _legend(rows: Sequence[Cell]) -> str:
    """What the marks mean that are there."""
    marks = []
    if any(cell.refused for cell in rows):
        marks.append("hatched: refused")
    if any(cell.diverged for cell in rows):
        marks.append(f"{DIVERGED}: a seed diverged")
    return "; ".join(marks)


def _title(results: GridResults) -> str:
    c = results.config
    return f"{c['network']} on {c['data']}, batch {c['batch']}, {c['seeds']} seed" + "s" * (c["seeds"] != 1)


def _columns(rows: Sequence[Cell]) -> list[tuple[str, Callable[[Cell], str]]]:
    """Title and text of every column of the table."""
    measure = measure_of(rows)
    title = f"{measure.title.removeprefix('test ')} {measure.unit}".rstrip()

    def score(cell: Cell) -> str:
        if cell.refused:
            return "refused"
        shown = spread_text(measure.of(cell), measure.factor, measure.digits)
        return f"{shown} {DIVERGED}" if cell.diverged else shown

    return [
        ("rule", lambda cell: cell.label),
        ("precision", lambda cell: cell.precision),
        ("weights", lambda cell: cell.weight_bits),
        ("act.", lambda cell: cell.act_bits),
        ("regime", lambda cell: cell.regime or UNKNOWN),
        (title, score),
        ("s", lambda cell: UNKNOWN if cell.seconds is None else decimals(cell.seconds)),
    ]


def grid_table(results: GridResults) -> Table:
    """A row per rule and precision: bits of weights and activations, and the mean training time of a seed."""
    table = Table(title=Text(_title(results)), box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    columns = _columns(results.rows)
    for i, (title, _) in enumerate(columns):
        table.add_column(title, justify="left" if i in TEXTS else "right", no_wrap=True)
    for cell in results.rows:
        style = "dim" if cell.refused else "yellow" if cell.diverged else None
        table.add_row(*(Text(text(cell)) for _, text in columns), style=style)
    return table


def _notes(results: GridResults) -> list[str]:
    """What was refused, rules and precisions with one reason together, and what diverged."""
    refused: dict[tuple[str, str], list[str]] = {}
    for cell in results.rows:
        if cell.refused:
            refused.setdefault((cell.refused, cell.label), []).append(cell.precision)
    together: dict[tuple[str, str], list[str]] = {}
    for (reason, label), precisions in refused.items():
        together.setdefault((reason, ", ".join(precisions)), []).append(label)
    lines = [f"{', '.join(labels)} at {at} refused: {reason}" for (reason, at), labels in together.items()]
    return lines + [
        f"{DIVERGED} {cell.label} at {cell.precision}: {cell.diverged} of {len(cell.points)} seeds diverged"
        for cell in results.rows
        if cell.diverged
    ]


def print_grid(results: GridResults, console: Console) -> None:
    """Prints the table, and under it why cells were refused and which diverged."""
    console.print(grid_table(results))
    for note in _notes(results):
        console.print(Text(note, style="yellow"))


def grid_markdown(results: GridResults) -> str:
    """The same in Markdown, under its title in bold."""
    columns = _columns(results.rows)
    lines = [f"**{markdown(_title(results))}**", "", table_line([title for title, _ in columns])]
    lines.append(table_line([":---" if i in TEXTS else "---:" for i in range(len(columns))]))
    lines += [table_line([markdown(text(cell)) for _, text in columns]) for cell in results.rows]
    notes = [f"- {markdown(note)}" for note in _notes(results)]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"
