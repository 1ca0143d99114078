"""Competition of units and their Hebbian statistics. Legend: B batch, C units or channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from insitu.ops.common import require, same_as
from insitu.step.ir import Counts, Inferred, Op, OpRecord, Value, register


def _touch(times: int) -> Any:
    return lambda op: Counts(other={op.phase: times * op.inputs[0].size})


def _compete_torch(op: Op, _rt: Any) -> Any:
    temperature, anti = op.attrs["temperature"], op.attrs["anti"]

    def compete(u: Any) -> Any:
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
        infer=same_as(0),
        torch=_compete_torch,
        counts=_touch(4),
    )
)


def _products_infer(inputs: Sequence[Value], _attrs: Any) -> Inferred:
    a, b = inputs
    require(
        a.shape == b.shape and len(a.shape) in (2, 4),
        f"channel products need two equal maps [B,C] or [B,C,H,W], got {list(a.shape)} and {list(b.shape)}",
    )
    return [((a.shape[1],), a.format)]


def _products_torch(op: Op, _rt: Any) -> Any:
    by = op.attrs["by"]
    axes = [0, *range(2, len(op.inputs[0].shape))]
    return lambda a, b: (a * b).sum(axes).mul_(by)


register(
    OpRecord(
        kind="channel_products",
        doc="s_C = by · sum of a ⊙ b over batch and positions",
        infer=_products_infer,
        torch=_products_torch,
        counts=_touch(2),
    )
)
