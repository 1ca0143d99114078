"""From a run's configuration to the program that C computes: its steps, first values, and samples as packed integers.

Nothing here needs torch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from insitu.backends.c.host import compiler
from insitu.backends.c.project import Source
from insitu.errors import ConfigError
from insitu.experiment.config import RunConfig
from insitu.run.first import first_arrays
from insitu.run.program import Program
from insitu.run.samples import as_integers

if TYPE_CHECKING:
    from insitu.experiment.setup import Setup

Ints = npt.NDArray[np.int64]


def c_program(setup: Setup, batch: int) -> Program:
    """The lowered steps of all phases at a batch size, the prediction of one sample, and the first values."""
    program = _steps(setup, batch)
    first: dict[str, npt.NDArray[Any]] = {}
    for step in (*program.steps, program.inference):
        missing = replace(step, residents=tuple(v for v in step.residents if v.name not in first))
        first |= first_arrays(missing, setup.net.params, setup.config.seed)
    return replace(program, first=first)


def _steps(setup: Setup, batch: int) -> Program:
    config = setup.config
    return Program(
        name=f"{config.rule}-{setup.net.name}",
        steps=tuple(setup.training_step(batch, phase) for phase in range(setup.phases.count)),
        inference=setup.prediction(1),
        first={},
        lr=config.optimizer.lr,
        seed=config.seed,
    )


def check_engine(config: RunConfig) -> None:
    """Refuses what C does not compute whatever the network and the rule are.

    Raises:
        ConfigError: real numbers, or another device than this processor.
    """
    if config.engine != "c":
        return
    if config.policy is None:
        raise ConfigError(
            f"engine c computes in integers, but precision {config.precision_name} is real numbers; choose a policy of "
            "'insitu list precisions', or use --engine torch"
        )
    if config.device != "cpu":
        raise ConfigError(
            f"engine c runs on this processor, but device is {config.device!r}; use device cpu, or --engine torch"
        )


def check_program(setup: Setup) -> None:
    """Refuses a run in C whose steps have ops, formats or updates without a kernel; nothing is compiled.

    Raises:
        ConfigError: naming op, layer and remedy, or the missing compiler.
    """
    if setup.config.engine != "c":
        return
    try:
        compiler()
        Source(_steps(setup, setup.config.batch)).bodies  # noqa: B018  # writing them finds what is missing
    except ConfigError as error:
        raise ConfigError(f"engine c: {error}; or use --engine torch") from None


def integer_batches(setup: Setup, program: Program, count: int) -> list[tuple[Ints, Ints]]:
    """Integer samples and labels of the first training samples, a batch for each of ``count`` steps, phases in turn."""
    data, found = setup.data.train, []
    for t in range(count):
        step = program.steps[t % len(program.steps)]
        given = {v.name: v for v in step.inputs}
        chosen = np.arange(t * step.batch, (t + 1) * step.batch) % len(data)
        x = data.x[chosen].reshape(step.batch, *setup.net.input_shape)
        found.append((as_integers(given["x"], x), data.y[chosen].astype(np.int64)))
    return found
