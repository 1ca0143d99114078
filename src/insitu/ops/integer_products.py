"""Torch halves of products and convolutions on integers: exact sums in float32 or float64.

A sum of integers is exact in float32 while no partial sum can pass 2**24. Where it could, the operands are cut into
``chunks`` along the axis that is summed; each part is exact in float32 and the parts are added in float64.
``chunks=0``: the whole op in float64. ``limit``: the exact sum saturates to the op's format. ``epilogue``: the
requantization of the sums as they leave the op, so that no wide array is ever stored.

Legend: as in :mod:`insitu.ops.matmul` and :mod:`insitu.ops.conv`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from insitu.numbers.formats import Quantized
from insitu.ops.common import (
    Columns,
    Drawn,
    Formatted,
    Padding,
    Pair,
    Run,
    Shaped,
    Sums,
    TorchContext,
    saturates_to,
)
from insitu.ops.quant import EXACT, ROOM, Mode, ReadsWeights, WeightView, onto, random_words, reader, shifted
from insitu.step.attrs import Attrs, Range, attributes, names, portable
from insitu.step.ir import Format, Op

if TYPE_CHECKING:
    from torch import Tensor

GEOMETRY = ("stride", "padding", "dilation", "groups")


@portable
@dataclass(frozen=True)
class Epilogue:
    """A static requantization at the end of an op (see the op ``requant``)."""

    format: Quantized
    shift: int
    rounding: Mode
    times: int = 1
    stream: str | None = None

    def __str__(self) -> str:
        times = f"*{self.times}" if self.times != 1 else ""
        return f"{self.format}{times}>>{self.shift} {self.rounding}"


@attributes
class WithEpilogue(Sums):
    """
    Attributes:
        epilogue: requantization of the sums as they leave the op.
    """

    epilogue: Epilogue | None = None

    @property
    def draws(self) -> bool:
        return (self.epilogue is not None and self.epilogue.stream is not None) or super().draws

    def result(self, default: Format) -> Format:
        """The format of what leaves the op."""
        return super().result(default) if self.epilogue is None else self.epilogue.format


def epilogue(attrs: Attrs) -> Epilogue | None:
    """The requantization at the end of an op, where it has one."""
    return attrs.epilogue if isinstance(attrs, WithEpilogue) else None


@attributes
class Biased(Sums):
    """
    Attributes:
        bias_shift: bits that the bias is shifted to the left by, to the units of the sum.
        read_bias: how the bias is read.
    """

    bias_shift: int | None = None
    read_bias: WeightView | None = None


@attributes
class Geometry(Sums):
    """
    Attributes:
        stride: of rows and columns.
        padding: zeros on each side of rows and columns.
        dilation: of rows and columns.
        groups: that the channels are divided into.
    """

    stride: Pair
    padding: Padding
    dilation: Pair
    groups: Annotated[int, Range(1)]

    @property
    def geometry(self) -> tuple[Pair, Pair, Pair, int]:
        """Stride, padding, dilation and groups, in PyTorch's order."""
        return self.stride, self.padding, self.dilation, self.groups


