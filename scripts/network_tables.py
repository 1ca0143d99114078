"""Generated parts of docs/own-network.md: which layers of PyTorch are captured, and what becomes of whole networks."""

from __future__ import annotations

import json
from pathlib import Path

from insitu.network.torch.aten import supported

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def layers() -> str:
    """Classes of ``torch.nn`` in the order of the table of ATen ops."""
    return ", ".join(f"`nn.{name}`" for name in supported().classes) + ".\n"


def networks() -> str:
    """From benchmarks/results/own_networks.json."""
    found = json.loads((RESULTS / "own_networks.json").read_text(encoding="utf-8"))
    lines = ["| network | rules in float32 | in 8-bit words | what is said |", "| --- | --- | --- | --- |"]
    for name, entry in found.items():
        if "refused" in entry:
            lines.append(f"| {name} | – | – | {entry['refused']} |")
        else:
            counts = (f"{len(entry[key])} of 8" for key in ("float32", "8-bit"))
            lines.append(f"| {name} | {' | '.join(counts)} | {entry['reason']} |")
    return "\n".join(lines) + "\n"


def fits() -> str:
    """From benchmarks/results/fits.json: bytes, and the rules that fit the RAM of each board."""
    found = json.loads((RESULTS / "fits.json").read_text(encoding="utf-8"))
    boards, rules = found["boards"], list(next(iter(found["networks"].values())))
    heads = [f"{name}, {ram >> 10:,} KiB" for name, ram in boards.items()]
    lines = [
        f"| network | inference | {' | '.join(f'`{rule}`' for rule in rules)} | {' | '.join(heads)} |",
        "| --- | --- |" + " --- |" * (len(rules) + len(boards)),
    ]
    for name, entry in found["networks"].items():
        sizes = {rule: entry[rule]["bytes"] for rule in rules if "bytes" in entry[rule]}
        inference = next(entry[rule]["inference"] for rule in sizes)
        cells = [f"{sizes[rule]:,}" if rule in sizes else "–" for rule in rules]
        for ram in boards.values():
            fit = [rule for rule, size in sizes.items() if size <= ram]
            cells.append("all" if fit == rules else ", ".join(f"`{rule}`" for rule in fit) or "–")
        lines.append(f"| {name} | {inference:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def parts() -> dict[str, str]:
    return {"torch layers": layers(), "own networks": networks(), "fits": fits()}
