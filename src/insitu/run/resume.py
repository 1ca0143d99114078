"""Does a checkpoint fit the run that goes on from it? Its tensors against the program's residents, its progress against
the run's course; bytes that are whole may still say something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from insitu.errors import CheckpointError
from insitu.network.phases import Phases
from insitu.numbers.formats import Quantized
from insitu.run.checkpoint import Progress
from insitu.run.state import State, carrier
from insitu.step.ir import Value

Span = tuple[int, int]


@dataclass(frozen=True)
class Course:
    """How a run goes through its samples.

    Attributes:
        samples: training samples; ``batch``: of a step; ``total``: in all epochs.
        skip_single: a last batch of one sample is left out.
        eval_epochs: epochs between evaluations.
        patience: of the early stop, or ``None``.
        triggers: that a step counts.
        seed, phases: of the rule's schedule.
    """

    samples: int
    batch: int
    total: int
    skip_single: bool
    eval_epochs: int
    patience: int | None
    triggers: int
    seed: int
    phases: Phases

    @property
    def epochs(self) -> int:
        """In all, the last of them perhaps not whole."""
        return -(-self.total // self.samples)

    def spans(self, epoch: int) -> list[Span]:
        """First sample and end of the batches of an epoch."""
        stop = min(self.samples, self.total - epoch * self.samples)
        spans = [(i, min(i + self.batch, stop)) for i in range(0, stop, self.batch)]
        if self.skip_single and spans and spans[-1][1] - spans[-1][0] == 1 < self.batch:
            spans.pop()
        return spans

    def at(self, epoch: int) -> tuple[int, int]:
        """Steps and samples before an epoch."""
        full = min(epoch, self.total // self.samples)
        parts = [(full, self.spans(0))] if full else []
        parts += [(1, self.spans(full))] if epoch > full else []
        return sum(n * len(s) for n, s in parts), sum(n * (s[-1][1] if s else 0) for n, s in parts)


def check(
    path: Path,
    state: State,
    progress: Progress,
    residents: Mapping[str, Value],
    course: Course,
    real: torch.dtype,
) -> None:
    """Compares a checkpoint with the run.

    Args:
        residents: of all steps of the program, by name; ``real``: the type of reals.

    Raises:
        CheckpointError: naming what differs first.
    """
    for misfit in (*_of_state(state, residents, real), *_of_progress(progress, course)):
        raise CheckpointError(
            f"checkpoint {path} does not fit its run: {misfit}; restore a copy of it, or start the run anew in another "
            "folder"
        )


# --- tensors -----------------------------------------------------------------------------------------------------


def _of_state(state: State, residents: Mapping[str, Value], real: torch.dtype) -> Iterator[str]:
    lacking, strange = [n for n in residents if n not in state], [n for n in state if n not in residents]
    if lacking:
        yield f"it lacks {', '.join(map(repr, lacking))}"
    if strange:
        yield f"it holds {', '.join(map(repr, strange))}, which the program does not have"
    for name, value in residents.items():
        if name in state and (reason := _of_tensor(state[name], value, carrier(value, real))):
            yield f"{name!r} {reason}"


def _of_tensor(tensor: Any, value: Value, wanted: torch.dtype) -> str | None:
    """What is wrong with a tensor of the state."""
    if not isinstance(tensor, torch.Tensor):
        return f"is a {type(tensor).__name__}, and no tensor"
    if tensor.layout != torch.strided or tensor.dtype != wanted:
        return f"is of type {tensor.dtype}, {tensor.layout}, and not {wanted}"
    if tuple(tensor.shape) != value.shape:
        return f"has shape {list(tensor.shape)}, and not {list(value.shape)}"
    fmt = value.format
    if not isinstance(fmt, Quantized):
        return None
    inside = (tensor >= fmt.least) & (tensor <= fmt.greatest) & (tensor == tensor.floor())
    if bool(inside.all()):
        return None
    return f"holds {tensor[~inside].flatten()[0].item():g}, and {fmt} has the integers {fmt.least} to {fmt.greatest}"


# --- progress ----------------------------------------------------------------------------------------------------


def _of_progress(p: Progress, course: Course) -> Iterator[str]:
    if p.epoch > course.epochs:
        yield f"epoch {p.epoch} of {course.epochs}"
        return
    yield from _of_place(p, course)
    yield from _of_history(p, course)
    if p.finished != _finished(p, course):
        yield f"it is {'' if p.finished else 'not '}finished behind epoch {p.epoch} of {course.epochs}"
    if len(p.fired) not in (0, course.triggers) and course.phases.count == 1:
        yield f"it counts {len(p.fired)} triggers of {course.triggers}"


def _of_place(p: Progress, course: Course) -> Iterator[str]:
    """Epoch, position, step, samples and phase follow from each other."""
    steps, samples = course.at(p.epoch)
    spans = course.spans(p.epoch) if p.epoch < course.epochs else []
    ends = [0, *(end for _, end in spans)]
    if p.position not in ends:
        yield f"position {p.position} is no end of a batch of epoch {p.epoch + 1}, which has {ends[-1]} samples"
        return
    steps, samples = steps + ends.index(p.position), samples + p.position
    if (p.step, p.samples) != (steps, samples):
        yield f"step {p.step} and sample {p.samples}, where epoch and position say {steps} and {samples}"
    elif p.step and p.phase != course.phases.at(p.step - 1, _share(p, course), course.seed):
        yield f"phase {p.phase} at step {p.step}"
    if p.phase_start > (p.step if course.phases.period is None and p.phase else 0):
        yield f"phase {p.phase} began at step {p.phase_start}"
    if p.loss_samples > p.position or (p.loss_sum and not p.loss_samples):
        yield f"a loss of {p.loss_samples} samples of {p.position}, {p.loss_sum:g} in all"


def _share(p: Progress, course: Course) -> float:
    """Of the run's samples that came before the last step."""
    epoch = p.epoch if p.position else p.epoch - 1
    spans = course.spans(epoch)
    last = next(s for s in reversed(spans) if not p.position or s[1] == p.position)
    return (p.samples - (last[1] - last[0])) / course.total


def _of_history(p: Progress, course: Course) -> Iterator[str]:
    """A row for every epoch that is evaluated."""
    due = [e for e in range(1, p.epoch + 1) if not e % course.eval_epochs or (p.finished and e == p.epoch)]
    told = [row["epoch"] for row in p.history]
    if told != due:
        yield f"evaluations of epochs {told}, and not of {due}"
        return
    measured = {key for row in p.history for key in row}
    for row in p.history:
        if lacking := measured - row.keys():
            yield f"the evaluation of epoch {row['epoch']} has no {min(lacking)}, and others have"
    for row in p.history:
        if (row["step"], row["samples"]) != course.at(row["epoch"]):
            yield f"the evaluation of epoch {row['epoch']} at step {row['step']} and sample {row['samples']}"


def _finished(p: Progress, course: Course) -> bool:
    stopped = course.patience is not None and p.stale >= course.patience
    return p.epoch >= course.epochs or stopped or any(row["diverged"] for row in p.history)
