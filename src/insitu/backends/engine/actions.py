"""A step as actions: ops that one or a few nests do together, so that what passes between them has no memory.

A sum of a pool that is requantized has more bits than an element of A; an error that is gated as it is made saves a
pass over it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from insitu.step.ir import Op, Step, Value


@dataclass(frozen=True)
class Action:
    """Ops that are done together.

    Attributes:
        ops: in order; the first one says what is done.
        last: the one whose result is written.
    """

    ops: tuple[Op, ...]

    @property
    def first(self) -> Op:
        return self.ops[0]

    @property
    def last(self) -> Op:
        return self.ops[-1]

    @property
    def reads(self) -> list[Value]:
        inner = {v for op in self.ops[:-1] for v in op.outputs}
        return [v for op in self.ops for v in op.inputs if v not in inner]

    @property
    def writes(self) -> list[Value]:
        return [*self.last.outputs, *self.last.written]


ByRows = Callable[[Value], bool]
"""Do lanes hold neighbouring columns of a matrix?"""

PROJECTIONS = ("matmul_dx", "project", "select_rows")
"""Ops that give an error through a matrix, vector by vector where lanes hold its columns."""


def actions(step: Step, by_rows: ByRows) -> list[Action]:
    """The actions of a step in order; views are none."""
    readers = _readers(step)
    done: set[Op] = set()
    found = []
    for op in step.ops:
        if op in done or op.record.alias:
            continue
        partner = _partner(op, readers, by_rows)
        ops = (op,) if partner is None else (op, partner)
        done |= set(ops)
        found.append(Action(ops))
    return found


def _partner(op: Op, readers: dict[Value, list[Op]], by_rows: ByRows) -> Op | None:
    """The op that ends what an op begins: its only reader."""
    read = readers.get(op.outputs[0], []) if op.outputs else []
    if len(read) != 1:
        return None
    (reader,) = read
    if op.kind == "sum_pool" and reader.kind == "requant" and len(reader.inputs) == 1:
        return reader
    gates = op.kind in PROJECTIONS and by_rows(matrix_of(op)) and reader.kind == "gate"
    return reader if gates else None


def matrix_of(op: Op) -> Value:
    """The matrix of an error's projection."""
    return op.inputs[0 if op.kind == "select_rows" else 1]


def _readers(step: Step) -> dict[Value, list[Op]]:
    """The ops that read each value, or a view of it; a step's output counts as read by nobody twice."""
    seen_as: dict[Value, Value] = {}
    found: dict[Value, list[Op]] = {}
    for op in step.ops:
        if op.record.alias:
            seen_as[op.outputs[0]] = seen_as.get(op.inputs[0], op.inputs[0])
            continue
        for value in dict.fromkeys(seen_as.get(v, v) for v in op.inputs):
            found.setdefault(value, []).append(op)
    return found
