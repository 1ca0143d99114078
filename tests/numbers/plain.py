"""The definitions of the number formats and roundings once more, in exact fractions and plain Python: the oracle."""

from __future__ import annotations

from fractions import Fraction
from math import floor

Row = list[tuple[int, Fraction]]
"""The words of a format with their values, from the least."""


def power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def fixed(text: str) -> Row:
    """``s2.1``: all words, by counting them."""
    sign, rest = text[0], text[1:]
    integer, fraction = (int(part) for part in rest.split("."))
    count = 2 ** (integer + fraction)
    return [(w, w * power(-fraction)) for w in range(-count if sign == "s" else 0, count)]


def power_of_two(bits: int) -> Row:
    exponents = range(2 - 2 ** (bits - 1), 1)  # ends at 2**0
    positive = [(i + 1, power(e)) for i, e in enumerate(exponents)]
    assert len(positive) == 2 ** (bits - 1) - 1
    return [(-w, -v) for w, v in reversed(positive)] + [(0, Fraction(0))] + positive


BINARY: Row = [(0, Fraction(-1)), (1, Fraction(1))]
TERNARY: Row = [(-1, Fraction(-1)), (0, Fraction(0)), (1, Fraction(1))]


def row(text: str) -> Row:
    """The words and values of a format of few bits."""
    if text in ("b1", "t2"):
        return BINARY if text == "b1" else TERNARY
    return power_of_two(int(text[2:])) if text.startswith("po") else fixed(text)


def drop(x: int, k: int, rounding: str, w: int = 0) -> int:
    """Rounds x / 2**k by looking at the quotient, not by shifts."""
    exact = Fraction(x, 2**k)
    low = floor(exact)
    part = exact - low
    up = {
        "floor": False,
        "half-up": part >= Fraction(1, 2),
        "stochastic": part + Fraction(w * 2**k // 2**32, 2**k) >= 1,
    }
    return low + up[rounding]


def word(real: float, values: Row, rounding: str, w: int = 0) -> int:
    """The word of a real: saturate, find the two neighbours, choose."""
    x = min(max(Fraction(real), values[0][1]), values[-1][1])
    below = max(i for i, (_, v) in enumerate(values) if v <= x)
    if values[below][1] == x:
        return values[below][0]
    (low, v0), (_, v1) = values[below : below + 2]
    part = (x - v0) / (v1 - v0)
    up = {
        "floor": False,
        "half-up": part >= Fraction(1, 2),
        "stochastic": floor(part * 2**30) + w // 4 >= 2**30,
    }
    return low + up[rounding]
