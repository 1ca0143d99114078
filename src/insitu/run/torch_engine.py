"""The torch executor as an engine: real or integer steps, any batch size, on any torch device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from insitu.network.phases import ONE, Phases
from insitu.run.samples import Arrays, Batches
from insitu.run.state import State, extend_state
from insitu.run.torch_exec import TorchExecutor
from insitu.step.ir import Step

Emit = Callable[[int], Step]
"""The lowered step for a batch size."""

EmitPhase = Callable[[int, int], Step]
"""The lowered step for a batch size and a phase (or a number of blocks)."""


class Tensors:
    """Whole data sets as tensors, each moved once: reals in the run's type, class indices as int32."""

    def __init__(self, dtype: torch.dtype, device: Any) -> None:
        self.dtype, self.device = dtype, device
        self._known: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def of(self, data: Arrays) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples and labels."""
        known = self._known.get(id(data))
        if known is None:
            x = torch.from_numpy(np.ascontiguousarray(data.x)).to(device=self.device, dtype=self.dtype)
            kind = self.dtype if data.y.dtype.kind == "f" else torch.int32
            y = torch.from_numpy(np.ascontiguousarray(data.y)).to(device=self.device, dtype=kind)
            known = self._known[id(data)] = (x, y)
        return known

    def batches(
        self, batches: Batches, x: torch.Tensor, y: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Samples and labels of each step, out of ``x`` and ``y``."""
        index = torch.from_numpy(batches.index).to(self.device)
        for k in range(len(batches)):
            xb, yb = x.index_select(0, index[k]), y.index_select(0, index[k])
            if batches.changes:
                xb = torch.from_numpy(batches.changes[k](xb.cpu().numpy())).to(xb)
            yield xb, yb


class TorchEngine:
    """Runs steps by :class:`TorchExecutor`; its state are the run's own tensors.

    Args:
        emit: the training step (with its loss as only output) for a batch size and a phase.
        infer: the inference step for a batch size.
        params: the network's parameters; what the state lacks starts from them.
        batch, seed, dtype, device: of the run.
        part: samples at a time of a prefix.
        phases, prefix: the rule's schedule, and the forward pass of the first blocks for phases that take cached
            features.
    """

    def __init__(
        self,
        emit: EmitPhase,
        infer: Emit,
        params: Mapping[str, np.ndarray],
        *,
        batch: int,
        seed: int,
        part: int,
        dtype: torch.dtype = torch.float32,
        device: Any = "cpu",
        phases: Phases = ONE,
        prefix: EmitPhase | None = None,
    ) -> None:
        self.emit, self.prediction, self.params, self.prefix = emit, infer, params, prefix
        self.batch, self.seed, self.part, self.phases = batch, seed, part, phases
        self.tensors = Tensors(dtype, device)
        self._state: State = {}
        self._executors: dict[tuple[str, int, int], TorchExecutor] = {}
        self._features: tuple[int, torch.Tensor] | None = None

    # --- steps and their state -------------------------------------------------------------------------------

    def _executor(self, kind: str, batch: int, part: int = 0) -> TorchExecutor:
        """Of a training step (``part``: its phase), of the inference, or of a prefix (``part``: its blocks)."""
        known = self._executors.get((kind, batch, part))
        if known is None:
            step = self._emitted(kind, batch, part)
            self.hold(step)
            kinds = {"dtype": self.tensors.dtype, "device": self.tensors.device}
            known = TorchExecutor(step, self._state, seed=self.seed, **kinds)
            self._executors[(kind, batch, part)] = known
        return known

    def _emitted(self, kind: str, batch: int, part: int) -> Step:
        if kind == "infer":
            return self.prediction(batch)
        if kind == "train":
            return self.emit(batch, part)
        assert self.prefix is not None, "phases with a start need a prefix"
        return self.prefix(batch, part)

    def hold(self, step: Step) -> None:
        """Adds the residents of a step that the state lacks, with their initial values."""
        t = self.tensors
        extend_state(self._state, step, self.params, self.seed, dtype=t.dtype, device=t.device)

    @property
    def state(self) -> State:
        """The tensors themselves."""
        return self._state

    def load(self, state: Mapping[str, Any]) -> None:
        for name, array in state.items():
            self._state[name] = torch.as_tensor(array).to(device=self.tensors.device)

    def triggered(self) -> Sequence[int]:
        counts: list[int] = []
        for (kind, _, _), executor in self._executors.items():
            if kind == "train":
                fired = executor.fired
                counts = [a + b for a, b in zip(counts or [0] * len(fired), fired)]
                fired[:] = [0] * len(fired)
        return counts

    def step(self, phase: int) -> Step:
        return self._executor("train", self.batch, phase).step

    def forward(self, count: int) -> Step:
        return self._executor("infer", count).step

    # --- running ---------------------------------------------------------------------------------------------

    def learn(self, batches: Batches, phase: int, rates: Sequence[float], done: int) -> list[float]:
        losses = []
        x, y = self._samples(batches.data, phase)
        for k, (xb, yb) in enumerate(self.tensors.batches(batches, x, y)):
            executor = self._executor("train", len(xb), phase)
            (loss,) = executor.run(executor.convert(xb, yb), lr=rates[k], t=done + k)
            losses.append(loss.item())
        return losses

    def _samples(self, data: Arrays, phase: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What a phase trains on: the samples, or their features behind the blocks before its start."""
        x, y = self.tensors.of(data)
        start = self.phases.start(phase)
        if not start:
            return x, y
        if self._features is None or self._features[0] != start:
            self._features = None  # frees the cache of the phase before
            parts = [x[i : i + self.part] for i in range(0, len(x), self.part)]
            executors = [self._executor("prefix", len(part), start) for part in parts]
            found = [e.run(e.convert(part))[0] for e, part in zip(executors, parts)]
            self._features = (start, torch.cat(found))
        return self._features[1], y

    def infer(self, data: Arrays, first: int, end: int, threads: int = 1) -> torch.Tensor:
        """The outputs as they leave the step; torch's own setting says how many threads run."""
        x, _ = self.tensors.of(data)
        executor = self._executor("infer", end - first)
        (z,) = executor.run(executor.convert(x[first:end]))
        return z
