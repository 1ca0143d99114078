"""What microcode does, bit for bit: a slow executor, which is the definition that hardware is tested against.

A nest computes for each of its rounds (levels below ``inner``; with ``each``: for every issue) in every lane

    result = sat((begin + sum of a · b) >> S)

with a the shifted scalar, V or a constant, and b the lane's weight or its byte of V. ``begin`` is half a step,
2**(S-1). Of an *update* it is {~w, R ^ C}: the inverted weight above S bits of the lane's and the scalar's random
words, and the result is inverted again: that is sat(w - floor(g · 2**-k + u)) where the sum is g · 2**(S-k). A *wide*
result is lane 0's, of two bytes, with 16 bits in place of S, and begins with half a step or, of an update, with the
scalar's random word alone (the weight comes by the prologue).

A nest reads before it writes: no issue may read what an earlier one has written, which the machine checks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.backends.engine import cycles, isa
from insitu.backends.engine.build import WIDE_FRACTION, Build
from insitu.backends.engine.isa import A, B, Prologue, To
from insitu.backends.engine.nest import Ints, Nest, Registers
from insitu.errors import StepError
from insitu.numbers import lfsr
from insitu.numbers.prng import MASK

Bools = npt.NDArray[np.bool_]


class MachineError(StepError):
    """Microcode does what hardware cannot or must not do."""


@dataclass
class Scores:
    """The score unit: what a nest with ``score`` leaves behind."""

    best: int = 0
    best_class: int = 0
    threshold: int = 0
    """The label's score less the margin."""
    fired: bool = False


@dataclass
class Draws:
    """The random generator: two registers and the state from which the scalars begin anew."""

    lanes: int = 1
    scalars: int = 1
    start: int = 1


