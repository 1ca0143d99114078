"""A nest as the registers say it: bounds, addresses of every issue, rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt

from insitu.backends.engine.isa import LEVELS, REGISTERS, A, B, Prologue, Register, To

Ints = npt.NDArray[np.int64]
Fields = Mapping[str, int]
Key = str | tuple[str, int]


@dataclass(frozen=True)
class Streams:
    """Of every issue: addresses x, w, p, d and the place (row, column) in the plane; ``[N]`` each."""

    x: Ints
    w: Ints
    p: Ints
    d: Ints
    row: Ints
    column: Ints


@dataclass(frozen=True)
class Accesses:
    """Accesses of memories and work of the lanes, each for P lanes at once (of A a byte or P bytes).

    Attributes:
        a_reads, a_writes, w_reads, w_writes: cycles in which a memory is read or written.
        products: cycles in which the lanes multiply.
        updates: words of weights (or biases) that move.
    """

    a_reads: int = 0
    w_reads: int = 0
    a_writes: int = 0
    w_writes: int = 0
    products: int = 0
    updates: int = 0

    def __add__(self, other: Accesses) -> Accesses:
        return Accesses(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Registers:
    """What the registers hold: the fields of each, by its name, or by name and level. Zeros at first."""

    def __init__(self) -> None:
        self.values: dict[Key, dict[str, int]] = {}
        for register in REGISTERS:
            for level in range(len(register.codes)):
                self.put(register, level, {f.name: 0 for f in register.fields})

    def put(self, register: Register, level: int, fields: dict[str, int]) -> None:
        self.values[(register.name, level) if register.per_level else register.name] = fields


class Nest:
    """What GO runs.

    Args:
        registers: the fields of each register, by name, or by name and level.
        address_bits: addresses are taken modulo ``2**address_bits``.
    """

    def __init__(self, registers: Mapping[Key, Fields], address_bits: int) -> None:
        self.registers = registers
        self.ctl, self.ctl2, self.sh = registers["CTL"], registers["CTL2"], registers["SH"]
        self.bounds = [registers["BOUND", i]["count"] + 1 for i in range(LEVELS)]
        self.mask = (1 << address_bits) - 1

    @cached_property
    def issues(self) -> int:
        return prod(self.bounds)

    @cached_property
    def round_length(self) -> int:
        """Issues of a round."""
        return prod(self.bounds[: self.ctl["inner"]])

    @property
    def rounds(self) -> int:
        return self.issues // self.round_length

    @property
    def per_result(self) -> int:
        """Issues of a result."""
        return 1 if self.ctl["each"] else self.round_length

    @property
    def results(self) -> int:
        return self.issues // self.per_result

    @property
    def per_load(self) -> int:
        """Issues for which the lanes keep their random words."""
        return prod(self.bounds[: self.ctl2["words_level"]])

    @property
    def loads(self) -> int:
        """How often the lanes draw random words."""
        return self.issues // self.per_load if self.ctl["words"] else 0

    def drawn(self, lanes: int) -> Ints:
        """Random words that the lanes draw at each load: fewer in the last round of the loop that loads."""
        rounds = self.bounds[self.ctl2["words_level"]]
        last = np.arange(self.loads) % rounds == rounds - 1
        return np.where(last, self.ctl2["last"] + 1, lanes)

    @property
    def serial(self) -> bool:
        """Lane 0's addend passes the serial shifter."""
        return bool(self.ctl["dot"] or self.ctl["wide"])

    @property
    def accesses(self) -> Accesses:
        """What the nest reads and writes, and multiplies."""
        c, rounds = self.ctl, self.rounds
        if c["emit"]:
            return Accesses(a_writes=self.results)
        p = c["prologue"]
        to_w = c["to"] == To.WEIGHTS and not c["wide"]
        bytes_ = c["a"] == A.SCALAR or c["vector_stream"]
        return Accesses(
            a_reads=self.issues * bytes_ + rounds * (2 * (p in (1, 2)) + (p in (3, 4))),
            w_reads=self.issues * (c["b"] == B.WEIGHTS or c["each"]) + rounds * (p == Prologue.WEIGHTS),
            a_writes=self.results * (1 + c["wide"]) * (not to_w),
            w_writes=self.results * to_w,
            products=self.issues * (not c["pool"]),
            updates=self.results * c["update"],
        )

    def value(self, register: str, field: str = "address") -> int:
        return self.registers[register][field]

    @cached_property
    def streams(self) -> Streams:
        """Level l advances between issues t - 1 and t where all inside it have ended and it has not; then every stream
        makes the step of l."""
        t = np.arange(self.issues, dtype=np.int64)
        sizes = np.cumprod([1, *self.bounds])
        advanced = np.stack([t // sizes[i] - t // sizes[i + 1] for i in range(LEVELS)], 1)
        steps = np.array([self._steps(i) for i in range(LEVELS)], np.int64)
        x, w, p, d, row, column = (advanced @ steps).T
        start = [self.value(name) for name in ("BX", "BW", "BP", "BD")]
        x, w, p, d = ((s + base) & self.mask for s, base in zip((x, w, p, d), start))
        place = self.registers["BYX"]
        return Streams(x, w, p, d, row + place["y"], column + place["x"])

    def _steps(self, level: int) -> tuple[int, ...]:
        xw, pd, bound = (self.registers[name, level] for name in ("DXW", "DPD", "BOUND"))
        return xw["x"], xw["w"], pd["p"], pd["d"], bound["y"], bound["x"]

    @property
    def outside(self) -> npt.NDArray[np.bool_]:
        """Of every issue: its place is not in the plane."""
        s, plane = self.streams, self.registers["LIM"]
        rows = (s.row >= 0) & (s.row < plane["height"])
        return ~(rows & (s.column >= 0) & (s.column < plane["width"]))
