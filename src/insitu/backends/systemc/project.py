"""The SystemC project of a program: the model, the program as data, samples, a golden trace."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from insitu.backends.engine import isa
from insitu.backends.engine.trace import golden
from insitu.backends.protocol import check_folder
from insitu.backends.systemc.data import Data
from insitu.backends.systemc.device import RUNTIME, sources
from insitu.errors import StepError
from insitu.run.files import make_folder, write_atomic
from insitu.run.program import Program

MARK = "program.txt"
"""The file by which a folder is known as such a project."""

LEARN = "./soc program.txt samples.bin\n\t./face-test program.txt samples.bin"
"""What a test of a program that learns does beside the trace."""


@dataclass(frozen=True)
class Project:
    """What is written.

    Attributes:
        data: program and samples.
        steps: training steps of the golden trace.
    """

    data: Data
    steps: int

    @staticmethod
    def of(program: Program, lanes: int, steps: int) -> Project:
        """For the smallest engine that holds the program."""
        return Project(Data.fitted(program, lanes), steps)

    @cached_property
    def trace(self) -> list[str]:
        image = self.data.image
        few = replace(image.program, batches=image.program.batches[: self.steps])
        return golden(replace(image, program=few))

    def files(self) -> Iterator[tuple[str, str]]:
        """Name and text of each file but the samples."""
        yield MARK, self.data.text
        yield "trace.txt", "\n".join(self.trace) + "\n"
        yield "microcode.txt", "\n".join(isa.disassemble(self.data.image.code.words)) + "\n"
        yield from sources().items()
        for path in sorted((RUNTIME / "faces").iterdir()):
            yield f"faces/{path.name.removesuffix('.in')}", path.read_text()
        yield "README.md", (RUNTIME / "README.md").read_text()
        yield "Makefile", (RUNTIME / "Makefile.in").read_text().replace("@learn@", LEARN)

    def write(self, folder: Path) -> None:
        """Writes the project.

        Raises:
            ConfigError: the folder holds something else.
        """
        check_folder(folder, MARK)
        make_folder(folder / "faces")
        for name, text in self.files():
            write_atomic(folder / name, text)
        write_atomic(folder / "samples.bin", self.data.samples(self.data.image.program.batches))

    def facts(self) -> dict[str, Any]:
        image = self.data.image
        runs = [int(line.split()[3]) for line in self.trace if line.startswith("run ")]
        return {
            "lanes": image.build.lanes,
            "a_bytes": image.a_bytes,
            "w_words": image.w_words,
            "instructions": len(image.code.words),
            "rates": len(self.data.bases),
            "samples": len(image.program.batches),
            "cycles": {"training": runs[1:-1], "inference": runs[-1]},
        }

    def run(self, folder: Path) -> str:
        """Builds the project and runs its own test; what the platform printed.

        Raises:
            StepError: it failed.
        """
        done = subprocess.run(["make", "-s", "test"], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StepError(f"make test in {folder} failed: {(done.stdout + done.stderr)[-600:]}")
        return done.stdout

    def text(self, facts: dict[str, Any]) -> str:
        cycles = facts["cycles"]
        return (
            f"{self.data.image.program.name}: {facts['lanes']} lanes, {facts['a_bytes']:,} bytes of activations, "
            f"{facts['w_words']:,} words of weights, {facts['instructions']:,} instructions for each of "
            f"{facts['rates']} learning rates, {facts['samples']:,} samples\n"
            f"cycles of a training step: {min(cycles['training'])} to {max(cycles['training'])}; "
            f"of an inference: {cycles['inference']}\n"
        )
