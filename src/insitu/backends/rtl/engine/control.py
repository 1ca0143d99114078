"""The sequencer: fetches instructions, writes configuration registers, and issues the products of nests.

Its cycles are those of :mod:`insitu.backends.engine.cycles`, by construction: nothing waits for data.
What an issue is told at stage 0 travels with it (:class:`~insitu.backends.rtl.engine.pipe.Pipe`).
"""

from __future__ import annotations

from amaranth import Elaboratable, Module, Mux, Signal

from insitu.backends.engine.isa import BY_NAME, SLOTS, WORD_BITS, A, B, Prologue
from insitu.backends.rtl.engine.configuration import Configuration
from insitu.backends.rtl.engine.loops import Loops
from insitu.backends.rtl.engine.pipe import Pipe
from insitu.backends.rtl.engine.softmax import Softmax
from insitu.backends.rtl.parameters import Parameters

ISSUE = {
    **{"valid": 1, "opens": 1, "ends": 1, "steps": 1, "level": 3},
    **{
        "take_v": 1,
        "fixed": 1,
        "second": 1,
        "vector": 1,
        "constant": 1,
        "big": 1,
        "bias": 1,
        "sign_a": 1,
        "sign_b": 1,
    },
    **{
        "load_v": 1,
        "load_old": 1,
        "is_mask": 1,
        "outside": 1,
        "inverted": 1,
        "whole": 1,
        "byte": 5,
        "window": 2,
    },
}
"""What travels with an issue, and its bits.

    valid, opens, ends   a product is added to the sum; it is the first; the sum is then complete
    steps, level         the result address moves on, at this level
    take_v fixed second  the a operand: V; K0 (with ``second`` K1); else a byte of A, number ``byte`` of the word
    vector constant big  the b operand: V; in lane 0 1 (256 with ``big``); else the word of W
    bias                 the byte is shifted as those of biases are
    load_v load_old      V, the old weights are loaded from what was read
    is_mask              V is a mask
    outside, inverted    the byte is 0; is inverted
    whole                the products of all lanes are added up
"""
CLEARED = frozenset({"valid", "is_mask", "steps"})
"""Of these, what a reset clears."""


