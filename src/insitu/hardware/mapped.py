"""A step on an engine of microcode: the cycles of every op, as the engine's backend says, become rows of a bill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from insitu.hardware.bill import Band, Row
from insitu.hardware.target import Engine
from insitu.hardware.work import Work
from insitu.step.ir import Op


@dataclass(frozen=True)
class Mapped:
    """What a backend knows of a step.

    Attributes:
        cycles: of one execution of each op that has some; they sum to those of the step where every trigger fires.
        fabric: blocks of the FPGA that the engine takes, by resource.
    """

    cycles: Mapping[Op, int]
    fabric: Mapping[str, int]


ENERGY = ("energy.cycle",)
"""What a cycle is paid with; no engine's is known."""

Parts = Sequence[tuple[int, Op, Work, float]]
"""Index of an op, the op, a part of it, and the share of the steps in which that is done."""


def rows_of(target: Engine, parts: Parts, mapped: Mapped | None) -> tuple[Row, ...]:
    """The rows of a step; the first part of an op has all its cycles. Unknown cycles without a mapping."""
    rows, seen = [], set()
    for index, op, part, share in parts:
        taken = None if mapped is None else 0 if op in seen else mapped.cycles.get(op, 0)
        seen.add(op)
        band = None if taken is None else Band(taken, taken, taken)
        busy = part.macs / (taken * target.lanes.count) if taken and part.product is not None else None
        uses = {ENERGY: float(taken or 0)} if taken != 0 else {}
        rows.append(Row.of(index, op, part, cycles=band, uses=uses, utilisation=busy or None).times(share))
    return tuple(rows)
