"""Errors of a softmax, a class after the other: exponentials from a table, and a division bit by bit.

    E_j = table[min(best - z_j, 1023)]      p_j = round(128 E_j / sum E)      e_j = sat8(p_j - 128 [j = label])

The first pass over the scores adds up the exponentials, the second divides: 9 bits of 128 E / sum, the last of which
rounds. Scores come by the sequencer's reads; a class takes ``FIRST`` cycles in the first pass, ``SECOND`` in the other.
"""

from __future__ import annotations

from amaranth import Cat, Elaboratable, Module, Mux, Signal, signed
from amaranth.lib.memory import Memory

from insitu.backends.engine.isa import TABLE

ENTRY_BITS = 16
TOTAL_BITS = 20
"""Of a sum of 16 entries."""
QUOTIENT_BITS = 9
LOW, HIGH, TAKE_LOW, INDEX, ENTRY = 0, 1, 3, 4, 6
"""Phases: both bytes of a score are asked for, and come three cycles later; the table is asked; its entry is there."""
DIVIDE, WRITE = 7, 7 + QUOTIENT_BITS
FIRST, SECOND = ENTRY + 1, WRITE + 1


class Softmax(Elaboratable):
    """The unit.

    Attributes:
        begin: in: a SOFTMAX starts; ``active``: it goes on.
        byte: in: what the sequencer read three cycles ago.
        best, hit: in: the largest score, and whether the present class is the label.
        ended: in: the present class is the last.
        high, advance, restart, write, done: out: read the high byte; go to the next class; go back to the first; write
            ``error``; this was all.
        load, address, data: in: the host writes the table.
    """

    def __init__(self) -> None:
        self.begin, self.active, self.byte = Signal(), Signal(), Signal(8)
        self.best, self.hit, self.ended = Signal(signed(12)), Signal(), Signal()
        self.high, self.advance, self.restart, self.write, self.done = (Signal() for _ in range(5))
        self.error = Signal(8)
        self.load, self.address, self.data = Signal(), Signal(range(TABLE)), Signal(ENTRY_BITS)
        self.phase, self.second = Signal(range(WRITE + 1), reset_less=True), Signal(reset_less=True)

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        entry = self._entry(m)
        total = Signal(TOTAL_BITS, reset_less=True)
        last = self.phase == Mux(self.second, WRITE, ENTRY)
        with m.If(self.begin):
            m.d.sync += [self.phase.eq(0), self.second.eq(0), total.eq(0)]
        with m.Elif(self.active):
            m.d.sync += self.phase.eq(Mux(last, 0, self.phase + 1))
            m.d.comb += [self.advance.eq(last), self.restart.eq(last & self.ended & ~self.second)]
            m.d.comb += [self.write.eq(last & self.second), self.done.eq(last & self.ended & self.second)]
            with m.If(self.restart):
                m.d.sync += self.second.eq(1)
            with m.If(last & ~self.second):
                m.d.sync += total.eq(total + entry)
        m.d.comb += self.high.eq(self.phase == HIGH)
        self._divide(m, entry, total)
        return m

    def _entry(self, m: Module) -> Signal:
        """The exponential of the present class's score."""
        m.submodules.table = table = Memory(shape=ENTRY_BITS, depth=TABLE, init=[])
        read, write = table.read_port(), table.write_port()
        low, distance = Signal(8, reset_less=True), Signal(12)
        with m.If(self.phase == TAKE_LOW):
            m.d.sync += low.eq(self.byte)
        m.d.comb += distance.eq(self.best - Cat(low, self.byte[:4]).as_signed())
        index = Signal(range(TABLE), reset_less=True)
        m.d.sync += index.eq(distance[:10] | distance[10:].any().replicate(10))
        m.d.comb += [read.addr.eq(index), read.en.eq(1)]
        m.d.comb += [write.addr.eq(self.address), write.data.eq(self.data), write.en.eq(self.load)]
        return read.data

    def _divide(self, m: Module, entry: Signal, total: Signal) -> None:
        rest, quotient = Signal(TOTAL_BITS + 1, reset_less=True), Signal(QUOTIENT_BITS, reset_less=True)
        less = Signal(TOTAL_BITS + 2)
        m.d.comb += less.eq(rest - total)
        small = less[-1]
        with m.If(self.phase == ENTRY):
            m.d.sync += rest.eq(entry)
        with m.Else():
            m.d.sync += [rest.eq(Mux(small, rest, less) << 1), quotient.eq(Cat(~small, quotient))]
        p = Signal(8)
        m.d.comb += p.eq((quotient + 1) >> 1)
        m.d.comb += self.error.eq(Mux(self.hit, p ^ 128, Mux(p[7], 127, p)))
