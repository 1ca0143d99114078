"""Where a program's arrays lie in C: one arena for what lives in a step, a block of state, a block of constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.backends.c.emit import Place
from insitu.numbers.formats import Float, Quantized
from insitu.numbers.packing import pack, packed_size, unpack
from insitu.passes.plan import Layout, plan
from insitu.run.program import Program
from insitu.step.ir import Value
from insitu.step.liveness import roots

ALIGN = 4
"""Bytes that every array starts at a multiple of: what a Cortex-M reads in one go."""

Bytes = npt.NDArray[np.uint8]
Arrays = Mapping[str, npt.NDArray[Any]]


def packed(value: Value, array: npt.NDArray[Any]) -> bytes:
    """The bytes of an array of integers (or of a real weight) as C holds it."""
    if not isinstance(value.format, Quantized):
        return np.ascontiguousarray(array, dtype="<f4").tobytes()
    fmt: Any = value.format
    integers = np.asarray(array, np.int64).ravel()
    words = (
        integers if value.unit is None else fmt.from_integers(integers)
    )  # labels and positions are their own words
    return pack(words, fmt).tobytes()


def unpacked(value: Value, data: Bytes) -> npt.NDArray[Any]:
    """The integers (or float32) that the bytes of a resident hold: the way back from :func:`packed`."""
    fmt: Any = value.format
    if isinstance(fmt, Float):
        return np.frombuffer(data[: 4 * value.size].tobytes(), "<f4").reshape(value.shape).copy()
    words = unpack(data[: packed_size(value.size, fmt)], fmt, value.size)
    return (words if value.unit is None else fmt.integers(words)).reshape(value.shape)


def aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


@dataclass(frozen=True, eq=False)
class Memory:
    """The memory of a program in C.

    Attributes:
        program: whose arrays are placed; transient ones by its steps' layouts, aligned.
    """

    program: Program

    @cached_property
    def layouts(self) -> tuple[Layout, ...]:
        return tuple(plan(step, align=ALIGN) for step in self.program.steps)

    @cached_property
    def inference_layout(self) -> Layout:
        return plan(self.program.inference, align=ALIGN)

    @cached_property
    def exits_layout(self) -> Layout | None:
        step = self.program.exits
        return None if step is None else plan(step, align=ALIGN)

    @cached_property
    def places(self) -> dict[str, Place]:
        """Where each resident lies: ``state`` where a step writes it, else ``rom``; first what inference reads."""
        p = self.program
        read = self._inferred
        ends = {"state": 0, "rom": 0}
        found = {}
        for name, value in sorted(p.residents.items(), key=lambda item: item[0] not in read):
            region = "state" if name in p.written else "rom"
            found[name] = Place(region, ends[region])
            ends[region] += aligned(value.bytes)
        return found

    def place(self, part: str, value: Value) -> str:
        """Where a value lies, in words.

        Args:
            part: ``learn_0``, ..., ``forward`` or ``early`` for a value of that step; empty for a resident.
        """
        if value.name in self.places:
            found = self.places[value.name]
            return f"{found.region} + {found.offset}"
        of, layout = self._parts[part]
        return f"arena + {layout.offsets[of[value].name]}"

    @cached_property
    def _parts(self) -> dict[str, tuple[Mapping[Value, Value], Layout]]:
        """Of each step, the roots of its values and where they lie."""
        p = self.program
        found = {
            f"learn_{i}": (roots(step), layout) for i, (step, layout) in enumerate(zip(p.steps, self.layouts))
        }
        if p.exits is not None and self.exits_layout is not None:
            found["early"] = (roots(p.exits), self.exits_layout)
        return {**found, "forward": (roots(p.inference), self.inference_layout)}

    def block(self, region: str, arrays: Arrays) -> bytes:
        """The bytes of a region with given values of the residents."""
        out = bytearray(self.size(region))
        for name, place in self.places.items():
            if place.region == region:
                data = packed(self.program.residents[name], arrays[name])
                out[place.offset : place.offset + len(data)] = data
        return bytes(out)

    def size(self, region: str, *, inference: bool = False) -> int:
        """Bytes of a region; or of the part of it that inference reads."""
        residents = self.program.residents
        names = self._inferred if inference else list(residents)
        places = [(self.places[n], residents[n]) for n in names if self.places[n].region == region]
        return max((p.offset + aligned(v.bytes) for p, v in places), default=0)

    @cached_property
    def _inferred(self) -> set[str]:
        """Residents that are read without learning."""
        return {v.name for step in self.program.forwards for v in step.residents}

    @property
    def training_arena(self) -> int:
        return aligned(max(layout.arena_bytes for layout in self.layouts))

    @property
    def inference_arena(self) -> int:
        layouts = filter(None, (self.inference_layout, self.exits_layout))
        return aligned(max(layout.arena_bytes for layout in layouts))
