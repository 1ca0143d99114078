"""Every rule that claims to train a network changes every parameter of it, whatever a block looks like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from insitu.network.graph import Network
from insitu.network.layers import Describe
from insitu.rules import RULES, make_rule
from insitu.rules.protocol import phases
from tests.helpers import batch, gradients, one_step, serves


def separable(d: Describe) -> None:
    d.depthwise(3, padding=1)
    d.activation("tanh")
    d.conv(8, 1)
    d.max_pool(2)


def pre_activation(d: Describe) -> None:
    d.conv(8, 3, padding=1)
    start = d.here
    d.activation("tanh")
    d.conv(8, 3, padding=1)
    d.add(start, d.here)
    d.avg_pool(2)


def norm_behind(d: Describe) -> None:
    d.conv(8, 3, padding=1)
    d.activation("tanh")
    d.batch_norm()
    d.max_pool(2)


def larger_again(d: Describe) -> None:
    d.conv(8, 3, padding=1)
    d.activation("tanh")
    d.avg_pool(2)
    d.upsample(2)
    d.conv(8, 3, padding=1)
    d.activation("tanh")


def leading_activation(d: Describe) -> None:
    d.activation("tanh")
    d.conv(8, 3, padding=1)


def usual(d: Describe) -> None:
    d.conv(8, 3, padding=1)
    d.batch_norm()
    d.activation("tanh")
    d.dropout(0.2)
    d.max_pool(2)


def stashable(d: Describe) -> None:
    """What the rule that keeps one bit per activation takes."""
    d.depthwise(3, padding=1)
    d.activation("relu")
    d.conv(8, 1)
    d.activation("relu")
    start = d.here
    d.conv(8, 3, padding=1)
    d.add(start, d.here)
    d.activation("relu")
    d.dropout(0.2)
    d.max_pool(2)


SHAPES: dict[str, Callable[[Describe], None]] = {
    f.__name__: f
    for f in (separable, pre_activation, norm_behind, larger_again, leading_activation, usual, stashable)
}


def network(part: Callable[[Describe], None]) -> Network:
    d = Describe("odd", (3, 8, 8))
    part(d)
    d.dense(12)
    d.activation("relu" if part is stashable else "tanh")
    d.dense(4)
    return d.network(seed=1)


FAR = {"etch": {"margin": 1e4}}
"""Else nothing is learned once a head has moved by a step."""


@pytest.mark.parametrize(
    ("rule", "shape"),
    [(r, s) for s in SHAPES for r in RULES if r != "shallow" and serves(r, network(SHAPES[s]))],
)
def test_every_parameter_learns(rule: str, shape: str) -> None:
    net, made = network(SHAPES[shape]), make_rule(rule, FAR.get(rule))
    x, y = batch(net, 6)
    found: dict[str, torch.Tensor] = {}
    for phase in range(phases(made, net).count):
        first = one_step(
            made, net, x, y, lr=0.1, phase=phase
        )  # heads that start at zero teach nothing at first
        heads = {n: t for n, t in first.items() if n not in net.params}
        moved = gradients(one_step(made, net, x, y, residents=heads, phase=phase), net)
        found |= {n: g for n, g in moved.items() if n not in found or bool(g.any())}
    still = [name for name, gradient in found.items() if not bool(gradient.any())]
    trainable = {n for n in net.params if "running" not in n}
    if rule == "forward-forward":  # it predicts by goodness, and leaves the classifier alone
        trainable -= {x.param(s) for x in net.blocks[-1].layers for s in x.params}
    if rule == "softhebb":  # no error: only what has inputs learns, not biases and norms
        still = [n for n in still if net.params[n].ndim > 1]
        trainable = {n for n in trainable if n in found}
    assert not still and set(found) == trainable


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_changes_what_is_frozen(rule: str) -> None:
    net = network({"bp-stash": stashable}.get(rule, leading_activation if "pepita" in rule else usual))
    first = net.blocks[0].name
    frozen = replace(net, frozen=frozenset({f"{first}.weight", f"{first}.bias"}))
    x, y = batch(net, 6)
    made = make_rule(rule)
    for phase in range(phases(made, net).count):
        state = one_step(made, frozen, x, y, lr=0.1, phase=phase)
        for name in frozen.frozen & state.keys():
            assert torch.equal(state[name], torch.as_tensor(net.params[name]).double()), name
    assert any(bool(g.any()) for g in gradients(state, net).values())
