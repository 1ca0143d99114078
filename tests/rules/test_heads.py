"""Mono-Forward and periodic codes: gradients of their local losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from insitu.errors import ConfigError, NetworkError
from insitu.network.torch.module import to_module
from insitu.numbers.initial import draw
from insitu.rules import emit_step, make_rule
from insitu.rules.local import pool_window
from insitu.step.ir import Init, Role
from tests.helpers import batch, gradients, largest_difference, one_step, small
from tests.rules.blocks import with_changed

Tensors = dict[str, torch.Tensor]
LIMIT = 64


def waves(classes: int, count: int, square: bool) -> torch.Tensor:
    f = torch.linspace(50, 512, classes, dtype=torch.float64)
    t = torch.arange(count, dtype=torch.float64)
    wave = torch.sin(torch.outer(f, t))
    return torch.where(wave >= 0, 1.0, -1.0).double() if square else wave.float().double()


def scores(rule: str, h: torch.Tensor, heads: Tensors, block: str, options: dict[str, Any]) -> torch.Tensor:
    if rule == "mono-forward":
        return h.flatten(1) @ heads[f"{block}.head.weight"].T
    if h.dim() == 4:
        h = F.avg_pool2d(h, pool_window(tuple(h.shape[1:]), LIMIT))
    v = h.flatten(1)
    v = v / (v.norm(dim=1, keepdim=True) + 1e-8)
    z = v @ waves(heads["classes"].numel(), v.shape[1], options.get("wave") == "square").T
    z = z / options.get("temperature", 1.0)
    mix = heads.get(f"{block}.mix")
    if mix is None:
        return z
    return z * mix if options["mix"] == "scale" else z @ mix.T


CASES: list[tuple[str, dict[str, Any]]] = [
    ("mono-forward", {}),
    ("lls", {"limit": LIMIT}),
    ("lls", {"limit": LIMIT, "wave": "square", "temperature": 0.3}),
    ("lls", {"limit": LIMIT, "mix": "matrix"}),
    ("lls", {"limit": LIMIT, "mix": "scale"}),
]


@pytest.mark.parametrize("name", ["mlp-20-15-12-5", "cnn-8-16", "resnet8"])
@pytest.mark.parametrize(("rule", "options"), CASES)
def test_gradient_is_that_of_the_local_loss(rule: str, options: dict[str, Any], name: str) -> None:
    net = small(name, "tanh")  # square waves cut zeros of the float32 codes exactly; smooth activations
    x, y = batch(net, 6)
    made = make_rule(rule, options)
    first = one_step(made, net, x, y, lr=0.1)
    heads = {n: t for n, t in first.items() if n not in net.params}
    state = one_step(made, net, x, y, residents=heads)
    module = to_module(net, dtype=torch.float64)
    module.train()
    parts, points = dict(module.named_modules()), {}
    for block in net.blocks[:-1]:
        parts[block.activation.name].register_forward_hook(
            lambda _m, _i, out, n=block.name: points.__setitem__(n, out)
        )
    points["output"] = module(x)
    heads["classes"] = torch.zeros(net.outputs)
    parameters = dict(module.named_parameters())
    wanted: Tensors = {}
    for block in net.blocks:
        last = block is net.blocks[-1]
        z = points["output"] if last else scores(rule, points[block.name], heads, block.name, options)
        names = [n for layer in block.layers for n in map(layer.param, layer.params) if n in parameters]
        loss = F.cross_entropy(z, y)
        found = torch.autograd.grad(loss, [parameters[n] for n in names], retain_graph=True)
        wanted |= dict(zip(names, found, strict=True))
    assert largest_difference(gradients(state, net), wanted) < 1e-9


def test_the_mixing_matrix_learns_and_the_codes_do_not() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    state = one_step(make_rule("lls", {"mix": "matrix"}), net, x, y)
    assert not torch.equal(state["fc1.mix"], torch.eye(5, dtype=torch.float64))
    codes = torch.from_numpy(draw(Init("sine", ""), (5, 15), 1)).double()
    assert torch.equal(state["fc1.codes"], codes)
    parts = dict(to_module(net, dtype=torch.float64).named_modules())
    h = parts["tanh1"](parts["fc1"](x)).detach()
    matrix = torch.eye(5, dtype=torch.float64, requires_grad=True)
    v = h / (h.norm(dim=1, keepdim=True) + 1e-8)
    (gradient,) = torch.autograd.grad(F.cross_entropy(v @ codes.T @ matrix.T, y), matrix)
    torch.testing.assert_close(matrix.detach() - state["fc1.mix"], gradient, rtol=1e-9, atol=1e-12)


def test_the_class_factors_learn() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    state = one_step(make_rule("lls", {"mix": "scale"}), net, x, y)
    parts = dict(to_module(net, dtype=torch.float64).named_modules())
    v = F.normalize(parts["tanh1"](parts["fc1"](x)).detach(), dim=1)
    factors = torch.ones(5, dtype=torch.float64, requires_grad=True)
    loss = F.cross_entropy(v @ state["fc1.codes"].T * factors, y)
    (gradient,) = torch.autograd.grad(loss, factors)
    torch.testing.assert_close(factors.detach() - state["fc1.mix"], gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_heads_keep_their_cross_entropy_whatever_the_networks_loss(loss: str) -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    for rule in ("mono-forward", "lls"):
        plain, other = (gradients(one_step(rule, net, x, y, loss=k), net) for k in ("xent", loss))
        assert torch.equal(plain["fc1.weight"], other["fc1.weight"])
        assert not torch.equal(plain["fc3.weight"], other["fc3.weight"])


@pytest.mark.parametrize(("rule", "options"), [*CASES[:2], CASES[3]])
def test_later_layers_do_not_matter(rule: str, options: dict[str, Any]) -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    made = make_rule(rule, options)
    changed = with_changed(net, "fc2.weight", "fc3.weight")
    before, after = (gradients(one_step(made, n, x, y), n) for n in (net, changed))
    assert torch.equal(before["fc1.weight"], after["fc1.weight"])
    assert not torch.equal(before["fc2.weight"], after["fc2.weight"])


def test_codes_are_the_papers_waves() -> None:
    sine, square = (draw(Init(kind, ""), (10, 512), 1) for kind in ("sine", "square"))
    np.testing.assert_allclose(sine, waves(10, 512, False).numpy(), atol=1e-6)
    assert set(np.unique(square)) == {-1.0, 1.0}
    assert np.mean(square == waves(10, 512, True).numpy()) > 0.999
    overlap = sine @ sine.T / 512
    assert np.abs(overlap - np.diag(np.diag(overlap))).max() < 0.1 < overlap.diagonal().min()


def test_roles() -> None:
    step = emit_step(make_rule("lls"), small("mlp-20-15-12-5"), 4)
    roles = {v.name: v.role for v in step.residents}
    assert roles["fc1.codes"] is Role.FEEDBACK and not any(r is Role.HEAD for r in roles.values())
    step = emit_step(make_rule("mono-forward"), small("cnn-8-16"), 4)
    heads = {v.name: v.shape for v in step.residents if v.role is Role.HEAD}
    assert heads == {"conv1.head.weight": (10, 8 * 64), "conv2.head.weight": (10, 16 * 16)}


@pytest.mark.parametrize("rule", ["mono-forward", "lls"])
def test_refusals(rule: str) -> None:
    with pytest.raises(NetworkError, match=f"rule {rule} cannot train .* use dfa"):
        emit_step(make_rule(rule), small("autoencoder"), 2, loss="mse", targets=True)
    with pytest.raises(ConfigError, match="rule lls has temperature=0; use more than 0"):
        make_rule("lls", {"temperature": 0.0})
