"""Element by element: copies, gates, what is kept of a ReLU."""

from __future__ import annotations

from typing import Any

from insitu.backends.engine.actions import Action
from insitu.backends.engine.emit.emitter import STASH, Emitter, signed
from insitu.backends.engine.isa import A, B, Prologue
from insitu.backends.engine.microcode import Loop, Nest
from insitu.step.ir import Op, Value


def masked(em: Emitter, nest: Nest, gate: Value) -> None:
    """Results are 0 where a ReLU's output (or what is kept of it) is."""
    nest.control |= {"prologue": Prologue.MASK, "mask": 1}
    nest.more |= {"match": 0}
    nest.starts["p"] = em.grid(gate)[1]


def copy(em: Emitter, op: Op, value: Value, rounds: list[Loop], d: int, shift: int = 0, **rest: Any) -> Nest:
    """A nest whose results are vectors of a value, times 2**-shift."""
    k0, high = em.one(shift)
    control = {"a": A.K0, "b": B.VECTOR, "vector_stream": 1, "high": high}
    control |= {"vector_signed": signed(value), "out_signed": signed(value)}
    starts = {"x": em.grid(value)[1], "d": d}
    nest = Nest(f"{op.kind} at {op.where.layer}", [], rounds, control, starts, constants={"K0": k0})
    for name, more in rest.items():
        getattr(nest, name).update(more)
    return nest


def cleared(em: Emitter, op: Op, out: Value) -> None:
    """Zeros where byte by byte results do not come: behind the channels, if vectors of them have more lanes.

    What passes a gate needs none: there the ReLU's output has zeros.
    """
    grid, at = em.grid(out)
    if grid.pitch == grid.channels or em.gated(out):
        return
    lanes = em.build.lanes
    nest = copy(em, op, out, [Loop(grid.size // lanes, d=lanes)], at)
    nest.starts["x"] = em.constant(0)
    em.run(nest)


def gate(em: Emitter, action: Action) -> None:
    op = action.first
    d, y = op.inputs
    grid, at = em.grid(op.outputs[0])
    lanes = em.build.lanes
    nest = copy(em, op, d, [Loop(grid.size // lanes, x=lanes, p=lanes, d=lanes)], at)
    masked(em, nest, y)
    em.run(nest)


def stash(em: Emitter, action: Action) -> None:
    """2**STASH where a value is not 0: a constant vector, masked by it."""
    op = action.first
    grid, at = em.grid(op.outputs[0])
    lanes = em.build.lanes
    nest = copy(em, op, op.outputs[0], [Loop(grid.size // lanes, p=lanes, d=lanes)], at)
    nest.starts["x"] = em.constant(1 << STASH)
    masked(em, nest, op.inputs[0])
    em.run(nest)
