"""From a step to the memory that it takes: views, order, and the offset of every transient in one arena."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from insitu.errors import StepError
from insitu.passes import fuse
from insitu.passes.order import candidates
from insitu.step.ir import Role, Step
from insitu.step.liveness import Storage, peak_bytes, storages, timeline

VIEWS = ("fused", "eager")


@dataclass(frozen=True)
class Layout:
    """Where everything lives.

    Attributes:
        offsets: byte offset in the arena of each transient storage, by the name of its first value.
        arena_bytes: size of the arena, inputs included.
        resident_bytes: weights, state, feedback, heads.
        by_role: bytes by role at the peak; they sum to :attr:`peak_bytes`.
    """

    offsets: dict[str, int]
    arena_bytes: int
    resident_bytes: int
    by_role: dict[Role, int]

    @property
    def peak_bytes(self) -> int:
        """The memory of the step: arena and residents."""
        return self.arena_bytes + self.resident_bytes


Placed = list[tuple[int, Storage]]


def _place(items: Iterable[Storage], align: int) -> Placed:
    """First fit at the lowest offset, in the given order."""
    placed: Placed = []
    for item in items:
        offset = 0
        clashes = [(o, s) for o, s in placed if s.birth <= item.death and item.birth <= s.death]
        for start, other in sorted(clashes, key=lambda pair: pair[0]):
            if offset + item.bytes <= start:
                break
            offset = max(offset, -(-(start + other.bytes) // align) * align)
        placed.append((offset, item))
    return placed


def _top(placed: Placed) -> int:
    """Size of the arena."""
    return max((offset + s.bytes for offset, s in placed), default=0)


def _improve(placed: Placed, bound: int, align: int) -> Placed:
    """Moves the storage that reaches highest to the front of the order, again and again."""
    best = placed
    for _ in range(ATTEMPTS):
        if _top(best) <= bound:
            break
        highest = max(placed, key=lambda pair: pair[0] + pair[1].bytes)[1]
        placed = _place([highest, *(s for _, s in placed if s is not highest)], align)
        best = min(best, placed, key=_top)
    return best


_ORDERS: tuple[Callable[[Storage], tuple[int, ...]], ...] = (
    lambda s: (-s.bytes, s.birth),
    lambda s: (s.birth, -s.bytes),
    lambda s: (s.birth - s.death, -s.bytes),
    lambda s: (-s.death, -s.bytes),
)


ATTEMPTS = 200
"""Tries to close the gap between the arena and the live bytes at the peak; most programs need none."""


def plan(step: Step, *, align: int = 1) -> Layout:
    """Offsets of all transients, the best of a few orders of placement.

    Args:
        align: every offset is a multiple of this many bytes.
    """
    found = storages(step)
    transient = [s for s in found if not s.root.resident and s.death >= 0]
    resident = sum(s.bytes for s in found if s.root.resident)
    rows = timeline(step)
    peak_row = max(rows, key=lambda row: sum(row.values()), default=dict.fromkeys(Role, 0))
    bound = sum(peak_row.values()) - resident
    first = min((_place(sorted(transient, key=key), align) for key in _ORDERS), key=_top)
    placed = _improve(first, bound, align)
    arena = _top(placed)
    offsets = {s.root.name: offset for offset, s in placed}
    by_role = dict(peak_row)
    by_role[Role.SCRATCH] += arena + resident - sum(peak_row.values())  # fragmentation, mostly 0
    return Layout(offsets, arena, resident, by_role)


def lower(step: Step, view: str = "fused") -> Step:
    """The program that is executed and costed.

    ``eager`` is the step as the rule emitted it. ``fused`` applies gradients as they are made, works in place
    and takes the best of a few orders.

    Raises:
        StepError: for an unknown view.
    """
    if view == "eager":
        return step
    if view != "fused":
        raise StepError(f"view {view!r} is unknown; use one of {', '.join(VIEWS)}")
    fused = fuse.gate_before_unpool(fuse.fuse_updates(step))
    return min((fuse.in_place(s) for s in candidates(fused)), key=peak_bytes)
