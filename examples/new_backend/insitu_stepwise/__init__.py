"""A backend that runs: the integer reference, one op after the other. Slow, and equal to every engine in all bits."""

from __future__ import annotations

from insitu.backends.protocol import Backend, on_reals
from insitu.run.integer import FUNCTIONS
from insitu.run.program import Program
from insitu.step.ir import Step
from insitu_stepwise.engine import ReferenceEngine


class Stepwise(Backend):
    """The integer reference as an engine."""

    name = "stepwise"
    runs = True

    def refuse(self, step: Step) -> list[str]:
        if (found := on_reals(step)) is not None:
            op, value = found
            return [f"{op.kind} at {op.where} works on reals ({value.name}); train in an integer precision"]
        return [
            f"{op.kind} at {op.where} has no integer meaning; use another rule"
            for op in step.ops
            if op.kind not in FUNCTIONS
        ]

    def engine(self, program: Program) -> ReferenceEngine:
        return ReferenceEngine(program)
