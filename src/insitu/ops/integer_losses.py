"""Errors of losses on integer scores, and the losses themselves for learning curves.

As in :mod:`insitu.ops.quant`: operands are integers carried in floats, and :mod:`insitu.run.integer` says what each op
computes. Labels are class indices [B].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from insitu.numbers.formats import Float, Quantized
from insitu.ops.common import Entries, OfFormat, Run, TorchContext, per_output, require, touch
from insitu.ops.loss import VALUES, of_violations, one_hot, violations
from insitu.ops.quant import of_format, onto
from insitu.step.attrs import Attrs, attributes
from insitu.step.ir import Counts, Inferred, Level, Op, OpRecord, Value, over_batch, register

if TYPE_CHECKING:
    from torch import Tensor


@attributes
class One(Attrs):
    """
    Attributes:
        one: the integer that stands for 1.
    """

    one: int


@attributes
class IntegerError(OfFormat, One):
    """The error of a loss on integers."""


@attributes
class Softmax(IntegerError, Entries):
    """
    Attributes:
        table: of exp(-distance to the highest score), in units of 2^-15.
        one: the integer that stands for a probability of 1.
    """


@attributes
class Violated(Attrs):
    """
    Attributes:
        shift: of ‖h‖₁ to the right, for the part of the margin that grows with it.
        margin: constant part of the margin.
        every: all violators have an error, not only the one of the highest score.
        format: of the result.
        shares: the error of each violator where there are n of them, for n = 0 to C - 1; empty: 1.
    """

    shift: int
    margin: int
    every: bool
    format: Quantized
    shares: tuple[int, ...] = ()

    @property
    def greatest(self) -> int:
        """-e_y at most; as large is the sum of the others."""
        return max((n * share for n, share in enumerate(self.shares)), default=0)


@attributes
class Monitor(Attrs):
    """
    Attributes:
        step: the real that the integer 1 stands for.
        scale: factor on the summed loss.
    """

    step: float
    scale: float


@attributes
class LossMonitor(Attrs):
    """
    Attributes:
        loss: name of the loss.
        step: the real that the integer 1 stands for.
        scale: factor on the summed loss.
        target_step: the real that the integer 1 of targets stands for, where they are no class indices.
    """

    loss: str
    step: float
    scale: float
    target_step: float = 1.0


def _error_infer(inputs: Sequence[Value], attrs: IntegerError | Violated) -> Inferred:
    z, label = inputs[:2]
    require(
        len(z.shape) == 2 and label.shape == z.shape[:1],
        f"integer losses need scores [B,C] and class labels [B], got {list(z.shape)} and {list(label.shape)}",
    )
    return [(z.shape, attrs.format)]


def _hot(z: Tensor, label: Tensor) -> Any:
    import torch

    return torch.zeros_like(z).scatter_(1, label.long()[:, None], 1.0)


def _softmax_torch(op: Op[Softmax], rt: TorchContext) -> Run:
    import torch

    table = torch.tensor(op.attrs.table, dtype=torch.float64, device=rt.device)
    one, fmt = op.attrs.one, op.attrs.format

    def error(z: Tensor, label: Tensor) -> Any:
        below = (z.amax(1, keepdim=True) - z).clamp_(max=len(table) - 1)
        power = table[below.long()]
        total = power.sum(1, keepdim=True)
        p = ((power * (2 * one) + total) / (2 * total)).floor_()
        return onto(p - one * _hot(p, label), fmt)

    return error


def _difference_torch(op: Op[IntegerError], _rt: TorchContext) -> Run:
    one, fmt = op.attrs.one, op.attrs.format
    return lambda z, label: onto(z.double() - one * _hot(z.double(), label), fmt)


def _margin_torch(op: Op[IntegerError], _rt: TorchContext) -> Run:
    one, fmt = op.attrs.one, op.attrs.format

    def error(z: Tensor, label: Tensor) -> Any:
        t = _hot(z, label)
        right = z.gather(1, label.long()[:, None])
        wrong = ((z - right + one) > 0).to(z.dtype) * (1 - t)
        return onto(wrong - t * wrong.sum(1, keepdim=True), fmt)

    return error


register(
    OpRecord(
        kind="softmax_error",
        doc="e = p - one · t: p = round(one · E / sum E), E = table[max z - z] a table of exponentials",
        attrs=Softmax,
        infer=_error_infer,
        torch=_softmax_torch,
        counts=touch(3),
        level=Level.INTEGER,
    )
)
for _name, _doc, _lower in (
    ("difference_error", "e = z - one · t, t the one-hot label: of the squared error", _difference_torch),
    (
        "margin_error",
        "e_j = 1 for every class j with z_j - z_y + one > 0, e_y = -(their number): multi-class hinge",
        _margin_torch,
    ),
):
    register(
        OpRecord(
            kind=_name,
            doc=_doc,
            attrs=IntegerError,
            infer=_error_infer,
            torch=_lower,
            counts=lambda op: Counts(other={op.phase: 3 * op.inputs[0].size}),
            trigger=_name == "margin_error",
            level=Level.INTEGER,
        )
    )


def _violated_torch(op: Op[Violated], _rt: TorchContext) -> Run:
    import torch

    a = op.attrs

    def error(z: Tensor, label: Tensor, h: Tensor | None = None, e: Tensor = 0) -> Any:
        bound = a.margin
        if h is not None:
            k = max(min(int(e) - a.shift, 31), -62)
            bound = (h.double().flatten(1).abs().sum(1, keepdim=True) * 2.0**k).floor_() + a.margin
        e = violations(z.double(), label, bound, a.every)
        if a.shares:
            e *= torch.tensor(a.shares, dtype=e.dtype, device=e.device)[(e > 0).sum(1, keepdim=True)]
        return onto(e, a.format)

    return error


register(
    OpRecord(
        kind="violated",
        doc="e = 1, or a share by their number, at violators (one or all) of a margin floor(‖h‖₁ 2**(e - shift)) + "
        "margin, minus their sum at y",
        attrs=Violated,
        infer=_error_infer,
        torch=_violated_torch,
        counts=of_violations,
        trigger=True,
        level=Level.INTEGER,
        max_l1=lambda op: 2 * (op.attrs.greatest or (op.outputs[0].shape[1] - 1 if op.attrs.every else 1)),
    )
)


def _less_torch(op: Op[IntegerError], _rt: TorchContext) -> Run:
    one, fmt = op.attrs.one, op.attrs.format
    return lambda p, label: onto(p - one * _hot(p, label), fmt)


register(
    OpRecord(
        kind="less_label",
        doc="p - one · t, t the one-hot label: the error of independent sigmoids",
        attrs=IntegerError,
        infer=_error_infer,
        torch=_less_torch,
        counts=per_output,
        level=Level.INTEGER,
    )
)


def _halves_torch(op: Op[IntegerError], _rt: TorchContext) -> Run:
    one, fmt = op.attrs.one, op.attrs.format
    half = op.inputs[0].shape[0] // 2

    def error(p: Tensor) -> Any:
        e = p.clone()
        e[:half] -= one
        return onto(e, fmt)

    return error


register(
    OpRecord(
        kind="less_first_half",
        doc="p - one in the first half of the rows, p in the second: the error of a goodness",
        attrs=IntegerError,
        infer=of_format,
        torch=_halves_torch,
        counts=per_output,
        level=Level.INTEGER,
        mixes_samples=over_batch,
    )
)


def _monitor_torch(op: Op[LossMonitor], _rt: TorchContext) -> Run:
    a = op.attrs
    value = VALUES[a.loss]

    def loss(z: Tensor, label: Tensor) -> Any:
        real = z.float() * a.step
        targets = label.float() * a.target_step if label.dim() == z.dim() else one_hot(label, real)
        return value(real, targets) * a.scale

    return loss


register(
    OpRecord(
        kind="monitor",
        doc="the loss of integer scores, as a real number for learning curves; no part of a deployed step",
        attrs=LossMonitor,
        infer=lambda inputs, attrs: [((), Float(32))],
        torch=_monitor_torch,
        counts=lambda op: Counts(other={op.phase: 3 * op.inputs[0].size}),
        level=Level.INTEGER,
    )
)


def _monitor_goodness_torch(op: Op[Monitor], _rt: TorchContext) -> Run:
    from torch.nn.functional import softplus

    unit, scale = op.attrs.step, op.attrs.scale
    half = op.inputs[0].shape[0] // 2
    return lambda z: (softplus(z[:half] * -unit).sum() + softplus(z[half:] * unit).sum()).float() * scale


register(
    OpRecord(
        kind="monitor_goodness",
        doc="the loss of integer goodness minus threshold, as a real number for learning curves",
        attrs=Monitor,
        infer=lambda inputs, attrs: [((), Float(32))],
        torch=_monitor_goodness_torch,
        counts=lambda op: Counts(other={op.phase: 3 * op.inputs[0].size}),
        level=Level.INTEGER,
    )
)
