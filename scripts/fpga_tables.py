"""Generated parts of docs/fpga.md about hardware, from what benchmarks/fpga.py has stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "fpga.json"
LANES = (4, 8, 16, 32)


def _stored(part: str) -> dict[str, Any]:
    rows: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")).get(part, {})
    return rows


def cells_table() -> str:
    """A row a build: cells, and learning's share over inference at as many lanes."""
    rows = _stored("cells")
    lines = [
        "| build | TRELLIS_COMB | over inference | LUT4 | carry | LUT RAM | flip-flops | DSP | block RAM |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in sorted(rows, key=lambda name: (int(name.split()[0]), name)):
        row, base = rows[name], rows.get(f"{name.split()[0]} lanes, inference")
        share = (
            f"{row['comb'] / base['comb'] - 1:+.1%}".replace("%", " %") if base and "learning" in name else ""
        )
        parts = (row[k] for k in ("lut4", "carry", "lut_ram", "ff", "dsp", "bram"))
        lines.append(f"| {name} | {row['comb']:,} | {share} | " + " | ".join(f"{n:,}" for n in parts) + " |")
    learning = rows.get("8 lanes, learning")
    bases = {"S = 16": "8 lanes, inference, S = 16", "no dot product": "8 lanes, inference without dot"}
    shares = [
        f"{learning['comb'] / rows[base]['comb'] - 1:+.1%}".replace("%", " %")
        + f" over inference with {what}"
        for what, base in bases.items()
        if learning and base in rows
    ]
    return "\n".join(lines) + f"\n\n8 lanes with learning: {', '.join(shares)}.\n"


def clocks_table() -> str:
    """A row a build: the clock of each seed, and cells after place and route of the first."""
    rows, found = _stored("clocks"), dict[str, list[dict[str, Any]]]()
    for name, row in sorted(rows.items()):
        found.setdefault(name.rpartition(", seed")[0], []).append(row)
    if not found:
        return "Not run yet: `python benchmarks/fpga.py clocks`.\n"
    lines = ["| build | seeds | MHz | TRELLIS_COMB | flip-flops |", "| --- | --- | --- | --- | --- |"]
    for name, runs in sorted(found.items(), key=lambda item: (int(item[0].split()[0]), item[0])):
        clocks = ", ".join(f"{run['mhz']:.1f}" for run in runs)
        lines.append(f"| {name} | {len(runs)} | {clocks} | {runs[0]['comb']:,} | {runs[0]['ff']:,} |")
    return "\n".join(lines) + "\n"


def steps_table() -> str:
    """A row a long run of the RTL beside C."""
    rows = _stored("steps")
    if not rows:
        return "Not run yet: `python benchmarks/fpga.py steps`.\n"
    head = "| run | steps | rate | residents and cycles | test accuracy by the RTL (samples) | scores | cycles a step |"
    lines = [head, "| --- | --- | --- | --- | --- | --- | --- |"]
    for name, row in rows.items():
        if "steps" not in row:
            lines.append(f"| {name} | – | – | refused: {row['refused']} | – | – | – |")
            continue
        if "differs" in row:
            what = ", ".join(row["differs"])
            lines.append(f"| {name} | {row['steps']:,} | {row['lr']:g} | **differ: {what}** | – | – | – |")
            continue
        cycles = row["cycles"]
        span = f"{cycles['least']:,} to {cycles['most']:,}, mean {cycles['mean']:,.0f}"
        same = "equal" if row["scores equal"] else "differ"
        accuracy = f"{row['accuracy']:.2%} ({row['tested']:,})".replace("%", " %")
        lines.append(f"| {name} | {row['steps']:,} | {row['lr']:g} | equal | {accuracy} | {same} | {span} |")
    return "\n".join(lines) + "\n"


def ice40_table() -> str:
    """A row a build of 4 lanes for an iCE40 UP5K, and what that chip has (its data sheet)."""
    rows = _stored("ice40")
    if not rows:
        return "Not run yet: `python benchmarks/fpga.py ice40`.\n"
    kinds = {"logic cells' LUTs": ("SB_LUT4",), "flip-flops": ("SB_DFF",)}
    kinds |= {"MAC16": ("SB_MAC16",), "block RAMs of 4 kbit": ("SB_RAM40_4K",)}
    lines = [f"| build | {' | '.join(kinds)} |", "| --- |" + " --- |" * len(kinds)]
    for name, row in rows.items():
        sums = (sum(n for cell, n in row.items() if cell.startswith(start)) for (start,) in kinds.values())
        lines.append(f"| {name} | " + " | ".join(f"{n:,}" for n in sums) + " |")
    return "\n".join([*lines, "| an UP5K has | 5,280 | 5,280 | 8 | 30 |"]) + "\n"


def parts() -> dict[str, str]:
    """By name of the generated part."""
    tables = {"cells": cells_table, "clocks": clocks_table, "steps": steps_table, "ice40": ice40_table}
    return {f"fpga {name}": table() for name, table in tables.items()}
