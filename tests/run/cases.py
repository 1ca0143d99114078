"""What is run both by torch and by the integer reference."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from insitu.network import zoo
from insitu.network.graph import Network
from insitu.network.norms import with_rms
from insitu.passes import lower, precision
from insitu.passes.quantize import quantize
from insitu.rules.protocol import emit_phases, make_rule
from insitu.run import integer
from insitu.run.state import State, extend_state, initial_state
from insitu.run.torch_exec import TorchExecutor
from insitu.step.context import StepContext
from insitu.step.ir import Step

SEED = 1

OPTIONS: dict[str, dict[str, Any]] = {"lls": {"wave": "square"}}
"""Options that a rule needs on integers."""


def spread(net: Network) -> Network:
    """The network with output channels of very different sizes."""
    params = {
        name: v
        * np.float32(0.25) ** (np.arange(len(v)) % 4).reshape(-1, *(1,) * (v.ndim - 1)).astype(np.float32)
        for name, v in net.params.items()
    }
    return replace(net, params=params)


NETWORKS: dict[str, Network] = {
    "mlp": zoo.build("mlp-12-10-8-4", activation="relu"),
    "mlp-tanh": zoo.build("mlp-12-10-8-4", activation="tanh"),
    "spread": spread(zoo.build("mlp-12-10-8-4", activation="relu")),
    "rms": with_rms(
        zoo.build("cnn-4-6", input_shape=(1, 8, 8), classes=4, activation="relu", batch_norm=True)
    ),
    "resnet": with_rms(zoo.build("resnet8", input_shape=(3, 8, 8), classes=4)),
    "lenet": zoo.build("lenet5", input_shape=(1, 16, 16), classes=4, activation="relu"),
}


def samples(net: Network, batch: int, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Float32 samples and labels of training step t: noisy class patterns, so that learning has a direction."""
    rng = np.random.default_rng(t)
    y = rng.integers(0, net.outputs, batch)
    pattern = np.random.default_rng(7).random((net.outputs, *net.input_shape))
    x = 0.6 * pattern[y] + 0.4 * rng.random((batch, *net.input_shape))
    return x.astype(np.float32), y


@dataclass
class Twin:
    """One run by both: lowered steps with torch, emitted steps with the reference."""

    net: Network
    steps: list[Step]
    batch: int
    torch: State = field(default_factory=dict)
    plain: dict[str, np.ndarray] = field(default_factory=dict)
    t: int = 0

    def __post_init__(self) -> None:
        self.lowered = [lower(step) for step in self.steps]
        for step in self.steps:
            extend_state(self.torch, step, self.net.params, SEED)
            for name, array in initial_state(step, self.net.params, SEED).items():
                self.plain.setdefault(name, array.copy())
        self.executors = [TorchExecutor(step, self.torch, seed=SEED) for step in self.lowered]

    def sample(self) -> tuple[np.ndarray, np.ndarray]:
        """Samples and labels of training step t."""
        return samples(self.net, self.batch, self.t)

    def advance(self, steps: int, lr: float = 0.1) -> None:
        """Trains both on the same samples."""
        for _ in range(steps):
            phase = self.t % len(self.steps)
            x, y = self.sample()
            inputs = self.executors[phase].convert(x, y)[: len(self.steps[phase].inputs)]
            self.executors[phase].run(list(inputs), lr=lr, t=self.t)
            integers = inputs[0].double().numpy().astype(np.int64)
            integer.run(self.steps[phase], self.plain, integers, y, StepContext(lr, SEED, self.t))
            self.t += 1

    def unequal(self) -> list[str]:
        """Residents whose bits differ."""
        return [
            n for n, array in self.plain.items() if not np.array_equal(self.torch[n].double().numpy(), array)
        ]

    def moved(self) -> set[str]:
        """Residents that changed since the start."""
        first: dict[str, np.ndarray] = {}
        for step in self.steps:
            first = initial_state(step, self.net.params, SEED) | first
        return {n for n, array in self.plain.items() if not np.array_equal(first[n], array)}


def twin(rule: str, network: str, policy: str, batch: int = 4, **options: Any) -> Twin:
    """A rule on a network in a precision."""
    net = NETWORKS[network]
    made = make_rule(rule, OPTIONS.get(rule, {}) | options)
    found = precision.make(policy)
    assert found is not None
    steps = [quantize(step, found, net.params) for step in emit_phases(made, net, batch)]
    return Twin(net, steps, batch)
