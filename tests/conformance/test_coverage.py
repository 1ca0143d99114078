"""Every rule that claims to train a network changes every parameter of it, whatever a block looks like."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from insitu.network.build import Describe
from insitu.network.graph import Network
from insitu.rules import RULES
from tests.helpers import batch, gradients, one_step


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


def leading_activation(d: Describe) -> None:
    d.activation("tanh")
    d.conv(8, 3, padding=1)


def usual(d: Describe) -> None:
    d.conv(8, 3, padding=1)
    d.batch_norm()
    d.activation("tanh")
    d.dropout(0.2)
    d.max_pool(2)


SHAPES: dict[str, Callable[[Describe], None]] = {
    f.__name__: f for f in (separable, pre_activation, norm_behind, leading_activation, usual)
}


def network(part: Callable[[Describe], None]) -> Network:
    d = Describe("odd", (3, 8, 8))
    part(d)
    d.dense(12)
    d.activation("tanh")
    d.dense(4)
    return d.network(seed=1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rule", [r for r in RULES if r != "shallow"])
def test_every_parameter_learns(rule: str, shape: str) -> None:
    net = network(SHAPES[shape])
    x, y = batch(net, 6)
    first = one_step(rule, net, x, y, lr=0.1)  # heads that start at zero teach nothing in the first step
    heads = {n: t for n, t in first.items() if n not in net.params}
    found = gradients(one_step(rule, net, x, y, residents=heads), net)
    still = [name for name, gradient in found.items() if not bool(gradient.any())]
    trainable = {n for n in net.params if "running" not in n}
    assert not still and set(found) == trainable
