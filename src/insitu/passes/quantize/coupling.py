"""Couplings: both streams keep their binary point from the first coupling to the last, and sums wrap around."""

from __future__ import annotations

from insitu.numbers.rounding import Rounding
from insitu.passes.quantize.units import LoweredValue
from insitu.passes.quantize.walk import Quantizer, lowers
from insitu.step.ir import Op


@lowers("couple")
def _couple(q: Quantizer, op: Op) -> None:
    """The second operand, still a wide sum, is rounded to the grid of the first: the same whenever it is made again."""
    a, f = q.fixed_point(op.inputs[0]), q.fixed_point(op.inputs[1])
    if a.format.least == 0:
        raise q.refuse(
            "its first operand has no sign; put no activation function between a coupling and its stream"
        )
    if q.precision.rounding == Rounding.STOCHASTIC:
        raise q.refuse("what is rounded at random cannot be made again; use rounding: half-up")
    moved = q.to(f, a.format, a.unit, op.inputs[1], q.precision.rounding)
    made = q.one(
        "couple", a.value, moved.value, minus=op.attrs.minus, format=a.format, unit=a.unit, like=op.outputs[0]
    )
    q.lowered[op.outputs[0]] = LoweredValue(made)
