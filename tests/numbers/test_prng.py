"""The generator: one definition in integers, and NumPy and torch give exactly its bits."""

from __future__ import annotations

from collections.abc import Callable
from math import erfc, sqrt
from zlib import crc32

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from insitu.numbers import prng

WORD = 0xFFFFFFFF


def mix(x: int) -> int:
    """lowbias32 as its author wrote it, on one unsigned 32-bit integer."""
    x ^= x >> 16
    x = (x * 0x7FEB352D) % 2**32
    x ^= x >> 15
    x = (x * 0x846CA68B) % 2**32
    return x ^ (x >> 16)


def key(seed: int, stream: str, step: int = 0) -> int:
    k = mix((seed % 2**32) ^ mix(crc32(stream.encode())))
    return mix((k + step * 0x9E3779B9) % 2**32)


def word(k: int, i: int) -> int:
    return mix(mix((i + k) % 2**32) ^ mix(k ^ 0x9E3779B9))


def number(w: int, bound: float) -> np.float32:
    """A word as a float32 in [-bound, bound): the top 24 bits; only the product with the bound is rounded."""
    unit = (w >> 8) / 2**23 - 1.0
    return np.float32(np.float32(unit) * np.float32(bound))


words_32 = st.integers(0, WORD)
seeds = st.integers(-(2**63), 2**63)

KNOWN = [
    (0, "", 0, 0x00000000, (0xAE6F80F1, 0xE39DD9BF, 0x6F27CEB4, 0x22D5956D)),
    (0, "fc1.feedback", 0, 0x492CC101, (0x207E546E, 0x5A977A48, 0xD8092865, 0x126A2AE0)),
    (1, "fc1.feedback", 0, 0x2CDD0B7C, (0xE38579C2, 0x42EDD656, 0x5DBC3103, 0xC7AE1414)),
    (1, "fc1.feedback", 1, 0x6D1FCAD8, (0xF428CCDE, 0x6123E862, 0x8B4BDA2F, 0x755E6FB1)),
    (2**32 + 1, "fc1.feedback", 0, 0x2CDD0B7C, (0xE38579C2, 0x42EDD656, 0x5DBC3103, 0xC7AE1414)),
    (-1, "a", 123456, 0x0C913D49, (0xF35BDC6A, 0x39A5ACCD, 0xC5805860, 0x02176825)),
]
"""Seed, stream, step, key, and the words at 0, 1, 2 and 2**32 - 1. Frozen: every run depends on them."""


@pytest.mark.parametrize(("seed", "stream", "step", "k", "words"), KNOWN)
def test_known_answers(seed: int, stream: str, step: int, k: int, words: tuple[int, ...]) -> None:
    assert prng.key(seed, stream, step) == k
    assert tuple(int(prng.words(k, i)) for i in (0, 1, 2, WORD)) == words


@pytest.mark.parametrize(
    ("x", "y"),
    [(0, 0), (1, 0x688990C0), (2, 0xD1132181), (0x80000000, 0xCC4B4124), (WORD, 0x6768824A)],
)
def test_known_answers_of_mix(x: int, y: int) -> None:
    assert prng.mix(x) == y


def test_known_numbers() -> None:
    got = prng.uniform(prng.key(1, "fc1.feedback"), 4, 0.5)
    assert got.tolist() == [0.3887553811073303, -0.23855841159820557, -0.133847177028656, 0.17872494459152222]


@given(seeds, st.text(max_size=12), st.integers(0, 2**40))
def test_key_equals_the_reference(seed: int, stream: str, step: int) -> None:
    assert prng.key(seed, stream, step) == key(seed, stream, step)


@given(words_32, st.lists(words_32, min_size=1, max_size=20))
def test_numpy_and_torch_give_the_words_of_the_reference(k: int, index: list[int]) -> None:
    expected = [word(k, i) for i in index]
    assert prng.words(k, np.array(index, dtype=np.uint64)).tolist() == expected
    assert prng.words(k, np.array(index, dtype=np.int64)).tolist() == expected
    assert prng.words(k, torch.tensor(index, dtype=torch.int64)).tolist() == expected


