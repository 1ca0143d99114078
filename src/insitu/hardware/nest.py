"""Products as loop nests: loop sizes, and which loops move which operand.

Dims: B batch, G groups, K output channels and C input channels of a group, OY OX the plane of the layer's output (and
of its error), FY FX the kernel. Operands are named by role: O is made, W may stay in an array, I is the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import gcd, prod
from typing import Any

import numpy as np

from insitu.errors import ConfigError

DIMS = ("B", "G", "K", "C", "OY", "OX", "FY", "FX")

Number = Any
"""A float, or an array of floats, one per candidate."""


@dataclass(frozen=True)
class Window:
    """One coordinate of an operand that two loops move: stride * outer + dilation * inner.

    Attributes:
        outer, inner: the dims.
        stride, dilation: their steps.
        limit: positions that exist; windows reach beyond them into padding, which is stored nowhere.
        slack: of an operand that is made, positions that no step touches, shared among all steps: they hold 0 and are
            written too.
    """

    outer: str
    inner: str
    stride: int
    dilation: int
    limit: int
    slack: float = 0.0

    def positions(self, outer: Number, inner: Number) -> Number:
        """How many positions a tile of so many outer and inner steps covers.

        The sums s*i + d*j of i < a, j < b, with s and d made coprime, coincide exactly for (i, j) and
        (i + d, j - s): a*b - (a - d)(b - s) are distinct.
        """
        common = gcd(self.stride, self.dilation)
        again = np.maximum(outer - self.dilation // common, 0) * np.maximum(inner - self.stride // common, 0)
        return np.minimum(self.limit, outer * inner * (1 + self.slack) - again)


@dataclass(frozen=True)
class Operand:
    """What a nest reads or makes.

    Attributes:
        name: ``O``, ``W`` or ``I``.
        bits: of an element; of an output, once it is final.
        dims: loops that each move it to another element.
        windows: its sliding coordinates.
        partial_bits: of an output that is not final yet; ``None`` of what is read.
        written: it is the output.
        read_first: the output is added to what is in memory: that is read once, and written once.
    """

    name: str
    bits: int
    dims: tuple[str, ...]
    windows: tuple[Window, ...] = ()
    partial_bits: int | None = None
    written: bool = False
    read_first: bool = False

    @cached_property
    def moved_by(self) -> frozenset[str]:
        """The loops that make it another tile."""
        return frozenset(self.dims) | {d for w in self.windows for d in (w.outer, w.inner)}

    @property
    def widest(self) -> int:
        """Bits of an element at its widest."""
        return max(self.bits, self.partial_bits or 0)

    def footprint(self, tile: Mapping[str, Number]) -> Number:
        """Elements that a tile touches, of the sizes of its dims."""
        count: Number = 1.0
        for dim in self.dims:
            count = count * tile[dim]
        for window in self.windows:
            count = count * window.positions(tile[window.outer], tile[window.inner])
        return count


@dataclass(frozen=True)
class Nest:
    """A product: O += W * I over all loops.

    Attributes:
        sizes: of the loops, (dim, size), all at least 1.
        operands: O, W and I.
    """

    sizes: tuple[tuple[str, int], ...]
    operands: tuple[Operand, ...]

    def __post_init__(self) -> None:
        """Refuses an empty loop.

        Raises:
            ConfigError: a size is below 1.
        """
        empty = [f"{d}={n}" for d, n in self.sizes if n < 1]
        if empty:
            raise ConfigError(
                f"loop nest: {', '.join(empty)}: a loop runs at least once. Leave the product out."
            )

    def __hash__(self) -> int:
        """Of the fields, computed once: nests are looked up often."""
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.sizes, self.operands))

    @cached_property
    def extent(self) -> dict[str, int]:
        """The sizes by dim."""
        return dict(self.sizes)

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return prod(n for _, n in self.sizes)

    def operand(self, name: str) -> Operand:
        """By its role.

        Raises:
            KeyError: there is none.
        """
        for operand in self.operands:
            if operand.name == name:
                return operand
        raise KeyError(name)

    def footprint(self, name: str, tile: Mapping[str, Number] | None = None) -> Number:
        """Elements of an operand in a tile; of all of it without one. Dims that a tile leaves out count 1."""
        inside = self.extent if tile is None else dict.fromkeys(self.extent, 1) | dict(tile)
        return self.operand(name).footprint(inside)


@dataclass(frozen=True)
class Bits:
    """Bits per element of the operands of a nest.

    Attributes:
        made: of a final output.
        stationary, streamed: of W and I.
        partial: of a sum that is not final.
    """

    made: int = 8
    stationary: int = 8
    streamed: int = 8
    partial: int = 32


BITS = Bits()


def _nest(
    sizes: tuple[tuple[str, int], ...],
    bits: Bits,
    read_first: bool,
    made: tuple[tuple[str, ...], tuple[Window, ...]],
    stationary: tuple[tuple[str, ...], tuple[Window, ...]],
    streamed: tuple[tuple[str, ...], tuple[Window, ...]],
) -> Nest:
    output = Operand("O", bits.made, *made, partial_bits=bits.partial, written=True, read_first=read_first)
    others = Operand("W", bits.stationary, *stationary), Operand("I", bits.streamed, *streamed)
    return Nest(sizes, (output, *others))


def dense(batch: int, outputs: int, inputs: int, bits: Bits = BITS, *, read_first: bool = False) -> Nest:
    """O[b, k] = sum over c of W[k, c] I[b, c]."""
    sizes = (("B", batch), ("K", outputs), ("C", inputs))
    return _nest(sizes, bits, read_first, (("B", "K"), ()), (("K", "C"), ()), (("B", "C"), ()))


def dense_dx(batch: int, outputs: int, inputs: int, bits: Bits = BITS, *, read_first: bool = False) -> Nest:
    """The error below: O[b, c] = sum over k of W[k, c] I[b, k]."""
    sizes = (("B", batch), ("K", outputs), ("C", inputs))
    return _nest(sizes, bits, read_first, (("B", "C"), ()), (("K", "C"), ()), (("B", "K"), ()))


def dense_dw(batch: int, outputs: int, inputs: int, bits: Bits = BITS, *, read_first: bool = False) -> Nest:
    """The weight gradient: O[k, c] = sum over b of W[b, k] I[b, c]; W is the error."""
    sizes = (("B", batch), ("K", outputs), ("C", inputs))
    return _nest(sizes, bits, read_first, (("K", "C"), ()), (("B", "K"), ()), (("B", "C"), ()))


@dataclass(frozen=True)
class Plane:
    """The geometry of a convolution.

    Attributes:
        batch, groups: how many.
        k, c: output and input channels of a group.
        oy, ox: of the output.
        fy, fx: of the kernel.
        plane: height and width of the layer's input, without padding.
        stride, dilation: along y and x.
    """

    batch: int
    k: int
    c: int
    oy: int
    ox: int
    fy: int
    fx: int
    plane: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        """Of the loops."""
        values = (self.batch, self.groups, self.k, self.c, self.oy, self.ox, self.fy, self.fx)
        return tuple(zip(DIMS, values))

    def windows(self, made: bool) -> tuple[Window, ...]:
        """The two coordinates of the layer's input, which is read or made."""
        outer, inner = (("OY", self.oy), ("OX", self.ox)), (("FY", self.fy), ("FX", self.fx))
        return tuple(self._window(axis, outer[axis], inner[axis], made) for axis in range(2))

    def _window(self, axis: int, outer: tuple[str, int], inner: tuple[str, int], made: bool) -> Window:
        limit = self.plane[axis]
        read = Window(outer[0], inner[0], self.stride[axis], self.dilation[axis], limit)
        if not made:
            return read
        untouched = limit - float(read.positions(outer[1], inner[1]))
        return replace(read, slack=untouched / (outer[1] * inner[1]))


