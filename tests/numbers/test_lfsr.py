"""The shift register: against one that shifts a bit at a time, its period, its statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.errors import ConfigError
from insitu.numbers import lfsr, prng
from insitu.numbers.rounding import drop

WORD = 0xFFFFFFFF


def shift(s: int) -> int:
    """One step, with the taps counted from 1 as in tables of polynomials."""
    new = 0
    for tap in (32, 30, 26, 25):
        new ^= s >> (tap - 1) & 1
    return (s << 1 | new) & WORD


def steps(s: int, count: int) -> int:
    for _ in range(count):
        s = shift(s)
    return s


@given(st.integers(1, WORD))
def test_a_word_is_32_single_steps(s: int) -> None:
    assert lfsr.advance(s) == steps(s, 32)


@given(st.integers(), st.integers(0, 70))
def test_words_are_the_states_in_order(seed: int, count: int) -> None:
    expected, s = [], seed % 2**32 or 0x9E3779B9
    for _ in range(count):
        s = steps(s, 32)
        expected.append(s)
    assert lfsr.words(seed, count).tolist() == expected


def test_known_answers() -> None:
    """Frozen: generated C and Verilog give these."""
    assert lfsr.words(1, 4).tolist() == [0xC5, 0x5011, 0x3D1C95, 0x1100010D]
    assert lfsr.words(prng.key(0, "fc1.update"), 3).tolist() == [0x0A5C32EC, 0x9A393435, 0x600AF308]


@given(st.integers(0, WORD), st.integers(1, 40), st.integers(0, 40))
def test_the_last_word_is_the_state_to_go_on_from(seed: int, first: int, more: int) -> None:
    whole = lfsr.words(seed, first + more)
    assert lfsr.words(int(whole[first - 1]), more).tolist() == whole[first:].tolist()


def test_zero_is_no_state() -> None:
    assert shift(0) == 0  # it would stay there
    assert lfsr.words(0, 5).tolist() == lfsr.words(0x9E3779B9, 5).tolist() == lfsr.words(2**32, 5).tolist()


def test_period() -> None:
    """The order of one step, a 32x32 matrix over bits, is 2**32 - 1; 32 steps a word share no factor with it."""

    def times(a: list[int], b: list[int]) -> list[int]:
        """First b, then a; a matrix is the list of what becomes of each bit."""
        return [apply(a, column) for column in b]

    def apply(a: list[int], x: int) -> int:
        out = 0
        for bit in range(32):
            if x >> bit & 1:
                out ^= a[bit]
        return out

    def to_the(n: int) -> list[int]:
        out, square = identity, one
        while n:
            if n & 1:
                out = times(square, out)
            square, n = times(square, square), n >> 1
        return out

    identity = [1 << bit for bit in range(32)]
    one = [shift(x) for x in identity]
    period, primes = 2**32 - 1, (3, 5, 17, 257, 65537)
    assert np.prod(primes) == period
    assert to_the(period) == identity
    for prime in primes:
        assert to_the(period // prime) != identity
    assert np.gcd(32, period) == 1


def test_rounding_with_its_words_is_unbiased() -> None:
    n = 200_000
    w = lfsr.words(5, n)
    for x in (1, 77, 128, 255):
        share = x / 256
        up = drop(np.full(n, x), 8, "stochastic", w).mean()
        assert abs(up - share) < 4.5 * (share * (1 - share) / n) ** 0.5


def test_words_are_fair_and_do_not_follow_each_other() -> None:
    n = 200_000
    w = lfsr.words(7, n)
    for bit in range(32):
        assert abs(int((w >> bit & 1).sum()) - n / 2) < 4.5 * n**0.5 / 2, f"bit {bit}"
    unit = w / 2.0**31 - 1.0
    for lag in (1, 2, 64, 1000):
        assert abs(float(np.mean(unit[lag:] * unit[:-lag])) * 3 * n**0.5) < 4.5, f"lag {lag}"


def test_fewer_than_no_words() -> None:
    with pytest.raises(ConfigError, match="-1 random words cannot be drawn; ask for 0 or more"):
        lfsr.words(1, -1)


@given(st.integers(0, WORD), st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_a_register_runs_on_where_it_stopped(seed: int, counts: list[int]) -> None:
    """And the other one stays; a register that has not started is 0, which none comes to."""
    states = np.zeros(2, np.int64)
    drawn = [w for n in counts for w in lfsr.resume(states, 1, seed, n).tolist()]
    assert drawn == lfsr.words(prng.key(seed, lfsr.REGISTERS, 1), sum(counts)).tolist()
    assert states.tolist() == [0, drawn[-1] if drawn else 0]
