"""Rows of a batch: joined, cut, squared, scaled, multiplied with each other; and the error of a goodness.

Legend: N rows, B samples, C classes, F features of a row (all dimensions behind the first).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from insitu.ops.common import (
    Factor,
    Formatted,
    Run,
    TorchContext,
    error_attrs,
    free,
    per_output,
    require,
    touch,
)
from insitu.ops.loops import LoopNest, Operand, dense
from insitu.ops.quant import integers
from insitu.step.attrs import Attrs, attributes
from insitu.step.builder import Builder
from insitu.step.ir import Counts, Inferred, Level, Op, OpRecord, Trait, Value, over_batch, register

if TYPE_CHECKING:
    from torch import Tensor


@attributes
class RowSlice(Attrs):
    """
    Attributes:
        start: first row.
        count: of rows.
    """

    start: int
    count: int


@attributes
class RowFactor(Formatted):
    """
    Attributes:
        by: factor on a result of reals; of integers it is part of the unit.
    """

    by: float | None = None


@attributes
class Goodness(Attrs):
    """
    Attributes:
        theta: threshold of the goodness.
        scale: factor on the summed loss (and its error).
        with_loss: the op also gives the loss, a scalar.
    """

    theta: float
    scale: float
    with_loss: bool


@attributes
class RowProducts(Attrs):
    """
    Attributes:
        first: rows on the left of the product; the others are on its right.
        by: factor on the result.
    """

    first: int
    by: float


def _concat_infer(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    a, b = inputs
    require(
        a.shape[1:] == b.shape[1:] and str(a.format) == str(b.format),
        f"rows of {a.format}{list(a.shape)} and {b.format}{list(b.shape)} cannot lie in one array",
    )
    return [((a.shape[0] + b.shape[0], *a.shape[1:]), a.format)]


def _concat_torch(_op: Op, _rt: TorchContext) -> Run:
    import torch

    return lambda a, b: torch.cat((a, b))


register(
    OpRecord(
        kind="concat_rows",
        doc="the rows of a, then those of b",
        infer=_concat_infer,
        torch=_concat_torch,
        counts=per_output,
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.STATIC_POINT,),
    )
)


def _slice_infer(inputs: Sequence[Value], attrs: RowSlice) -> Inferred:
    (x,) = inputs
    start, count = attrs.start, attrs.count
    require(
        start >= 0 and count > 0 and start + count <= x.shape[0],
        f"rows {start} to {start + count - 1} are not all in {list(x.shape)}",
    )
    return [((count, *x.shape[1:]), x.format)]


def _slice_torch(op: Op[RowSlice], _rt: TorchContext) -> Run:
    start, count = op.attrs.start, op.attrs.count
    return lambda x: x.narrow(0, start, count)


register(
    OpRecord(
        kind="slice_rows",
        doc="`count` rows from row `start` on: a view, no memory and no operation",
        attrs=RowSlice,
        infer=_slice_infer,
        torch=_slice_torch,
        counts=free,
        alias=True,
        level=Level.REAL | Level.INTEGER,
    )
)


def _sub_infer(inputs: Sequence[Value], attrs: Formatted) -> Inferred:
    a, b = inputs
    require(a.shape == b.shape, f"the shapes must be equal, got {list(a.shape)} and {list(b.shape)}")
    return [(a.shape, attrs.result(a.format))]


def _sub_torch(op: Op[Formatted], _rt: TorchContext) -> Any:
    import torch

    if op.inplace == 0:
        return torch.Tensor.sub_
    if op.inplace == 1:
        return lambda a, b: b.neg_().add_(a)
    return torch.sub


register(
    OpRecord(
        kind="sub",
        doc="a - b, equal shapes: what changed between two passes",
        attrs=Formatted,
        infer=_sub_infer,
        torch=_sub_torch,
        counts=per_output,
        inplace=(0, 1),
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.STATIC_POINT,),
    )
)


def _squares_infer(inputs: Sequence[Value], attrs: RowFactor) -> Inferred:
    (x,) = inputs
    require(len(x.shape) > 1, f"squares of rows need [N,...], got {list(x.shape)}")
    return [((x.shape[0],), attrs.result(x.format))]


def _squares_torch(op: Op[RowFactor], _rt: TorchContext) -> Run:
    if integers(op.inputs[0]):
        return lambda x: x.double().flatten(1).square().sum(1)
    by = op.attrs.by
    return lambda x: x.flatten(1).square().sum(1).mul_(by)


def _squares_adjoint(
    b: Builder, op: Op[RowFactor], cotangents: Sequence[Value], _needs: Sequence[int]
) -> dict[int, Value]:
    assert op.attrs.by is not None
    by = 2.0 * op.attrs.by
    return {0: b.emit1("row_scale", op.inputs[0], cotangents[0], by=by, **error_attrs())}


register(
    OpRecord(
        kind="row_squares",
        doc="g_N = by · sum of x² over the features of a row",
        attrs=RowFactor,
        infer=_squares_infer,
        torch=_squares_torch,
        counts=touch(2),
        adjoint=_squares_adjoint,
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.STATIC_POINT,),
    )
)


def _scale_infer(inputs: Sequence[Value], attrs: RowFactor) -> Inferred:
    x, d = inputs
    require(d.shape == x.shape[:1], f"one factor per row of {list(x.shape)} is needed, got {list(d.shape)}")
    return [(x.shape, attrs.result(x.format))]


def _scale_torch(op: Op[RowFactor], _rt: TorchContext) -> Run:
    by = 1.0 if op.attrs.by is None else op.attrs.by

    def scale(x: Tensor, d: Tensor) -> Any:
        factor = (d * by).view(-1, *(1,) * (x.dim() - 1))
        return x.mul_(factor) if op.inplace == 0 else x * factor

    return scale


register(
    OpRecord(
        kind="row_scale",
        doc="by · x ⊙ d_N: every row times a factor of its own",
        attrs=RowFactor,
        infer=_scale_infer,
        torch=_scale_torch,
        counts=per_output,
        inplace=(0,),
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.STATIC_POINT,),
    )
)


def _goodness_infer(inputs: Sequence[Value], attrs: Goodness) -> Inferred:
    (g,) = inputs
    require(
        len(g.shape) == 1 and g.shape[0] % 2 == 0,
        f"goodness needs as many positive as negative rows [2B], got {list(g.shape)}",
    )
    return [(g.shape, g.format), *([((), g.format)] if attrs.with_loss else [])]


def _goodness_torch(op: Op[Goodness], _rt: TorchContext) -> Run:
    from torch.nn.functional import softplus

    theta, scale, with_loss = op.attrs.theta, op.attrs.scale, op.attrs.with_loss
    half = op.inputs[0].shape[0] // 2

    def error(g: Tensor) -> Any:
        z = g.sub_(theta) if op.inplace == 0 else g - theta
        loss = (softplus(-z[:half]).sum() + softplus(z[half:]).sum()) * scale if with_loss else None
        e = z.sigmoid_()
        e[:half] -= 1.0
        e.mul_(scale)
        return (e, loss) if with_loss else e

    return error


register(
    OpRecord(
        kind="goodness_error",
        doc="e = scale · (sigmoid(g - theta) - t), t = 1 in the first half of the rows, 0 in the second: "
        "the error of scale · sum of softplus(theta - g₊) + softplus(g₋ - theta)",
        attrs=Goodness,
        infer=_goodness_infer,
        torch=_goodness_torch,
        counts=touch(3),
        inplace=(0,),
        mixes_samples=over_batch,
    )
)


def _products_infer(inputs: Sequence[Value], attrs: RowProducts) -> Inferred:
    (x,) = inputs
    first = attrs.first
    require(
        0 < first < x.shape[0] and len(x.shape) > 1,
        f"products of the first {first} rows with the others need more than {first} rows, got {list(x.shape)}",
    )
    return [((first, x.shape[0] - first), x.format)]


def _products_torch(op: Op[RowProducts], _rt: TorchContext) -> Run:
    first, by = op.attrs.first, op.attrs.by

    def products(x: Tensor) -> Any:
        rows = x.flatten(1)
        return (rows[:first] @ rows[first:].t()).mul_(by)

    return products


def _products_adjoint(
    b: Builder, op: Op[RowProducts], cotangents: Sequence[Value], _needs: Sequence[int]
) -> dict[int, Value]:
    by = op.attrs.by
    return {0: b.emit1("row_products_dx", cotangents[0], op.inputs[0], by=by, **error_attrs())}


def _products_loops(op: Op[Any]) -> LoopNest:
    (x,), out = op.inputs, op.outputs[0]
    first, others = out.shape
    features = x.size // x.shape[0]
    operands = (
        Operand.of(out),
        Operand.of(x, elements=others * features),
        Operand.of(x, elements=first * features),
    )
    return dense(op, "forward", first, others, features, operands)


register(
    OpRecord(
        kind="row_products",
        doc="z_BC = by · h_BF t_CFᵀ: the first B rows of x times the other C rows",
        attrs=RowProducts,
        infer=_products_infer,
        torch=_products_torch,
        counts=lambda op: Counts(
            macs={op.phase: op.outputs[0].size * prod(op.inputs[0].shape[1:])},
            other={op.phase: op.outputs[0].size},
        ),
        adjoint=_products_adjoint,
        loops=_products_loops,
        mixes_samples=over_batch,
    )
)


def _products_dx_infer(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    d, x = inputs
    require(
        len(d.shape) == 2 and sum(d.shape) == x.shape[0],
        f"the error {list(d.shape)} must have rows and columns for the rows of {list(x.shape)}",
    )
    return [(x.shape, x.format)]


def _products_dx_torch(op: Op[Factor], _rt: TorchContext) -> Run:
    import torch

    by, first = op.attrs.by, op.inputs[0].shape[0]

    def dx(d: Tensor, x: Tensor) -> Any:
        rows = x.flatten(1)
        e = torch.empty_like(rows)
        torch.mm(d, rows[first:], out=e[:first])
        torch.mm(d.t(), rows[:first], out=e[first:])
        return e.mul_(by).view(x.shape)

    return dx


def _products_dx_loops(op: Op[Any]) -> LoopNest:
    """Two products of one size in one nest: both halves of the rows."""
    d, x = op.inputs
    operands = (Operand.of(op.outputs[0]), Operand.of(x), Operand.of(d))
    return dense(op, "dx", 2 * d.shape[0], d.shape[1], x.size // x.shape[0], operands)


register(
    OpRecord(
        kind="row_products_dx",
        doc="e = by · (d_BC t for the first B rows, dᵀ h for the other C)",
        attrs=Factor,
        infer=_products_dx_infer,
        torch=_products_dx_torch,
        counts=lambda op: Counts(
            macs={op.phase: 2 * op.inputs[0].size * prod(op.inputs[1].shape[1:])},
            other={op.phase: op.outputs[0].size},
        ),
        loops=_products_dx_loops,
        mixes_samples=over_batch,
    )
)
