"""The integer reference: what a quantized step computes, op by op, in plain integers.

This page is the specification, with :mod:`insitu.run.integer_updates` for the ops that move weights. Every array
holds integers (NumPy int64; only a master copy of a weight is float32), no float takes part in a sum, and there is one
function per op: inputs in, output out; updates change what lives from step to step. The torch executor, C and hardware
must give the same integers.

``>>`` is the arithmetic shift towards minus infinity. A sum never exceeds the bits that the step states for it: the
quantize pass has proved that. Rounding by a shift of k bits:  half-up ``(x + 2**(k-1)) >> k``,  floor ``x >> k``,
stochastic ``(x + (word >> (32-k))) >> k`` with a random 32-bit word of the bit-defined generator
(:mod:`insitu.numbers.prng`).

Legend: B batch, I inputs, O outputs, C channels or classes, K output channels, H W input plane, P Q output plane.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from insitu.errors import StepError
from insitu.numbers.formats import Binary, Fixed, Float, PowerOfTwo, Quantized
from insitu.numbers.initial import kind_of
from insitu.ops.integer_products import Epilogue, Geometry
from insitu.ops.pool import Window
from insitu.ops.quant import EXPONENT, Requant, WeightView, feedback_integers
from insitu.run.integer_arithmetic import Array, Clock, Ints, bit_length, saturate, shift_right, words
from insitu.run.integer_updates import deferred, fused, update
from insitu.step.ir import Op, Role, Step, Value

# --- requantization and weights ------------------------------------------------------------------------------


def requant(op: Op, clock: Clock, x: Ints, e: Ints | None = None) -> Ints:
    """Fewer bits: saturate(round(times · x · 2**-(shift + e)))."""
    more = e if e is None or not op.attrs.minus else -e
    return _requant(op.attrs, op.outputs[0], clock, x, more)


def _requant(how: Requant | Epilogue, out: Value, clock: Clock, x: Ints, e: Ints | None = None) -> Ints:
    k: Any = how.shift
    if e is not None:
        k = k + e.reshape(-1, *(1,) * (x.ndim - 1)) if e.ndim else k + int(e)
    word = None if how.stream is None else words(clock, how.stream, out.size).reshape(out.shape)
    return saturate(shift_right(x * how.times, k, how.rounding, word), out.format)


def _limited(op: Op, x: Ints) -> Ints:
    """An exact sum, saturated to the accumulator where the op says that it may pass it."""
    return saturate(x, op.attrs.format) if op.attrs.limit else x


def _ended(op: Op, clock: Clock, x: Ints) -> Ints:
    """A sum leaves its op requantized if the op says so."""
    epilogue: Epilogue | None = op.attrs.epilogue
    return x if epilogue is None else _requant(epilogue, op.outputs[0], clock, x)


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


def matmul(op: Op, clock: Clock, x_BI: Ints, w_OI: Array, bias_O: Array | None = None) -> Ints:
    z_BO = x_BI @ read(op.attrs.read, w_OI).T
    if bias_O is not None:
        z_BO = z_BO + (read(op.attrs.read_bias, bias_O) << op.attrs.bias_shift)
    return _ended(op, clock, _limited(op, z_BO))


def matmul_dx(op: Op, clock: Clock, d_BO: Ints, w_OI: Array) -> Ints:
    return _ended(op, clock, _limited(op, d_BO @ _view(op, w_OI)))


def matmul_dw(op: Op, _clock: Clock, d_BO: Ints, x_BI: Ints) -> Ints:
    return _limited(op, d_BO.T @ x_BI)


def _view(op: Op, w: Array) -> Ints:
    """The matrix that an error passes: the weights, or their signs."""
    return np.sign(read(op.attrs.read, w)) if op.attrs.view == "sign" else read(op.attrs.read, w)


def sum_to_channels(op: Op, _clock: Clock, d: Ints) -> Ints:
    return _limited(op, d.sum(tuple(i for i in range(d.ndim) if i != 1)))


def project(op: Op, clock: Clock, e_BC: Ints, matrix_CN: Ints) -> Ints:
    return _ended(op, clock, _limited(op, e_BC @ matrix_CN[:, : op.attrs.columns]))


def select_rows(op: Op, _clock: Clock, matrix_CN: Ints, label_B: Ints) -> Ints:
    return matrix_CN[label_B, : op.attrs.columns]


def fixed_random(op: Op, clock: Clock) -> Ints:
    out = op.outputs[0]
    return feedback_integers(words(clock, op.attrs.stream, out.size, fixed=True), out.format).reshape(
        out.shape
    )


def _fixed_matrix(op: Op, clock: Clock, rows: int) -> Ints:
    n = op.attrs.columns
    flat = feedback_integers(words(clock, op.attrs.stream, rows * n, fixed=True), op.attrs.matrix)
    return flat.reshape(rows, n)


def random_project(op: Op, clock: Clock, e_BC: Ints) -> Ints:
    return e_BC @ _fixed_matrix(op, clock, e_BC.shape[1])


def random_rows(op: Op, clock: Clock, label_B: Ints) -> Ints:
    return _fixed_matrix(op, clock, int(label_B.max()) + 1)[label_B]


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


def conv2d(op: Op, clock: Clock, x: Ints, w: Array, bias_K: Array | None = None) -> Ints:
    """z[b,k,p,q] = sum over c,r,s of x[b, c, p·stride + r·dilation - padding, ...] w[k,c,r,s] (+ bias)."""
    a, weights = op.attrs, read(op.attrs.read, w)
    g = a.groups
    v = _grouped(op, _windows(x, w.shape[2:], a.stride, a.padding, a.dilation))
    z = np.einsum("bgcpqrs,gkcrs->bgkpq", v, weights.reshape(g, -1, *w.shape[1:]))
    z = z.reshape(op.outputs[0].shape)
    if bias_K is not None:
        z = z + (read(a.read_bias, bias_K) << a.bias_shift)[:, None, None]
    return _ended(op, clock, _limited(op, z))


def conv2d_dw(op: Op, _clock: Clock, d: Ints, x: Ints) -> Ints:
    """g[k,c,r,s] = sum over b,p,q of d[b,k,p,q] x[b, c, p·stride + r·dilation - padding, ...]."""
    a = op.attrs
    v = _grouped(op, _windows(x, a.kernel[2:], a.stride, a.padding, a.dilation))
    return _limited(op, np.einsum("bgkpq,bgcpqrs->gkcrs", _grouped(op, d), v).reshape(a.kernel))


def conv2d_dx(op: Op, clock: Clock, d: Ints, w: Array) -> Ints:
    """Every error goes back, times the kernel, to the window it came from."""
    a, weights, shape = op.attrs, _view(op, w), op.attrs.shape
    parts = np.einsum("bgkpq,gkcrs->bgcpqrs", _grouped(op, d), weights.reshape(a.groups, -1, *w.shape[1:]))
    e = _scatter(parts.reshape(shape[0], shape[1], *parts.shape[3:]), shape, a, a.dilation)
    return _ended(op, clock, _limited(op, e))


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


def max_pool(op: Op, _clock: Clock, x: Ints) -> tuple[Ints, ...]:
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


def max_unpool(op: Op, _clock: Clock, d: Ints, position: Ints) -> Ints:
    shape = op.attrs.shape
    e = np.zeros((*shape[:2], shape[2] * shape[3]), np.int64)
    b, c = np.indices(d.shape[:2])
    np.add.at(
        e, (b[..., None], c[..., None], position.reshape(*d.shape[:2], -1)), d.reshape(*d.shape[:2], -1)
    )
    return e.reshape(shape)


def sum_pool(op: Op, clock: Clock, x: Ints) -> Ints:
    a = op.attrs
    return _windows(x, a.kernel, a.stride, a.padding).sum((-2, -1))


def sum_unpool(op: Op, _clock: Clock, d: Ints) -> Ints:
    a = op.attrs
    return _scatter(np.broadcast_to(d[..., None, None], (*d.shape, *a.kernel)), a.shape, a)


# --- element by element ----------------------------------------------------------------------------------------


def relu(x: Ints) -> Ints:
    return np.maximum(x, 0)


def activate(op: Op, _clock: Clock, x: Ints) -> Ints:
    """The functions that are exact on integers: ReLU, and the sign with sign(0) = +1."""
    return relu(x) if op.attrs.fn == "relu" else np.where(x >= 0, 1, -1)


def gate(_op: Op, _clock: Clock, d: Ints, y: Ints) -> Ints:
    return np.where(y > 0, d, 0)


def unpool_gate(op: Op, _clock: Clock, d: Ints, y: Ints) -> Ints:
    spread = np.broadcast_to(d[..., None, None], (*d.shape, *op.attrs.kernel))
    return np.where(y > 0, _scatter(spread, y.shape, op.attrs), 0)


def stash(_op: Op, _clock: Clock, x: Ints) -> Ints:
    return (x > 0).astype(np.int64)


def inside(op: Op, _clock: Clock, d: Ints, y: Ints) -> Ints:
    return np.where((y > op.attrs.low) & (y < op.attrs.high), d, 0)


def leaky(op: Op, _clock: Clock, x: Ints, y: Ints | None = None) -> Ints:
    return np.where((x if y is None else y) >= 0, x, x >> op.attrs.shift)


def lut(op: Op, _clock: Clock, x: Ints) -> Ints:
    return np.array(op.attrs.table, np.int64)[x - op.inputs[0].format.least]  # type: ignore[attr-defined]


def add(_op: Op, _clock: Clock, a: Ints, b: Ints) -> Ints:
    return a + b


def sub(_op: Op, _clock: Clock, a: Ints, b: Ints) -> Ints:
    return a - b


def mul(_op: Op, _clock: Clock, a: Ints, b: Ints) -> Ints:
    return a * b


def sign(_op: Op, _clock: Clock, x: Ints) -> Ints:
    return np.sign(x)


def offset(op: Op, _clock: Clock, x: Ints) -> Ints:
    return x - op.attrs.by


def reshape(op: Op, _clock: Clock, x: Ints) -> Ints:
    return x.reshape(op.attrs.shape)


def dropout(op: Op, clock: Clock, x: Ints) -> Ints:
    """Keeps an element where its random word is at least p · 2**32; the factor 1/(1-p) is part of the unit."""
    keep = words(clock, op.attrs.stream, x.size) >= round(op.attrs.p * 2**32)
    return x * keep.reshape(x.shape)


# --- run-time exponents ----------------------------------------------------------------------------------------


def exponent(op: Op, _clock: Clock, x: Ints) -> Ints:
    """Bits of the largest magnitude above what fits: max(0, bit length - (bits - 1)), minus what is usual."""
    size = np.abs(x).reshape(x.shape[0], -1).max(1) if op.attrs.by_sample else np.abs(x).max()
    return np.maximum(bit_length(size) - (op.attrs.bits - 1), 0) - op.attrs.usual


def norm_exponent(op: Op, _clock: Clock, x: Ints) -> Ints:
    total = (x.reshape(x.shape[0], -1) ** 2).sum(1) // op.attrs.by
    return (bit_length(total) + 1) // 2


def add_exponents(_op: Op, _clock: Clock, e: Ints, f: Ints) -> Ints:
    return saturate(e + f, EXPONENT)


def add_aligned(op: Op, _clock: Clock, a: Ints, b: Ints, *exponents: Ints) -> tuple[Ints, Ints]:
    """The sum of two arrays at the larger of their exponents."""
    rest = iter(exponents)
    e, f = ((int(next(rest)) if g else 0) + s for g, s in zip(op.attrs.exponents, op.attrs.shifts))
    high = max(e, f)
    total = shift_right(a, high - e, "half-up") + shift_right(b, high - f, "half-up")
    return saturate(total, op.outputs[0].format), np.array(high)


# --- rows of a batch -------------------------------------------------------------------------------------------


def concat_rows(_op: Op, _clock: Clock, a: Ints, b: Ints) -> Ints:
    return np.concatenate((a, b))


def slice_rows(op: Op, _clock: Clock, x: Ints) -> Ints:
    return x[op.attrs.start : op.attrs.start + op.attrs.count]


def row_squares(_op: Op, _clock: Clock, x: Ints) -> Ints:
    return (x.reshape(x.shape[0], -1) ** 2).sum(1)


def row_scale(_op: Op, _clock: Clock, x: Ints, d_N: Ints) -> Ints:
    return x * d_N.reshape(-1, *(1,) * (x.ndim - 1))


def overlay(op: Op, _clock: Clock, x: Ints, label_N: Ints) -> Ints:
    """Sample after sample, over and over, its first elements replaced by the label's code: ``one`` at the label."""
    out = np.tile(x, (len(label_N) // len(x), *(1,) * (x.ndim - 1)))
    code = out.reshape(len(out), -1)[:, : op.attrs.classes]
    code[:] = 0
    code[np.arange(len(out)), label_N] = op.attrs.one
    return out


def overlay_each(op: Op, clock: Clock, x: Ints) -> Ints:
    """Every sample with every label in turn."""
    classes = op.attrs.classes
    return overlay(op, clock, np.repeat(x, classes, 0), np.tile(np.arange(classes), len(x)))


def overlay_even(op: Op, _clock: Clock, x: Ints) -> Ints:
    """No label: every element of the code is ``one``, a C-th."""
    out = x.copy()
    out.reshape(len(out), -1)[:, : op.attrs.classes] = op.attrs.one
    return out


def wrong_labels(op: Op, clock: Clock, label_B: Ints) -> Ints:
    """Another class, each as likely: (label + 1 + floor(word (C - 1) / 2**32)) modulo C."""
    c = op.attrs.classes
    return (label_B + 1 + (words(clock, op.attrs.stream, len(label_B)) * (c - 1) >> 32)) % c


# --- errors of losses ------------------------------------------------------------------------------------------


def _hot(label_B: Ints, classes: int) -> Ints:
    return np.eye(classes, dtype=np.int64)[label_B]


def softmax_error(op: Op, _clock: Clock, z_BC: Ints, label_B: Ints) -> Ints:
    """p - one · t with p = round(one · E / sum E), E the exponential of z - max z from a table."""
    table, one = np.array(op.attrs.table, np.int64), op.attrs.one
    power = table[np.minimum(z_BC.max(1, keepdims=True) - z_BC, len(table) - 1)]
    total = power.sum(1, keepdims=True)
    p = (2 * one * power + total) // (2 * total)
    return saturate(p - one * _hot(label_B, z_BC.shape[1]), op.outputs[0].format)


def difference_error(op: Op, _clock: Clock, z_BC: Ints, label_B: Ints) -> Ints:
    return saturate(z_BC - op.attrs.one * _hot(label_B, z_BC.shape[1]), op.outputs[0].format)


less_label = difference_error


def margin_error(op: Op, _clock: Clock, z_BC: Ints, label_B: Ints) -> Ints:
    t = _hot(label_B, z_BC.shape[1])
    right = np.take_along_axis(z_BC, label_B[:, None], 1)
    wrong = (z_BC - right + op.attrs.one > 0) * (1 - t)
    return saturate(wrong - t * wrong.sum(1, keepdims=True), op.outputs[0].format)


def violated(op: Op, _clock: Clock, z_BC: Ints, label_B: Ints, h: Ints | None = None, e: Any = 0) -> Ints:
    """1 at a class j with z_j - z_y + bound > 0 (every one, or the first of the highest score), -count at y;
    bound = floor(sum |h| 2**(e - shift)) + margin, without h the margin."""
    rows, bound = np.arange(len(z_BC)), op.attrs.margin
    if h is not None:
        k = op.attrs.shift - int(e)
        total = np.abs(h.reshape(len(h), -1)).sum(1, keepdims=True)
        bound = bound + (total >> min(k, 62) if k >= 0 else total << min(-k, 31))
    wrong = z_BC - np.take_along_axis(z_BC, label_B[:, None], 1) + bound > 0
    wrong[rows, label_B] = False
    if not op.attrs.every:
        others = z_BC.copy()
        others[rows, label_B] = np.iinfo(np.int64).min
        first = np.zeros_like(wrong)
        first[rows, others.argmax(1)] = True
        wrong &= first
    t = _hot(label_B, z_BC.shape[1])
    return saturate(wrong - t * wrong.sum(1, keepdims=True), op.outputs[0].format)


def less_first_half(op: Op, _clock: Clock, p_N: Ints) -> Ints:
    t = np.arange(len(p_N)) < len(p_N) // 2
    return saturate(p_N - op.attrs.one * t, op.outputs[0].format)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        *(requant, exponent, norm_exponent, add_exponents, add_aligned),
        *(matmul, matmul_dx, matmul_dw, sum_to_channels, project, select_rows),
        *(fixed_random, random_project, random_rows),
        *(conv2d, conv2d_dx, conv2d_dw, max_pool, max_unpool, sum_pool, sum_unpool),
        *(
            activate,
            gate,
            unpool_gate,
            stash,
            inside,
            leaky,
            lut,
            add,
            sub,
            mul,
            sign,
            offset,
            reshape,
            dropout,
        ),
        *(concat_rows, slice_rows, row_squares, row_scale, overlay, overlay_each, overlay_even, wrong_labels),
        *(softmax_error, difference_error, margin_error, violated, less_first_half),
    )
}
"""The function of every op by its kind."""