class Control(Elaboratable):
    """The state machine.

    Attributes:
        start, entry, busy: start at an instruction; out: running.
        instruction: in, 32 bits; ``fetch``, ``address``: out.
        a_address, w_address: out: what is read for the issue at stage 0.
        quiet, settled: in: nothing is under way; nothing that still needs lanes' words.
        fired: in: by trigger.
        nest: out: a nest begins; ``load``, ``fresh``: lanes' words move up; take a new one.
        save, shift, latch: out: of random registers and triggers.
        softmax: the unit for its errors, which uses the sequencer's addresses; None: there is none.
    """

    def __init__(self, p: Parameters, configuration: Configuration, loops: Loops, issue: Pipe) -> None:
        self.p, self.c, self.loops, self.issue = p, configuration, loops, issue
        self.start, self.busy, self.entry = Signal(), Signal(), Signal(range(p.code_words))
        self.instruction, self.fetch, self.address = Signal(WORD_BITS), Signal(), Signal(range(p.code_words))
        self.a_address, self.w_address = Signal(p.address_bits), Signal(p.address_bits)
        self.quiet, self.settled, self.fired = Signal(), Signal(), Signal(SLOTS)
        self.nest, self.load, self.fresh, self.save = Signal(), Signal(), Signal(), Signal()
        self.shift, self.latch = Signal(), Signal()
        self.softmax = Softmax() if p.learn and p.softmax else None
        self.opens = Signal(reset_less=True)
        self.loaded = Signal(range(p.lanes), reset_less=True)

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.d.comb += [self.a_address.eq(self.loops.address["x"]), self.w_address.eq(self.loops.address["w"])]
        m.d.comb += self.c.word.eq(self.instruction)
        m.d.comb += self.issue.set(byte=self.a_address[: self.p.number_bits])
        with m.If(self.fetch):
            m.d.sync += self.address.eq(self.address + 1)
        with m.FSM(name="state"):
            self._idle(m)
            self._decode(m)
            self._prologue(m)
            self._run(m)
            if self.p.learn:
                self._load_lanes(m)
            if self.softmax is not None:
                self._softmax(m, self.softmax)
            with m.State("DRAIN"), m.If(self.quiet):
                m.next = "DECODE"
        return m

    # --- instructions ------------------------------------------------------------------------------------------

    def _idle(self, m: Module) -> None:
        with m.State("IDLE"), m.If(self.start):
            m.d.sync += [self.address.eq(self.entry), self.busy.eq(1)]
            m.next = "READ"
        for state, following in (("READ", "REGISTER"), ("REGISTER", "DECODE")):
            with m.State(state):
                m.d.comb += self.fetch.eq(1)
                m.next = following

    def _decode(self, m: Module) -> None:
        with m.State("DECODE"):
            m.d.comb += [self.fetch.eq(1), self.c.enable.eq(1)]
            with m.Switch(self.c.code):
                with m.Case(BY_NAME["END"].code):
                    m.d.sync += self.busy.eq(0)
                    m.next = "IDLE"
                with m.Case(BY_NAME["GO"].code):
                    m.d.comb += [self.nest.eq(1), self.loops.start.eq(1)]
                    m.d.sync += [self.opens.eq(1), self.loaded.eq(0)]
                    self._next_round(m, self.c.words if self.p.learn else 0)
                if self.p.learn:
                    self._learning_instructions(m)

    def _learning_instructions(self, m: Module) -> None:
        for name, action in (("SEED", self.save), ("SHIFT", self.shift), ("TRIG", self.latch)):
            with m.Case(BY_NAME[name].code):
                m.d.comb += action.eq(1)
        if self.softmax is not None:
            with m.Case(BY_NAME["SOFTMAX"].code):
                m.d.comb += [self.softmax.begin.eq(1), self.loops.start.eq(1), self.nest.eq(1)]
                m.next = "SOFTMAX"
        with m.Case(BY_NAME["BRZ"].code), m.If((self.fired & self.c.instruction("BRZ", "flags")) == 0):
            m.d.comb += self.fetch.eq(0)
            m.d.sync += self.address.eq(self.c.instruction("BRZ", "target"))
            m.next = "READ"

    # --- nests -------------------------------------------------------------------------------------------------

    def _next_round(self, m: Module, reload: object) -> None:
        """Where a round begins: with new words of lanes, with a prologue, or at once."""
        m.next = "RUN"
        with m.If(self.c.prologue != Prologue.NONE):
            m.next = "PROLOGUE"
        if self.p.learn:
            with m.If(reload):
                m.next = "LANES"

    def _load_lanes(self, m: Module) -> None:
        with m.State("LANES"), m.If(self.settled):
            m.d.comb += [self.load.eq(1), self.fresh.eq(~self.loops.last | (self.loaded <= self.c.last))]
            m.d.sync += self.loaded.eq(self.loaded + 1)
            with m.If(self.loaded == self.p.lanes - 1):
                self._next_round(m, 0)

    def _softmax(self, m: Module, unit: Softmax) -> None:
        at, loops = self.loops.address["p"], self.loops
        high = at + self.c.register["HIOFF"]["address"]
        m.submodules.softmax = unit
        m.d.comb += unit.ended.eq(loops.ended)
        with m.State("SOFTMAX"):
            m.d.comb += [unit.active.eq(1), self.a_address.eq(Mux(unit.high, high, at))]
            m.d.comb += [
                loops.advance.eq(unit.advance),
                loops.start.eq(unit.restart),
                self.nest.eq(unit.restart),
            ]
            with m.If(unit.done):
                m.next = "DECODE"

    def _prologue(self, m: Module) -> None:
        at, issue = self.loops.address["p"], self.issue
        with m.State("PROLOGUE"):
            m.d.comb += [self.a_address.eq(at), self.w_address.eq(at)]
            m.d.sync += self.opens.eq(1)
            m.next = "RUN"
            with m.Switch(self.c.prologue):
                with m.Case(Prologue.BIASES, Prologue.BIAS):
                    m.d.comb += issue.set(opens=1)
                    self._bias(m, 0)
                    m.next = "HIGH"
                if self.p.learn:
                    with m.Case(Prologue.VECTOR):
                        m.d.comb += issue.set(load_v=1)
                    with m.Case(Prologue.MASK):
                        m.d.comb += issue.set(load_v=1, is_mask=1)
                    with m.Case(Prologue.WEIGHTS):
                        m.d.comb += issue.set(load_old=1)
        with m.State("HIGH"):
            m.d.comb += self.a_address.eq(at + self.c.register["HIOFF"]["address"])
            m.d.sync += self.opens.eq(0)
            self._bias(m, 1)
            m.next = "RUN"

    def _bias(self, m: Module, high: int) -> None:
        """A byte plane of a bias enters the sum as a product: of a vector with K0 or K1, or of a byte with 1 or 256."""
        issue, vector = self.issue, self.c.prologue == Prologue.BIASES
        inverted = ~vector & self.c.update if self.p.learn else 0
        m.d.comb += issue.set(valid=1, load_v=vector, vector=vector, fixed=vector, second=high, sign_b=high)
        m.d.comb += issue.set(constant=~vector, bias=~vector, big=high, sign_a=high, inverted=inverted)

    def _run(self, m: Module) -> None:
        loops, c, issue = self.loops, self.c, self.issue
        each = c.each if self.p.learn else 0
        with m.State("RUN"):
            m.d.comb += [loops.advance.eq(1), *issue.set(valid=1, steps=1, level=loops.level)]
            m.d.comb += issue.set(opens=self.opens | each, ends=loops.rounded | each, load_v=c.vector_stream)
            m.d.comb += issue.set(outside=loops.outside, load_old=each, window=loops.window, whole=c.dot)
            m.d.comb += issue.set(take_v=c.a == A.VECTOR, fixed=c.a[1], second=c.a[0])
            m.d.comb += issue.set(vector=c.b == B.VECTOR, constant=c.b == B.ONE)
            m.d.comb += issue.set(sign_a=c.scalar_signed, sign_b=c.vector_signed)
            m.d.sync += self.opens.eq(loops.rounded)
            with m.If(loops.ended):
                m.next = "DRAIN"
            with m.Elif(loops.rounded):
                m.d.sync += self.loaded.eq(0)
                self._next_round(m, c.words & loops.reload if self.p.learn else 0)
