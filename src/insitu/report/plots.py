"""Picture files of a run and of a comparison, drawn by matplotlib (which is loaded when one is asked for)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insitu.errors import ConfigError
from insitu.experiment.record import Curve, Moment, Results, Row, Spread
from insitu.report.labels import Dot, along, place
from insitu.report.measure import Cost, bytes_cost, measure_of, pareto, steps
from insitu.report.memory import peak_of, samples_of, stacks
from insitu.report.palette import ROLE_COLOURS, RuleStyle, rule_style, rule_styles
from insitu.report.scale import LOG_RANGE, log_ticks
from insitu.report.tables import networks
from insitu.report.units import byte_unit, bytes_text
from insitu.run.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 144
STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": "#59626d",
    "axes.labelcolor": "#1a1d21",
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "grid.color": "#e8ebef",
    "xtick.color": "#59626d",
    "ytick.color": "#59626d",
    "font.size": 10,
    "svg.hashsalt": "insitu",
    "svg.fonttype": "path",
}
MARKERS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D", "cross": "X"}


def save_curves(curves: Sequence[Curve], path: Path) -> Path:
    """Loss and, where there is one, accuracy against training samples; a colour per seed."""
    from matplotlib import rc_context

    scored = any(a is not None for c in curves for a in c.test_accuracy)
    with rc_context(STYLE):
        figure, axes = figure_of(2 if scored else 1)
        for i, curve in enumerate(curves):
            style = rule_style(i)
            _series(axes[0], curve.samples, curve.train_loss, style, f"train, seed {curve.seed}", "--")
            _series(axes[0], curve.samples, curve.test_loss, style, f"test, seed {curve.seed}", "-")
            if scored:
                percent = [None if a is None else 100 * a for a in curve.test_accuracy]
                _series(axes[1], curve.samples, percent, style, f"seed {curve.seed}", "-")
        for ax, title in zip(axes, ("loss", "test accuracy (%)")):
            ax.set(xlabel="training samples", ylabel=title)
            if ax.has_data() and len(curves) <= 8:
                ax.legend(frameon=False, fontsize=9)
        return write_figure(figure, path)


def save_memory(timeline: Sequence[Moment], path: Path) -> Path:
    """Live bytes by role over the ops of one training step."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure, (ax,) = figure_of(1)
        draw_memory(ax, timeline)
        return write_figure(figure, path)


def draw_memory(ax: Axes, timeline: Sequence[Moment], title: str = "", *, top: int | None = None) -> None:
    """The memory picture in a field; ``top``: bytes at its upper end, the same for pictures to be compared."""
    samples = samples_of(timeline, limit=2000)
    peak = peak_of(samples)
    unit, factor = byte_unit(top or (peak.bytes.total if peak else 1))
    edges = [s.first + 0.5 for s in samples] + [len(timeline) + 0.5]
    floor = [0.0] * len(samples)
    for role, above in stacks(samples).items():
        tops = [value / factor for value in above]
        ax.stairs(tops, edges, baseline=floor, fill=True, color=ROLE_COLOURS[role][0], label=role)
        floor = tops
    words = f"peak {bytes_text(peak.bytes.total)}: {peak.name}" if peak else "no ops"
    ax.set(xlabel="ops of one training step", ylabel=f"live bytes ({unit})")
    ax.set_title(f"{title}: {words}" if title else words)
    ax.locator_params(axis="x", integer=True)
    if top is not None:
        ax.set_ylim(0, 1.05 * top / factor)
    if peak:
        ax.set_xlim(edges[0], edges[-1])
        handles, names = ax.get_legend_handles_labels()
        ax.legend(handles[::-1], names[::-1], frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def save_overview(results: Results, path: Path, cost: CostOf = bytes_cost) -> Path:
    """Accuracy against what a training step takes, a dot per rule, one field per network; the Pareto front is named.

    Args:
        cost: makes the axis of a network's rows: bytes, or energy, over inference.

    Raises:
        ConfigError: if the results hold no rows with such a cost, or the file's suffix is no picture format.
    """
    from matplotlib import rc_context

    fields = {name: [row for row in results.rows if row.network == name] for name in networks(results)}
    costs = {name: cost(rows) for name, rows in fields.items()}
    if not fields or None in costs.values():
        raise ConfigError(
            "there is nothing to draw: the results hold no such rows; run 'insitu compare' first"
        )
    styles = rule_styles(results.rows)
    with rc_context(STYLE):
        figure, axes = figure_of(len(fields))
        for ax, (name, rows) in zip(axes, fields.items()):
            _overview(ax, rows, _known(costs[name]), styles)
        _legend(figure, axes[0], results)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the names go where the dots are now
        for ax, (name, rows) in zip(axes, fields.items()):
            _name_front(ax, rows, _known(costs[name]))
        return write_figure(figure, path)


CostOf = Callable[[Sequence[Row]], Cost | None]
MOST_IN_LEGEND = 16
"""Rules that a legend names; of more, only the front is named."""


def _known(cost: Cost | None) -> Cost:
    assert cost is not None
    return cost


def _legend(figure: Figure, ax: Axes, results: Results) -> None:
    """Every rule with its marker, beside the fields."""
    handles, names = ax.get_legend_handles_labels()
    if len(names) <= MOST_IN_LEGEND:
        figure.legend(handles, names, frameon=False, loc="outside right center", fontsize=9)


def figure_of(fields: int, *, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with ``rows`` of ``fields`` fields, and those fields row by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(6.2 * fields if fields > 1 else 7.2, 4.3 * rows), layout="constrained", facecolor="white"
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, fields, squeeze=False)
    return figure, list(grid.flat)


def write_figure(figure: Figure, path: Path) -> Path:
    kind = path.suffix.removeprefix(".").lower()
    if kind not in ("png", "svg", "pdf"):
        raise ConfigError(f"picture {path} has no known format; end its name in .png, .svg or .pdf")
    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    buffer = BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI, metadata=dated.get(kind))
    write_atomic(path, buffer.getvalue())
    return path


