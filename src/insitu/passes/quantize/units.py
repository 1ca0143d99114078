"""Units of arrays of integers, what an array has become, and the constants that formats are chosen by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log2

from insitu.numbers.formats import Fixed, Quantized
from insitu.ops.quant import nearest_shift
from insitu.step.ir import Value

Ranges = Mapping[str, tuple[float, float]]
"""Measured (least, greatest) of values by name; ``x`` the samples."""

CHANNEL_BITS = 4
"""Bits that the units of output channels may differ by: so many bits more have the sums."""

WIDEST = 4.0
"""Range of an activation that was not measured."""

GROWTH = 5
"""Doublings from the activations of first weights to those of a trained network that static binary points leave room
for. Chosen on validation data among 2 to 6: studies ``headroom-*`` of ``benchmarks/trials.py``."""

TABLE_BITS = 8
"""Bits of the operand of a tabulated activation function."""

UNLIKE = 1e-3
"""Relative difference of units from which two arrays cannot be subtracted; a multiplier of 15 bits is exact to 3e-5."""

ONE = 7
"""Fraction bits of tabulated derivatives."""


@dataclass(frozen=True)
class LoweredValue:
    """What a value of the emitted step becomes on integers: n · unit · 2**(sign · exponent).

    Attributes:
        value: the array of integers n.
        exponent: the run-time exponent, a scalar or one per sample; ``None`` for 0.
        sign: of the exponent, 1 or -1.
        scaled_unit: the unit, where a constant factor makes it differ from that of the array.
    """

    value: Value
    exponent: Value | None = None
    sign: int = 1
    scaled_unit: float | None = None

    @property
    def unit(self) -> float:
        unit = self.value.unit if self.scaled_unit is None else self.scaled_unit
        assert unit is not None
        return unit

    def like(self, value: Value) -> LoweredValue:
        """Another array with the same exponent."""
        return LoweredValue(value, self.exponent, self.sign)

    @property
    def format(self) -> Quantized:
        assert isinstance(self.value.format, Quantized)
        return self.value.format


def fixed(signed: bool, bits: int, unit: float) -> Fixed:
    """Fixed point of so many bits with the binary point nearest to a unit."""
    fraction = min(max(nearest_shift(unit), -30), 126)
    return Fixed(signed, bits - signed - fraction, fraction)


def power(x: float, up: bool = True) -> float:
    """The power of two not below x (or the nearest)."""
    return 2.0 ** (ceil(log2(x) - 1e-9) if up else round(log2(x)))


SPREAD = 2.0
"""Unit of weights of one and two bits over the largest first weight. They cannot grow, so they must be large enough at
once: ±2/sqrt(fan_in) keeps the variance of a ReLU layer, within a power of two."""


def multiplier(ratio: float) -> tuple[int, int]:
    """(times, shift) with times · 2**-shift nearest to a ratio, times of 15 bits."""
    shift = 14 + nearest_shift(ratio)
    return round(ratio * 2.0**shift), shift
