"""Picture files of a run and of a comparison, drawn by matplotlib (which is loaded when one is asked for)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insitu.errors import ConfigError
from insitu.experiment.record import Curve, Moment, Results, Row
from insitu.report.labels import Dot, along, place
from insitu.report.measure import measure_of, pareto, steps
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


def save_overview(results: Results, path: Path) -> Path:
    """Accuracy against peak bytes, a dot per rule, one field per network: the picture for a README.

    Raises:
        ConfigError: if the results hold no rows, or the file's suffix is no picture format.
    """
    from matplotlib import rc_context

    if not results.rows:
        raise ConfigError("there is nothing to draw: the results hold no rows; run 'insitu compare' first")
    styles = rule_styles(results.rows)
    with rc_context(STYLE):
        names = networks(results)
        figure, axes = figure_of(len(names))
        for ax, network in zip(axes, names):
            _overview(ax, [row for row in results.rows if row.network == network], styles)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the names go where the dots are now
        for ax, network in zip(axes, names):
            _name_dots(ax, [row for row in results.rows if row.network == network])
        return write_figure(figure, path)


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


def _overview(ax: Axes, rows: Sequence[Row], styles: dict[str, RuleStyle]) -> None:
    """Dots, whiskers, front and axes of one network."""
    measure = measure_of(rows)
    sizes = [n for row in rows for n in (row.peak_bytes.total, row.inference_bytes)]
    unit, factor = _unit(rows)
    ax.margins(0.09)
    ax.axvline(rows[0].inference_bytes / factor, color="#59626d", linestyle=":", linewidth=1, zorder=1)
    for row in rows:
        if (spread := measure.of(row)) is not None:
            style = styles[row.label]
            at = (row.peak_bytes.total / factor, measure.factor * spread.mean, measure.factor * spread.sd)
            ax.errorbar(*at, color=style.light, fmt=MARKERS[style.marker], markersize=7, capsize=2.5,
                        markeredgecolor="white", markeredgewidth=0.7, elinewidth=1.2, zorder=3)  # fmt: skip
    if min(sizes) > 0 and max(sizes) / min(sizes) > LOG_RANGE:
        _log_axis(ax)
    if front := _front(ax, rows):
        ax.set_xlim(ax.get_xlim())
        ax.plot(*zip(*front), color="#59626d", linewidth=1.2, alpha=0.7, zorder=1)
    ax.set(xlabel=f"peak of a training step ({unit})", ylabel=measure.axis, title=rows[0].network)
    spot: Any = {"xy": (rows[0].inference_bytes / factor, 0.015), "xycoords": ("data", "axes fraction")}
    ax.annotate("inference", xytext=(4, 2), textcoords="offset points", fontsize=8.5, color="#59626d", **spot)


def _front(ax: Axes, rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Corners of the Pareto front, up to the right end of the axis."""
    measure = measure_of(rows)
    factor = _unit(rows)[1]
    front = [(row, spread) for row in pareto(rows, measure) if (spread := measure.of(row))]
    points = [(row.peak_bytes.total / factor, measure.factor * spread.mean) for row, spread in front]
    return steps(points, ax.get_xlim()[1])


def _unit(rows: Sequence[Row]) -> tuple[str, int]:
    return byte_unit(max(n for row in rows for n in (row.peak_bytes.total, row.inference_bytes)))


def _log_axis(ax: Axes) -> None:
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    ticks = log_ticks(low, high)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xticks([], minor=True)


def _name_dots(ax: Axes, rows: Sequence[Row]) -> None:
    measure = measure_of(rows)
    factor, times = _unit(rows)[1], measure.factor
    scored = [(row, spread) for row in rows if (spread := measure.of(row))]
    named = [(r.label, r.peak_bytes.total / factor, times * s.mean, times * s.sd) for r, s in scored]
    name_dots(ax, named, _front(ax, rows) if scored else [])


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
