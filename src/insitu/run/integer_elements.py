"""The integer reference of what is no sum of products: elements, run-time exponents, rows of a batch, errors of losses.

A page of the specification, see :mod:`insitu.run.integer`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from insitu.ops.quant import EXPONENT
from insitu.run.integer_arithmetic import Ints, bit_length, saturate, shift_right, words
from insitu.step.context import StepContext
from insitu.step.ir import Op

# --- element by element ----------------------------------------------------------------------------------------


def relu(x: Ints) -> Ints:
    return np.maximum(x, 0)


def activate(op: Op, _context: StepContext, x: Ints) -> Ints:
    """The functions that are exact on integers: ReLU, and the sign with sign(0) = +1."""
    return relu(x) if op.attrs.fn == "relu" else np.where(x >= 0, 1, -1)


def gate(_op: Op, _context: StepContext, d: Ints, y: Ints) -> Ints:
    return np.where(y > 0, d, 0)


def stash(_op: Op, _context: StepContext, x: Ints) -> Ints:
    return (x > 0).astype(np.int64)


def inside(op: Op, _context: StepContext, d: Ints, y: Ints) -> Ints:
    return np.where((y > op.attrs.low) & (y < op.attrs.high), d, 0)


def leaky(op: Op, _context: StepContext, x: Ints, y: Ints | None = None) -> Ints:
    return np.where((x if y is None else y) >= 0, x, x >> op.attrs.shift)


def lut(op: Op, _context: StepContext, x: Ints) -> Ints:
    return np.array(op.attrs.table, np.int64)[x - op.inputs[0].format.least]  # type: ignore[attr-defined]


def add(_op: Op, _context: StepContext, a: Ints, b: Ints) -> Ints:
    return a + b


def sub(_op: Op, _context: StepContext, a: Ints, b: Ints) -> Ints:
    return a - b


def couple(op: Op, _context: StepContext, a: Ints, f: Ints) -> Ints:
    """Modulo the number of integers of the result's format."""
    least, count = op.attrs.modulus()
    return ((a - f if op.attrs.minus else a + f) - least) % count + least


def mul(_op: Op, _context: StepContext, a: Ints, b: Ints) -> Ints:
    return a * b


def sign(_op: Op, _context: StepContext, x: Ints) -> Ints:
    return np.sign(x)


def offset(op: Op, _context: StepContext, x: Ints) -> Ints:
    return x - op.attrs.by


def reshape(op: Op, _context: StepContext, x: Ints) -> Ints:
    return x.reshape(op.attrs.shape)


