"""From a run's configuration to the program that a backend runs: its steps, initial values, and samples as integers.

Nothing here needs torch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.experiment.resolve import Setup
from insitu.run.initial import initial_state
from insitu.run.program import Program
from insitu.run.samples import Ints, as_integers


def executable(setup: Setup, batch: int) -> Program:
    """The lowered steps of all phases at a batch size, the prediction of one sample, and the initial values."""
    config, first = setup.config, dict[str, npt.NDArray[Any]]()
    steps, inference = setup.executed(batch), setup.prediction(1)
    for step in (*steps, inference):
        missing = replace(step, residents=tuple(v for v in step.residents if v.name not in first))
        first |= initial_state(missing, setup.net.values, config.seed)
    name = f"{config.rule}-{setup.net.name}"
    return Program(name, steps, inference, first, config.optimizer.lr, config.seed)


def integer_batches(setup: Setup, program: Program, count: int) -> list[tuple[Ints, Ints]]:
    """Integer samples and labels of the first training samples, a batch for each of ``count`` steps, phases in turn."""
    data, found = setup.data.train, []
    for t in range(count):
        step = program.steps[t % len(program.steps)]
        given = {v.name: v for v in step.inputs}
        chosen = np.arange(t * step.batch, (t + 1) * step.batch) % len(data)
        x = data.x[chosen].reshape(step.batch, *setup.net.input_shape)
        y = setup.labels(chosen)
        found.append((as_integers(given["x"], x), as_integers(given["label"], y) if "label" in given else y))
    return found
