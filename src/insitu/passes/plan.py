"""From a step to the memory that it takes: the offset of every transient in one arena."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

from insitu.step.ir import Role, Step
from insitu.step.liveness import storages, timeline


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


@dataclass(frozen=True)
class Item:
    """A piece of memory that is needed from one op to another, both included."""

    bytes: int
    birth: int
    death: int


class _Puzzle:
    """Placing items in one arena such that no two that live at a time overlap.

    Args:
        items: what is placed.
        align: every offset is a multiple of this many bytes.
    """

    def __init__(self, items: Sequence[Item], align: int) -> None:
        self.align = align
        self.sizes = [item.bytes for item in items]
        self.clashes = [
            [j for j, b in enumerate(items) if j != i and b.birth <= a.death and a.birth <= b.death]
            for i, a in enumerate(items)
        ]

    def place(self, order: Iterable[int]) -> list[int]:
        """First fit at the lowest offset, in the given order; an offset per item."""
        offsets = [-1] * len(self.sizes)
        for i in order:
            offset = 0
            taken = ((offsets[j], self.sizes[j]) for j in self.clashes[i] if offsets[j] >= 0)
            for start, size in sorted(taken):
                if offset + self.sizes[i] <= start:
                    break
                offset = max(offset, -(-(start + size) // self.align) * self.align)
            offsets[i] = offset
        return offsets

    def top(self, offsets: list[int]) -> int:
        """Size of the arena."""
        return max((o + n for o, n in zip(offsets, self.sizes)), default=0)

    def improve(self, order: list[int], bound: int) -> list[int]:
        """Moves one storage at a time to another place in the order, often one that reaches highest.

        Keeps what is no worse; the same at every run.
        """
        draw = Random(1)
        offsets = self.place(order)
        for _ in range(ATTEMPTS):
            top = self.top(offsets)
            if top <= bound:
                break
            highest = [i for i, o in enumerate(offsets) if o + self.sizes[i] == top]
            item = draw.choice(highest if draw.random() < 0.5 else order)
            moved = [i for i in order if i != item]
            moved.insert(draw.randrange(len(order)), item)
            found = self.place(moved)
            if self.top(found) <= top:
                order, offsets = moved, found
        return offsets


_ORDERS: tuple[Callable[[Item], tuple[int, ...]], ...] = (
    lambda s: (-s.bytes, s.birth),
    lambda s: (s.birth, -s.bytes),
    lambda s: (s.birth - s.death, -s.bytes),
    lambda s: (-s.death, -s.bytes),
)


ATTEMPTS = 2000
"""Tries to close the gap between the arena and the live bytes at the peak; most programs need none."""


def place(items: Sequence[Item], align: int, bound: int | None = None) -> tuple[list[int], int]:
    """Offsets of items in one arena, the best of a few orders of placement, and the arena's size.

    Args:
        align: every offset is a multiple of this many bytes.
        bound: no arena can be smaller; by default the most bytes that live at a time.
    """
    if bound is None:
        times = range(max((item.death for item in items), default=-1) + 1)
        live = (sum(item.bytes for item in items if item.birth <= t <= item.death) for t in times)
        bound = max(live, default=0)
    puzzle = _Puzzle(items, align)
    orders = [sorted(range(len(items)), key=lambda i: key(items[i])) for key in _ORDERS]
    order = min(orders, key=lambda order: puzzle.top(puzzle.place(order)))
    placed = puzzle.improve(order, bound)
    return placed, puzzle.top(placed)


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
    placed, arena = place([Item(s.bytes, s.birth, s.death) for s in transient], align, bound)
    offsets = {s.root.name: offset for s, offset in zip(transient, placed)}
    by_role = dict(peak_row)
    by_role[Role.SCRATCH] += arena + resident - sum(peak_row.values())  # fragmentation, mostly 0
    return Layout(offsets, arena, resident, by_role)
