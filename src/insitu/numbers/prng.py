"""The bit-defined random generator: a counter in, 32 bits out.

Every random number of a run is ``word(key, index)``: no state to store, so feedback matrices and dropout
masks are regenerated instead of kept, and C or Verilog give the same bits. ``mix`` is the 32-bit finaliser
``lowbias32`` (Chris Wellons, "Prospecting for hash functions", 2018): three xor-shifts, two multiplications.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np

MASK = 0xFFFFFFFF
_M1, _M2 = 0x7FEB352D, 0x846CA68B
_GOLDEN = 0x9E3779B9  # 2**32 / golden ratio: spreads consecutive numbers


def mix(x: Any) -> Any:
    """lowbias32 on Python integers, NumPy int64/uint64 or torch int64 arrays that hold 32-bit words."""
    x = x ^ (x >> 16)
    x = (x * _M1) & MASK
    x = x ^ (x >> 15)
    x = (x * _M2) & MASK
    return x ^ (x >> 16)


def key(seed: int, stream: str, step: int = 0) -> int:
    """The key of a stream (say ``"fc1.feedback"``) of a run's seed; ``step`` tells training steps apart."""
    k = mix((seed & MASK) ^ mix(crc32(stream.encode())))
    return int(mix((k + step * _GOLDEN) & MASK))


def words(k: int, index: Any) -> Any:
    """32-bit words for an array of indices (two rounds, so that keys do not permute each other's words)."""
    return mix(mix((index + k) & MASK) ^ mix(k ^ _GOLDEN))


def uniform(k: int, size: int, bound: float, start: int = 0) -> np.ndarray:
    """``size`` float32 numbers in [-bound, bound): the top 24 bits of each word, exact in float32."""
    w = words(k, np.arange(start, start + size, dtype=np.uint64))
    unit = (w >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1.0)
    return np.asarray(unit * np.float32(bound), dtype=np.float32)


def uniform_torch(k: int, index: Any, bound: float) -> Any:
    """As :func:`uniform` for a torch int64 tensor of indices: the same bits, as float32."""
    w = words(k, index)
    return ((w >> 8).float() * 2.0**-23 - 1.0) * float(np.float32(bound))
