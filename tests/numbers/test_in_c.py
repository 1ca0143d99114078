"""The C of the docstrings and the formulas in C99, compiled and compared: what a backend must reproduce."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from insitu.numbers import lfsr, packing, prng
from insitu.numbers.formats import Fixed, PowerOfTwo, parse
from insitu.numbers.rounding import counter_words, drop

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")

N = 1000


def listing(doc: str | None) -> str:
    """The indented lines of a docstring."""
    return "\n".join(re.findall(r"^ {4}.*$", doc or "", flags=re.M))


SOURCE = f"""
#include <stdint.h>
#include <stddef.h>
{listing(lfsr.__doc__)}
int64_t word_at(const uint8_t *bytes, size_t i, unsigned b, int is_signed)
{{
{listing(packing.__doc__)}
    return word;
}}
int32_t half_up(int32_t x, unsigned k) {{ return k ? (x >> k) + ((x >> (k - 1)) & 1) : x; }}
int32_t stochastic(int32_t x, unsigned k, uint32_t w)
{{
    if (k == 0)
        return x;
    uint32_t low = (uint32_t)x & ((1u << k) - 1);
    return (x >> k) + (int32_t)((low + (w >> (32 - k))) >> k);
}}
int32_t times_power_of_two(int32_t x, int32_t w) /* in units of 2**(1 - M) */
{{
    int32_t magnitude = w < 0 ? -w : w;
    return w == 0 ? 0 : (w < 0 ? -x : x) * (1 << (magnitude - 1));
}}
static uint32_t mix(uint32_t x)
{{
    x ^= x >> 16; x *= 0x7FEB352Du; x ^= x >> 15; x *= 0x846CA68Bu;
    return x ^ (x >> 16);
}}
uint32_t counter_word(uint32_t key, uint32_t i) {{ return mix(mix(i + key) ^ mix(key ^ 0x9E3779B9u)); }}
"""


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder: Path = tmp_path_factory.mktemp("c")
    (folder / "numbers.c").write_text(SOURCE)
    library = folder / "numbers.so"
    command = [str(COMPILER), "-std=c99", "-O1", "-Wall", "-Wextra", "-Wno-parentheses", "-Werror"]
    subprocess.run([*command, "-shared", "-fPIC", "-o", str(library), str(folder / "numbers.c")], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.lfsr.restype = loaded.counter_word.restype = ctypes.c_uint32
    loaded.lfsr.argtypes = [ctypes.c_uint32]
    loaded.counter_word.argtypes = [ctypes.c_uint32, ctypes.c_uint32]
    loaded.stochastic.argtypes = [ctypes.c_int32, ctypes.c_uint32, ctypes.c_uint32]
    loaded.word_at.restype = ctypes.c_int64
    loaded.word_at.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.c_int]
    return loaded


@pytest.fixture
def integers() -> np.ndarray:
    """32-bit integers with both ends."""
    some = np.random.default_rng(0).integers(-(2**31), 2**31, N - 2)
    return np.concatenate([[-(2**31), 2**31 - 1], some])


@pytest.mark.parametrize("k", [0, 1, 2, 7, 16, 31])
def test_rounding(c: ctypes.CDLL, integers: np.ndarray, k: int) -> None:
    words = counter_words(prng.key(0, "c", k), (N,))
    assert [c.half_up(int(x), k) for x in integers] == drop(integers, k, "half-up").tolist()
    got = [c.stochastic(int(x), k, int(w)) for x, w in zip(integers, words, strict=True)]
    assert got == drop(integers, k, "stochastic", words).tolist()


def test_random_words(c: ctypes.CDLL) -> None:
    key = prng.key(0, "c")
    assert [c.counter_word(key, i) for i in range(N)] == counter_words(key, (N,)).tolist()
    state, got = key, []
    for _ in range(N):
        state = c.lfsr(state)
        got.append(state)
    assert got == lfsr.words(key, N).tolist()


@pytest.mark.parametrize("bits", range(1, 33))
def test_packed_words(c: ctypes.CDLL, bits: int) -> None:
    for signed in (False, True):
        fmt = Fixed(signed, bits - signed, 0)
        words = np.random.default_rng(bits).integers(fmt.low, fmt.high, 40, endpoint=True)
        data = packing.pack(words, fmt).tobytes()
        assert [c.word_at(data, i, bits, signed) for i in range(40)] == words.tolist()


@pytest.mark.parametrize("text", ["po2", "po3", "po4"])
def test_product_with_a_power_of_two(c: ctypes.CDLL, text: str) -> None:
    fmt = parse(text)
    assert isinstance(fmt, PowerOfTwo)
    unit = 2.0 ** (1 - fmt.high)
    for w in range(fmt.low, fmt.high + 1):
        for x in (-128, -3, 0, 1, 127):
            assert c.times_power_of_two(x, w) * unit == x * float(fmt.values(w))
