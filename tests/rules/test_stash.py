"""Back-propagation with one bit per activation: its gradient by definition, what it keeps, what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from insitu.errors import ConfigError, NetworkError
from insitu.network import zoo
from insitu.network.builder import inference_step
from insitu.network.graph import WEIGHTED, Network
from insitu.network.layers import Describe
from insitu.network.norms import folded, with_rms
from insitu.network.torch.module import to_module
from insitu.numbers.formats import BIT
from insitu.passes import lower, plan
from insitu.passes.precision import NAMED
from insitu.passes.quantize import quantize
from insitu.rules import emit_step, make_rule
from insitu.rules.facts import alive, example, executed
from insitu.step.ir import Role, Step, Value
from insitu.step.liveness import births, storages
from tests.helpers import autograd, batch, gradients, largest_difference, one_step, small

SCALE = 0.25


def mixed() -> Network:
    """Depthwise, residual, both pools, and a map that is pooled and convolved."""
    d = Describe("mixed", (2, 12, 12))
    d.conv(4, 3, padding=1)
    d.activation("relu")
    d.depthwise(3, padding=1)
    d.activation("relu")
    d.conv(4, 1)
    start = d.activation("relu")
    d.conv(4, 3, padding=1)
    d.add(start, d.here)
    fork = d.activation("relu")
    d.conv(4, 2, stride=2)
    strided = d.activation("relu")
    d.goto(fork)
    pooled = d.max_pool(2)
    d.add(strided, pooled)
    d.conv(5, 3)
    d.activation("relu")
    d.avg_pool(2)
    d.conv(6, 2)
    d.activation("relu")
    d.dense(3)
    return d.network(seed=4)


NETWORKS: dict[str, Callable[[], Network]] = {
    "mlp": lambda: small("mlp-20-15-12-5", "relu"),
    "max pools": lambda: small("cnn-8-16"),
    "average pools": lambda: small("lenet5", "relu"),
    "residual blocks": lambda: folded(small("resnet8")),
    "rms norms": lambda: with_rms(small("resnet8")),
    "depthwise": lambda: folded(small("ds-cnn")),
    "mixed": mixed,
}


def by_definition(net: Network, x: torch.Tensor, y: torch.Tensor, scale: float) -> dict[str, torch.Tensor]:
    """Autograd's error of every weighted layer, times the layer's input with scale · 1[h > 0] in place of h."""
    module = to_module(net, dtype=torch.float64)
    module.train()
    inputs, outputs = {}, {}
    layers = [layer for layer in net.layers if layer.kind in WEIGHTED]
    submodules = dict(module.named_modules())

    def hook(name: str) -> Callable[..., None]:
        def remember(_module: object, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
            inputs[name], outputs[name] = given[0].detach(), out

        return remember

    for layer in layers:
        submodules[layer.name].register_forward_hook(hook(layer.name))
    loss = F.cross_entropy(module(x), y)
    deltas = torch.autograd.grad(loss, [outputs[x.name] for x in layers], retain_graph=True)
    found: dict[str, torch.Tensor] = {}
    for layer, delta in zip(layers, deltas):
        h = inputs[layer.name]
        kept = h if torch.equal(h.flatten(), x.flatten()) else scale * (h > 0)
        own = submodules[layer.name]
        own._forward_hooks.clear()
        names, params = zip(*own.named_parameters())
        grads = torch.autograd.grad(own(kept.double()), params, delta)
        found |= {f"{layer.name}.{n}": g for n, g in zip(names, grads)}
    return found


@pytest.mark.parametrize("view", ["fused", "eager"])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_is_that_of_bp_with_bits_in_place_of_activations(name: str, view: str) -> None:
    net = NETWORKS[name]()
    x, y = batch(net, 4)
    state = one_step(make_rule("bp-stash", {"scale": SCALE}), net, x, y, view=view)
    found = gradients(state, net)
    assert largest_difference(found, by_definition(net, x, y, SCALE)) < 1e-12
    exact, _ = autograd(net, x, y)
    biases = [n for n in exact if n.endswith(".bias")]
    assert biases and all(torch.allclose(found[n], exact[n], rtol=1e-9, atol=1e-14) for n in biases)


def test_a_dropout_shares_its_bits_with_the_activation_in_front_of_it() -> None:
    """Activations of 0 and 1, thus 0 and 2 behind the dropout: with s = 2 the rule is bp to the bit."""
    net = zoo.build("mlp-40-40-5", activation="relu", dropout=0.5)
    params = {**net.params, "fc1.weight": np.eye(40, dtype=np.float32), "fc1.bias": np.zeros(40, np.float32)}
    net = replace(net, params=params)
    x, y = batch(net, 6)
    rule = make_rule("bp-stash", {"scale": 2.0})
    assert [op.outputs[0].name for op in emit_step(rule, net, 6).ops if op.kind == "stash"] == ["drop1.stash"]
    plain, bits = (gradients(one_step(r, net, x.sign(), y), net) for r in (make_rule("bp"), rule))
    assert largest_difference(bits, plain) == 0
    assert 0 < float((bits["fc2.weight"] != 0).double().mean()) < 1


def kept(step: Step) -> list[Value]:
    """What lives across the border from forward to backward, but the sample and the errors."""
    border = next(i for i, op in enumerate(step.ops) if op.where.layer == "output")
    born = births(step)
    return [
        s.root
        for s in storages(step)
        if 0 <= s.birth < border < s.death and s.role_at(border + 1, born) == Role.ACTIVATION
    ]


@pytest.mark.parametrize("view", ["fused", "eager"])
@pytest.mark.parametrize("precision", [None, "edge-latent-free-8", "niti-int8"])
@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "rms norms"])
def test_only_bits_and_positions_are_kept(name: str, precision: str | None, view: str) -> None:
    net = NETWORKS[name]()
    step = emit_step(make_rule("bp-stash"), net, 2)
    if precision:
        step = quantize(step, NAMED[precision], net.params)
    step = lower(step, view)
    found = kept(step)
    positions = {op.outputs[1] for op in step.ops if op.kind == "max_pool"}
    bits = [v for v in found if v not in positions]
    assert bits and all(v.format.bits == 1 and v.bytes == (v.size + 7) // 8 for v in bits)
    read = {layer.inputs[0] for layer in net.layers if layer.kind in WEIGHTED}
    assert len(bits) >= len(read) - 1  # all but the sample


def test_in_integers_an_rms_norm_keeps_exponents_alone() -> None:
    net = NETWORKS["rms norms"]()
    step = lower(quantize(emit_step(make_rule("bp-stash"), net, 1), NAMED["edge-latent-free-8"], net.params))
    assert all(v.format.bits == 1 or v.size == 1 for v in kept(step))


def test_the_bits_are_counted_in_every_report() -> None:
    net = example()
    step = executed(make_rule("bp-stash"), net, 32)
    assert alive(step) == ["x", "relu1.stash", "relu2.stash", "fc3"]
    values = {v.name: v for op in step.ops for v in op.outputs}
    assert values["relu1.stash"].format == BIT and values["relu1.stash"].bytes == 32 * 100 // 8
    saved = plan(executed(make_rule("bp"), net, 32)).peak_bytes - plan(step).peak_bytes
    assert saved > 0


@pytest.mark.parametrize(
    ("name", "most", "least"),
    [
        ("mlp-784-1000-10", 1.004, "stash"),
        ("lenet5", 1.021, "checkpoint"),
        ("cnn-8-16", 1.076, "stash"),
    ],
)
def test_training_takes_hardly_more_than_inference(name: str, most: float, least: str) -> None:
    """One sample, 8-bit words without a copy: peak of the step over that of the forward pass. Behind average pools no
    map of errors is made, so that on LeNet-5 recomputing takes less than the stash."""
    net = zoo.build(name, activation="relu")
    steps = [emit_step(make_rule(rule), net, 1) for rule in ("bp-stash", "bp-checkpoint", "bp")]
    bytes_ = [
        plan(lower(quantize(step, NAMED["edge-latent-free-8"], net.params))).peak_bytes
        for step in (*steps, inference_step(net, 1))
    ]
    stash, checkpoint, bp, inference = bytes_
    assert inference < stash <= most * inference
    assert checkpoint <= bp and stash <= bp
    assert (stash < checkpoint) == (least == "stash")


def signed(d: Describe) -> None:
    d.conv(4, 3, name="first")
    d.conv(4, 3, name="second")


def normed(d: Describe) -> None:
    d.conv(4, 3)
    d.activation("relu")
    d.rms_norm()


REFUSED: dict[str, tuple[Callable[[], Network], str]] = {
    "tanh": (
        lambda: zoo.build("lenet5"),
        r"lenet5 at layer tanh1: one bit does not hold the derivative of tanh; use relu \(.*\), or rule bp-c",
    ),
    "leaky": (lambda: zoo.build("mlp-8-6-4", activation="leaky_relu"), "derivative of leaky_relu"),
    "sign": (lambda: zoo.build("mlp-8-6-4", activation="sign"), "derivative of sign"),
    "batch norm": (
        lambda: zoo.build("resnet8"),
        r"at layer \w+: the adjoint of a batch norm .*norm=fold or norm=rms, or rule bp-checkpoint",
    ),
    "signed": (lambda: drawn(signed), "at layer second: one bit does not hold an input of both signs; put a"),
    "behind a norm": (lambda: drawn(normed), "at layer last: one bit does not hold an input of both signs"),
}


def drawn(part: Callable[[Describe], None]) -> Network:
    d = Describe("drawn", (1, 8, 8))
    part(d)
    d.dense(3, name="last")
    return d.network()


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_bit_does_not_hold_is_refused_with_layer_and_remedy(case: str) -> None:
    net, message = REFUSED[case]
    with pytest.raises(NetworkError, match=message):
        emit_step(make_rule("bp-stash"), net(), 2)


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_scales_that_are_refused(scale: float) -> None:
    with pytest.raises(ConfigError, match=r"rule bp-stash: scale=.*more than 0; use 1"):
        emit_step(make_rule("bp-stash", {"scale": scale}), small("cnn-8-16"), 2)
