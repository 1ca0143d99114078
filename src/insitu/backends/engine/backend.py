"""The learning engine as a backend: what it refuses, its microcode for readers, and its slow executor as an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insitu.backends.engine.build import PRECISION
from insitu.backends.protocol import Backend, on_reals
from insitu.errors import ConfigError

if TYPE_CHECKING:
    from insitu.backends.engine.trainer import HostedEngine
    from insitu.run.program import Program
    from insitu.step.ir import Step

RATES = (0.01, 0.1, 0.001, 0.0001)
"""Learning rates with which a step is tried: the shifts of its updates follow from them."""


class Microcode(Backend):
    """Microcode of the learning engine, executed slowly: the definition that its hardware is tested against."""

    name = "microcode"
    runs = True
    precision = PRECISION

    def refuse(self, step: Step) -> list[str]:
        from insitu.backends.engine.image import fitted
        from insitu.run.program import Program

        if (found := on_reals(step)) is not None:
            op, value = found
            return [f"{op.kind} at {op.where} works on reals ({value.name}); train in an integer precision"]
        first = None
        for rate in RATES:
            try:
                fitted(Program(step.name, (), step, lr=rate))
            except ConfigError as error:
                first = first or str(error)
            else:
                return []
        return [first or ""]

    def engine(self, program: Program) -> HostedEngine:
        from insitu.backends.engine.image import fitted
        from insitu.backends.engine.machine import Machine
        from insitu.backends.engine.trainer import HostedEngine

        image = fitted(program)
        return HostedEngine(image, Machine(image.build))

    def listing(self, program: Program, lanes: int, words: bool) -> str:
        from insitu.backends.engine.image import fitted
        from insitu.backends.engine.listing import listing

        return listing(fitted(program, lanes), words)
