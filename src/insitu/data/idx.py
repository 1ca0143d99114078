"""The idx format of MNIST: big-endian magic (0, 0, type, rank), one uint32 per axis, then the values."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from insitu.errors import DataError

_UNSIGNED_BYTE = 0x08
_LARGEST_BYTES = 1 << 31  # no file we read comes near this; a larger claim is a damaged header


def read_idx(path: Path, rank: int, remedy: str) -> np.ndarray:
    """The uint8 array of `rank` axes in an idx file, plain or gzip (told by its first bytes).

    Raises `DataError` (ending with `remedy`) for a wrong magic, wrong axes, a wrong length or a damaged gzip.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not zipped:
                return _read(raw, path, rank, remedy)
            with gzip.GzipFile(fileobj=raw) as unzipped:
                return _read(cast(BinaryIO, unzipped), path, rank, remedy)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read, truncated or damaged ({error}). {remedy}") from error


def _read(stream: BinaryIO, path: Path, rank: int, remedy: str) -> np.ndarray:
    header = stream.read(4 + 4 * rank)
    expected = bytes((0, 0, _UNSIGNED_BYTE, rank))
    if header[:4] != expected:
        raise DataError(
            f"{path}: not the expected idx file, it starts with {header[:4].hex() or 'nothing'} "
            f"instead of {expected.hex()} (unsigned bytes, {rank} axes). {remedy}"
        )
    if len(header) < 4 + 4 * rank:
        raise DataError(f"{path}: truncated in the idx header. {remedy}")
    shape = struct.unpack(f">{rank}I", header[4:])
    size = math.prod(shape)
    if size > _LARGEST_BYTES:
        raise DataError(f"{path}: the idx header claims the shape {shape}, which is not plausible. {remedy}")
    body = stream.read(size)
    extra = stream.read(1)  # reaching the end also makes gzip check its own CRC
    if len(body) != size or extra:
        have = "more" if extra else str(len(body))
        raise DataError(f"{path}: shape {shape} needs {size} bytes, the file holds {have}. {remedy}")
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)
