"""SystemC as a backend: its projects, and the model as an engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from insitu.backends.engine.build import PRECISION
from insitu.backends.protocol import Backend, Written
from insitu.errors import ConfigError

if TYPE_CHECKING:
    from insitu.backends.engine.trainer import HostedEngine
    from insitu.hardware.mapped import Mapped
    from insitu.hardware.target import Engine as EngineTarget
    from insitu.run.program import Program
    from insitu.step.ir import Step

GOLDEN_STEPS = 8
"""Training steps of the golden trace."""


@dataclass(frozen=True)
class Options:
    """What an export of the SystemC model can be asked for."""

    lanes: int = field(default=8, metadata={"help": "Products in a cycle: 4, 8, 16 or 32."})
    samples: int = field(default=500, metadata={"help": "Training samples that the platform streams."})
    build: bool = field(
        default=False, metadata={"flag": "--run", "help": "Build the project and run its own test."}
    )

    def __post_init__(self) -> None:
        if not GOLDEN_STEPS <= self.samples <= 100_000:
            raise ConfigError(f"--samples {self.samples} is out of range; use {GOLDEN_STEPS} to 100,000")


class SystemC(Backend):
    """A SystemC project: the learning engine as a TLM-2.0 module, a platform around it, a golden trace."""

    name = "systemc"
    options = Options
    runs = True
    precision = PRECISION

    def missing(self) -> str | None:
        from insitu.backends.systemc.device import missing

        return missing()

    def refuse(self, step: Step) -> list[str]:
        from insitu.backends.engine.backend import by_registers

        return by_registers(step)

    def steps(self, options: Options) -> int:
        return options.samples

    def write(self, program: Program, folder: Path, options: Options) -> Written:
        from insitu.backends.systemc.project import Project

        if options.build and (reason := self.missing()) is not None:
            raise ConfigError(f"the project cannot be built here: {reason}")
        project = Project.of(program, options.lanes, GOLDEN_STEPS)
        project.write(folder)
        facts = project.facts()
        text = project.text(facts) + (project.run(folder) if options.build else "")
        note = f"project {folder}: 'make test' in it proves bits and cycles, 'make demo' learns on a system on chip"
        return Written(folder, text, facts, note)

    def mapped(self, program: Program, target: EngineTarget) -> list[Mapped]:
        """As the microcode's, and the first op of each waits for its sample, if the target has DMA."""
        from insitu.backends.engine import bill

        for step in (*program.steps, program.inference):
            if reasons := self.refuse(step):
                raise ConfigError(f"target {target.name}: {reasons[0]}")
        return bill.mapped(program, target)

    def engine(self, program: Program) -> HostedEngine:
        from insitu.backends.engine.image import fitted
        from insitu.backends.engine.trainer import HostedEngine
        from insitu.backends.systemc.device import Model

        image = fitted(program)
        return HostedEngine(image, Model(image.build))
