"""Learning curves: the mean over the seeds against training samples, with their range as a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from insitu.experiment.record import Row
from insitu.report import svg
from insitu.report.measure import MeanPoint, mean_curve, measure_of
from insitu.report.palette import RuleStyle
from insitu.report.scale import Axis, fit
from insitu.report.scatter import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, y_grid
from insitu.report.units import count_text

MOST_POINTS = 120
"""Points of a curve; longer ones are thinned."""


def thinned(points: list[MeanPoint], limit: int = MOST_POINTS) -> list[MeanPoint]:
    """Evenly spaced points with the first and the last."""
    if len(points) <= limit:
        return points
    last = len(points) - 1
    return [points[round(i * last / (limit - 1))] for i in range(limit)]


def curves(rows: Sequence[Row], styles: Mapping[str, RuleStyle]) -> Markup:
    """The picture of one network."""
    measure = measure_of(rows)
    drawn = [(row.label, points) for row in rows if (points := thinned(mean_curve(row.curves, measure)))]
    x, y = axes([points for _, points in drawn])
    parts = [*y_grid(y, x.start, x.stop, measure.axis), *x_grid(x, y)]
    parts += [band(label, points, styles[label], x, y) for label, points in drawn]
    parts += [line(label, points, styles[label], x, y) for label, points in drawn]
    label = f"{measure.title} against training samples, {len(drawn)} rules"
    return svg.picture(WIDTH, HEIGHT, label, parts, class_="chart curves")


def axes(drawn: Sequence[Sequence[MeanPoint]]) -> tuple[Axis, Axis]:
    """Of all curves together."""
    last = max((p.samples for points in drawn for p in points), default=1)
    values = [value for points in drawn for p in points for value in (p.low, p.high)]
    return Axis(0, 1.02 * last, LEFT, WIDTH - RIGHT), fit(values, HEIGHT - BOTTOM, TOP, pad=0.04)


def x_grid(x: Axis, y: Axis, title: str = "training samples") -> list[Markup]:
    """Vertical lines with their ticks, and the title below."""
    parts = []
    for tick in x.ticks(5):
        parts.append(svg.line(x(tick), y.stop, x(tick), y.start, class_="grid"))
        words = "0" if tick == 0 else f"{tick / 1000:g}k" if x.high >= 5000 else f"{tick:g}"
        words = count_text(tick) if x.high >= 1e6 and tick else words
        parts.append(svg.text(x(tick), y.start + 16, words, "middle", class_="tick"))
    middle = (x.start + x.stop) / 2
    parts.append(svg.text(middle, y.start + 36, title, "middle", class_="title"))
    return parts


def band(label: str, points: Sequence[MeanPoint], style: RuleStyle, x: Axis, y: Axis) -> Markup:
    """From the lowest to the highest seed; nothing where they agree."""
    if len(points) < 2 or all(p.low == p.high for p in points):
        return Markup("")
    edge = [(x(p.samples), y(p.high)) for p in points]
    edge += [(x(p.samples), y(p.low)) for p in reversed(points)]
    return svg.path(edge, close=True, class_=f"band c{style.colour}", data_rule=label)


def line(label: str, points: Sequence[MeanPoint], style: RuleStyle, x: Axis, y: Axis) -> Markup:
    """The mean, with a marker at its end."""
    at = [(x(p.samples), y(p.mean)) for p in points]
    title = svg.tag("title", f"{label}: {points[-1].mean:.2f} after {count_text(points[-1].samples)} samples")
    parts = [svg.path(at, class_=f"l c{style.colour}", stroke_dasharray=style.dash or None)]
    parts.append(svg.marker(*at[-1], style, 4.5, title))
    return svg.group(parts, class_="curve", data_rule=label)


def key(style: RuleStyle) -> Markup:
    """The sample of a rule in a legend: a piece of its line with its marker."""
    stroke = svg.line(1, 7, 27, 7, class_=f"l c{style.colour}", stroke_dasharray=style.dash or None)
    return svg.tag(
        "svg", stroke, svg.marker(14, 7, style, 4.5), viewBox="0 0 28 14", aria_hidden="true", class_="key"
    )
