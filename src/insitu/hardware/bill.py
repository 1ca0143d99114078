"""The bill of a step on a target: additive rows, and what follows from their sums.

A row does not hold picojoules but *uses*: how often it pays each entry of the target's cost table. Energy with its
band, its levels, its sources and the Monte-Carlo draws of :mod:`insitu.hardware.stability` are all read off the same
uses. Unknown is ``None``, never 0: a row that uses an entry which the target does not know has no energy, and neither
has a sum that it is part of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any, TypeVar

from insitu.hardware.target import Entry, Target
from insitu.hardware.work import Work
from insitu.step.ir import Op, Role

Use = tuple[str, ...]
"""Ids of entries whose product is paid: ``("memory.sram.read",)``, ``("cycles.dense", "energy.cycle")``."""

Uses = Mapping[Use, float]

K = TypeVar("K")


@dataclass(frozen=True)
class Band:
    """A figure with its uncertainty: low, central, high."""

    low: float
    central: float
    high: float

    def __add__(self, other: Band) -> Band:
        return Band(self.low + other.low, self.central + other.central, self.high + other.high)

    def times(self, factor: float) -> Band:
        return Band(self.low * factor, self.central * factor, self.high * factor)


ZERO = Band(0.0, 0.0, 0.0)


def total(bands: Iterable[Band | None]) -> Band | None:
    """The sum; ``None`` where a part is unknown."""
    found = ZERO
    for band in bands:
        if band is None:
            return None
        found = found + band
    return found


def priced(entries: Mapping[str, Entry], uses: Uses) -> Band | None:
    """What some uses cost; ``None`` where an entry of them is unknown."""
    low = central = high = 0.0
    for use, amount in uses.items():
        known = [entries[i] for i in use if i in entries]
        if len(known) < len(use):
            return None
        low += amount * prod(e.low for e in known)
        central += amount * prod(e.value for e in known)
        high += amount * prod(e.high for e in known)
    return Band(low, central, high)


@dataclass(frozen=True)
class Row:
    """What one op costs in one phase. All numbers are of one step (a batch), on average over many.

    Attributes:
        index: of the op in the step.
        op, layer: kind of the op, and where it comes from.
        phase: forward, error, feedback, gradient, update, random or rounding.
        macs, other: operations by the widths of their operands (``8x8``, ``f32``).
        random: 32-bit words.
        reads, writes: bits by memory level.
        uses: what it pays for, in pJ once multiplied by the entries.
        cycles: ``None`` where unknown; ``cycle_uses``: the entries that they stand on, of a processor.
        utilisation: of an array's multipliers, for products on an array.
        share: of the steps in which it is done, 0 to 1; the numbers above have it in them.
    """

    index: int
    op: str
    layer: str | None
    phase: str
    macs: Mapping[str, float] = field(default_factory=dict)
    other: Mapping[str, float] = field(default_factory=dict)
    random: float = 0
    reads: Mapping[str, float] = field(default_factory=dict)
    writes: Mapping[str, float] = field(default_factory=dict)
    uses: Uses = field(default_factory=dict)
    cycles: Band | None = ZERO
    cycle_uses: Uses = field(default_factory=dict)
    utilisation: float | None = None
    share: float = 1.0

    @classmethod
    def of(cls, index: int, op: Op, part: Work, **paid: Any) -> Row:
        """A part of an op with its operations; ``paid``: traffic, uses and cycles, as the target says."""
        return cls(
            index,
            op.kind,
            op.where.layer,
            part.phase,
            macs={part.label: part.macs} if part.macs else {},
            other={part.label: part.other} if part.other else {},
            random=part.amount if part.kind == "random" else 0,
            **paid,
        )

    def times(self, share: float) -> Row:
        """The row of an op that is done in a share of the steps."""
        if share == 1.0:
            return self

        def part(found: Mapping[K, float]) -> dict[K, float]:
            return {key: n * share for key, n in found.items()}

        return replace(
            self,
            macs=part(self.macs),
            other=part(self.other),
            random=self.random * share,
            reads=part(self.reads),
            writes=part(self.writes),
            uses=part(self.uses),
            cycles=self.cycles and self.cycles.times(share),
            cycle_uses=part(self.cycle_uses),
            share=self.share * share,
        )


def level(use: Use) -> str:
    """Where a use is paid: a memory level, or the part of the hardware that computes."""
    parts = use[0].split(".")
    return {"memory": parts[1], "cycles": "core"}.get(parts[0], _PARTS.get(parts[-1], "logic"))


_PARTS = {
    "register_read": "register",
    "register_write": "register",
    "accumulator_read": "register",
    "accumulator_write": "register",
    "random": "random",
}


def lifetime(endurance: Entry | None, writes: float) -> Band | None:
    """Samples until a cell that is written so often a sample has used up its endurance, in writes."""
    if endurance is None or not writes:
        return None
    return Band(endurance.low, endurance.value, endurance.high).times(1 / writes)


@dataclass(frozen=True)
class Bill:
    """Everything that one training step (or inference) costs on a target.

    Attributes:
        step, target, batch: of what.
        rows: additive, in the order of execution.
        by_role: bytes at the peak, by role; they sum to :attr:`peak_bytes`.
        table_bytes: of look-up tables in the program; ``code_bytes``: ``None`` until a backend has made code.
        area: uses of the target's area entries, um2; ``None`` where the target has none.
        fabric: what an FPGA is asked for, by resource; ``None`` elsewhere.
        writes_per_weight: of each parameter, how often each of its words is written per sample.
        spilled: bytes of what lives in the store behind an array's memory, by role.
        omits: what the figures leave out.
        triggers: what learning waits for, and the share of the samples that it is taken to fire for (1 where nobody
            has measured: the worst case); nothing of a rule that learns from every sample.
    """

    step: str
    target: Target
    batch: int
    rows: tuple[Row, ...]
    by_role: Mapping[Role, int]
    table_bytes: int
    area_uses: Uses | None
    fabric: Mapping[str, int] | None
    writes_per_weight: Mapping[str, float]
    spilled: Mapping[Role, int]
    omits: tuple[str, ...]
    triggers: Mapping[str, float] = field(default_factory=dict)
    code_bytes: int | None = None

    @property
    def peak_bytes(self) -> int:
        return sum(self.by_role.values())

    @property
    def energy(self) -> Band | None:
        """pJ per sample."""
        return self.energy_of(self.rows)

    def energy_of(self, rows: Iterable[Row]) -> Band | None:
        """pJ per sample of some rows."""
        found = total(self.priced(row.uses) for row in rows)
        return found and found.times(1 / self.batch)

    def priced(self, uses: Uses) -> Band | None:
        """What some uses cost on the target; ``None`` where an entry of them is unknown."""
        return priced(self.entries, uses)

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """The target's cost table."""
        return self.target.entries()

    @property
    def uses(self) -> dict[Use, float]:
        """All uses per sample, summed over the rows."""
        found: dict[Use, float] = {}
        for row in self.rows:
            for use, amount in row.uses.items():
                found[use] = found.get(use, 0.0) + amount / self.batch
        return found

    @property
    def cycles(self) -> Band | None:
        """Clock cycles per sample."""
        found = total(row.cycles for row in self.rows)
        return found and found.times(1 / self.batch)

    @property
    def seconds(self) -> Band | None:
        """Per sample, at the target's clock."""
        return self.cycles and self.cycles.times(1e-6 / self.target.clock.value)

    @property
    def area(self) -> Band | None:
        """um2."""
        return None if self.area_uses is None else self.priced(self.area_uses)

    @property
    def macs(self) -> dict[str, float]:
        """Multiply-accumulates of the step by phase."""
        return self._summed(lambda row: {row.phase: sum(row.macs.values())})

    def widths(self) -> dict[str, float]:
        """Multiply-accumulates of the step by the widths of their operands."""
        return self._summed(lambda row: row.macs)

    def traffic(self) -> tuple[dict[str, float], dict[str, float]]:
        """Bits read and written in the step, by memory level."""
        return self._summed(lambda row: row.reads), self._summed(lambda row: row.writes)

    def _summed(self, part: Callable[[Row], Mapping[str, float]]) -> dict[str, float]:
        found: dict[str, float] = {}
        for row in self.rows:
            for key, n in part(row).items():
                if n:
                    found[key] = found.get(key, 0) + n
        return found

    def energy_by(self, key: Callable[[Row], str]) -> dict[str, Band | None]:
        """pJ per sample of the rows of each key (a phase, a layer)."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(key(row), []).append(row)
        return {name: self.energy_of(rows) for name, rows in groups.items()}

    def energy_by_level(self) -> dict[str, Band | None]:
        """pJ per sample by memory level and kind of logic; the values sum to :attr:`energy`."""
        groups: dict[str, dict[Use, float]] = {}
        for use, amount in self.uses.items():
            groups.setdefault(level(use), {})[use] = amount
        return {name: self.priced(uses) for name, uses in groups.items()}

    @property
    def endurance(self) -> Entry | None:
        """Writes that a cell of the memory that holds the weights survives."""
        entry = self.entries.get("memory.store.endurance")
        return entry if entry is not None and self.weights_in_store else None

    @property
    def weights_in_store(self) -> bool:
        return self.spilled.get(Role.WEIGHT, 0) > 0

    @property
    def lifetime_samples(self) -> Band | None:
        """Samples until the most written weight has used up its endurance; ``None`` where nothing wears out."""
        return lifetime(self.endurance, max(self.writes_per_weight.values(), default=0.0))

    def cites(self) -> dict[str, Entry]:
        """The entries that the figures stand on, by id."""
        return {i: e for i in sorted(self._paid) if (e := self.entries.get(i)) is not None}

    def missing(self) -> list[str]:
        """Ids of entries that the figures need and the target does not know."""
        return sorted(i for i in self._paid if i not in self.entries)

    @property
    def _paid(self) -> set[str]:
        """Ids of all entries that energy, cycles and area ask for."""
        cycles = (use for row in self.rows for use in row.cycle_uses)
        return {i for use in (*self.uses, *cycles, *(self.area_uses or ())) for i in use}


def fields(bill: Bill) -> dict[str, Any]:
    """The bill as plain values, for JSON; rows included."""
    reads, writes = bill.traffic()
    return {
        "step": bill.step,
        "target": bill.target.name,
        "batch": bill.batch,
        "peak_bytes": {"total": bill.peak_bytes} | {r.value: n for r, n in bill.by_role.items() if n},
        "spilled_bytes": {r.value: n for r, n in bill.spilled.items()},
        "table_bytes": bill.table_bytes,
        "code_bytes": bill.code_bytes,
        "macs_per_sample": {p: n / bill.batch for p, n in bill.macs.items()},
        "macs_by_width": bill.widths(),
        "read_bits_per_sample": {k: n / bill.batch for k, n in reads.items()},
        "write_bits_per_sample": {k: n / bill.batch for k, n in writes.items()},
        "energy_pj_per_sample": _plain(bill.energy),
        "energy_pj_by_phase": {k: _plain(b) for k, b in bill.energy_by(lambda r: r.phase).items()},
        "energy_pj_by_level": {k: _plain(b) for k, b in bill.energy_by_level().items()},
        "cycles_per_sample": _plain(bill.cycles),
        "seconds_per_sample": _plain(bill.seconds),
        "area_um2": _plain(bill.area),
        "fabric": dict(bill.fabric) if bill.fabric is not None else None,
        "writes_per_weight_per_sample": dict(bill.writes_per_weight),
        "lifetime_samples": _plain(bill.lifetime_samples),
        "triggers": dict(bill.triggers),
        "unknown": bill.missing(),
        "omits": list(bill.omits),
        "rows": list(_rows(bill)),
        "cites": {i: cited(bill.target, e) for i, e in bill.cites().items()},
    }


def _plain(band: Band | None) -> dict[str, float] | None:
    return None if band is None else {"low": band.low, "central": band.central, "high": band.high}


def _rows(bill: Bill) -> Iterator[dict[str, Any]]:
    for row in bill.rows:
        yield {
            "index": row.index,
            "op": row.op,
            "layer": row.layer,
            "phase": row.phase,
            "macs": dict(row.macs),
            "other": dict(row.other),
            "random": row.random,
            "read_bits": dict(row.reads),
            "write_bits": dict(row.writes),
            "energy_pj": _plain(bill.priced(row.uses)),
            "cycles": _plain(row.cycles),
            "utilisation": row.utilisation,
            "share": row.share,
        }


def cited(target: Target, entry: Entry) -> dict[str, Any]:
    """An entry as plain values, with the text of its source."""
    band = {"value": entry.value, "low": entry.low, "high": entry.high, "unit": entry.unit}
    return {**band, "confidence": entry.confidence, "source": target.sources[entry.source]}
