"""What runs the steps of a run: the contract of an engine. No torch.

The trainer owns the order of the samples, the schedule, evaluation, early stop and checkpoints; an engine owns the
numbers. The torch executor is one engine (:class:`insitu.run.torch_engine.TorchEngine`); a backend brings others, which
compute the same integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from insitu.run.samples import Arrays, Batches
from insitu.step.ir import Step


class Engine(Protocol):
    """Runs the steps of a run, and holds what they change."""

    def learn(
        self, batches: Batches, phase: int, rates: Sequence[float], done: int
    ) -> Sequence[float] | None:
        """Training steps, one after the other.

        Args:
            batches: the samples of each step.
            phase: of the rule: which of its training steps runs.
            rates: the learning rate of each step.
            done: training steps of the phase before the first of these; random words and optimizers follow from it.

        Returns:
            The mean loss of each step, or ``None``: this engine does not make it.
        """
        ...

    def infer(self, data: Arrays, first: int, end: int, threads: int) -> Any | None:
        """The outputs of the forward pass for the samples ``first`` to ``end``: an array [samples, outputs].

        They are integers in the unit of the output of :meth:`forward`, or reals if that has none.

        Args:
            threads: how many it may use; the result does not depend on it.

        Returns:
            ``None`` where a sample's outputs depend on its batch and the engine runs samples one by one; the torch
            executor predicts then.
        """
        ...

    @property
    def state(self) -> Mapping[str, Any]:
        """The residents that learning has changed so far, by name: arrays of integers, or of reals for real ones."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from such arrays; names that the program lacks are left aside."""
        ...

    def triggered(self) -> Sequence[int]:
        """For how many samples each trigger of the training step has fired since the last call."""
        ...

    def step(self, phase: int) -> Step:
        """The training step of a phase."""
        ...

    def forward(self, count: int) -> Step:
        """The step by which the outputs of ``count`` samples are made."""
        ...


class AnySize:
    """An engine for every batch size that comes, of engines for one each; the state goes from one to the next.

    Args:
        make: the engine of a batch size; called once for each.
        batch: the size to begin with.
    """

    def __init__(self, make: Callable[[int], Engine], batch: int) -> None:
        self._make = make
        self._engines: dict[int, Engine] = {}
        self._present = self._of(batch)

    def _of(self, batch: int) -> Engine:
        if batch not in self._engines:
            self._engines[batch] = self._make(batch)
        return self._engines[batch]

    def learn(
        self, batches: Batches, phase: int, rates: Sequence[float], done: int
    ) -> Sequence[float] | None:
        engine = self._of(batches.index.shape[1])
        if engine is not self._present:
            engine.load(self._present.state)
            self._present = engine
        return engine.learn(batches, phase, rates, done)

    def infer(self, data: Arrays, first: int, end: int, threads: int) -> Any | None:
        return self._present.infer(data, first, end, threads)

    @property
    def state(self) -> Mapping[str, Any]:
        return self._present.state

    def load(self, state: Mapping[str, Any]) -> None:
        self._present.load(state)

    def triggered(self) -> Sequence[int]:
        return [sum(counts) for counts in zip(*(e.triggered() for e in self._engines.values()))]

    def step(self, phase: int) -> Step:
        return self._present.step(phase)

    def forward(self, count: int) -> Step:
        return self._present.forward(count)
