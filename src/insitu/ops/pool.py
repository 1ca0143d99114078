"""Pooling and its adjoints.

A max pool also gives the flat position of each maximum in its input plane: its input need not be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

from insitu.errors import StepError
from insitu.numbers.formats import unsigned
from insitu.ops.common import (
    Padding,
    Pair,
    Run,
    Shaped,
    TorchContext,
    error_attrs,
    or_zero,
    per_output,
    require,
)
from insitu.ops.conv import plane
from insitu.step.attrs import Attrs, Range, attributes
from insitu.step.builder import Builder
from insitu.step.ir import Counts, Inferred, Level, Op, OpRecord, Shape, Trait, Value, register

if TYPE_CHECKING:
    from torch import Tensor


@attributes
class Window(Attrs):
    """
    Attributes:
        kernel: rows and columns of the window.
        stride: of the windows.
        padding: on each side of rows and columns.
    """

    kernel: Pair
    stride: Pair
    padding: Padding

    @property
    def window(self) -> Window:
        """Kernel, stride and padding alone."""
        return Window(kernel=self.kernel, stride=self.stride, padding=self.padding)


@attributes
class Pool(Attrs):
    """
    Attributes:
        kernel: rows and columns of the window.
        stride: of the windows.
        padding: on each side of rows and columns.
        size: of the result, in place of a window (an adaptive pool).
    """

    kernel: Pair | None = None
    stride: Pair | None = None
    padding: Padding | None = None
    size: Pair | None = None

    @property
    def window(self) -> Window | None:
        """Kernel, stride and padding; ``None`` for an adaptive pool."""
        if self.kernel is None or self.stride is None or self.padding is None:
            return None
        return Window(kernel=self.kernel, stride=self.stride, padding=self.padding)


@attributes
class MaxPool(Pool):
    """
    Attributes:
        positions: the op also gives the position of each maximum.
    """

    positions: bool = True


@attributes
class AvgUnpool(Pool, Shaped):
    """The error below an average pool."""


@attributes
class UnpoolGate(Window):
    """
    Attributes:
        parts: that an error is divided into.
    """

    parts: Annotated[int, Range(1)]


def pooled_shape(x: Value, attrs: Pool) -> Shape:
    """The shape behind a pool of x.

    Raises:
        StepError: where the window does not fit.
    """
    require(len(x.shape) == 4, f"pooling needs [B,C,H,W], got {list(x.shape)}")
    if attrs.size is not None:
        return (*x.shape[:2], *attrs.size)
    window = attrs.window
    if window is None:
        raise StepError("a pool needs kernel, stride and padding, or the size of its result")
    return windowed_shape(x, window)


def windowed_shape(x: Value, attrs: Window) -> Shape:
    """As :func:`pooled_shape`, for a fixed window."""
    require(len(x.shape) == 4, f"pooling needs [B,C,H,W], got {list(x.shape)}")
    out = [plane(x.shape[2 + i], attrs.kernel[i], attrs.stride[i], attrs.padding[i]) for i in (0, 1)]
    require(min(out) > 0, f"the window {attrs.kernel} is larger than the plane {list(x.shape[2:])}")
    return (*x.shape[:2], *out)


def _window(op: Op[Pool]) -> int:
    """Input elements read per output element (for adaptive pools: at most)."""
    if op.attrs.kernel is not None:
        return prod(op.attrs.kernel)
    x, y = op.inputs[0].shape, op.outputs[0].shape
    return prod(-(-x[2 + i] // y[2 + i]) for i in (0, 1))


def _reads(op: Op[Pool]) -> Counts:
    return Counts(other={op.phase: op.outputs[0].size * _window(op)})


def _max_infer(inputs: Sequence[Value], attrs: MaxPool) -> Inferred:
    (x,) = inputs
    shape = pooled_shape(x, attrs)
    found = [(shape, x.format), (shape, unsigned(x.shape[2] * x.shape[3]))]
    return found if attrs.positions else found[:1]


def _integer_type(bits: int) -> Any:
    import torch

    return {8: torch.uint8, 16: torch.uint16, 32: torch.int32}[bits]


def _max_torch(op: Op[MaxPool], _rt: TorchContext) -> Run:
    import torch

    a, pool = op.attrs, torch.ops.aten.adaptive_max_pool2d.default
    arguments: tuple[Pair | None, ...] = (a.size,)
    if a.size is None:
        pool, arguments = torch.ops.aten.max_pool2d_with_indices.default, (a.kernel, a.stride, a.padding)
    if len(op.outputs) == 1:
        return lambda x: pool(x, *arguments)[0]
    kind = _integer_type(op.outputs[1].format.bits)

    def forward(x: Tensor) -> Any:
        y, index = pool(x, *arguments)
        return y, index.to(kind)

    return forward


def _max_adjoint(
    b: Builder, op: Op, cotangents: Sequence[Value | None], _needs: Sequence[int]
) -> dict[int, Value]:
    d = cotangents[0]
    assert d is not None
    return {0: b.emit1("max_unpool", d, op.outputs[1], shape=op.inputs[0].shape, **error_attrs())}


register(
    OpRecord(
        kind="max_pool",
        doc="y_BCPQ, and the position of each maximum unless `positions` is false; by kernel, stride, padding, or size",
        attrs=MaxPool,
        infer=_max_infer,
        torch=_max_torch,
        counts=_reads,
        adjoint=_max_adjoint,
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.PASSES_EXPONENT,),
    )
)


def _max_unpool_torch(op: Op, _rt: TorchContext) -> Run:
    import torch

    shape = op.outputs[0].shape
    planes = shape[2] * shape[3]

    def backward(d: Tensor, index: Tensor) -> Any:
        flat = d.new_zeros((shape[0], shape[1], planes))
        flat.scatter_add_(2, index.flatten(2).to(torch.int64), d.flatten(2))
        return flat.view(shape)

    return backward


def _max_unpool_infer(inputs: Sequence[Value], attrs: Shaped) -> Inferred:
    d, index = inputs
    shape = attrs.shape
    require(
        d.shape == index.shape and d.shape[:2] == shape[:2],
        f"error {list(d.shape)}, positions {list(index.shape)} and plane {list(shape)} do not fit",
    )
    return [(shape, or_zero(d.format))]


register(
    OpRecord(
        kind="max_unpool",
        doc="e_BCHW = d_BCPQ put back at the positions of the maxima, zero elsewhere",
        attrs=Shaped,
        infer=_max_unpool_infer,
        torch=_max_unpool_torch,
        counts=per_output,
        level=Level.REAL | Level.INTEGER,
    )
)


def _avg_torch(op: Op[Pool], _rt: TorchContext) -> Run:
    import torch

    size = op.attrs.size
    if size is not None:
        adaptive = torch.ops.aten._adaptive_avg_pool2d.default
        return lambda x: adaptive(x, size)
    pool = torch.ops.aten.avg_pool2d.default
    arguments = (op.attrs.kernel, op.attrs.stride, op.attrs.padding)
    return lambda x: pool(x, *arguments)


def _avg_adjoint(
    b: Builder, op: Op[Pool], cotangents: Sequence[Value], _needs: Sequence[int]
) -> dict[int, Value]:
    return {
        0: b.emit1(
            "avg_unpool", cotangents[0], shape=op.inputs[0].shape, **op.attrs.explicit(), **error_attrs()
        )
    }


register(
    OpRecord(
        kind="avg_pool",
        doc="y_BCPQ = mean over each window (padding counts as zero), or adaptive to a size",
        attrs=Pool,
        infer=lambda inputs, attrs: [(pooled_shape(inputs[0], attrs), inputs[0].format)],
        torch=_avg_torch,
        counts=_reads,
        adjoint=_avg_adjoint,
        traits=(Trait.PASSES_EXPONENT,),
    )
)


def _avg_unpool_torch(op: Op[AvgUnpool], _rt: TorchContext) -> Run:
    import torch

    aten = torch.ops.aten
    shape = op.outputs[0].shape
    if op.attrs.size is not None:
        return lambda d: aten._adaptive_avg_pool2d_backward.default(d, d.new_empty(1).expand(shape))
    arguments = (op.attrs.kernel, op.attrs.stride, op.attrs.padding, False, True, None)
    return lambda d: aten.avg_pool2d_backward.default(d, d.new_empty(1).expand(shape), *arguments)


register(
    OpRecord(
        kind="avg_unpool",
        doc="e_BCHW = each error spread evenly over its window",
        attrs=AvgUnpool,
        infer=lambda inputs, attrs: [(attrs.shape, inputs[0].format)],
        torch=_avg_unpool_torch,
        counts=per_output,
    )
)


def tiles(attrs: Window) -> bool:
    """Do the windows of a pool lie side by side?"""
    return attrs.kernel == attrs.stride and not any(attrs.padding)


def _unpool_gate_infer(inputs: Sequence[Value], attrs: UnpoolGate) -> Inferred:
    d, kept = inputs
    require(
        windowed_shape(kept, attrs) == d.shape and tiles(attrs),
        f"error {list(d.shape)} is not that of windows side by side in {list(kept.shape)}",
    )
    return [(kept.shape, or_zero(d.format))]


def _unpool_gate_torch(op: Op[UnpoolGate], _rt: TorchContext) -> Run:
    import torch

    gate = torch.ops.aten.threshold_backward.grad_input
    (rows, columns), (p, q) = op.attrs.kernel, op.inputs[0].shape[2:]
    parts = op.attrs.parts

    def windows(plane: Tensor) -> Any:
        inner = plane.narrow(2, 0, p * rows).narrow(3, 0, q * columns)
        return inner.unflatten(3, (q, columns)).unflatten(2, (p, rows))

    def run(d: Tensor, kept: Tensor) -> Any:
        out = torch.zeros_like(kept) if op.inplace is None else kept
        inner = windows(out)
        part = (d / parts if parts != 1 else d)[:, :, :, None, :, None].expand(inner.shape)
        gate(part, windows(kept), 0, grad_input=inner)
        out[:, :, p * rows :] = 0
        out[..., q * columns :] = 0
        return out

    return run


register(
    OpRecord(
        kind="unpool_gate",
        doc="e_BCHW = d_BCPQ / parts spread over windows side by side, where the ReLU's output is above 0; else 0",
        attrs=UnpoolGate,
        infer=_unpool_gate_infer,
        torch=_unpool_gate_torch,
        counts=per_output,
        inplace=(1,),
        level=Level.REAL | Level.INTEGER | Level.FUSED,
    )
)


@attributes
class Factor2d(Attrs):
    """
    Attributes:
        factor: copies of each row and each column.
    """

    factor: Pair

    @property
    def window(self) -> Window:
        """The copies of an element, side by side."""
        return Window(kernel=self.factor, stride=self.factor, padding=(0, 0))


def _upsample_infer(inputs: Sequence[Value], attrs: Factor2d) -> Inferred:
    (x,) = inputs
    require(len(x.shape) == 4, f"upsampling needs [B,C,H,W], got {list(x.shape)}")
    plane = (n * times for n, times in zip(x.shape[2:], attrs.factor))
    return [((*x.shape[:2], *plane), x.format)]


def _upsample_torch(op: Op[Factor2d], _rt: TorchContext) -> Run:
    rows, columns = op.attrs.factor
    return lambda x: x.repeat_interleave(rows, 2).repeat_interleave(columns, 3)


def _upsample_adjoint(
    b: Builder, op: Op[Factor2d], cotangents: Sequence[Value], _needs: Sequence[int]
) -> dict[int, Value]:
    return {0: b.emit1("upsample_dx", cotangents[0], factor=op.attrs.factor, **error_attrs())}


register(
    OpRecord(
        kind="upsample",
        doc="y_BCPQ = each element of x_BCHW in a window of its own, `factor` rows and columns of copies",
        attrs=Factor2d,
        infer=_upsample_infer,
        torch=_upsample_torch,
        counts=per_output,
        adjoint=_upsample_adjoint,
        traits=(Trait.PASSES_EXPONENT,),
    )
)


def _upsample_dx_infer(inputs: Sequence[Value], attrs: Factor2d) -> Inferred:
    (d,) = inputs
    fits = len(d.shape) == 4 and not any(n % times for n, times in zip(d.shape[2:], attrs.factor))
    require(fits, f"an error {list(d.shape)} is not that of a map upsampled by {attrs.factor}")
    return [(windowed_shape(d, attrs.window), or_zero(d.format))]


def _upsample_dx_torch(op: Op[Factor2d], _rt: TorchContext) -> Run:
    (rows, columns), (p, q) = op.attrs.factor, op.outputs[0].shape[2:]
    return lambda d: d.unflatten(3, (q, columns)).unflatten(2, (p, rows)).sum((3, 5))


register(
    OpRecord(
        kind="upsample_dx",
        doc="e_BCHW = sum of the errors of an element's copies",
        attrs=Factor2d,
        infer=_upsample_dx_infer,
        torch=_upsample_dx_torch,
        counts=lambda op: Counts(other={op.phase: op.inputs[0].size}),
    )
)
