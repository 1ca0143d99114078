"""The score unit: the class with the largest score, the label's margin, and which triggers fired."""

from __future__ import annotations

from amaranth import Const, Elaboratable, Module, Mux, Signal, signed
from amaranth.hdl import Value

from insitu.backends.engine.isa import CLASSES, SLOTS
from insitu.backends.rtl.parameters import Parameters

SCORE_BITS = 12
"""Of a score, signed."""
NUMBER_BITS = (CLASSES - 1).bit_length()
"""Of a class."""


class Scores(Elaboratable):
    """Looks at wide results while they are written.

    Attributes:
        begin: in: a nest starts: class 0 comes next.
        take: in: ``score`` is the next class's score; ``count``: an error of the next class is written.
        apart: in: the label's score is kept apart (learning); else all take part in the maximum.
        margin, label: in.
        clear: in: no trigger has fired.
        latch, slot: in: the trigger fires if the best other score is above the label's less the margin.
        hit: out: the class that comes next is the label.
        error: out: the byte of the error of the class that comes next: 1 at the best, -1 at the label, if it fired.
        best, best_class, fired: out: the last by slot.
    """

    def __init__(self, p: Parameters) -> None:
        self.p = p
        self.begin, self.take, self.count, self.apart = Signal(), Signal(), Signal(), Signal()
        self.score, self.margin, self.label = Signal(signed(SCORE_BITS)), Signal(12), Signal(NUMBER_BITS)
        self.clear, self.latch, self.slot = Signal(), Signal(), Signal(3)
        self.best, self.hit, self.error = Signal(signed(SCORE_BITS), reset_less=True), Signal(), Signal(8)
        self.best_class, self.fired = Signal(NUMBER_BITS), Signal(SLOTS)

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        number, none = Signal(NUMBER_BITS, reset_less=True), Signal(reset_less=True)
        with m.If(self.begin):
            m.d.sync += [number.eq(0), none.eq(1)]
        with m.Elif(self.take | self.count):
            m.d.sync += number.eq(number + 1)
        m.d.comb += self.hit.eq(number == self.label)
        of_label = self.apart & self.hit if self.p.learn else Const(0)
        with m.If(self.take & ~of_label & (none | (self.score > self.best))):
            m.d.sync += [self.best.eq(self.score), self.best_class.eq(number), none.eq(0)]
        if self.p.learn:
            self._trigger(m, number, of_label)
        return m

    def _trigger(self, m: Module, number: Signal, of_label: Value) -> None:
        bound, now = Signal(signed(SCORE_BITS + 2), reset_less=True), Signal()
        with m.If(self.take & of_label):
            m.d.sync += bound.eq(self.score - self.margin)
        above = self.best > bound
        with m.If(self.latch):
            m.d.sync += now.eq(above)
        for slot, flag in enumerate(self.fired):
            with m.If(self.latch & (self.slot == slot)):
                m.d.sync += flag.eq(above)
        with m.If(self.clear):
            m.d.sync += self.fired.eq(0)
        m.d.comb += self.error.eq(Mux(now & self.hit, 255, now & (number == self.best_class)))
