"""The score unit: the class with the largest score, the label's margin, and which triggers fired."""

from __future__ import annotations

from amaranth import Const, Elaboratable, Module, Mux, Signal, signed

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
        latch, slot: in: the trigger fires if the best other score is above the label's less the margin.
        error: out: the byte of the error of the class that comes next: 1 at the best, -1 at the label, if it fired.
        best_class, fired: out: the latter by slot.
    """

    def __init__(self, p: Parameters) -> None:
        self.p = p
        self.begin, self.take, self.count, self.apart = Signal(), Signal(), Signal(), Signal()
        self.score = Signal(signed(SCORE_BITS))
        self.margin, self.label = Signal(12), Signal(NUMBER_BITS)
        self.latch, self.slot = Signal(), Signal(3)
        self.error, self.best_class, self.fired = Signal(8), Signal(NUMBER_BITS), Signal(SLOTS)

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        number, none, best = (
            Signal(NUMBER_BITS, reset_less=True),
            Signal(reset_less=True),
            Signal(signed(SCORE_BITS), reset_less=True),
        )
        with m.If(self.begin):
            m.d.sync += [number.eq(0), none.eq(1)]
        with m.Elif(self.take | self.count):
            m.d.sync += number.eq(number + 1)
        of_label = self.apart & (number == self.label) if self.p.learn else Const(0)
        with m.If(self.take & ~of_label & (none | (self.score > best))):
            m.d.sync += [best.eq(self.score), self.best_class.eq(number), none.eq(0)]
        if self.p.learn:
            self._trigger(m, number, best, of_label)
        return m

    def _trigger(self, m: Module, number: Signal, best: Signal, of_label: Signal) -> None:
        bound, now = Signal(signed(SCORE_BITS + 2), reset_less=True), Signal()
        with m.If(self.take & of_label):
            m.d.sync += bound.eq(self.score - self.margin)
        with m.If(self.latch):
            m.d.sync += [now.eq(best > bound), self.fired.bit_select(self.slot, 1).eq(best > bound)]
        hit = now & (number == self.label)
        m.d.comb += self.error.eq(Mux(hit, 255, now & (number == self.best_class)))
