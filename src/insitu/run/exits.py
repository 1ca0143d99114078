"""Heads as exits: a sample leaves the forward pass at the first classifier that is sure of it.

Sure means a margin, the highest score minus the next, of at least the exit's threshold. The last exit, the network's
own output, takes what is left.

Legend: E exits but the last, N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from insitu.step.context import StepContext

if TYPE_CHECKING:
    from insitu.run.program import Program

Ints = npt.NDArray[np.int64]
Scores = Sequence[npt.NDArray[Any]]
"""[N, C] of every exit, the network's own last."""

NEVER = 2**31 - 1
"""A threshold that no margin of 32 bits reaches but the largest."""


def margin(scores: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[N]: the highest score minus the next of each sample."""
    low, high = np.partition(scores, -2, axis=1)[:, -2:].T
    return high - low


def leaving(scores: Scores, thresholds: Sequence[float]) -> npt.NDArray[np.intp]:
    """[N]: the number of the exit that each sample leaves by.

    Args:
        thresholds: of every exit but the last.
    """
    sure = [margin(s) >= t for s, t in zip(scores, thresholds)]
    return np.argmax([*sure, np.ones(len(scores[-1]), bool)], axis=0)


def predicted(scores: Scores, taken: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """[N]: the class of each sample at the exit that it leaves by."""
    return np.stack([s.argmax(1) for s in scores])[taken, np.arange(len(taken))]


def early(program: Program, state: dict[str, npt.NDArray[Any]], x: Ints) -> tuple[int, int]:
    """Exit and class of one sample by the integer reference: what C's ``insitu_infer_early`` gives.

    Args:
        state: integers of the residents.
        x: [1, ...], the integers of the sample.
    """
    from insitu.run.integer import run

    assert program.exits is not None
    scores = run(program.exits, state, x, None, StepContext(program.lr, program.seed, 0))
    taken = leaving(scores, program.thresholds)
    return int(taken[0]), int(predicted(scores, taken)[0])


def thresholds_for(scores: Scores, y: npt.NDArray[np.int64], loss: float) -> list[float]:
    """The least thresholds with which exits cost at most ``loss`` of the samples, exit by exit from the first.

    An exit may cost an equal share of what is allowed, beside what those before it have left: right answers of the
    network's output that the exit gives away, less those that it wins. It has no threshold below which it is that good:
    :data:`NEVER`.

    Args:
        scores: on validation data.
        y: [N], its labels.
        loss: a share of the samples.
    """
    right = [s.argmax(1) == y for s in scores]
    left = np.ones(len(y), bool)
    allowed, spent, found = loss * len(y) / max(len(scores) - 1, 1), 0.0, list[float]()
    for k in range(len(scores) - 1):
        m = margin(scores[k])
        cost = right[-1].astype(int) - right[k]
        threshold = _least(m[left], cost[left], allowed * (k + 1) - spent)
        gone = left & (m >= threshold)
        spent += cost[gone].sum()
        left &= ~gone
        found.append(threshold)
    return found


def _least(m: npt.NDArray[Any], cost: npt.NDArray[np.int64], most: float) -> float:
    """The least margin for which the samples from there on cost at most ``most`` in all."""
    order = np.argsort(-m, kind="stable")
    total = np.cumsum(cost[order])
    ends = np.append(m[order][1:] != m[order][:-1], True)[: len(m)]  # samples of one margin leave together
    good = np.flatnonzero(ends & (total <= most))
    return float(m[order][good[-1]]) if len(good) else float(NEVER)