_ERROR = (("B", "G", "K", "OY", "OX"), ())
_KERNEL = (("G", "K", "C", "FY", "FX"), ())


def conv(shape: Plane, bits: Bits = BITS, *, read_first: bool = False) -> Nest:
    """O[b, g, k, oy, ox] = sum over c, fy, fx of W[g, k, c, fy, fx] I[b, g, c, iy, ix]."""
    return _nest(shape.sizes, bits, read_first, _ERROR, _KERNEL, (("B", "G", "C"), shape.windows(False)))


def conv_dx(shape: Plane, bits: Bits = BITS, *, read_first: bool = False) -> Nest:
    """The error below, as a scatter: O[b, g, c, iy, ix] += W[g, k, c, fy, fx] I[b, g, k, oy, ox]."""
    return _nest(shape.sizes, bits, read_first, (("B", "G", "C"), shape.windows(True)), _KERNEL, _ERROR)


def conv_dw(shape: Plane, bits: Bits = BITS, *, read_first: bool = False) -> Nest:
    """The weight gradient: O[g, k, c, fy, fx] = sum of W[b, g, k, oy, ox] I[b, g, c, iy, ix]; W is the error."""
    return _nest(shape.sizes, bits, read_first, _KERNEL, _ERROR, (("B", "G", "C"), shape.windows(False)))
