"""Six nested loops and what moves with them: three read addresses, a position, and the address of results."""

from __future__ import annotations

from amaranth import Array, Cat, Elaboratable, Module, Signal, signed

from insitu.backends.engine.isa import LEVELS
from insitu.backends.rtl.engine.arithmetic import outside
from insitu.backends.rtl.engine.configuration import Configuration
from insitu.backends.rtl.parameters import Parameters

BASES = {"x": "BX", "w": "BW", "p": "BP", "d": "BD"}
"""The register that a stream starts from."""


class Loops(Elaboratable):
    """Counts a nest; level 0 is the innermost. The steps of a level contain the way back of the levels inside.

    Attributes:
        start: in: load start addresses and clear the counters.
        advance: in: one issue is done.
        written: in: the result stream advances, at ``configuration.written_level``.
        level: out: the level that advances next, ``LEVELS`` at the end of the nest.
        rounded: out: the levels below ``inner`` are at their end: a result is complete.
        reload, last: out: the levels below ``words_level`` too: lanes take new random words; that loop is in its last
            round.
        ended: out: the nest is at its end.
        outside: out: the position is outside the plane.
        address: out, by stream.
        window: out: counts of the two inner levels modulo 2, the index in a window of 2 x 2.
    """

    def __init__(self, p: Parameters, configuration: Configuration) -> None:
        self.p, self.c = p, configuration
        self.start, self.advance, self.written = Signal(), Signal(), Signal()
        self.level = Signal(3)
        self.rounded, self.reload, self.last, self.ended = Signal(), Signal(), Signal(), Signal()
        self.outside, self.window = Signal(), Signal(2)
        self.address = {s: Signal(p.address_bits, name=f"at_{s}", reset_less=True) for s in BASES}

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        self._count(m)
        self._addresses(m)
        if self.p.pad:
            self._position(m)
        return m

    def _count(self, m: Module) -> None:
        count = [Signal(10, name=f"count{i}", reset_less=True) for i in range(LEVELS)]
        last = [Signal(name=f"last{i}") for i in range(LEVELS)]
        m.d.comb += [here.eq(n == bound) for here, n, bound in zip(last, count, self.c.bound)]
        m.d.comb += self.level.eq(LEVELS)
        for i in reversed(range(LEVELS)):
            with m.If(~last[i]):
                m.d.comb += self.level.eq(i)
            with m.If(self.start | (self.advance & (self.level > i))):
                m.d.sync += count[i].eq(0)
            with m.Elif(self.advance & (self.level == i)):
                m.d.sync += count[i].eq(count[i] + 1)
        m.d.comb += [
            self.rounded.eq(self.level >= self.c.inner),
            self.ended.eq(self.level == LEVELS),
            self.c.level.eq(self.level),
        ]
        if self.p.learn:
            m.d.comb += [
                self.reload.eq(self.level >= self.c.words_level),
                self.last.eq(Array(last)[self.c.words_level]),
            ]
        if self.p.has_positions:
            m.d.comb += self.window.eq(Cat(count[0][0], count[1][0]))

    def _addresses(self, m: Module) -> None:
        for stream, address in self.address.items():
            with m.If(self.start):
                m.d.sync += address.eq(self.c.register[BASES[stream]]["address"])
            with m.Elif(self.written if stream == "d" else self.advance):
                m.d.sync += address.eq(address + self.c.step[stream])

    def _position(self, m: Module) -> None:
        row, column = Signal(signed(10), reset_less=True), Signal(signed(10), reset_less=True)
        first, plane = self.c.register["BYX"], self.c.register["LIM"]
        with m.If(self.start):
            m.d.sync += [row.eq(first["y"]), column.eq(first["x"])]
        with m.Elif(self.advance):
            m.d.sync += [row.eq(row + self.c.step["row"]), column.eq(column + self.c.step["column"])]
        m.d.comb += self.outside.eq(outside(row, column, plane["height"], plane["width"]))