def chunks(bound: int, length: int) -> int:
    """Into how many parts an axis is cut for sums up to ``bound``; 0 where float64 must carry the whole op."""
    if bound <= EXACT - ROOM:
        return 1
    parts = -(-bound // EXACT)
    return parts if parts <= length else 0


@attributes
class View(Sums):
    """
    Attributes:
        view: what stands in for the matrix: its signs times ``scale``, times the magnitudes of a third operand, or
            times fresh random magnitudes up to ``scale``; the matrix itself where none.
        scale: of the signs.
    """

    view: Literal["sign", "sign-magnitude", "sign-fresh"] | None = None
    scale: float | None = None


@attributes
class Viewed(Drawn, View):
    """A matrix or a view of it; fresh magnitudes draw random words."""


@attributes
class Product(WithEpilogue, ReadsWeights, Biased):
    """A product with weights."""


@attributes
class MatrixView(ReadsWeights, Viewed):
    """How an adjoint reads its matrix."""


@attributes
class ProductDx(WithEpilogue, MatrixView):
    """The error below a product with weights."""


@attributes
class Convolution(WithEpilogue, ReadsWeights, Biased, Geometry):
    """A convolution with a kernel."""


@attributes
class ConvolutionDx(WithEpilogue, MatrixView, Shaped, Geometry):
    """The error below a convolution."""

    def order(self) -> tuple[str, ...]:
        return _first("shape", self)


@attributes
class ConvolutionDw(Geometry):
    """
    Attributes:
        kernel: shape of the result, [K, C/groups, R, S].
    """

    kernel: tuple[int, ...]

    def order(self) -> tuple[str, ...]:
        return _first("kernel", self)


def _first(name: str, attrs: Formatted) -> tuple[str, ...]:
    """Steps on reals print the shape of the result in front of the geometry, steps on integers behind it."""
    order = names(type(attrs))
    return order if attrs.format else (name, *(n for n in order if n != name))


@attributes
class Projection(WithEpilogue, Columns):
    """A product with a feedback matrix."""


def spans(length: int, parts: int) -> list[slice]:
    """``parts`` slices of about equal size."""
    size = -(-length // parts)
    return [slice(i, min(i + size, length)) for i in range(0, length, size)]


def limited(op: Op[Sums], run: Callable[..., Any]) -> Callable[..., Any]:
    """The op with its saturating accumulator, if it has one."""
    fmt = saturates_to(op.attrs)
    if fmt is None:
        return run
    return lambda *operands: run(*operands).clamp_(fmt.least, fmt.greatest)


def _ended(op: Op[WithEpilogue], rt: TorchContext, run: Callable[..., Any]) -> Callable[..., Any]:
    """The op with its limit and its requantization."""
    run = limited(op, run)
    epilogue = op.attrs.epilogue
    if epilogue is None:
        return run
    size, shape = op.outputs[0].size, op.outputs[0].shape

    def ended(*operands: Tensor) -> Any:
        x = run(*operands)
        if epilogue.times != 1:
            x = x.double() * epilogue.times
        words = None if epilogue.stream is None else random_words(rt, epilogue.stream, 0, size).view(shape)
        return onto(shifted(x, epilogue.shift, epilogue.rounding, words, own=True), epilogue.format)

    return ended


def _summed(
    op: Op[Sums], length: int, part: Callable[..., Any], whole: Callable[..., Any]
) -> Callable[..., Any]:
    """``whole(a, b)``, or the float64 sum of ``part(a, b, slice)`` over the chunks of an axis."""
    count = op.attrs.chunks
    if count == 1:
        return whole
    if not count:
        return lambda a, b: whole(a.double(), b.double())
    cuts = spans(length, count)

    def total(a: Tensor, b: Tensor) -> Any:
        out = part(a, b, cuts[0]).double()
        for cut in cuts[1:]:
            out += part(a, b, cut)
        return out

    return total


def dense(op: Op[Product], rt: TorchContext) -> Run:
    """z = x wᵀ (+ bias · 2^bias_shift)."""
    from torch.nn.functional import linear

    read, read_bias = reader(op, op.attrs.read), reader(op, op.attrs.read_bias)
    scale = 2.0 ** (op.attrs.bias_shift or 0)
    product = _summed(op, op.inputs[0].shape[1], lambda x, w, i: linear(x[:, i], w[:, i]), linear)

    def run(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Any:
        z = product(x, read(w))
        return z if bias is None else z.add_(read_bias(bias) * scale)

    return _ended(op, rt, run)


def _signed(op: Op[MatrixView]) -> Callable[[Any], Any]:
    """The feedback matrix: the weights as they are read, or their signs."""
    import torch

    read = reader(op, op.attrs.read)
    return (lambda w: torch.sign(read(w))) if op.attrs.view == "sign" else read


def dense_dx(op: Op[ProductDx], rt: TorchContext) -> Run:
    """e = d w."""
    import torch

    matrix = _signed(op)
    product = _summed(op, op.inputs[0].shape[1], lambda d, w, o: d[:, o] @ w[o], torch.mm)
    return _ended(op, rt, lambda d, w: product(d, matrix(w)))


def dense_dw(op: Op[Sums], rt: TorchContext) -> Run:
    """g = dᵀ x."""

    def whole(d: Tensor, x: Tensor) -> Any:
        return d.t() @ x

    return limited(op, _summed(op, op.inputs[0].shape[0], lambda d, x, b: whole(d[b], x[b]), whole))


def projected(op: Op[Projection], rt: TorchContext) -> Run:
    """δ = e B, the first columns."""
    columns = op.attrs.columns

    def whole(e: Tensor, matrix: Tensor) -> Any:
        return e @ matrix[:, :columns]

    return _ended(op, rt, _summed(op, op.inputs[0].shape[1], lambda e, m, c: whole(e[:, c], m[c]), whole))


def conv(op: Op[Convolution], rt: TorchContext) -> Run:
    """z = conv(x, w) (+ bias · 2^bias_shift)."""
    import torch

    read, read_bias = reader(op, op.attrs.read), reader(op, op.attrs.read_bias)
    scale = 2.0 ** (op.attrs.bias_shift or 0)
    geometry = op.attrs.geometry

    def whole(x: Tensor, w: Tensor) -> Any:
        return torch.conv2d(x, w, None, *geometry)

    product = _summed(op, op.inputs[0].shape[1], lambda x, w, c: whole(x[:, c], w[:, c]), whole)

    def run(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Any:
        z = product(x, read(w))
        return z if bias is None else z.add_((read_bias(bias) * scale).view(1, -1, 1, 1))

    return _ended(op, rt, run)


def _conv_backward(op: Op[Geometry], wanted: int) -> Callable[[Any, Any, Any], Any]:
    import torch

    stride, padding, dilation, groups = op.attrs.geometry
    mask = (wanted == 0, wanted == 1, False)
    full = torch.ops.aten.convolution_backward.default
    return lambda d, x, w: full(d, x, w, None, stride, padding, dilation, False, (0, 0), groups, mask)[wanted]


def conv_dx(op: Op[ConvolutionDx], rt: TorchContext) -> Run:
    """e = transposed conv(d, w)."""
    matrix, backward, shape = _signed(op), _conv_backward(op, 0), op.outputs[0].shape

    def whole(d: Tensor, w: Tensor) -> Any:
        return backward(d, d.new_empty(1).expand(shape), w)

    product = _summed(op, op.inputs[0].shape[1], lambda d, w, k: whole(d[:, k], w[k]), whole)
    return _ended(op, rt, lambda d, w: product(d, matrix(w)))


def conv_dw(op: Op[ConvolutionDw], rt: TorchContext) -> Run:
    """g = correlation of x with d."""
    backward, kernel = _conv_backward(op, 1), op.attrs.kernel

    def whole(d: Tensor, x: Tensor) -> Any:
        return backward(d, x, d.new_empty(1).expand(kernel))

    return limited(op, _summed(op, op.inputs[0].shape[0], lambda d, x, b: whole(d[b], x[b]), whole))
