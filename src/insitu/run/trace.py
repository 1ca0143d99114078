"""Every array after every op of some training steps, by the integer reference: where a wrong model is wrong.

A checksum of the state says that a step is wrong; a trace says which op is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from insitu.errors import ConfigError
from insitu.run.integer import Array, run
from insitu.run.program import Program
from insitu.step.context import StepContext
from insitu.step.ir import Step, Value

MOST_WORDS = 1 << 27
"""Of a trace: 1 GiB in memory."""


@dataclass(frozen=True)
class Place:
    """Where an array was seen.

    Attributes:
        part: ``initial`` (residents before the first step), ``learn_0`` ... (the steps of a phase) or ``forward``.
        op: the number of the op in its step, from 0; ``None``: the array was given.
        value: what the op gave or changed.
    """

    part: str
    op: int | None
    value: Value


def trace(program: Program, steps: int) -> Mapping[Place, Array]:
    """What the reference computes at the first training steps, and in the forward pass of the first sample after them.

    Args:
        steps: training steps on the program's batches, phases in turn.

    Returns:
        Arrays by place: integers, or float32 of a master copy; the first axis counts the steps of the part (1 for
        ``initial`` and ``forward``).

    Raises:
        ConfigError: there are fewer batches, or a trace of so many steps does not fit into memory.
    """
    check(program, steps)
    state = {name: np.array(array) for name, array in program.initial_state.items()}
    found: dict[Place, list[Array]] = defaultdict(list)
    for value in program.residents.values():
        found[Place("initial", None, value)].append(state[value.name].copy())
    for n, (x, label) in enumerate(program.batches[:steps]):
        phase = n % len(program.steps)
        context = program.context(n)
        _traced(f"learn_{phase}", program.steps[phase], state, x, label, context, found)
    sample = program.batches[0][0][: program.inference.batch]
    _traced("forward", program.inference, state, sample, None, StepContext(program.lr, program.seed), found)
    return {place: np.stack(arrays) for place, arrays in found.items()}


def check(program: Program, steps: int) -> None:
    """Can so many steps be traced?"""
    if not 1 <= steps <= len(program.batches):
        raise ConfigError(
            f"a trace of {steps} steps cannot be made of {len(program.batches)} samples; "
            f"use 1 to {len(program.batches)}"
        )
    words = sum(v.size for step in program.steps for op in step.ops for v in (*op.outputs, *op.written))
    if (most := MOST_WORDS // max(words, 1)) < steps:
        raise ConfigError(
            f"a trace of {steps} steps of {program.name} has {words * steps:,} words, {MOST_WORDS:,} at most can be "
            f"held; trace {most} steps, or a smaller network"
        )


def _traced(
    part: str,
    step: Step,
    state: dict[str, Array],
    x: Array,
    label: Array | None,
    context: StepContext,
    found: dict[Place, list[Array]],
) -> None:
    given = {"x": x, "label": label}
    for value in step.inputs:
        found[Place(part, None, value)].append(given[value.name])
    run(step, state, x, label, context, lambda n, v, array: found[Place(part, n, v)].append(np.array(array)))


def triggered(program: Program, steps: int, found: Mapping[Place, Array]) -> Iterator[tuple[int, list[int]]]:
    """Of each traced training step, the triggers (numbers of ops) that gave an error."""
    for n in range(steps):
        phase, at = n % len(program.steps), n // len(program.steps)
        ops = program.steps[phase].ops
        fired = [
            i
            for i, op in enumerate(ops)
            if op.record.trigger and found[Place(f"learn_{phase}", i, op.outputs[0])][at].any()
        ]
        yield n, fired
