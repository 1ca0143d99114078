"""Dense layers: the product and its two adjoints.

Legend: B batch, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from insitu.ops import integer_products
from insitu.ops.common import Formatted, Run, Sums, TorchContext, error_attrs, macs, require
from insitu.ops.integer_products import Product, ProductDx, Viewed
from insitu.ops.loops import LoopNest, Operand, dense, weights, written
from insitu.ops.quant import integers
from insitu.step.builder import Builder
from insitu.step.ir import (
    Counts,
    Inferred,
    Level,
    Op,
    OpRecord,
    Phase,
    Role,
    Shape,
    Trait,
    Value,
    over_batch,
    register,
)

if TYPE_CHECKING:
    from torch import Tensor


def _infer(inputs: Sequence[Value], attrs: Product) -> Inferred:
    x, w = inputs[0], inputs[1]
    require(
        len(x.shape) == 2 and len(w.shape) == 2 and x.shape[1] == w.shape[1],
        f"dense needs x [B,I] and weights [O,I], got {list(x.shape)} and {list(w.shape)}; flatten the input",
    )
    require(len(inputs) == 2 or inputs[2].shape == (w.shape[0],), "the bias must have one element per output")
    return [((x.shape[0], w.shape[0]), attrs.result(x.format))]


def _torch(op: Op[Product], rt: TorchContext) -> Run:
    import torch

    return integer_products.dense(op, rt) if integers(op.inputs[0]) else torch.nn.functional.linear


def _adjoint(b: Builder, op: Op, cotangents: Sequence[Value], needs: Sequence[int]) -> dict[int, Value]:
    (d,) = cotangents
    grads: dict[int, Value] = {}
    if 0 in needs:
        grads[0] = b.emit1("matmul_dx", d, op.inputs[1], **error_attrs())
    if 1 in needs:
        grads[1] = b.emit1("matmul_dw", d, op.inputs[0], role=Role.SCRATCH, phase=Phase.GRADIENT)
    if 2 in needs:
        grads[2] = b.emit1("sum_to_channels", d, role=Role.SCRATCH, phase=Phase.GRADIENT)
    return grads


def _loops(op: Op[Product]) -> LoopNest:
    x, w = op.inputs[:2]
    operands = (Operand.of(op.outputs[0]), weights(op), Operand.of(x))
    return dense(op, "forward", x.shape[0], w.shape[0], w.shape[1], operands)


def _error_below(b: Builder, _op: Op[Product], d: Value, matrix: Value, *more: Value, **view: Any) -> Value:
    """Through a matrix of the weights' shape, or a view of it."""
    return b.emit1("matmul_dx", d, matrix, *more, **view, **error_attrs())


register(
    OpRecord(
        kind="matmul",
        doc="z_BO = x_BI w_OIᵀ (+ bias_O)",
        attrs=Product,
        infer=_infer,
        torch=_torch,
        counts=lambda op: macs(op, op.outputs[0].size * op.inputs[0].shape[1]),
        adjoint=_adjoint,
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.EPILOGUE,),
        loops=_loops,
        error_below=_error_below,
    )
)


def feedback_view(op: Op[Viewed], rt: TorchContext, w: Tensor, magnitude: Any = None) -> Tensor:
    """The matrix that an adjoint multiplies by: the operand itself, or its sign view, made as it is read.

    ``view=sign``: ``scale · sign(w)``; ``view=sign-magnitude``: ``|m| · sign(w)`` with ``m`` the third
    operand; ``view=sign-fresh``: the same with new magnitudes ``|U(-scale, scale)|`` at every step.
    """
    import torch

    from insitu.numbers import prng

    view, scale, stream = op.attrs.view, op.attrs.scale, op.attrs.stream
    if view is None:
        return w
    sign = torch.sign(w)
    if view == "sign":
        return sign.mul_(scale)
    if view == "sign-magnitude":
        return sign.mul_(magnitude.abs())
    assert scale is not None and stream is not None
    k = prng.key(rt.seed, stream, rt.t)
    fresh = prng.uniform_torch(k, torch.arange(w.numel(), device=w.device), scale)
    return sign.mul_(fresh.abs_().to(w.dtype).view_as(w))


def view_random(op: Op[Viewed]) -> int:
    """Random words that the view draws."""
    return op.inputs[1].size if op.attrs.view == "sign-fresh" else 0


