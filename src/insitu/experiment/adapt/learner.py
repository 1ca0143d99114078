"""One rule on one stream: predict a sample, learn it, perhaps learn one of the replay buffer, look at both domains."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from statistics import fmean

import numpy as np

from insitu.data.dataset import Split
from insitu.errors import ConfigError
from insitu.experiment.adapt.config import BIASES, FROZEN, LAST, AdaptConfig
from insitu.experiment.adapt.record import AdaptCurve
from insitu.experiment.adapt.reservoir import replayed
from insitu.experiment.adapt.scenarios import Stream
from insitu.experiment.config import RuleSpec, RunConfig, parse
from insitu.experiment.engines import check_steps, engine_of
from insitu.experiment.pieces import settings_of
from insitu.experiment.program import executable
from insitu.experiment.resolve import Setup
from insitu.run.checkpoint import Progress
from insitu.run.samples import Arrays, Batches
from insitu.run.state import State
from insitu.run.trainer import Trainer
from insitu.step.triggers import triggers_of

_STANDS_FOR = {FROZEN: "bp", LAST: "shallow", BIASES: "bp"}


def setup_of(
    config: AdaptConfig, spec: RuleSpec, seed: int, network: str, start: str | None, stream: Stream
) -> Setup:
    """A rule, or a baseline, in the integers of the device, at the network that it starts from.

    Raises:
        InsituError: the rule cannot serve the network or a stream, or the engine not the rule.
    """
    raw = {
        "data": stream.source.name,
        "network": network,
        "network_options": {**config.layers, **spec.network_options},
        "rule": _STANDS_FOR.get(spec.rule, spec.rule),
        "rule_options": dict(spec.options),
        "precision": spec.precision if spec.precision is not None else config.precision,
        "engine": spec.engine or config.engine,
        "init_from": start,
        "batch": 1,
        "seed": seed,
    }
    run = parse(RunConfig, raw, f"rule {spec.name}")
    if run.policy is None:
        run = run.model_copy(update={"engine": "torch"})  # engines of backends compute integers alone
    setup = Setup.of(run, stream.source)
    if setup.phases.count > 1:
        raise ConfigError(
            f"rule {spec.name} trains its blocks in phases over a whole run, which a stream does not have; use a rule "
            "of one phase, such as pred"
        )
    if spec.rule == BIASES:
        net = setup.net
        weights = {name for name in net.trainable if not name.endswith("bias")}
        setup = replace(setup, net=replace(net, frozen=net.frozen | weights))
    if run.engine != "torch":
        check_steps(run.engine, setup.executed(1))
    return setup


@dataclass(frozen=True, eq=False)
class Learner:
    """One rule at the start of one stream, any number of times.

    Args:
        frozen: nothing is learned.
        replay: samples of the replay buffer.
    """

    setup: Setup
    stream: Stream
    frozen: bool
    replay: int

    @cached_property
    def _trainer(self) -> Trainer:
        setup, config = self.setup, self.setup.config
        trainer = Trainer(
            settings_of(setup),
            lambda batch, phase: setup.training_step(batch, phase, with_loss=True),
            setup.prediction,
            setup.net.values,
            self._seen,
            self._arrays(self.stream.source.test),
            engine=engine_of(config.engine, lambda batch: executable(setup, batch), 1),
        )
        trainer.hold(setup.steps)
        return trainer

    @cached_property
    def _first(self) -> State:
        """The state before the first sample."""
        return {name: tensor.clone() for name, tensor in self._trainer.state.items()}

    def _arrays(self, split: Split) -> Arrays:
        return Arrays(split.x.reshape(len(split), *self.setup.net.input_shape), split.y)

    @cached_property
    def _seen(self) -> Arrays:
        """What pretraining saw, then the stream: the samples of the reservoir by number."""
        before, stream = self.stream.source.train, self.stream.samples
        both = Split(np.concatenate([before.x, stream.x]), np.concatenate([before.y, stream.y]))
        return self._arrays(both)

    @cached_property
    def _tests(self) -> list[Arrays]:
        """The old domain's, then those of each new one."""
        return [self._arrays(s) for s in (self.stream.source.test, *self.stream.tests)]

    @cached_property
    def _held(self) -> list[Arrays]:
        return [self._arrays(s) for s in (self.stream.old_held, *self.stream.held)]

    @cached_property
    def _again(self) -> np.ndarray | None:
        """The sample that is learned once more behind each of the stream."""
        before, count = len(self.stream.source.train), len(self.stream.samples)
        return replayed(before, count, self.replay, self.setup.config.seed) if self.replay else None

    @property
    def per_sample(self) -> int:
        """Training steps for a sample of the stream."""
        return 0 if self.frozen else 2 if self.replay else 1

    @cached_property
    def replay_bytes(self) -> int:
        """The buffer: samples and labels in the numbers of the step's inputs, each in whole bytes."""
        given = self.setup.executed(1)[0].inputs
        return self.replay * sum(ceil(value.size * value.format.bits / 8) for value in given)

    # --- running ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        fresh = {name: tensor.clone() for name, tensor in self._first.items()}
        self._trainer.restore(fresh, Progress())
        self._trainer.engine.triggered()

    def _scores(self, sets: Sequence[Arrays]) -> list[float]:
        found = (self._trainer.evaluate(data)[1] for data in sets)
        return [float(score or 0.0) for score in found]

    def _learn(self, number: int, lr: float, done: int) -> None:
        self._trainer.engine.learn(Batches(self._seen, np.array([[number]])), 0, [lr], done)

    @property
    def _steps(self) -> int:
        return self.per_sample * len(self.stream.samples)

    def trial(self, lr: float, choose: str) -> float:
        """Mean accuracy on held-back samples at the end of the stream: of both domains, or of the new ones."""
        self._begin()
        for t in range(len(self.stream.samples)):
            self._step(t, lr)
        old, *every = self._scores(self._held)
        new = [every[k] for k in self.stream.goal]
        return fmean(new) if choose == "new" else (old + fmean(new)) / 2

    def _step(self, t: int, lr: float) -> None:
        before = len(self.stream.source.train)
        if self.frozen:
            return
        self._learn(before + t, lr, t * self.per_sample)
        if self._again is not None:
            self._learn(int(self._again[t]), lr, t * self.per_sample + 1)

    def run(self, lr: float, every: int) -> AdaptCurve:
        """The whole stream, with a point before it, after every so many samples, and at its end."""
        self._begin()
        count, before, right = len(self.stream.samples), len(self.stream.source.train), 0
        started = time.perf_counter()
        curve = AdaptCurve(
            seed=self.setup.config.seed, samples=[], new=[], old=[], domains=[], prequential=[]
        )
        self._point(curve, 0, None)
        for t in range(count):
            right += int(self._trainer.classes(self._seen, before + t) == self._seen.y[before + t])
            self._step(t, lr)
            if (t + 1) % every == 0 or t + 1 == count:
                self._point(curve, t + 1, right / (t + 1))
        curve.seconds = time.perf_counter() - started
        curve.triggered = self._fired()
        return curve

    def _point(self, curve: AdaptCurve, seen: int, prequential: float | None) -> None:
        old, *new = self._scores(self._tests)
        curve.samples.append(seen)
        curve.old.append(old)
        curve.new.append(new[int(self.stream.present[max(seen - 1, 0)])])
        curve.domains.append(new)
        curve.prequential.append(prequential)

    def _fired(self) -> dict[str, float]:
        """Share of the learned samples for which each trigger fired."""
        counts = self._trainer.engine.triggered()
        if not self._steps:
            return {}
        names = triggers_of(self.setup.executed(1)[0])
        return {name: int(n) / self._steps for name, n in zip(names, counts)}
