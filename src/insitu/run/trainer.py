"""Trains a step on data: order, learning rate, evaluation, early stop, checkpoints. Deterministic from one seed.

Every random choice (order of an epoch, augmentation of a step) is drawn anew from ``(seed, epoch, position)``, so a
run that was killed anywhere and resumed ends with the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from insitu.errors import DataError
from insitu.network.phases import ONE, Phases
from insitu.ops.loss import LOSSES, one_hot
from insitu.run.checkpoint import Progress
from insitu.run.engine import Engine
from insitu.run.samples import Arrays, Batches, Change
from insitu.run.state import State, extend_state, real_value
from insitu.run.torch_engine import Emit, EmitPhase, TorchEngine
from insitu.run.torch_exec import TorchExecutor
from insitu.step.ir import Step, Value
from insitu.step.triggers import triggers_of

STRETCH = 1024
"""Training steps in one call of an engine at most: between calls a checkpoint is written."""

Span = tuple[int, int]
"""First and end of a batch in the order of an epoch."""


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        total: training samples in all.
        lr: initial learning rate; ``schedule`` maps progress in [0, 1) to its factor.
        augment: ``(x, rng) -> x`` on a NumPy batch, or ``None``.
        eval_epochs: epochs between evaluations; the last is always evaluated.
        patience: evaluations without gain before stopping, or ``None``; needs validation data.
        checkpoint_steps: steps between checkpoints inside an epoch, or ``None``.
        skip_single: leave out a last batch of one sample: batch norm, and rules that compare samples, learn nothing
            from it.
    """

    total: int
    batch: int
    lr: float
    loss: str
    seed: int
    schedule: Callable[[float], float] = lambda _p: 1.0
    augment: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None
    eval_batch: int = 500
    eval_epochs: int = 1
    patience: int | None = None
    min_delta: float = 0.0
    checkpoint_steps: int | None = None
    skip_single: bool = False
    dtype: torch.dtype = torch.float32
    device: Any = "cpu"


