"""Losses: each op gives the output error e = ∂L/∂z at once; the loss itself only where it is asked for.

``scale`` multiplies the summed error: 1/B for a mean over the batch (PyTorch's ``reduction="mean"``).
Labels are class indices [B], or for ``mse`` and ``bce`` targets of the output's shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

from insitu.ops.common import Run, TorchContext, require
from insitu.step.attrs import Attrs, attributes
from insitu.step.ir import Counts, Inferred, Op, OpRecord, Value, register

if TYPE_CHECKING:
    from torch import Tensor


@attributes
class Scaled(Attrs):
    """
    Attributes:
        scale: factor on the summed loss (and its error).
    """

    scale: float


@attributes
class Loss(Scaled):
    """
    Attributes:
        with_loss: the op also gives the loss, a scalar.
    """

    with_loss: bool


@attributes
class Margin(Attrs):
    """
    Attributes:
        relative: part of the margin, in lengths ‖h‖₁ of the layer's input.
        margin: constant part of the margin.
        every: all violators have an error, not only the one of the highest score.
    """

    relative: float
    margin: float
    every: bool


@attributes
class Violation(Loss, Margin):
    """
    Attributes:
        mean: the violators share an error of 1.
    """

    mean: bool = False


def _fits(inputs: Sequence[Value]) -> None:
    z, label = inputs
    fits = (label.shape == (z.shape[0],) and len(z.shape) == 2) or label.shape == z.shape
    require(fits, f"labels {list(label.shape)} do not fit the output {list(z.shape)}")


def _infer(inputs: Sequence[Value], attrs: Loss) -> Inferred:
    _fits(inputs)
    z = inputs[0]
    error = (z.shape, z.format)
    return [error, ((), z.format)] if attrs.with_loss else [error]


def one_hot(label: Tensor, z: Tensor) -> Any:
    """Class indices [B] as {0, 1} of z's type and shape; targets pass through."""

    if label.dim() == z.dim():
        return label
    return _identity(z.shape[1], z.dtype, z.device).index_select(0, label.int())


@lru_cache(maxsize=8)
def _identity(classes: int, dtype: Any, device: Any) -> Any:
    import torch

    return torch.eye(classes, dtype=dtype, device=device)


def _times(e: Tensor, scale: float) -> Any:
    return e if scale == 1.0 else e.mul_(scale)


def _xent_value(z: Tensor, t: Tensor) -> Any:
    return z.logsumexp(1).sum() - (z * t).sum()


def _xent(z: Tensor, label: Tensor, scale: float, out: Tensor | None, with_loss: bool) -> Any:
    import torch

    t = one_hot(label, z)
    loss = _xent_value(z, t) * scale if with_loss else None
    p = torch.softmax(z, 1) if out is None else torch.softmax(z, 1, out=out)
    return _times(p.sub_(t), scale), loss


def _bce_value(z: Tensor, t: Tensor) -> Any:
    import torch

    return torch.nn.functional.softplus(z).sum() - (z * t).sum()


def _bce(z: Tensor, label: Tensor, scale: float, out: Tensor | None, with_loss: bool) -> Any:
    t = one_hot(label, z)
    loss = _bce_value(z, t) * scale if with_loss else None
    p = z.sigmoid() if out is None else z.sigmoid_()
    return _times(p.sub_(t), scale), loss


def _mse_value(z: Tensor, t: Tensor) -> Any:
    return (z - t).square().sum()


def _mse(z: Tensor, label: Tensor, scale: float, out: Tensor | None, with_loss: bool) -> Any:
    t = one_hot(label, z)
    e = z - t if out is None else z.sub_(t)
    loss = e.square().sum() * scale if with_loss else None
    return _times(e, 2 * scale), loss


def _margin(z: Tensor, t: Tensor) -> Any:
    """1 - z_y + z_j of every class j ≠ y."""
    right = (z * t).sum(1, keepdim=True)
    return (z - right + 1).mul_(1 - t)


def _hinge_value(z: Tensor, t: Tensor) -> Any:
    return _margin(z, t).clamp_(min=0).sum()


def _hinge(z: Tensor, label: Tensor, scale: float, out: Tensor | None, with_loss: bool) -> Any:
    """Multi-class hinge: sum over j ≠ y of max(0, 1 - z_y + z_j)."""
    t = one_hot(label, z)
    margin = _margin(z, t)
    loss = margin.clamp(min=0).sum() * scale if with_loss else None
    wrong = (margin > 0).to(z.dtype)
    e = wrong.sub_(t * wrong.sum(1, keepdim=True)).mul_(scale)
    return (e if out is None else out.copy_(e)), loss


LossFunction = Callable[[Any, Any, float, Any, bool], Any]
LOSSES: dict[str, LossFunction] = {"xent": _xent, "bce": _bce, "mse": _mse, "hinge": _hinge}
VALUES = {"xent": _xent_value, "bce": _bce_value, "mse": _mse_value, "hinge": _hinge_value}
"""The losses alone: summed, of outputs and targets."""


