"""Packing: the stream of bits against one written as text, sizes, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.errors import ConfigError
from insitu.numbers.formats import B1, T2, AnyFormat, Fixed, parse
from insitu.numbers.packing import pack, packed_size, unpack
from insitu.step.ir import Role, Value
from tests.numbers.test_number_formats import formats


def stream(words: list[int], bits: int) -> bytes:
    """The words as one binary number, the first word lowest, written into bytes."""
    number = sum((w % 2**bits) << (i * bits) for i, w in enumerate(words))
    return number.to_bytes((len(words) * bits + 7) // 8, "little")


@given(formats(), st.data())
def test_packs_and_unpacks(fmt: AnyFormat, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.integers(fmt.low, fmt.high), max_size=20))
    packed = pack(np.array(words, dtype=np.int64), fmt)
    assert packed.dtype == np.uint8
    assert packed.tobytes() == stream(words, fmt.bits)
    assert unpack(packed, fmt, len(words)).tolist() == words
    assert unpack(packed.tobytes(), fmt, len(words)).tolist() == words


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", range(1, 33))
def test_every_bit_count(bits: int, signed: bool) -> None:
    fmt = Fixed(signed, bits - signed, 0)
    ends = [fmt.low, fmt.high, 0, fmt.high // 3, fmt.low // 3]
    for count in range(18):
        words = (ends * 4)[:count]
        packed = pack(np.array(words, dtype=np.int64), fmt)
        assert packed.tobytes() == stream(words, bits)
        assert unpack(packed, fmt, count).tolist() == words


@given(formats(), st.integers(0, 40))
def test_size_is_that_of_the_memory_report(fmt: AnyFormat, count: int) -> None:
    value = Value("w", (count,), fmt, Role.WEIGHT)
    assert value.bytes == packed_size(count, fmt) == len(pack(np.full(count, fmt.high), fmt))


@pytest.mark.parametrize(
    ("fmt", "words", "expected"),
    [
        (B1, [1, 0, 0, 0, 1, 1, 0, 0, 1], [0b00110001, 0b1]),
        (T2, [-1, 0, 1, 1, -1], [0b01010011, 0b11]),
        (parse("s0.3"), [-8, 7, -1], [0x78, 0x0F]),
        (parse("u3.0"), [7, 0, 5, 2], [0b01000111, 0b0101]),
        (parse("po3"), [-3, 3], [0b011101]),
        (parse("s15.0"), [-2, 0x1234], [0xFE, 0xFF, 0x34, 0x12]),
        (parse("f16"), [0x3C00], [0x00, 0x3C]),
    ],
)
def test_known_bytes(fmt: AnyFormat, words: list[int], expected: list[int]) -> None:
    assert pack(words, fmt).tolist() == expected
    assert unpack(np.array(expected, np.uint8), fmt, len(words)).tolist() == words


def test_arrays_are_packed_row_by_row() -> None:
    words = np.array([[1, 2], [3, 0]])
    fmt = parse("u2.0")
    assert pack(words, fmt).tolist() == pack(words.ravel(), fmt).tolist() == [0b00111001]
    assert pack(words.T, fmt).tolist() == [0b00101101]


def test_bits_that_fill_up_are_not_read() -> None:
    assert unpack(np.array([0xFF], np.uint8), T2, 3).tolist() == [-1, -1, -1]


@pytest.mark.parametrize(("text", "pattern", "word"), [("t2", 0b10, -2), ("po4", 0b1000, -8)])
def test_unused_patterns(text: str, pattern: int, word: int) -> None:
    with pytest.raises(ConfigError, match=f"the integer {word} is no word of {text}"):
        unpack(np.array([pattern], np.uint8), parse(text), 1)


def test_words_outside_the_format() -> None:
    with pytest.raises(
        ConfigError, match=r"200 is no word of s0\.7 \(-128 to 127\); saturate or wrap it first"
    ):
        pack([0, 200], parse("s0.7"))


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0", np.zeros((1, 2), np.uint8), np.zeros(2, np.int8), np.zeros(2, np.int64)]
)
def test_data_of_another_size(data: bytes | np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r"are not 4 packed words of u4\.0; pass 2 bytes"):
        unpack(data, parse("u4.0"), 4)
