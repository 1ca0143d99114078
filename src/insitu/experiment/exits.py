"""What heads are worth as exits: accuracy against average operations, with thresholds from the validation split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from insitu.experiment.record import Record
from insitu.run.exits import Scores, leaving, predicted, thresholds_for
from insitu.run.samples import Arrays
from insitu.run.state import State, extend_state
from insitu.run.torch_engine import Tensors
from insitu.run.torch_exec import TorchExecutor
from insitu.step.ir import Step

if TYPE_CHECKING:
    from torch import Tensor

    from insitu.experiment.resolve import Setup
    from insitu.run.trainer import Settings

LOSSES = (0.0, 0.005, 0.01, 0.02, 0.05)
"""Accuracy on validation data that exits may cost."""


class ExitPoint(Record):
    """One choice of thresholds.

    ``loss``: accuracy on validation data that the exits may cost; ``thresholds``: of every exit but the last, in the
    unit of its scores (integers in integer precisions); ``shares``: of the test samples that leave by each exit;
    ``macs``: multiply-accumulates of a test sample on average, with those of the heads that it passes. Accuracies are
    fractions.
    """

    loss: float
    thresholds: list[float]
    validation_accuracy: float
    test_accuracy: float
    shares: list[float]
    macs: float


class Exits(Record):
    """Heads as exits: ``names`` of the blocks, the network's output last; ``macs`` of a sample that leaves there.

    ``inference_macs`` is the forward pass without heads.
    """

    names: list[str]
    macs: list[int]
    inference_macs: float
    points: list[ExitPoint]


def exits_of(
    setup: Setup, settings: Settings, state: State, validation: Arrays | None, test: Arrays
) -> Exits | None:
    """What a trained network's heads are worth; ``None`` without heads, classes or a validation split.

    Args:
        state: of the trained network.
    """
    step = setup.exits(1)
    if step is None or validation is None or setup.targets:
        return None
    held, tested = (_scores(setup, settings, state, part) for part in (validation, test))
    macs = _macs(step)
    points = [_point(loss, (held, validation.y), (tested, test.y), macs) for loss in LOSSES]
    names = [(v.where.layer or "").removesuffix(".head") for v in step.outputs[:-1]]
    alone = sum(setup.inference(1).counts().macs.values())
    return Exits(names=[*names, "output"], macs=macs, inference_macs=alone, points=points)


def _macs(step: Step) -> list[int]:
    """Of a sample that leaves by each exit: everything up to its scores."""
    done = np.cumsum([sum(op.record.counts(op).macs.values()) for op in step.ops])
    made = {v: n for n, op in enumerate(step.ops) for v in op.outputs}
    return [int(done[made[v]]) for v in step.outputs]


def _scores(setup: Setup, settings: Settings, state: State, data: Arrays) -> Scores:
    tensors = Tensors(settings.dtype, settings.device)
    x, _ = tensors.of(data)
    parts = [
        _run(setup, settings, state, x[i : i + settings.eval_batch])
        for i in range(0, len(x), settings.eval_batch)
    ]
    return [np.concatenate(of_exit) for of_exit in zip(*parts)]


def _run(setup: Setup, settings: Settings, state: State, x: Tensor) -> list[npt.NDArray[np.float64]]:
    step = setup.exits(len(x))
    assert step is not None
    kinds: dict[str, Any] = {"dtype": settings.dtype, "device": settings.device}
    extend_state(state, step, setup.net.values, settings.seed, **kinds)
    executor = TorchExecutor(step, state, seed=settings.seed, **kinds)
    return [z.double().cpu().numpy() for z in executor.run(executor.convert(x))]


Marked = tuple[Scores, npt.NDArray[np.int64]]
"""Scores, and the labels."""


def _point(loss: float, held: Marked, tested: Marked, macs: Sequence[int]) -> ExitPoint:
    thresholds = thresholds_for(*held, loss)
    taken = leaving(tested[0], thresholds)
    shares = np.bincount(taken, minlength=len(macs)) / len(taken)
    return ExitPoint(
        loss=loss,
        thresholds=thresholds,
        validation_accuracy=_accuracy(held, thresholds),
        test_accuracy=_accuracy(tested, thresholds),
        shares=shares.tolist(),
        macs=float(shares @ macs),
    )


def _accuracy(data: Marked, thresholds: Sequence[float]) -> float:
    scores, y = data
    return float((predicted(scores, leaving(scores, thresholds)) == y).mean())