@given(words_32, st.integers(1, 50), st.floats(1e-6, 1e3), st.integers(0, 2**33))
def test_uniform_equals_the_reference(k: int, size: int, bound: float, start: int) -> None:
    expected = np.array([number(word(k, i), bound) for i in range(start, start + size)])
    got = prng.uniform(k, size, bound, start)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected)
    theirs = prng.uniform_torch(k, torch.arange(start, start + size), bound)
    assert theirs.dtype == torch.float32
    np.testing.assert_array_equal(theirs.numpy(), expected)


@given(words_32, st.integers(0, 30), st.integers(1, 30))
def test_a_part_is_a_slice_of_the_whole(k: int, start: int, size: int) -> None:
    whole = prng.uniform(k, start + size, 0.3)
    np.testing.assert_array_equal(prng.uniform(k, size, 0.3, start), whole[start:])


def test_range_is_reached_and_kept() -> None:
    assert (number(0, 1.0), number(WORD, 1.0)) == (-1.0, 1.0 - 2.0**-23)
    x = prng.uniform(prng.key(0, "range"), 100_000, 1.0)
    assert x.min() >= -1.0 and x.max() < 1.0
    assert x.min() < -0.999 and x.max() > 0.999


def test_numbers_are_exact_in_float32() -> None:
    """On the grid of 2**-23: another machine, or float64, gives the same value, not a rounding of it."""
    x = prng.uniform(prng.key(0, "grid"), 10_000, 1.0).astype(np.float64)
    assert np.array_equal(x * 2.0**23, np.round(x * 2.0**23))


# --- statistics: z-scores of many numbers, at fixed seeds ---------------------------------------------------

N = 200_000
LIMIT = 4.5  # standard deviations: a chance of 7e-6 per test, and the seeds are fixed


def draw(seed: int = 5, stream: str = "statistics", step: int = 0) -> np.ndarray:
    return prng.uniform(prng.key(seed, stream, step), N, 1.0).astype(np.float64)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """In standard deviations of the correlation of independent numbers."""
    return float(np.mean(a * b) * 3.0 * sqrt(len(a)))


SCORES: dict[str, Callable[[], float]] = {
    "mean": lambda: draw().mean() * sqrt(3 * N),
    "variance": lambda: (np.mean(draw() ** 2) - 1 / 3) / sqrt(4 / 45 / N),
    "serial correlation, lag 1": lambda: correlation(draw()[1:], draw()[:-1]),
    "serial correlation, lag 64": lambda: correlation(draw()[64:], draw()[:-64]),
    "serial correlation, lag 1000": lambda: correlation(draw()[1000:], draw()[:-1000]),
    "two streams": lambda: correlation(draw(), draw(stream="other")),
    "two seeds": lambda: correlation(draw(), draw(seed=6)),
    "two steps": lambda: correlation(draw(), draw(step=1)),
    "seed 0 and 1, empty stream": lambda: correlation(draw(0, ""), draw(1, "")),
}


@pytest.mark.parametrize("name", SCORES)
def test_statistics(name: str) -> None:
    score = SCORES[name]()
    assert abs(score) < LIMIT, f"{score:.2f} standard deviations, p = {erfc(abs(score) / sqrt(2)):.1e}"


def test_every_bit_is_fair() -> None:
    words = prng.words(prng.key(5, "bits"), np.arange(N, dtype=np.uint64))
    for bit in range(32):
        ones = int(((words >> np.uint64(bit)) & np.uint64(1)).sum())
        assert abs(ones - N / 2) < LIMIT * sqrt(N) / 2, f"bit {bit}"


def test_keys_of_a_run_are_distinct() -> None:
    keys = {prng.key(seed, stream, t) for seed in range(5) for stream in ("a", "b", "ab") for t in range(500)}
    assert len(keys) == 7500


def test_streams_do_not_permute_each_other() -> None:
    """Two keys never walk through the same words in another order."""
    a, b = (set(prng.words(prng.key(0, s), np.arange(20_000, dtype=np.uint64)).tolist()) for s in "ab")
    assert len(a & b) < 5  # 20000² / 2**32 = 0.09 by chance


def test_a_stream_does_not_repeat() -> None:
    """For one key the words are a permutation of all 32-bit words."""
    words = prng.words(prng.key(0, "period"), np.arange(300_000, dtype=np.uint64))
    assert len(np.unique(words)) == 300_000
