"""The learning rates that a run has still to come: what its export goes on with, on the device.

A schedule moves the rate at every step; a shift of stored words follows it at a few steps of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from insitu.ops.update import Optimized
from insitu.ops.updates import BoundUpdate
from insitu.run.checkpoint import Progress
from insitu.run.program import Program
from insitu.run.resume import Course

MOST = 64
"""Changes that an export holds; a real weight sees every change of a rate."""


def later_rates(
    program: Program, course: Course, progress: Progress, schedule: Callable[[float], float]
) -> tuple[tuple[int, float], ...]:
    """Training steps of the present phase, as the program counts them, from which on an update moves its weights by
    another rate, each with that rate; nothing if there are more than :data:`MOST`.

    Args:
        program: with the initial learning rate and the batch size of the run.
        course: of the run; ``progress``: where it stands.
        schedule: from progress in [0, 1) to a factor of the learning rate.
    """
    steps, used = course.at(1)
    first, last = progress.step, course.at(course.epochs)[0] - 1
    phases, effect = course.phases, _effect(program)

    def share(step: int) -> float:
        epoch, rest = divmod(step, steps)
        return (epoch * used + rest * course.batch) / course.total

    def rate(step: int) -> float:
        return program.lr * schedule(phases.within(share(step)))

    def phase(step: int) -> int:
        return phases.at(step, share(step), course.seed) if phases.period is None else progress.phase

    if first > last or phase(first) != progress.phase:
        return ()
    last = next(_changes(phase, first, last), last + 1) - 1
    found = list(islice(_changes(lambda step: effect(rate(step)), first, last), MOST + 1))
    return tuple((step - progress.phase_start, rate(step)) for step in found) if len(found) <= MOST else ()


def _effect(program: Program) -> Callable[[float], Any]:
    """What the updates of a program see of a learning rate."""
    learning = (op.attrs for step in program.steps for op in step.ops)
    updates = {attrs.optimizer for attrs in learning if isinstance(attrs, Optimized)}
    if all(isinstance(o, BoundUpdate) for o in updates):
        return lambda rate: [o.shift(rate, 0) for o in updates if isinstance(o, BoundUpdate)]
    return lambda rate: rate


def _changes(of: Callable[[int], Any], first: int, last: int) -> Iterator[int]:
    """The steps from first to last at which a monotone function has another value than at the step before."""
    if of(first) == of(last):
        return
    if last - first == 1:
        yield last
        return
    middle = (first + last) // 2
    yield from _changes(of, first, middle)
    yield from _changes(of, middle, last)
