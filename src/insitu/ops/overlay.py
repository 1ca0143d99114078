"""Labels that travel inside the samples: the first C elements of a row carry a code of the class.

Legend: B samples, C classes, N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from insitu.numbers import prng
from insitu.ops.common import Run, Streamed, TorchContext, per_output, require
from insitu.step.attrs import Attrs, attributes
from insitu.step.ir import Counts, Inferred, Level, Op, OpRecord, Value, over_batch, register

if TYPE_CHECKING:
    from torch import Tensor


@attributes
class Labels(Attrs):
    """
    Attributes:
        classes: number of classes.
    """

    classes: int


@attributes
class Overlay(Labels):
    """
    Attributes:
        one: the integer that marks a class; of reals it is 1 (1/C for no label).
    """

    one: int | None = None


@attributes
class WrongLabels(Streamed, Labels):
    """Classes other than the label, drawn at random."""


def _room(x: Value, classes: int) -> None:
    require(
        prod(x.shape[1:]) > classes,
        f"a sample of {list(x.shape[1:])} has no room for {classes} label elements",
    )


def _overlay_infer(inputs: Sequence[Value], attrs: Overlay) -> Inferred:
    x, label = inputs
    _room(x, attrs.classes)
    require(
        len(label.shape) == 1 and label.shape[0] % x.shape[0] == 0,
        f"labels {list(label.shape)} must be a multiple of the {x.shape[0]} samples",
    )
    return [((label.shape[0], *x.shape[1:]), x.format)]


def _overlay_torch(op: Op[Overlay], _rt: TorchContext) -> Run:
    classes = op.attrs.classes
    times = op.inputs[1].shape[0] // op.inputs[0].shape[0]
    one = float(1 if op.attrs.one is None else op.attrs.one)

    def overlay(x: Tensor, label: Tensor) -> Any:
        out = x.repeat(times, *(1,) * (x.dim() - 1))
        code = out.view(out.shape[0], -1)[:, :classes]
        code.zero_().scatter_(1, label.long()[:, None], one)
        return out

    return overlay


register(
    OpRecord(
        kind="overlay",
        doc="row r = sample r mod B with its first C elements replaced by the one-hot label_N[r]",
        attrs=Overlay,
        infer=_overlay_infer,
        torch=_overlay_torch,
        counts=per_output,
        level=Level.REAL | Level.INTEGER,
    )
)


def _each_infer(inputs: Sequence[Value], attrs: Overlay) -> Inferred:
    (x,) = inputs
    _room(x, attrs.classes)
    return [((x.shape[0] * attrs.classes, *x.shape[1:]), x.format)]


def _each_torch(op: Op[Overlay], _rt: TorchContext) -> Run:
    import torch

    classes = op.attrs.classes
    one = 1 if op.attrs.one is None else op.attrs.one

    def overlay(x: Tensor) -> Any:
        out = x.repeat_interleave(classes, 0)
        codes = out.view(x.shape[0], classes, -1)[:, :, :classes]
        codes.copy_((torch.eye(classes, dtype=x.dtype, device=x.device) * one).expand_as(codes))
        return out

    return overlay


register(
    OpRecord(
        kind="overlay_each",
        doc="row b C + c = sample b with its first C elements replaced by the one-hot label c",
        attrs=Overlay,
        infer=_each_infer,
        torch=_each_torch,
        counts=per_output,
        level=Level.REAL | Level.INTEGER,
    )
)


def _even_infer(inputs: Sequence[Value], attrs: Overlay) -> Inferred:
    (x,) = inputs
    _room(x, attrs.classes)
    return [(x.shape, x.format)]


def _even_torch(op: Op[Overlay], _rt: TorchContext) -> Run:
    classes = op.attrs.classes
    share = 1.0 / classes if op.attrs.one is None else op.attrs.one

    def overlay(x: Tensor) -> Any:
        out = x.clone()
        out.view(x.shape[0], -1)[:, :classes] = share
        return out

    return overlay


register(
    OpRecord(
        kind="overlay_even",
        doc="every sample with its first C elements replaced by 1/C: no label",
        attrs=Overlay,
        infer=_even_infer,
        torch=_even_torch,
        counts=per_output,
        level=Level.REAL | Level.INTEGER,
    )
)


def _one_word(op: Op) -> Counts:
    """A random word per row."""
    return Counts(other={op.phase: op.inputs[0].size}, random=op.outputs[0].size)


def _wrong_infer(inputs: Sequence[Value], attrs: WrongLabels) -> Inferred:
    (label,) = inputs
    fits = len(label.shape) == 1 and attrs.classes > 1
    require(fits, "a wrong label needs class labels [B] of 2 classes or more")
    return [(label.shape, label.format)]


def _words(op: Op[Streamed], rt: TorchContext, rows: int) -> Tensor:
    """A word per row, of this training step."""
    import torch

    key = prng.key(rt.seed, op.attrs.stream, rt.t)
    return prng.words(key, torch.arange(rows, device=rt.device))


def _wrong_torch(op: Op[WrongLabels], rt: TorchContext) -> Run:
    classes = op.attrs.classes

    def wrong(label: Tensor) -> Any:
        offset = (_words(op, rt, label.shape[0]) * (classes - 1) >> 32) + 1
        return ((label.long() + offset) % classes).to(label.dtype)

    return wrong


register(
    OpRecord(
        kind="wrong_labels",
        doc="(label + 1 + ⌊word (C - 1) / 2³²⌋) mod C: another class, drawn evenly, anew at every step",
        attrs=WrongLabels,
        infer=_wrong_infer,
        torch=_wrong_torch,
        counts=_one_word,
        level=Level.REAL | Level.INTEGER,
        mixes_samples=over_batch,
    )
)


def _draw_infer(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    z, label = inputs
    require(
        len(z.shape) == 2 and label.shape == z.shape[:1] and z.shape[1] > 1,
        f"a label is drawn from scores [B,C] and labels [B], got {list(z.shape)} and {list(label.shape)}",
    )
    return [(label.shape, label.format)]


def _draw_torch(op: Op[Streamed], rt: TorchContext) -> Run:
    classes = op.inputs[0].shape[1]

    def draw(z: Tensor, label: Tensor) -> Any:
        """The first class whose cumulative probability passes the word, else the last one."""
        kind, label = label.dtype, label.long()
        reached = z.scatter(1, label[:, None], float("-inf")).softmax(1).cumsum(1)
        unit = (_words(op, rt, label.shape[0]) >> 8).to(z.dtype) * 2.0**-24
        last = (classes - 1) - (label == classes - 1).long()
        drawn = (reached <= unit[:, None]).sum(1).minimum(last)
        return drawn.where(drawn != label, last).to(kind)

    return draw


register(
    OpRecord(
        kind="draw_wrong_labels",
        doc="another class than label_B, drawn with the probabilities softmax(z_BC) without it, anew every step",
        attrs=Streamed,
        infer=_draw_infer,
        torch=_draw_torch,
        counts=lambda op: Counts(other={op.phase: 3 * op.inputs[0].size}, random=op.outputs[0].size),
    )
)
