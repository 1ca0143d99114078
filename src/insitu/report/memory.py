"""The memory picture: live bytes by role while each op of a training step runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from insitu.experiment.record import Bytes, Moment
from insitu.report import svg
from insitu.report.palette import PHASES, ROLES
from insitu.report.scale import Axis
from insitu.report.units import byte_unit, bytes_text

WIDTH, HEIGHT = 580.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 10.0, 24.0, 40.0
STRIP = 9.0
"""Height of the band that shows the phases."""

MOST_SAMPLES = 160
"""Pieces of a picture; longer steps are drawn as the highest moment of each piece."""


@dataclass(frozen=True)
class Sample:
    """Consecutive ops that look the same: number of the first one, how many, and what to call them."""

    first: int
    count: int
    name: str
    phase: str
    bytes: Bytes


def _named(moment: Moment) -> str:
    return f"{moment.op} · {moment.layer}" if moment.layer else moment.op


def _joined(run: Sequence[Sample], shown: Sample) -> Sample:
    first, last = run[0], run[-1]
    name = shown.name if len(run) == 1 else f"{first.name} … {last.name}"
    return Sample(first.first, sum(s.count for s in run), name, shown.phase, shown.bytes)


def samples_of(timeline: Sequence[Moment], limit: int = MOST_SAMPLES) -> list[Sample]:
    """The timeline with equal neighbours merged; at most ``limit`` samples, each as high as its highest."""
    singles = [Sample(i, 1, _named(m), m.phase, m.bytes) for i, m in enumerate(timeline)]
    same = [list(run) for _, run in groupby(singles, key=lambda s: (s.phase, s.bytes.model_dump_json()))]
    merged = [_joined(run, run[0]) for run in same]
    if len(merged) <= limit:
        return merged
    size = -(-len(merged) // limit)
    runs = [merged[i : i + size] for i in range(0, len(merged), size)]
    return [_joined(run, max(run, key=lambda s: s.bytes.total)) for run in runs]


def peak_of(samples: Sequence[Sample]) -> Sample | None:
    """The first sample with the most bytes."""
    return max(samples, key=lambda s: s.bytes.total, default=None)


def stacks(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """Top edge of each role that occurs, stacked in the order of :data:`ROLES`."""
    edges: dict[str, list[int]] = {}
    floor = [0] * len(samples)
    for role in ROLES:
        own = [getattr(s.bytes, role) for s in samples]
        if any(own):
            floor = [a + b for a, b in zip(floor, own, strict=True)]
            edges[role] = floor
    return edges


def memory(timeline: Sequence[Moment], top: float, planned: int, inference: int, label: str) -> Markup:
    """One picture.

    Args:
        timeline: the moments of the step.
        top: bytes at the upper end of the axis, the same for pictures to be compared.
        planned: bytes of the step when every value has its place; a line where it is above the live bytes.
        inference: bytes of a forward pass.
        label: what the picture is of.
    """
    samples = samples_of(timeline)
    y = Axis(0, 1.05 * top or 1.0, HEIGHT - BOTTOM, TOP)
    x = Axis(0, max(len(timeline), 1), LEFT, WIDTH - RIGHT)
    parts = [*_grid(y), *_areas(samples, x, y), *_strip(samples, x), *_axis_title(x, len(timeline))]
    parts += [_reference(inference, y), _planned(planned, samples, y), _peak(samples, x, y)]
    parts.append(svg.tag("path", class_="cursor", d=""))
    words = f"bytes by role over the {len(timeline)} ops of a training step, {label}"
    # Where the script finds the ops: left and right end of the plot, and how many ops lie between.
    area = {"data_left": LEFT, "data_right": WIDTH - RIGHT, "data_ops": len(timeline)}
    area |= {"data_top": TOP, "data_floor": HEIGHT - BOTTOM + STRIP + 3}
    return svg.picture(WIDTH, HEIGHT, words, parts, class_="chart memory", tabindex="0", **area)


def _grid(y: Axis) -> list[Markup]:
    unit, factor = byte_unit(y.high)
    parts = []
    for tick in y.ticks(5, factor):
        parts.append(svg.line(LEFT, y(tick), WIDTH - RIGHT, y(tick), class_="grid"))
        parts.append(svg.text(LEFT - 7, y(tick) + 4, f"{tick / factor:g}", "end", class_="tick"))
    parts.append(svg.text(LEFT - 7, 12, unit, "end", class_="title"))
    return parts


def _areas(samples: Sequence[Sample], x: Axis, y: Axis) -> list[Markup]:
    """Each role from its top edge to the axis, the highest first, so that lower ones cover it."""
    parts = []
    for role, edge in reversed(stacks(samples).items()):
        d = [f"M{svg.num(x(0))} {svg.num(y(0))}"]
        before = None
        for sample, value in zip(samples, edge, strict=True):
            if value != before:
                d.append(
                    f"{f'H{svg.num(x(sample.first))}' if before is not None else ''}V{svg.num(y(value))}"
                )
            before = value
        d.append(f"H{svg.num(x.stop)}V{svg.num(y(0))}Z")
        parts.append(svg.tag("path", class_=f"area r-{role}", d="".join(d)))
    return parts


def _strip(samples: Sequence[Sample], x: Axis) -> list[Markup]:
    """The phases under the picture, named where there is room."""
    parts = []
    top = HEIGHT - BOTTOM + 3
    for phase, run in groupby(samples, key=lambda s: s.phase):
        ops = list(run)
        left, right = x(ops[0].first), x(ops[-1].first + ops[-1].count)
        kind = f"p-{phase}" if phase in PHASES else None
        parts.append(svg.tag("rect", class_=kind, x=left, y=top, width=right - left, height=STRIP))
    return parts


def _axis_title(x: Axis, ops: int) -> list[Markup]:
    words = f"ops of one training step, 1 to {ops}"
    return [svg.text((x.start + x.stop) / 2, HEIGHT - 8, words, "middle", class_="title")]


def _reference(inference: int, y: Axis) -> Markup:
    at = y(inference)
    words = svg.text(WIDTH - RIGHT - 3, at - 4, "peak of inference", "end", class_="note halo")
    return svg.line(LEFT, at, WIDTH - RIGHT, at, class_="reference") + words


def _planned(planned: int, samples: Sequence[Sample], y: Axis) -> Markup:
    peak = peak_of(samples)
    if peak is None or planned <= peak.bytes.total:
        return Markup("")
    at = y(planned)
    words = svg.text(LEFT + 3, at - 4, f"planned peak {bytes_text(planned)}", class_="note halo")
    return svg.line(LEFT, at, WIDTH - RIGHT, at, class_="planned") + words


def _peak(samples: Sequence[Sample], x: Axis, y: Axis) -> Markup:
    peak = peak_of(samples)
    if peak is None:
        return Markup("")
    at = x(peak.first + peak.count / 2)
    return svg.tag("path", class_="peak", d=f"M{svg.num(at)} {svg.num(y(peak.bytes.total) - 2)}l-4 -6h8z")


def readout(sample: Sample) -> str:
    """What is told about the sample with the peak, in the words of the script."""
    last = sample.first + sample.count
    ops = f"op {last}" if sample.count == 1 else f"ops {sample.first + 1}–{last}"
    return f"peak at {ops}: {sample.name} ({sample.phase}), {bytes_text(sample.bytes.total)}"


def payload(timeline: Sequence[Moment]) -> Markup:
    """The samples as JSON for the script: first op, count, name, phase, bytes per role."""
    rows = [
        [s.first, s.count, s.name, s.phase, [getattr(s.bytes, role) for role in ROLES]]
        for s in samples_of(timeline)
    ]
    text = json.dumps(rows, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
