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


def parts() -> dict[str, str]:
    return {"torch layers": layers(), "own networks": networks()}
