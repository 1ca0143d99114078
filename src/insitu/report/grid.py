"""The sortable table of the report page, as plain data for its template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from insitu.experiment.record import Row
from insitu.report.measure import Measure, bytes_cost, measure_of
from insitu.report.palette import PHASES, ROLES
from insitu.report.units import count_text, kib, percent, ratio, seconds_text

Value = float | None


@dataclass(frozen=True)
class Column:
    """A column under a group heading; ``best`` tells which end of its values is marked."""

    group: str
    title: str
    hint: str
    value: Callable[[Row], Value]
    text: Callable[[Row], str]
    best: str = ""


@dataclass(frozen=True)
class Cell:
    """A number as shown, its exact value for sorting, whether it is the best of its column, and whether its
    column opens a group."""

    text: str
    value: Value
    best: bool
    first: bool


@dataclass(frozen=True)
class Grid:
    """Head and body of the table."""

    groups: list[tuple[str, int]]
    columns: list[Column]
    body: list[tuple[Row, list[Cell]]]


def grid(rows: Sequence[Row]) -> Grid:
    """The table of one network."""
    columns = _columns(rows, measure_of(rows))
    groups = [(title, len(list(run))) for title, run in groupby(columns, key=lambda c: c.group)]
    best = [_best(column, rows) for column in columns]
    first = [i == 0 or columns[i - 1].group != column.group for i, column in enumerate(columns)]
    body = []
    for row in rows:
        values = [column.value(row) for column in columns]
        cells = [
            Cell(column.text(row), value, value is not None and value == mark, opens)
            for column, value, mark, opens in zip(columns, values, best, first, strict=True)
        ]
        body.append((row, cells))
    return Grid(groups, columns, body)


def _best(column: Column, rows: Sequence[Row]) -> Value:
    known = [value for row in rows if (value := column.value(row)) is not None]
    if not column.best or len(set(known)) < 2:
        return None
    return max(known) if column.best == "high" else min(known)


def _columns(rows: Sequence[Row], measure: Measure) -> list[Column]:
    return [
        *_score_columns(rows, measure),
        *_byte_columns(rows),
        *_mac_columns(rows),
        Column("Time", "a seed", "training time of a seed, without evaluation", lambda r: r.seconds,
               lambda r: seconds_text(r.seconds)),
    ]  # fmt: skip


def _score_columns(rows: Sequence[Row], measure: Measure) -> list[Column]:
    def mean(row: Row) -> Value:
        spread = measure.of(row)
        return spread.mean if spread else None

    title = f"{measure.unit}, mean ± sd" if measure.unit else "mean ± sd"
    best = "high" if measure.higher else "low"
    heading = measure.title.capitalize()
    shown = lambda r: measure.text(measure.of(r)).removesuffix(f" {measure.unit}")  # noqa: E731
    columns = [Column(heading, title, f"{measure.title} over the seeds", mean, shown, best)]
    if any(row.warning for row in rows):
        columns.append(
            Column(heading, "warning", "diverged, or not above the share of the most frequent class",
                   lambda r: float(bool(r.warning)), lambda r: r.warning or "no")
        )  # fmt: skip
    if any(row.diverged for row in rows):
        columns.append(
            Column(heading, "diverged", "seeds whose loss left the finite numbers",
                   lambda r: r.diverged, lambda r: f"{r.diverged} of {len(r.seeds)}")
        )  # fmt: skip
    return columns


def _byte_columns(rows: Sequence[Row]) -> list[Column]:
    heading = "Bytes at the peak of the fused step (KiB)"
    total = Column(heading, "total", "all roles", lambda r: r.peak_bytes.total,
                   lambda r: kib(r.peak_bytes.total), "low")  # fmt: skip
    used = [role for role in ROLES if any(getattr(row.peak_bytes, role) for row in rows)]
    over_inference = bytes_cost(rows).of
    return [
        total,
        *(_role_column(heading, role) for role in used),
        Column(heading, "eager", "peak of the step as the rule emits it, before fusion",
               lambda r: r.eager_bytes.total, lambda r: kib(r.eager_bytes.total)),
        Column(heading, "× inf.", "peak over the least of inference", over_inference,
               lambda r: ratio(over_inference(r))),
        Column(heading, "× BP", "peak over that of bp", lambda r: r.bytes_to_bp,
               lambda r: ratio(r.bytes_to_bp)),
    ]  # fmt: skip


def _role_column(heading: str, role: str) -> Column:
    def value(row: Row) -> Value:
        found: int = getattr(row.peak_bytes, role)
        return found

    return Column(heading, role, f"bytes of role {role}", value, lambda r: kib(value(r)))


def _mac_columns(rows: Sequence[Row]) -> list[Column]:
    heading = "Multiply-accumulates per sample"
    used = [phase for phase in PHASES if any(getattr(row.macs_per_sample, phase) for row in rows)]
    return [
        Column(heading, "total", "all phases", lambda r: r.macs_per_sample.total,
               lambda r: count_text(r.macs_per_sample.total), "low"),
        *(_phase_column(heading, phase) for phase in used),
        Column(heading, "× inf.", "over those of inference", lambda r: r.macs_to_inference,
               lambda r: ratio(r.macs_to_inference)),
        Column(heading, "× BP", "over those of bp", lambda r: r.macs_to_bp, lambda r: ratio(r.macs_to_bp)),
    ]  # fmt: skip


def _phase_column(heading: str, phase: str) -> Column:
    def value(row: Row) -> Value:
        found: float = getattr(row.macs_per_sample, phase)
        return found

    return Column(heading, phase, f"phase {phase}", value, lambda r: count_text(value(r)))


def bar(row: Row, top: int) -> list[tuple[str, str, str]]:
    """Role, width and tooltip of the pieces of a bar as long as the peak, against the largest one."""
    parts = [(role, getattr(row.peak_bytes, role)) for role in ROLES]
    return [
        (role, f"{100 * size / top:.2f}", f"{role} {percent(size / row.peak_bytes.total, 0)}")
        for role, size in parts
        if size
    ]