def _dx_infer(inputs: Sequence[Value], attrs: ProductDx) -> Inferred:
    d, w = inputs[0], inputs[1]
    require(
        len(d.shape) == 2 and len(w.shape) == 2 and d.shape[1] == w.shape[0],
        f"the error {list(d.shape)} does not fit the matrix {list(w.shape)}; it needs [B,O] and [O,I]",
    )
    return [((d.shape[0], w.shape[1]), attrs.result(d.format))]


def _dx_torch(op: Op[ProductDx], rt: TorchContext) -> Any:
    import torch

    if integers(op.inputs[0]):
        return integer_products.dense_dx(op, rt)
    if op.attrs.view is None:
        return torch.mm
    return lambda d, w, *m: torch.mm(d, feedback_view(op, rt, w, *m))


def _dx_loops(op: Op[ProductDx]) -> LoopNest:
    d, w = op.inputs[:2]
    operands = (Operand.of(op.outputs[0]), weights(op), Operand.of(d))
    return dense(op, "dx", d.shape[0], w.shape[0], w.shape[1], operands)


register(
    OpRecord(
        kind="matmul_dx",
        doc="e_BI = d_BO w_OI, also with a feedback matrix or a sign view in place of w",
        attrs=ProductDx,
        infer=_dx_infer,
        torch=_dx_torch,
        counts=lambda op: Counts(
            macs={op.phase: op.outputs[0].size * op.inputs[0].shape[1]}, random=view_random(op)
        ),
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.EPILOGUE,),
        loops=_dx_loops,
    )
)


def _dw_infer(inputs: Sequence[Value], attrs: Sums) -> Inferred:
    d, x = inputs[0], inputs[1]
    require(
        len(d.shape) == 2 and len(x.shape) == 2 and d.shape[0] == x.shape[0],
        f"a weight gradient needs an error [B,O] and an input [B,I] of one batch, got {list(d.shape)} and "
        f"{list(x.shape)}",
    )
    return [((d.shape[1], x.shape[1]), attrs.result(d.format))]


def _dw_torch(op: Op[Sums], rt: TorchContext) -> Run:
    import torch

    if integers(op.inputs[0]):
        return integer_products.dense_dw(op, rt)
    return lambda d, x: torch.mm(d.t(), x)


def _dw_loops(op: Op[Sums]) -> LoopNest:
    d, x = op.inputs[:2]
    operands = (Operand.of(written(op)), Operand.of(d), Operand.of(x))
    return dense(op, "dw", d.shape[0], d.shape[1], x.shape[1], operands, added=not op.outputs)


register(
    OpRecord(
        kind="matmul_dw",
        doc="g_OI = d_BOᵀ x_BI",
        attrs=Sums,
        infer=_dw_infer,
        torch=_dw_torch,
        counts=lambda op: macs(op, op.inputs[0].size * op.inputs[1].shape[1]),
        level=Level.REAL | Level.INTEGER,
        loops=_dw_loops,
        mixes_samples=over_batch,
    )
)


def per_channel(inputs: Sequence[Value], attrs: Formatted) -> Inferred:
    """Infers one number per channel of the first input."""
    d = inputs[0]
    return [(channels(d), attrs.result(d.format))]


def channels(v: Value) -> Shape:
    """The shape of one number per channel."""
    require(len(v.shape) >= 2, f"a sum by channel needs [B,C] or [B,C,...], got {list(v.shape)}")
    return (v.shape[1],)


def sum_dims(v: Value) -> list[int]:
    """All dimensions but the channel."""
    return [i for i in range(len(v.shape)) if i != 1]


def _sum_torch(op: Op[Sums], _rt: TorchContext) -> Run:
    dims = sum_dims(op.inputs[0])
    if integers(op.inputs[0]):
        return integer_products.limited(op, lambda d: (d if op.attrs.chunks else d.double()).sum(dims))
    return lambda d: d.sum(dims)


register(
    OpRecord(
        kind="sum_to_channels",
        doc="g_C = sum of d over the batch and space: the bias gradient",
        attrs=Sums,
        infer=per_channel,
        torch=_sum_torch,
        counts=lambda op: Counts(other={op.phase: op.inputs[0].size}),
        level=Level.REAL | Level.INTEGER,
        mixes_samples=over_batch,
    )
)
