"""Trains a step on data: order, learning rate, evaluation, early stop, checkpoints. Deterministic from one seed.

Every random choice (order of an epoch, augmentation of a step) is drawn anew from ``(seed, epoch, position)``, so a
run that was killed anywhere and resumed ends with the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from insitu.errors import DataError
from insitu.network.phases import ONE, Phases
from insitu.ops.loss import LOSSES, one_hot
from insitu.run.checkpoint import Progress
from insitu.run.state import State, extend_state, real_value
from insitu.run.torch_exec import TorchExecutor
from insitu.step.ir import Step, Value
from insitu.step.triggers import triggers_of

Emit = Callable[[int], Step]
"""The lowered step for a batch size."""

EmitPhase = Callable[[int, int], Step]
"""The lowered step for a batch size and a phase (or a number of blocks)."""


@dataclass(frozen=True)
class Arrays:
    """Samples ``x`` [N, ...] float32 and ``y``: class indices [N], or targets of the output's shape."""

    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


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
        skip_single: leave out a last batch of one sample (batch norm cannot train on it).
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
        self.settings = settings
        self.emit, self.infer, self.prefix, self.params = emit, infer, prefix, params
        self.phases = phases
        self.validation = validation
        self.on_event, self.on_checkpoint, self.probe = on_event, on_checkpoint, probe
        self.state: State = {}
        self.progress = Progress()
        self._train, self._test = train, test
        self._executors: dict[tuple[str, int, int], TorchExecutor] = {}
        self._tensors: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._features: tuple[int, torch.Tensor] | None = None

    # --- pieces --------------------------------------------------------------------------------------------

    def _executor(self, kind: str, batch: int, part: int = 0) -> TorchExecutor:
        """Of a training step (``part``: its phase), of the inference, or of a prefix (``part``: its blocks)."""
        known = self._executors.get((kind, batch, part))
        if known is None:
            s = self.settings
            step = self._step(kind, batch, part)
            extend_state(self.state, step, self.params, s.seed, dtype=s.dtype, device=s.device)
            known = TorchExecutor(step, self.state, seed=s.seed, dtype=s.dtype, device=s.device)
            self._executors[(kind, batch, part)] = known
        return known

    def parameters(self) -> dict[str, np.ndarray]:
        """The network's parameters as real numbers, by ``state_dict`` name; frozen and untouched ones as they were."""
        values = {name: v for name, v in self._residents().items() if v.init and not v.init.frozen}
        return {
            name: real_value(values[name], self.state[name]) if name in values else np.asarray(array)
            for name, array in self.params.items()
        }

    def _residents(self) -> dict[str, Value]:
        """What the state holds, by name."""
        return {v.name: v for e in self._executors.values() for v in e.step.residents}

    def _step(self, kind: str, batch: int, part: int) -> Step:
        if kind == "infer":
            return self.infer(batch)
        if kind == "train":
            return self.emit(batch, part)
        assert self.prefix is not None, "phases with a start need a prefix"
        return self.prefix(batch, part)

    def _on_device(self, data: Arrays) -> tuple[torch.Tensor, torch.Tensor]:
        """The whole arrays as tensors: reals in the run's type, class indices as int32."""
        known = self._tensors.get(id(data))
        if known is None:
            s = self.settings
            x = torch.from_numpy(np.ascontiguousarray(data.x)).to(device=s.device, dtype=s.dtype)
            kind = s.dtype if data.y.dtype.kind == "f" else torch.int32
            y = torch.from_numpy(np.ascontiguousarray(data.y)).to(device=s.device, dtype=kind)
            known = self._tensors[id(data)] = (x, y)
        return known

    def _samples(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What the present phase trains on: the samples, or their features behind the blocks before ``start``."""
        x, y = self._on_device(self._train)
        start = self.phases.start(self._phase)
        if not start:
            return x, y
        if self._features is None or self._features[0] != start:
            self._features = None  # frees the cache of the phase before
            size = self.settings.eval_batch
            parts = [x[i : i + size] for i in range(0, len(x), size)]
            executors = [self._executor("prefix", len(part), start) for part in parts]
            found = [e.run(e.convert(part))[0] for e, part in zip(executors, parts)]
            self._features = (start, torch.cat(found))
        return self._features[1], y

    @property
    def _phase(self) -> int:
        p, s = self.progress, self.settings
        return self.phases.at(p.step, p.samples / s.total, s.seed)

    def restore(self, state: State, progress: Progress) -> None:
        """Continues from a checkpoint."""
        s = self.settings
        for name, tensor in state.items():
            self.state[name] = tensor.to(device=s.device)
        self.progress = progress

    def _batches(self, epoch: int, start: int) -> list[tuple[int, int]]:
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
        self._prepare()
        p = self.progress
        while not p.finished:
            self._epoch()
            self._close_epoch()
            self.on_checkpoint(self.state, p)
        return p

    def _prepare(self) -> None:
        self._executor("train", self.settings.batch, self._phase)

    def _order(self) -> np.ndarray:
        """The order of the samples in the present epoch."""
        return np.random.default_rng([self.settings.seed, self.progress.epoch]).permutation(len(self._train))

    def _epoch(self) -> None:
        s, p = self.settings, self.progress
        index = torch.from_numpy(self._order()).to(s.device)
        started = time.perf_counter()
        for first, end in self._batches(p.epoch, p.position):
            x, y = self._samples()
            chosen = index[first:end]
            xb, yb = x.index_select(0, chosen), y.index_select(0, chosen)
            if s.augment is not None:
                rng = np.random.default_rng([s.seed, p.epoch, first])
                xb = torch.from_numpy(s.augment(xb.cpu().numpy(), rng)).to(xb)
            self._one(xb, yb)
            p.position = end
            if s.checkpoint_steps and p.step % s.checkpoint_steps == 0:
                p.seconds += time.perf_counter() - started
                self._tally()
                self.on_checkpoint(self.state, p)
                self.on_event({"kind": "progress", "step": p.step, "samples": p.samples})
                started = time.perf_counter()
        p.seconds += time.perf_counter() - started

    def _one(self, xb: torch.Tensor, yb: torch.Tensor) -> None:
        s, p = self.settings, self.progress
        self._enter(self._phase)
        executor = self._executor("train", len(xb), p.phase)
        lr = s.lr * self._factor()
        (loss,) = executor.run(executor.convert(xb, yb), lr=lr, t=p.step - p.phase_start)
        p.step += 1
        p.samples += len(xb)
        p.loss_sum += loss.item() * len(xb)
        p.loss_samples += len(xb)

    def _enter(self, phase: int) -> None:
        """An optimiser starts anew with a phase that comes once; where phases take turns it goes on."""
        p = self.progress
        if phase != p.phase:
            p.phase = phase
            p.phase_start = p.step if self.phases.period is None else 0

    def _factor(self) -> float:
        """Of the learning rate, by the schedule of the phase."""
        return self.settings.schedule(self.phases.within(self.progress.samples / self.settings.total))

    def _tally(self) -> None:
        """Takes what the triggers have counted into the progress."""
        p = self.progress
        for fired in self._fired():
            p.fired = [a + int(b) for a, b in zip(p.fired or [0] * len(fired), fired)]
            fired[:] = [0] * len(fired)

    def _fired(self) -> Iterator[Any]:
        """The counts of the triggers, by whatever runs the steps."""
        return (e.fired for (kind, _, _), e in self._executors.items() if kind == "train")

    def _trained(self) -> Step:
        """The training step."""
        return self._executor("train", self.settings.batch, self.progress.phase).step

    def _triggered(self) -> dict[str, float]:
        """Share of the samples since the last evaluation for which each trigger fired; of rules of one phase."""
        p = self.progress
        fired, p.fired = p.fired, []
        if not fired or self.phases.count > 1:
            return {}
        seen = p.samples - (p.history[-1]["samples"] if p.history else 0)
        return {name: n / seen for name, n in zip(triggers_of(self._trained()), fired)}

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
        x, y = self._on_device(data)
        classes = not y.is_floating_point()
        loss, right = 0.0, 0
        for first in range(0, len(data), self.settings.eval_batch):
            xb, yb = x[first : first + self.settings.eval_batch], y[first : first + self.settings.eval_batch]
            z = self._predicted(data, xb, first)
            right += int((z.argmax(1) == yb).sum()) if classes else 0
            scale = 1.0 if self.settings.loss == "xent" else 1.0 / (z.numel() // len(xb))
            loss += float(
                LOSSES[self.settings.loss](z, yb if classes else one_hot(yb, z), scale, None, True)[1]
            )
        return loss / len(data), right / len(data) if classes else None

    def _predicted(self, _data: Arrays, xb: torch.Tensor, _first: int) -> torch.Tensor:
        """The network's outputs for samples ``xb`` of some data, from its sample ``first`` on."""
        executor = self._executor("infer", len(xb))
        (z,) = executor.reals(executor.run(executor.convert(xb)))
        return z


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