def mean_scale(loss: str, shape: Sequence[int]) -> float:
    """The scale that gives PyTorch's mean reduction: 1/B; for bce, mse and hinge 1/(B·outputs)."""
    return 1.0 / shape[0] if loss == "xent" else 1.0 / prod(shape)


def _torch(function: LossFunction) -> Callable[[Op[Loss], TorchContext], Run]:
    def lower(op: Op[Loss], _rt: TorchContext) -> Any:
        scale, with_loss, inplace = op.attrs.scale, op.attrs.with_loss, op.inplace == 0

        def error(z: Tensor, label: Tensor) -> Any:
            e, loss = function(z, label, scale, z if inplace else None, with_loss)
            return (e, loss) if with_loss else e

        return error

    return lower


_DOCS = {
    "xent": "e = scale · (softmax(z) - t), softmax cross-entropy",
    "bce": "e = scale · (sigmoid(z) - t), binary cross-entropy per output",
    "mse": "e = scale · 2 (z - t)",
    "hinge": "e = scale · subgradient of the multi-class hinge loss, margin 1",
}
_SCORES = {"xent": 32.0, "bce": 8.0, "mse": 8.0, "hinge": 8.0}
for _name, _function in LOSSES.items():
    register(
        OpRecord(
            kind=f"{_name}_error",
            doc=_DOCS[_name],
            attrs=Loss,
            infer=_infer,
            torch=_torch(_function),
            counts=lambda op: Counts(other={op.phase: 3 * op.inputs[0].size}),
            inplace=(0,),
            trigger=_name == "hinge",
            scores=_SCORES[_name],
        )
    )


def violations(z: Tensor, label: Tensor, bound: Tensor, every: bool) -> Any:
    """e [B,C] in whole numbers: 1 at the violators of the margin ``bound`` (or [B,1]), minus their number at the label.

    A violator is a class j other than y with z_j - z_y + bound > 0; of them all, or the first of the highest score.
    """
    import torch

    at = label.long()[:, None]
    t = torch.zeros_like(z).scatter_(1, at, 1.0)
    short = z - z.gather(1, at) + bound
    wrong = (short > 0).to(z.dtype) * (1 - t)
    if not every:
        rival = short.masked_fill(t > 0, -torch.inf).argmax(1, keepdim=True)
        wrong = torch.zeros_like(z).scatter_(1, rival, wrong.gather(1, rival))
    return wrong - t * wrong.sum(1, keepdim=True)


def _violation_infer(inputs: Sequence[Value], attrs: Violation) -> Inferred:
    z, label, *rest = inputs
    require(
        len(z.shape) == 2 and label.shape == z.shape[:1],
        f"a margin needs scores [B,C] and class labels [B], got {list(z.shape)} and {list(label.shape)}",
    )
    for h in rest:
        require(h.shape[:1] == z.shape[:1], f"{h.shape[0]} rows of h do not fit {z.shape[0]} of the scores")
    return _infer((z, label), attrs)


def _violation_torch(op: Op[Violation], _rt: TorchContext) -> Run:
    a = op.attrs

    def error(z: Tensor, label: Tensor, h: Tensor | None = None) -> Any:
        bound = a.margin if h is None else a.relative * h.flatten(1).abs().sum(1, keepdim=True) + a.margin
        e = violations(z, label, bound, a.every).mul_(a.scale)
        if a.mean:
            e /= (e > 0).sum(1, keepdim=True).clamp_(min=1)
        return (e, _xent_value(z, one_hot(label, z)) * a.scale) if a.with_loss else e

    return error


def of_violations(op: Op) -> Counts:
    """Passes over the scores, and one over h where the margin grows with it."""
    return Counts(other={op.phase: 3 * op.inputs[0].size + sum(h.size for h in op.inputs[2:3])})


register(
    OpRecord(
        kind="violation_error",
        doc="e = scale · (1 at violators of the margin relative · ‖h‖₁ + margin, minus their number at y), or its mean "
        "over them",
        attrs=Violation,
        infer=_violation_infer,
        torch=_violation_torch,
        counts=of_violations,
        trigger=True,
        scores=32.0,
    )
)


def _value_infer(inputs: Sequence[Value], _attrs: Scaled) -> Inferred:
    _fits(inputs)
    return [((), inputs[0].format)]


def _value_torch(value: Callable[[Any, Any], Any]) -> Callable[[Op[Scaled], TorchContext], Run]:
    return lambda op, _rt: lambda z, label: value(z, one_hot(label, z)) * op.attrs.scale


for _name, _value in VALUES.items():
    register(
        OpRecord(
            kind=f"{_name}_loss",
            doc=f"the loss of {_name}_error alone, a scalar: no error is made",
            attrs=Scaled,
            infer=_value_infer,
            torch=_value_torch(_value),
            counts=lambda op: Counts(other={op.phase: 3 * op.inputs[0].size}),
            scores=_SCORES[_name],
        )
    )