@dataclass
class Machine:
    """An engine that executes microcode.

    Attributes:
        a: activations, bytes.
        w: weights, [words, P].
        code: instructions.
        table: exponentials for SOFTMAX.
        draws, scores, flags: state that lasts from nest to nest.
        work: issues and bytes of the memories, counted for as long as the machine lives.
    """

    build: Build
    timing: cycles.Timing = cycles.TIMING
    draws: Draws = field(default_factory=Draws)
    scores: Scores = field(default_factory=Scores)
    flags: int = 0
    label: int = 0

    def __post_init__(self) -> None:
        b = self.build
        self.a = np.zeros(b.a_words * b.lanes, np.uint8)
        self.w = np.zeros((b.w_words, b.lanes), np.int8)
        self.code = np.zeros(b.code_words, np.int64)
        self.table = np.zeros(isa.TABLE, np.int64)
        self.registers = Registers()

    @property
    def states(self) -> tuple[int, int]:
        """States of the random registers: of the lanes and of the scalars."""
        return self.draws.lanes, self.draws.scalars

    @states.setter
    def states(self, states: tuple[int, int]) -> None:
        self.draws.lanes, self.draws.scalars = states

    # --- the host's side ---------------------------------------------------------------------------------------

    def write(self, memory: str, address: int, data: npt.NDArray[Any]) -> None:
        """Into ``a`` (bytes), ``w`` (words of P weights), ``code`` or ``table``, from an address on."""
        getattr(self, memory)[address : address + len(data)] = data

    def read(self, memory: str, address: int, count: int) -> npt.NDArray[Any]:
        """A copy of so many elements of a memory."""
        return np.array(getattr(self, memory)[address : address + count])

    # --- control -----------------------------------------------------------------------------------------------

    def run(self, start: int = 0, label: int = 0) -> int:
        """Executes from an address to END; returns the cycles that hardware takes.

        Raises:
            MachineError: microcode does what hardware must not do.
        """
        self.label, self.flags, taken, at = label, 0, self.timing.start, start
        while True:
            register, level, fields = isa.decode(int(self.code[at]))
            taken += self.timing.instruction
            at += 1
            if register.name == "END":
                return taken
            if register.name == "BRZ":
                if not self.flags & fields["flags"]:
                    at, taken = fields["target"], taken + self.timing.taken
                continue
            self.registers.put(register, level, fields)
            act = getattr(self, f"_{register.name.lower()}", None) if register.acts else None
            if act is not None:
                taken += act(**fields)

    def _keylo(self, bits: int) -> int:
        self.draws.start = self.draws.start & ~0xFFFF | bits
        return 0

    def _keyhi(self, bits: int) -> int:
        self.draws.start = self.draws.start & 0xFFFF | bits << 16
        return 0

    def _seed(self, skip: int, lanes: int) -> int:
        d = self.draws
        if self.build.generator == "register":
            d.start = d.scalars
            return 0
        d.lanes = d.scalars = d.start
        if lanes:
            self._draw_lanes(skip)
        else:
            self._draw_scalars(skip)
        d.start = d.scalars
        return 1 + skip

    def _shift(self, lanes: int, scalars: int) -> int:
        d = self.draws
        d.lanes, d.scalars = lfsr.advance(d.lanes) ^ lanes, lfsr.advance(d.scalars) ^ scalars
        return 0

    def _trig(self, slot: int) -> int:
        self.scores.fired = self.scores.best > self.scores.threshold
        self.flags = self.flags & ~(1 << slot) | self.scores.fired << slot
        return 0

    def _softmax(self) -> int:
        nest = Nest(self.registers.values, self.build.address_bits)
        if nest.issues > isa.CLASSES:
            raise MachineError(f"a softmax of {nest.issues} classes; the score unit has {isa.CLASSES}")
        high = (nest.streams.p + nest.value("HIOFF")) & nest.mask
        z = self.a[nest.streams.p].astype(np.int64) | self.a[high].view(np.int8).astype(np.int64) << 8
        power = self.table[np.minimum(self.scores.best - z, isa.TABLE - 1)]
        total = int(power.sum())
        p = (256 * power + total) // (2 * total)
        error = np.clip(p - 128 * (np.arange(nest.issues) == self.label), -128, 127)
        self.a[nest.streams.d] = error & 255
        return cycles.softmax(nest.issues, self.timing) - self.timing.instruction

    # --- random words ------------------------------------------------------------------------------------------

    def _draw_lanes(self, count: int) -> Ints:
        words, self.draws.lanes = _drawn(self.draws.lanes, count)
        return words

    def _draw_scalars(self, count: int) -> Ints:
        words, self.draws.scalars = _drawn(self.draws.scalars, count)
        return words

    def _scalar_words(self, nest: Nest) -> Ints:
        """A word per result; those after a reload of the lanes begin anew."""
        if not nest.loads:
            return self._draw_scalars(nest.results)
        self.draws.scalars = self.draws.start
        return np.tile(self._draw_scalars(nest.results // nest.loads), nest.loads)

    def _lane_words(self, nest: Nest) -> Ints:
        """[results, P]; a lane that draws none has no weight, and 0 here."""
        lanes = self.build.lanes
        if not nest.loads:
            return np.zeros((nest.results, lanes), np.int64)
        counts = nest.drawn(lanes)
        found = np.zeros((nest.loads, lanes), np.int64)
        found[np.arange(lanes) < counts[:, None]] = self._draw_lanes(int(counts.sum()))
        return found.repeat(nest.results // nest.loads, 0)

    # --- nests -------------------------------------------------------------------------------------------------

    def _go(self, number: int) -> int:
        nest = Nest(self.registers.values, self.build.address_bits)
        ctl = nest.ctl
        self._refuse(nest)
        results = self._emitted(nest) if ctl["emit"] else self._computed(nest)
        self._write(nest, results)
        if ctl["score"]:
            self._compare(nest, results[:, 0])
        return cycles.of(nest, self.build.lanes, self.timing) - self.timing.instruction

    def _emitted(self, nest: Nest) -> Ints:
        """Errors of a violated margin: 1 at the best other class, -1 at the label, where the last TRIG fired."""
        s, n = self.scores, np.arange(nest.results)
        error = np.where(n == self.label, -1, n == s.best_class) * s.fired
        return error[:, None]

    def _computed(self, nest: Nest) -> Ints:
        """[results, 1 or P]"""
        if nest.ctl["pool"]:
            found = self._pooled(nest)
        else:
            found = self._narrow(nest) if not nest.ctl["wide"] else self._wide(nest)
        return found * self._mask(nest) if nest.ctl["mask"] else found

    def _pooled(self, nest: Nest) -> Ints:
        v = self._vector(nest, nest.ctl["scalar_signed"]).reshape(nest.rounds, nest.round_length, -1)
        return np.asarray(v.argmax(1) if nest.ctl["position"] else v.max(1))

    def _narrow(self, nest: Nest) -> Ints:
        s, ctl = self.build.fraction, nest.ctl
        acc = self._begin(nest) + self._bias(nest) + self._sums(nest)
        _fits("the sum of a lane", acc[:, 1:], self.build.lane_bits)
        _fits("the sum of lane 0", acc[:, :1], self.build.wide_bits)
        bits = self.build.weight_bits if ctl["to"] == To.WEIGHTS else 8
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if ctl["out_signed"] else (0, 255)
        v: Ints = np.clip(acc >> s, low, high)
        return ~v if ctl["update"] else v

    def _wide(self, nest: Nest) -> Ints:
        ctl = nest.ctl
        begin = self._scalar_words(nest) >> 32 - WIDE_FRACTION if ctl["update"] else 1 << WIDE_FRACTION - 1
        acc = begin + self._bias(nest)[:, 0] + self._sums(nest)[:, 0]
        _fits("the sum of lane 0", acc, self.build.wide_bits)
        most = (1 << (15 if ctl["wide16"] else 11)) - 1
        v: Ints = np.clip(acc >> WIDE_FRACTION, -most - 1, most)[:, None]
        return ~v if ctl["update"] else v

    def _begin(self, nest: Nest) -> Any:
        s, ctl = self.build.fraction, nest.ctl
        if not ctl["update"]:
            return 1 << s - 1
        low = self._lane_words(nest) ^ self._scalar_words(nest)[:, None]
        return ~self._kept(nest) << s | low >> 32 - s

    def _kept(self, nest: Nest) -> Ints:
        """The weights that an update moves, [results, P]."""
        if nest.ctl["each"]:
            return self._weights(nest, nest.streams.w, np.arange(nest.issues))
        if nest.ctl["prologue"] != Prologue.WEIGHTS:
            raise MachineError("an update without each has no weights: its prologue must read them")
        starts = np.arange(nest.rounds) * nest.round_length
        return self._weights(nest, nest.streams.p[starts], starts)

    # --- sums of products --------------------------------------------------------------------------------------

    def _sums(self, nest: Nest) -> Ints:
        """The sums of the products of each result, [results, P]."""
        products = self._first(nest) * self._second(nest)
        if nest.ctl["dot"]:
            products[:, 0] = np.where(nest.outside, 0, products.sum(1))
        if nest.serial:
            products[:, 0] <<= nest.sh["serial"]
        sums: Ints = products.reshape(nest.results, nest.per_result, -1).sum(1)
        return sums

    def _first(self, nest: Nest) -> Any:
        """Factor a: [issues, 1 or P], or a constant."""
        ctl = nest.ctl
        if ctl["a"] == A.VECTOR:
            return self._vector(nest, ctl["scalar_signed"])
        if ctl["a"] != A.SCALAR:
            return self._constant(nest, "K0" if ctl["a"] == A.K0 else "K1")
        byte = self._bytes(nest, *self._issued(nest), ctl["scalar_signed"])
        scalar = np.where(nest.outside, 0, byte << nest.sh["scalar"])
        _fits("the shifted scalar", scalar, self.build.operand_bits)
        return scalar[:, None]

    def _constant(self, nest: Nest, name: str) -> int:
        value = nest.value(name, "value")
        _fits(f"the constant {name}", np.array(value), self.build.operand_bits)
        return value

    def _second(self, nest: Nest) -> Ints:
        """Factor b: [issues, P]."""
        ctl = nest.ctl
        if ctl["b"] == B.ONE:
            return np.ones((nest.issues, self.build.lanes), np.int64)
        if ctl["b"] == B.VECTOR:
            found = self._vector(nest, ctl["vector_signed"])
        else:
            found = self._weights(nest, nest.streams.w, np.arange(nest.issues))
        return found << self.build.high * ctl["high"]

    def _bias(self, nest: Nest) -> Any:
        """What the prologue adds, [results, P]."""
        ctl, starts = nest.ctl, np.arange(nest.rounds) * nest.round_length
        p = nest.streams.p[starts]
        high = (p + nest.value("HIOFF")) & nest.mask
        if ctl["prologue"] == Prologue.BIASES:
            low_byte, high_byte = self._vectors(nest, p, starts, 0), self._vectors(nest, high, starts, 1)
            bias = low_byte * self._constant(nest, "K0") + high_byte * self._constant(nest, "K1")
            return bias << self.build.high * ctl["high"]
        if ctl["prologue"] != Prologue.BIAS:
            return np.zeros((1, 1), np.int64)
        value = self._bytes(nest, p, starts, 0) | self._bytes(nest, high, starts, 1) << 8
        value = ~value if ctl["update"] else value
        for byte in (value >> 8, value & 255):
            _fits("the shifted bias", byte << nest.sh["bias"], self.build.operand_bits)
        return value[:, None] << nest.sh["bias"] + nest.sh["serial"]

    # --- what a nest reads and writes --------------------------------------------------------------------------

    def _vector(self, nest: Nest, signed: int) -> Ints:
        """V of every issue, [issues, P]."""
        if nest.ctl["vector_stream"]:
            return self._vectors(nest, *self._issued(nest), signed)
        if nest.ctl["prologue"] != Prologue.VECTOR:
            raise MachineError("a nest uses V, which neither its stream nor its prologue loads")
        starts = np.arange(nest.rounds) * nest.round_length
        return self._vectors(nest, nest.streams.p[starts], starts, signed).repeat(nest.round_length, 0)

    def _issued(self, nest: Nest) -> tuple[Ints, Ints]:
        """Addresses x of the issues, and when each reads; outside of the plane no scalar and no V of a dot is used."""
        c = nest.ctl
        unused = nest.outside & bool(c["dot"] or (c["a"] == A.SCALAR and not c["pool"]))
        return np.where(unused, 0, nest.streams.x), np.where(unused, -1, np.arange(nest.issues))

    def _mask(self, nest: Nest) -> Bools:
        """Which results stay, [results, P]."""
        if nest.ctl["prologue"] != Prologue.MASK:
            raise MachineError("a nest uses a mask, which its prologue does not load")
        starts = np.arange(nest.rounds) * nest.round_length
        read = self._vectors(nest, nest.streams.p[starts], starts, 0)
        kept = read & 3 == nest.ctl2["code"] if nest.ctl2["match"] else read != 0
        return np.asarray(kept)

    def _vectors(self, nest: Nest, address: Ints, times: Ints, signed: int) -> Ints:
        lanes = self.build.lanes
        bytes_ = address[:, None] // lanes * lanes + np.arange(lanes)
        return self._bytes(nest, bytes_, times[:, None], signed)

    def _bytes(self, nest: Nest, address: Ints, times: Ints, signed: int) -> Ints:
        """Bytes of A.

        Args:
            times: the issue in which each is read; -1: what is read is not used.
        """
        _inside("A", address, len(self.a))
        if nest.ctl["to"] != To.WEIGHTS or nest.ctl["wide"]:
            _unwritten("A", address, times, self._written(nest), len(self.a))
        found = self.a[address]
        return (found.view(np.int8) if signed else found).astype(np.int64)

    def _weights(self, nest: Nest, address: Ints, times: Ints) -> Ints:
        _inside("W", address, len(self.w))
        if nest.ctl["to"] == To.WEIGHTS and not nest.ctl["wide"]:
            _unwritten("W", address, times, self._written(nest), len(self.w))
        return self.w[address].astype(np.int64)

    def _written(self, nest: Nest) -> tuple[Ints, Ints]:
        """Addresses that a nest writes, [results, 1 to P], and in which issue each time, [results, 1]."""
        times = np.arange(nest.per_result - 1, nest.issues, nest.per_result)
        d, lanes, ctl = nest.streams.d[times], self.build.lanes, nest.ctl
        if ctl["wide"]:
            address = np.stack([d, (d + nest.value("HIOFF")) & nest.mask], 1)
        elif ctl["to"] == To.VECTOR:
            address = d[:, None] // lanes * lanes + np.arange(lanes)
        else:
            address = d[:, None]
        return address, times[:, None]

    def _write(self, nest: Nest, results: Ints) -> None:
        address, _ = self._written(nest)
        if nest.ctl["to"] == To.WEIGHTS and not nest.ctl["wide"]:
            _inside("W", address, len(self.w))
            self.w[address[:, 0]] = results
            return
        _inside("A", address, len(self.a))
        if nest.ctl["wide"]:
            results = np.concatenate([results, results >> 8], 1)
        self.a[address] = results[:, : address.shape[1]] & 255

    # --- scores ------------------------------------------------------------------------------------------------

    def _compare(self, nest: Nest, results: Ints) -> None:
        s, none = self.scores, True
        for n, value in enumerate(results.tolist()):
            if nest.ctl2["exclude"] and n == self.label:
                s.threshold = value - nest.value("MARGIN", "value")
            elif none or value > s.best:
                s.best, s.best_class, none = value, n, False

    def _refuse(self, nest: Nest) -> None:
        """What hardware has no wires for."""
        if nest.ctl["dot"] and nest.ctl["high"]:
            raise MachineError("a nest has both dot and high: the serial shifter does what high would do")
        if nest.serial and nest.ctl["mask"]:
            raise MachineError(
                "a nest has a mask and dot or wide: masks are of vectors; use a nest of its own"
            )
        if nest.ctl["wide"] and nest.round_length + cycles.PROLOGUE[Prologue(nest.ctl["prologue"])] < 2:
            raise MachineError(
                "a wide result a cycle, whose two bytes take two: give each round two products"
            )
        if nest.results > isa.CLASSES and (nest.ctl["score"] or nest.ctl["emit"]):
            raise MachineError(f"{nest.results} scores or errors; the score unit has {isa.CLASSES} classes")


def _drawn(state: int, count: int) -> tuple[Ints, int]:
    """The next words of a register, and its state after them."""
    if not count:
        return np.zeros(0, np.int64), state
    words = lfsr.words(state & MASK, count)
    return words, int(words[-1])


def _fits(what: str, values: Ints, bits: int) -> None:
    if values.size and not -(1 << bits - 1) <= int(values.min()) <= int(values.max()) < 1 << bits - 1:
        raise MachineError(
            f"{what} is {int(values.min())} to {int(values.max())}, which {bits} bits do not hold"
        )


def _inside(memory: str, address: Ints, size: int) -> None:
    if address.size and int(address.max()) >= size:
        raise MachineError(f"a nest uses address {int(address.max())} of {memory}, which has {size}")


def _unwritten(memory: str, address: Ints, times: Ints, written: tuple[Ints, Ints], size: int) -> None:
    """Refuses to read what the same nest has written in an earlier issue: hardware is still about to write it."""
    first = np.full(size, np.iinfo(np.int64).max)
    where, when = written
    where = where[where.max(1) < size] if where.size else where
    np.minimum.at(first, where, np.broadcast_to(when[: len(where)], where.shape))
    if (first[address] < times).any():
        raise MachineError(f"a nest reads what it has written to {memory}")
