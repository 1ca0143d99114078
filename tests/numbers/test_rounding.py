"""Rounding: every formula against exact fractions, stochastic rounding against its expectation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from insitu.errors import ConfigError
from insitu.numbers import prng
from insitu.numbers.formats import Fixed
from insitu.numbers.rounding import (
    FINE,
    Rounding,
    addend,
    counter_words,
    drop,
    dropped,
    parse,
    saturate,
    to_grid,
    wrap,
)
from tests.numbers import plain

WORD = 0xFFFFFFFF
INT64 = 2**63
words_32 = st.integers(0, WORD)
int64s = st.integers(-INT64, INT64 - 1)
roundings = st.sampled_from(list(Rounding))


def bits_of(k: int) -> np.ndarray:
    """One 32-bit word for each r of k bits."""
    return np.arange(1 << k, dtype=np.int64) << (32 - k)


# --- integers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", range(6))
@pytest.mark.parametrize("rounding", list(Rounding))
def test_small_integers_equal_the_oracle(rounding: Rounding, k: int) -> None:
    for w in bits_of(k) + (1 << (32 - k)) - 1:  # low bits of the word must not matter
        x = np.arange(-100, 101)
        expected = [plain.drop(int(v), k, rounding, int(w)) for v in x]
        assert drop(x, k, rounding, np.full(x.shape, w)).tolist() == expected


@given(int64s, st.integers(0, 62), roundings, words_32)
def test_any_int64_equals_the_oracle(x: int, k: int, rounding: Rounding, w: int) -> None:
    k = min(k, 32) if rounding is Rounding.STOCHASTIC else k
    expected = plain.drop(x, k, rounding, w)
    assert int(drop(x, k, rounding, w)) == expected
    assert (x + addend(rounding, k, w)) >> k == expected  # the short formula, on unbounded integers
    assert dropped(x, k, addend(rounding, k, w)) == expected


@given(int64s, st.integers(0, 32), roundings, words_32)
def test_torch_gives_the_same_integers(x: int, k: int, rounding: Rounding, w: int) -> None:
    a = addend(rounding, k, torch.tensor(w))
    assert int(dropped(torch.tensor(x), k, a)) == plain.drop(x, k, rounding, w)


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [("half-up", [-2, -1, -1, 0, 0, 1, 1, 2]), ("floor", [-2, -2, -1, -1, 0, 0, 1, 1])],
)
def test_ties_and_signs(rounding: str, expected: list[int]) -> None:
    assert drop([-4, -3, -2, -1, 0, 1, 2, 3], 1, rounding).tolist() == expected


@pytest.mark.parametrize("k", range(9))
def test_stochastic_rounding_is_unbiased(k: int) -> None:
    """The mean over all random bits is x / 2**k, exactly."""
    for x in range(-300, 301):
        assert int(drop(np.full(1 << k, x), k, "stochastic", bits_of(k)).sum()) == x


@pytest.mark.parametrize("k", range(9))
def test_stochastic_rounding_takes_a_neighbour_with_the_right_chance(k: int) -> None:
    for x in range(-40, 41):
        got = drop(np.full(1 << k, x), k, "stochastic", bits_of(k))
        low = x // 2**k
        assert set(got.tolist()) <= {low, low + 1}
        assert int((got == low + 1).sum()) == x - low * 2**k


@given(st.integers(-(2**40), 2**40), st.integers(0, 12), st.integers(0, 20), words_32)
def test_appended_zeros_change_nothing(x: int, k: int, zeros: int, w: int) -> None:
    assert int(drop(x << zeros, k + zeros, "stochastic", w)) == int(drop(x, k, "stochastic", w))


def test_counter_words_are_those_of_the_generator() -> None:
    key = prng.key(3, "fc1.update", 7)
    expected = [int(prng.words(key, i)) for i in range(10, 16)]
    assert counter_words(key, (2, 3), start=10).tolist() == [expected[:3], expected[3:]]
    assert counter_words(key, ()).tolist() == int(prng.words(key, 0))


def test_counter_words_round_without_bias() -> None:
    n = 200_000
    for x in (1, 77, 128, 255):
        up = drop(np.full(n, x), 8, "stochastic", counter_words(prng.key(0, "bias", x), (n,))).mean()
        share = x / 256
        assert abs(up - share) < 4.5 * (share * (1 - share) / n) ** 0.5


def test_one_shift_per_channel() -> None:
    x = np.array([[100, 101], [-100, -101]])
    k = np.array([[0], [3]])
    assert drop(x, k, "half-up").tolist() == [[100, 101], [-12, -13]]
    w = np.full((2, 2), WORD)
    assert drop(x, k, "stochastic", w).tolist() == [[100, 101], [-12, -12]]


@given(st.lists(int64s, max_size=5), st.data())
def test_saturate_and_wrap_equal_plain_python(x: list[int], data: st.DataObject) -> None:
    array = np.array(x, dtype=np.int64)
    low, high = sorted(data.draw(st.tuples(int64s, int64s)))
    assert saturate(array, low, high).tolist() == [min(max(v, low), high) for v in x]
    bits = data.draw(st.integers(1, 62))
    assert wrap(array, bits, signed=False).tolist() == [v % 2**bits for v in x]
    half = 2 ** (bits - 1)
    assert wrap(array, bits).tolist() == [(v + half) % 2**bits - half for v in x]


@given(st.integers(-(2**40), 2**40), st.booleans(), st.integers(1, 32))
def test_words_stay_when_they_fit(x: int, signed: bool, bits: int) -> None:
    fmt = Fixed(signed, bits - signed, 0)
    inside = int(saturate(x, fmt.low, fmt.high))
    assert int(wrap(inside, fmt.bits, signed)) == inside
    assert (int(wrap(x, fmt.bits, signed)) == x) == (fmt.low <= x <= fmt.high)


# --- reals --------------------------------------------------------------------------------------------------


@given(st.integers(-(2**43), 2**43), st.integers(0, FINE), roundings, words_32)
def test_reals_and_integers_round_alike(x: int, k: int, rounding: Rounding, w: int) -> None:
    """An accumulator and the real that it stands for give the same word with the same random bits."""
    x >>= max(12 - k, 0)  # at most 2**32 steps from zero
    assert int(to_grid(float(x), 2.0**k, rounding, w)) == int(drop(x, k, rounding, w))


@given(st.floats(-(2.0**31), 2.0**31), st.integers(-20, 20), roundings, words_32)
def test_grid_equals_the_oracle(x: float, exponent: int, rounding: Rounding, w: int) -> None:
    x = x * 2.0**exponent
    fine = Fraction(x) / plain.power(exponent) * 2**FINE
    expected = plain.drop(fine.__floor__(), FINE, rounding, w)
    assert int(to_grid(x, 2.0**exponent, rounding, w)) == expected


def test_a_grid_that_is_no_power_of_two() -> None:
    x = [0.0, 0.04, 0.05, 0.1, 0.14, -0.05, -0.06]
    assert to_grid(x, 0.1, "half-up").tolist() == [0, 0, 1, 1, 1, 0, -1]


def test_the_float_just_below_a_tie_stays_below() -> None:
    assert to_grid([0.49999999999999994, 0.5, -0.5, -0.5000000000000001], 1.0, "half-up").tolist() == [
        0,
        1,
        0,
        -1,
    ]


# --- refusals -----------------------------------------------------------------------------------------------


def test_names() -> None:
    assert [parse(str(r)) for r in Rounding] == list(Rounding)
    with pytest.raises(
        ConfigError, match="rounding 'nearest' does not exist; use half-up, floor, stochastic"
    ):
        parse("nearest")
    with pytest.raises(ConfigError, match="rounding 'up'"):
        drop([1], 1, "up")


@pytest.mark.parametrize(
    ("k", "rounding", "bad", "most"),
    [(-1, "floor", -1, 62), (63, "half-up", 63, 62), (33, "stochastic", 33, 32), ([1, 64], "floor", 64, 62)],
)
def test_bits_that_cannot_be_dropped(k: int, rounding: str, bad: int, most: int) -> None:
    with pytest.raises(
        ConfigError, match=f"{rounding} rounding cannot drop {bad} low bits; drop 0 to {most}"
    ):
        drop([5, 6], k, rounding, [0, 0])


@pytest.mark.parametrize(
    ("random", "message"),
    [
        (None, "needs random words; pass random=counter_words"),
        ([1], r"shape \(1,\) do not fit integers of shape \(2,\); draw one word per element"),
        (1, r"shape \(\) do not fit"),
        ([0, 2**32], "random words 0 to 4294967296 are not 0 to 2"),
        ([-1, 0], "random words -1 to 0 are not 0 to 2"),
        ([0.5, 0.5], "an array of float64 holds no integers"),
    ],
)
def test_random_words_that_do_not_fit(random: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        drop([5, 6], 3, "stochastic", random)  # type: ignore[arg-type]


def test_integers_only() -> None:
    with pytest.raises(ConfigError, match="an array of float32 holds no integers"):
        drop(np.ones(2, np.float32), 1, "floor")
    with pytest.raises(ConfigError, match="the integer 9223372036854775808 does not fit int64"):
        drop(np.array([INT64], np.uint64), 1, "floor")
    assert drop(np.array([INT64 - 1], np.uint64), 62, "floor").tolist() == [1]


def test_ranges_that_do_not_exist() -> None:
    with pytest.raises(ConfigError, match=r"saturation to 1\.\.0 is empty"):
        saturate([1], 1, 0)
    for bits in (0, 63):
        with pytest.raises(ConfigError, match=f"wrapping to {bits} bits is not possible; use 1 to 62 bits"):
            wrap([1], bits)


@pytest.mark.parametrize("x", [np.nan, np.inf, -np.inf, 2.0**32, -(2.0**32), 1e308])
def test_reals_without_a_place_on_the_grid(x: float) -> None:
    with pytest.raises(ConfigError, match="saturate it or take a wider step"):
        to_grid([0.0, x], 0.5 if x > 1e300 else 1.0, "floor")


@pytest.mark.parametrize("step", [0.0, -1.0, np.inf, np.nan])
def test_steps_that_are_no_grid(step: float) -> None:
    with pytest.raises(ConfigError, match=f"a grid of step {step} does not exist; use a positive number"):
        to_grid([1.0], step, "floor")
