"""The integer reference of sums of products: requantization, reads of weights, dense layers, convolutions and pools.

A page of the specification, see :mod:`insitu.run.integer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from insitu.numbers.formats import Binary, PowerOfTwo
from insitu.ops.integer_products import Epilogue, Geometry
from insitu.ops.pool import Window
from insitu.ops.quant import Requant, WeightView
from insitu.run.integer_arithmetic import Array, Ints, saturate, shift_right, words
from insitu.step.context import StepContext
from insitu.step.ir import Op, Value

# --- requantization and weights --------------------------------------------------------------------------------


def requant(op: Op, context: StepContext, x: Ints, e: Ints | None = None) -> Ints:
    """Fewer bits: saturate(round(times · x · 2**-(shift + e)))."""
    more = e if e is None or not op.attrs.minus else -e
    return _requant(op.attrs, op.outputs[0], context, x, more)


def _requant(
    how: Requant | Epilogue, out: Value, context: StepContext, x: Ints, e: Ints | None = None
) -> Ints:
    k: Any = how.shift
    if e is not None:
        k = k + e.reshape(-1, *(1,) * (x.ndim - 1)) if e.ndim else k + int(e)
    word = None if how.stream is None else words(context, how.stream, out.size).reshape(out.shape)
    return saturate(shift_right(x * how.times, k, how.rounding, word), out.format)


def _limited(op: Op, x: Ints) -> Ints:
    """An exact sum, saturated to the accumulator where the op says that it may pass it."""
    return saturate(x, op.attrs.format) if op.attrs.limit else x


def _ended(op: Op, context: StepContext, x: Ints) -> Ints:
    """A sum leaves its op requantized if the op says so."""
    epilogue: Epilogue | None = op.attrs.epilogue
    return x if epilogue is None else _requant(epilogue, op.outputs[0], context, x)


def read(how: WeightView | None, w: Array) -> Ints:
    """A stored weight as an op computes with it: whole, without its hidden low bits, or rounded from a real."""
    if how is None:
        return w
    if how.channels:
        left = np.array(how.channels).reshape(-1, *(1,) * (w.ndim - 1))
        part = w if how.unit is None else w / np.float32(2.0) ** left.astype(np.float32)
        return _read(replace(how, channels=()), part) << left
    return _read(how, w)


def _read(how: WeightView, w: Array) -> Ints:
    if how.unit is None:
        kept = w if isinstance(how.format, Binary) else shift_right(w, how.shift, "half-up")
        return w if how.shift == 0 else saturate(kept, how.format)
    position = w * np.float32(1.0 / how.unit)  # float32: a power of two, exact
    if isinstance(how.format, Binary):
        return np.where(position >= 0, 1, -1)
    if isinstance(how.format, PowerOfTwo):
        return how.format.integers(how.format.words(position.astype(np.float64) * how.format.unit))
    return saturate(np.floor(position + np.float32(0.5)).astype(np.int64), how.format)


# --- dense layers ----------------------------------------------------------------------------------------------


def matmul(op: Op, context: StepContext, x_BI: Ints, w_OI: Array, bias_O: Array | None = None) -> Ints:
    z_BO = x_BI @ read(op.attrs.read, w_OI).T
    if bias_O is not None:
        z_BO = z_BO + (read(op.attrs.read_bias, bias_O) << op.attrs.bias_shift)
    return _ended(op, context, _limited(op, z_BO))


def matmul_dx(op: Op, context: StepContext, d_BO: Ints, w_OI: Array) -> Ints:
    return _ended(op, context, _limited(op, d_BO @ _view(op, w_OI)))


def matmul_dw(op: Op, _context: StepContext, d_BO: Ints, x_BI: Ints) -> Ints:
    return _limited(op, d_BO.T @ x_BI)


def _view(op: Op, w: Array) -> Ints:
    """The matrix that an error passes: the weights, or their signs."""
    return np.sign(read(op.attrs.read, w)) if op.attrs.view == "sign" else read(op.attrs.read, w)


def sum_to_channels(op: Op, _context: StepContext, d: Ints) -> Ints:
    return _limited(op, d.sum(tuple(i for i in range(d.ndim) if i != 1)))


def project(op: Op, context: StepContext, e_BC: Ints, matrix_CN: Ints) -> Ints:
    return _ended(op, context, _limited(op, e_BC @ matrix_CN[:, : op.attrs.columns]))


def select_rows(op: Op, _context: StepContext, matrix_CN: Ints, label_B: Ints) -> Ints:
    return matrix_CN[label_B, : op.attrs.columns]


def feedback_integers(word: Ints, fmt: Any) -> Ints:
    """Random 32-bit words as integers, each of -n ... n as likely, n the greatest of the format: binary -1 or +1."""
    if isinstance(fmt, Binary):
        return np.where(word >= 1 << 31, 1, -1)
    n = fmt.greatest
    return (word * (2 * n + 1) >> 32) - n


def fixed_random(op: Op, context: StepContext) -> Ints:
    out = op.outputs[0]
    return feedback_integers(words(context, op.attrs.stream, out.size, fixed=True), out.format).reshape(
        out.shape
    )


def _fixed_matrix(op: Op, context: StepContext, rows: int) -> Ints:
    n = op.attrs.columns
    flat = feedback_integers(words(context, op.attrs.stream, rows * n, fixed=True), op.attrs.matrix)
    return flat.reshape(rows, n)


def random_project(op: Op, context: StepContext, e_BC: Ints) -> Ints:
    return e_BC @ _fixed_matrix(op, context, e_BC.shape[1])


def _hashed(op: Op, context: StepContext, features: int, columns: int) -> tuple[Ints, Ints]:
    """Of every feature the number of a sketch that it is added to, and its sign."""
    drawn = words(context, op.attrs.stream, features, fixed=True)
    return (drawn % 2**16) * columns // 2**16, np.where(drawn < 2**31, 1, -1)


def sketch(op: Op, context: StepContext, h_BF: Ints) -> Ints:
    bucket, sign = _hashed(op, context, h_BF.shape[1], op.attrs.columns)
    z = np.zeros((len(h_BF), op.attrs.columns), np.int64)
    np.add.at(z, (slice(None), bucket), sign * h_BF)
    return z


def unsketch(op: Op, context: StepContext, d_BR: Ints) -> Ints:
    bucket, sign = _hashed(op, context, op.attrs.columns, d_BR.shape[1])
    return saturate(sign * d_BR[:, bucket], op.outputs[0].format)


def random_rows(op: Op, context: StepContext, label_B: Ints) -> Ints:
    return _fixed_matrix(op, context, int(label_B.max()) + 1)[label_B]


# --- convolutions and pools ------------------------------------------------------------------------------------


def _windows(x_BCHW: Ints, kernel: Any, stride: Any, padding: Any, dilation: Any = (1, 1)) -> Ints:
    """Views of all windows: [B, C, P, Q, R, S]; outside of the plane are zeros."""
    pad = [(0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2]
    x = np.pad(x_BCHW, pad)
    span = [dilation[i] * (kernel[i] - 1) + 1 for i in (0, 1)]
    all_ = np.lib.stride_tricks.sliding_window_view(x, span, axis=(2, 3))
    return all_[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def _grouped(op: Op, x: Ints) -> Ints:
    """Channels as [groups, channels of a group] behind the batch."""
    g = op.attrs.groups
    return x.reshape(x.shape[0], g, x.shape[1] // g, *x.shape[2:])


def conv2d(op: Op, context: StepContext, x: Ints, w: Array, bias_K: Array | None = None) -> Ints:
    """z[b,k,p,q] = sum over c,r,s of x[b, c, p·stride + r·dilation - padding, ...] w[k,c,r,s] (+ bias)."""
    a, weights = op.attrs, read(op.attrs.read, w)
    g = a.groups
    v = _grouped(op, _windows(x, w.shape[2:], a.stride, a.padding, a.dilation))
    z = np.einsum("bgcpqrs,gkcrs->bgkpq", v, weights.reshape(g, -1, *w.shape[1:]))
    z = z.reshape(op.outputs[0].shape)
    if bias_K is not None:
        z = z + (read(a.read_bias, bias_K) << a.bias_shift)[:, None, None]
    return _ended(op, context, _limited(op, z))


def conv2d_dw(op: Op, _context: StepContext, d: Ints, x: Ints) -> Ints:
    """g[k,c,r,s] = sum over b,p,q of d[b,k,p,q] x[b, c, p·stride + r·dilation - padding, ...]."""
    a = op.attrs
    v = _grouped(op, _windows(x, a.kernel[2:], a.stride, a.padding, a.dilation))
    return _limited(op, np.einsum("bgkpq,bgcpqrs->gkcrs", _grouped(op, d), v).reshape(a.kernel))


def conv2d_dx(op: Op, context: StepContext, d: Ints, w: Array) -> Ints:
    """Every error goes back, times the kernel, to the window it came from."""
    a, weights, shape = op.attrs, _view(op, w), op.attrs.shape
    parts = np.einsum("bgkpq,gkcrs->bgcpqrs", _grouped(op, d), weights.reshape(a.groups, -1, *w.shape[1:]))
    e = _scatter(parts.reshape(shape[0], shape[1], *parts.shape[3:]), shape, a, a.dilation)
    return _ended(op, context, _limited(op, e))


def _scatter(
    parts_BCPQRS: Ints, shape: Any, a: Geometry | Window, dilation: tuple[int, int] = (1, 1)
) -> Ints:
    """Adds what belongs to each window into the plane."""
    (sy, sx), (py, px), (dy, dx) = a.stride, a.padding, dilation
    out = np.zeros((*shape[:2], shape[2] + 2 * py, shape[3] + 2 * px), np.int64)
    p, q, r, s = parts_BCPQRS.shape[2:]
    for i in range(r):
        for j in range(s):
            rows, columns = slice(i * dy, i * dy + sy * p, sy), slice(j * dx, j * dx + sx * q, sx)
            out[:, :, rows, columns] += parts_BCPQRS[..., i, j]
    return out[:, :, py : py + shape[2], px : px + shape[3]]


def max_pool(op: Op, _context: StepContext, x: Ints) -> tuple[Ints, ...]:
    """The largest of each window and its flat position in the plane: of equal ones the first, row by row."""
    kernel, stride, padding = pool_geometry(op)
    v = _windows(x - _FLOOR, kernel, stride, padding)  # what pads the plane is less than every element
    flat = v.reshape(*v.shape[:4], -1)
    best = flat.argmax(-1)
    y = np.take_along_axis(flat, best[..., None], -1)[..., 0] + _FLOOR
    p, q = np.indices(best.shape[2:])
    row = p * stride[0] + best // kernel[1] - padding[0]
    column = q * stride[1] + best % kernel[1] - padding[1]
    return (y, row * x.shape[3] + column)[: len(op.outputs)]


_FLOOR = -(1 << 40)


def pool_geometry(op: Op) -> tuple[Any, Any, Any]:
    """Kernel, stride and padding; a pool to a size that divides the plane has windows of one size."""
    a = op.attrs
    if a.size is None:
        return a.kernel, a.stride, a.padding
    kernel = tuple(op.inputs[0].shape[2 + i] // a.size[i] for i in (0, 1))
    return kernel, kernel, (0, 0)


def max_unpool(op: Op, _context: StepContext, d: Ints, position: Ints) -> Ints:
    shape = op.attrs.shape
    e = np.zeros((*shape[:2], shape[2] * shape[3]), np.int64)
    b, c = np.indices(d.shape[:2])
    np.add.at(
        e, (b[..., None], c[..., None], position.reshape(*d.shape[:2], -1)), d.reshape(*d.shape[:2], -1)
    )
    return e.reshape(shape)


def sum_pool(op: Op, context: StepContext, x: Ints) -> Ints:
    a = op.attrs
    return _windows(x, a.kernel, a.stride, a.padding).sum((-2, -1))


def sum_unpool(op: Op, _context: StepContext, d: Ints) -> Ints:
    a = op.attrs
    return _scatter(np.broadcast_to(d[..., None, None], (*d.shape, *a.kernel)), a.shape, a)


def unpool_gate(op: Op, _context: StepContext, d: Ints, y: Ints) -> Ints:
    spread = np.broadcast_to(d[..., None, None], (*d.shape, *op.attrs.kernel))
    return np.where(y > 0, _scatter(spread, y.shape, op.attrs), 0)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        *(requant, matmul, matmul_dx, matmul_dw, sum_to_channels, project, select_rows),
        *(sketch, unsketch, fixed_random, random_project, random_rows, conv2d, conv2d_dx, conv2d_dw),
        *(max_pool, max_unpool, sum_pool, sum_unpool, unpool_gate),
    )
}
"""The function of every op of this page by its kind."""
