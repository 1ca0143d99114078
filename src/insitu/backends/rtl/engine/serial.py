"""What lane 0 adds in nests with a dot product or a wide result: the tree over all products, and the one shifter."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth import Elaboratable, Module, Mux, Signal, signed
from amaranth.hdl import Value

from insitu.backends.rtl.engine.arithmetic import shifted
from insitu.backends.rtl.parameters import Parameters

DOT_BITS = 18
"""Of a product of two bytes, with a sign."""


class SerialPath(Elaboratable):
    """Two stages between a product and lane 0's sum.

    Attributes:
        products: of all lanes, at stage 5; those of a dot product fit into ``DOT_BITS``.
        whole: in, at 5: the sum of all products counts; else lane 0's product.
        none: in, at 5: nothing counts.
        amount: in: how far what counts is shifted left, 0 to 31.
        addend: out, at 7: :attr:`Build.wide_bits` signed.
    """

    def __init__(self, p: Parameters, products: Sequence[Signal]) -> None:
        self.p, self.products = p, products
        self.whole, self.none, self.amount = Signal(), Signal(), Signal(5)
        self.addend = Signal(signed(p.wide_bits), reset_less=True)

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        taken = Signal(signed(2 * self.p.operand_bits), reset_less=True)
        m.d.sync += taken.eq(
            Mux(self.whole, self._tree(m), self.products[0]) if self.p.dot else self.products[0]
        )
        with m.If(self.none):
            m.d.sync += taken.eq(0)
        m.d.sync += self.addend.eq(shifted(taken, self.amount, self.p.wide_bits))
        return m

    def _tree(self, m: Module) -> Value:
        """The sum of all products, adder by adder: kept apart, each is a carry chain, not a compressor of LUTs."""
        level: list[Value] = [product[:DOT_BITS].as_signed() for product in self.products]
        while len(level) > 1:
            pairs, level = zip(level[::2], level[1::2]), []
            for left, right in pairs:
                total = Signal.like(left + right, name="pair", attrs={"keep": 1})
                m.d.comb += total.eq(left + right)
                level.append(total)
        return level[0]
