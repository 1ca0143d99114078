"""Which register or memory every LUT of a netlist feeds: where an area comes from.

A LUT belongs to the flip-flops and memories whose inputs it helps to make; of several, to the one with the fewest LUTs
in its cone. Names are those of the source, with numbers replaced, so that lanes and bits add up.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from insitu.backends.rtl.tools import TOP

WEIGHTS = {"LUT4": 1, "CCU2C": 2}
LOGIC = {*WEIGHTS, "PFUMX", "L6MUX21"}
CONTROL = {"CE", "LSR"}
"""Inputs of a flip-flop that are told apart from its data."""

Cell = Mapping[str, Any]


def attribute(netlist: Path) -> Counter[str]:
    """LUTs (a carry cell is two) by what they feed, of an ECP5 netlist in Yosys's JSON."""
    module = json.loads(netlist.read_text())["modules"][TOP]
    names, cells = _names(module), module["cells"]
    drivers = {bit: cell for cell, c in cells.items() if c["type"] in LOGIC for bit in _bits(c, "output")}
    owners: dict[str, set[str]] = defaultdict(set)
    for sink, bits in _sinks(cells, names):
        for cell in _cone(bits, drivers, cells):
            owners[cell].add(sink)
    cost = {cell: WEIGHTS.get(cells[cell]["type"], 0) for cell in owners}
    size: Counter[str] = Counter()
    for cell, sinks in owners.items():
        size.update(dict.fromkeys(sinks, cost[cell]))
    found: Counter[str] = Counter()
    for cell, sinks in owners.items():
        found[min(sinks, key=lambda sink: (size[sink], sink))] += cost[cell]
    return found


def compared(before: Path, after: Path, most: int = 30) -> str:
    """What two netlists feed, a line each, the largest differences first."""
    old, new = attribute(before), attribute(after)
    rows = sorted({*old, *new}, key=lambda name: (-abs(new[name] - old[name]), name))[:most]
    lines = [f"{name:40s} {old[name]:5d} {new[name]:5d} {new[name] - old[name]:+5d}" for name in rows]
    return "\n".join(
        [*lines, f"{'all':40s} {old.total():5d} {new.total():5d} {new.total() - old.total():+5d}"]
    )


def _names(module: Mapping[str, Any]) -> dict[int, str]:
    """The shortest name of every net."""
    found: dict[int, str] = {}
    for name, net in module["netnames"].items():
        for bit in net["bits"]:
            if (
                not net.get("hide_name")
                and isinstance(bit, int)
                and len(name) < len(found.get(bit, name + " "))
            ):
                found[bit] = name
    return found


def _bits(cell: Cell, direction: str) -> list[int]:
    pins = (pin for pin, way in cell["port_directions"].items() if way == direction)
    return [bit for pin in pins for bit in cell["connections"][pin] if isinstance(bit, int)]


def _sinks(cells: Mapping[str, Cell], names: Mapping[int, str]) -> Iterator[tuple[str, list[int]]]:
    """What is fed: registers by name, with data and control apart; other cells by kind."""
    for name, cell in cells.items():
        if cell["type"] in LOGIC:
            continue
        if cell["type"] != "TRELLIS_FF":
            yield cell["type"], _bits(cell, "input")
            continue
        (out,) = _bits(cell, "output")
        register = re.sub(r"\d+", "#", names.get(out, name).split("[")[0])
        for pin in ("DI", *CONTROL):
            bits = [bit for bit in cell["connections"].get(pin, []) if isinstance(bit, int)]
            yield register + (f".{pin}" if pin in CONTROL else ""), bits


def _cone(bits: list[int], drivers: Mapping[int, str], cells: Mapping[str, Cell]) -> set[str]:
    """The logic cells that some nets come from, back to registers."""
    seen: set[str] = set()
    queue = list(bits)
    while queue:
        cell = drivers.get(queue.pop())
        if cell is not None and cell not in seen:
            seen.add(cell)
            queue += _bits(cells[cell], "input")
    return seen
