"""The learning engine as a backend: what it refuses, its microcode for readers, and its slow executor as an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insitu.backends.engine.build import PRECISION
from insitu.backends.protocol import Backend, on_reals
from insitu.errors import ConfigError

if TYPE_CHECKING:
    from insitu.backends.engine.trainer import HostedEngine
    from insitu.hardware.mapped import Mapped
    from insitu.hardware.target import Engine as EngineTarget
    from insitu.run.program import Program
    from insitu.step.ir import Step


class Microcode(Backend):
    """Microcode of the learning engine, executed slowly: the definition that its hardware is tested against."""

    name = "microcode"
    runs = True
    precision = PRECISION

    def refuse(self, step: Step) -> list[str]:
        from insitu.backends.engine.image import typical
        from insitu.run.program import Program

        if (found := on_reals(step)) is not None:
            op, value = found
            return [
                f"{op.kind} at {op.where} works on reals (%{value.name} in {value.format}), and the engine has "
                f"integers alone; use --precision {PRECISION}"
            ]
        try:
            typical(Program(step.name, (), step))
        except ConfigError as error:
            return [str(error)]
        return []

    def engine(self, program: Program) -> HostedEngine:
        from insitu.backends.engine.image import fitted
        from insitu.backends.engine.machine import Machine
        from insitu.backends.engine.trainer import HostedEngine

        image = fitted(program)
        return HostedEngine(image, Machine(image.build))

    def mapped(self, program: Program, target: EngineTarget) -> list[Mapped]:
        from insitu.backends.engine.bill import mapped

        for step in program.steps:
            if reasons := self.refuse(step):
                raise ConfigError(f"target {target.name}: {reasons[0]}")
        return mapped(program, target)

    def listing(self, program: Program, lanes: int, words: bool) -> str:
        from insitu.backends.engine.image import fitted
        from insitu.backends.engine.listing import listing

        return listing(fitted(program, lanes), words)


def by_registers(step: Step) -> list[str]:
    """Why hardware cannot run a step: as the executor, and it takes no keys of random words from a host."""
    drawing = [op for op in step.ops if op.written and not op.attrs.registers]
    keyed = [op for op in drawing if getattr(op.attrs.optimizer, "generator", "") == "lfsr"]
    if keyed:
        op = keyed[0]
        return [
            f"{op.kind} at {op.where} draws its random words by generator=lfsr, whose keys hardware takes from "
            f"nobody: its registers run on; use --precision {PRECISION}"
        ]
    return Microcode().refuse(step)
