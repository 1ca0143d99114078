"""Batch statistics of similarity losses: descriptors, unit rows, Gram matrices and their targets.

Legend: B batch, C channels, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from insitu.numbers.formats import AnyFormat
from insitu.ops.common import Run, TorchContext, error_attrs, macs, require, same_as
from insitu.ops.loops import LoopNest, Operand, dense
from insitu.step.attrs import Attrs, attributes
from insitu.step.builder import Builder
from insitu.step.ir import Counts, Inferred, Op, OpRecord, Trait, Value, over_batch, register

if TYPE_CHECKING:
    from torch import Tensor

EPS = 1e-8
"""Added to norms and standard deviations, as in Nøkland & Eidnes' code."""


def _touch(times: int) -> Any:
    """``times`` operations per element of the last input."""
    return lambda op: Counts(other={op.phase: times * op.inputs[-1].size})


def _std_infer(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    (x,) = inputs
    require(
        len(x.shape) == 4 and x.shape[2] * x.shape[3] > 1,
        f"a standard deviation over space needs [B,C,H,W] with more than one position, got {list(x.shape)}",
    )
    return [(x.shape[:2], x.format)]


def _std_torch(_op: Op, _rt: TorchContext) -> Run:
    return lambda x: x.flatten(2).std(2)


def _std_adjoint(b: Builder, op: Op, cotangents: Sequence[Value], _needs: Sequence[int]) -> dict[int, Value]:
    return {0: b.emit1("space_std_dx", cotangents[0], op.outputs[0], op.inputs[0], **error_attrs())}


register(
    OpRecord(
        kind="space_std",
        doc="s_BC = unbiased standard deviation of x_BCHW over space",
        infer=_std_infer,
        torch=_std_torch,
        counts=_touch(3),
        adjoint=_std_adjoint,
    )
)


def _std_dx_torch(_op: Op, _rt: TorchContext) -> Run:
    def dx(d: Tensor, s: Tensor, x: Tensor) -> Any:
        """A channel without spread has no direction: its error is zero."""
        positions = x.shape[2] * x.shape[3]
        factor = d / (s.clamp(min=EPS) * (positions - 1))
        centred = x - x.mean((2, 3), keepdim=True)
        return centred.mul_(factor[:, :, None, None])

    return dx


register(
    OpRecord(
        kind="space_std_dx",
        doc="e = d_BC (x - mean) / (s (HW - 1)), the error below a standard deviation over space",
        infer=same_as(2),
        torch=_std_dx_torch,
        counts=_touch(3),
    )
)


@attributes
class UnitRows(Attrs):
    """
    Attributes:
        centre: the mean of a row is subtracted first.
    """

    centre: bool = True


@attributes
class LabelGram(Attrs):
    """
    Attributes:
        classes: number of classes.
        other: entry of two samples of different classes; -1/(classes - 1) where none.
        format: of the result.
    """

    classes: int
    other: float | None = None
    format: AnyFormat


def _unit_infer(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    (x,) = inputs
    require(len(x.shape) == 2, f"unit rows need [B,F], got {list(x.shape)}; flatten the input")
    return [(x.shape, x.format), ((x.shape[0],), x.format)]


def _unit_torch(op: Op[UnitRows], _rt: TorchContext) -> Run:
    centre = op.attrs.centre

    def unit(x: Tensor) -> Any:
        centred = x - x.mean(1, keepdim=True) if centre else x.clone()
        norm = centred.norm(dim=1)
        return centred.div_((norm + EPS)[:, None]), norm

    return unit


def _unit_adjoint(
    b: Builder, op: Op[UnitRows], cotangents: Sequence[Value], _needs: Sequence[int]
) -> dict[int, Value]:
    y, norm = op.outputs
    return {0: b.emit1("unit_rows_dx", cotangents[0], norm, y, **op.attrs.explicit(), **error_attrs())}


register(
    OpRecord(
        kind="unit_rows",
        doc="y_BF = c / (‖c‖ + 1e-8), c = x - mean over the features of each sample (or x: no centre); and ‖c‖_B",
        attrs=UnitRows,
        infer=_unit_infer,
        torch=_unit_torch,
        counts=_touch(4),
        adjoint=_unit_adjoint,
        traits=(Trait.STATIC_POINT,),
    )
)


def _unit_dx_torch(op: Op[UnitRows], _rt: TorchContext) -> Run:
    centre = op.attrs.centre

    def dx(d: Tensor, norm: Tensor, y: Tensor) -> Any:
        """dc = (d - y (y·d)(n + ε)/n) / (n + ε), then centred."""
        shifted = norm + EPS
        along = (y * d).sum(1) * shifted / norm.clamp(min=EPS)
        dc = (d - y * along[:, None]).div_(shifted[:, None])
        return dc.sub_(dc.mean(1, keepdim=True)) if centre else dc

    return dx


register(
    OpRecord(
        kind="unit_rows_dx",
        doc="the error below unit rows",
        attrs=UnitRows,
        infer=same_as(2),
        torch=_unit_dx_torch,
        counts=_touch(5),
    )
)


def _gram_infer(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    (x,) = inputs
    require(len(x.shape) == 2, f"a Gram matrix needs rows [B,F], got {list(x.shape)}")
    return [((x.shape[0], x.shape[0]), x.format)]


def _gram_torch(_op: Op, _rt: TorchContext) -> Run:
    return lambda x: x @ x.t()


def _gram_adjoint(b: Builder, op: Op, cotangents: Sequence[Value], _needs: Sequence[int]) -> dict[int, Value]:
    return {0: b.emit1("gram_dx", cotangents[0], op.inputs[0], **error_attrs())}


def _gram_loops(op: Op[Any]) -> LoopNest:
    x = op.inputs[0]
    operands = (Operand.of(op.outputs[0]), Operand.of(x), Operand.of(x))
    return dense(op, "forward", x.shape[0], x.shape[0], x.size // x.shape[0], operands)


register(
    OpRecord(
        kind="gram",
        doc="R_BB = x_BF xᵀ: similarities of all pairs of samples",
        infer=_gram_infer,
        torch=_gram_torch,
        counts=lambda op: macs(op, op.inputs[0].size * op.inputs[0].shape[0]),
        adjoint=_gram_adjoint,
        loops=_gram_loops,
        mixes_samples=over_batch,
    )
)


def _gram_dx_torch(_op: Op, _rt: TorchContext) -> Run:
    return lambda d, x: (d + d.t()) @ x


def _gram_dx_loops(op: Op[Any]) -> LoopNest:
    d, x = op.inputs
    operands = (Operand.of(op.outputs[0]), Operand.of(x), Operand.of(d))
    return dense(op, "dx", x.shape[0], x.shape[0], x.size // x.shape[0], operands)


register(
    OpRecord(
        kind="gram_dx",
        doc="e_BF = (d + dᵀ) x",
        infer=same_as(1),
        torch=_gram_dx_torch,
        counts=lambda op: macs(op, op.inputs[1].size * op.inputs[0].shape[0], op.inputs[0].size),
        loops=_gram_dx_loops,
        mixes_samples=over_batch,
    )
)


def _label_infer(inputs: Sequence[Value], attrs: LabelGram) -> Inferred:
    (label,) = inputs
    fits = len(label.shape) == 1 and attrs.classes > 1
    require(fits, "a label Gram matrix needs class labels [B] of 2 classes or more")
    return [((label.shape[0], label.shape[0]), attrs.format)]


def _label_torch(op: Op[LabelGram], rt: TorchContext) -> Run:
    given = op.attrs.other
    other = -1.0 / (op.attrs.classes - 1) if given is None else given

    def matrix(label: Tensor) -> Any:
        same = (label[:, None] == label[None, :]).to(rt.real)
        return same.mul_(1.0 - other).add_(other)

    return matrix


register(
    OpRecord(
        kind="label_gram",
        doc="T_BB: 1 for two samples of one class, else `other`; default -1/(classes - 1), that of centred one-hots",
        attrs=LabelGram,
        infer=_label_infer,
        torch=_label_torch,
        counts=lambda op: Counts(other={op.phase: op.outputs[0].size}),
        mixes_samples=over_batch,
    )
)


def _positive_torch(_op: Op, _rt: TorchContext) -> Run:
    return lambda x: (x > 0).to(x.dtype)


register(
    OpRecord(
        kind="positive",
        doc="1 where x > 0, else 0",
        infer=same_as(0),
        torch=_positive_torch,
        counts=lambda op: Counts(other={op.phase: op.inputs[0].size}),
    )
)
