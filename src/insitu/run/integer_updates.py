"""The integer reference of weight updates: how a weight moves by a gradient, in plain integers.

A page of the specification like :mod:`insitu.run.integer`: torch, C and hardware must give the same integers, and none
of their code is used here. One function per method of :mod:`insitu.ops.updates`; weights and state change in place.

A gradient g is to change a weight by minus the step x = g · 2**-k:  k from the learning rate, the ratio of the
gradient's unit to the weight's, and the gradient's run-time exponent e. Binary weights (-1, +1) move by 2, so their x
has one bit less.
"""

from __future__ import annotations

from collections.abc import Callable
from math import frexp, prod, sqrt, tanh
from typing import Any

import numpy as np

from insitu.inputs.bounds import LEAST_RATE
from insitu.numbers import lfsr, prng
from insitu.numbers.formats import Binary, Fixed
from insitu.ops.updates import BoundUpdate, MasterUpdate
from insitu.run.integer_arithmetic import Array, Ints, bit_length, saturate, shift_right
from insitu.step.context import StepContext
from insitu.step.ir import Op


def update(op: Op, context: StepContext, w: Array, g: Ints, *rest: Array) -> None:
    """A weight and what belongs to it move by a gradient, in place."""
    n = op.attrs.exponents
    e = int(rest[0]) if n else 0
    apply(op.attrs.optimizer, context, w, g, e, rest[n:])


def fused(gradient: Callable[..., Ints]) -> Callable[..., None]:
    """``<gradient op>_update``: the gradient is applied as it is made."""

    def run(op: Op, context: StepContext, *tensors: Array) -> None:
        n = op.attrs.operands
        operands = n - op.attrs.exponents
        e = int(tensors[operands]) if n > operands else 0
        g = gradient(op, context, *tensors[:operands])
        apply(op.attrs.optimizer, context, tensors[n], g, e, tensors[n + 1 :])

    return run


def gated(gradient: Callable[..., Ints]) -> Callable[..., Ints]:
    """Of a pooled map: an error d belongs to all of its window of ``pool``, where the ReLU's output h is above 0."""

    def run(op: Op, context: StepContext, d: Ints, h: Ints, *rest: Array) -> Ints:
        rows, columns = op.attrs.pool
        spread, e = d.repeat(rows, 2).repeat(columns, 3), np.zeros(h.shape, np.int64)
        e[:, :, : spread.shape[2], : spread.shape[3]] = spread
        return gradient(op, context, e * (h > 0), *rest)

    return run


def deferred(gradient: Callable[..., Ints]) -> Callable[..., None]:
    """``<gradient op>_deferred``: operands of steps with an error are kept, and every ``defer`` of them move w."""

    def run(
        op: Op, context: StepContext, d: Ints, x: Ints, w: Array, errors: Ints, inputs: Ints, count: Ints
    ) -> None:
        if not d.any():
            return
        rows = slice(int(count[0]) * len(d), (int(count[0]) + 1) * len(d))
        errors[rows], inputs[rows] = d, x
        count[0] = (count[0] + 1) % op.attrs.defer
        if count[0] == 0:
            apply(op.attrs.optimizer, context, w, gradient(op, context, errors, inputs), 0, ())

    return run


def apply(
    o: BoundUpdate | MasterUpdate, context: StepContext, w: Array, g: Ints, e: int, state: tuple[Array, ...]
) -> None:
    """A weight moves by its gradient: by the function of its method."""
    if isinstance(o, MasterUpdate):
        _master(o, context, w, g, e, state)
    else:
        MEANINGS.get(o.method.name, o.method.integer)(o, context, w, g, e, state)


# --- what all methods share ------------------------------------------------------------------------------------


def stride(o: BoundUpdate) -> int:
    """Distance of neighbouring integers of a weight."""
    return 2 if isinstance(o.format, Binary) else 1


def step_shift(o: BoundUpdate, lr: float, e: int) -> int:
    """The k of x = g · 2**-k: 2**-k is nearest to lr · ratio · 2**e on a logarithmic scale; 0 is the least rate."""
    mantissa, exponent = frexp(max(lr, LEAST_RATE) * o.ratio)
    return (1 if mantissa < sqrt(0.5) else 0) - exponent - e + (stride(o) - 1)


def _by_channel(o: BoundUpdate, k: int, w: Ints) -> Any:
    """The shift of every weight, where output channels have units of their own."""
    return k + np.array(o.channels).reshape(-1, *(1,) * (w.ndim - 1)) if o.channels else k


def subtract(o: BoundUpdate, w: Ints, steps: Ints) -> None:
    """w ← sat(w - steps)."""
    w[:] = np.clip(w - stride(o) * steps, o.format.least, o.format.greatest)


