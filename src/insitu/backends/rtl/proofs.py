"""Proofs by SAT over all inputs: the engine's arithmetic against the formulas of :mod:`insitu.run.integer`.

Each claim is a circuit of the engine's own functions beside the reference's formula, with an output ``ok``; Yosys looks
for inputs that make it false. Each can be built with a mistake on the engine's side, which the search must find.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from amaranth import Const, Elaboratable, Module, Mux, Signal, signed
from amaranth.hdl import Value

from insitu.backends.engine.build import WIDE_FRACTION
from insitu.backends.rtl import tools
from insitu.backends.rtl.engine.arithmetic import begin, outside, sliced, sliced_to, wide_sliced
from insitu.backends.rtl.parameters import Parameters

P = Parameters()
S = P.fraction
NONE, PLAIN = Const(0, 1), Const(0xFF, 8)
"""A flag that is not set; the old weights of a forward sum."""


@dataclass(eq=False)
class Claim(Elaboratable):
    """``ok`` is 1 for all values of the inputs.

    Attributes:
        formula: makes ``ok``, of itself: it reads the inputs, and whether there is to be a mistake.
        mistake: the engine's side has one.
    """

    name: str
    formula: Callable[[Claim], Value]
    inputs: dict[str, Signal]
    mistake: bool = False
    ok: Signal = field(default_factory=Signal)
    module: Module = field(default_factory=Module)

    def __getattr__(self, name: str) -> Signal:
        if name in self.__dict__.get("inputs", {}):
            return self.inputs[name]
        raise AttributeError(name)

    def wire(self, value: Value, bits: int) -> Signal:
        """The value in so many bits, with sign."""
        wire = Signal(signed(bits))
        self.module.d.comb += wire.eq(value)
        return wire

    def elaborate(self, _platform: object) -> Module:
        self.module.d.comb += self.ok.eq(self.formula(self))
        return self.module


def clip(value: Value, low: int, high: int) -> Value:
    return Mux(value < low, low, Mux(value > high, high, value))


def fits(value: Value, bits: int) -> Value:
    return (value >= -(1 << bits - 1)) & (value < 1 << bits - 1)


def left(most: int, k: Value) -> Value:
    """most - k, which is 0 to 31."""
    return (most - k)[:5]


def dropped(c: Claim, x: Value, k: Value, addend: Value) -> Signal:
    """(x + addend) >> k: rounding as the reference writes it."""
    return c.wire(c.wire(x + addend, 36) >> k, 36)


# --- claims ------------------------------------------------------------------------------------------------------


def _requant(with_sign: int) -> Callable[[Claim], Value]:
    def formula(c: Claim) -> Value:
        first = begin(PLAIN, Const(0, S), Const((1 << S - 1) - c.mistake, S))
        product = c.wire(c.x << left(S, c.k), 60)
        total = c.wire(first + product, P.lane_bits)
        found = sliced(total, S, Const(with_sign, 1), NONE)
        low, high = (-128, 127) if with_sign else (0, 255)
        expected = clip(dropped(c, c.x, c.k, (1 << c.k) >> 1), low, high)
        return (
            (c.k > S)
            | ~fits(product, P.lane_bits - 1)
            | ((found.as_signed() if with_sign else found) == expected)
        )

    return formula


def _requant_wide(bits: int) -> Callable[[Claim], Value]:
    def formula(c: Claim) -> Value:
        product = c.wire(c.x << left(WIDE_FRACTION, c.k), 60)
        total = c.wire(product + (1 << WIDE_FRACTION - 1 - c.mistake), P.wide_bits)
        found = wide_sliced(total, WIDE_FRACTION, Const(bits == 16, 1), NONE)
        expected = clip(dropped(c, c.x, c.k, (1 << c.k) >> 1), -(1 << bits - 1), (1 << bits - 1) - 1)
        return (c.k > WIDE_FRACTION) | ~fits(product, P.wide_bits - 1) | (found == expected)

    return formula


def _update(bits: int) -> Callable[[Claim], Value]:
    def formula(c: Claim) -> Value:
        word = (c.rows ^ c.columns)[:S] if c.mistake else (c.rows ^ c.columns)[32 - S :]
        product = c.wire(c.g << left(S, c.k), 60)
        total = c.wire(begin(c.w, word, Const(0, S)) + product, P.lane_bits)
        whole = Const(1, 1)
        found = (
            sliced(total, S, whole, whole)
            if bits == 8
            else sliced_to(bits, total, S, whole, whole, whole)[:bits]
        )
        change = dropped(c, c.g, c.k, (c.rows ^ c.columns) >> (32 - c.k)[:6])
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        valid = (c.k <= S) & fits(c.w.as_signed(), bits) & fits(product, P.lane_bits - 1)
        return ~valid | (found.as_signed() == clip(c.w.as_signed() - change, low, high))

    return formula


def _update_bias(c: Claim) -> Value:
    """Shifts of -9 to 16: ``up`` is 16 - k."""
    low, high = ~c.w[:8], (c.w[8:] if c.mistake else ~c.w[8:]).as_signed()
    product = c.wire(c.g << c.up, 60)
    total = c.wire(c.word[16:] + ((low + (high << 8)) << WIDE_FRACTION) + product, P.wide_bits)
    found = wide_sliced(total, WIDE_FRACTION, Const(1, 1), Const(1, 1))
    k = c.wire(WIDE_FRACTION - c.up, 8)
    change = Mux(k >= 0, dropped(c, c.g, k[:5], c.word >> (32 - k[:5])[:6]), c.g << (-k)[:5])
    valid = (c.up <= WIDE_FRACTION + 9) & fits(product, P.wide_bits - 1)
    return ~valid | (found == clip(c.w.as_signed() - change, -(1 << 15), (1 << 15) - 1))


def _planes(c: Claim) -> Value:
    """A bias of two bytes is a sum of two products, and so is its inverse."""
    low, high = c.w[:8], c.w[8:] if c.mistake else c.w[8:].as_signed()
    inverse = (~low & 0xFF) + ((~c.w[8:])[:8].as_signed() << 8)
    return (low + (high << 8) == c.w.as_signed()) & (inverse == ~c.w.as_signed())


def _outside(c: Claim) -> Value:
    found = (c.y >= c.height) | (c.x >= c.width) if c.mistake else outside(c.y, c.x, c.height, c.width)
    return found == ((c.y < 0) | (c.y >= c.height) | (c.x < 0) | (c.x >= c.width))


def claims(mistake: bool = False) -> Iterable[Claim]:
    """All of them."""
    sums = {"x": signed(27), "k": 5}
    moved = {"rows": 32, "columns": 32, "g": signed(24), "k": 5, "w": 8}
    place = {"y": signed(10), "x": signed(10), "height": 9, "width": 9}
    table: dict[str, tuple[Callable[[Claim], Value], dict[str, object]]] = {
        "requantization to u8": (_requant(0), sums),
        "requantization to s8": (_requant(1), sums),
        "requantization to s12": (_requant_wide(12), sums),
        "requantization to s16": (_requant_wide(16), sums),
        "stochastic saturating update of s8": (_update(8), moved),
        "stochastic saturating update of s4": (_update(4), moved),
        "stochastic saturating update of a bias": (
            _update_bias,
            {"word": 32, "g": signed(20), "up": 5, "w": 16},
        ),
        "planes of a bias": (_planes, {"w": 16}),
        "a position outside the plane": (_outside, place),
    }
    for name, (formula, shapes) in table.items():
        yield Claim(name, formula, {n: Signal(shape, name=n) for n, shape in shapes.items()}, mistake)


def prove(claimed: Iterable[Claim]) -> dict[str, bool]:
    """By name: is there no input that makes the claim false?"""
    names, passes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for n, claim in enumerate(claimed):
            source = Path(folder) / f"{n}.il"
            source.write_text(tools.rtlil(claim, {**claim.inputs, "ok": claim.ok}, "claim"))
            passes += [
                "design -reset",
                f"read_rtlil {source}",
                "proc",
                "flatten",
                "opt -full",
                "sat -prove ok 1 claim",
            ]
            names.append(claim.name)
        log = tools.yosys(*passes)
    found = [line for line in log.splitlines() if line.startswith("SAT proof finished")]
    return {name: "SUCCESS" in line for name, line in zip(names, found, strict=True)}
