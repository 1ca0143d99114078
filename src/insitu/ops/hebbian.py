"""Competition of units and their Hebbian statistics. Legend: B batch, C units or channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from insitu.ops.common import (
    Factor,
    Run,
    TorchContext,
    error_attrs,
    no_outputs,
    per_output,
    require,
    same_as,
    touch,
)
from insitu.step.attrs import Attrs, attributes
from insitu.step.builder import Builder
from insitu.step.ir import Counts, Inferred, Op, OpRecord, Phase, Role, Value, over_batch, register

if TYPE_CHECKING:
    from torch import Tensor


@attributes
class Competition(Attrs):
    """
    Attributes:
        temperature: of the softmax.
        anti: all but the largest unit are negative.
    """

    temperature: float
    anti: bool


def _compete_torch(op: Op[Competition], _rt: TorchContext) -> Run:
    temperature, anti = op.attrs.temperature, op.attrs.anti

    def compete(u: Tensor) -> Any:
        import torch

        y = torch.softmax(u / temperature, 1)
        if not anti:
            return y
        winner = u.argmax(1, keepdim=True)
        return y.neg().scatter_(1, winner, y.gather(1, winner))

    return compete


register(
    OpRecord(
        kind="compete",
        doc="y = softmax over the units (axis 1) of u / temperature; anti: negative but for the largest",
        attrs=Competition,
        infer=same_as(0),
        torch=_compete_torch,
        counts=touch(4),
    )
)


def _products_infer(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    a, b = inputs
    require(
        a.shape == b.shape and len(a.shape) in (2, 4),
        f"channel products need two equal maps [B,C] or [B,C,H,W], got {list(a.shape)} and {list(b.shape)}",
    )
    return [((a.shape[1],), a.format)]


def _products_torch(op: Op[Factor], _rt: TorchContext) -> Run:
    by = op.attrs.by
    axes = [0, *range(2, len(op.inputs[0].shape))]
    return lambda a, b: (a * b).sum(axes).mul_(by)


register(
    OpRecord(
        kind="channel_products",
        doc="s_C = by · sum of a ⊙ b over batch and positions",
        attrs=Factor,
        infer=_products_infer,
        torch=_products_torch,
        counts=touch(2),
        mixes_samples=over_batch,
    )
)


def _scale_infer(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    x, s = inputs
    require(
        len(x.shape) in (2, 4) and s.shape == (x.shape[1],),
        f"a factor per channel of {list(x.shape)} is needed, got {list(s.shape)}",
    )
    return [(x.shape, x.format)]


def _scale_torch(op: Op, _rt: TorchContext) -> Run:
    view = (1, -1, *(1,) * (len(op.inputs[0].shape) - 2))
    if op.inplace == 0:
        return lambda x, s: x.mul_(s.view(view))
    return lambda x, s: x * s.view(view)


def _scale_adjoint(b: Builder, op: Op, cotangents: Sequence[Value], needs: Sequence[int]) -> dict[int, Value]:
    (d,) = cotangents
    x, s = op.inputs
    found: dict[int, Value] = {}
    if 0 in needs:
        found[0] = b.emit1("channel_scale", d, s, **error_attrs())
    if 1 in needs:
        scratch: dict[str, Any] = {"role": Role.SCRATCH, "phase": Phase.GRADIENT}
        found[1] = b.emit1("channel_products", d, x, by=1.0, **scratch)
    return found


register(
    OpRecord(
        kind="channel_scale",
        doc="y = x ⊙ s_C: every channel times a factor of its own",
        infer=_scale_infer,
        torch=_scale_torch,
        counts=per_output,
        adjoint=_scale_adjoint,
        inplace=(0,),
    )
)


def _shrink_infer(inputs: Sequence[Value], attrs: Attrs) -> Inferred:
    w, d = inputs
    require(d.shape == w.shape[:1], f"one factor per row of {list(w.shape)} is needed, got {list(d.shape)}")
    return no_outputs(inputs, attrs)


def _shrink_torch(op: Op, rt: TorchContext) -> Run:
    view = (-1, *(1,) * (len(op.inputs[0].shape) - 1))

    def shrink(w: Tensor, d: Tensor) -> None:
        w.mul_((1.0 - rt.lr * d).view(view))

    return shrink


register(
    OpRecord(
        kind="shrink_rows",
        doc="w ← (1 - lr d_O) w, a decay of its own for every row",
        infer=_shrink_infer,
        torch=_shrink_torch,
        counts=lambda op: Counts(other={op.phase: op.inputs[0].size}),
        writes=lambda _n, _attrs: (0,),
    )
)
