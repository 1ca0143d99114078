"""Generated parts of docs/systemc.md: the map of the bus, and what benchmarks/systemc.py found."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from insitu.backends.engine import bus

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "systemc.json"


def register_table() -> str:
    lines = ["| address | register | | in hardware | what |", "| --- | --- | --- | --- | --- |"]
    for r in bus.REGISTERS:
        access = "rw" if r.reads and r.writes else "r" if r.reads else "w"
        lines.append(
            f"| {r.address:#04x} | `{r.name}` | {access} | {'yes' if r.hardware else ''} | {r.doc} |"
        )
    return "\n".join(lines) + "\n"


def command_table() -> str:
    lines = ["| bit | command | |", "| --- | --- | --- |"]
    lines += [f"| {bit} | `{name}` | {doc} |" for name, (bit, doc) in bus.COMMANDS.items()]
    return "\n".join(lines) + "\n"


def window_table() -> str:
    lines = ["| address | most bytes | memory |", "| --- | --- | --- |"]
    lines += [f"| {at:#x} | {size:,} | `{name}`: {doc} |" for name, (at, size, doc) in bus.WINDOWS.items()]
    return "\n".join(lines) + "\n"


def _part(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))[name]
    return found


def equal_table() -> str:
    """Steps in which the model equals the reference and the RTL."""
    lines = ["| beside | network | rule | steps | bits and cycles |", "| --- | --- | --- | --- | --- |"]
    by: dict[tuple[str, int, str], list[str]] = {}
    for row, r in _part("rules").items():
        network, rule = row.split(", ")
        by.setdefault((network, r["steps"], ", ".join(r["differs"]) or "equal"), []).append(f"`{rule}`")
    for (network, steps, found), rules in by.items():
        lines.append(f"| the integer reference | {network} | {', '.join(rules)} | {steps:,} each | {found} |")
    for row, r in _part("rtl").items():
        network, rule, _ = row.split(", ")
        cells = f"{network} | `{rule}` | {r['steps']:,} | {'equal' if r['equal'] else 'different'}"
        lines.append(f"| the RTL in Verilator | {cells} |")
    return "\n".join(lines) + "\n"


def speed_table() -> str:
    rows = _part("speed")
    columns = list(next(iter(rows.values())))
    lines = [f"| network, rule | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    lines += [f"| {row} | {' | '.join(f'{r[c]:,}' for c in columns)} |" for row, r in rows.items()]
    return "\n".join(lines) + "\n"


def platform_text() -> str:
    """What the system on chip printed."""
    return "```\n" + "\n".join(_part("platform")["DMA"]) + "\n```\n"


def space_table() -> str:
    """Samples a second, and the share of the time in which the bus is taken."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for name, row in _part("space").items():
        where, _, bits = name.rpartition(", ")
        found.setdefault(where, {})[int(bits.split()[0])] = row
    widths = sorted({bits for by in found.values() for bits in by})
    lines = [
        f"| | {' | '.join(f'{bits} bits' for bits in widths)} |",
        "| --- |" + " --- |" * len(widths),
    ]
    for where in sorted(found, key=lambda text: [int(n) for n in re.findall(r"\d+", text)]):
        cells = [
            f"{r['samples a second']:,} ({100 * r['bus taken']:.0f} %)"
            for _, r in sorted(found[where].items())
        ]
        lines.append(f"| {where} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def parts() -> dict[str, str]:
    """All generated parts by name."""
    return {
        "bus registers": register_table(),
        "bus commands": command_table(),
        "bus windows": window_table(),
        "systemc equal": equal_table(),
        "systemc speed": speed_table(),
        "systemc platform": platform_text(),
        "systemc space": space_table(),
    }
