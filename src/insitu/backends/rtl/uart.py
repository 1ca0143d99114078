"""A serial line: 8 bits, no parity, a stop bit, the lowest bit first."""

from __future__ import annotations

from amaranth import Cat, Const, Elaboratable, Module, Signal

FRAME_BITS = 10
"""Start bit, 8 bits, stop bit."""


class Receiver(Elaboratable):
    """Bytes of a line.

    Attributes:
        line: in; ``byte``: out, valid in the cycle in which ``ready`` is set.
    """

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor
        self.line, self.byte, self.ready = Signal(init=1), Signal(8), Signal()

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        first, line = Signal(init=1), Signal(init=1)  # two registers: the line has another clock
        m.d.sync += [first.eq(self.line), line.eq(first), self.ready.eq(0)]
        wait, left = Signal(range(2 * self.divisor)), Signal(range(FRAME_BITS))
        with m.If(left == 0):
            m.d.sync += wait.eq(self.divisor + self.divisor // 2 - 2)
            with m.If(~line):
                m.d.sync += left.eq(FRAME_BITS - 1)
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.Else():
            m.d.sync += [wait.eq(self.divisor - 1), left.eq(left - 1)]
            with m.If(left == 1):
                m.d.sync += self.ready.eq(line)
            with m.Else():
                m.d.sync += self.byte.eq(Cat(self.byte[1:], line))
        return m


class Transmitter(Elaboratable):
    """A line of bytes.

    Attributes:
        line: out; ``byte``, ``send``: in, where ``idle`` is set.
    """

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor
        self.line, self.byte, self.send, self.idle = Signal(init=1), Signal(8), Signal(), Signal()

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        frame = Signal(FRAME_BITS, init=(1 << FRAME_BITS) - 1)
        wait, left = Signal(range(self.divisor)), Signal(range(FRAME_BITS + 1))
        m.d.comb += [self.line.eq(frame[0]), self.idle.eq(left == 0)]
        with m.If(self.idle & self.send):
            m.d.sync += [frame.eq(Cat(Const(0, 1), self.byte, Const(1, 1))), left.eq(FRAME_BITS)]
            m.d.sync += wait.eq(self.divisor - 1)
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.Elif(~self.idle):
            m.d.sync += [wait.eq(self.divisor - 1), left.eq(left - 1), frame.eq(Cat(frame[1:], Const(1, 1)))]
        return m