def _series(
    ax: Axes, x: Sequence[int], y: Iterable[float | None], style: RuleStyle, label: str, dash: str
) -> None:
    known = [(a, b) for a, b in zip(x, y) if b is not None]
    if known:
        marker = MARKERS[style.marker] if len(known) <= 40 else None
        ax.plot(
            *zip(*known), dash, color=style.light, label=label, marker=marker, markersize=4, linewidth=1.5
        )


def _overview(ax: Axes, rows: Sequence[Row], cost: Cost, styles: dict[str, RuleStyle]) -> None:
    """Dots, whiskers, front and axes of one network; the dot of a row with a warning is hollow."""
    measure = measure_of(rows)
    ax.margins(0.09)
    ax.axvline(1, color="#59626d", linestyle=":", linewidth=1, zorder=1)
    for row in rows:
        if (spread := measure.of(row)) is not None and (taken := cost.of(row)) is not None:
            style, hollow = styles[row.label], bool(row.warning)
            label = f"{row.label} ({row.warning})" if hollow else row.label
            at = (taken, measure.factor * spread.mean, measure.factor * spread.sd)
            ax.errorbar(*at, color=style.light, fmt=MARKERS[style.marker], markersize=7, capsize=2.5, label=label,
                        markerfacecolor="white" if hollow else style.light, zorder=3, elinewidth=1.2,
                        markeredgecolor=style.light if hollow else "white", markeredgewidth=0.7)  # fmt: skip
    taken_by_all = [1.0, *(found for row in rows if (found := cost.of(row)) is not None)]
    if min(taken_by_all) > 0 and max(taken_by_all) / min(taken_by_all) > LOG_RANGE:
        _log_axis(ax)
    if front := _front(ax, rows, cost):
        ax.set_xlim(ax.get_xlim())
        ax.plot(*zip(*front), color="#59626d", linewidth=1.2, alpha=0.7, zorder=1)
    ax.set(xlabel=cost.title, ylabel=measure.axis, title=rows[0].network)
    spot: Any = {"xy": (1, 0.015), "xycoords": ("data", "axes fraction")}
    ax.annotate("inference", xytext=(4, 2), textcoords="offset points", fontsize=8.5, color="#59626d", **spot)


def _front_dots(rows: Sequence[Row], cost: Cost) -> list[tuple[Row, float, Spread]]:
    """Rows of the front with their costs and scores."""
    measure = measure_of(rows)
    found = [(row, cost.of(row), measure.of(row)) for row in pareto(rows, measure, cost)]
    return [(row, taken, spread) for row, taken, spread in found if taken is not None and spread is not None]


def _front(ax: Axes, rows: Sequence[Row], cost: Cost) -> list[tuple[float, float]]:
    """Corners of the Pareto front, up to the right end of the axis."""
    factor = measure_of(rows).factor
    points = [(taken, factor * spread.mean) for _, taken, spread in _front_dots(rows, cost)]
    return steps(points, ax.get_xlim()[1])


def _log_axis(ax: Axes) -> None:
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    ticks = log_ticks(low, high)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xticks([], minor=True)


def _name_front(ax: Axes, rows: Sequence[Row], cost: Cost) -> None:
    times = measure_of(rows).factor
    named = [(r.label, taken, times * s.mean, times * s.sd) for r, taken, s in _front_dots(rows, cost)]
    name_dots(ax, named, _front(ax, rows, cost))


Named = tuple[str, float, float, float]
"""A dot: its name, x and y, and the half length of its whisker."""


def name_dots(ax: Axes, named: Sequence[Named], line: Sequence[tuple[float, float]]) -> None:
    """Names beside the dots and off a line, placed in points, y downwards, as :mod:`insitu.report.labels` wants it."""
    from matplotlib.patheffects import withStroke

    points = 72 / ax.figure.dpi
    height = ax.bbox.y1 * points
    dots = []
    for name, at_x, at_y, reach in named:
        x, y = ax.transData.transform((at_x, at_y)) * points
        up = ax.transData.transform((at_x, at_y + reach))[1] * points
        dots.append(Dot(x, height - y, 5.2 * len(name) + 2, 12, up - y))
    corners = [ax.transData.transform(at) * points for at in line]
    avoid = along([(x, height - y) for x, y in corners])
    spots = place(dots, (ax.bbox.x0 * points, 0, ax.bbox.x1 * points, height - ax.bbox.y0 * points), avoid)
    halo = withStroke(linewidth=2.5, foreground="white")
    for (name, at_x, at_y, _), dot, spot in zip(named, dots, spots):
        leader = {"arrowstyle": "-", "color": "#59626d", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
        ax.annotate(
            name.replace("$", r"\$"), xy=(at_x, at_y),
            xytext=(spot.x - dot.x, dot.y - spot.y), textcoords="offset points",
            ha="center", va="center", fontsize=9, zorder=4, path_effects=[halo],
            arrowprops=leader if spot.line else None,
        )  # fmt: skip
