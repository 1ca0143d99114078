"""Samples and labels in the numbers of a step: as integers, and packed to bytes. No torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.numbers.formats import Quantized
from insitu.numbers.packing import pack
from insitu.step.ir import Value

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

ROWS = 4096
"""Samples that are quantized at a time: memory for the passing 64-bit integers."""


def as_integers(value: Value, array: npt.NDArray[Any]) -> Ints:
    """Real samples in the units of a step's input, ties up, as :func:`insitu.run.state.integer_samples` rounds in
    float32; class indices as they are."""
    if value.unit is None:
        return np.asarray(array).astype(np.int64)
    fmt = value.format
    assert isinstance(fmt, Quantized)
    position = np.asarray(array, np.float32) / np.float32(value.unit)
    position += np.float32(value.zero)
    position += np.float32(0.5)
    out: Ints = np.clip(np.floor(position), fmt.least, fmt.greatest).astype(np.int64)
    return out


class Feed:
    """Samples (or labels) as the bytes of one input of a step, quantized once, gathered to batches of any size."""

    def __init__(self, value: Value, array: npt.NDArray[Any]) -> None:
        self.value = value
        self.bits = value.size // value.shape[0] * value.format.bits
        blocks = [self._block(array[i : i + ROWS]) for i in range(0, len(array), ROWS)]
        self.rows = np.concatenate(blocks)

    @property
    def whole(self) -> bool:
        """Does every sample fill whole bytes? Else each bit has a byte here."""
        return self.bits % 8 == 0

    def _block(self, array: npt.NDArray[Any]) -> Bytes:
        fmt: Any = self.value.format
        words = as_integers(self.value, array)
        data = pack(words if self.value.unit is None else fmt.from_integers(words), fmt)
        if not self.whole:
            data = np.unpackbits(data, count=len(array) * self.bits, bitorder="little")
        return data.reshape(len(array), -1)

    def batches(self, index: npt.NDArray[np.intp]) -> Bytes:
        """Packed batches [steps, bytes] of the samples ``index`` [steps, batch]."""
        rows = self.rows[index.ravel()].reshape(len(index), -1)
        return rows if self.whole else np.packbits(rows, axis=1, bitorder="little")
