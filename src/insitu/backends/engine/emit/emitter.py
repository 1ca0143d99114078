"""What the functions of :mod:`insitu.backends.engine.emit` share: places, shifts, constants and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from insitu.backends.engine.build import WIDE_FRACTION, Build
from insitu.backends.engine.forms import Form, Grid, Kernel, Matrix, Planes
from insitu.backends.engine.layout import Place, StepLayout
from insitu.backends.engine.microcode import Code, Nest
from insitu.errors import ConfigError
from insitu.numbers.formats import Quantized
from insitu.ops.integer_products import WithEpilogue
from insitu.ops.loops import loops
from insitu.ops.updates import BoundUpdate
from insitu.ops.updates.stochastic import Stochastic
from insitu.step.ir import Op, Value

BYTE = 8
STASH = 4
"""Bits that the ones of a stash are shifted to the left by: an update by it is one of a rate up to so much higher."""

F = TypeVar("F", bound=Form)


@dataclass
class Constants:
    """Vectors of bytes in A that the microcode reads.

    Attributes:
        start: address of the first.
        data: all of them.
        found: the address of each.
    """

    start: int
    data: bytes = b""
    found: dict[bytes, int] = field(default_factory=dict)

    def address(self, data: bytes) -> int:
        if data not in self.found:
            self.found[data] = self.start + len(self.data)
            self.data += data
        return self.found[data]


@dataclass
class Emitter:
    """Writes the microcode of one step.

    Attributes:
        build: of the engine.
        layout: of the step.
        code: is written to.
        constants: of the program.
        lr: the learning rate.
        slots: the flag of each trigger.
        stashes: values of one bit that are stored as 0 and 2**STASH.
        losses: of scores the op that makes an error of them.
        scored: the scores that the score unit has seen last.
        table: exponentials of the program's softmax errors; set by the first.
    """

    build: Build
    layout: StepLayout
    code: Code
    constants: Constants
    lr: float
    slots: Mapping[Op, int]
    stashes: frozenset[Value]
    losses: Mapping[Value, Op]
    scored: Value | None = None
    table: tuple[int, ...] = ()

    # --- places --------------------------------------------------------------------------------------------------

    def place(self, value: Value) -> Place:
        return self.layout.places[value]

    def grid(self, value: Value) -> tuple[Grid, int]:
        """The grid of bytes of a value and its address in A."""
        return _of(Grid, self.place(value), value)

    def planes(self, value: Value) -> tuple[Planes, int]:
        return _of(Planes, self.place(value), value)

    def matrix(self, value: Value) -> tuple[Matrix, int]:
        return _of(Matrix, self.place(value), value)

    def kernel(self, value: Value) -> tuple[Kernel, int]:
        return _of(Kernel, self.place(value), value)

    def gated(self, value: Value) -> bool:
        """Does whatever reads an error multiply it by the slope of a ReLU?"""
        ops = [op for action in self.layout.actions for op in action.ops]
        place, made = self.layout.places[value], {v for op in ops for v in op.outputs if v is not value}
        views = {v for v, p in self.layout.places.items() if p is place} - made
        kinds = {op.kind for op in ops if views & set(op.inputs)}
        return all(kind in ("gate", "unpool_gate") or kind.startswith("gated_") for kind in kinds)

    def constant(self, value: int) -> int:
        """Address of a vector of P equal bytes."""
        return self.constants.address(bytes([value]) * self.build.lanes)

    def unit(self, value: int) -> int:
        """Address of P vectors: vector i has the byte at lane i alone."""
        return self.constants.address((np.eye(self.build.lanes, dtype=np.uint8) * value).tobytes())

    # --- shifts --------------------------------------------------------------------------------------------------

    def run(self, nest: Nest) -> None:
        self.code.run(nest)

    def scaled(self, op: Op, k: int, factor: Value, other: Value | None = None) -> tuple[int, int]:
        """The shift of the scalar and ``high`` for a result of one byte, requantized by k bits.

        Args:
            factor: the scalar.
            other: what it is multiplied by, where that may be a stash.

        Raises:
            ConfigError: neither reaches so far.
        """
        stored = STASH * sum(v in self.stashes for v in (factor, other))
        total = self.build.fraction - stored - k
        most = self.scalar_shift(factor) - STASH * (factor in self.stashes)
        self._fits(op, k)
        high = int(total >= self.build.high)
        left = total - self.build.high * high
        if not 0 <= left <= most:
            raise self.out_of_range(op, k, max(k + total - self.build.high - most, 0), k + total)
        return left, high

    def one(self, shift: int = 0) -> tuple[int, int]:
        """K0 and ``high`` by which bytes of V come out multiplied by 2**-shift."""
        total = self.build.fraction - shift
        high = int(total >= self.build.high)
        return 1 << total - self.build.high * high, high

    def scalar_shift(self, value: Value) -> int:
        """How far a scalar can be shifted to the left in an operand."""
        fmt, bits = value.format, self.build.operand_bits
        assert isinstance(fmt, Quantized)
        low, high = span(bits, signed=True)
        return max(s for s in range(bits) if low <= fmt.least << s and fmt.greatest << s <= high)

    def serial(self, op: Op, k: int, wide: bool) -> int:
        """The serial shift of a result that is requantized by k bits."""
        fraction = WIDE_FRACTION if wide else self.build.fraction
        if not 0 <= fraction - k < 32:
            raise self.out_of_range(op, k, fraction - 31, fraction)
        return fraction - k

    def moved(self, op: Op) -> int:
        """The k of an update.

        Raises:
            ConfigError: the engine cannot move weights so.
        """
        o = op.attrs.optimizer
        if not isinstance(o, BoundUpdate) or not isinstance(o.method, Stochastic) or o.channels:
            raise ConfigError(
                f"{op.kind} at {op.where} moves weights by {o}; the engine moves them by stochastic rounding with one "
                "unit for all channels: use update=stochastic and --precision edge-latent-free-8"
            )
        if op.attrs.exponents:
            raise ConfigError(
                f"{op.kind} at {op.where} has a gradient with a run-time exponent, which the engine does not shift by; "
                "use --precision edge-latent-free-8:error_exponent=static"
            )
        self._full(op, op.written[0])
        return o.shift(self.lr, 0)

    def _full(self, op: Op, weight: Value) -> None:
        """Refuses weights whose range is not that of the engine's words."""
        bits = 16 if isinstance(self.place(weight).form, Planes) else self.build.weight_bits
        fmt = weight.format
        if not isinstance(fmt, Quantized) or (fmt.least, fmt.greatest) != span(bits, signed=True):
            raise ConfigError(
                f"{op.kind} at {op.where} moves %{weight.name} ({fmt}); this engine saturates to s{bits}: "
                f"use a precision with {bits} bits there, or an engine of another weight_bits"
            )

    def byte(self, op: Op, value: Value) -> int:
        """``out_signed`` of a result.

        Raises:
            ConfigError: it has not the range of a byte.
        """
        fmt = value.format
        for signed in (0, 1):
            if isinstance(fmt, Quantized) and (fmt.least, fmt.greatest) == span(BYTE, bool(signed)):
                return signed
        raise ConfigError(
            f"{op.kind} at {op.where} gives %{value.name} in {fmt}; the engine saturates to u8 or s8: "
            "use --precision edge-latent-free-8 and a ReLU network"
        )

    def rounded(self, op: Op) -> int:
        """The k of an op's requantization.

        Raises:
            ConfigError: it has none, or one that the engine lacks.
        """
        fused = isinstance(op.attrs, WithEpilogue)
        end = op.attrs.epilogue if fused else op.attrs
        if end is None or end.rounding != "half-up" or end.times != 1 or (fused and op.attrs.limit):
            raise ConfigError(
                f"{op.kind} at {op.where} is not requantized by a shift with rounding half-up; "
                "use --precision edge-latent-free-8"
            )
        k: int = end.shift
        return k

    def _fits(self, op: Op, k: int) -> None:
        """Refuses sums that may pass a lane's accumulator."""
        above = self.build.lane_bits - self.build.fraction - 1
        weights, half = (128 * 2.0**k if op.written else 0.0), (2.0 ** (k - 1) if k > 0 else 0.0)
        if most_of_sum(op) + weights + half >= 2.0 ** (k + above):
            raise ConfigError(
                f"{op.kind} at {op.where} sums up to {most_of_sum(op):,} and shifts by {k}; an accumulator holds "
                f"{above} bits above the shift: use a smaller learning rate, or a layer of fewer inputs"
            )

    def out_of_range(self, op: Op, k: int, least: int, most: int) -> ConfigError:
        return ConfigError(
            f"{op.kind} at {op.where} shifts by {k} bits; this engine shifts by {least} to {most} there: use another "
            f"learning rate (--lr) or an engine of another fraction (now {self.build.fraction})"
        )

    # --- random words ---------------------------------------------------------------------------------------------

    def draw(self, op: Op, skip: int, lanes: bool) -> None:
        """The random words of an update: with generator lfsr by a key from the host."""
        if self.build.generator == "lfsr":
            self.code.keys.append((len(self.code.words), op.attrs.optimizer.stream))
            self.code.act("KEYLO")
            self.code.act("KEYHI")
        self.code.act("SEED", skip=skip, lanes=int(lanes))


