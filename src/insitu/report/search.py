"""A search as a picture, score against bytes and against energy, and as a table of its front."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from insitu.experiment.front import front
from insitu.report.measure import steps
from insitu.report.palette import RuleStyle, rule_style
from insitu.report.plots import MARKERS, STYLE, figure_of, name_dots, write_figure
from insitu.report.units import UNKNOWN, byte_unit, decimals, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from insitu.experiment.search import SearchResults, Trial

GREY = "#59626d"


@dataclass(frozen=True)
class Cost:
    """What the score is drawn against; ``limit`` is the budget, in the axis' unit."""

    title: str
    of: Callable[[Trial], float]
    limit: float | None


def save_search(results: SearchResults, path: Path) -> Path:
    """Score on validation data against bytes and, where it is known, energy.

    Trials that were stopped are hollow, the front is a line of stairs, the budget a dotted one.

    Raises:
        ConfigError: if the file's suffix is no picture format.
    """
    from matplotlib import rc_context

    costs = _costs(results)
    with rc_context(STYLE):
        figure, axes = figure_of(len(costs))
        lines = [_draw(ax, results, cost) for ax, cost in zip(axes, costs)]
        axes[0].legend(frameon=False, fontsize=9, loc="best")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the names go where the dots are now
        for ax, cost, line in zip(axes, costs, lines):
            best = [results.ended[i] for i in _front(results, cost)]
            names = {t.number: t.name for t in best}
            dots = [(names.get(t.number, ""), cost.of(t), shown(t, results), 0.0) for t in results.scored]
            name_dots(ax, dots, line)
        return write_figure(figure, path)


def _costs(results: SearchResults) -> list[Cost]:
    unit, factor = byte_unit(max(t.peak_bytes for t in results.trials))
    most, energy = results.budget
    found = [Cost(f"peak of a training step ({unit})", lambda t: t.peak_bytes / factor, most / factor)]
    if all(t.energy_uj is not None for t in results.trials):
        found.append(Cost("energy of a training sample (µJ)", lambda t: t.energy_uj or 0.0, energy))
    return found


def _draw(ax: Axes, results: SearchResults, cost: Cost) -> list[tuple[float, float]]:
    """Dots, the budget and the front of one field; the corners of the front."""
    for rule, style in _styles(results).items():
        for stopped in (True, False):
            some = [t for t in results.scored if t.rule == rule and t.stopped == stopped]
            fill = "none" if stopped else style.light
            ax.scatter([cost.of(t) for t in some], [shown(t, results) for t in some], s=36, zorder=3,
                       facecolor=fill, edgecolor=style.light, linewidth=0.8, alpha=0.5 if stopped else 1,
                       marker=MARKERS[style.marker], label=None if stopped else rule)  # fmt: skip
    ax.margins(0.09)
    left, right = ax.get_xlim()
    if cost.limit is not None and left < cost.limit < 1.5 * right:
        ax.axvline(cost.limit, color=GREY, linestyle=":", linewidth=1)
        right = max(right, 1.03 * cost.limit)
    best = [results.ended[i] for i in _front(results, cost)]
    corners = steps([(cost.of(t), shown(t, results)) for t in best], right)
    if corners:
        ax.plot(*zip(*corners), color=GREY, linewidth=1.2, alpha=0.7, zorder=1)
    ax.set_xlim(left, right)
    title = "accuracy on validation data (%)" if results.accuracies else "loss on validation data, negative"
    ax.set(xlabel=cost.title, ylabel=title)
    return corners


def _front(results: SearchResults, cost: Cost) -> list[int]:
    return front([(cost.of(t), t.last or 0.0) for t in results.ended])


def _styles(results: SearchResults) -> dict[str, RuleStyle]:
    """A style per rule, in the order of the search."""
    return {rule: rule_style(i) for i, rule in enumerate(dict.fromkeys(t.rule for t in results.trials))}


def shown(trial: Trial, results: SearchResults) -> float:
    """The last score as it is drawn: an accuracy in per cent."""
    return (trial.last or 0.0) * (100 if results.accuracies else 1)


def print_search(results: SearchResults, console: Console) -> None:
    """The front, from the fewest bytes up, with the command of each point."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in ("point", "bytes", "µJ a sample", "rate", "validation"):
        table.add_column(name, no_wrap=True, justify="left" if name == "point" else "right")
    for t in results.chosen:
        energy = UNKNOWN if t.energy_uj is None else decimals(t.energy_uj)
        score = percent(t.last) if results.accuracies else f"{t.last:.4g}"
        table.add_row(t.name, f"{t.peak_bytes:,}", energy, f"{t.lr:g}", score)
    console.print(table)
    for t in results.chosen:
        console.print(t.command, markup=False, soft_wrap=True)
