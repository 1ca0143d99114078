"""Numbers as people read them; what is unknown is a dash, never a zero."""

from __future__ import annotations

from math import isfinite

from insitu.experiment.record import Spread

UNKNOWN = "–"
"""Stands for a value that nobody knows."""

KIB = 1024
BYTE_UNITS = (("GiB", KIB**3), ("MiB", KIB**2), ("KiB", KIB), ("B", 1))
COUNT_UNITS = (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3))
ENERGY_UNITS = (("J", 1e12), ("mJ", 1e9), ("µJ", 1e6), ("nJ", 1e3), ("pJ", 1.0))


def known(value: float | None) -> bool:
    """Whether there is a finite number to show."""
    return value is not None and isfinite(value)


def decimals(value: float) -> str:
    """About three significant digits: 1.43, 15.9, 163."""
    size = abs(value)
    digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{value:,.{digits}f}"


def byte_unit(top: float) -> tuple[str, int]:
    """The unit in which numbers up to ``top`` bytes are short."""
    return next((unit for unit in BYTE_UNITS if top >= unit[1]), BYTE_UNITS[-1])


def bytes_text(count: float | None) -> str:
    """``163112`` -> ``159 KiB``; binary units."""
    if not known(count):
        return UNKNOWN
    assert count is not None
    unit, factor = byte_unit(abs(count))
    return f"{count:.0f} B" if factor == 1 else f"{decimals(count / factor)} {unit}"


def kib(count: float | None) -> str:
    """KiB without the unit, one decimal, for columns that name it; ``0`` is exactly none."""
    if count is None or not isfinite(count):
        return UNKNOWN
    shown = f"{count / KIB:,.1f}"
    return "0" if count == 0 else "<0.1" if shown == "0.0" else shown


def count_text(count: float | None) -> str:
    """``70192`` -> ``70.2k``; decimal multiples."""
    if not known(count):
        return UNKNOWN
    assert count is not None
    for unit, factor in COUNT_UNITS:
        if abs(count) >= 0.9995 * factor:
            return f"{decimals(count / factor)}{unit}"
    return f"{count:.0f}" if count == int(count) else decimals(count)


def percent(share: float | None, digits: int = 1) -> str:
    """A fraction in per cent: ``0.9375`` -> ``93.8 %``."""
    return f"{100 * share:.{digits}f} %" if share is not None and isfinite(share) else UNKNOWN


def ratio(value: float | None) -> str:
    """``1.43×``."""
    return f"{value:.2f}×" if value is not None and isfinite(value) else UNKNOWN


def seconds_text(value: float | None) -> str:
    """``0.07 s``, ``14.2 s``, ``4 min 05 s``, ``2 h 03 min``."""
    if value is None or not isfinite(value):
        return UNKNOWN
    if value < 59.95:
        return f"{decimals(value)} s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def spread_text(spread: Spread | None, factor: float = 1.0, digits: int = 2) -> str:
    """Mean ± standard deviation; the mean alone for one seed."""
    if spread is None or not isfinite(spread.mean):
        return UNKNOWN
    mean = f"{factor * spread.mean:.{digits}f}"
    return f"{mean} ± {factor * spread.sd:.{digits}f}" if len(spread.values) > 1 else mean


def energy_text(pj: float | None) -> str:
    """``1234567`` -> ``1.23 µJ``."""
    if pj is None:
        return UNKNOWN
    unit, factor = next((u for u in ENERGY_UNITS if abs(pj) >= u[1]), ENERGY_UNITS[-1])
    return f"{pj / factor:.3g} {unit}"
