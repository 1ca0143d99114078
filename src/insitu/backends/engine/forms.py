"""How arrays lie in the engine's two memories: A holds bytes, W holds words of P weights.

A form packs an array of the step into what its memory holds and unpacks it again.

Legend: P lanes, O rows, N columns, K output channels, C channels, H W rows and columns of a plane, R S of a kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def padded(n: int, lanes: int) -> int:
    """The next multiple of P."""
    return -(-n // lanes) * lanes


@dataclass(frozen=True)
class Grid:
    """Elements of one byte in A, channels last: (c, h, w) is byte (h · width + w) · pitch + c.

    A vector is a plane of one place. Where lanes write it or read it as vectors, ``pitch`` is a multiple of P and the
    channels beyond are zeros.
    """

    channels: int
    height: int = 1
    width: int = 1
    pitch: int = 0

    @property
    def places(self) -> int:
        return self.height * self.width

    @property
    def size(self) -> int:
        """Bytes."""
        return self.places * self.pitch

    @property
    def plane(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width

    def __str__(self) -> str:
        return f"{self.places} places of {self.channels} channels, {self.pitch} bytes each"

    def pack(self, array: Any) -> npt.NDArray[np.uint8]:
        chw = np.asarray(array, np.int64).reshape(self.plane)
        found = np.zeros((self.places, self.pitch), np.int64)
        found[:, : self.channels] = chw.reshape(self.channels, -1).T
        return (found.ravel() & 255).astype(np.uint8)

    def unpack(self, data: npt.NDArray[np.uint8], signed: bool) -> Ints:
        """[C, H, W]"""
        read = data.view(np.int8) if signed else data
        hwc = read.reshape(self.places, self.pitch)[:, : self.channels].astype(np.int64)
        chw: Ints = hwc.T.reshape(self.plane)
        return chw


@dataclass(frozen=True)
class Planes:
    """A vector of 16-bit elements in A: all low bytes, then all high bytes ``pitch`` further on."""

    count: int
    pitch: int

    @property
    def size(self) -> int:
        """Bytes."""
        return 2 * self.pitch

    def __str__(self) -> str:
        return f"{self.count} of 16 bits, high bytes {self.pitch} after the low ones"

    def pack(self, array: Any) -> npt.NDArray[np.uint8]:
        found = np.zeros((2, self.pitch), np.int64)
        values = np.asarray(array, np.int64).ravel()
        found[:, : self.count] = values, values >> 8
        return (found.ravel() & 255).astype(np.uint8)

    def unpack(self, data: npt.NDArray[np.uint8], signed: bool = True) -> Ints:
        low, high = data.reshape(2, self.pitch)[:, : self.count]
        found: Ints = low.astype(np.int64) | (high.view(np.int8) if signed else high).astype(np.int64) << 8
        return found


@dataclass(frozen=True)
class Matrix:
    """A weight matrix [O, N] in W, its columns in the order of the grid that it reads.

    ``by_rows``: lanes hold neighbouring columns, word ``o · N/P + n/P``; else neighbouring rows, word ``o/P · N + n``.
    """

    rows: int
    grid: Grid
    lanes: int
    by_rows: bool

    @property
    def tiles(self) -> int:
        """Words of a row, or of a column."""
        if self.by_rows:
            return self.grid.places * padded(self.grid.channels, self.lanes) // self.lanes
        return padded(self.rows, self.lanes) // self.lanes

    def __str__(self) -> str:
        return f"{self.rows} x {self.columns}, lanes hold {'columns' if self.by_rows else 'rows'}"

    @property
    def columns(self) -> int:
        return self.grid.places * self.grid.channels

    @property
    def size(self) -> int:
        """Words."""
        return self.tiles * (self.rows if self.by_rows else self.columns)

    def pack(self, array: Any) -> npt.NDArray[np.int8]:
        """[words, P]"""
        g, p = self.grid, self.lanes
        onc = np.asarray(array).reshape(self.rows, g.channels, g.places).transpose(0, 2, 1)
        if self.by_rows:
            found = np.zeros((self.rows, g.places, padded(g.channels, p)), np.int8)
            found[:, :, : g.channels] = onc
            return found.reshape(-1, p)
        found = np.zeros((self.tiles * p, self.columns), np.int8)
        found[: self.rows] = onc.reshape(self.rows, -1)
        return found.reshape(self.tiles, p, -1).transpose(0, 2, 1).reshape(-1, p)

    def unpack(self, words: npt.NDArray[np.int8]) -> Ints:
        """[O, N]"""
        g, p = self.grid, self.lanes
        if self.by_rows:
            onc = words.reshape(self.rows, g.places, -1)[:, :, : g.channels]
        else:
            rows = words.reshape(self.tiles, -1, p).transpose(0, 2, 1).reshape(-1, g.places, g.channels)
            onc = rows[: self.rows]
        found: Ints = onc.transpose(0, 2, 1).reshape(self.rows, -1).astype(np.int64)
        return found


@dataclass(frozen=True)
class Kernel:
    """A kernel [K, C, R, S] in W: lanes hold neighbouring output channels, word ``((k/P · C + c) · R + r) · S + s``."""

    shape: tuple[int, int, int, int]
    lanes: int

    @property
    def tiles(self) -> int:
        return padded(self.shape[0], self.lanes) // self.lanes

    def __str__(self) -> str:
        return f"{' x '.join(map(str, self.shape))}, lanes hold output channels"

    @property
    def taps(self) -> int:
        """Words of a tile."""
        _, c, r, s = self.shape
        return c * r * s

    @property
    def size(self) -> int:
        """Words."""
        return self.tiles * self.taps

    def pack(self, array: Any) -> npt.NDArray[np.int8]:
        """[words, P]"""
        found = np.zeros((self.tiles * self.lanes, self.taps), np.int8)
        found[: self.shape[0]] = np.asarray(array).reshape(self.shape[0], -1)
        return found.reshape(self.tiles, self.lanes, -1).transpose(0, 2, 1).reshape(-1, self.lanes)

    def unpack(self, words: npt.NDArray[np.int8]) -> Ints:
        """[K, C, R, S]"""
        rows = words.reshape(self.tiles, -1, self.lanes).transpose(0, 2, 1).reshape(-1, self.taps)
        return rows[: self.shape[0]].astype(np.int64).reshape(self.shape)


Form = Grid | Planes | Matrix | Kernel
