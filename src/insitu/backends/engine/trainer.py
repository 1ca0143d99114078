"""A device with its host as an engine of the trainer: the executor of microcode, or hardware."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.backends.engine.host import Device, Host
from insitu.backends.engine.image import Image
from insitu.run.samples import Arrays, Batches
from insitu.step.ir import Step


class HostedEngine:
    """Trains a program of batch 1 sample by sample; it does not make the training loss."""

    def __init__(self, image: Image, device: Device) -> None:
        self.program = image.program
        self.host = Host(image, device)
        self._fired = [0] * max(len(entry.triggers) for entry in image.entries)

    @property
    def state(self) -> Mapping[str, Any]:
        found = self.host.state
        return {name: found[name] for name in self.program.residents if name in self.program.written}

    def load(self, state: Mapping[str, Any]) -> None:
        self.host.load(state)

    def triggered(self) -> Sequence[int]:
        found, self._fired = self._fired, [0] * len(self._fired)
        return found

    def step(self, phase: int) -> Step:
        return self.program.steps[phase]

    def forward(self, _count: int) -> Step:
        return self.program.inference

    def learn(self, batches: Batches, phase: int, rates: Sequence[float], done: int) -> None:
        given = {v.name: batches.integers(v) for v in self.step(phase).inputs}
        labels = given.get("label", np.zeros((len(batches), 1), np.int64))
        for t, (x, label, rate) in enumerate(zip(given["x"], labels, rates)):
            flags = self.host.learn(x, label, phase, rate, done + t)
            self._fired = [n + (flags >> slot & 1) for slot, n in enumerate(self._fired)]

    def infer(self, data: Arrays, first: int, end: int, threads: int) -> npt.NDArray[np.int64]:
        x = Batches(data, np.arange(first, end)[:, None]).integers(self.program.inference.inputs[0])
        return np.concatenate([self.host.infer(one) for one in x])
