"""Accuracy against peak bytes: a dot per rule, its spread over the seeds, and the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from insitu.experiment.record import Row, Spread
from insitu.report import svg
from insitu.report.labels import Box, Dot, Place, along, place
from insitu.report.measure import Measure, measure_of, pareto, steps
from insitu.report.palette import RuleStyle
from insitu.report.scale import Axis, fit
from insitu.report.units import byte_unit, bytes_text

WIDTH, HEIGHT = 580.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 16.0, 16.0, 44.0

Scored = list[tuple[Row, Spread]]


def scatter(rows: Sequence[Row], styles: Mapping[str, RuleStyle]) -> Markup:
    """The picture of one network; rows without a score are left out."""
    measure = measure_of(rows)
    scored: Scored = [(row, spread) for row in rows if (spread := measure.of(row))]
    x, y = _axes(rows, scored, measure)
    front = _front(rows, measure, x, y)
    parts = [*frame(x, y, measure), _inference(rows, x)]
    parts += [svg.path(front, class_="front")] if front else []
    parts += [_whisker(row, spread, styles[row.label], measure, x, y) for row, spread in scored]
    named = [(row, spread) for row in pareto(rows, measure) if (spread := measure.of(row))]
    parts += _names(named, measure, x, y, along(front))
    parts += [_dot(row, spread, styles[row.label], measure, x, y) for row, spread in scored]
    label = f"{measure.title} against peak bytes of a training step, {len(scored)} rules"
    return svg.picture(WIDTH, HEIGHT, label, parts, class_="chart scatter")


def _axes(rows: Sequence[Row], scored: Scored, measure: Measure) -> tuple[Axis, Axis]:
    sizes = [float(n) for row in rows for n in (row.peak_bytes.total, row.inference_bytes) if n]
    ends = [measure.factor * (s.mean + sign * s.sd) for _, s in scored for sign in (-1, 1)]
    x = fit(sizes, LEFT, WIDTH - RIGHT, pad=0.07, log=True)
    return x, fit(ends, HEIGHT - BOTTOM, TOP, pad=0.08)


def frame(x: Axis, y: Axis, measure: Measure) -> list[Markup]:
    """Grid, ticks and axis titles."""
    parts = [*y_grid(y, x.start, x.stop, measure.axis)]
    unit, factor = byte_unit(x.high)
    floor = y.start
    for tick in x.ticks(6, factor):
        parts.append(svg.line(x(tick), y.stop, x(tick), floor, class_="grid"))
        parts.append(svg.text(x(tick), floor + 16, f"{tick / factor:g}", "middle", class_="tick"))
    title = f"peak of a training step ({unit}{', log' if x.log else ''})"
    parts.append(svg.text((x.start + x.stop) / 2, floor + 36, title, "middle", class_="title"))
    return parts


def y_grid(y: Axis, left: float, right: float, title: str) -> list[Markup]:
    """Horizontal lines with their ticks, and the title along the axis."""
    parts = []
    for tick in y.ticks(6):
        parts.append(svg.line(left, y(tick), right, y(tick), class_="grid"))
        parts.append(svg.text(left - 7, y(tick) + 4, f"{tick:g}", "end", class_="tick"))
    middle = (y.start + y.stop) / 2
    turn = f"rotate(-90 14 {svg.num(middle)})"
    parts.append(svg.text(14, middle, title, "middle", class_="title", transform=turn))
    return parts


def _inference(rows: Sequence[Row], x: Axis) -> Markup:
    """Where a forward pass alone would be."""
    at = x(rows[0].inference_bytes)
    words = svg.text(at + 5, HEIGHT - BOTTOM - 7, "inference", class_="note")
    return svg.line(at, TOP, at, HEIGHT - BOTTOM, class_="reference") + words


def _front(rows: Sequence[Row], measure: Measure, x: Axis, y: Axis) -> list[tuple[float, float]]:
    """Corners of the steps through the rules that no other rule beats."""
    front = [(row, spread) for row in pareto(rows, measure) if (spread := measure.of(row))]
    return steps([_at(row, spread, measure, x, y) for row, spread in front], x.stop)


def _at(row: Row, spread: Spread, measure: Measure, x: Axis, y: Axis) -> tuple[float, float]:
    return x(row.peak_bytes.total), y(measure.factor * spread.mean)


def _reach(spread: Spread, measure: Measure, y: Axis) -> float:
    return abs(y(measure.factor * spread.sd) - y(0)) if not y.log else 0.0


def _whisker(row: Row, spread: Spread, style: RuleStyle, measure: Measure, x: Axis, y: Axis) -> Markup:
    px, py = _at(row, spread, measure, x, y)
    reach = _reach(spread, measure, y)
    if reach < 1:
        return Markup("")
    d = "".join(f"M{svg.num(px - 3)} {svg.num(py + r)}h6" for r in (-reach, reach))
    d += f"M{svg.num(px)} {svg.num(py - reach)}v{svg.num(2 * reach)}"
    return svg.tag("path", d=d, class_=f"whisker l c{style.colour}", data_rule=row.label)


def _dot(row: Row, spread: Spread, style: RuleStyle, measure: Measure, x: Axis, y: Axis) -> Markup:
    px, py = _at(row, spread, measure, x, y)
    words = f"{row.label}: {measure.text(spread)}, {bytes_text(row.peak_bytes.total)}"
    return svg.group(
        [svg.marker(px, py, style, 5.5, svg.tag("title", words))], class_="dot", data_rule=row.label
    )


def _names(scored: Scored, measure: Measure, x: Axis, y: Axis, avoid: list[Box]) -> list[Markup]:
    dots = []
    for row, spread in scored:
        px, py = _at(row, spread, measure, x, y)
        dots.append(Dot(px, py, 6.7 * len(row.label) + 3, 14.0, _reach(spread, measure, y)))
    places = place(dots, (x.start + 2, y.stop, x.stop, y.start - 2), avoid)
    return [_name(row.label, dot, spot) for (row, _), dot, spot in zip(scored, dots, places, strict=True)]


def _name(label: str, dot: Dot, spot: Place) -> Markup:
    words = svg.text(spot.x, spot.y + 4, label, "middle", class_="name")
    leader = svg.line(dot.x, dot.y, *spot.line, class_="leader") if spot.line else Markup("")
    return svg.group([leader, words], data_rule=label)
