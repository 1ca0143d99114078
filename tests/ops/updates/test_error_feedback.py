"""What error feedback promises of a group of weights that share a residual."""

from __future__ import annotations

import numpy as np
import pytest

from insitu.errors import ConfigError
from insitu.numbers.formats import Fixed
from insitu.ops.updates import BoundUpdate, ErrorFeedback
from insitu.passes.precision import make
from insitu.run.integer_updates import error_feedback_step

WORD, GROUP, ROWS, STEPS, SHIFT = Fixed(True, 15, 0), 9, 40, 200, 10
RNG = np.random.default_rng


def moved(
    gradients: list[np.ndarray], threshold: int, residual_bits: int = 16, group: int = GROUP
) -> tuple[np.ndarray, int]:
    """What words of 0 have become, and how many moves that took."""
    o = BoundUpdate(method := ErrorFeedback(group, residual_bits, threshold), WORD, 1.0, "w")
    w = np.zeros(gradients[0].shape, np.int64)
    rest = np.zeros((len(w), method.groups(w.shape)), np.int64)
    moves, draw = 0, RNG(1)
    for g in gradients:
        before = w.copy()
        error_feedback_step(o, SHIFT, w, g, rest, draw.integers(0, 1 << 32, rest.shape))
        moves += int(np.abs(w - before).sum())
    return w, moves


@pytest.mark.parametrize("threshold", [4, 5, 8])
def test_the_sum_of_a_group_is_followed_to_within_a_step(threshold: int) -> None:
    gradients = [RNG(i).integers(-300, 300, (ROWS, 2 * GROUP)) for i in range(STEPS)]
    w, _ = moved(gradients, threshold)
    wanted = -sum(gradients).reshape(ROWS, 2, GROUP).sum(-1) / 2**SHIFT  # type: ignore[attr-defined]
    assert np.abs(wanted).max() > 10
    assert np.abs(w.reshape(ROWS, 2, GROUP).sum(-1) - wanted).max() < 1.1


def test_the_last_group_of_a_row_may_be_shorter() -> None:
    gradients = [RNG(i).integers(-300, 300, (ROWS, GROUP + 2)) for i in range(STEPS)]
    w, _ = moved(gradients, 8)
    wanted = -sum(gradients)[:, GROUP:].sum(-1) / 2**SHIFT  # type: ignore[index]
    assert np.abs(w[:, GROUP:].sum(-1) - wanted).max() < 1.1


def test_small_steps_of_changing_sign_cost_few_moves_where_rounding_is_towards_zero() -> None:
    gradients = [RNG(i).choice([-40, 40], (ROWS, GROUP)) for i in range(STEPS)]
    way = sum(int(np.abs(g).sum()) for g in gradients) / 2**SHIFT  # what independent rounding takes
    _, near = moved(gradients, 4)
    _, far = moved(gradients, 8)
    assert near > 0.8 * way
    assert far < 0.1 * way


def test_a_remainder_of_few_bits_wanders() -> None:
    """Random bits stand for those that are not kept: rounding noise again, of a smaller step."""
    gradients = [np.full((4000, GROUP), 1) for _ in range(STEPS)]
    wanted = -STEPS * GROUP / 2**SHIFT
    few, many = (moved(gradients, 8, bits)[0].sum(-1) for bits in (4, 11))
    assert abs(few.mean() - wanted) < 1  # a step is still to come
    assert few.std() > 3 * many.std()


def test_a_remainder_of_its_own_follows_every_weight() -> None:
    """Words with two bits more: the noise of rounding is that of a step a quarter as large."""
    gradients = [RNG(i).integers(-300, 300, (ROWS, GROUP)) for i in range(STEPS)]
    wanted = -sum(gradients) / 2**SHIFT  # type: ignore[operator]
    full, few = (moved(gradients, 4, bits, group=1)[0] - wanted for bits in (10, 2))
    shared = moved(gradients, 4)[0] - wanted
    assert np.abs(full).max() <= 0.5 + 2**-9
    part = np.array(gradients) / 2 ** (SHIFT - 2) % 1  # of a quarter of a step
    variance = (
        part * (1 - part)
    ).mean() * STEPS / 16 + 1 / 12  # of the residuals, and of the words' rounding
    assert few.std() == pytest.approx(variance**0.5, rel=0.1)
    assert few.std() < 0.5 * shared.std()


def test_a_remainder_of_half_a_step_needs_no_sign() -> None:
    o = BoundUpdate(ErrorFeedback(1, 3, 4), WORD, 1.0, "w")
    w, rest = np.zeros((1, 4), np.int64), np.zeros((1, 4), np.int64)
    g = np.array([[3, 4, -4, -5]]) << 7  # in eighths of a step
    error_feedback_step(o, SHIFT, w, g, rest, np.zeros((1, 4), np.int64))
    assert w.tolist() == [[0, -1, 0, 1]] and rest.tolist() == [[3, -4, -4, 3]]


@pytest.mark.parametrize("threshold", range(4, 9))
@pytest.mark.parametrize("residual_bits", range(2, 10))
def test_nothing_moves_without_a_gradient(threshold: int, residual_bits: int) -> None:
    """C passes over tensors whose error is zero: a residual may not cross its threshold by its random bits alone."""
    policy = f"edge-latent-free-8:update=error-feedback,threshold={threshold},residual_bits={residual_bits}"
    try:
        make(policy)
    except ConfigError as error:
        assert "residual bits" in str(error) and 4 < threshold < 8 and residual_bits < 4
        return
    o = BoundUpdate(ErrorFeedback(1, residual_bits, threshold), WORD, 1.0, "w")
    w, rest = np.zeros((1, 4000), np.int64), np.zeros((1, 4000), np.int64)
    draw = RNG(1)
    for _ in range(20):
        g = draw.integers(-900, 900, w.shape)
        error_feedback_step(o, SHIFT, w, g, rest, draw.integers(0, 1 << 32, rest.shape))
        before = w.copy(), rest.copy()
        error_feedback_step(o, SHIFT, w, np.zeros_like(g), rest, draw.integers(0, 1 << 32, rest.shape))
        assert (w == before[0]).all() and (rest == before[1]).all()