FUNCTIONS |= {"less_label": less_label, "update": update, "matmul_dw_deferred": deferred(matmul_dw)}
FUNCTIONS |= {
    f"{gradient.__name__}_update": fused(gradient, operands)
    for gradient, operands in ((matmul_dw, 2), (conv2d_dw, 2), (sum_to_channels, 1))
}


# --- a whole step ----------------------------------------------------------------------------------------------


def initial_integers(value: Value, real: Array, seed: int) -> Array:
    """The initial integers of a resident: nearest to its real initial value, in its units."""
    fmt, init = value.format, value.init
    assert init is not None
    if isinstance(fmt, Float):
        return real.astype(np.float32)
    if kind_of(init).random and value.role == Role.FEEDBACK:
        flat = words(Clock(seed=seed), init.key, value.size, fixed=True)
        return feedback_integers(flat, fmt).reshape(value.shape)
    return nearest(real, value)


def channel_gain(value: Value) -> Any:
    """What the unit is multiplied by, per output channel."""
    return (
        2.0 ** np.array(value.channels).reshape(-1, *(1,) * (len(value.shape) - 1)) if value.channels else 1.0
    )


def nearest(real: Array, value: Value) -> Ints:
    """The integers of a value's format nearest to reals; ties go up."""
    assert isinstance(value.format, Quantized) and value.unit is not None
    position = np.asarray(real, np.float64) / (value.unit * channel_gain(value))
    return value.format.integers(value.format.words(position * value.format.unit))


