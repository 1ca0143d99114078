"""What the engine takes of an FPGA: cells by synthesis, and the clock after place and route.

Learning is charged with the difference of two builds of one source by one flow: ``learn=True`` and ``learn=False``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from insitu.backends.rtl import tools
from insitu.backends.rtl.engine.top import Engine
from insitu.backends.rtl.parameters import Parameters

REFERENCE: dict[str, Any] = {
    "a_words": 512,
    "w_words": 512,
    "code_words": 512,
    "generator": "register",
    "positions": False,
}
"""Memories of all builds that are compared, and parts that not every rule needs."""
CELLS = {"lut4": "LUT4", "carry": "CCU2C", "lut_ram": "TRELLIS_DPR16X4", "ff": "TRELLIS_FF"}
BLOCKS = {"dsp": "MULT18X18D", "bram": "DP16KD"}


def reference(lanes: int = 8, **parts: Any) -> Parameters:
    """A build to compare: without softmax and positions unless asked for; addresses are longer at 32 lanes."""
    address_bits = max(Parameters.address_bits, (REFERENCE["a_words"] * lanes - 1).bit_length())
    return Parameters(lanes=lanes, **REFERENCE | {"softmax": False, "address_bits": address_bits} | parts)


def written(p: Parameters, folder: Path, name: str) -> Path:
    """The RTLIL of a build in a folder."""
    design = Engine(p)
    path = folder / f"{name}.il"
    path.write_text(tools.rtlil(design, design.ports()))
    return path


def digest(path: Path) -> str:
    """Says which hardware a figure is of, wherever its source lies."""
    lines = (line for line in path.read_text().splitlines() if "attribute \\src" not in line)
    return sha256("\n".join(lines).encode()).hexdigest()[:16]


def cells(p: Parameters, folder: Path, name: str) -> dict[str, Any]:
    """Cells of a build on an ECP5; its netlist stays in the folder.

    ``comb`` is what nextpnr calls TRELLIS_COMB before it packs: a LUT, 2 of a carry cell, 4 of a LUT RAM.
    """
    source = written(p, folder, name)
    counts = tools.synthesize(source, folder / f"{name}.json")
    found = {short: counts.get(cell, 0) for short, cell in {**CELLS, **BLOCKS}.items()}
    return {"comb": tools.comb(counts), **found, "digest": digest(source), "build": asdict(p)}


def clock(folder: Path, name: str, seed: int) -> dict[str, Any]:
    """The clock in MHz and the cells of a netlist after place and route on an LFE5U-85F of speed grade 6."""
    report = tools.place(folder / f"{name}.json", folder / f"{name}-{seed}.report", seed=seed)
    (fmax,) = report["fmax"].values()
    used: Mapping[str, Mapping[str, int]] = report["utilization"]
    return {
        "mhz": round(fmax["achieved"], 1),
        "comb": used["TRELLIS_COMB"]["used"],
        "ff": used["TRELLIS_FF"]["used"],
    }
