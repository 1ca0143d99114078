"""The one program of a run: what is costed, trained in an engine, and exported by a backend. No torch.

    steps          the lowered training step of every phase of the rule
    inference      the lowered forward pass
    initial_state  values of all residents, as the integers that the steps compute with

The steps are made by :mod:`insitu.passes`; what they mean is :mod:`insitu.run.integer`, which also gives the golden
values that an exported project or an engine is checked against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.passes.plan import Layout, plan
from insitu.step.context import StepContext
from insitu.step.ir import Role, Step, Value

Arrays = Mapping[str, npt.NDArray[Any]]
Ints = npt.NDArray[np.int64]
Batch = tuple[Ints, Ints]
"""Integer samples [B, ...] and labels [B] of a training step, in the units of the step's inputs."""


@dataclass(frozen=True, eq=False)
class Program:
    """What is executed.

    Attributes:
        name: for files and messages.
        steps: the lowered training step of every phase of the rule.
        inference: the lowered forward pass; of one sample where it is run, of the training batch where it is costed.
        initial_state: initial values of all residents: integers, or float32 for real ones. A cost needs none.
        lr, seed: the learning rate and the seed of the run.
        t, phase: training steps done before (in the phase), and the phase that training goes on with.
        later: training steps from which on the learning rate is another one, in order, each with that rate.
        classes: their names, if the data have some.
        batches: samples and labels of the training steps of :attr:`golden`, phases in turn.
        eager: the steps as the rule emitted them (and as they were quantized).
        idle: bytes by role that a phase's step does not touch but that must not be lost.
        exits: where a project has early exits: the forward pass of a sample with the scores of every head in turn, and
            the network's.
        thresholds: the margin from which on a sample leaves by each exit but the last.
        norm: what became of the network's batch norms: ``keep``, ``fold`` or ``rms``.
    """

    name: str
    steps: tuple[Step, ...]
    inference: Step
    initial_state: Arrays = field(default_factory=dict, repr=False)
    lr: float = 0.0
    seed: int = 0
    t: int = 0
    phase: int = 0
    later: tuple[tuple[int, float], ...] = ()
    classes: tuple[str, ...] = ()
    batches: tuple[Batch, ...] = field(default=(), repr=False)
    eager: tuple[Step, ...] = ()
    idle: tuple[Mapping[Role, int], ...] = ()
    norm: str = "keep"
    exits: Step | None = None
    thresholds: tuple[int, ...] = ()

    def context(self, steps: int) -> StepContext:
        """Learning rate, seed and step count of the training step after some more."""
        t = self.t + steps
        lr = next((lr for first, lr in reversed(self.later) if first <= t), self.lr)
        return StepContext(lr, self.seed, t)

    @cached_property
    def layouts(self) -> tuple[Layout, ...]:
        """The memory of each training step."""
        return tuple(map(plan, self.steps))

    @cached_property
    def inference_layout(self) -> Layout:
        return plan(self.inference)

    @cached_property
    def given(self) -> dict[str, Value]:
        """The inputs of the training steps by name: ``x``, and ``label`` if a phase takes one."""
        found: dict[str, Value] = {}
        for step in self.steps:
            for value in step.inputs:
                found.setdefault(value.name, value)
        return found

    @property
    def forwards(self) -> tuple[Step, ...]:
        """What runs without learning: the forward pass, and the one with exits."""
        return (self.inference, *([self.exits] if self.exits is not None else []))

    @cached_property
    def residents(self) -> dict[str, Value]:
        """All residents by name, in the order of their first appearance."""
        found: dict[str, Value] = {}
        for step in (*self.steps, *self.forwards):
            for value in step.residents:
                found.setdefault(value.name, value)
        return found

    @cached_property
    def written(self) -> frozenset[str]:
        """Names of the residents that learning changes."""
        return frozenset(v.name for step in self.steps for op in step.ops for v in op.written)

    @cached_property
    def golden(self) -> Golden:
        """What the integer reference makes of :attr:`batches`."""
        return _golden(self)

    # --- memory over all phases --------------------------------------------------------------------------------

    @property
    def peaks(self) -> list[int]:
        """Bytes of every phase, with what is idle meanwhile."""
        idle = self.idle or ({},) * len(self.steps)
        return [layout.peak_bytes + sum(rest.values()) for layout, rest in zip(self.layouts, idle)]

    @property
    def peak_bytes(self) -> int:
        """The largest of all phases."""
        return max(self.peaks)

    @property
    def highest(self) -> int:
        """The phase that takes it."""
        return self.peaks.index(self.peak_bytes)


@dataclass(frozen=True)
class Golden:
    """What the integer reference computes from a program's initial values and batches.

    Attributes:
        states: the residents after each training step, by name.
        scores: the integers of the forward pass of the first sample after the last step.
        left: exit and class of the first sample of every batch after the last step; empty without exits.
    """

    states: tuple[Arrays, ...]
    scores: Ints
    left: tuple[tuple[int, int], ...] = ()


def _compact(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy, of integers in the smallest type that holds them."""
    if array.dtype.kind == "f" or not array.size:
        return array.copy()
    ends = (np.min_scalar_type(int(end)) for end in (array.min(), array.max()))
    return array.astype(np.result_type(*ends))


def _golden(program: Program) -> Golden:
    from insitu.run.exits import early
    from insitu.run.integer import run  # only a test of a program needs the reference

    arrays = {name: np.array(a) for name, a in program.initial_state.items()}
    states = []
    for n, (x, label) in enumerate(program.batches):
        step = program.steps[n % len(program.steps)]
        run(step, arrays, x, label, program.context(n))
        states.append({n: _compact(a) if n in program.written else a for n, a in arrays.items()})
    sample = program.batches[0][0][: program.inference.batch]
    (scores,) = run(program.inference, arrays, sample, None, StepContext(program.lr, program.seed, 0))
    left = (early(program, arrays, x[:1]) for x, _ in program.batches) if program.exits is not None else ()
    return Golden(tuple(states), scores, tuple(left))
