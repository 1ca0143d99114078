"""Samples and labels, and the forms in which engines read them: reals, integers, packed bytes. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.numbers.formats import Quantized
from insitu.numbers.packing import pack
from insitu.step.ir import Value

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Index = npt.NDArray[np.intp]
Change = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""What augmentation makes of the samples of a step, [batch, ...]."""

BLOCK = 4096
"""Samples that are quantized at a time: memory for the passing 64-bit integers."""


@dataclass(frozen=True)
class Arrays:
    """Samples ``x`` [N, ...] float32 and ``y``: class indices [N], or targets of the output's shape."""

    x: npt.NDArray[Any]
    y: npt.NDArray[Any]
    _feeds: dict[Any, Feed] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.x)

    def of(self, value: Value) -> npt.NDArray[Any]:
        """What an input of a step takes: ``x`` the samples, ``label`` the labels."""
        return self.x if value.name == "x" else self.y

    def packed(self, value: Value, index: Index) -> Bytes:
        """Packed batches [steps, bytes] of the samples ``index`` [steps, batch], in the numbers of an input."""
        key = (value.name, value.format, value.unit, value.zero)
        if key not in self._feeds:
            self._feeds[key] = Feed(value, self.of(value))
        return self._feeds[key].batches(index)


@dataclass(frozen=True)
class Batches:
    """The samples of training steps that follow each other, as many in each.

    Attributes:
        data: what they are taken from.
        index: which ones, [steps, batch].
        changes: what augmentation makes of each step's samples; empty where there is none.
    """

    data: Arrays
    index: Index
    changes: tuple[Change, ...] = ()

    def __len__(self) -> int:
        return len(self.index)

    def part(self, first: int, end: int) -> Batches:
        """Some of the steps."""
        return Batches(self.data, self.index[first:end], self.changes[first:end])

    def _changed(self, k: int) -> npt.NDArray[Any]:
        """The real samples of a step."""
        return self.changes[k](self.data.x[self.index[k]].astype(np.float32))

    def packed(self, value: Value) -> Bytes:
        """The bytes of an input of the steps, [steps, bytes]."""
        if value.name != "x" or not self.changes:
            return self.data.packed(value, self.index)
        every = np.arange(self.index.shape[1])[None]
        batches = [Feed(value, self._changed(k)).batches(every)[0] for k in range(len(self))]
        return np.stack(batches)

    def integers(self, value: Value) -> Ints:
        """An input of the steps, [steps, *shape of the input]: integers in its unit, class indices as they are."""
        if value.name == "x" and self.changes:
            arrays = np.stack([self._changed(k) for k in range(len(self))])
        else:
            arrays = self.data.of(value)[self.index]
        return as_integers(value, arrays).reshape(len(self), *value.shape)


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
        blocks = [self._block(array[i : i + BLOCK]) for i in range(0, len(array), BLOCK)]
        self.samples = np.concatenate(blocks)

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
        samples = self.samples[index.ravel()].reshape(len(index), -1)
        return samples if self.whole else np.packbits(samples, axis=1, bitorder="little")