def dropout(op: Op, context: StepContext, x: Ints) -> Ints:
    """Keeps ``each`` neighbours where their word is at least p · 2**32; the factor 1/(1-p) is part of the unit."""
    keep = words(context, op.attrs.stream, x.size // op.attrs.each) >= round(op.attrs.p * 2**32)
    return x * np.repeat(keep, op.attrs.each).reshape(x.shape)


# --- run-time exponents ----------------------------------------------------------------------------------------


def exponent(op: Op, _context: StepContext, x: Ints) -> Ints:
    """Bits of the largest magnitude above what fits: max(0, bit length - (bits - 1)), minus what is usual."""
    size = np.abs(x).reshape(x.shape[0], -1).max(1) if op.attrs.by_sample else np.abs(x).max()
    return np.maximum(bit_length(size) - (op.attrs.bits - 1), 0) - op.attrs.usual


def norm_exponent(op: Op, _context: StepContext, x: Ints) -> Ints:
    total = (x.reshape(x.shape[0], -1) ** 2).sum(1) // op.attrs.by
    return (bit_length(total) + 1) // 2


def add_exponents(_op: Op, _context: StepContext, e: Ints, f: Ints) -> Ints:
    return saturate(e + f, EXPONENT)


def add_aligned(op: Op, _context: StepContext, a: Ints, b: Ints, *exponents: Ints) -> tuple[Ints, Ints]:
    """The sum of two arrays at the larger of their exponents."""
    rest = iter(exponents)
    e, f = ((int(next(rest)) if g else 0) + s for g, s in zip(op.attrs.exponents, op.attrs.shifts))
    high = max(e, f)
    total = shift_right(a, high - e, "half-up") + shift_right(b, high - f, "half-up")
    return saturate(total, op.outputs[0].format), np.array(high)


# --- rows of a batch -------------------------------------------------------------------------------------------


def concat_rows(_op: Op, _context: StepContext, a: Ints, b: Ints) -> Ints:
    return np.concatenate((a, b))


def slice_rows(op: Op, _context: StepContext, x: Ints) -> Ints:
    return x[op.attrs.start : op.attrs.start + op.attrs.count]


def row_squares(_op: Op, _context: StepContext, x: Ints) -> Ints:
    return (x.reshape(x.shape[0], -1) ** 2).sum(1)


def row_scale(_op: Op, _context: StepContext, x: Ints, d_N: Ints) -> Ints:
    return x * d_N.reshape(-1, *(1,) * (x.ndim - 1))


def overlay(op: Op, _context: StepContext, x: Ints, label_N: Ints) -> Ints:
    """Sample after sample, over and over, its first elements replaced by the label's code: ``one`` at the label."""
    out = np.tile(x, (len(label_N) // len(x), *(1,) * (x.ndim - 1)))
    code = out.reshape(len(out), -1)[:, : op.attrs.classes]
    code[:] = 0
    code[np.arange(len(out)), label_N] = op.attrs.one
    return out


def overlay_each(op: Op, context: StepContext, x: Ints) -> Ints:
    """Every sample with every label in turn."""
    classes = op.attrs.classes
    return overlay(op, context, np.repeat(x, classes, 0), np.tile(np.arange(classes), len(x)))


def overlay_even(op: Op, _context: StepContext, x: Ints) -> Ints:
    """No label: every element of the code is ``one``, a C-th."""
    out = x.copy()
    out.reshape(len(out), -1)[:, : op.attrs.classes] = op.attrs.one
    return out


def wrong_labels(op: Op, context: StepContext, label_B: Ints) -> Ints:
    """Another class, each as likely: (label + 1 + floor(word (C - 1) / 2**32)) modulo C."""
    c = op.attrs.classes
    return (label_B + 1 + (words(context, op.attrs.stream, len(label_B)) * (c - 1) >> 32)) % c


# --- errors of losses ------------------------------------------------------------------------------------------


def _hot(label_B: Ints, classes: int) -> Ints:
    return np.eye(classes, dtype=np.int64)[label_B]


def softmax_error(op: Op, _context: StepContext, z_BC: Ints, label_B: Ints) -> Ints:
    """p - one · t with p = round(one · E / sum E), E the exponential of z - max z from a table."""
    table, one = np.array(op.attrs.table, np.int64), op.attrs.one
    power = table[np.minimum(z_BC.max(1, keepdims=True) - z_BC, len(table) - 1)]
    total = power.sum(1, keepdims=True)
    p = (2 * one * power + total) // (2 * total)
    return saturate(p - one * _hot(label_B, z_BC.shape[1]), op.outputs[0].format)


def difference_error(op: Op, _context: StepContext, z_BC: Ints, label_B: Ints) -> Ints:
    return saturate(z_BC - op.attrs.one * _hot(label_B, z_BC.shape[1]), op.outputs[0].format)


def margin_error(op: Op, _context: StepContext, z_BC: Ints, label_B: Ints) -> Ints:
    t = _hot(label_B, z_BC.shape[1])
    right = np.take_along_axis(z_BC, label_B[:, None], 1)
    wrong = (z_BC - right + op.attrs.one > 0) * (1 - t)
    return saturate(wrong - t * wrong.sum(1, keepdims=True), op.outputs[0].format)


def violated(
    op: Op, _context: StepContext, z_BC: Ints, label_B: Ints, h: Ints | None = None, e: Any = 0
) -> Ints:
    """1 at a class j with z_j - z_y + bound > 0 (every one, or the first of the highest score), -count at y, both times
    shares[count] if there are shares; bound = floor(sum |h| 2**(e - shift)) + margin, without h the margin."""
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
    t, count = _hot(label_B, z_BC.shape[1]), wrong.sum(1, keepdims=True)
    share = np.array(op.attrs.shares)[count] if op.attrs.shares else 1
    return saturate(share * (wrong - t * count), op.outputs[0].format)


def less_first_half(op: Op, _context: StepContext, p_N: Ints) -> Ints:
    t = np.arange(len(p_N)) < len(p_N) // 2
    return saturate(p_N - op.attrs.one * t, op.outputs[0].format)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        *(activate, gate, stash, inside, leaky, lut, add, sub, couple, mul, sign, offset, reshape, dropout),
        *(exponent, norm_exponent, add_exponents, add_aligned),
        *(concat_rows, slice_rows, row_squares, row_scale, overlay, overlay_each, overlay_even, wrong_labels),
        *(softmax_error, difference_error, margin_error, violated, less_first_half),
    )
}
"""The function of every op of this page by its kind."""

FUNCTIONS["less_label"] = difference_error
