"""The engine: a program's arrays, and the integer reference that changes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from insitu.run.integer import run
from insitu.run.program import Program
from insitu.run.samples import Arrays, Batches
from insitu.step.context import StepContext
from insitu.step.ir import Step
from insitu.step.triggers import triggers_of


class ReferenceEngine:
    """Runs a program for batches of its size."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.arrays = {name: np.array(array) for name, array in program.initial_state.items()}

    @property
    def state(self) -> Mapping[str, Any]:
        return {name: self.arrays[name] for name in self.program.written}

    def load(self, state: Mapping[str, Any]) -> None:
        for name in self.program.written & state.keys():
            self.arrays[name][...] = state[name]

    def step(self, phase: int) -> Step:
        return self.program.steps[phase]

    def forward(self, count: int) -> Step:
        return self.program.inference

    def triggered(self) -> Sequence[int]:
        """Not counted here; the C engine shows how."""
        return [0 for _ in triggers_of(self.program.steps[0])]

    def learn(self, batches: Batches, phase: int, rates: Sequence[float], done: int) -> None:
        step = self.program.steps[phase]
        given = {value.name: batches.integers(value) for value in step.inputs}
        labels = given.get("label", [None] * len(batches))
        for t, (x, label, rate) in enumerate(zip(given["x"], labels, rates)):
            run(step, self.arrays, x, label, StepContext(rate, self.program.seed, done + t))

    def infer(self, data: Arrays, first: int, end: int, threads: int) -> Any:
        step = self.program.inference
        x = Batches(data, np.arange(first, end)[:, None]).integers(step.inputs[0])
        context = StepContext(self.program.lr, self.program.seed, 0)
        return np.concatenate([run(step, self.arrays, one, None, context)[0] for one in x])
