"""The executor of microcode beside the integer reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from insitu.backends.engine.build import PRECISION
from insitu.backends.engine.cycles import work
from insitu.backends.engine.host import Host
from insitu.backends.engine.image import Image, fitted
from insitu.backends.engine.machine import Machine
from insitu.network import zoo
from insitu.network.graph import Network
from insitu.run.integer import run
from insitu.run.program import Program
from tests.backends.programs import program

KEYS = "edge-latent-free-8:error_exponent=static,generator=lfsr,word_order=channels-last"
SHAPES = {"cnn-8-16": (1, 8, 8), "lenet5": (1, 28, 28)}


@cache
def network(name: str) -> Network:
    given = {"input_shape": SHAPES[name], "classes": 10} if name in SHAPES else {}
    return zoo.build(name, activation="relu", **given)


@cache
def made(rule: str, name: str, policy: str = PRECISION, lr: float = 0.01) -> Program:
    return program(rule, network(name), policy, lr=lr)[1]


@dataclass
class Pair:
    """Both train on the same random samples; memories are full of random bytes before anything is loaded.

    What differs is told: residents after every step, and cycles from those of the closed form.
    """

    image: Image
    t: int = 0
    state: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(1)
        self.machine = Machine(self.image.build)
        self.machine.a[:] = self.random.integers(0, 256, self.machine.a.shape)
        self.machine.w[:] = self.random.integers(-8, 8, self.machine.w.shape)
        self.host = Host(self.image, self.machine)
        self.state = {k: np.array(a) for k, a in self.image.program.initial_state.items()}

    def sample(self) -> tuple[int, np.ndarray, np.ndarray]:
        """Phase, sample and label of the next step; half of the sample's elements are zeros."""
        p = self.image.program
        phase = self.t % len(p.steps)
        x = next(v for v in p.steps[phase].inputs if v.name == "x")
        values = self.random.integers(0, 256, x.shape) * self.random.integers(0, 2, x.shape)
        return phase, values, self.random.integers(0, 10, 1)

    def learn(self, steps: int) -> Iterator[str]:
        """Trains both; residents that differ, with the step, as they are found."""
        p = self.image.program
        for _ in range(steps):
            phase, x, label = self.sample()
            run(p.steps[phase], self.state, x, label, p.context(self.t))
            fired = self.host.learn(x, label, phase, p.lr, self.t)
            got = self.host.state
            yield from (f"{k} at {self.t}" for k in self.state if not np.array_equal(got[k], self.state[k]))
            if self.host.cycles != self.closed(phase, fired):
                yield f"{self.host.cycles} cycles at {self.t}, {self.closed(phase, fired)} by the closed form"
            self.t += 1

    def closed(self, phase: int, fired: int) -> int:
        """Cycles of a step by the closed form."""
        image = self.image
        return work(image.code.words, image.entries[phase].start, image.build, fired).cycles

    def scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the forward pass for another sample, both ways."""
        p = self.image.program
        x = self.sample()[1]
        (expected,) = run(p.inference, self.state, x, None, p.context(0))
        return self.host.infer(x), expected


def pair(rule: str, name: str, lanes: int = 8, **more: object) -> Pair:
    return Pair(fitted(made(rule, name, **more), lanes))  # type: ignore[arg-type]