def update_words(
    o: BoundUpdate, context: StepContext, rows: int, columns: int, state: tuple[Array, ...] = ()
) -> tuple[Ints, Ints]:
    """Random 32-bit words of a training step: R of the rows, C of the columns.

    Where the generator is ``register``, the last array of the state is that of two shift registers that run on:
    register 0 gives the words of ``lanes``, register 1 those of the other axis.
    """
    if o.generator == "register":
        first = 0 if o.lanes == "rows" else 1
        r = lfsr.resume(state[-1], first, context.seed, rows)
        c = lfsr.resume(state[-1], 1 - first, context.seed, columns)
    else:
        key, count = prng.key(context.seed, o.stream, context.t), rows + columns
        shifted = o.generator == "lfsr"
        drawn = lfsr.words(key, count) if shifted else prng.words(key, np.arange(count, dtype=np.uint64))
        r, c = np.split(np.asarray(drawn).astype(np.int64), [rows])
    if o.columns and columns:
        channels, height, width = o.columns
        place, channel = np.arange(columns) % (height * width), np.arange(columns) // (height * width)
        c = c[place * channels + channel]
    return r, c


def weight_words(
    o: BoundUpdate, context: StepContext, shape: tuple[int, ...], state: tuple[Array, ...] = ()
) -> Ints:
    """R_i xor C_j: a random word per weight from one per row and one per column; of a vector R_i."""
    rest = prod(shape[1:]) if len(shape) > 1 else 0
    rows, columns = update_words(o, context, shape[0], rest, state)
    return (rows[:, None] ^ columns[None, :]).reshape(shape) if rest else rows


def _towards_zero(x: Ints, k: int) -> Ints:
    return np.sign(x) * shift_right(np.abs(x), k, "floor")


# --- methods ---------------------------------------------------------------------------------------------------


def stochastic(
    o: BoundUpdate, context: StepContext, w: Ints, g: Ints, e: int, state: tuple[Array, ...]
) -> None:
    """w ← sat(w - ⌊x + u⌋), u the random word's fraction in [0, 1)."""
    k = _by_channel(o, step_shift(o, context.lr, e), w)
    subtract(o, w, shift_right(g, k, "stochastic", weight_words(o, context, g.shape, state)))


def threshold(o: BoundUpdate, context: StepContext, w: Ints, g: Ints, e: int, _state: Any) -> None:
    """w ← sat(w - ⌊x + 1/2⌋)."""
    subtract(o, w, shift_right(g, _by_channel(o, step_shift(o, context.lr, e), w), "half-up"))


def error_feedback(
    o: BoundUpdate, context: StepContext, w: Ints, g: Ints, e: int, state: tuple[Ints, ...]
) -> None:
    """The residual of a group's rounding goes on to its next weight, and to the next training step."""
    method: Any = o.method
    r, c = update_words(o, context, len(w), prod(w.shape[1:]))
    words = r[:, None] ^ c[None, :: method.group_size]
    flat = w.reshape(len(w), -1)
    error_feedback_step(
        o, min(step_shift(o, context.lr, e), 32), flat, g.reshape(flat.shape), state[0], words
    )


def error_feedback_step(o: BoundUpdate, k: int, w: Ints, g: Ints, residual: Ints, words: Ints) -> None:
    """Error feedback of a matrix, all groups of all rows side by side.

    In units of 2**-s of a step, with h = threshold / 8 of a step:  t = x + r;  n = 0 if -h <= t < h, else the integer
    nearest to 0 with -h <= t - n < h;  w ← sat(w - n);  r = t - n.

    Args:
        k: the shift, at most 32.
        w, g: weights, which change, and gradient, [rows, columns].
        residual: [rows, groups], changes.
        words: a random 32-bit word per group, [rows, groups]: its high bits stand for the low bits of the residual that
            were not kept.
    """
    method: Any = o.method
    fraction = method.residual_bits - (1 if method.threshold > 4 else 0)
    s = max(k, fraction)
    lost, h = s - fraction, (method.threshold << s) // 8
    r = (residual << lost) + (words >> (32 - lost))
    for position in range(method.group_size):
        column = np.arange(position, w.shape[1], method.group_size)
        group = column // method.group_size
        t = r[:, group] + (g[:, column] << (s - k))
        n = np.where(t >= h, (t - h >> s) + 1, np.where(t < -h, -((-h - 1 - t >> s) + 1), 0))
        w[:, column] = np.clip(w[:, column] - stride(o) * n, o.format.least, o.format.greatest)
        r[:, group] = t - (n << s)
    residual[:] = r >> lost


SUM = Fixed(True, 7, 0)
"""Of an accumulator of ``round_robin``."""


