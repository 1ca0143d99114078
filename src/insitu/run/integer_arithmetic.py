"""Arithmetic that the pages of the integer reference share: saturation, rounding and random words."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.numbers import prng
from insitu.numbers.formats import Binary
from insitu.numbers.rounding import Rounding, addend, dropped
from insitu.step.context import StepContext

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


def saturate(x: Ints, fmt: Any) -> Ints:
    """To the range of a format; binary: the sign, +1 for 0."""
    if isinstance(fmt, Binary):
        return np.where(x >= 0, 1, -1)
    return np.clip(x, fmt.least, fmt.greatest)


def shift_right(x: Ints, k: Any, rounding: str, word: Any = None) -> Ints:
    """x · 2**-k as an integer; a negative k is a shift to the left. k: one, or an array."""
    left, right = np.maximum(-np.asarray(k), 0), np.clip(k, 0, 32 if rounding == Rounding.STOCHASTIC else 40)
    out: Ints = dropped(x << left, right, addend(Rounding(rounding), right, word))
    return out


def words(context: StepContext, stream: str, count: int, start: int = 0, *, fixed: bool = False) -> Ints:
    """Random 32-bit words of a stream, new at every training step unless fixed."""
    key = prng.key(context.seed, stream, 0 if fixed else context.t)
    return np.asarray(prng.words(key, np.arange(start, start + count, dtype=np.uint64))).astype(np.int64)


def bit_length(n: Any) -> Ints:
    """Bits of non-negative integers: 0 for 0, 1 for 1, 2 for 2 and 3, ... (exact: below 2**53)."""
    return np.frexp(np.asarray(n, np.float64))[1].astype(np.int64)
