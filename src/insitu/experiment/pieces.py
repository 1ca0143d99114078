"""What a trainer is given for a run, and what the run comes to: shared by the rules and the Brevitas baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from insitu.data import Augment
from insitu.experiment.config import RunConfig
from insitu.experiment.exits import Exits
from insitu.experiment.metrics import Detection, Metrics, Tags
from insitu.experiment.record import Curve
from insitu.experiment.resolve import Setup, build_network, load_data
from insitu.network.torch.module import to_module
from insitu.run.checkpoint import Progress
from insitu.run.trainer import Arrays, Settings


@dataclass(frozen=True)
class Outcome:
    """A finished run: its curve, and the trained parameters by ``state_dict`` name.

    ``heads``: what the rule learned beside the network, by the names of its residents.
    ``exits``: what its heads are worth as exits; ``None`` for rules without, and without a validation split.
    ``before``: test accuracy of the network that a run started from, in float32 and in the run's precision; ``None``
    for a run that started from nothing.
    ``metrics``: confusion, recalls and what guessing would score; of an autoencoder how well its error tells
    anomalies; of labels that do not exclude each other F1.
    ``origin``: the live module that was trained, as it was.
    """

    config: RunConfig
    curve: Curve
    seconds: float
    samples: int
    diverged: bool
    params: Mapping[str, np.ndarray]
    folder: Path | None = None
    before: dict[str, float | None] | None = None
    heads: Mapping[str, np.ndarray] = field(default_factory=dict)
    exits: Exits | None = None
    metrics: Metrics | Detection | Tags | None = None
    origin: torch.nn.Module | None = None

    def module(self) -> torch.nn.Module:
        """The trained network: a copy of the live module, or a module of the same parameter names."""
        if self.origin is not None and self.config.network_options.get("norm", "keep") == "keep":
            found = deepcopy(self.origin)
            own = found.state_dict()  # the kernels of a Conv1d have no height there
            values = {k: torch.from_numpy(np.array(v)).reshape(own[k].shape) for k, v in self.params.items()}
            found.load_state_dict(values, strict=False)
            return found
        net = build_network(self.config.network, load_data(self.config), self.config, self.config.seed)
        return to_module(replace(net, params=self.params))

    @property
    def test_accuracy(self) -> float | None:
        return self.curve.test_accuracy[-1]

    @property
    def test_loss(self) -> float | None:
        return self.curve.test_loss[-1]


def outcome_of(
    setup: Setup, progress: Progress, params: Mapping[str, np.ndarray], out: Path | None
) -> Outcome:
    """What a run has come to, from its history."""
    rows = progress.history
    curve = Curve(
        seed=setup.config.seed,
        samples=[r["samples"] for r in rows],
        train_loss=[r["train_loss"] for r in rows],
        test_loss=[r["test_loss"] for r in rows],
        test_accuracy=[r["test_accuracy"] for r in rows],
        triggered=[r["triggered"] for r in rows] if all("triggered" in r for r in rows) and rows else None,
    )
    diverged = any(r["diverged"] for r in rows)
    return Outcome(setup.config, curve, progress.seconds, progress.samples, diverged, params, out)


def arrays_of(setup: Setup) -> tuple[Arrays, Arrays, Arrays | None]:
    """Training, test and validation data in the network's input shape."""
    shape = setup.net.input_shape
    reconstruct = setup.config.target == "input"

    def arrays(x: np.ndarray, y: np.ndarray) -> Arrays:
        x = x.reshape(len(x), *shape)
        return Arrays(x, x.reshape(len(x), *setup.net.blocks[-1].shape) if reconstruct else y)

    train, test, own = setup.data.train, setup.data.test, setup.data.validation
    count = setup.training_samples
    if count == len(train):
        held = arrays(own.x, own.y) if own is not None else None
        return arrays(train.x, train.y), arrays(test.x, test.y), held
    order = np.random.default_rng([setup.config.seed, len(train)]).permutation(len(train))
    kept, out = np.sort(order[:count]), np.sort(order[count:])
    return arrays(train.x[kept], train.y[kept]), arrays(test.x, test.y), arrays(train.x[out], train.y[out])


def _augment(setup: Setup) -> Callable[[np.ndarray, np.random.Generator], np.ndarray] | None:
    """The augmentation of a batch in the network's input shape; it works on the data's own shape (images)."""
    options = setup.config.augment
    if not options.pad and not options.flip:
        return None
    change, shape = Augment(pad=options.pad, flip=options.flip), setup.data.sample_shape
    return lambda x, rng: change(x.reshape(len(x), *shape), rng).reshape(x.shape)


def settings_of(setup: Setup) -> Settings:
    config = setup.config
    stop = config.early_stop
    return Settings(
        total=setup.total_samples,
        batch=config.batch,
        lr=config.optimizer.lr,
        loss=config.loss,
        seed=config.seed,
        schedule=config.schedule.factor,
        augment=_augment(setup),
        eval_batch=config.eval_batch,
        eval_epochs=config.eval_epochs,
        patience=stop.patience if stop else None,
        min_delta=stop.min_delta if stop else 0.0,
        checkpoint_steps=config.checkpoint_steps,
        skip_single=setup.skips_single,
        dtype=torch.float64 if config.precision == "float64" else torch.float32,
        device=config.device,
    )


SERIAL_MACS = 5_000_000
"""Steps of fewer multiply-accumulates run on one thread: a second one costs more in waiting than it computes, and on
a busy machine a hundred times more."""


@contextmanager
def threads_of(setup: Setup) -> Iterator[None]:
    """The run's thread count: as configured, one for small steps, else as torch has it; restored afterwards."""
    before = torch.get_num_threads()
    steps = (setup.emitted(setup.config.batch, k) for k in range(setup.phases.count))
    small = all(sum(step.counts().macs.values()) < SERIAL_MACS for step in steps)
    torch.set_num_threads(setup.config.threads or (1 if small else before))
    try:
        yield
    finally:
        torch.set_num_threads(before)
