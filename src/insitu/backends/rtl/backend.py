"""The learning engine in hardware as a backend: its projects, and the simulated RTL as an engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from insitu.backends.engine.build import PRECISION
from insitu.backends.protocol import Backend, Written
from insitu.errors import ConfigError

if TYPE_CHECKING:
    from insitu.backends.engine.trainer import HostedEngine
    from insitu.run.program import Program
    from insitu.step.ir import Step

GOLDEN_STEPS = 8
"""Training steps of the golden trace."""


@dataclass(frozen=True)
class Options:
    """What an export of hardware can be asked for."""

    lanes: int = field(default=8, metadata={"help": "Products in a cycle: 4, 8, 16 or 32."})
    learn: bool = field(
        default=True,
        metadata={"flag": "--learn/--no-learn", "help": "With learning, or for inference alone."},
    )
    board: str = field(default="ulx3s", metadata={"help": "The board of the constraints: ulx3s."})
    build: bool = field(
        default=False,
        metadata={
            "flag": "--run",
            "help": "Simulate the golden trace and synthesize, and print what was found.",
        },
    )

    def __post_init__(self) -> None:
        if self.board != "ulx3s":
            raise ConfigError(
                f"board {self.board!r} has no constraints here; use ulx3s, or write an .lpf for yours"
            )


class Rtl(Backend):
    """An FPGA project: Verilog of the learning engine, its memories, a golden trace and a test bench."""

    name = "rtl"
    options = Options
    runs = True
    precision = PRECISION

    def missing(self) -> str | None:
        from importlib.util import find_spec

        if find_spec("amaranth") is None:
            return "amaranth is not installed; pip install 'insitu[fpga]'"
        from insitu.backends.rtl.sim import missing

        return missing()

    def refuse(self, step: Step) -> list[str]:
        from insitu.backends.engine.backend import by_registers

        return by_registers(step)

    def steps(self, options: Options) -> int:
        return GOLDEN_STEPS if options.learn else 1

    def write(self, program: Program, folder: Path, options: Options) -> Written:
        from insitu.backends.rtl.project import Project

        self._complain()
        project = Project.of(program, options.lanes, options.learn)
        project.write(folder)
        facts = project.facts()
        if options.build:
            facts |= project.run(folder)
        note = f"project {folder}: 'make test' in it proves the bits again, 'make bitstream' is for a ULX3S"
        return Written(folder, project.text(facts), facts, note)

    def engine(self, program: Program) -> HostedEngine:
        from insitu.backends.engine.image import fitted
        from insitu.backends.engine.trainer import HostedEngine
        from insitu.backends.rtl.device import Hardware

        self._complain()
        image = fitted(program)
        return HostedEngine(image, Hardware(image.build))

    def _complain(self) -> None:
        """Refuses to begin without the tools."""
        if (reason := self.missing()) is not None:
            raise ConfigError(f"the engine's hardware cannot be made here: {reason}")
