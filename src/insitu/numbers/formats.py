"""Number formats as value objects with a text form.

A number is stored as a *word* of ``bits`` bits. The formats and the value of a word w:

=========  =================================================================================================
``uI.F``   fixed point, I integer and F fraction bits: w * 2**-F, w from 0 to 2**(I+F) - 1
``sI.F``   the same with a sign, one more bit: w from -2**(I+F) to 2**(I+F) - 1 in two's complement
``b1``     binary: w = 0 is -1, w = 1 is +1
``t2``     ternary: -1, 0, +1 as w = -1, 0, +1 in two's complement of 2 bits (binary 10 is unused)
``poN``    power of two, N from 2 to 8: 0 is 0, else sign(w) * 2**(abs(w) - M), M = 2**(N-1) - 1, w from -M to M in
           two's complement (binary 10...0 is unused): po2 is -1, 0, 1; po4 is 0 and +-1, 1/2, ... 1/64
``fN``     IEEE 754 floats f16, f32, f64; the word is the bit pattern
``bit``    a bit that stands for 0 or for one real, which the op that makes the array states; it is made by programs and
           does not parse: no policy may ask for it
=========  =================================================================================================

I or F may be negative as long as the bits are 1 to 32: ``s-5.12`` is an 8-bit word times 2**-12 (-5 + 12 + 1 bits),
``s10.-3`` an 8-bit word times 8. F is -30 to 126: 2**-126 is the least normal float32, and 2**30 the widest step
to which reals are rounded exactly. Every format has exactly one text. Except for floats, values grow with their
words.

Arithmetic is on the *integers* value / unit, with ``unit`` the greatest power of two that divides all values of a
format: the word itself for sI.F, uI.F and t2, -1 and +1 for b1, 0 and +-1, 2, 4, ... for poN. A tensor may give its
integers another unit than the format's own (see :class:`insitu.step.ir.Value`); the format then tells their bits and
range.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from insitu.errors import ConfigError
from insitu.numbers.rounding import FINE, Ints, Reals, Rounding, drop, fine, integers
from insitu.step.attrs import portable

_USE = "use sI.F or uI.F of 1 to 32 bits with F from -30 to 126 (say s0.7), b1, t2, po2 to po8, f16, f32, f64"


@portable
@dataclass(frozen=True)
class Float:
    """IEEE 754 binary16, binary32 or binary64."""

    bits: int

    def __post_init__(self) -> None:
        if self.bits not in (16, 32, 64):
            raise _refused(self, f"asks for a float of {self.bits} bits")

    @property
    def low(self) -> int:
        """The least word; patterns of f64 are int64."""
        return -(1 << 63) if self.bits == 64 else 0

    @property
    def high(self) -> int:
        """The greatest word."""
        return (1 << 63) - 1 if self.bits == 64 else (1 << self.bits) - 1

    @property
    def min(self) -> float:
        return -self.max

    @property
    def max(self) -> float:
        """The greatest finite value."""
        return float(np.finfo(f"f{self.bits // 8}").max)

    @property
    def step(self) -> None:
        return None

    @property
    def allowed(self) -> None:
        return None

    def words(self, real: npt.ArrayLike) -> Ints:
        """Bit patterns of reals, rounded as IEEE 754 does: to nearest, ties to even, to infinity beyond the range."""
        with np.errstate(over="ignore"):
            floats = np.asarray(real, np.float64).astype(f"f{self.bits // 8}")
        return floats.view(f"u{self.bits // 8}").astype(np.int64)

    def values(self, words: npt.ArrayLike) -> Reals:
        """The value of each bit pattern, exact."""
        size = self.bits // 8
        return checked(words, self).astype(f"u{size}").view(f"f{size}").astype(np.float64)

    def __str__(self) -> str:
        return f"f{self.bits}"


@portable
@dataclass(frozen=True)
class Bit:
    """One bit of a program on reals: 0, or the real that the array's op states.

    Memory reports count the bit; whoever executes the program may carry the two reals.
    """

    @property
    def bits(self) -> int:
        return 1

    def __str__(self) -> str:
        return "bit"


class Quantized(ABC):
    """A format that lists its values: the words are the integers ``low`` to ``high``, in the order of the values."""

    @property
    @abstractmethod
    def bits(self) -> int:
        """Of a word."""

    @property
    @abstractmethod
    def low(self) -> int:
        """The least word."""

    @property
    @abstractmethod
    def high(self) -> int:
        """The greatest word."""

    @property
    @abstractmethod
    def step(self) -> float | None:
        """The distance of neighbouring values, or ``None`` where it is not the same everywhere."""

    @property
    def unit(self) -> float:
        """The value of the integer 1."""
        return self.step or 2.0 ** (1 - self.high)

    @property
    def least(self) -> int:
        """The integer of the least value."""
        return round(self.min / self.unit)

    @property
    def greatest(self) -> int:
        """The integer of the greatest value."""
        return round(self.max / self.unit)

    @property
    def max_abs(self) -> int:
        """The largest magnitude of an integer."""
        return max(-self.least, self.greatest)

    def integers(self, words: npt.ArrayLike) -> Ints:
        """The integer of each word."""
        return np.asarray(np.rint(self.values(words) / self.unit)).astype(np.int64)

    def from_integers(self, n: npt.ArrayLike) -> Ints:
        """The word of each integer.

        Raises:
            ConfigError: if the format has no such integer.
        """
        n = integers(n)
        if n.size and not self.least <= int(n.min()) <= int(n.max()) <= self.greatest:
            raise ConfigError(f"integers {n.min()} to {n.max()} are not all in {self}; saturate them first")
        words = self.words(n * self.unit)
        if n.size and (self.integers(words) != n).any():
            raise ConfigError(f"an integer between two values of {self} has no word; round it first")
        return words

    @abstractmethod
    def _fine(self, real: Reals) -> Ints:
        """``floor(position * 2**30)``: the position is w at the value of word w, and a straight line between words."""

    @abstractmethod
    def _values(self, words: Ints) -> Reals:
        """The value of each word."""

    @property
    def min(self) -> float:
        return float(self._values(np.array(self.low)))

    @property
    def max(self) -> float:
        return float(self._values(np.array(self.high)))

    @property
    def allowed(self) -> tuple[float, ...] | None:
        """All values, from the least, where there are at most 256."""
        if self.high - self.low >= 256:
            return None
        return tuple(self._values(np.arange(self.low, self.high + 1)).tolist())

    def words(
        self,
        real: npt.ArrayLike,
        rounding: str = Rounding.HALF_UP,
        random: npt.ArrayLike | None = None,
    ) -> Ints:
        """The word of each real, saturated to ``min`` and ``max`` and rounded between its two neighbouring values.

        Half-up takes the nearer neighbour, and the greater one at a tie; floor the lesser; stochastic the greater
        with a chance of the distance to the lesser over the distance of both (in units of 2**-30, rounded down).
        ``random`` is as for :func:`insitu.numbers.rounding.drop`.

        Raises:
            ConfigError: if a real is NaN, or stochastic rounding lacks its random words.
        """
        x = np.asarray(real, np.float64)
        if np.isnan(x).any():
            raise ConfigError(f"NaN has no word in {self}; remove its cause, or keep these values in f32")
        return drop(self._fine(np.clip(x, self.min, self.max)), FINE, rounding, random)

    def values(self, words: npt.ArrayLike) -> Reals:
        """The value of each word, exact in float64.

        Raises:
            ConfigError: if the format has no such word.
        """
        return self._values(checked(words, self))


@portable
@dataclass(frozen=True)
class Fixed(Quantized):
    """Fixed point: value = word * 2**-fraction."""

    signed: bool
    integer: int
    fraction: int

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 32:
            raise _refused(self, f"has {self.bits} bits")
        if not -FINE <= self.fraction <= 126:
            raise _refused(self, f"has steps of 2**{-self.fraction}")

    @property
    def bits(self) -> int:
        return self.integer + self.fraction + self.signed

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.bits - self.signed)) - 1

    @property
    def step(self) -> float:
        return 2.0**-self.fraction

    def _fine(self, real: Reals) -> Ints:
        return fine(real, 2.0**self.fraction)

    def _values(self, words: Ints) -> Reals:
        return words.astype(np.float64) * self.step

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.integer}.{self.fraction}"


@portable
@dataclass(frozen=True)
class Binary(Quantized):
    """-1 and +1 in one bit: value = 2 * word - 1. Half-up is the sign, with +1 for 0."""

    @property
    def bits(self) -> int:
        return 1

    @property
    def low(self) -> int:
        return 0

    @property
    def high(self) -> int:
        return 1

    @property
    def step(self) -> float:
        return 2.0

    @property
    def unit(self) -> float:
        return 1.0

    def _fine(self, real: Reals) -> Ints:
        return fine(real, 0.5) + (1 << (FINE - 1))  # (real + 1) / 2, but real + 1 could be inexact

    def _values(self, words: Ints) -> Reals:
        return 2.0 * words.astype(np.float64) - 1.0

    def __str__(self) -> str:
        return "b1"


@portable
@dataclass(frozen=True)
class Ternary(Quantized):
    """-1, 0 and +1 in two bits: value = word."""

    @property
    def bits(self) -> int:
        return 2

    @property
    def low(self) -> int:
        return -1

    @property
    def high(self) -> int:
        return 1

    @property
    def step(self) -> float:
        return 1.0

    def _fine(self, real: Reals) -> Ints:
        return fine(real)

    def _values(self, words: Ints) -> Reals:
        return words.astype(np.float64)

    def __str__(self) -> str:
        return "t2"


@portable
@dataclass(frozen=True)
class PowerOfTwo(Quantized):
    """0 and +-2**e for the 2**(bits-1) - 1 exponents e up to 0: value = sign(word) * 2**(abs(word) - high)."""

    width: int

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 8:
            raise _refused(self, f"asks for powers of two in {self.width} bits")

    @property
    def bits(self) -> int:
        return self.width

    @property
    def low(self) -> int:
        return -self.high

    @property
    def high(self) -> int:
        return (1 << (self.bits - 1)) - 1

    @property
    def step(self) -> float | None:
        return 1.0 if self.bits == 2 else None

    def _fine(self, real: Reals) -> Ints:
        units = np.abs(real) * 2.0 ** (self.high - 1)  # in units of the least power
        mantissa, exponent = np.frexp(units)  # mantissa from 1/2 to below 1
        word = np.where(units < 1, 0, exponent).astype(np.int64)
        part = np.where(units < 1, units, 2.0 * mantissa - 1.0)
        return np.sign(real).astype(np.int64) * word * (1 << FINE) + fine(np.copysign(part, real))

    def _values(self, words: Ints) -> Reals:
        exponent = (np.abs(words) - self.high).astype(np.int32)
        return np.ldexp(np.sign(words).astype(np.float64), exponent)

    def __str__(self) -> str:
        return f"po{self.bits}"


AnyFormat: TypeAlias = Float | Fixed | Binary | Ternary | PowerOfTwo

F16 = Float(16)
F32 = Float(32)
F64 = Float(64)
BIT = Bit()
B1 = Binary()
T2 = Ternary()

_NUMBER = "(0|-?[1-9][0-9]{0,2})"
_FORMS: dict[str, Callable[[re.Match[str]], AnyFormat]] = {
    rf"([su]){_NUMBER}\.{_NUMBER}": lambda m: Fixed(m[1] == "s", int(m[2]), int(m[3])),
    "b1": lambda _m: B1,
    "t2": lambda _m: T2,
    "po([1-9][0-9]?)": lambda m: PowerOfTwo(int(m[1])),
    "f([1-9][0-9]{0,2})": lambda m: Float(int(m[1])),
}


def parse(text: str) -> AnyFormat:
    """The format of a text form.

    Raises:
        ConfigError: if the text is none of the forms above, or its numbers are out of range.
    """
    for form, make in _FORMS.items():
        if match := re.fullmatch(form, text):
            return make(match)
    raise ConfigError(f"number format {text!r} does not parse; {_USE}")


def unsigned(count: int) -> Fixed:
    """The smallest byte-aligned unsigned format that holds ``count`` different values (8, 16 or 32 bits)."""
    for bits in (8, 16, 32):
        if count <= 1 << bits:
            return Fixed(False, bits, 0)
    raise ConfigError(f"{count} different values do not fit 32 bits; use a smaller tensor")


def checked(words: npt.ArrayLike, fmt: Float | Quantized) -> Ints:
    """Words as int64; refuses an integer that is no word of the format."""
    w = integers(words)
    if w.size and not fmt.low <= int(w.min()) <= int(w.max()) <= fmt.high:
        bad = int(w.min()) if int(w.min()) < fmt.low else int(w.max())
        raise ConfigError(
            f"the integer {bad} is no word of {fmt} ({fmt.low} to {fmt.high}); saturate or wrap it first"
        )
    return w


def _refused(fmt: AnyFormat, reason: str) -> ConfigError:
    return ConfigError(f"number format {str(fmt)!r} {reason}; {_USE}")
