"""Additive coupling: a sum that wraps around, so that it can be undone bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from insitu.numbers.formats import Fixed
from insitu.ops.common import Formatted, Run, TorchContext, per_output, require
from insitu.ops.quant import integers
from insitu.step.attrs import attributes
from insitu.step.ir import Inferred, Level, Op, OpRecord, Trait, Value, register


@attributes
class Coupling(Formatted):
    """
    Attributes:
        minus: the inverse: a - f.
    """

    minus: bool = False

    def modulus(self) -> tuple[int, int]:
        """Least integer and number of integers of the result's format."""
        assert isinstance(self.format, Fixed)
        return self.format.least, 1 << self.format.bits


def _infer(inputs: Sequence[Value], attrs: Coupling) -> Inferred:
    a, f = inputs
    require(a.shape == f.shape, f"the shapes must be equal, got {list(a.shape)} and {list(f.shape)}")
    require(
        attrs.format is None or attrs.format == a.format, "the result has the format of its first operand"
    )
    return [(a.shape, attrs.result(a.format))]


def _torch(op: Op[Coupling], _rt: TorchContext) -> Run:
    import torch

    sign = -1 if op.attrs.minus else 1

    def total(a: Any, f: Any) -> Any:
        if op.inplace == 0:
            return a.add_(f, alpha=sign)
        return f.mul_(sign).add_(a) if op.inplace == 1 else torch.add(a, f, alpha=sign)

    if not integers(op.inputs[0]):
        return total
    least, count = op.attrs.modulus()
    return lambda a, f: total(a, f).sub_(least).remainder_(count).add_(least)


register(
    OpRecord(
        kind="couple",
        doc="a + f, equal shapes; on integers modulo the range of a's format, so that `minus`, a - f, undoes it",
        attrs=Coupling,
        infer=_infer,
        torch=_torch,
        counts=per_output,
        adjoint=lambda b, op, cotangents, needs: {i: cotangents[0] for i in needs},
        inplace=(0, 1),
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.STATIC_POINT,),
    )
)
