"""How a weight moves by a gradient of integers: the stored low-bit word itself, or a wider real copy of it.

The wanted change of a stored integer w is  lr · g · ratio · 2**e  (g the gradient's integer, ratio its unit over w's
unit, e its run-time exponent, if any). ``k = nearest_shift(lr · ratio) - e`` makes it ``g · 2**-k``: a shift, no
multiplication. How the fraction is dealt with tells the updates apart (:class:`Stored`).

Random numbers: one 32-bit word per row R_i, then one per column C_j of the weight matrix, from the bit-defined
generator; weight (i, j) uses R_i xor C_j. Each such word is uniform and any two weights' words are independent, which
is what an unbiased rounding with uncorrelated errors needs, at O + I instead of O · I generated words. A vector uses
R_i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod, sqrt, tanh
from typing import Any

import numpy as np

from insitu.numbers import lfsr, prng
from insitu.numbers.formats import F32, Binary, Fixed, Quantized
from insitu.numbers.rounding import Ints
from insitu.ops.quant import nearest_shift
from insitu.step.attrs import portable
from insitu.step.ir import Counts, Format, Op, Phase, Shape

EVIDENCE = Fixed(True, 7, 0)
"""Format of the accumulators of ``rotating``."""


AVERAGE = Fixed(True, 15, 0)
"""Format of the gradient average of ``bop``."""


JUMPS = 64
"""Entries of the table of jump chances of ``dst``."""


@portable
@dataclass(frozen=True)
class Stored:
    """The stored word is the only copy of a weight.

    With x = g · 2**-k the change is, saturated to the format:

    ``stochastic``   x rounded up with the chance of its fraction
    ``threshold``    x rounded to nearest
    ``niti``         as stochastic, k such that the largest |g| of the tensor keeps ``step_bits`` bits
    ``integer-sgd``  x rounded towards zero, and w · 2**-decay rounded towards zero
    ``dst``          sign(x) (floor|x| + 1 with chance tanh(κ · fraction))
    ``bop``          m += (x - m) 2**-gamma, rounded to nearest (x in 8 more bits); w = -w where m has w's sign and
                     |m| >= flip
    ``carry``        with t = x + the remainder of the group: 0 within ± band / 8, else the whole number that leaves the
                     rest of t nearest to that bound inside of it; the rest is the group's remainder for the next
                     weight, and its ``remainder`` high bits for the next step; random bits stand for its low ones
    ``rotating``     rows of one slice at a time sum x, rounded stochastically, for ``window`` steps; then each of
                     its weights moves by one against a sum of at least ``evidence``, and the sums are cleared

    Binary weights (-1, +1) move by 2, so they take one bit less of x. ``channels``: further bits that the change of
    each output channel is shifted by, where channels have units of their own.
    """

    kind: str
    format: Quantized
    ratio: float
    stream: str
    step_bits: int = 2
    carry: int = 1
    remainder: int = 16
    band: int = 8
    slices: int = 1
    window: int = 1
    evidence: int = 1
    gamma: int = 6
    flip: int = 8
    kappa: float = 3.0
    decay: int | None = None
    channels: tuple[int, ...] = ()
    generator: str = "counter"

    def __str__(self) -> str:
        extra = {
            "niti": f" bits={self.step_bits}",
            "carry": f" {self.carry} bits={self.remainder} band={self.band}",
            "rotating": f" slices={self.slices} window={self.window} evidence={self.evidence}",
            "bop": f" gamma={self.gamma} flip={self.flip}",
            "dst": f" kappa={self.kappa:g}",
            "integer-sgd": f" decay={self.decay}" if self.decay else "",
        }
        return f"{self.kind}:{self.ratio:.9g}{extra.get(self.kind, '')}"

    @property
    def stride(self) -> int:
        """Distance of neighbouring integers."""
        return 2 if isinstance(self.format, Binary) else 1

    def states(self, shape: Shape) -> tuple[tuple[str, Shape, Format], ...]:
        """Suffix, shape and format of what it keeps beside the weights."""
        if self.kind == "bop":
            return (("average", shape, AVERAGE),)
        if self.kind == "carry":
            return (("remainder", (shape[0], self.groups(shape)), Fixed(True, self.remainder - 1, 0)),)
        if self.kind == "rotating":
            return (("evidence", (self.slice_rows(shape), *shape[1:]), EVIDENCE),)
        return ()

    @property
    def fraction(self) -> int:
        """Bits of a remainder below a weight's step: within ± 1/2 of a step all of them."""
        return self.remainder - (self.band > 4)

    def groups(self, shape: Shape) -> int:
        """Groups of a row that share a remainder."""
        return -(-prod(shape[1:]) // self.carry)

    def slice_rows(self, shape: Shape) -> int:
        """Rows of a slice."""
        return -(-shape[0] // self.slices)

    def active(self, shape: Shape, t: int) -> slice:
        """The rows that gather evidence at training step t."""
        n = self.slice_rows(shape)
        first = (t // self.window) % -(-shape[0] // n) * n
        return slice(first, min(first + n, shape[0]))

    def words(self, seed: int, t: int, count: int) -> Ints:
        """The random 32-bit words of a training step: of the rows, then of the columns."""
        key = prng.key(seed, self.stream, t)
        if self.generator == "lfsr":
            return lfsr.words(key, count)
        return np.asarray(prng.words(key, np.arange(count, dtype=np.uint64))).astype(np.int64)

    @property
    def whole(self) -> bool:
        """Does it need the largest entry of the gradient before it changes the first weight?"""
        return self.kind == "niti"

    @property
    def random(self) -> bool:
        return self.kind in ("stochastic", "carry", "niti", "dst", "rotating")

    @property
    def still(self) -> bool:
        """Does nothing move where the gradient is zero? Of the updates that C ends at once then (``insitu_still``)."""
        return self.kind in ("stochastic", "threshold", "carry")

    def shift(self, lr: float, e: int) -> int:
        """The k of ``g · 2**-k``."""
        return nearest_shift(lr * self.ratio) - e + (self.stride - 1)


@portable
@dataclass(frozen=True)
class Latent:
    """A real copy of a weight moves by a gradient of integers; the forward pass reads it through a rounding.

    Attributes:
        optimizer: as for real gradients (sgd, momentum, adam).
        unit: value of the gradient's integer 1.
        bound: the copy saturates at ± bound (the range of what is read), so that no weight leaves for good.
        half: the copy is kept in float16.
    """

    optimizer: Any
    unit: float
    bound: float
    half: bool = False

    def __str__(self) -> str:
        return f"{self.optimizer}:unit={self.unit:.9g}:bound={self.bound:.9g}" + (":f16" if self.half else "")

    whole = False
    random = False

    @property
    def still(self) -> bool:
        return bool(self.optimizer.still)

    def states(self, shape: Shape) -> tuple[tuple[str, Shape, Format], ...]:
        return tuple((s, shape, F32) for s in self.optimizer.states)


Move = Stored | Latent


def jump_table(kappa: float) -> tuple[int, ...]:
    """Chances of one more jump, in units of 2**-16, by the high bits of the fraction."""
    return tuple(round(65536 * tanh(kappa * (i + 0.5) / JUMPS)) for i in range(JUMPS))


def carried(o: Stored, k: int, w: Any, g: Any, rest: Any, words: Any) -> None:
    """Moves w by ``carry``; arrays of 64-bit integers, of NumPy or torch.

    Args:
        k: the shift, at most 32.
        w, g: weights, which change, and gradient, [rows, columns].
        rest: the remainders [rows, groups], which change.
        words: a random 32-bit word per group, of the same shape.
    """
    s = max(k, o.fraction)
    low, half = s - o.fraction, (o.band << s) // 8
    t = (rest << low) + (words >> (32 - low))
    for j in range(o.carry):
        part, x = w[:, j :: o.carry], g[:, j :: o.carry] << (s - k)
        within = t[:, : x.shape[1]]  # the last group of a row may be shorter
        within += x
        step = (((within - half) >> s) + 1).clip(min=0) - (((-half - 1 - within) >> s) + 1).clip(min=0)
        within -= step << s
        part[:] = (part - o.stride * step).clip(o.format.least, o.format.greatest)
    rest[:] = t >> low


def real_step(o: Any, lr: float, t: int, w: Any, g: Any, state: Sequence[Any]) -> Any:
    """What is subtracted from w, by torch or NumPy float32 arrays; the state changes in place."""
    if o.weight_decay:
        g = g + w * _f32(o.weight_decay)
    if o.kind == "sgd":
        return g * _f32(lr)
    if o.kind in ("momentum", "nesterov"):
        (m,) = state
        m *= _f32(o.momentum)
        m += g
        return (m if o.kind == "momentum" else g + m * _f32(o.momentum)) * _f32(lr)
    if o.kind == "sign":
        return ((g > 0) * 1.0 - (g < 0) * 1.0) * _f32(lr)
    m, v = state
    m *= _f32(o.beta1)
    m += g * _f32(1.0 - o.beta1)
    v *= _f32(o.beta2)
    v += g * g * _f32(1.0 - o.beta2)
    root = (v.sqrt() if hasattr(v, "sqrt") else v**0.5) * _f32(1.0 / sqrt(1.0 - o.beta2 ** (t + 1)))
    return m / (root + _f32(o.eps)) * _f32(lr / (1.0 - o.beta1 ** (t + 1)))


def _f32(x: float) -> Any:
    """A Python float that float32 holds exactly."""
    return float(np.float32(x))


def gathered(op: Op) -> Op:
    """The plain update that a ``matmul_dw_gather`` makes once it has gathered enough."""
    _, _, w, errors, inputs, _ = op.inputs
    return replace(op, kind="matmul_dw_update", inputs=(errors, inputs, w))


def counts(o: Move, shape: Shape) -> Counts:
    """A shift, an addition and a comparison per weight, a random word per row and column; a copy as its optimizer."""
    size = prod(shape)
    if isinstance(o, Latent):
        from insitu.ops.state import MACS_PER_WEIGHT

        return Counts(
            macs={Phase.UPDATE: MACS_PER_WEIGHT[o.optimizer.kind] * size}, other={Phase.UPDATE: size}
        )
    words = shape[0] + ((prod(shape[1:]) if o.kind != "carry" else o.groups(shape)) if len(shape) > 1 else 0)
    return Counts(other={Phase.UPDATE: 3 * size}, random=words if o.random else 0)
