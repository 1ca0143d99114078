"""Rounding of integers by dropping low bits, and of reals to a grid; saturation and wrapping.

Dropping the k low bits of an integer x is one formula on unbounded integers, with an arithmetic shift (towards
minus infinity):

    (x + a) >> k        floor       a = 0
                        half-up     a = 2**(k-1), and 0 for k = 0: to the nearest, a tie towards plus infinity
                        stochastic  a = w >> (32 - k), the k high bits of a random 32-bit word w

Stochastic rounding goes up with a chance of exactly (low k bits of x) / 2**k. It takes high bits because then
zeros appended to x change nothing: dropping 4 bits of x and 12 bits of 256 x gives the same integer for the same w.
Where x + a may overflow the word of a C program or a circuit, ``(x >> k) + (((x & (2**k - 1)) + a) >> k)`` is the
same number, and no part of it is larger than x or 2**(k+1).

A real is rounded as the integer floor(x * 2**30), of which the 30 low bits are dropped.
"""

from __future__ import annotations

from enum import StrEnum
from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from insitu.errors import ConfigError
from insitu.numbers import prng

Ints: TypeAlias = npt.NDArray[np.int64]
Reals: TypeAlias = npt.NDArray[np.float64]

FINE = 30
"""Fraction bits that reals are rounded from: the position of a real on a grid of 2**32 steps then fits int64."""


class Rounding(StrEnum):
    """How low bits are dropped."""

    HALF_UP = "half-up"
    FLOOR = "floor"
    STOCHASTIC = "stochastic"


def parse(text: str) -> Rounding:
    """The rounding of that name.

    Raises:
        ConfigError: if there is none.
    """
    try:
        return Rounding(text)
    except ValueError:
        raise ConfigError(f"rounding {text!r} does not exist; use {', '.join(Rounding)}") from None


# --- integers -----------------------------------------------------------------------------------------------


def drop(x: npt.ArrayLike, k: npt.ArrayLike, rounding: str, random: npt.ArrayLike | None = None) -> Ints:
    """Integers without their ``k`` low bits, exact for every int64.

    Args:
        x: integers.
        k: how many bits, 0 to 62 (stochastic: 32): one number, or an array that broadcasts against ``x``.
        rounding: a :class:`Rounding` or its name.
        random: for stochastic rounding one 32-bit word per element, from :func:`counter_words` or
            :func:`insitu.numbers.lfsr.words`; else not read.

    Raises:
        ConfigError: if ``k`` is out of range, or the random words are missing or do not fit.
    """
    x, k, how = integers(x), integers(k), parse(rounding)
    most = 32 if how is Rounding.STOCHASTIC else 62
    if k.size and not 0 <= int(k.min()) <= int(k.max()) <= most:
        bad = int(k.min()) if int(k.min()) < 0 else int(k.max())
        raise ConfigError(f"{how} rounding cannot drop {bad} low bits; drop 0 to {most}")
    words = _random(random, x) if how is Rounding.STOCHASTIC else None
    out: Ints = dropped(x, k, addend(how, k, words))
    return out


def addend(rounding: Rounding, k: Any, random: Any = None) -> Any:
    """The ``a`` of ``(x + a) >> k``, for integers of Python, NumPy or torch; nothing is checked."""
    if rounding is Rounding.FLOOR:
        return 0
    if rounding is Rounding.HALF_UP:
        return (1 << k) >> 1
    return random >> (32 - k)


def dropped(x: Any, k: Any, a: Any) -> Any:
    """``(x + a) >> k`` without overflow, for integers of Python, NumPy or torch; nothing is checked."""
    return (x >> k) + (((x & ((1 << k) - 1)) + a) >> k)


def saturate(x: npt.ArrayLike, low: int, high: int) -> Ints:
    """Integers below ``low`` become ``low``, above ``high`` become ``high``."""
    if low > high:
        raise ConfigError(f"saturation to {low}..{high} is empty; give the least word first")
    return np.clip(integers(x), low, high)


def wrap(x: npt.ArrayLike, bits: int, signed: bool = True) -> Ints:
    """The ``bits`` low bits of integers, read as two's complement or as unsigned: what an adder without guard does."""
    if not 1 <= bits <= 62:
        raise ConfigError(f"wrapping to {bits} bits is not possible; use 1 to 62 bits")
    low = integers(x) & ((1 << bits) - 1)
    return low - ((low >> (bits - 1)) << bits) if signed else low


def integers(x: npt.ArrayLike) -> Ints:
    """An array as int64; refuses what is no integer or does not fit."""
    array = np.asarray(x)
    if array.size and array.dtype.kind not in "biu":
        raise ConfigError(f"an array of {array.dtype} holds no integers; convert it with a format's words()")
    if array.dtype == np.uint64 and array.size and int(array.max()) >= 1 << 63:
        raise ConfigError(f"the integer {array.max()} does not fit int64; use integers below 2**63")
    return array.astype(np.int64)


def counter_words(key: int, shape: tuple[int, ...], start: int = 0) -> Ints:
    """Random 32-bit words ``start, start + 1, ...`` of the stream ``key``, in row-major order."""
    index = np.arange(start, start + prod(shape), dtype=np.uint64)
    return np.asarray(prng.words(key, index)).astype(np.int64).reshape(shape)


def _random(random: npt.ArrayLike | None, x: Ints) -> Ints:
    """The random words for ``x``, checked."""
    if random is None:
        raise ConfigError("stochastic rounding needs random words; pass random=counter_words(key, x.shape)")
    words = integers(random)
    if words.shape != x.shape:
        raise ConfigError(
            f"random words of shape {words.shape} do not fit integers of shape {x.shape}; "
            "draw one word per element, or equal errors would add up"
        )
    if words.size and not 0 <= int(words.min()) <= int(words.max()) <= prng.MASK:
        raise ConfigError(
            f"random words {words.min()} to {words.max()} are not 0 to 2**32 - 1; use 32 bits each"
        )
    return words


# --- reals --------------------------------------------------------------------------------------------------


def to_grid(x: npt.ArrayLike, step: float, rounding: str, random: npt.ArrayLike | None = None) -> Ints:
    """Reals as integer multiples of ``step``: ``drop(floor(x / step * 2**30), 30)``.

    Exact for a power of two; for another step the quotient is one float64 division.

    Raises:
        ConfigError: if the step is not positive, or a real is not finite or 2**32 steps or more away from zero.
    """
    if not 0 < step < np.inf:
        raise ConfigError(f"a grid of step {step} does not exist; use a positive number")
    with np.errstate(over="ignore"):
        steps = np.asarray(x, np.float64) / step
    return drop(fine(steps), FINE, rounding, random)


def fine(steps: npt.ArrayLike, scale: float = 1.0) -> Ints:
    """``floor(steps * scale * 2**30)``, exact if the scale is a power of two not below 2**-30."""
    scaled = np.asarray(steps, np.float64) * (scale * 2.0**FINE)
    if not (np.abs(scaled) < 2.0 ** (32 + FINE)).all():
        raise ConfigError(
            "a real that is not finite, or 2**32 grid steps or more from zero, has no word; "
            "saturate it or take a wider step"
        )
    return np.asarray(np.floor(scaled)).astype(np.int64)
