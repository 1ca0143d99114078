"""Values that travel with an issue through the pipeline, registered once a stage; registers are made on demand."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from amaranth import Elaboratable, Module, Signal
from amaranth.hdl import ValueLike
from amaranth.hdl._ast import Assign


class Pipe(Elaboratable):
    """A bundle of named values at stage 0, and their copies one, two, ... cycles later.

    Elaborate it last: it makes the registers of the stages that others have asked for.

    Args:
        widths: bits of each value.
        cleared: names of those that a reset clears: they say whether a stage holds anything.
    """

    def __init__(self, widths: Mapping[str, int], cleared: frozenset[str]) -> None:
        self._cleared = cleared
        self._lines = {name: [Signal(width, name=f"s0_{name}")] for name, width in widths.items()}

    def at(self, name: str, stage: int) -> Signal:
        """The value of the issue that is at a stage."""
        line = self._lines[name]
        for k in range(len(line), stage + 1):
            line.append(Signal(len(line[0]), name=f"s{k}_{name}", reset_less=name not in self._cleared))
        return line[stage]

    def set(self, **values: ValueLike) -> list[Assign]:
        """Statements that give the present issue values; those that are not given are 0."""
        return [self.at(name, 0).eq(value) for name, value in values.items()]

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        for line in self._lines.values():
            m.d.sync += [later.eq(earlier) for earlier, later in pairwise(line)]
        return m
