"""The engine: memories, sequencer, lanes, serial path, score unit and random registers, and the pipeline between them.

stage 0   an issue: addresses go to the memories
      1   block RAM
      2   what was read, registered
      3   V, the words of weights, the scalar
      4   operands of the multipliers                serial path of lane 0 (dot or wide results):
      5   products; sums of lanes                    tree
      6   sums; slice, saturation                    shifter
      7   results are written                        sum of lane 0; 8 slice, 9 results are written
"""

from __future__ import annotations

from amaranth import Cat, Elaboratable, Module, Mux, Signal, signed

from insitu.backends.engine.build import WIDE_FRACTION
from insitu.backends.engine.isa import To
from insitu.backends.rtl.engine.arithmetic import shifted, wide_sliced
from insitu.backends.rtl.engine.configuration import Configuration
from insitu.backends.rtl.engine.control import CLEARED, ISSUE, Control
from insitu.backends.rtl.engine.lane import Lane, Steering
from insitu.backends.rtl.engine.loops import Loops
from insitu.backends.rtl.engine.memory import Memories
from insitu.backends.rtl.engine.pipe import Pipe
from insitu.backends.rtl.engine.random import Random
from insitu.backends.rtl.engine.scores import SCORE_BITS, Scores
from insitu.backends.rtl.engine.serial import SerialPath
from insitu.backends.rtl.parameters import Parameters

SUM, WRITE = 5, 7
"""Stages in which a product is added, and a result written, on the fast path."""
DELAY = 2
"""Stages that the serial path takes longer."""


