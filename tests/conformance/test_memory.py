"""The plan's peak is what the executor holds: every rule, both views, MLP and LeNet; and what PyTorch sees."""

from __future__ import annotations

import pytest
import torch
from torch.distributed._tools.mem_tracker import MemTracker

from insitu.network import zoo
from insitu.ops.optimizers import Optimizer
from insitu.passes import lower, plan
from insitu.rules import RULES, emit_phases, emit_step, make_rule
from insitu.rules.facts import smallest_batch
from insitu.run.state import extend_state
from insitu.run.torch_exec import TorchExecutor

NETWORKS = ["mlp-784-1000-10", "mlp-784-100-50-10", "lenet5", "cnn-8-16"]


def executor_for(step: object, net: object) -> TorchExecutor:
    return TorchExecutor(step, extend_state({}, step, net.params, 1), seed=1)  # type: ignore[arg-type,attr-defined]


def inputs_for(executor: TorchExecutor, net: object, batch: int) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.rand(batch, *net.input_shape, generator=g)  # type: ignore[attr-defined]
    return executor.convert(x, torch.randint(0, 10, (batch,), generator=g))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("view", ["fused", "eager"])
@pytest.mark.parametrize("batch", [1, 32])
def test_planned_peak_is_the_measured_one(rule: str, name: str, view: str, batch: int) -> None:
    net, made = zoo.build(name, activation="relu" if rule == "bp-stash" else None), make_rule(rule)
    batch = max(batch, smallest_batch(made, net))
    for emitted in emit_phases(made, net, batch):
        step = lower(emitted, view)
        executor = executor_for(step, net)
        assert executor.measure(inputs_for(executor, net, batch), lr=0.01) == plan(step).peak_bytes


@pytest.mark.parametrize("kind", ["sgd", "momentum", "nesterov", "adam", "sign"])
def test_with_every_optimizer(kind: str) -> None:
    net = zoo.build("lenet5")
    step = lower(emit_step(make_rule("bp"), net, 8, optimizer=Optimizer(kind)))
    executor = executor_for(step, net)
    assert executor.measure(inputs_for(executor, net, 8), lr=0.01) == plan(step).peak_bytes


@pytest.mark.parametrize("rule", ["bp", "bp-checkpoint", "fa", "dfa", "sdfa", "drtp", "shallow"])
@pytest.mark.parametrize("name", ["mlp-784-1000-10", "mlp-256-256-256-256-256-10", "lenet5"])
@pytest.mark.parametrize("batch", [32, 128])
def test_planned_peak_is_within_one_percent_of_the_memory_tracker(rule: str, name: str, batch: int) -> None:
    """PyTorch's own tracker sees every storage, the temporaries inside an op too."""
    net = zoo.build(name)
    step = lower(emit_step(make_rule(rule), net, batch))
    executor = executor_for(step, net)
    executor.run(inputs_for(executor, net, batch), lr=0.01)  # tables that are made once
    inputs = inputs_for(executor, net, batch)
    tracker = MemTracker()
    tracker.track_external(*executor.state.values(), *inputs)
    with tracker:
        executor.run(inputs, lr=0.01, donate=True)
    device = torch.device("cpu")
    seen = tracker.get_tracker_snapshot("peak")[device]["Total"]
    planned = plan(step).peak_bytes
    assert planned <= seen * 1.0001
    assert abs(seen - planned) <= 0.01 * seen, f"planned {planned}, tracked {seen}"
