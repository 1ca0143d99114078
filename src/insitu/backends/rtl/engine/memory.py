"""The two data memories and the instruction memory: one read port each, one write bus for the engine and the host.

A holds bytes (samples, activations, errors, scores, bias planes), a word of P of them at a time, each byte written by
itself; W holds weights, P a word. What is read is registered once more: a block RAM's own clock-to-output is half a
cycle at 75 MHz.
"""

from __future__ import annotations

from amaranth import Cat, Elaboratable, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib.memory import Memory, WritePort

from insitu.backends.engine.isa import WORD_BITS
from insitu.backends.rtl.parameters import Parameters


class Memories(Elaboratable):
    """Memories, host port and write bus.

    Attributes:
        busy: in: the engine has the read ports; else the host.
        a_address, w_address, i_address: in: a byte of A, words of W and of instructions.
        fetch: in: the instruction memory and its register go on.
        a, w: out: words read two cycles ago, 8 P bits; ``w`` with its elements as bytes.
        instruction: out.
        vector, single, to_w: in: write a vector; write a byte of A; the vector goes to W.
        address, data, byte_data: in: of what is written.
        host_write, host_select (0 A, 1 W, 2 instructions, 3 the table), host_address, host_data: in: the host's port.
        host_read: out: the word of A or W at ``host_address``, two cycles later.
    """

    def __init__(self, p: Parameters) -> None:
        self.p = p
        wide = 8 * p.lanes
        self.busy, self.fetch = Signal(), Signal()
        self.a_address, self.w_address = Signal(p.address_bits), Signal(p.address_bits)
        self.i_address = Signal(range(p.code_words))
        self.a, self.w = Signal(wide, reset_less=True), Signal(wide)
        self.instruction = Signal(WORD_BITS, reset_less=True)
        self.vector, self.single, self.to_w = Signal(), Signal(), Signal()
        self.address, self.data, self.byte_data = Signal(p.address_bits), Signal(wide), Signal(8)
        self.host_write, self.host_select = Signal(), Signal(2)
        self.host_address = Signal(p.address_bits)
        self.host_data, self.host_read = Signal(max(wide, WORD_BITS)), Signal(wide)

    def elaborate(self, _platform: object) -> Module:
        m, p = Module(), self.p
        read_w = Signal(p.weight_bits * p.lanes, reset_less=True)
        m.submodules.a = a = Memory(shape=8 * p.lanes, depth=p.a_words, init=[])
        m.submodules.w = w = Memory(shape=p.weight_bits * p.lanes, depth=p.w_words, init=[])
        m.submodules.i = i = Memory(shape=WORD_BITS, depth=p.code_words, init=[])
        ports = a.read_port(), w.read_port(), i.read_port()
        inner = self.a_address[p.number_bits :], self.w_address
        for port, address, kept in zip(ports, inner, (self.a, read_w)):
            m.d.comb += [port.addr.eq(Mux(self.busy, address, self.host_address)), port.en.eq(1)]
            m.d.sync += kept.eq(port.data)
        m.d.comb += [ports[2].addr.eq(self.i_address), ports[2].en.eq(self.fetch)]
        with m.If(self.fetch):
            m.d.sync += self.instruction.eq(ports[2].data)
        m.d.comb += self.w.eq(widened(read_w, p))
        m.d.comb += self.host_read.eq(Mux(self.host_select[0], self.w, self.a))
        self._writes(m, a.write_port(granularity=8), w.write_port(), i.write_port())
        return m

    def _writes(self, m: Module, a: WritePort, w: WritePort, i: WritePort) -> None:
        p, of_host = self.p, self.host_write
        bus, word = Signal(8 * p.lanes), Signal(p.address_bits)
        to_w = self.to_w if p.learn else 0
        mine = [of_host & (self.host_select == which) for which in range(3)]
        own = Mux(self.single, self.byte_data.replicate(p.lanes), self.data)
        own_word = Mux(to_w, self.address, self.address[p.number_bits :])
        m.d.comb += [
            bus.eq(Mux(of_host, self.host_data[: 8 * p.lanes], own)),
            word.eq(Mux(of_host, self.host_address, own_word)),
            *(port.addr.eq(word) for port in (a, w)),
            a.data.eq(bus),
            w.data.eq(narrowed(bus, p)),
            w.en.eq(mine[1] | (self.vector & to_w)),
            i.addr.eq(self.host_address),
            i.data.eq(self.host_data[:WORD_BITS]),
            i.en.eq(mine[2]),
        ]
        for lane in range(p.lanes):
            here = self.address[: p.number_bits] == lane
            m.d.comb += a.en[lane].eq(mine[0] | (self.vector & ~to_w) | (self.single & here))


def widened(word: Value, p: Parameters) -> Value:
    """The elements of a word of W as bytes, with their signs."""
    if p.weight_bits == 8:
        return word
    parts = (word[p.weight_bits * lane :][: p.weight_bits] for lane in range(p.lanes))
    return Cat(*(Cat(part, part[-1].replicate(8 - p.weight_bits)) for part in parts))


def narrowed(word: Value, p: Parameters) -> Value:
    """The low bits of the bytes of a vector, as a word of W."""
    return Cat(*(word[8 * lane :][: p.weight_bits] for lane in range(p.lanes)))
