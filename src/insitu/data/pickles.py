"""Reads the dictionaries of CIFAR-10's python batches without running anything that a pickle may ask for.

Only the three names that those files use are answered, and with stand-ins of our own: no NumPy constructor
and no other callable is ever reached from the file. The array is rebuilt afterwards from its checked shape
and bytes.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from insitu.errors import DataError

_LARGEST_BYTES = 1 << 28  # a batch has 31 MB


class _Type:
    """Stands for `numpy.dtype`; keeps what it was made from."""

    def __init__(self, *args: Any) -> None:
        self.code = args[0] if args else None

    def __setstate__(self, state: Any) -> None:
        pass  # byte order and alignment mean nothing for single bytes


class _Array:
    """Stands for `numpy.ndarray`; keeps the state (version, shape, type, column order, bytes)."""

    def __init__(self) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _reconstruct(*args: Any) -> _Array:
    return _Array()


_PERMITTED = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _PERMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not permitted") from None


def read_pickled_batch(path: Path, remedy: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 3072) and labels int64 (N,) of one python batch; `DataError` otherwise."""
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise pickle.UnpicklingError("it is far larger than a batch")
        content = _Unpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        return _images(_entry(content, "data")), _labels(_entry(content, "labels"))
    except (
        *(OSError, EOFError, pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError),
        *(AttributeError, ImportError, OverflowError, MemoryError, RecursionError),
    ) as error:
        raise DataError(f"{path}: not a CIFAR-10 python batch ({error}). {remedy}") from error


def _entry(content: Any, key: str) -> Any:
    if not isinstance(content, dict):
        raise pickle.UnpicklingError("it does not hold a dictionary")
    for name in (key.encode(), key):
        if name in content:
            return content[name]
    raise pickle.UnpicklingError(f"it has no '{key}'")


def _images(array: Any) -> np.ndarray:
    if not isinstance(array, _Array) or not isinstance(array.state, tuple) or len(array.state) != 5:
        raise pickle.UnpicklingError("'data' is not an array")
    _, shape, kind, column_order, values = array.state
    sound = (
        isinstance(kind, _Type)
        and kind.code in (b"u1", "u1")
        and isinstance(values, bytes)
        and len(shape) == 2
        and shape[1] == 3072
        and math.prod(shape) == len(values)
        and not column_order
    )
    if not sound:
        raise pickle.UnpicklingError("'data' is not a uint8 array of shape (N, 3072)")
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)


def _labels(labels: Any) -> np.ndarray:
    if not isinstance(labels, list) or not all(isinstance(k, int) and 0 <= k < 10 for k in labels):
        raise pickle.UnpicklingError("'labels' is not a list of classes 0..9")
    return np.array(labels, dtype=np.int64)
