"""A learning rate for a run that names none: a short sweep on training samples, a fifth of which are held back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

from insitu.experiment.config import RunConfig
from insitu.experiment.resolve import load_data
from insitu.experiment.train import train

RATES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
SAMPLES = 2_000
"""Most training samples of a trial, those held back included."""
HELD = 0.2


@dataclass(frozen=True)
class Trial:
    """What a rate came to after one epoch.

    Attributes:
        score: accuracy on the samples that were held back, or their negative loss where there are no classes;
            ``-inf``: it diverged.
    """

    lr: float
    score: float


def trials(config: RunConfig, on_trial: Callable[[Trial], None] = lambda _t: None) -> list[Trial]:
    """A trial for each rate; test samples are not looked at.

    Raises:
        InsituError: what the run itself would be refused for.
    """
    limit = min(config.limit_train or SAMPLES, SAMPLES)
    short = {"limit_train": limit, "limit_test": 1, "validation": max(config.validation, HELD), "epochs": 1}
    short |= {"samples": None, "early_stop": None, "checkpoint_steps": None, "alignment": False}
    brief = config.model_copy(update=short)
    data, found = load_data(brief), []
    for lr in RATES:
        seen: list[dict[str, Any]] = []
        run = brief.model_copy(update={"optimizer": config.optimizer.model_copy(update={"lr": lr})})
        outcome = train(run, data=data, on_event=seen.append)
        found.append(Trial(lr, -float("inf") if outcome.diverged else _score(seen)))
        on_trial(found[-1])
    return found


def _score(seen: list[dict[str, Any]]) -> float:
    """Of the last evaluation."""
    last = [event for event in seen if event.get("kind") == "eval"][-1]
    accuracy, loss = last.get("validation_accuracy"), last.get("validation_loss")
    score = accuracy if accuracy is not None else -loss if loss is not None else -float("inf")
    return score if isfinite(score) else -float("inf")


def best(found: list[Trial]) -> float:
    """The rate with the best score; of equal ones the lowest, which wrecks least."""
    return max(reversed(found), key=lambda trial: trial.score).lr
