"""Heads as exits: who leaves where, and thresholds that cost no more than they may."""

from __future__ import annotations

import numpy as np
import pytest

from insitu.run.exits import NEVER, leaving, margin, predicted, thresholds_for


def test_a_sample_leaves_by_the_first_exit_that_is_sure() -> None:
    first = np.array([[5, 1, 0], [5, 4, 0], [0, 0, 0]])
    second = np.array([[0, 9, 0], [0, 9, 0], [2, 0, 1]])
    last = np.array([[0, 0, 1], [0, 0, 1], [0, 0, 1]])
    assert margin(first).tolist() == [4, 1, 0]
    taken = leaving([first, second, last], [4, 2])
    assert taken.tolist() == [0, 1, 2]
    assert predicted([first, second, last], taken).tolist() == [0, 1, 2]
    assert leaving([first, second, last], [0, 0]).tolist() == [0, 0, 0]
    assert leaving([first, second, last], [NEVER, NEVER]).tolist() == [2, 2, 2]


def drawn(seed: int, count: int = 300, exits: int = 3) -> tuple[list[np.ndarray], np.ndarray]:
    """Scores that get better from exit to exit, in few values, so that there are ties."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, count)
    known = np.eye(4)[y]
    return [np.floor(3 * rng.random((count, 4)) + (k + 1) * known).astype(int) for k in range(exits)], y


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("loss", [0.0, 0.01, 0.1])
def test_thresholds_cost_at_most_what_they_may(seed: int, loss: float) -> None:
    scores, y = drawn(seed)
    thresholds = thresholds_for(scores, y, loss)
    early = (predicted(scores, leaving(scores, thresholds)) == y).mean()
    assert early >= (scores[-1].argmax(1) == y).mean() - loss - 1e-12


def test_more_may_leave_early_where_it_may_cost_more() -> None:
    scores, y = drawn(1)
    means = [leaving(scores, thresholds_for(scores, y, loss)).mean() for loss in (0.0, 0.02, 0.1, 1.0)]
    assert means == sorted(means, reverse=True) and means[0] > means[-1] == 0


def test_an_exit_that_is_always_wrong_is_never_taken() -> None:
    scores, y = drawn(2, exits=2)
    wrong = 9 * np.eye(4, dtype=int)[(y + 1) % 4]
    scores[1] = 9 * np.eye(4, dtype=int)[y]
    assert thresholds_for([wrong, scores[1]], y, 0.0) == [NEVER]
