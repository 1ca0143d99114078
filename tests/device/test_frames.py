"""Frames: known vectors, every length, and damage that is seen."""

from __future__ import annotations

from zlib import crc32

import pytest

from insitu.device.frames import Frame, decode, encode, stuffed, unstuffed

COBS = [  # the examples of the article on COBS
    ("", "01"),
    ("00", "0101"),
    ("0000", "010101"),
    ("00110000", "010211" + "0101"),
    ("11220033", "0311220233"),
    ("11223344", "0511223344"),
    ("11000000", "0211010101"),
]


def test_the_check_sum_is_that_of_the_catalogue() -> None:
    assert crc32(b"123456789") == 0xCBF43926  # CRC-32/ISO-HDLC


@pytest.mark.parametrize(("plain", "line"), COBS)
def test_known_vectors(plain: str, line: str) -> None:
    assert stuffed(bytes.fromhex(plain)).hex() == line
    assert unstuffed(bytes.fromhex(line)) == bytes.fromhex(plain)


@pytest.mark.parametrize("size", [0, 1, 252, 253, 254, 255, 256, 507, 508, 509, 1000])
@pytest.mark.parametrize("zeros", [0, 1, 7, 300])
def test_there_and_back(size: int, zeros: int) -> None:
    data = bytes((i % 255 + 1) if not zeros or i % zeros else 0 for i in range(size))
    line = stuffed(data)
    assert 0 not in line and unstuffed(line) == data and len(line) <= size + size // 254 + 1


def test_every_flipped_bit_and_lost_or_doubled_byte_is_seen() -> None:
    line = encode(Frame(7, 3, bytes(range(40))))[:-1]
    assert decode(line) == Frame(7, 3, bytes(range(40)))
    for i, byte in enumerate(line):
        flipped = (line[:i] + bytes((byte ^ 1 << bit,)) + line[i + 1 :] for bit in range(8))
        damaged = [*flipped, line[:i] + line[i + 1 :]]
        assert all(decode(d) is None for d in damaged)
        assert decode(line[: i + 1] + line[i:]) is None
