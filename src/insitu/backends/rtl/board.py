"""The engine behind a serial line, for a board: four commands (``runtime/README.md``)."""

from __future__ import annotations

from amaranth import Cat, Const, Elaboratable, Module, Signal

from insitu.backends.rtl.engine.top import Engine
from insitu.backends.rtl.parameters import Parameters
from insitu.backends.rtl.uart import Receiver, Transmitter

DIVISOR = 25
"""Clocks of a bit: 1,000,000 baud at 25 MHz."""
ARGUMENTS = 3
"""Bytes behind a command: memory and word address, or entry and label."""
READ_CYCLES = 3
"""Until the host port has what is at an address."""
COMMANDS = {"write": ord("W"), "read": ord("R"), "run": ord("X"), "states": ord("S")}


class Board(Elaboratable):
    """Ports ``rx``, ``tx`` and ``leds`` (busy, then the class), beside clock and reset.

    Args:
        divisor: clocks of a bit of the line.
    """

    def __init__(self, p: Parameters, divisor: int = DIVISOR) -> None:
        self.p = p
        self.engine = Engine(p)
        self.receiver, self.transmitter = Receiver(divisor), Transmitter(divisor)
        self.rx, self.tx, self.leds = Signal(init=1), Signal(init=1), Signal(8)
        self.host_bytes = -(-len(self.engine.memories.host_data) // 8)
        self.word = Signal(8 * max(self.host_bytes, 8), reset_less=True)
        self.arguments = Signal(8 * ARGUMENTS, reset_less=True)
        self.left = Signal(range(max(self.host_bytes, 8) + 1))
        self.cycles = Signal(32, reset_less=True)

    def ports(self) -> dict[str, Signal]:
        """By name."""
        return {"rx": self.rx, "tx": self.tx, "leds": self.leds}

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        engine, memories = self.engine, self.engine.memories
        m.submodules.engine, m.submodules.receiver = engine, self.receiver
        m.submodules.transmitter = self.transmitter
        busy = engine.control.busy
        m.d.comb += [
            self.receiver.line.eq(self.rx),
            self.tx.eq(self.transmitter.line),
            self.leds.eq(Cat(busy, engine.scores.best_class)),
            memories.host_select.eq(self.arguments[:2]),
            memories.host_address.eq(self.arguments[8:]),
            memories.host_data.eq(self.word),
            engine.control.entry.eq(self.arguments[:16]),
            engine.scores.label.eq(self.arguments[16:]),
        ]
        with m.If(busy):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        with m.FSM(name="line"):
            self._commands(m)
            self._writes_and_reads(m)
            self._runs(m)
            self._answers(m)
        return m

    def _commands(self, m: Module) -> None:
        command = Signal(8, reset_less=True)
        byte, ready = self.receiver.byte, self.receiver.ready
        with m.State("COMMAND"), m.If(ready):
            m.d.sync += [command.eq(byte), self.left.eq(ARGUMENTS)]
            m.next = "ARGUMENTS"
            with m.If(byte == COMMANDS["states"]):
                m.next = "STATES"
        with m.State("ARGUMENTS"), m.If(ready):
            m.d.sync += [self.arguments.eq(Cat(self.arguments[8:], byte)), self.left.eq(self.left - 1)]
            with m.If(self.left == 1):
                m.next = "COMMAND"  # an unknown one is passed over
                with m.If(command == COMMANDS["write"]):
                    m.d.sync += self.left.eq(self.host_bytes)
                    m.next = "DATA"
                with m.Elif(command == COMMANDS["read"]):
                    m.d.sync += self.left.eq(READ_CYCLES)
                    m.next = "READ"
                with m.Elif(command == COMMANDS["run"]):
                    m.next = "START"

    def _writes_and_reads(self, m: Module) -> None:
        memories, bits = self.engine.memories, 8 * self.host_bytes
        with m.State("DATA"), m.If(self.receiver.ready):
            m.d.sync += self.word.eq(Cat(self.word[8:bits], self.receiver.byte))
            m.d.sync += self.left.eq(self.left - 1)
            with m.If(self.left == 1):
                m.next = "WRITE"
        with m.State("WRITE"):
            m.d.comb += memories.host_write.eq(1)
            m.next = "COMMAND"
        with m.State("READ"):
            m.d.sync += self.left.eq(self.left - 1)
            with m.If(self.left == 0):
                m.d.sync += [self.word.eq(memories.host_read), self.left.eq(self.p.lanes)]
                m.next = "ANSWER"

    def _runs(self, m: Module) -> None:
        control, scores = self.engine.control, self.engine.scores
        with m.State("START"):
            m.d.comb += control.start.eq(1)
            m.d.sync += self.cycles.eq(1)
            m.next = "RUN"
        with m.State("RUN"), m.If(~control.busy):
            answer = Cat(self.cycles, scores.best_class, Const(0, 4), scores.fired)
            m.d.sync += [self.word.eq(answer), self.left.eq(6)]
            m.next = "ANSWER"
        with m.State("STATES"):
            m.d.sync += [self.word.eq(Cat(*self.engine.random.states)), self.left.eq(8)]
            m.next = "ANSWER"

    def _answers(self, m: Module) -> None:
        line = self.transmitter
        m.d.comb += line.byte.eq(self.word[:8])
        with m.State("ANSWER"), m.If(line.idle):
            m.next = "COMMAND"
            with m.If(self.left != 0):
                m.d.comb += line.send.eq(1)
                m.d.sync += [self.word.eq(self.word >> 8), self.left.eq(self.left - 1)]
                m.next = "ANSWER"