def run(step: Step, state: dict[str, Array], x: Ints, label: Ints | None, clock: Clock) -> list[Array]:
    """One step; the residents in ``state`` change in place, the step's outputs are returned.

    Raises:
        StepError: for an op that has no integer meaning, or a result that leaves the format that the step states.
    """
    given = {"x": x, "label": label}
    env: dict[Value, Any] = {v: given[v.name] for v in step.inputs}
    env |= {v: state[v.name] for v in step.residents}
    for op in step.ops:
        if op.kind not in FUNCTIONS:
            raise StepError(
                f"{op.kind} at {op.where} has no integer meaning; emit the step without its loss, "
                "or train it with the torch executor"
            )
        result = FUNCTIONS[op.kind](op, clock, *(env[v] for v in op.inputs))
        results = result if isinstance(result, tuple) else (result,)
        for value, array in zip(op.outputs, results):
            _check(op, value, array)
            env[value] = array
    return [env[v] for v in step.outputs]


def _check(op: Op, value: Value, array: Array) -> None:
    fmt = value.format
    if not isinstance(fmt, Quantized) or not array.size:
        return
    low, high = (0, fmt.high) if value.unit is None and isinstance(fmt, Fixed) else (fmt.least, fmt.greatest)
    if value.unit is None and fmt is EXPONENT:
        low, high = fmt.least, fmt.greatest
    if not low <= int(array.min()) <= int(array.max()) <= high:
        raise StepError(
            f"{op.kind} at {op.where} gives {int(array.min())} to {int(array.max())}, which {fmt} "
            f"({low} to {high}) does not hold; the quantize pass must give it more bits"
        )


__all__ = [
    "FUNCTIONS",
    "Array",
    "Clock",
    "Ints",
    "initial_integers",
    "nearest",
    "read",
    "run",
    "saturate",
    "shift_right",
    "words",
]