class Trainer:
    """One run.

    Args:
        emit: the training step (with its loss as only output) for a batch size and a phase.
        infer: the inference step for a batch size.
        params: the network's parameters; what the state lacks starts from them.
        train, test, validation: data; early stopping looks at ``validation`` only.
        on_event: called with a dict at every evaluation (``kind: "eval"``), and while training (``"progress"``).
        on_checkpoint: called when the state may be saved.
        probe: measures something on the state at every evaluation (alignment), or ``None``.
        engine: what runs the steps; ``None``: the torch executor.
        phases: the rule's schedule over time.
        prefix: the forward pass of the first blocks, for a batch size and a number of blocks; for phases that take
            cached features.
    """

    def __init__(
        self,
        settings: Settings,
        emit: EmitPhase,
        infer: Emit,
        params: Mapping[str, np.ndarray],
        train: Arrays,
        test: Arrays,
        *,
        engine: Engine | None = None,
        validation: Arrays | None = None,
        on_event: Callable[[dict[str, Any]], None] = lambda _e: None,
        on_checkpoint: Callable[[State, Progress], None] = lambda _s, _p: None,
        probe: Callable[[State], dict[str, float]] | None = None,
        phases: Phases = ONE,
        prefix: EmitPhase | None = None,
    ) -> None:
        if settings.batch > len(train):
            raise DataError(
                f"batch {settings.batch} is larger than the {len(train)} training samples; "
                f"use a batch of at most {len(train)}"
            )
        self.settings, self.params, self.phases = settings, params, phases
        self.validation = validation
        self.on_event, self.on_checkpoint, self.probe = on_event, on_checkpoint, probe
        self.progress = Progress()
        self.torch = _torch_engine(settings, emit, infer, params, phases, prefix)
        self.engine: Engine = engine or self.torch
        self._latest: npt.NDArray[Any] = np.empty(0)
        self._predictions: npt.NDArray[Any] | None = None
        self._train, self._test = train, test
        self._residents: dict[str, Value] = {}
        self._real: torch.dtype | None = None

    # --- state ---------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The tensors of the run: what checkpoints hold, whatever engine trains."""
        return self.torch.state

    def hold(self, steps: Iterable[Step]) -> None:
        """Gives the state all residents of a program's steps, with their initial values: a checkpoint has them all."""
        for step in steps:
            self._hold(step)

    def _hold(self, step: Step) -> None:
        """Gives the state the residents of a step that begins to run."""
        self.torch.hold(step)
        self._residents.update((v.name, v) for v in step.residents)

    def _publish(self) -> None:
        """Copies what the engine has learned into the tensors of the run."""
        for name, array in self.engine.state.items():
            if name in self.state:
                self.state[name].copy_(torch.as_tensor(array))  # of the torch engine the very same tensor

    def restore(self, state: State, progress: Progress) -> None:
        """Continues from a checkpoint."""
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in state.items()}
        for engine in dict.fromkeys((self.torch, self.engine)):
            engine.load(arrays)
        self.progress = progress

    def parameters(self, more: Iterable[str] = ()) -> dict[str, np.ndarray]:
        """The network's parameters as real numbers, by ``state_dict`` name; frozen and untouched ones as they were.

        Args:
            more: names of residents beside the network's.
        """
        self._hold(self.engine.forward(min(self.settings.eval_batch, len(self._test))))
        values = {name: v for name, v in self._residents.items() if v.init and not v.init.frozen}
        return {
            name: real_value(values[name], self.state[name])
            if name in values
            else np.asarray(self.params[name])
            for name in (*self.params, *(n for n in more if n in values))
        }

    # --- steps to come -------------------------------------------------------------------------------------

    @property
    def _phase(self) -> int:
        return self._phase_after(0, 0)

    def _phase_after(self, steps: int, samples: int) -> int:
        """The phase after some more training steps."""
        p, s = self.progress, self.settings
        return self.phases.at(p.step + steps, (p.samples + samples) / s.total, s.seed)

    def _batches(self, epoch: int, start: int) -> list[Span]:
        """(first, end) of the batches of an epoch from sample ``start`` on, within the run's total."""
        count = len(self._train)
        left = self.settings.total - epoch * count
        stop = min(count, left)
        spans = [(i, min(i + self.settings.batch, stop)) for i in range(start, stop, self.settings.batch)]
        if self.settings.skip_single and spans and spans[-1][1] - spans[-1][0] == 1 < self.settings.batch:
            spans.pop()
        return spans

    # --- run -----------------------------------------------------------------------------------------------

    def run(self) -> Progress:
        """Trains to the end (or the early stop) and returns the progress with its history."""
        self._enter(self._phase)
        self._hold(self.engine.step(self.progress.phase))
        p = self.progress
        while not p.finished:
            self._epoch()
            self._close_epoch()
            self.on_checkpoint(self.state, p)
        return p

    def _order(self) -> np.ndarray:
        """The order of the samples in the present epoch."""
        return np.random.default_rng([self.settings.seed, self.progress.epoch]).permutation(len(self._train))

    def _epoch(self) -> None:
        s, p = self.settings, self.progress
        order, started = self._order(), time.perf_counter()
        for spans in self._stretches(self._batches(p.epoch, p.position)):
            self._learn(order, spans)
            if s.checkpoint_steps and p.step % s.checkpoint_steps == 0:
                self._publish()
                p.seconds += time.perf_counter() - started
                self._tally()
                self.on_checkpoint(self.state, p)
                self.on_event({"kind": "progress", "step": p.step, "samples": p.samples})
                started = time.perf_counter()
        self._publish()
        p.seconds += time.perf_counter() - started

    def _stretches(self, spans: Sequence[Span]) -> Iterator[Sequence[Span]]:
        """Batches of one size and one phase, up to a checkpoint; each is learned before the next is made."""
        first = 0
        while first < len(spans):
            count = self._alike(spans[first : first + STRETCH])
            yield spans[first : first + count]
            first += count

    def _alike(self, spans: Sequence[Span]) -> int:
        """How many of the next batches run as the first of them."""
        s, p = self.settings, self.progress
        size, phase, limit = spans[0][1] - spans[0][0], self._phase, len(spans)
        if s.checkpoint_steps:
            limit = min(limit, s.checkpoint_steps - p.step % s.checkpoint_steps)
        if spans[limit - 1][1] - spans[limit - 1][0] != size:  # the last of an epoch alone may be shorter
            limit = max(limit - 1, 1)
        if self.phases.count == 1:
            return limit
        return next((n for n in range(1, limit) if self._phase_after(n, n * size) != phase), limit)

    def _learn(self, order: np.ndarray, spans: Sequence[Span]) -> None:
        s, p = self.settings, self.progress
        self._enter(self._phase)
        self._hold(self.engine.step(p.phase))
        index = order[spans[0][0] : spans[-1][1]].reshape(len(spans), -1)
        size = index.shape[1]
        rates = [s.lr * self._factor(n * size) for n in range(len(spans))]
        batches = Batches(self._train, index, self._changes(spans))
        losses = self.engine.learn(batches, p.phase, rates, p.step - p.phase_start)
        p.step += len(spans)
        p.samples += index.size
        p.position = spans[-1][1]
        for loss in losses or ():
            p.loss_sum += loss * size
            p.loss_samples += size

    def _changes(self, spans: Sequence[Span]) -> tuple[Change, ...]:
        """The augmentation of each step, with random words of its own."""
        augment, seed, epoch = self.settings.augment, self.settings.seed, self.progress.epoch
        if augment is None:
            return ()
        return tuple(
            lambda x, first=first: augment(x, np.random.default_rng([seed, epoch, first]))
            for first, _ in spans
        )

    def _enter(self, phase: int) -> None:
        """An optimiser starts anew with a phase that comes once; where phases take turns it goes on."""
        p = self.progress
        if phase != p.phase:
            p.phase = phase
            p.phase_start = p.step if self.phases.period is None else 0

    def _factor(self, samples: int = 0) -> float:
        """Of the learning rate after some more samples, by the schedule of the phase."""
        share = (self.progress.samples + samples) / self.settings.total
        return self.settings.schedule(self.phases.within(share))

    def _tally(self) -> None:
        """Takes what the triggers have counted into the progress."""
        p, counts = self.progress, self.engine.triggered()
        p.fired = [a + int(b) for a, b in zip(p.fired or [0] * len(counts), counts)]

    def _triggered(self) -> dict[str, float]:
        """Share of the samples since the last evaluation for which each trigger fired; of rules of one phase."""
        p = self.progress
        fired, p.fired = p.fired, []
        if not fired or self.phases.count > 1:
            return {}
        seen = p.samples - (p.history[-1]["samples"] if p.history else 0)
        return {name: n / seen for name, n in zip(triggers_of(self.engine.step(p.phase)), fired)}

    def _close_epoch(self) -> None:
        s, p = self.settings, self.progress
        self._tally()
        measured = p.loss_samples == p.position  # an engine may train without making the loss
        train_loss = p.loss_sum / max(p.loss_samples, 1) if measured else None
        p.epoch += 1
        p.position, p.loss_sum, p.loss_samples = 0, 0.0, 0
        diverged = train_loss is not None and not math.isfinite(train_loss)
        p.finished = diverged or p.epoch * len(self._train) >= s.total
        if p.epoch % s.eval_epochs and not p.finished:
            return
        row = self._evaluation(train_loss) | {"diverged": diverged}
        p.finished = p.finished or (s.patience is not None and p.stale >= s.patience)
        p.history.append(row)
        self.on_event({"kind": "eval", **row})

    def _evaluation(self, train_loss: float | None) -> dict[str, Any]:
        """A row of the history."""
        s, p = self.settings, self.progress
        test_loss, accuracy = self.evaluate(self._test)
        self._predictions = self._latest
        row: dict[str, Any] = {
            "epoch": p.epoch,
            "step": p.step,
            "samples": p.samples,
            "train_loss": _finite(train_loss),
            "test_loss": _finite(test_loss),
            "test_accuracy": accuracy,
            "lr": s.lr * (self._factor() if p.samples < s.total else s.schedule(1.0)),
            "seconds": p.seconds,
        }
        if self.validation is not None:
            loss, score = self.evaluate(self.validation)
            row |= {"validation_loss": _finite(loss), "validation_accuracy": score}
            self._watch(-loss if score is None else score)
        if triggered := self._triggered():
            row["triggered"] = triggered
        if self.probe is not None:
            row["alignment"] = self.probe(self.state)
        return row

    def _watch(self, score: float) -> None:
        p = self.progress
        if p.best is None or score > p.best + self.settings.min_delta:
            p.best, p.stale = score, 0
        else:
            p.stale += 1

    def evaluate(self, data: Arrays) -> tuple[float, float | None]:
        """Mean loss (PyTorch's reduction) and accuracy; accuracy is ``None`` for targets that are no classes."""
        _, y = self.torch.tensors.of(data)
        classes = not y.is_floating_point()
        loss, right, found = 0.0, 0, []
        for first in range(0, len(data), self.settings.eval_batch):
            yb = y[first : first + self.settings.eval_batch]
            z = self._predicted(data, first, first + len(yb))
            found.append(self._found(z, yb))
            right += int((found[-1] == yb).sum()) if classes else 0
            scale = 1.0 if self.settings.loss == "xent" else 1.0 / (z.numel() // len(yb))
            loss += float(
                LOSSES[self.settings.loss](z, yb if classes else one_hot(yb, z), scale, None, True)[1]
            )
        self._latest = torch.cat(found).cpu().numpy()
        return loss / len(data), right / len(data) if classes else None

    def _found(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """What outputs say of each sample: its class; of independent targets which ones are set; else the mean squared
        error."""
        if not y.is_floating_point():
            return z.argmax(1)
        if self.settings.loss == "bce":
            return z > 0
        return (z.double() - y.double()).square().flatten(1).mean(1)

    def predictions(self) -> npt.NDArray[Any]:
        """Of the test samples after the last epoch: classes [N]; with targets and loss bce which ones are set, [N,K];
        with other targets the mean squared error [N]."""
        if self._predictions is None:  # a run that had ended before it was resumed
            self.evaluate(self._test)
            self._predictions = self._latest
        return self._predictions

    def classes(self, data: Arrays, number: int) -> int:
        """The class that the network gives one sample."""
        return int(self._predicted(data, number, number + 1).argmax())

    def _predicted(self, data: Arrays, first: int, end: int) -> torch.Tensor:
        """The network's outputs for the samples ``first`` to ``end``."""
        engine, threads = self.engine, torch.get_num_threads()
        found = engine.infer(data, first, end, threads)
        if found is None:
            engine, found = self.torch, self.torch.infer(data, first, end)
        step = engine.forward(end - first)
        self._hold(step)
        z, out = torch.as_tensor(found), step.outputs[0]
        if not z.is_floating_point():
            z = z.to(self._real_of(data, first)).reshape(end - first, *out.shape[1:])
        return z if out.unit is None else z * out.unit

    def _real_of(self, data: Arrays, first: int) -> torch.dtype:
        """The type in which the torch engine has the outputs: their loss is rounded in it."""
        if self._real is None:
            self._real = self.torch.infer(data, first, first + 1).dtype
        return self._real


def _torch_engine(
    settings: Settings,
    emit: EmitPhase,
    infer: Emit,
    params: Mapping[str, np.ndarray],
    phases: Phases,
    prefix: EmitPhase | None,
) -> TorchEngine:
    return TorchEngine(
        emit,
        infer,
        params,
        batch=settings.batch,
        seed=settings.seed,
        part=settings.eval_batch,
        dtype=settings.dtype,
        device=settings.device,
        phases=phases,
        prefix=prefix,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def angles(
    state: State,
    rule: Step,
    reference: Step,
    inputs: tuple[Any, Any],
    settings: Settings,
    params: Mapping[str, np.ndarray],
) -> dict[str, float]:
    """Degrees between the weight changes of a rule and of the reference (BP) on the same samples and state.

    Both steps must use plain SGD; neither changes ``state``. Layers that the rule has no part for are not in the state:
    they have their values of ``params``. A weight that one of the two steps leaves alone is left out.
    """
    changes = []
    for step in (rule, reference):
        copy = {name: tensor.clone() for name, tensor in state.items()}
        executor = TorchExecutor(step, copy, seed=settings.seed, dtype=settings.dtype, device=settings.device)
        extend_state(copy, step, params, settings.seed, dtype=settings.dtype, device=settings.device)
        executor.run(executor.convert(*inputs), lr=1.0, t=0)
        changes.append({n: (copy[n] - state[n]).double().flatten() for n in state})
    found = {}
    for name, ours in changes[0].items():
        theirs = changes[1][name]
        norm = float(ours.norm() * theirs.norm())
        if name.endswith("weight") and norm > 0:
            found[name] = math.degrees(math.acos(max(-1.0, min(1.0, float(ours @ theirs) / norm))))
    return found
