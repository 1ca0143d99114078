"""A lane: two operands, their product, a sum, and a saturated byte."""

from __future__ import annotations

from amaranth import Cat, Elaboratable, Module, Mux, Signal, signed
from amaranth.hdl import Value

from insitu.backends.engine.build import BYTE_BITS
from insitu.backends.rtl.engine.arithmetic import begin, sliced, sliced_to
from insitu.backends.rtl.parameters import Parameters


class Steering:
    """What all lanes are told, each in the cycle in which an issue is at that stage.

    Attributes:
        scalar: as wide as an operand, signed, at stage 3.
        take_v, vector, constant, high, sign_a, sign_b: at 3: a is V (dot product); b is V; lane 0's b is 1 or 256; b is
            times 2**``p.high``; V has a sign as a; as b.
        matching, index: at 3: a mask is where V's low bits are the index; else where its bytes are not 0.
        pooling, opens, window: at 4: V takes part in a maximum; it is the first; its index in the window.
        round_word: S bits that sums begin with, at 5.
        set_mask: at 5: the mask counts from the next issue on.
        pool, position, update, masked, signed, to_w: flags of the nest.
    """

    def __init__(self, p: Parameters) -> None:
        self.scalar = Signal(signed(p.operand_bits))
        self.take_v, self.vector, self.constant, self.high = Signal(), Signal(), Signal(), Signal()
        self.big = Signal()
        self.sign_a, self.sign_b = Signal(), Signal()
        self.matching, self.index = Signal(), Signal(2)
        self.pooling, self.opens, self.window = Signal(), Signal(), Signal(2)
        self.round_word = Signal(p.fraction)
        self.set_mask = Signal()
        self.pool, self.position, self.update = Signal(), Signal(), Signal()
        self.masked, self.signed, self.to_w = Signal(), Signal(), Signal()


class Lane(Elaboratable):
    """One of P lanes; the first one has a wider sum and may take what the serial path makes.

    Attributes:
        v, w: in: bytes of V and of the weight word, at stage 3.
        old: in: the weight before its update, at 5; 0xFF in other nests.
        lane_word: in: the lane's random word, S bits; 0 in other nests.
        accumulate, opens: in: a product is added to the sum; it is the sum's first.
        addend: in, first lane: what is added in nests with a serial path.
        product: out, two operands wide, signed, at 5.
        total: out: the sum, at 6.
        result: out: 8 bits, at 7.
    """

    def __init__(self, p: Parameters, steering: Steering, number: int, serial: Signal | None = None) -> None:
        self.p, self.s, self.number, self.serial = p, steering, number, serial
        self.v, self.w, self.old = Signal(8), Signal(8), Signal(8)
        self.lane_word = Signal(p.fraction)
        self.accumulate, self.opens = Signal(), Signal()
        width = p.lane_bits if number else p.wide_bits
        self.addend = Signal(signed(width))
        self.product = Signal(signed(2 * p.operand_bits), reset_less=True)
        self.total = Signal(signed(width), reset_less=True)
        self.result = Signal(8, reset_less=True)

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        a, b = self._operands(m)
        m.d.sync += self.product.eq(a * b)
        self._sum(m)
        m.d.sync += self.result.eq(self._pooled(m, b, self._byte()))
        if self.p.learn:
            self._mask(m)
        return m

    def _operands(self, m: Module) -> tuple[Value, Value]:
        """Both operands of the multiplier, signed, at stage 4."""
        s, v, w, up = self.s, self.v, self.w, self.p.high
        a = Signal(signed(self.p.operand_bits), reset_less=True)
        as_a = Cat(v, v[7] & s.sign_a).as_signed()
        m.d.sync += a.eq(Mux(s.take_v, as_a, s.scalar) if self.p.dot else s.scalar)
        byte, fill = Signal(BYTE_BITS), Signal()
        m.d.comb += [byte.eq(Mux(s.vector, Cat(v, v[7] & s.sign_b), Cat(w, w[7]))), fill.eq(byte[-1])]
        if not self.number:
            with m.If(s.constant):
                m.d.comb += [byte.eq(Mux(s.big, 256, 1)), fill.eq(0)]
        low, high = Signal(up, reset_less=True), Signal(BYTE_BITS, reset_less=True)
        m.d.sync += high.eq(Mux(s.high, byte, Cat(byte[up:], fill.replicate(up))))
        with m.If(s.high):
            m.d.sync += low.eq(0)
        with m.Else():
            m.d.sync += low.eq(byte[:up])
        return a, Cat(low, high).as_signed()

    def _sum(self, m: Module) -> None:
        if self.p.learn:
            first = begin(self.old, self.lane_word, self.s.round_word)
        else:
            first = self.s.round_word.as_unsigned()
        addend = self.product if self.serial is None else Mux(self.serial, self.addend, self.product)
        with m.If(self.accumulate):
            m.d.sync += self.total.eq(Mux(self.opens, first, self.total) + addend)

    def _byte(self) -> Value:
        """The slice of the sum, saturated; to the bits of a weight where it goes to W. 0 in nests that pool."""
        p, s = self.p, self.s
        if p.weight_bits == 8:
            return sliced(self.total, p.fraction, s.signed, s.update, s.pool)
        return sliced_to(p.weight_bits, self.total, p.fraction, s.signed, s.update, s.to_w, s.pool)

    def _pooled(self, m: Module, b: Value, value: Value) -> Value:
        """The result, or the largest of a window, or where that lay."""
        if not self.p.pool:
            return value
        s, top, late = self.s, Signal(signed(BYTE_BITS), reset_less=True), Signal(8, reset_less=True)
        larger = s.pooling & (s.opens | (b[:BYTE_BITS].as_signed() > top))
        with m.If(larger):
            m.d.sync += top.eq(b[:BYTE_BITS].as_signed())
        found = top[:8]
        if self.p.has_positions:
            place = Signal(2, reset_less=True)
            with m.If(larger):
                m.d.sync += place.eq(s.window)
            found = Mux(s.position, place, found)
        m.d.sync += late.eq(found)
        with m.If(~s.pool):
            m.d.sync += late.eq(0)
        return value | late

    def _mask(self, m: Module) -> None:
        """Results are 0 where V, when it was a mask, was 0."""
        s, found, later, mask = self.s, Signal(), Signal(), Signal(reset_less=True)
        some = self.v.any()
        if self.p.has_positions:
            some = Mux(s.matching, self.v[:2] == s.index, some)
        m.d.sync += [found.eq(some), later.eq(found)]
        with m.If(s.set_mask):
            m.d.sync += mask.eq(later)
        with m.If(s.masked & ~mask):
            m.d.sync += self.result.eq(0)
