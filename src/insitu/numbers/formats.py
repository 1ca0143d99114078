"""Number formats as value objects with a text form.

``f32``/``f64``: IEEE 754. ``uI.F``/``sI.F``: fixed point with I integer and F fraction bits (``s``: two's
complement, the sign is one more bit).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from insitu.errors import ConfigError


@dataclass(frozen=True)
class Float:
    """IEEE 754 binary32 or binary64."""

    bits: int

    def __str__(self) -> str:
        return f"f{self.bits}"


@dataclass(frozen=True)
class Fixed:
    """Fixed point: value = word * 2**-fraction."""

    signed: bool
    integer: int
    fraction: int

    @property
    def bits(self) -> int:
        return self.integer + self.fraction + self.signed

    @property
    def min(self) -> float:
        return -(2.0**self.integer) if self.signed else 0.0

    @property
    def max(self) -> float:
        return 2.0**self.integer - 2.0**-self.fraction

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.integer}.{self.fraction}"


AnyFormat: TypeAlias = Float | Fixed

F32 = Float(32)
F64 = Float(64)


def parse(text: str) -> AnyFormat:
    """The format of a text form.

    Raises:
        ConfigError: if the text is no format of 1 to 32 fixed-point bits, ``f32`` or ``f64``.
    """
    if text in ("f32", "f64"):
        return Float(int(text[1:]))
    match = re.fullmatch(r"([su])(\d+)\.(\d+)", text)
    if match:
        fmt = Fixed(match[1] == "s", int(match[2]), int(match[3]))
        if 1 <= fmt.bits <= 32:
            return fmt
    raise ConfigError(f"number format {text!r} does not parse; use f32, f64, sI.F or uI.F with 1 to 32 bits")


def unsigned(count: int) -> Fixed:
    """The smallest byte-aligned unsigned format that holds ``count`` different values (8, 16 or 32 bits)."""
    for bits in (8, 16, 32):
        if count <= 1 << bits:
            return Fixed(False, bits, 0)
    raise ConfigError(f"{count} different values do not fit 32 bits; use a smaller tensor")
