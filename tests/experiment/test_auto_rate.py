"""A learning rate by a short sweep."""

from __future__ import annotations

from insitu.experiment.auto_rate import RATES, Trial, best, trials
from insitu.experiment.config import RunConfig


def test_the_lowest_of_equal_rates_is_taken_and_never_one_that_diverged() -> None:
    found = [Trial(1.0, -float("inf")), Trial(0.3, 0.9), Trial(0.1, 0.9), Trial(0.03, 0.5)]
    assert best(found) == 0.1
    assert best([Trial(0.1, -2.0), Trial(0.01, -1.5)]) == 0.01  # losses


def test_a_sweep_tries_every_rate_without_test_samples() -> None:
    config = RunConfig(network="mlp-64-16-10", limit_train=200, epochs=50, batch=8)
    found = trials(config)
    assert tuple(trial.lr for trial in found) == RATES
    assert max(trial.score for trial in found) > 0.3 > min(trial.score for trial in found)


def test_a_task_without_classes_is_judged_by_its_loss() -> None:
    config = RunConfig(network="mlp-64-8-64", target="input", loss="mse", limit_train=100, batch=8)
    scores = [trial.score for trial in trials(config)]
    assert all(score < 0 for score in scores)
