"""Axes: from values to positions, and ticks at round numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, log10

LOG_RANGE = 5.0
"""Above this ratio of the largest to the smallest value an axis is logarithmic."""


@dataclass(frozen=True)
class Axis:
    """Maps ``low..high`` to ``start..stop``."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = (log10(self.low), log10(self.high)) if self.log else (self.low, self.high)
        at = log10(value) if self.log else value
        return self.start + (self.stop - self.start) * (at - low) / (high - low)

    def ticks(self, count: int = 5, unit: float = 1.0) -> list[float]:
        """Round multiples of ``unit`` inside the axis."""
        low, high = self.low / unit, self.high / unit
        found = log_ticks(low, high) if self.log else linear_ticks(low, high, count)
        return [tick * unit for tick in found]


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten; about ``count`` of them."""
    raw = (high - low) / max(count, 1)
    power = 10.0 ** floor(log10(raw))
    step = next((m * power for m in (1, 2, 5) if m * power >= raw * 0.9999), 10 * power)
    first = ceil(low / step - 1e-9)
    last = floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    return [m * 10.0**p for p in powers for m in (1, 2, 5) if low * 0.9999 <= m * 10.0**p <= high * 1.0001]


def fit(values: Iterable[float], start: float, stop: float, *, pad: float = 0.06, log: bool = False) -> Axis:
    """An axis around the values with some air; logarithmic where asked for and the range is wide."""
    known = list(values) or [0.0, 1.0]
    low, high = min(known), max(known)
    if log and low > 0 and high / low > LOG_RANGE:
        air = (high / low) ** pad
        return Axis(low / air, high * air, start, stop, log=True)
    span = (high - low) or abs(high) * 0.2 or 1.0
    return Axis(low - pad * span, high + pad * span, start, stop)
