"""Two shift registers that run on for ever: register 0 gives words to lanes, register 1 one word to each round.

A weight's random word is R ^ C, so an update of R rows and N columns draws R + N words. A tile of lanes takes P words
of register 0 and keeps them; register 1 goes over the other side and starts again at the next tile.
"""

from __future__ import annotations

from amaranth import Cat, Const, Elaboratable, Module, Mux, Signal
from amaranth.hdl import Value

from insitu.backends.engine.build import WIDE_FRACTION
from insitu.backends.engine.isa import RESET_STATES
from insitu.backends.rtl.parameters import Parameters


def next_word(state: Value) -> Value:
    """The state 32 shifts later (:mod:`insitu.numbers.lfsr`), in four XORs of 16 bits."""
    return _half(_half(state))


def _half(s: Value) -> Value:
    return Cat(s[16:32] ^ s[14:30] ^ s[10:26] ^ s[9:25], s[:16])


class Random(Elaboratable):
    """Words of lanes and rounds.

    Attributes:
        shift, bits: in: both registers go on, each with a bit XORed into its lowest: how a host loads them.
        clear: in: the nest takes no words of lanes, they are 0.
        save: in: register 1's present state is where tiles start again.
        load, fresh: in: lanes' words move up by one; the last lane takes a new word, or
            0 past the ragged end of a matrix.
        restart: in: register 1 goes back to where it was saved.
        draw: in, at stage 4: a round takes the next word of register 1.
        update, wide: in: a nest of updates; of wide results.
        lanes: out: a word of S bits a lane.
        round_word: out, at stage 5: S bits: the round's word, or half a step of a forward sum.
        states: out: of both registers.
    """

    def __init__(self, p: Parameters) -> None:
        self.p = p
        self.shift, self.bits = Signal(), Signal(2)
        self.clear, self.save, self.load, self.fresh, self.restart, self.draw = (Signal() for _ in range(6))
        self.update, self.wide = Signal(), Signal()
        self.lanes = [Signal(p.fraction, name=f"lane_word{i}", reset_less=True) for i in range(p.lanes)]
        self.round_word = Signal(p.fraction)
        self.states = [Signal(32, name=f"register{i}", init=start) for i, start in enumerate(RESET_STATES)]

    def elaborate(self, _platform: object) -> Module:
        m, p = Module(), self.p
        if not p.learn:
            m.d.comb += self.round_word.eq(Mux(self.wide, 1 << WIDE_FRACTION - 1, 1 << p.fraction - 1))
            return m
        following = [Signal(32, name=f"following{i}") for i in range(2)]
        for register, new, bit in zip(self.states, following, self.bits):
            m.d.comb += new.eq(next_word(register) ^ (bit & self.shift))
        self._lanes(m, following[0])
        self._rounds(m, following[1])
        return m

    def _lanes(self, m: Module, following: Signal) -> None:
        with m.If(self.shift | (self.load & self.fresh)):
            m.d.sync += self.states[0].eq(following)
        for lane, source in zip(self.lanes, (*self.lanes[1:], following[32 - self.p.fraction :])):
            with m.If(self.load):
                m.d.sync += lane.eq(source)
        with m.If(self.load & ~self.fresh):
            m.d.sync += self.lanes[-1].eq(0)
        with m.If(self.clear):
            m.d.sync += [lane.eq(0) for lane in self.lanes]

    def _rounds(self, m: Module, following: Signal) -> None:
        saved = Signal(32, reset_less=True)
        with m.If(self.save):
            m.d.sync += saved.eq(self.states[1])
        with m.If(self.restart):
            m.d.sync += self.states[1].eq(saved)
        with m.Elif(self.shift | self.draw):
            m.d.sync += self.states[1].eq(following)
        self._round_word(m, following)

    def _round_word(self, m: Module, following: Signal) -> None:
        """A register that an update loads at each draw; other nests hold their constant in it."""
        s = self.p.fraction
        word = Signal(s, reset_less=True)
        wide = Cat(following[16:], Const(0, s - WIDE_FRACTION))
        with m.If(self.draw):
            m.d.sync += word.eq(Mux(self.wide, wide, following[32 - s :]))
        with m.If(~self.update):
            m.d.sync += word.eq(0)
            m.d.sync += [
                word[WIDE_FRACTION - 1].eq(self.wide),
                word[s - 1].eq(~self.wide | (s == WIDE_FRACTION)),
            ]
        m.d.comb += self.round_word.eq(word)
