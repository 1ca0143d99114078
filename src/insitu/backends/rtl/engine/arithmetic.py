"""The identities that let learning use the datapath of inference; SAT proves each (:mod:`insitu.backends.rtl.proofs`).

One slice of a sum, at a fixed bit S, ends everything. The operand that all lanes share is shifted left by S - k before
the product, so no lane has a shifter::

    half-up:     floor(x / 2**k + 1/2)     =   (2**(S-1) + x * 2**(S-k)) >> S
    stochastic:  w - floor(g / 2**k + u)   = ~(({~w, u} + g * 2**(S-k)) >> S)      u: the top S bits of a random word

Saturation commutes with ``~``, so an update leaves by the same saturation as a forward sum.
"""

from __future__ import annotations

from amaranth import Cat, Const, Mux
from amaranth.hdl import Value


def begin(old: Value, lane_word: Value, round_word: Value) -> Value:
    """What a sum begins with: ``{~old, lane_word ^ round_word}``, signed.

    Args:
        old: the weight, 8 bits, for an update; for a forward sum 0xFF, so that nothing is added.
        lane_word, round_word: S bits each; for a forward sum 0 and 2**(S-1).
    """
    return Cat(lane_word ^ round_word, ~old).as_signed()


NEVER = Const(0)


def sliced(total: Value, at: int, signed: Value, inverted: Value, none: Value = NEVER) -> Value:
    """``total >> at`` saturated to 8 bits, with a sign or without, then inverted bit by bit or not; 0 with ``none``."""
    negative, edge, beyond = total[-1], total[at + 7], total[at + 8 : -1]
    above = ~negative & (beyond.any() | (signed & edge))
    below = negative & (~signed | ~(beyond.all() & edge))
    return _filled(total[at : at + 8], above, below, inverted, {7: signed}, negative, none)


def sliced_to(
    bits: int, total: Value, at: int, signed: Value, inverted: Value, narrow: Value, none: Value = NEVER
) -> Value:
    """The same, but saturated to ``bits`` bits with a sign where ``narrow`` is set; those above are not defined."""
    negative, edge, beyond, inner = (
        total[-1],
        total[at + 7],
        total[at + 8 : -1],
        total[at + bits - 1 : at + 7],
    )
    above = ~negative & (beyond.any() | ((signed | narrow) & edge) | (narrow & inner.any()))
    fits = beyond.all() & edge & (~narrow | inner.all())
    below = negative & (~(signed | narrow) | ~fits)
    return _filled(total[at : at + 8], above, below, inverted, {7: signed, bits - 1: narrow}, negative, none)


def _filled(
    body: Value,
    above: Value,
    below: Value,
    inverted: Value,
    signs: dict[int, Value],
    negative: Value,
    none: Value,
) -> Value:
    """A byte: all ones above its range, all zeros below; with bits that are signs where a flag is set; inverted.

    With ``none`` and no flag it is 0, by the same look-up tables.
    """
    fixed, fill = above | below | none, (above ^ inverted) & ~none
    bits = [Mux(fixed, fill, bit ^ fill) for bit in body]
    for at, flag in signs.items():
        bits[at] = Mux(flag, negative ^ inverted, bits[at])
    return Cat(*bits)


def wide_sliced(total: Value, at: int, whole: Value, inverted: Value) -> Value:
    """``total >> at`` saturated to 16 bits (``whole``) or 12, in 16 bits with sign, and then inverted or not."""
    negative = total[-1]
    fits = [
        (total[at + bits - 1 : -1] ^ negative.replicate(len(total) - at - bits)) == 0 for bits in (12, 16)
    ]
    most = Cat((~negative).replicate(11), Mux(whole, ~negative, negative).replicate(4), negative)
    found = Mux(Mux(whole, fits[1], fits[0]), total[at : at + 16], most)
    return (found ^ inverted.replicate(16)).as_signed()


def shifted(value: Value, amount: Value, bits: int) -> Value:
    """``value << amount``, signed, without the bits from ``bits`` on."""
    return (value << amount)[:bits].as_signed()


def outside(y: Value, x: Value, height: Value, width: Value) -> Value:
    """Is a signed position outside a plane? Read without its sign, a negative one is larger than any plane."""
    return (y.as_unsigned() >= height) | (x.as_unsigned() >= width)
