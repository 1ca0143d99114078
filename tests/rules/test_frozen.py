"""A frozen parameter costs its forward pass: in every rule, whatever part of the network is frozen."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from insitu.errors import NetworkError
from insitu.network.graph import Layer, Network
from insitu.network.torch.module import to_module
from insitu.network.zoo.builder import Describe
from insitu.passes import lower
from insitu.rules import RULES, emit_phases, make_rule
from insitu.rules.protocol import emit_inference, phases
from insitu.step.ir import OPS, Phase, Role, Step
from insitu.step.liveness import peak_bytes
from tests.helpers import batch, one_step, serves

BATCH = 2


def mlp() -> Network:
    d = Describe("mlp", (20,))
    for n in (16, 12, 10):
        d.dense(n)
        d.activation("relu")
    d.dense(4)
    return d.network(seed=1)


def cnn() -> Network:
    d = Describe("cnn", (1, 8, 8))
    d.conv(8, 3, padding=1)
    d.activation("relu")
    d.max_pool(2)
    d.conv(8, 3, padding=1)
    d.activation("relu")
    d.flatten()
    d.dense(12)
    d.activation("relu")
    d.dense(4)
    return d.network(seed=1)


def residual() -> Network:
    d = Describe("residual", (3, 8, 8))
    d.conv(8, 3, padding=1)
    d.activation("relu")
    start = d.here
    d.conv(8, 3, padding=1)
    d.activation("relu")
    d.conv(8, 3, padding=1)
    d.add(start, d.here)
    d.activation("relu")
    d.avg_pool(2)
    d.flatten()
    d.dense(12)
    d.activation("relu")
    d.dense(4)
    return d.network(seed=1)


def norms() -> Network:
    d = Describe("norms", (3, 8, 8))
    for _ in range(2):
        d.conv(8, 3, padding=1, bias=False)
        d.batch_norm()
        d.activation("relu")
        d.max_pool(2)
    d.flatten()
    d.dense(4)
    return d.network(seed=1)


NETWORKS = {f.__name__: cache(f) for f in (mlp, cnn, residual, norms)}


def weighted(net: Network) -> list[Layer]:
    return [x for x in net.layers if x.params]


def names(layers: list[Layer]) -> set[str]:
    return {x.param(s) for x in layers for s in x.params if not s.startswith("running_")}


PATTERNS = {
    "first": lambda net: names(weighted(net)[:1]),
    "all but the last": lambda net: names(weighted(net)[:-1]),
    "last": lambda net: names(weighted(net)[-1:]),
    "all but the first": lambda net: names(weighted(net)[1:]),
    "middle": lambda net: names(weighted(net)[1:-1]),
    "every second": lambda net: names(weighted(net)[::2]),
    "weights": lambda net: {n for n in net.trainable if n.endswith("weight")},
    "biases": lambda net: {n for n in net.trainable if n.endswith("bias")},
    "norms": lambda net: names([x for x in net.layers if x.kind == "batch_norm"]),
}
"""Names of the frozen parameters of a network."""


def frozen(name: str, pattern: str) -> Network:
    net = NETWORKS[name]()
    return replace(net, frozen=frozenset(PATTERNS[pattern](net)))


def macs(step: Step) -> int:
    return sum(step.counts().macs.values())


def costs(rule: str, net: Network) -> tuple[int, int, int, int]:
    """Bytes, residents, multiply-accumulates of the dearest step of a rule, and of all its steps."""
    steps = [lower(step) for step in emit_phases(make_rule(rule), net, BATCH)]
    residents = max(sum(v.bytes for v in step.residents) for step in steps)
    return max(map(peak_bytes, steps)), residents, max(map(macs, steps)), sum(map(macs, steps))


@cache
def usual_costs(rule: str, name: str) -> tuple[int, int, int, int]:
    return costs(rule, NETWORKS[name]())


def refused(rule: str, net: Network) -> bool:
    """Does the rule refuse a network because all that it trains is frozen?"""
    try:
        emit_phases(make_rule(rule), net, BATCH)
    except NetworkError as error:
        assert "set requires_grad for" in str(error)
        return True
    return False


CASES = [
    (rule, name, pattern)
    for name in NETWORKS
    for pattern in PATTERNS
    for rule in RULES
    if serves(rule, NETWORKS[name]()) and (pattern != "norms" or name == "norms")
]


@pytest.mark.parametrize(("rule", "name", "pattern"), CASES)
def test_a_step_costs_no_more_and_leaves_what_is_frozen(rule: str, name: str, pattern: str) -> None:
    net, made = frozen(name, pattern), make_rule(rule)
    if refused(rule, net):
        assert rule in ("shallow", "forward-forward")
        return
    usual, now = usual_costs(rule, name), costs(rule, net)
    assert all(b <= a for a, b in zip(usual[1:], now[1:]))
    assert now[0] <= usual[0] * 1.02  # orders are a choice of few: another program may have a worse one
    x, y = batch(net, BATCH)
    for phase in range(phases(made, net).count):
        state = one_step(made, net, x, y, lr=0.1, phase=phase)
        assert all(
            torch.equal(state[n], torch.as_tensor(net.params[n]).double()) for n in net.frozen & state.keys()
        )
