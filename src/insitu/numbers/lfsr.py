"""A 32-bit linear feedback shift register: random words for rounding where a multiplier is too dear.

The counter generator of :mod:`insitu.numbers.prng` is the default: any word of it can be had at once. This register
is beside it for small circuits: 32 flip-flops and a few XORs, but words come only in their order.

One step shifts left and fills bit 0 with ``s[31] ^ s[29] ^ s[25] ^ s[24]`` (taps 32, 30, 26, 25; the polynomial
x^32 + x^30 + x^26 + x^25 + 1 is primitive, so all 2**32 - 1 states but zero come in one cycle). Sixteen steps
need no bit that is new, so they are one expression, and a word is the state after 32 steps:

    uint32_t lfsr(uint32_t s)        /* the next word */
    {
        s = s << 16 | (((s >> 16) ^ (s >> 14) ^ (s >> 10) ^ (s >> 9)) & 0xFFFF);
        return s << 16 | (((s >> 16) ^ (s >> 14) ^ (s >> 10) ^ (s >> 9)) & 0xFFFF);
    }

Seed rule: the start state is the low 32 bits of the seed, or 0x9E3779B9 if they are zero; it is not a word itself.
Take the seed from :func:`insitu.numbers.prng.key`: after a small number the first words have few ones. The last word
given out is the state to go on from.

A circuit without the hash keeps two such registers that are never started again (:func:`resume`). They run on one cycle
at two places of it: while the distance of the places is less than an update draws, and a whole number of words, the
words of one diagonal of a weight matrix are 0. Of all seeds one in 32 can meet that, in one update of some 100,000.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from insitu.errors import ConfigError
from insitu.numbers.prng import MASK, key
from insitu.numbers.rounding import Ints

FOR_ZERO = 0x9E3779B9
"""The start state of seed 0."""


def advance(s: Any) -> Any:
    """The next word after a word: Python integers or NumPy arrays that hold 32-bit words."""
    return _half(_half(s))


def words(seed: int, count: int) -> Ints:
    """The first ``count`` words after ``seed``; ``words(int(last), more)`` goes on after the last one.

    The register is linear, so n words ahead is a matrix of bits: each round doubles the words and squares it.
    """
    if count < 0:
        raise ConfigError(f"{count} random words cannot be drawn; ask for 0 or more")
    out = np.array([advance(seed & MASK or FOR_ZERO)], dtype=np.int64)
    ahead = advance(np.int64(1) << np.arange(32))  # where each single bit is after len(out) words
    while len(out) < count:
        out = np.concatenate([out, _times(ahead, out)])
        ahead = _times(ahead, ahead)
    return out[:count]


REGISTERS = "random.registers"
"""The resident of a step that holds the two registers that run on, and the stream of their start states."""


def resume(states: Any, which: int, seed: int, count: int) -> Ints:
    """The next ``count`` words of a register that runs on.

    Args:
        states: the two registers, which move on; 0: not started, which no register comes to by itself.
        which: 0 or 1.
        seed: of the run: register i starts at ``key(seed, REGISTERS, i)``.
        count: of words.
    """
    drawn = words(int(states[which]) or key(seed, REGISTERS, which), count)
    if count:
        states[which] = int(drawn[-1])
    return drawn


def _half(s: Any) -> Any:
    """Sixteen steps."""
    new = ((s >> 16) ^ (s >> 14) ^ (s >> 10) ^ (s >> 9)) & 0xFFFF
    return (s << 16 | new) & MASK


def _times(columns: Ints, x: Ints) -> Ints:
    """The product of a matrix of 32 columns and each 32-bit word, over bits."""
    out = np.zeros_like(x)
    for bit, column in enumerate(columns):
        out ^= ((x >> bit) & 1) * column
    return out
