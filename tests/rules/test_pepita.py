"""PEPITA: the emitted update is the published one in plain PyTorch; MEMPEPITA's is the same bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from insitu.errors import ConfigError, NetworkError
from insitu.network import zoo
from insitu.network.graph import Layer, Network
from insitu.network.layers import Describe
from insitu.numbers import prng
from insitu.passes import lower, plan
from insitu.rules import emit_step, make_rule
from insitu.step.ir import Phase, Role
from tests.helpers import batch, gradients, largest_difference, one_step, small

from .blocks import Blocks, Tensors, with_changed

RULES = ["pepita", "mempepita"]
NETWORKS = ["mlp-20-15-12-5", "lenet5", "cnn-8-16", "drtp-conv-mnist"]


def feedback(net: Network, scale: float = 0.05) -> torch.Tensor:
    """F of the run with seed 1: a row per output."""
    n = int(torch.tensor(net.input_shape).prod())
    flat = prng.uniform(prng.key(1, "input.feedback"), net.outputs * n, scale * (6 / n) ** 0.5)
    return torch.from_numpy(flat).double().view(net.outputs, n)


def weighted(block: Any) -> Layer:
    return next(x for x in block.layers if x.kind in ("dense", "conv2d"))


def parameter_change(layer: Layer, delta: torch.Tensor, x: torch.Tensor) -> Tensors:
    """δᵀ x, for a convolution the correlation of δ with x, averaged over the positions; and the sum of δ."""
    if layer.kind == "dense":
        return {layer.param("weight"): delta.T @ x, layer.param("bias"): delta.sum(0)}
    delta = delta / (delta.shape[2] * delta.shape[3])
    geometry = {k: layer.attrs[k] for k in ("stride", "padding", "dilation", "groups")}
    dw = torch.nn.grad.conv2d_weight(x, layer.params["weight"], delta, **geometry)
    return {layer.param("weight"): dw, layer.param("bias"): delta.sum((0, 2, 3))}


@torch.no_grad()
def published(net: Network, x: torch.Tensor, y: torch.Tensor, output: str, scale: float) -> Tensors:
    """Two whole forward passes, then all updates."""
    blocks = Blocks(net)

    def whole_pass(h: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
        inputs, activations = [], []
        for block in net.blocks:
            inputs.append(h)
            a, h = blocks.run(block, h)
            activations.append(a)
        return inputs, activations, torch.softmax(h, 1) - F.one_hot(y, net.outputs)

    _, first, error = whole_pass(x)
    inputs, second, later = whole_pass(x + (error @ feedback(net, scale)).view(x.shape))
    deltas = [a - b for a, b in zip(first[:-1], second[:-1])] + [error if output == "first" else later]
    found: Tensors = {}
    for block, delta, h in zip(net.blocks, deltas, inputs):
        found |= parameter_change(weighted(block), delta / len(x), h)
    return found


@pytest.mark.parametrize("output", ["first", "second"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rule", RULES)
def test_update_is_the_published_one(rule: str, name: str, output: str) -> None:
    net = small(name)
    x, y = batch(net, 4)
    state = one_step(make_rule(rule, {"output": output, "scale": 0.4}), net, x, y)
    want = published(net, x, y, output, 0.4)
    assert largest_difference(gradients(state, net), want) < 1e-9


def test_the_scale_of_f_is_the_published_one() -> None:
    step = emit_step(make_rule("pepita"), small("mlp-20-15-12-5"), 2)
    (value,) = (v for v in step.residents if v.role == Role.FEEDBACK)
    assert value.init is not None and value.init.bound == pytest.approx(0.05 * (6 / 20) ** 0.5)


@pytest.mark.parametrize("output", ["first", "second"])
@pytest.mark.parametrize("name", [*NETWORKS, "autoencoder"])
def test_mempepita_is_pepita_bit_for_bit(name: str, output: str) -> None:
    net = small(name)
    regression = name == "autoencoder"
    net = without_norm(net) if regression else net
    x, y = batch(net, 4, targets=regression)
    more: dict[str, Any] = {"loss": "mse", "targets": True} if regression else {}
    states = [one_step(make_rule(r, {"output": output}), net, x, y, t=2, **more) for r in RULES]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    assert all(bool(g.any()) for n, g in gradients(states[0], net).items() if n.endswith("weight"))


def without_norm(net: Network) -> Network:
    """An autoencoder's sizes without its batch norms."""
    d = Describe(net.name, net.input_shape)
    for size in (12, 6, 12):
        d.dense(size)
        d.activation("relu")
    d.dense(net.outputs)
    return d.network(seed=2)


