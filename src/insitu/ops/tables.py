"""Functions of integers by table, gates, and pools without a division.

As in :mod:`insitu.ops.quant`: operands are integers carried in floats, and :mod:`insitu.run.integer` says what each op
computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Annotated

from insitu.numbers.formats import Quantized
from insitu.ops.common import Entries, OfFormat, Run, Shaped, TorchContext, per_output, require, zeroed
from insitu.ops.pool import Window, windowed_shape
from insitu.ops.quant import of_format
from insitu.step.attrs import Attrs, Range, attributes
from insitu.step.ir import Counts, Inferred, Level, Op, OpRecord, Trait, Value, register


@attributes
class Table(OfFormat, Entries):
    """A function by its value for every integer."""


@attributes
class SlopeShift(Attrs):
    """
    Attributes:
        shift: bits to the right below 0: a slope of 2^-shift.
    """

    shift: Annotated[int, Range(0, 31)]


@attributes
class Bounds(Attrs):
    """
    Attributes:
        low: the gate is closed at this integer and below.
        high: the gate is closed at this integer and above.
    """

    low: int
    high: int


@attributes
class Constant(Attrs):
    """
    Attributes:
        by: what is subtracted.
    """

    by: int


@attributes
class Offset(OfFormat, Constant):
    """A difference with a constant."""


@attributes
class SumPool(Window, OfFormat):
    """A pool of integers."""


@attributes
class SumUnpool(Window, OfFormat, Shaped):
    """The error below a pool of integers."""


def _lut_infer(inputs: Sequence[Value], attrs: Table) -> Inferred:
    fmt = inputs[0].format
    fits = isinstance(fmt, Quantized) and len(attrs.table) == fmt.greatest - fmt.least + 1
    require(fits, f"a table of {len(attrs.table)} entries does not fit {fmt}")
    return of_format(inputs, attrs)


def _lut_torch(op: Op[Table], rt: TorchContext) -> Run:
    import torch

    table = torch.tensor(op.attrs.table, dtype=torch.float32, device=rt.device)
    least = op.inputs[0].format.least  # type: ignore[attr-defined]
    return lambda x: table[(x - least).to(torch.int64)]


register(
    OpRecord(
        kind="lut",
        doc="y = table[x - least]: a function by its value for every integer of x's format",
        attrs=Table,
        infer=_lut_infer,
        torch=_lut_torch,
        counts=per_output,
        level=Level.INTEGER,
    )
)


def _leaky_torch(op: Op[SlopeShift], _rt: TorchContext) -> Run:
    scale = 2.0**-op.attrs.shift
    if len(op.inputs) == 1:
        return lambda x: x.where(x >= 0, (x * scale).floor_())
    return lambda d, y: d.where(y >= 0, (d * scale).floor_())


def _same_shape(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    require(
        all(v.shape == inputs[0].shape for v in inputs),
        f"the shapes must be equal, got {[list(v.shape) for v in inputs]}",
    )
    return zeroed(inputs, _attrs)


register(
    OpRecord(
        kind="leaky",
        doc="x where x (or the second operand, for a gate) is 0 or more, else floor(x · 2^-shift)",
        attrs=SlopeShift,
        infer=_same_shape,
        torch=_leaky_torch,
        counts=per_output,
        inplace=(0,),
        level=Level.INTEGER,
        traits=(Trait.GATE,),
    )
)


def _inside_torch(op: Op[Bounds], _rt: TorchContext) -> Run:
    low, high = op.attrs.low, op.attrs.high
    return lambda d, y: d * ((y > low) & (y < high)).to(d.dtype)


register(
    OpRecord(
        kind="inside",
        doc="d where low < y < high, else 0: the gate of a function that is straight there and flat elsewhere",
        attrs=Bounds,
        infer=_same_shape,
        torch=_inside_torch,
        counts=per_output,
        inplace=(0,),
        level=Level.INTEGER,
        traits=(Trait.GATE,),
    )
)


def _offset_torch(op: Op[Offset], _rt: TorchContext) -> Run:
    by = float(op.attrs.by)
    return lambda x: x - by


register(
    OpRecord(
        kind="offset",
        doc="x - by: the zero point of asymmetric samples",
        attrs=Offset,
        infer=of_format,
        torch=_offset_torch,
        counts=per_output,
        level=Level.INTEGER,
    )
)


def _sum_pool_infer(inputs: Sequence[Value], attrs: SumPool) -> Inferred:
    return [(windowed_shape(inputs[0], attrs), attrs.format)]


def _sum_pool_torch(op: Op[SumPool], _rt: TorchContext) -> Run:
    import torch

    pool = torch.ops.aten.avg_pool2d.default
    kernel, stride, padding = op.attrs.kernel, op.attrs.stride, op.attrs.padding
    return lambda x: pool(x, kernel, stride, padding, False, True, 1)


register(
    OpRecord(
        kind="sum_pool",
        doc="y_BCPQ = sum over each window: an average pool whose division is part of the unit",
        attrs=SumPool,
        infer=_sum_pool_infer,
        torch=_sum_pool_torch,
        counts=lambda op: Counts(other={op.phase: op.outputs[0].size * prod(op.attrs.kernel)}),
        level=Level.INTEGER,
    )
)


def _spread_torch(op: Op[SumUnpool], _rt: TorchContext) -> Run:
    import torch

    shape = op.outputs[0].shape
    backward = torch.ops.aten.avg_pool2d_backward.default
    arguments = (op.attrs.kernel, op.attrs.stride, op.attrs.padding, False, True, 1)
    return lambda d: backward(d, d.new_empty(1).expand(shape), *arguments)


register(
    OpRecord(
        kind="sum_unpool",
        doc="e_BCHW = each error copied to its window (added where windows overlap)",
        attrs=SumUnpool,
        infer=lambda inputs, attrs: [(attrs.shape, attrs.format)],
        torch=_spread_torch,
        counts=per_output,
        level=Level.INTEGER,
    )
)
