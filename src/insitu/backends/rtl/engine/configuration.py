"""Configuration registers: an instruction names one and gives it 30 bits; registers keep their value.

Everything follows the tables of :mod:`insitu.backends.engine.isa`.
"""

from __future__ import annotations

from amaranth import Elaboratable, Module, Signal, signed
from amaranth.hdl import Value
from amaranth.lib.memory import Memory

from insitu.backends.engine import isa
from insitu.backends.engine.isa import BY_NAME, DATA_BITS, LEVELS, WORD_BITS
from insitu.backends.rtl.parameters import Parameters

SINGLE = ("CTL", "CTL2", "SH", "K0", "K1", "LIM", "BX", "BW", "BP", "BD", "BYX", "MARGIN", "HIOFF")
"""Registers that are flip-flops, beside the bounds of loops; the steps of loops lie in LUT RAM."""
FLAGS = ("CTL", "CTL2")
BANK = 3
"""Bits of a register's code that number its levels."""


class Configuration(Elaboratable):
    """What a nest is: flags, constants, start addresses, bounds and steps.

    Attributes:
        word, enable: in: an instruction, and whether it is carried out in this cycle.
        level: in: the level that advances now; ``written_level``: the level that the result address follows.
        register: out: fields by name of their register and their own.
        bound: out: count less 1 of each level, 10 bits.
        step: out: by how much x, w, p, d and the position (row, column) move at that level.
    """

    def __init__(self, p: Parameters) -> None:
        self.p = p
        self.word, self.enable = Signal(WORD_BITS), Signal()
        self.level, self.written_level = Signal(3), Signal(3)
        self.register = {
            name: {f.name: self._field(name, f) for f in BY_NAME[name].fields} for name in SINGLE
        }
        self.bound = [Signal(10, name=f"bound{i}", reset_less=True) for i in range(LEVELS)]
        self.step = {s: Signal(p.address_bits, name=f"step_{s}") for s in "xwpd"}
        self.step |= {s: Signal(signed(8), name=f"step_{s}") for s in ("row", "column")}

    def _field(self, register: str, field: isa.Field) -> Signal:
        bits = self.p.address_bits if field.name == "address" else field.bits
        name = field.name if register in FLAGS else f"{register.lower()}_{field.name}"
        return Signal(signed(bits) if field.signed else bits, name=name, reset_less=register not in FLAGS)

    def __getattr__(self, name: str) -> Signal:
        """Flags of a nest, by name."""
        for register in FLAGS:
            if name in self.__dict__.get("register", {}).get(register, {}):
                found: Signal = self.register[register][name]
                return found
        raise AttributeError(name)

    @property
    def code(self) -> Value:
        return self.word[DATA_BITS:]

    @property
    def data(self) -> Value:
        return self.word[:DATA_BITS]

    def instruction(self, name: str, field: str) -> Value:
        """A field of the instruction that is carried out now."""
        (found,) = (f for f in BY_NAME[name].fields if f.name == field)
        return self.data[found.at : found.at + found.bits]

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        for name, targets in self.register.items():
            with m.If(self.enable & (self.code == BY_NAME[name].code)):
                m.d.sync += [target.eq(self.instruction(name, field)) for field, target in targets.items()]
        first = BY_NAME["BOUND"].code
        for level, bound in enumerate(self.bound):
            with m.If(self.enable & (self.code == first + level)):
                m.d.sync += bound.eq(self.instruction("BOUND", "count"))
        streams = [("DXW", "x", "x"), ("DXW", "w", "w"), ("DPD", "p", "p"), ("DPD", "d", "d")]
        places = [("BOUND", "y", "row"), ("BOUND", "x", "column")] if self.p.pad else []
        for register, field, stream in streams + places:
            self._steps(m, register, field, stream)
        return m

    def _steps(self, m: Module, register: str, field: str, stream: str) -> None:
        """The steps of a stream in a small memory (LUT RAM), which the registers of all levels write."""
        step = self.step[stream]
        m.submodules[f"steps_{stream}"] = memory = Memory(shape=len(step), depth=1 << BANK, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(self.code[:BANK]),
            write.data.eq(self.instruction(register, field)),
            write.en.eq(self.enable & (self.code[BANK:] == BY_NAME[register].code >> BANK)),
            read.addr.eq(self.written_level if stream == "d" else self.level),
            step.eq(read.data),
        ]
