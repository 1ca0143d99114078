"""The engine behind an AXI4-Lite port: registers and memories as :mod:`insitu.backends.engine.bus` maps them.

One access at a time, of 32 bits with all byte lanes. A word of a memory is written with its last part, so that a host
writes parts in ascending order. An access that the map has not, and of memories or registers while a program runs, is
answered SLVERR; identity, status and interrupt are answered always.
"""

from __future__ import annotations

from collections.abc import Iterator

from amaranth import Cat, Const, Elaboratable, Module, Signal
from amaranth.hdl import Value

from insitu.backends.engine import bus, isa
from insitu.backends.engine.trace import MEMORIES
from insitu.backends.rtl.board import READ_CYCLES
from insitu.backends.rtl.engine.top import Engine
from insitu.backends.rtl.parameters import Parameters

ADDRESS_BITS = (bus.SIZE - 1).bit_length()
OKAY, SLVERR = 0, 2
PART = 4
"""Bytes of an access."""
WRITTEN = ("CTRL", "IRQ", "LABEL", "ENTRY")
ALWAYS = ("ID", "VERSION", "LANES", "STATUS", "IRQ")
"""Registers that are written; registers that are there while a program runs."""


class Axi(Elaboratable):
    """AXI4-Lite signals by their names without a prefix, and ``irq``; beside clock and reset."""

    def __init__(self, p: Parameters) -> None:
        self.p = p
        self.engine = Engine(p)
        self.awvalid, self.awready, self.awaddr = Signal(), Signal(), Signal(ADDRESS_BITS)
        self.wvalid, self.wready, self.wdata, self.wstrb = Signal(), Signal(), Signal(32), Signal(PART)
        self.bvalid, self.bready, self.bresp = Signal(), Signal(), Signal(2)
        self.arvalid, self.arready, self.araddr = Signal(), Signal(), Signal(ADDRESS_BITS)
        self.rvalid, self.rready, self.rdata, self.rresp = Signal(), Signal(), Signal(32), Signal(2)
        self.irq = Signal()
        self.address, self.data = Signal(ADDRESS_BITS, reset_less=True), Signal(32, reset_less=True)
        self.parts = Signal(8 * max(p.lanes, 8), reset_less=True)
        self.values = {name: Signal(32) for name in ("LABEL", "ENTRY", "CYCLES")}
        self.pending, self.enabled = Signal(), Signal()
        self.running, self.starting = Signal(), Signal()
        self.in_memory, self.last, self.second = Signal(), Signal(), Signal()
        self.part = Signal(range(max(p.lanes // PART, 2)))
        self.wait = Signal(range(READ_CYCLES + 1), reset_less=True)

    def ports(self) -> dict[str, Signal]:
        """By name."""
        write = (
            "awvalid",
            "awready",
            "awaddr",
            "wvalid",
            "wready",
            "wdata",
            "wstrb",
            "bvalid",
            "bready",
            "bresp",
        )
        read = ("arvalid", "arready", "araddr", "rvalid", "rready", "rdata", "rresp", "irq")
        return {name: getattr(self, name) for name in (*write, *read)}

    # --- the map --------------------------------------------------------------------------------------------

    def registers(self) -> Iterator[tuple[bus.Register, Value]]:
        """Those of the hardware, and what is read of them."""
        scores = self.engine.scores
        states = self.engine.random.states if self.p.learn else [Const(0, 32)] * 2
        values = {
            "ID": Const(bus.IDENTITY, 32),
            "VERSION": Const(bus.VERSION, 32),
            "LANES": Const(self.p.lanes, 32),
            "CTRL": Const(0, 32),
            "STATUS": self.running,
            "IRQ": Cat(self.pending, self.enabled),
            "CLASS": scores.best_class,
            "FLAGS": scores.fired,
            "RANDOM_LANES": states[0],
            "RANDOM_SCALARS": states[1],
        } | self.values
        return ((r, values[r.name]) for r in bus.REGISTERS if r.hardware)

    def windows(self) -> Iterator[tuple[str, int, int]]:
        """Of each memory: its name, its words, and parts of a word."""
        p = self.p
        yield "a", p.a_words, p.lanes // PART
        yield "w", p.w_words, p.lanes // PART
        yield "code", p.code_words, 2
        if p.softmax:
            yield "table", isa.TABLE // 2, 1  # two entries a part

    # --- the port -------------------------------------------------------------------------------------------

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.engine = engine = self.engine
        m.d.comb += [
            self.irq.eq(self.pending & self.enabled),
            engine.control.entry.eq(self.values["ENTRY"]),
            engine.scores.label.eq(self.values["LABEL"]),
            engine.memories.host_data.eq(self.parts),
        ]
        with m.If(self.running):
            m.d.sync += self.values["CYCLES"].eq(self.values["CYCLES"] + 1)
        with m.If(self.running & ~self.starting & ~engine.control.busy):
            m.d.sync += [
                self.running.eq(0),
                self.pending.eq(1),
                self.values["CYCLES"].eq(self.values["CYCLES"]),
            ]
        m.d.comb += engine.control.start.eq(self.starting)
        m.d.sync += self.starting.eq(0)
        self._place(m)
        with m.FSM(name="port"):
            self._idle(m)
            self._write(m)
            self._read(m)
            self._answers(m)
        return m

    def _place(self, m: Module) -> None:
        """Where the address is in the memories."""
        memories, at = self.engine.memories, self.address
        for name, words, parts in self.windows():
            first, size, _ = bus.WINDOWS[name.upper()]
            bits = (parts - 1).bit_length()
            word = at[2 + bits : (size - 1).bit_length()]
            with m.If((at >= first) & (at < first + min(size, words * parts * PART))):
                m.d.comb += [self.in_memory.eq(1), memories.host_select.eq(MEMORIES[name])]
                m.d.comb += [self.part.eq(at[2:][:bits]), self.last.eq(at[2:][:bits] == parts - 1)]
                m.d.comb += memories.host_address.eq(Cat(self.second, word) if name == "table" else word)

    def _idle(self, m: Module) -> None:
        with m.State("IDLE"):
            with m.If(self.awvalid & self.wvalid):
                m.d.comb += [self.awready.eq(1), self.wready.eq(1)]
                m.d.sync += [self.address.eq(self.awaddr), self.data.eq(self.wdata), self.second.eq(0)]
                m.d.sync += self.bresp.eq(SLVERR)
                m.next = "WRITTEN"
                with m.If((self.wstrb == (1 << PART) - 1) & (self.awaddr[:2] == 0)):
                    m.next = "WRITE"
            with m.Elif(self.arvalid):
                m.d.comb += self.arready.eq(1)
                m.d.sync += [self.address.eq(self.araddr), self.wait.eq(READ_CYCLES)]
                m.next = "READ"

    def _write(self, m: Module) -> None:
        memories = self.engine.memories
        with m.State("WRITE"):
            m.next = "WRITTEN"
            for register, _ in self.registers():
                if register.name in WRITTEN:
                    with m.If((self.address == register.address) & self._free(register.name)):
                        self._set(m, register.name)
            with m.If(self.in_memory & ~self.running):
                m.d.sync += [self.bresp.eq(OKAY), self.parts.word_select(self.part, 32).eq(self.data)]
                with m.If(self.last):
                    m.next = "STORE"
        with m.State("STORE"):
            m.d.comb += memories.host_write.eq(1)
            m.next = "WRITTEN"
            with m.If((memories.host_select == MEMORIES["table"]) & ~self.second):
                m.d.sync += [self.second.eq(1), self.parts.eq(self.parts >> 16)]
                m.next = "STORE"

    def _free(self, name: str) -> Value:
        return Const(1) if name in ALWAYS else ~self.running

    def _set(self, m: Module, name: str) -> None:
        """Writes a register."""
        m.d.sync += self.bresp.eq(OKAY)
        if name == "IRQ":
            m.d.sync += [self.pending.eq(self.pending & ~self.data[0]), self.enabled.eq(self.data[1])]
        elif name == "CTRL":
            with m.If(self.data == bus.COMMANDS["RUN"][0]):
                m.d.sync += [self.running.eq(1), self.starting.eq(1), self.values["CYCLES"].eq(0)]
            with m.Else():
                m.d.sync += self.bresp.eq(SLVERR)
        else:
            m.d.sync += self.values[name].eq(self.data)

    def _read(self, m: Module) -> None:
        memories = self.engine.memories
        with m.State("READ"):
            m.d.sync += self.wait.eq(self.wait - 1)
            with m.If(self.wait == 0):
                m.d.sync += [self.rresp.eq(SLVERR), self.rdata.eq(0)]
                for register, value in self.registers():
                    with m.If((self.address == register.address) & self._free(register.name)):
                        m.d.sync += [self.rresp.eq(OKAY), self.rdata.eq(value)]
                with m.If(
                    self.in_memory & ~self.running & ~memories.host_select[1] & (self.address[:2] == 0)
                ):
                    m.d.sync += [
                        self.rresp.eq(OKAY),
                        self.rdata.eq(memories.host_read.word_select(self.part, 32)),
                    ]
                m.next = "GIVEN"

    def _answers(self, m: Module) -> None:
        with m.State("WRITTEN"):
            m.d.comb += self.bvalid.eq(1)
            with m.If(self.bready):
                m.next = "IDLE"
        with m.State("GIVEN"):
            m.d.comb += self.rvalid.eq(1)
            with m.If(self.rready):
                m.next = "IDLE"
