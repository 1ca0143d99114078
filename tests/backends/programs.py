"""Programs for the tests of the C backend, and the reference beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from insitu.backends.c.host import Engine
from insitu.backends.c.memory import packed
from insitu.network import zoo
from insitu.network.graph import Network
from insitu.network.norms import folded
from insitu.passes import lower
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules.protocol import emit_inference, emit_phases, make_rule
from insitu.run.initial import initial_state
from insitu.run.integer import run
from insitu.run.program import Program
from insitu.run.samples import as_integers
from insitu.step.context import StepContext
from tests.run.cases import NETWORKS, OPTIONS, SEED, samples

MORE = {"separable": folded(zoo.build("ds-cnn", input_shape=(1, 12, 10), classes=4))}
"""Depthwise separable convolutions, as in DS-CNN."""


def program(
    rule: str,
    network: str | Network,
    policy: str,
    batch: int = 1,
    lr: float = 0.1,
    loss: str = "xent",
    **options: Any,
) -> tuple[Network, Program]:
    """A rule on a network in a precision; ``options``: of the rule."""
    net = {**NETWORKS, **MORE}[network] if isinstance(network, str) else network
    made, found = make_rule(rule, OPTIONS.get(rule, {}) | options), make(policy)
    assert found is not None
    emitted = [quantize(step, found, net.params) for step in emit_phases(made, net, batch, loss=loss)]
    first: dict[str, np.ndarray] = {}
    forward = quantize(emit_inference(made, net, 1), found, net.params)
    for step in (*emitted, forward):
        for name, array in initial_state(step, net.params, SEED).items():
            first.setdefault(name, array)
    name = f"{rule}-{net.name}-{policy}"
    return net, Program(name, tuple(map(lower, emitted)), lower(forward), first, lr, SEED)


@dataclass
class Pair:
    """The engine and the integer reference, side by side."""

    net: Network
    program: Program
    engine: Engine
    plain: dict[str, np.ndarray] = field(default_factory=dict)
    t: int = 0

    def __post_init__(self) -> None:
        self.plain = {name: np.array(a) for name, a in self.program.initial_state.items()}

    def batch(self) -> tuple[int, np.ndarray, np.ndarray]:
        """Phase, integer samples and labels of the next training step."""
        phase = self.t % len(self.program.steps)
        step = self.program.steps[phase]
        x, y = samples(self.net, step.batch, self.t)
        return phase, as_integers(step.inputs[0], x), y

    def learn(self, steps: int) -> Iterator[str]:
        """Trains both; residents that differ, with the step, as they are found."""
        for _ in range(steps):
            phase, x, y = self.batch()
            step = self.program.steps[phase]
            run(step, self.plain, x, y, StepContext(self.program.lr, self.program.seed, self.t))
            label = next((v for v in step.inputs if v.name == "label"), None)
            data = np.frombuffer(packed(step.inputs[0], x), np.uint8)[None]
            marks = (
                np.frombuffer(packed(label, y), np.uint8)[None]
                if label is not None
                else np.zeros((1, 1), np.uint8)
            )
            self.engine.learn(data.copy(), marks.copy(), phase)
            self.t += 1
            yield from (f"{name} at step {self.t}" for name in self.different())

    def different(self) -> list[str]:
        """Residents whose bytes differ."""
        state = self.engine.state.tobytes()
        found = []
        for name, place in self.engine.memory.places.items():
            data = packed(self.program.residents[name], self.plain[name])
            if place.region == "state" and state[place.offset : place.offset + len(data)] != data:
                found.append(name)
        return found

    def scores(self, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
        """Of the forward pass, by the engine and by the reference."""
        step = self.program.inference
        x, _ = samples(self.net, count, 999)
        integers = as_integers(step.inputs[0], x)
        data = np.stack([np.frombuffer(packed(step.inputs[0], one), np.uint8) for one in integers])
        _, mine = self.engine.infer(data)
        context = StepContext(self.program.lr, self.program.seed, 0)
        theirs = [run(step, self.plain, one[None], None, context)[0].ravel() for one in integers]
        return mine, np.stack(theirs)


def pair(
    rule: str, network: str | Network, policy: str, batch: int = 1, flags: Any = None, **options: Any
) -> Pair:
    net, made = program(rule, network, policy, batch, **options)
    return Pair(net, made, Engine(made, flags))
