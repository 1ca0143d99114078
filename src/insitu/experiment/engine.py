"""Training in the compiled C program: the bits of the torch executor and of the integer reference, in less time.

The order of the samples, the schedule, evaluation, early stop and checkpoints are the trainer's; here are the steps
alone. What learning changes lies in the program while it trains, and is copied into the trainer's tensors before
anything reads them, so that a checkpoint does not tell which engine wrote it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch

from insitu.backends.c.emit import base_shift
from insitu.backends.c.host import Engine
from insitu.backends.c.memory import packed, unpacked
from insitu.errors import ConfigError
from insitu.ops.updates import MasterUpdate
from insitu.run.checkpoint import Progress
from insitu.run.program import Program
from insitu.run.samples import Feed
from insitu.run.state import State, extend_state
from insitu.run.trainer import Arrays, EmitPhase, Settings, Trainer
from insitu.step.ir import Op, Step, Value

STRETCH = 1024
"""Training steps in one call of C at most: between calls an interrupt is heard."""

STRETCH_BYTES = 1 << 24
"""Bytes of packed samples in one call at most."""

Span = tuple[int, int]


class EngineTrainer(Trainer):
    """A trainer whose steps run in C; the training loss is not made (``None`` in its events).

    Args:
        program: the run's program for a batch size; the rest is as of :class:`Trainer`.

    Raises:
        ConfigError: the program has no C, or there is no compiler.
    """

    def __init__(
        self,
        program: Callable[[int], Program],
        settings: Settings,
        emit: EmitPhase,
        *args: Any,
        **options: Any,
    ) -> None:
        super().__init__(settings, emit, *args, **options)
        self._make = program
        self._engines: dict[int, Engine] = {}
        self._feeds: dict[tuple[int, Any], Feed] = {}
        self._real: torch.dtype | None = None
        self._size = settings.batch
        self._engine = self._of_size(settings.batch)
        self._rate = lru_cache(maxsize=64)(self._rate_of)

    # --- programs and their state ----------------------------------------------------------------------------

    def _of_size(self, batch: int) -> Engine:
        """The engine of a batch size."""
        if batch not in self._engines:
            try:
                self._engines[batch] = Engine(self._make(batch))
            except ConfigError as error:
                raise ConfigError(f"engine c: {error}; or use --engine torch") from None
        return self._engines[batch]

    def _use(self, batch: int) -> None:
        """Goes on with the engine of a batch size, from the state of the one before."""
        if batch != self._size:
            before, self._engine, self._size = self._engine, self._of_size(batch), batch
            parts = dict(_parts(before))
            for name, part in _parts(self._engine):
                part[:] = parts[name]

    @property
    def program(self) -> Program:
        return self._engine.program

    def _hold(self) -> None:
        """Gives the tensors of the state that a torch trainer would have by now, with their first values."""
        s = self.settings
        for step in (self.program.steps[self.progress.phase], self.program.inference):
            extend_state(self.state, step, self.params, s.seed, dtype=s.dtype, device=s.device)

    def _publish(self) -> None:
        """Copies what was learned into the tensors of the state."""
        for name, part in _parts(self._engine):
            if name in self.state:
                array = unpacked(self.program.residents[name], part)
                self.state[name].copy_(torch.from_numpy(np.ascontiguousarray(array).copy()))

    def restore(self, state: State, progress: Progress) -> None:
        super().restore(state, progress)
        for name, part in _parts(self._engine):
            if name in state:
                array = state[name].detach().cpu().double().numpy()
                part[:] = np.frombuffer(packed(self.program.residents[name], array), np.uint8)

    def _residents(self) -> dict[str, Value]:
        return super()._residents() | {n: v for n, v in self.program.residents.items() if n in self.state}

    def _fired(self) -> Iterator[Any]:
        return (engine.fired for engine in self._engines.values())

    def _trained(self) -> Step:
        return self.program.steps[self.progress.phase]

    # --- training --------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        self._enter(self._phase)
        self._hold()

    def _epoch(self) -> None:
        s, p = self.settings, self.progress
        started, order = time.perf_counter(), self._order()
        for spans in self._stretches(self._batches(p.epoch, p.position)):
            self._learn(order, spans)
            if s.checkpoint_steps and p.step % s.checkpoint_steps == 0:
                self._publish()
                self._tally()
                p.seconds += time.perf_counter() - started
                self.on_checkpoint(self.state, p)
                self.on_event({"kind": "progress", "step": p.step, "samples": p.samples})
                started = time.perf_counter()
        self._publish()
        p.seconds += time.perf_counter() - started

    def _stretches(self, spans: Sequence[Span]) -> Iterator[Sequence[Span]]:
        """Batches that follow each other with one size, phase and rate; each is learned before the next is made."""
        first = 0
        while first < len(spans):
            self._enter(self._phase)
            self._hold()
            self._use(spans[first][1] - spans[first][0])
            count = self._alike(spans[first : first + STRETCH])
            yield spans[first : first + count]
            first += count

    def _alike(self, spans: Sequence[Span]) -> int:
        """How many of the next batches run as the first of them."""
        s, p = self.settings, self.progress
        size = spans[0][1] - spans[0][0]
        limit = min(len(spans), self._most(size))
        if s.checkpoint_steps:
            limit = min(limit, s.checkpoint_steps - p.step % s.checkpoint_steps)
        mode = self._mode(0, 0)
        for n in range(1, limit):
            first, end = spans[n]
            if end - first != size or self._mode(n, n * size) != mode:
                return n
        return limit

    def _most(self, size: int) -> int:
        """Steps of one call by their bytes; one where a phase's inputs are no rows of the size that C steps by."""
        given = self._inputs()
        sizes = self._engine.sizes
        if any(v.bytes != sizes["batch_bytes" if n == "x" else "label_bytes"] for n, v in given.items()):
            return 1
        return max(1, STRETCH_BYTES // max(size * given["x"].bytes // given["x"].shape[0], 1))

    def _mode(self, steps: int, samples: int) -> tuple[int, Any]:
        """Phase and rate after some more steps."""
        s, p = self.settings, self.progress
        share = (p.samples + samples) / s.total
        phase = self.phases.at(p.step + steps, share, s.seed)
        return phase, self._rate(s.schedule(self.phases.within(share)))

    def _rate_of(self, factor: float) -> Any:
        """What the steps see of a learning rate: the shifts of their updates, and the rate itself where a real copy of
        the weights moves."""
        lr = self.settings.lr * factor
        shifts = tuple(base_shift(o, lr) for o in self._engine.moves)
        return shifts, lr if any(isinstance(o, MasterUpdate) for o in self._engine.moves) else None

    def _learn(self, order: np.ndarray, spans: Sequence[Span]) -> None:
        s, p = self.settings, self.progress
        self._engine.set_clock(s.lr * self._factor(), p.step - p.phase_start)
        index = order[spans[0][0] : spans[-1][1]].reshape(len(spans), -1)
        given = self._inputs()
        if s.augment is None:
            x = self._feed("x", given["x"]).batches(index)
        else:
            x = self._augmented(given["x"], index, spans)
        label = np.zeros((len(spans), 1), np.uint8)
        if "label" in given:
            label = self._feed("label", given["label"]).batches(index)
        self._engine.learn(x, label, p.phase)
        p.step += len(spans)
        p.samples += index.size
        p.position = spans[-1][1]

    def _inputs(self) -> Mapping[str, Value]:
        """The inputs of the present phase's step."""
        return {v.name: v for v in self.program.steps[self.progress.phase].inputs}

    def _feed(self, name: str, value: Value, data: Arrays | None = None) -> Feed:
        """The samples or labels of some data (training) in the numbers of an input."""
        data = data or self._train
        array = data.x if name == "x" else data.y
        key = (id(array), (value.format, value.unit, value.zero))
        if key not in self._feeds:
            self._feeds[key] = Feed(value, array)
        return self._feeds[key]

    def _augmented(self, value: Value, index: np.ndarray, spans: Sequence[Span]) -> np.ndarray:
        """Packed batches of changed samples."""
        s, rows = self.settings, []
        assert s.augment is not None
        for chosen, (first, _) in zip(index, spans):
            rng = np.random.default_rng([s.seed, self.progress.epoch, first])
            changed = s.augment(self._train.x[chosen].astype(np.float32), rng)
            rows.append(Feed(value, changed).batches(np.arange(len(changed))[None])[0])
        return np.stack(rows)

    # --- evaluation ------------------------------------------------------------------------------------------

    @cached_property
    def _by_sample(self) -> bool:
        """Does the forward pass give a sample the same scores alone and in a batch?"""
        return not any(_mixes(op) for op in self.program.inference.ops)

    def _predicted(self, data: Arrays, xb: torch.Tensor, first: int) -> torch.Tensor:
        if not self._by_sample:
            return super()._predicted(data, xb, first)
        step, count = self.program.inference, len(xb)
        rows = self._feed("x", step.inputs[0], data).batches(np.arange(first, first + count)[:, None])
        _, scores = self._engine.infer(rows, torch.get_num_threads())
        out = step.outputs[0]
        z = torch.from_numpy(scores).to(self._real_of(xb[:1])).reshape(count, *out.shape[1:])
        return z if out.unit is None else z * out.unit

    def _real_of(self, one: torch.Tensor) -> torch.dtype:
        """The type in which the torch engine has the scores: its loss is rounded in it."""
        if self._real is None:
            self._real = super()._predicted(self._test, one, 0).dtype
        return self._real


def _mixes(op: Op) -> bool:
    """Does an op's result for a sample depend on the others of its batch, or on its place there?"""
    then = op.attrs.get("then")
    random = op.attrs.get("stream") or getattr(then, "stream", None)
    return bool(random) or (op.kind == "exponent" and not op.attrs["by_sample"])


def _parts(engine: Engine) -> Iterator[tuple[str, np.ndarray]]:
    """Name and bytes of every resident that learning changes; views of the running program."""
    state, program = engine.state, engine.program
    for name, place in engine.memory.places.items():
        if place.region == "state":
            yield name, state[place.offset : place.offset + program.residents[name].bytes]