def _of(form: type[F], place: Place, value: Value) -> tuple[F, int]:
    if not isinstance(place.form, form):
        raise ConfigError(
            f"%{value.name} ({value.format}, shape {value.shape}) lies as {type(place.form).__name__}, "
            f"and is read as {form.__name__}; the engine cannot run this step: use another rule"
        )
    return place.form, place.start


def most_of_sum(op: Op) -> int:
    """The largest magnitude of an op's sums: by its format, and by its operands."""
    stated: int = 1 << op.attrs.format.bits - 1
    nest = loops(op)
    if nest is None:
        return stated
    factors = [magnitude(nest.streamed.value), magnitude(nest.stationary.value)]
    bias = (1 << 15) << (op.attrs.bias_shift or 0) if op.kind in ("matmul", "conv2d") else 0
    return min(stated, nest.terms * factors[0] * factors[1] + bias)


def magnitude(value: Value | None) -> int:
    """The largest magnitude of an element: of a byte where it is not known."""
    fmt = value.format if value is not None else None
    return max(-fmt.least, fmt.greatest) if isinstance(fmt, Quantized) else 255


def span(bits: int, signed: bool) -> tuple[int, int]:
    """Least and greatest integer of a width."""
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def signed(value: Value) -> int:
    fmt = value.format
    return int(isinstance(fmt, Quantized) and fmt.least < 0)
