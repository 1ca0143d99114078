"""Pictures and tables of what learning costs: memory over the ops of a step, and a sweep over points."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insitu.errors import ConfigError
from insitu.escape import csv_cell
from insitu.experiment.impact import Impact, timelines
from insitu.experiment.impact_table import COLUMNS
from insitu.report.palette import RULE_COLOURS
from insitu.report.plots import STYLE, draw_memory, figure_of, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = (*"osD^vP*Xd<>ph8H+x1234|_", *(f"${c}$" for c in "abcdefghijkmn"))
"""Of rules, in their order."""


def save_memory_views(impacts: Sequence[Impact], path: Path) -> Path:
    """Live bytes by role over the ops of a step: a row per rule, the executed and the emitted program side by side."""
    from matplotlib import rc_context

    panels = [
        (f"{i.point.name}, {view}", timeline)
        for i in impacts
        for view, timeline in zip(("fused", "eager"), timelines(i))
    ]
    top = max((m.bytes.total for _, timeline in panels for m in timeline), default=1)
    with rc_context(STYLE):
        figure, axes = figure_of(2, rows=len(impacts))
        for ax, (title, timeline) in zip(axes, panels):
            draw_memory(ax, timeline, title, top=top)
        return write_figure(figure, path)


def sweep_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as comma-separated values; what is unknown is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def save_sweep(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Energy against memory, a field per target, a colour per precision, a mark per rule; the front is drawn.

    Raises:
        ConfigError: no point has a peak.
    """
    from matplotlib import rc_context

    shown = [row for row in rows if row["peak_bytes"] is not None]
    if not shown:
        raise ConfigError("there is nothing to draw: every point was refused; see the reasons in sweep.csv")
    targets = list(dict.fromkeys(row["target"] for row in shown))
    with rc_context(STYLE):
        columns = min(3, len(targets))
        figure, axes = figure_of(columns, rows=-(-len(targets) // columns))
        for ax, target in zip(axes, targets):
            _field(ax, [row for row in shown if row["target"] == target], shown)
        for ax in axes[len(targets) :]:
            ax.set_visible(False)
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
        return write_figure(figure, path)


def _field(ax: Axes, rows: Sequence[Mapping[str, Any]], every: Sequence[Mapping[str, Any]]) -> None:
    """One target."""
    rules = list(dict.fromkeys(row["rule"] for row in every))
    precisions = list(dict.fromkeys(row["precision"] for row in every))
    key = "energy_pj" if any(row["energy_pj"] is not None for row in rows) else "cycles"
    for i, precision in enumerate(precisions):
        colour = RULE_COLOURS[i % len(RULE_COLOURS)][0]
        ax.plot([], [], "s", color=colour, label=precision)
        for row in rows:
            if row["precision"] == precision and row[key] is not None:
                mark = MARKS[rules.index(row["rule"]) % len(MARKS)]
                fill = "none" if row["refused"] else colour
                ax.plot(row["peak_bytes"] / 1024, _scaled(row, key), mark, mec=colour, mfc=fill, ms=5)
    for rule in rules:
        ax.plot([], [], MARKS[rules.index(rule) % len(MARKS)], color="#59626d", label=rule, mfc="none")
    front = _front(
        [(row["peak_bytes"] / 1024, _scaled(row, key)) for row in rows if row[key] and not row["refused"]]
    )
    if front:
        ax.step(*zip(*front), where="post", color="#59626d", linewidth=1, zorder=0)
    unit = "energy per sample (µJ)" if key == "energy_pj" else "cycles per sample"
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="peak of a training step (KiB)",
        ylabel=unit,
        title=rows[0]["target"],
    )


def _scaled(row: Mapping[str, Any], key: str) -> float:
    return float(row[key]) / (1e6 if key == "energy_pj" else 1)


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points that no other beats in both, from the fewest bytes up."""
    front: list[tuple[float, float]] = []
    for point in sorted(points):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front
