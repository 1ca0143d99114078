"""What of a step lives in an array's own memory, and what in the store behind it.

Storages are held in a fixed order, as long as the peak of what is held fits; two orders are tried. No order depends on
the size of the memory, and the first storage that does not fit ends it: so a bigger memory holds everything that a
smaller one holds, and never causes more traffic to the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from insitu.step.ir import Role, Step, Value
from insitu.step.liveness import Storage, roots, storages

SHARES = (0.125, 0.25, 0.5)
"""Shares of the memory that are tried as the buffer for tiles of what is not held."""


@dataclass(frozen=True)
class Placement:
    """Where values live.

    Attributes:
        held: roots of the storages that stay in the array's memory.
        owner: the root of every value.
        buffer_bits: of the array's memory, for tiles of everything else.
        whole: everything is held.
    """

    held: frozenset[Value]
    owner: Mapping[Value, Value]
    buffer_bits: int
    whole: bool

    def holds(self, value: Value | None) -> bool:
        """Is a value in the array's memory (``None``: made on the fly, so it needs none)?"""
        return value is None or self.owner[value] in self.held


def placements(step: Step, capacity: int, *, pinned: frozenset[Role] = frozenset()) -> Iterator[Placement]:
    """Ways to share ``capacity`` bytes between what is held and a buffer for the rest.

    Args:
        pinned: roles of residents that stay in the store whatever happens (weights in non-volatile memory).
    """
    owner = roots(step)
    used = _used(step, owner)
    free = [u for u in used if not (u.storage.root.resident and u.storage.root.role in pinned)]
    orders = [[u.storage for u in sorted(free, key=key)] for key in _ORDERS]
    everything = _prefix(orders[0], capacity, len(step.ops))
    if len(everything) == len(used):
        yield Placement(everything, owner, 0, True)
        return
    seen: set[tuple[frozenset[Value], int]] = set()
    for order, share in product(orders, SHARES):
        buffer = int(capacity * share)
        held = _prefix(order, capacity - buffer, len(step.ops))
        if (held, buffer) not in seen:
            seen.add((held, buffer))
            yield Placement(held, owner, 8 * buffer, False)


@dataclass(frozen=True)
class _Used:
    storage: Storage
    merit: float


_ORDERS: tuple[Callable[[_Used], tuple[float, ...]], ...] = (
    lambda u: (-u.merit, u.storage.bytes, u.storage.birth),
    lambda u: (
        u.storage.root.resident,
        -u.merit * (not u.storage.root.resident),
        u.storage.bytes,
        u.storage.birth,
    ),
)
"""By accesses per op of life; or what lives within the step first, then the small residents."""


def _used(step: Step, owner: Mapping[Value, Value]) -> list[_Used]:
    accesses: dict[Value, int] = {}
    for op in step.ops:
        for value in (*op.inputs, *op.outputs, *op.written):
            accesses[owner[value]] = accesses.get(owner[value], 0) + 1
    found = [s for s in storages(step) if s.death >= 0]
    return [_Used(s, accesses.get(s.root, 0) / (s.death - max(s.birth, 0) + 1)) for s in found]


def _prefix(order: Iterable[Storage], capacity: int, ops: int) -> frozenset[Value]:
    """The longest beginning of the order whose live bytes never pass the capacity."""
    live = [0] * max(ops, 1)
    held: set[Value] = set()
    for storage in order:
        span = range(max(storage.birth, 0), storage.death + 1)
        if any(live[i] + storage.bytes > capacity for i in span):
            break
        for i in span:
            live[i] += storage.bytes
        held.add(storage.root)
    return frozenset(held)
