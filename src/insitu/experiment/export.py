"""A run becomes a project of a backend: its program with the trained state, and samples to check itself against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insitu.backends.protocol import Backend, Written, find
from insitu.errors import CheckpointError, ConfigError
from insitu.experiment.batches import check_other
from insitu.experiment.config import RunConfig, load
from insitu.experiment.exits import Exits
from insitu.experiment.program import executable, integer_batches
from insitu.experiment.resolve import Setup
from insitu.inputs import bounds
from insitu.inputs.documents import Source, parse_json, read_text
from insitu.run.initial import initial_state
from insitu.run.lock import held
from insitu.run.program import Program

if TYPE_CHECKING:
    from insitu.run.checkpoint import Progress

GOLDEN_STEPS = 8
"""Training steps of the self-test."""


def export(
    run: Path,
    out: Path,
    backend: str = "c",
    *,
    batch: int | None = None,
    steps: int = GOLDEN_STEPS,
    lr: float | None = None,
    data_dir: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Written:
    """Writes a run (its last checkpoint), or a configuration (initial values), as a project of a backend.

    Args:
        backend: its name.
        batch, steps, lr, data_dir: as of :func:`exportable`.
        options: of this backend alone, by the names of its ``options``.

    Raises:
        ConfigError: the backend is unknown, or refuses an op; names op, layer and remedy.
    """
    found = find(backend)
    chosen = found.options(**options or {})
    steps = max(steps, found.steps(chosen))
    early = found.early(chosen)
    program = exportable(run, batch=batch, steps=steps, lr=lr, data_dir=data_dir, early=early)
    _check(found, run, program)
    with held(out):
        return found.write(program, out, chosen)


def _check(backend: Backend, run: Path, program: Program) -> None:
    for step in (*program.steps, *program.forwards):
        for reason in backend.refuse(step):
            raise ConfigError(f"{run} cannot be exported by backend {backend.name}: {reason}")


def exportable(
    run: Path,
    *,
    batch: int | None = None,
    steps: int = GOLDEN_STEPS,
    lr: float | None = None,
    data_dir: str | None = None,
    early: float | None = None,
) -> Program:
    """The program of a run folder (with its last checkpoint), or of a configuration (with its initial values).

    Args:
        batch: samples per training step of the program; ``None``: the run's.
        steps: training steps of its golden values, on the first training samples; of integer programs.
        lr: the learning rate that it has; ``None``: that of the run's next step, which follows the run's schedule from
            there on, or of the last one if the run has ended.
        early: accuracy on validation data that heads as exits may cost; ``None``: no exits.

    Raises:
        ConfigError: the rate is out of bounds, or the run has no such exits.
    """
    folder = run if run.is_dir() else None
    config = load(RunConfig, run / "config.yaml" if folder else run)
    if data_dir is not None:
        config = config.model_copy(update={"data_dir": data_dir})
    setup = Setup.of(config)
    check_other(setup, batch or config.batch)
    program = replace(executable(setup, batch or config.batch), classes=tuple(setup.data.class_names))
    if early is not None:
        program = _with_exits(run, program, setup, early)
    if folder is not None:
        program = _trained(folder, program, setup)
    if lr is not None:
        program = replace(program, lr=_checked(lr), later=())
    if config.policy is None:
        return program
    return replace(program, batches=tuple(integer_batches(setup, program, steps)))


def _trained(folder: Path, program: Program, setup: Setup) -> Program:
    """The program as a run's last checkpoint leaves it (which has to be of this run): its state, step count, phase,
    learning rate and what its schedule has still to come; residents that the run has not touched as they began."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        raise CheckpointError(f"{folder} has no checkpoint.pt; train it first, or export its config.yaml")
    from insitu.experiment.rates import later_rates
    from insitu.experiment.train import course_of, of_run

    kept = of_run(path, setup)
    state, progress = kept.state, kept.progress
    found = {
        name: state[name].double().numpy().reshape(first.shape).astype(first.dtype)
        if name in state
        else first
        for name, first in program.initial_state.items()
    }
    later: tuple[tuple[int, float], ...] = ()
    if program.steps[0].batch == setup.config.batch:
        later = later_rates(program, course_of(setup), progress, setup.config.schedule.factor)
    return replace(
        program,
        initial_state=found,
        t=progress.step - progress.phase_start,
        phase=progress.phase,
        lr=program.lr * _last_factor(progress, setup),
        later=later,
    )


def _with_exits(run: Path, program: Program, setup: Setup, loss: float) -> Program:
    """The program with heads as exits, and the thresholds that the run found for at most that loss of accuracy."""
    step, path = setup.exits(1), run / "result.json"
    source = Source(f"result {path}", "train the run to its end", CheckpointError)
    told = parse_json(read_text(path, source), source) if path.exists() else None
    found = told.get("exits") if isinstance(told, dict) else None
    if step is None or found is None:
        raise ConfigError(
            f"{run} has no exits: they need heads and thresholds from validation data; train a rule such as etch or "
            "pred to the end with --set validation=0.1, or leave out --early"
        )
    points = [p for p in Exits.model_validate(found).points if p.loss <= loss]
    if not points:
        raise ConfigError(f"--early {loss:g} is no accuracy that exits may cost; use 0 to 1, such as 0.01")
    thresholds = tuple(ceil(t) for t in points[-1].thresholds)
    kept = replace(step, residents=tuple(v for v in step.residents if v.name not in program.initial_state))
    first = {**program.initial_state, **initial_state(kept, setup.net.values, setup.config.seed)}
    return replace(program, exits=step, thresholds=thresholds, initial_state=first)


def _checked(lr: float) -> float:
    try:
        return bounds.RATE.check(lr)
    except ValueError as error:
        raise ConfigError(
            f"learning rate {lr:g} {error}; use {bounds.LEAST_RATE:g} to {bounds.RATE.value:,}"
        ) from None


def _last_factor(progress: Progress, setup: Setup) -> float:
    """What the schedule makes of the learning rate at the next step; at the last one if the run has ended, for many a
    schedule ends at 0."""
    total = setup.total_samples
    samples = min(progress.samples, max(total - setup.config.batch, 0))
    return setup.config.schedule.factor(setup.phases.within(samples / total))
