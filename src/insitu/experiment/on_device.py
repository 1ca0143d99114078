"""A run's data for a device that runs its export: samples as the device's words, learned or evaluated there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from insitu.backends.protocol import find
from insitu.device.device import Answer, Device
from insitu.device.ports import Port
from insitu.errors import ConfigError
from insitu.experiment.config import RunConfig, load
from insitu.experiment.export import exportable
from insitu.experiment.resolve import Setup
from insitu.run.program import Program
from insitu.run.samples import Feed


@dataclass(frozen=True)
class Done:
    """What a device did.

    Attributes:
        samples: how many it took.
        accuracy: share of them that it classified rightly, 0 to 1; ``None``: it learned and did not classify.
        cycles: mean of the core's cycles per sample; ``None``: it has no counter.
        step: training steps that it has done.
        repeated: requests that were sent again.
    """

    samples: int
    accuracy: float | None
    cycles: float | None
    step: int
    repeated: int


class Session:
    """A device and the run whose export it runs.

    Args:
        run: a run folder or a configuration.
        batch: that it was exported with; ``None``: the run's.

    Raises:
        ConfigError: the device runs another program.
    """

    def __init__(self, port: Port, run: Path, batch: int | None = None, data_dir: str | None = None) -> None:
        self.program: Program = exportable(run, batch=batch, steps=1, data_dir=data_dir)
        config = load(RunConfig, run / "config.yaml" if run.is_dir() else run)
        if data_dir is not None:
            config = config.model_copy(update={"data_dir": data_dir})
        self.setup = Setup.of(config)
        self.device = Device(port, find("c").identity(self.program))

    def learn(self, count: int | None = None) -> Done:
        """Training steps on the training samples in their order, from where the device's step count stands.

        Args:
            count: samples, of whole batches; ``None``: the training set once.
        """
        step, train = self.program.steps[self.program.phase], self.setup.data.train
        steps = (len(train) if count is None else count) // step.batch
        first = self.device.hello.step
        index = np.arange(first * step.batch, (first + steps) * step.batch) % len(train)
        rows = index.reshape(steps, step.batch)
        given = {v.name: v for v in step.inputs}
        x = Feed(given["x"], train.x).batches(rows)
        labels = [b""] * steps
        if "label" in given:
            every = self.setup.labels(np.arange(len(train)))
            labels = [y.tobytes() for y in Feed(given["label"], every).batches(rows)]
        answers = [self.device.learn(a.tobytes(), y) for a, y in zip(x, labels)]
        return self._done(answers, steps * step.batch, None)

    def infer(self, count: int | None = None) -> list[Answer]:
        """The answers for the first test samples; ``None``: for all."""
        return list(self._answers(self.setup.data.test.x[:count]))

    def evaluate(self, count: int | None = None) -> Done:
        """The accuracy on the first test samples; ``None``: on all.

        Raises:
            ConfigError: the data have no classes.
        """
        if self.setup.data.classes is None:
            raise ConfigError(f"data {self.setup.data.name!r} have no classes to be right about; use infer")
        answers = self.infer(count)
        right = [a.class_index == y for a, y in zip(answers, self.setup.data.test.y)]
        return self._done(answers, len(answers), float(np.mean(right)))

    def _answers(self, x: npt.NDArray[np.float32]) -> Iterator[Answer]:
        words = Feed(self.program.inference.inputs[0], x).batches(np.arange(len(x))[:, None])
        return (self.device.infer(row.tobytes()) for row in words)

    def _done(self, answers: list[Answer], samples: int, accuracy: float | None) -> Done:
        if not answers:
            raise ConfigError("no whole batch of samples was asked for; raise --samples")
        found = [a.cycles for a in answers if a.cycles is not None]
        cycles = sum(found) / samples if found else None
        return Done(samples, accuracy, cycles, answers[-1].step, self.device.repeated)
