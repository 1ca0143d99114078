"""The FPGA project of a program: Verilog, memory images, a golden trace with its test bench, and the board's files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from insitu.backends.engine import isa
from insitu.backends.engine.image import Image, fitted
from insitu.backends.engine.trace import MEMORIES, golden
from insitu.backends.protocol import check_folder
from insitu.backends.rtl import sim, synth, tools
from insitu.backends.rtl.axi import Axi
from insitu.backends.rtl.board import Board
from insitu.backends.rtl.device import parameters
from insitu.backends.rtl.engine.top import Engine
from insitu.backends.rtl.parameters import Parameters
from insitu.errors import StepError
from insitu.run.files import make_folder, write_atomic
from insitu.run.program import Program

RUNTIME = Path(__file__).parent / "runtime"
MARK = "trace.txt"
"""The file by which a folder is known as such a project."""


@dataclass(frozen=True)
class Project:
    """What is written.

    Attributes:
        image: microcode and memories.
        learn: with learning.
        hardware: the engine that it is for.
    """

    image: Image
    learn: bool
    hardware: Parameters = field(init=False)

    def __post_init__(self) -> None:
        made = parameters(self.image.build)
        object.__setattr__(
            self, "hardware", replace(made, learn=self.learn, softmax=made.softmax and self.learn)
        )

    @staticmethod
    def of(program: Program, lanes: int, learn: bool) -> Project:
        """The smallest engine that holds the program."""
        return Project(fitted(program, lanes), learn)

    # --- the golden trace ----------------------------------------------------------------------------------------

    @cached_property
    def trace(self) -> list[str]:
        """Lines of the golden trace.

        Raises:
            StepError: the executor and the integer reference differ.
        """
        return golden(self.image, self.learn)

    # --- files ---------------------------------------------------------------------------------------------------

    def files(self) -> Iterator[tuple[str, str]]:
        """Name and text of each file but the Verilog."""
        p = self.hardware
        yield MARK, "\n".join(self.trace) + "\n"
        yield "sim.cpp", (RUNTIME / "sim.cpp").read_text()
        yield "test.cpp", (RUNTIME / "test.cpp").read_text()
        yield "ulx3s.lpf", (RUNTIME / "ulx3s.lpf").read_text()
        yield "README.md", (RUNTIME / "README.md").read_text()
        defines = " ".join(sim.defines(p))
        yield "Makefile", (RUNTIME / "Makefile.in").read_text().replace("@defines@", defines)
        yield "microcode.txt", "\n".join(isa.disassemble(self.image.code.words)) + "\n"

    def write(self, folder: Path) -> None:
        """Writes the project.

        Raises:
            ConfigError: the folder holds something else.
        """
        check_folder(folder, MARK)
        texts = dict(self.files())
        make_folder(folder)
        for name, text in texts.items():
            write_atomic(folder / name, text)
        made: dict[str, Engine | Board | Axi] = {
            "engine": Engine(self.hardware),
            "board": Board(self.hardware),
            "axi": Axi(self.hardware),
        }
        for name, design in made.items():
            source = folder / f"{name}.il"
            write_atomic(source, tools.rtlil(design, design.ports(), name))
            tools.verilog(source, folder / f"{name}.v")

    # --- what it amounts to -----------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        p, image = self.hardware, self.image
        runs = [int(line.split()[3]) for line in self.trace if line.startswith("run ")]
        return {
            "lanes": p.lanes,
            "learn": p.learn,
            "a_bytes": image.a_bytes,
            "w_words": image.w_words,
            "instructions": len(image.words),
            "cycles": {"training": runs[1:-1], "inference": runs[-1]},
        }

    def run(self, folder: Path) -> dict[str, Any]:
        """Simulates the golden trace and synthesizes for an ECP5.

        Raises:
            StepError: the simulated engine does something else.
        """
        replay(self.trace, sim.Simulation(self.hardware))
        found = synth.cells(self.hardware, folder, "netlist")
        return {"golden": "equal", "cells": {k: found[k] for k in ("comb", "ff", "dsp", "bram")}}

    def text(self, facts: dict[str, Any]) -> str:
        cycles, p = facts["cycles"], self.image.program
        training = f"{min(cycles['training'])} to {max(cycles['training'])}" if cycles["training"] else "none"
        lines = [
            f"{p.name}: {facts['lanes']} lanes{'' if facts['learn'] else ' without learning'}, "
            f"{facts['a_bytes']:,} bytes of activations, {facts['w_words']:,} words of weights, "
            f"{facts['instructions']:,} instructions",
            f"cycles of a training step: {training}; of an inference: {cycles['inference']}",
        ]
        if "cells" in facts:
            said = ", ".join(f"{k} {n:,}" for k, n in facts["cells"].items())
            lines += ["golden trace: equal in simulation", f"ECP5 cells by synthesis: {said}"]
        return "\n".join(lines) + "\n"


def replay(trace: list[str], simulation: sim.Simulation) -> None:
    """Does what a golden trace says.

    Raises:
        StepError: cycles, or what is read, are not as it says; names the line.
    """
    names = {number: name for name, number in MEMORIES.items()}
    for n, line in enumerate(trace, 1):
        what, *rest = line.split()
        if what == "run":
            entry, label, cycles = map(int, rest)
            if (taken := simulation.run(entry, label)) != cycles:
                raise StepError(
                    f"line {n} of the golden trace: a run takes {taken} cycles, expected {cycles}"
                )
            continue
        memory, address, count = (int(word) for word in rest[:3])
        words = simulation.host_words([int(word, 16) for word in rest[3:]])
        if what == "write":
            simulation.write_words(names[memory], address, words)
        elif not np.array_equal(
            simulation.read_words(names[memory], address, count)[:, : words.shape[1]], words
        ):
            raise StepError(
                f"line {n} of the golden trace: memory {names[memory]} from {address} on is another one"
            )