class Engine(Elaboratable):
    """A learning engine; its ports are those of :meth:`ports`.

    ``start`` runs the program at ``entry`` for a sample of class ``label`` until ``busy`` falls. The host reads and
    writes memories while the engine is idle.
    """

    def __init__(self, p: Parameters) -> None:
        self.p = p
        self.c = Configuration(p)
        self.loops, self.memories = Loops(p, self.c), Memories(p)
        self.issue = Pipe(ISSUE, CLEARED)
        self.control = Control(p, self.c, self.loops, self.issue)
        self.random, self.scores = Random(p), Scores(p)
        self.steering = Steering(p)
        self.serial = Signal()
        self.lanes = [Lane(p, self.steering, i, None if i else self.serial) for i in range(p.lanes)]
        self.path = SerialPath(p, [lane.product for lane in self.lanes])

    def ports(self) -> dict[str, Signal]:
        """By name."""
        control, memories = self.control, self.memories
        named = {
            "start": control.start,
            "entry": control.entry,
            "busy": control.busy,
            "label": self.scores.label,
        }
        named |= {"best_class": self.scores.best_class, "fired": self.scores.fired}
        if self.p.learn:
            named |= {f"register{i}": state for i, state in enumerate(self.random.states)}
        host = ("host_write", "host_select", "host_address", "host_data", "host_read")
        return named | {name: getattr(memories, name) for name in host}

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.d.comb += self.serial.eq(self.c.dot | self.c.wide)
        for part in (self._control, self._operands, self._sums, self._results, self._scores, self._random):
            part(m)
        m.submodules.issue = self.issue
        return m

    def _late(self, name: str, stage: int) -> Signal:
        """A value at a stage of the path that the nest takes."""
        return Mux(self.serial, self.issue.at(name, stage + DELAY), self.issue.at(name, stage))

    # --- parts -------------------------------------------------------------------------------------------------

    def _control(self, m: Module) -> None:
        m.submodules.configuration, m.submodules.loops = self.c, self.loops
        m.submodules.control, m.submodules.memories = control, memories = self.control, self.memories
        at = self.issue.at
        under_way = [at("valid", k) for k in range(1, WRITE)]
        late = [at("valid", k) for k in range(WRITE, WRITE + DELAY)]
        m.d.comb += [
            memories.busy.eq(control.busy),
            memories.fetch.eq(control.fetch),
            memories.a_address.eq(control.a_address),
            memories.w_address.eq(control.w_address),
            memories.i_address.eq(control.address),
            control.instruction.eq(memories.instruction),
            control.settled.eq(~any_of(under_way[: SUM - 1])),
            control.quiet.eq(~(any_of(under_way) | (self.serial & any_of(late)))),
            control.fired.eq(self.scores.fired),
        ]

    def _operands(self, m: Module) -> None:
        """Stage 3: V, the words of weights, and the scalar."""
        p, at, s, c = self.p, self.issue.at, self.steering, self.c
        v, w = Signal(8 * p.lanes, reset_less=True), Signal(8 * p.lanes, reset_less=True)
        scalar = Signal(signed(9), reset_less=True)
        byte = Signal(8)
        m.d.comb += byte.eq(self.memories.a.word_select(at("byte", 2), 8) ^ at("inverted", 2).replicate(8))
        m.d.sync += [w.eq(self.memories.w), scalar.eq(with_sign(byte, at("sign_a", 2)))]
        if (unit := self.control.softmax) is not None:
            host = self.memories
            m.d.comb += [unit.byte.eq(scalar[:8]), unit.load.eq(host.host_write & (host.host_select == 3))]
            m.d.comb += [unit.address.eq(host.host_address), unit.data.eq(host.host_data[: len(unit.data)])]
        with m.If(at("outside", 2)):
            m.d.sync += scalar.eq(0)
        with m.If(at("load_v", 2)):
            m.d.sync += v.eq(self.memories.a)
        amount, k = Signal(5), {n: c.register[f"K{n}"]["value"] for n in range(2)}
        shift = c.register["SH"]
        m.d.comb += amount.eq(Mux(at("bias", 3), shift["bias"], shift["scalar"]))
        constant = Mux(at("second", 3), k[1], k[0])
        m.d.comb += s.scalar.eq(Mux(at("fixed", 3), constant, shifted(scalar, amount, p.operand_bits)))
        told = {"take_v": 3, "vector": 3, "constant": 3, "big": 3, "sign_a": 3, "sign_b": 3}
        m.d.comb += [getattr(s, name).eq(at(name, stage)) for name, stage in told.items()]
        m.d.comb += s.high.eq(c.high)
        for i, lane in enumerate(self.lanes):
            m.d.comb += [lane.v.eq(v[8 * i : 8 * i + 8]), lane.w.eq(w[8 * i : 8 * i + 8])]
        if p.learn:
            self._old_weights(m, w)

    def _old_weights(self, m: Module, w: Signal) -> None:
        """The weights that an update begins with, at the stage of sums; 0xFF otherwise."""
        at, ones = self.issue.at, (1 << len(w)) - 1
        early, old = Signal.like(w, reset_less=True), Signal(len(w), init=ones, reset_less=True)
        with m.If(at("load_old", 3)):
            m.d.sync += early.eq(w)
        with m.If(at("load_old", 4)):
            m.d.sync += old.eq(early)
        with m.If(~self.c.update | self.c.wide):
            m.d.sync += old.eq(ones)
        for i, lane in enumerate(self.lanes):
            m.d.comb += lane.old.eq(old[8 * i : 8 * i + 8])

    def _sums(self, m: Module) -> None:
        at, path = self.issue.at, self.path
        m.submodules.path = path
        m.d.comb += [path.whole.eq(at("whole", SUM)), path.amount.eq(self.c.register["SH"]["serial"])]
        m.d.comb += path.none.eq(at("whole", SUM) & at("outside", SUM))
        for i, lane in enumerate(self.lanes):
            m.submodules[f"lane{i}"] = lane
            taps = (at, at) if i else (self._late, self._late)
            m.d.comb += [lane.accumulate.eq(taps[0]("valid", SUM)), lane.opens.eq(taps[1]("opens", SUM))]
        m.d.comb += self.lanes[0].addend.eq(path.addend)

    def _results(self, m: Module) -> None:
        """What is written, and where."""
        p, at, s, c, memories = self.p, self.issue.at, self.steering, self.c, self.memories
        m.d.comb += [
            s.signed.eq(c.out_signed & ~c.pool),
            s.pool.eq(c.pool),
            s.update.eq(c.update if p.learn else 0),
        ]
        m.d.comb += s.to_w.eq((c.to == To.WEIGHTS) & ~c.pool)
        m.d.comb += [
            s.pooling.eq(at("valid", 4) & c.pool),
            s.opens.eq(at("opens", 4)),
            s.window.eq(at("window", 4)),
        ]
        if p.learn:
            m.d.comb += [s.masked.eq(c.mask), s.set_mask.eq(at("is_mask", SUM))]
            m.d.comb += [
                s.position.eq(c.position),
                s.matching.eq(c.match),
                s.index.eq(c.register["CTL2"]["code"]),
            ]
        self.wide = Signal(signed(16), reset_less=True)
        m.d.sync += self.wide.eq(wide_sliced(self.lanes[0].total, WIDE_FRACTION, c.wide16, s.update))
        self.done, self.pending = Signal(), Signal()
        address, high, high_byte = self.loops.address["d"], Signal(p.address_bits, reset_less=True), Signal(8)
        m.d.comb += self.done.eq(self._late("valid", WRITE) & self._late("ends", WRITE))
        m.d.sync += [self.pending.eq(self.done & c.wide), high_byte.eq(self.wide[8:])]
        m.d.sync += high.eq(address + c.register["HIOFF"]["address"])
        low, one = Mux(c.wide, self.wide[:8], self.lanes[0].result), self.done & (c.wide | (c.to == To.BYTE))
        steps, level = self._late("steps", WRITE), self._late("level", WRITE)
        if p.learn:
            low = Mux(c.emit, self.scores.error, low)
        if (unit := self.control.softmax) is not None:
            low, one = Mux(unit.active, unit.error, low), one | unit.write
            steps, level = steps | unit.write, Mux(unit.active, self.loops.level, level)
        m.d.comb += [
            self.loops.written.eq(steps),
            c.written_level.eq(level),
            memories.single.eq(self.pending | one),
            memories.vector.eq(self.done & ~c.wide & (c.to != To.BYTE)),
            memories.to_w.eq(c.to == To.WEIGHTS),
            memories.address.eq(Mux(self.pending, high, address)),
            memories.byte_data.eq(Mux(self.pending, high_byte, low)),
            *(memories.data.word_select(i, 8).eq(lane.result) for i, lane in enumerate(self.lanes)),
        ]

    def _scores(self, m: Module) -> None:
        c, scores = self.c, self.scores
        m.submodules.scores = scores
        m.d.comb += [
            scores.clear.eq(self.control.start),
            scores.begin.eq(self.control.nest),
            scores.take.eq(self.done & c.score),
            scores.score.eq(self.wide[:SCORE_BITS].as_signed()),
        ]
        counted = self.done & c.emit if self.p.learn else None
        if (unit := self.control.softmax) is not None:
            m.d.comb += [unit.best.eq(scores.best), unit.hit.eq(scores.hit)]
            counted = counted | unit.write
        if self.p.learn:
            m.d.comb += [
                scores.count.eq(counted),
                scores.apart.eq(c.exclude),
                scores.margin.eq(c.register["MARGIN"]["value"]),
                scores.latch.eq(self.control.latch),
                scores.slot.eq(c.instruction("TRIG", "slot")),
            ]

    def _random(self, m: Module) -> None:
        c, control, random, at = self.c, self.control, self.random, self.issue.at
        m.submodules.random = random
        m.d.comb += [self.steering.round_word.eq(random.round_word), random.wide.eq(c.wide)]
        for lane, word in zip(self.lanes, random.lanes):
            m.d.comb += lane.lane_word.eq(word)
        if self.p.learn:
            m.d.comb += [
                random.update.eq(c.update),
                random.clear.eq(~c.words),
                random.load.eq(control.load),
                random.fresh.eq(control.fresh),
                random.restart.eq(control.load),
                random.save.eq(control.save),
                random.shift.eq(control.shift),
                random.bits[0].eq(c.instruction("SHIFT", "lanes")),
                random.bits[1].eq(c.instruction("SHIFT", "scalars")),
                random.draw.eq(at("valid", SUM - 1) & at("opens", SUM - 1) & c.update),
            ]


def any_of(flags: list[Signal]) -> Signal:
    """Is one of them set?"""
    found = flags[0]
    for flag in flags[1:]:
        found = found | flag
    return found


def with_sign(byte: Signal, signed_: Signal) -> Signal:
    """A byte in 9 bits, with its sign or without."""
    return Cat(byte, byte[7] & signed_).as_signed()
