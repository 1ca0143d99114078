"""A bill as text: what learning costs on a target, where it goes, what it stands on and what it leaves out."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from insitu.experiment.impact import Impact
from insitu.experiment.memory import both
from insitu.experiment.to_accuracy import CostToAccuracy
from insitu.hardware.bill import Band, Bill, Row
from insitu.hardware.stability import Claim
from insitu.hardware.target import Array, Entry
from insitu.report.units import UNKNOWN, bytes_text, count_text, energy_text, percent, ratio, seconds_text

WIDTH = 118

Scalar = float | None


def band_text(band: Band | None, show: Callable[[float | None], str] = energy_text) -> str:
    """The central value, and the band where there is one."""
    if band is None:
        return UNKNOWN
    if band.low == band.high:
        return show(band.central)
    return f"{show(band.central)}  ({show(band.low)} to {show(band.high)})"


def micro_seconds(value: float | None) -> str:
    """Seconds, down to microseconds."""
    if value is None or value >= 0.1:
        return seconds_text(value)
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} µs"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    text = io.StringIO()
    Console(file=text, width=10 * WIDTH, highlight=False, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _over(value: Scalar, other: Scalar) -> str:
    return ratio(value / other) if value is not None and other else UNKNOWN


def _central(band: Band | None) -> Scalar:
    return None if band is None else band.central


MEASURES: tuple[tuple[str, Callable[[Impact], Scalar], Callable[[Impact], str]], ...] = (
    ("memory", lambda i: i.peak_bytes, lambda i: bytes_text(i.peak_bytes)),
    ("MACs", lambda i: i.macs, lambda i: count_text(i.macs)),
    ("energy", lambda i: _central(i.energy), lambda i: band_text(i.energy)),
    ("time", lambda i: _central(i.seconds), lambda i: band_text(i.seconds, micro_seconds)),
)


def _of_inference(impact: Impact, name: str) -> Scalar:
    bill = impact.inference
    values = {
        "memory": float(bill.peak_bytes),
        "MACs": impact.inference_macs,
        "energy": _central(bill.energy),
        "time": _central(bill.seconds),
    }
    return values[name]


def summary_text(impact: Impact, references: Mapping[str, Impact]) -> str:
    """The figures of one point and their ratios, where energy goes, and what limits them."""
    point, bill, target = impact.point, impact.bill, impact.inference.target
    norm = {"keep": "", "fold": ", batch norms folded", "rms": ", RMS norms"}[impact.program.norm]
    head = f"{point.network}, rule {point.name}, {point.precision}, batch {point.batch}{norm}\non {target.what}\n"
    others = [name for name in references if name != point.name]
    columns = ("per sample", "", "× inference", *(f"× {name}" for name in others))
    rows = [
        (name, text(impact), _over(value(impact), _of_inference(impact, name)),
         *(_over(value(impact), value(references[other])) for other in others))
        for name, value, text in MEASURES
    ]  # fmt: skip
    parts = [head, _table(columns, rows), _phases(impact), _levels(bill), _facts(impact)]
    return "\n".join(part for part in parts if part)


def _phases(impact: Impact) -> str:
    """Where operations and energy go, by phase; of a rule with phases in time, of the phase with the highest peak."""
    bill = impact.bill
    energy = bill.energy_by(lambda row: row.phase)
    total = _central(bill.energy)
    rows = []
    for phase in dict.fromkeys(row.phase for row in bill.rows):
        mine = [row for row in bill.rows if row.phase == phase]
        macs, other = (sum(sum(getattr(r, part).values()) for r in mine) for part in ("macs", "other"))
        words = sum(r.random for r in mine)
        cost = _central(energy[phase])
        rows.append(
            (phase, *(count_text(n / bill.batch) for n in (macs, other, words)), energy_text(cost),
             percent(cost / total if cost is not None and total else None))
        )  # fmt: skip
    return _table(("phase", "MACs", "other ops", "random words", "energy", "share"), rows)


def _levels(bill: Bill) -> str:
    reads, writes = bill.traffic()
    energy = bill.energy_by_level()
    rows = [
        (name, *(bytes_text(part[name] / 8 / bill.batch) if name in part else UNKNOWN for part in (reads, writes)),
         energy_text(_central(energy.get(name))) if name in energy else UNKNOWN)
        for name in dict.fromkeys([*energy, *reads, *writes])
    ]  # fmt: skip
    return _table(("level", "read", "written", "energy"), rows)


def _facts(impact: Impact) -> str:
    bill, target = impact.bill, impact.inference.target
    held = both(bill.by_role, impact.program.idle[impact.program.highest])
    roles = ", ".join(f"{role.value} {bytes_text(n)}" for role, n in held.items() if n)
    lines = [f"memory at the peak: {roles}"]
    if bill.table_bytes:
        lines.append(f"look-up tables: {bytes_text(bill.table_bytes)}")
    if bill.spilled:
        spilled = ", ".join(f"{role.value} {bytes_text(n)}" for role, n in bill.spilled.items())
        store = target.memory.store if isinstance(target, Array) else None
        lines.append(f"in the store ({store.technology if store else 'none'}): {spilled}")
    if bill.area is not None:
        lines.append(f"area: {band_text(bill.area.times(1e-6), lambda v: f'{v:.3g} mm²')}")
    if bill.fabric is not None:
        lines.append("fabric: " + ", ".join(f"{n:,} {name.upper()}" for name, n in bill.fabric.items()))
    lines += _triggers(impact.triggers)
    lines.append(f"writes per weight per sample: {impact.most_writes:.3g} at most")
    if (life := impact.lifetime_samples) is not None:
        lines.append(f"lifetime of the store: {band_text(life, count_text)} samples")
    if impact.problem:
        lines.append(f"does not fit: {impact.problem}")
    if missing := bill.missing():
        lines.append(f"unknown to this target, and so are the sums with them: {', '.join(missing)}")
    lines.append("not modelled: " + "; ".join(bill.omits))
    return "\n".join(lines) + "\n"


def _triggers(shares: Mapping[str, float]) -> list[str]:
    """What learning waits for, and what was taken for it."""
    if not shares:
        return []
    shown = ", ".join(f"{name} {percent(share)}" for name, share in shares.items())
    worst = "; every sample is the worst case, --triggers takes measured shares"
    return [f"learns from samples that trigger: {shown}{worst * all(s == 1 for s in shares.values())}"]


# --- the rows behind a number --------------------------------------------------------------------------------


def explain_text(bill: Bill) -> str:
    """Every row, and every entry of the cost table that they stand on."""
    total = _central(bill.energy)
    waits = any(row.share != 1 for row in bill.rows)
    rows = [(*_row_cells(bill, row, total), *([percent(row.share)] if waits else [])) for row in bill.rows]
    columns = (
        "op",
        "layer",
        "phase",
        "MACs",
        "other",
        "random",
        "read B",
        "written B",
        "energy",
        "share",
        "cycles",
    )
    columns = (*columns, "in use", *(["of the steps"] if waits else []))
    entries = [_entry_cells(bill, name, entry) for name, entry in bill.cites().items()]
    cited = _table(("entry", "value", "low", "high", "unit", "confidence", "source"), entries)
    used = {entry.source for entry in bill.cites().values()}
    sources = "".join(f"{key}: {text}\n" for key, text in bill.target.sources.items() if key in used)
    head = f"rows of one step ({bill.batch} sample{'s' if bill.batch > 1 else ''}); bytes by level\n"
    return "\n".join((head + _table(columns, rows), cited, "sources\n" + sources))


def _row_cells(bill: Bill, row: Row, total: Scalar) -> tuple[str, ...]:
    band = bill.priced(row.uses)
    per_sample = None if band is None else band.central / bill.batch

    def ops(found: Mapping[str, int]) -> str:
        return " ".join(f"{count_text(n)} {width}" for width, n in found.items()) or "0"

    def moved(found: Mapping[str, int]) -> str:
        return " ".join(f"{level} {count_text(n / 8)}" for level, n in found.items()) or "0"

    return (
        row.op, row.layer or "", row.phase, ops(row.macs), ops(row.other), count_text(row.random), moved(row.reads),
        moved(row.writes), energy_text(None if band is None else band.central),
        percent(per_sample / total if per_sample is not None and total else None),
        count_text(_central(row.cycles)), percent(row.utilisation) if row.utilisation is not None else "",
    )  # fmt: skip


def _entry_cells(bill: Bill, name: str, entry: Entry) -> tuple[str, ...]:
    numbers = (f"{v:.4g}" for v in (entry.value, entry.low, entry.high))
    return (name, *numbers, entry.unit, entry.confidence, entry.source)


# --- many points ---------------------------------------------------------------------------------------------


def points_text(rows: Sequence[Mapping[str, Any]], claims: Sequence[Claim] = ()) -> str:
    """A line per point, refused ones with their reason, and how stable the ranking is."""
    columns = (
        "rule",
        "precision",
        "target",
        "memory",
        "× inf.",
        "MACs × inf.",
        "energy",
        "low",
        "high",
        "× inf.",
        "time",
    )
    shown = [row for row in rows if row["peak_bytes"] is not None]
    parts = [_table(columns, map(_point_cells, shown))] if shown else []
    shares = dict.fromkeys(f"{r['rule']}: {r['triggers']}" for r in shown if r["triggers"])
    parts += ["samples that trigger, 1 of all\n" + "\n".join(shares) + "\n"] if shares else []
    refused = [f"{r['rule']}, {r['precision']}, {r['target']}: {r['refused']}" for r in rows if r["refused"]]
    parts += ["refused\n" + "\n".join(refused) + "\n"] if refused else []
    parts += ["ranking\n" + "\n".join(map(str, claims)) + "\n"] if claims else []
    return "\n".join(parts)


def _point_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    energies = (energy_text(row[k]) for k in ("energy_pj", "energy_pj_low", "energy_pj_high"))
    return (
        row["rule"], row["precision"], row["target"], bytes_text(row["peak_bytes"]), ratio(row["bytes_to_inference"]),
        ratio(row["macs_to_inference"]), *energies,
        ratio(row["energy_to_inference"]), micro_seconds(row["seconds"]),
    )  # fmt: skip


def to_accuracy_text(found: Sequence[CostToAccuracy], accuracy: float) -> str:
    """Energy and time to an accuracy, a line per rule and target."""
    columns = ("rule", "precision", "target", "seeds", "samples", "energy", "low", "high", "× bp", "time")
    rows = [_accuracy_cells(row) for row in found]
    refused = [f"{w.label} on {w.target}: {w.refused}" for w in found if w.refused]
    parts = [f"to {percent(accuracy)} of the test samples\n", _table(columns, rows)]
    shares = {
        w.label: ", ".join(f"{k} {percent(s)}" for k, s in w.triggers.items()) for w in found if w.triggers
    }
    parts += ["samples that trigger\n" + "".join(f"{k}: {v}\n" for k, v in shares.items())] if shares else []
    return "\n".join(parts + (["refused\n" + "\n".join(refused) + "\n"] if refused else []))


def _accuracy_cells(w: CostToAccuracy) -> tuple[str, ...]:
    energy = w.energy_pj
    bands = (energy.central, energy.low, energy.high) if energy is not None else (None,) * 3
    return (
        w.label, w.precision, w.target, f"{w.reached[0]} of {w.reached[1]}", count_text(w.samples),
        *map(energy_text, bands), ratio(w.to_bp), seconds_text(w.seconds),
    )  # fmt: skip