@pytest.mark.parametrize("rule", RULES)
def test_regenerated_f_is_the_stored_one(rule: str) -> None:
    net = small("lenet5")
    x, y = batch(net, 4)
    stored = gradients(one_step(rule, net, x, y), net)
    fresh = one_step(make_rule(rule, {"feedback": "regenerated"}), net, x, y)
    assert not any(key.endswith("feedback") for key in fresh)
    assert largest_difference(gradients(fresh, net), stored) < 1e-9


@pytest.mark.parametrize("rule", RULES)
def test_both_passes_drop_the_same_units(rule: str) -> None:
    """With an F too small to change x, the two passes are one and no hidden weight moves, whatever was dropped."""
    net = zoo.build("mlp-20-15-12-5", dropout=0.5, seed=2)
    x, y = batch(net, 4)
    found = gradients(one_step(make_rule(rule, {"scale": 1e-30}), net, x, y), net)
    assert not found["fc1.weight"].any() and not found["fc2.weight"].any()
    assert found["fc3.weight"].any()


@pytest.mark.parametrize("rule", RULES)
def test_updates_wait_for_the_output_error(rule: str) -> None:
    """Perturbing the last layer changes the first layer's update: the rule is not unlocked."""
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 4)
    other = with_changed(net, "fc3.weight")
    before, after = (gradients(one_step(rule, n, x, y), n)["fc1.weight"] for n in (net, other))
    assert not torch.equal(before, after)


def test_memory_and_macs_are_those_of_the_analysis() -> None:
    """Pau & Aymone: PEPITA keeps all activations at 3 forward passes, MEMPEPITA a pair of layers at 4.

    In units of F, the MACs of a forward pass; ours leaves out the last layer of the second pass and adds x + F e.
    """
    net = small("mlp-" + "-".join(["256"] * 9) + "-10")
    forward = 8 * 256 * 256 + 2560
    macs, moving = {}, {}
    for rule in RULES:
        step = lower(emit_step(make_rule(rule), net, 32))
        counted = {p: n / 32 for p, n in step.counts().macs.items() if p != Phase.UPDATE}
        macs[rule] = (sum(counted.values()) - counted[Phase.FEEDBACK]) / forward
        layout = plan(step)
        moving[rule] = layout.by_role[Role.ACTIVATION] + layout.by_role[Role.ERROR]
    assert macs["pepita"] == pytest.approx(3, abs=0.01) and macs["mempepita"] == pytest.approx(4, abs=0.02)
    assert moving["mempepita"] < 0.45 * moving["pepita"]


def network(*layers: str) -> Network:
    """A small convolutional network with these layers in its first block."""
    d = Describe("odd", (3, 8, 8))
    d.conv(4, 3, padding=1)
    for kind in layers:
        if kind == "norm":
            d.batch_norm()
        elif kind == "pool":
            d.max_pool(2)
        else:
            d.activation(kind)
    d.dense(5)
    return d.network(seed=1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("layers", [("norm", "relu"), ("pool", "relu"), ("relu", "pool", "tanh")], ids=str)
def test_blocks_of_another_form_are_refused(rule: str, layers: tuple[str, ...]) -> None:
    with pytest.raises(NetworkError, match=f"rule {rule} cannot train block .* of odd .* use pred"):
        emit_step(make_rule(rule), network(*layers), 2)


@pytest.mark.parametrize("rule", RULES)
def test_refusals(rule: str) -> None:
    emit_step(make_rule(rule), network("relu", "pool"), 2)
    with pytest.raises(NetworkError, match=r"cannot train block .* of resnet8 .* use pred"):
        emit_step(make_rule(rule), small("resnet8"), 2)
    with pytest.raises(NetworkError, match="needs a hidden block, but mlp-20-5 has none; use bp"):
        emit_step(make_rule(rule), small("mlp-20-5"), 2)
    with pytest.raises(ConfigError, match=r"use more than 0, such as 0.05"):
        make_rule(rule, {"scale": 0.0})
    with pytest.raises(ConfigError, match="'first' or 'second'"):
        make_rule(rule, {"output": "both"})
