"""How a host loads the two random registers: 32 instructions ``SHIFT``, each of which XORs a bit into each register.

A register is linear: after 32 words its state is ``M**32 s + sum M**(31 - i) b_i`` over bits, with M a word's step and
b_i a bit at position 0. The 32 vectors ``M**(31 - i)`` of bit 0 span all states, so bits for any target can be solved.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from insitu.backends.engine import isa
from insitu.numbers import lfsr

BITS = 32


def injections(state: int, target: int) -> list[int]:
    """The bits, first to last, that bring a register from a state to a target."""
    for _ in range(BITS):
        state = lfsr.advance(state)
    rest, bits = state ^ target, 0
    for pivot, column, made_of in _reduced():
        if rest >> pivot & 1:
            rest, bits = rest ^ column, bits ^ made_of
    return [bits >> i & 1 for i in range(BITS)]


@cache
def _reduced() -> tuple[tuple[int, int, int], ...]:
    """Where each bit that is put in ends up, by Gauss: (pivot, column, the bits that it is made of)."""
    columns, state = [], 1
    for _ in range(BITS):
        columns.append(state)
        state = lfsr.advance(state)
    rows = [(column, 1 << i) for i, column in enumerate(reversed(columns))]
    reduced: list[tuple[int, int, int]] = []
    for _ in range(BITS):
        column, made_of = rows.pop()
        pivot = column.bit_length() - 1
        reduced.append((pivot, column, made_of))
        rows = [(c ^ column, m ^ made_of) if c >> pivot & 1 else (c, m) for c, m in rows]
    return tuple(reduced)


def program(states: Sequence[int], targets: Sequence[int]) -> list[int]:
    """Microcode that loads both registers."""
    bits = zip(*(injections(state, target) for state, target in zip(states, targets)))
    return [*(isa.encode("SHIFT", lanes=a, scalars=b) for a, b in bits), isa.encode("END")]
