"""Places the names of dots so that they cover neither each other nor a dot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, hypot, radians, sin

Box = tuple[float, float, float, float]
"""Left, top, right, bottom; y grows downwards."""

_ANGLES = (0, 180, 330, 30, 210, 150, 270, 90, 300, 60, 240, 120)
_RADII = (9.0, 16.0, 24.0, 34.0, 46.0, 60.0, 76.0)
LEADER = 15.0
"""Labels farther than this from their dot get a line to it."""


@dataclass(frozen=True)
class Dot:
    """A named point; ``reach`` is the half length of its whisker."""

    x: float
    y: float
    width: float
    height: float
    reach: float = 0.0


@dataclass(frozen=True)
class Place:
    """Centre of a label's box and where its line to the dot ends (``None``: close enough)."""

    x: float
    y: float
    line: tuple[float, float] | None


def _box(dot: Dot, angle: float, radius: float) -> Box:
    dx, dy = cos(radians(angle)), sin(radians(angle))
    x = dot.x + dx * radius + dot.width / 2 * (dx if abs(dx) < 0.3 else (1 if dx > 0 else -1))
    y = dot.y + dy * radius + dot.height / 2 * dy
    return x - dot.width / 2, y - dot.height / 2, x + dot.width / 2, y + dot.height / 2


def _overlap(a: Box, b: Box) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _outside(box: Box, bounds: Box) -> float:
    over = (bounds[0] - box[0], bounds[1] - box[1], box[2] - bounds[2], box[3] - bounds[3])
    return sum(max(0.0, o) for o in over)


def _marks(dots: Sequence[Dot]) -> list[Box]:
    marks = [(d.x - 6, d.y - 6, d.x + 6, d.y + 6) for d in dots]
    return marks + [(d.x - 1, d.y - d.reach, d.x + 1, d.y + d.reach) for d in dots]


def _line_end(dot: Dot, box: Box) -> tuple[float, float] | None:
    x = min(max(dot.x, box[0]), box[2])
    y = min(max(dot.y, box[1]), box[3])
    return (x, y) if hypot(x - dot.x, y - dot.y) > LEADER else None


def along(corners: Sequence[tuple[float, float]]) -> list[Box]:
    """Thin boxes along a line of horizontal and vertical pieces, for :func:`place` to avoid."""
    pieces = pairwise(corners)
    return [(min(a, c) - 1, min(b, d) - 1, max(a, c) + 1, max(b, d) + 1) for (a, b), (c, d) in pieces]


def place(dots: Sequence[Dot], bounds: Box, avoid: Sequence[Box] = ()) -> list[Place]:
    """A place per dot, in their order; nearest free spot first, crowded dots before lonely ones.

    Args:
        dots: what to name.
        bounds: where names may be.
        avoid: what they should rather not cover.
    """
    marks = _marks(dots)
    taken: list[Box] = []
    found: dict[int, Place] = {}

    def cost(box: Box, radius: float, rank: int) -> float:
        hits = 3 * sum(_overlap(box, other) for other in taken) + 2 * sum(_overlap(box, m) for m in marks)
        hits += 0.5 * sum(_overlap(box, a) for a in avoid)
        return hits + 50 * _outside(box, bounds) + 0.55 * radius + 0.15 * rank

    def crowd(i: int) -> float:
        return sum(1 / (1 + hypot(dots[i].x - d.x, dots[i].y - d.y)) for d in dots)

    for i in sorted(range(len(dots)), key=crowd, reverse=True):
        spots = ((_box(dots[i], a, r), r, n) for r in _RADII for n, a in enumerate(_ANGLES))
        box, _, _ = min(spots, key=lambda spot: cost(*spot))
        taken.append(box)
        found[i] = Place((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, _line_end(dots[i], box))
    return [found[i] for i in range(len(dots))]
