"""Words of b bits to real bytes and back.

The bytes are one stream of bits, low bits first: word i has the stream's bits i*b to i*b + b - 1, the least
significant first, and bit j of the stream is bit ``j & 7`` of byte ``j >> 3``. Signed words are in two's complement.
Nothing is aligned between rows; only the whole array is filled up to a byte, with zeros. So n words take
ceil(n * b / 8) bytes, the words of b = 8, 16, 32 are plain little-endian arrays, binary is one bit and ternary two.
With the first byte lowest, Verilog reads word i as ``bytes[i*b +: b]``, and C (b up to 32) as

    uint64_t w = 0;
    for (size_t j = i * b / 8; j <= (i * b + b - 1) / 8; j++)
        w |= (uint64_t)bytes[j] << (8 * (j - i * b / 8));
    w = w >> (i * b % 8) & ((1ull << b) - 1);
    int64_t word = is_signed ? (int64_t)(w ^ 1ull << (b - 1)) - (1ll << (b - 1)) : (int64_t)w;
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from insitu.errors import ConfigError
from insitu.numbers.formats import AnyFormat, checked
from insitu.numbers.rounding import Ints, wrap

Bytes: TypeAlias = npt.NDArray[np.uint8]


def packed_size(count: int, fmt: AnyFormat) -> int:
    """Bytes of ``count`` words."""
    return (count * fmt.bits + 7) // 8


def pack(words: npt.ArrayLike, fmt: AnyFormat) -> Bytes:
    """The bytes of words, in row-major order.

    Raises:
        ConfigError: if an integer is no word of the format.
    """
    stream = checked(words, fmt).ravel().astype("<i8").view(np.uint8).reshape(-1, 8)
    whole, rest = divmod(fmt.bits, 8)
    if not rest:
        return stream[:, :whole].flatten()
    bits = np.unpackbits(stream[:, : whole + 1], axis=1, count=fmt.bits, bitorder="little")
    return np.packbits(bits.ravel(), bitorder="little")


def unpack(data: npt.ArrayLike, fmt: AnyFormat, count: int) -> Ints:
    """The ``count`` words of bytes; bits that fill up the last byte are not read.

    Raises:
        ConfigError: if there are more or fewer bytes than the words take, or a pattern that the format does not use.
    """
    raw = np.frombuffer(data, np.uint8) if isinstance(data, bytes | bytearray) else np.asarray(data)
    if raw.dtype != np.uint8 or raw.shape != (packed_size(count, fmt),):
        raise ConfigError(
            f"{raw.dtype} data of shape {raw.shape} are not {count} packed words of {fmt}; "
            f"pass {packed_size(count, fmt)} bytes"
        )
    bits = np.unpackbits(raw, count=count * fmt.bits, bitorder="little").reshape(count, fmt.bits)
    stream = np.packbits(bits, axis=1, bitorder="little")
    full = np.zeros((count, 8), np.uint8)
    full[:, : stream.shape[1]] = stream
    words = full.view("<i8").ravel().astype(np.int64)
    return checked(wrap(words, fmt.bits) if fmt.low < 0 and fmt.bits < 64 else words, fmt)
