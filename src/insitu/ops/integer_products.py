"""Torch halves of products and convolutions on integers: exact sums in float32 or float64.

A sum of integers is exact in float32 while no partial sum can pass 2**24. Where it could, the operands are cut into
``chunks`` along the axis that is summed; each part is exact in float32 and the parts are added in float64.
``chunks=0``: the whole op in float64. ``limit``: the exact sum saturates to the op's format. ``then`` requantizes the
sums as they leave the op, so that no wide array is ever stored.

Legend: as in :mod:`insitu.ops.matmul` and :mod:`insitu.ops.conv`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from insitu.numbers.formats import Quantized
from insitu.ops.quant import EXACT, ROOM, onto, random_words, reader, shifted
from insitu.step.ir import Op

GEOMETRY = ("stride", "padding", "dilation", "groups")


@dataclass(frozen=True)
class Then:
    """A static requantization at the end of an op (see the op ``requant``)."""

    format: Quantized
    shift: int
    rounding: str
    times: int = 1
    stream: str | None = None

    def __str__(self) -> str:
        times = f"*{self.times}" if self.times != 1 else ""
        return f"{self.format}{times}>>{self.shift} {self.rounding}"


def chunks(bound: int, length: int) -> int:
    """Into how many parts an axis is cut for sums up to ``bound``; 0 where float64 must carry the whole op."""
    if bound <= EXACT - ROOM:
        return 1
    parts = -(-bound // EXACT)
    return parts if parts <= length else 0


def spans(length: int, parts: int) -> list[slice]:
    """``parts`` slices of about equal size."""
    size = -(-length // parts)
    return [slice(i, min(i + size, length)) for i in range(0, length, size)]


def limited(op: Op, run: Callable[..., Any]) -> Callable[..., Any]:
    """The op with its saturating accumulator, if it has one."""
    if not op.attrs.get("limit"):
        return run
    fmt = op.attrs["format"]
    return lambda *operands: run(*operands).clamp_(fmt.least, fmt.greatest)


def _ended(op: Op, rt: Any, run: Callable[..., Any]) -> Callable[..., Any]:
    """The op with its limit and its requantization."""
    run = limited(op, run)
    then: Then | None = op.attrs.get("then")
    if then is None:
        return run
    size, shape = op.outputs[0].size, op.outputs[0].shape

    def ended(*operands: Any) -> Any:
        x = run(*operands)
        if then.times != 1:
            x = x.double() * then.times
        words = None if then.stream is None else random_words(rt, then.stream, 0, size).view(shape)
        return onto(shifted(x, then.shift, then.rounding, words, own=True), then.format)

    return ended


def _summed(op: Op, length: int, part: Callable[..., Any], whole: Callable[..., Any]) -> Callable[..., Any]:
    """``whole(a, b)``, or the float64 sum of ``part(a, b, slice)`` over the chunks of an axis."""
    count = op.attrs["chunks"]
    if count == 1:
        return whole
    if count == 0:
        return lambda a, b: whole(a.double(), b.double())
    cuts = spans(length, count)

    def total(a: Any, b: Any) -> Any:
        out = part(a, b, cuts[0]).double()
        for cut in cuts[1:]:
            out += part(a, b, cut)
        return out

    return total


def dense(op: Op, rt: Any) -> Any:
    """z = x wᵀ (+ bias · 2^bias_shift)."""
    from torch.nn.functional import linear

    read, read_bias = reader(op), reader(op, "read_bias")
    scale = 2.0 ** op.attrs.get("bias_shift", 0)
    product = _summed(op, op.inputs[0].shape[1], lambda x, w, i: linear(x[:, i], w[:, i]), linear)

    def run(x: Any, w: Any, bias: Any = None) -> Any:
        z = product(x, read(w))
        return z if bias is None else z.add_(read_bias(bias) * scale)

    return _ended(op, rt, run)


def _signed(op: Op) -> Callable[[Any], Any]:
    """The feedback matrix: the weights as they are read, or their signs."""
    import torch

    read = reader(op)
    return (lambda w: torch.sign(read(w))) if op.attrs.get("view") == "sign" else read


def dense_dx(op: Op, rt: Any) -> Any:
    """e = d w."""
    import torch

    matrix = _signed(op)
    product = _summed(op, op.inputs[0].shape[1], lambda d, w, o: d[:, o] @ w[o], torch.mm)
    return _ended(op, rt, lambda d, w: product(d, matrix(w)))


def dense_dw(op: Op, rt: Any) -> Any:
    """g = dᵀ x."""

    def whole(d: Any, x: Any) -> Any:
        return d.t() @ x

    return limited(op, _summed(op, op.inputs[0].shape[0], lambda d, x, b: whole(d[b], x[b]), whole))


def projected(op: Op, rt: Any) -> Any:
    """δ = e B, the first columns."""
    columns = op.attrs["columns"]

    def whole(e: Any, matrix: Any) -> Any:
        return e @ matrix[:, :columns]

    return _ended(op, rt, _summed(op, op.inputs[0].shape[1], lambda e, m, c: whole(e[:, c], m[c]), whole))


def conv(op: Op, rt: Any) -> Any:
    """z = conv(x, w) (+ bias · 2^bias_shift)."""
    import torch

    read, read_bias = reader(op), reader(op, "read_bias")
    scale = 2.0 ** op.attrs.get("bias_shift", 0)
    geometry = tuple(op.attrs[k] for k in GEOMETRY)

    def whole(x: Any, w: Any) -> Any:
        return torch.conv2d(x, w, None, *geometry)

    product = _summed(op, op.inputs[0].shape[1], lambda x, w, c: whole(x[:, c], w[:, c]), whole)

    def run(x: Any, w: Any, bias: Any = None) -> Any:
        z = product(x, read(w))
        return z if bias is None else z.add_((read_bias(bias) * scale).view(1, -1, 1, 1))

    return _ended(op, rt, run)


def _conv_backward(op: Op, wanted: int) -> Callable[[Any, Any, Any], Any]:
    import torch

    stride, padding, dilation, groups = (op.attrs[k] for k in GEOMETRY)
    mask = (wanted == 0, wanted == 1, False)
    full = torch.ops.aten.convolution_backward.default
    return lambda d, x, w: full(d, x, w, None, stride, padding, dilation, False, (0, 0), groups, mask)[wanted]


def conv_dx(op: Op, rt: Any) -> Any:
    """e = transposed conv(d, w)."""
    matrix, backward, shape = _signed(op), _conv_backward(op, 0), op.outputs[0].shape

    def whole(d: Any, w: Any) -> Any:
        return backward(d, d.new_empty(1).expand(shape), w)

    product = _summed(op, op.inputs[0].shape[1], lambda d, w, k: whole(d[:, k], w[k]), whole)
    return _ended(op, rt, lambda d, w: product(d, matrix(w)))


def conv_dw(op: Op, rt: Any) -> Any:
    """g = correlation of x with d."""
    backward, kernel = _conv_backward(op, 1), tuple(op.attrs["kernel"])

    def whole(d: Any, x: Any) -> Any:
        return backward(d, x, d.new_empty(1).expand(kernel))

    return limited(op, _summed(op, op.inputs[0].shape[0], lambda d, x, b: whole(d[b], x[b]), whole))