def round_robin(
    o: BoundUpdate, context: StepContext, w: Ints, g: Ints, e: int, state: tuple[Ints, ...]
) -> None:
    """The rows of one slice sum x; after ``window`` steps those of at least ``evidence`` move their weights by one."""
    method: Any = o.method
    height = -(-len(w) // method.slices)
    first = context.t // method.window % -(-len(w) // height) * height
    rows = slice(first, min(first + height, len(w)))
    sums, part = state[0], state[0][: rows.stop - first]
    x = shift_right(
        g[rows], step_shift(o, context.lr, e), "stochastic", weight_words(o, context, w.shape)[rows]
    )
    part[:] = saturate(part + x, SUM)
    if context.t % method.window == method.window - 1:
        subtract(o, w[rows], np.sign(part) * (np.abs(part) >= method.evidence))
        sums[:] = 0


AVERAGE = Fixed(True, 15, 0)
"""Of the gradient average of ``bop``."""


def bop(o: BoundUpdate, context: StepContext, w: Ints, g: Ints, e: int, state: tuple[Ints, ...]) -> None:
    """m ← sat(m + (x - m) · 2**-gamma), x in 8 more bits; w ← -w where m has w's sign and |m| >= flip."""
    (m,) = state
    method: Any = o.method
    x = saturate(shift_right(g, step_shift(o, context.lr, e) - 8, "half-up"), AVERAGE)
    m[:] = saturate(m + shift_right(x - m, method.gamma, "half-up"), AVERAGE)
    w[:] = np.where(m * w >= method.flip, -w, w)


JUMPS = 64
"""Probabilities of ``dst``, by the 6 high bits of the fraction."""


def dst(o: BoundUpdate, context: StepContext, w: Ints, g: Ints, e: int, _state: Any) -> None:
    """w ← sat(w - sign(x) (⌊|x|⌋ + j)), j = 1 with probability tanh(κ · fraction), from a table in units of 2**-16."""
    k = _by_channel(o, step_shift(o, context.lr, e), w)
    method: Any = o.method
    table = [round(65536 * tanh(method.kappa * (i + 0.5) / JUMPS)) for i in range(JUMPS)]
    whole = shift_right(np.abs(g), k, "floor")
    sixtyfourths = shift_right(np.abs(g), k - 6, "floor") - JUMPS * whole
    more = (weight_words(o, context, g.shape) >> 16) < np.array(table)[sixtyfourths]
    subtract(o, w, np.sign(g) * (whole + more))


def integer_sgd(o: BoundUpdate, context: StepContext, w: Ints, g: Ints, e: int, _state: Any) -> None:
    """w ← sat(w - trunc(x) - trunc(w · 2**-decay))."""
    method: Any = o.method
    lost = 0 if method.decay is None else _towards_zero(w, method.decay)
    subtract(o, w, _towards_zero(g, _by_channel(o, step_shift(o, context.lr, e), w)) + lost)


def niti(o: BoundUpdate, context: StepContext, w: Ints, g: Ints, _e: int, _state: Any) -> None:
    """As stochastic, the shift such that the largest |g| of the tensor keeps ``step_bits`` bits."""
    method: Any = o.method
    k = int(bit_length(np.abs(g).max())) - method.step_bits + (stride(o) - 1)
    subtract(o, w, shift_right(g, k, "stochastic", weight_words(o, context, g.shape)))


MEANINGS: dict[str, Callable[..., None]] = {
    "stochastic": stochastic,
    "threshold": threshold,
    "error-feedback": error_feedback,
    "round-robin": round_robin,
    "bop": bop,
    "dst": dst,
    "integer-sgd": integer_sgd,
    "niti": niti,
}
"""The function of every method by its name; a method from outside brings its own."""


# --- master copies ---------------------------------------------------------------------------------------------


def _master(
    o: MasterUpdate, context: StepContext, w: Array, g: Ints, e: int, state: tuple[Array, ...]
) -> None:
    """A real copy of a weight moves as its optimizer says: float32, one rounding per operation."""
    real = g.astype(np.float32) * np.float32(o.unit * 2.0**e)
    moved = _optimizer_step(o.optimizer, context, w, real, state)
    w[:] = np.clip(w - moved, np.float32(-o.bound), np.float32(o.bound))
    if o.half:
        w[:] = w.astype(np.float16)


def _optimizer_step(o: Any, context: StepContext, w: Array, g: Array, state: tuple[Array, ...]) -> Array:
    """What is subtracted from w."""
    f32 = np.float32
    if o.weight_decay:
        g = g + w * f32(o.weight_decay)
    if o.kind == "sgd":
        return g * f32(context.lr)
    if o.kind == "sign":
        return np.sign(g) * f32(context.lr)
    if o.kind == "adam":
        return _adam_step(o, context, g, *state)
    (m,) = state
    m[:] = m * f32(o.momentum) + g
    return (m if o.kind == "momentum" else g + m * f32(o.momentum)) * f32(context.lr)


def _adam_step(o: Any, context: StepContext, g: Array, m: Array, v: Array) -> Array:
    f32, steps = np.float32, context.t + 1
    m[:] = m * f32(o.beta1) + g * f32(1.0 - o.beta1)
    v[:] = v * f32(o.beta2) + g * g * f32(1.0 - o.beta2)
    root = np.sqrt(v) * f32(1.0 / sqrt(1.0 - o.beta2**steps))
    return m / (root + f32(o.eps)) * f32(context.lr / (1.0 - o.beta1**steps))
