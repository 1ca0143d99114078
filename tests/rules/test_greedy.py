"""Greedy and decoupled greedy learning: gradients of the auxiliary losses, phases, cached features, ensembles."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from insitu.errors import ConfigError, NetworkError
from insitu.network.graph import Block, Network
from insitu.network.torch.module import to_module
from insitu.numbers.formats import F64
from insitu.passes import lower
from insitu.rules import emit_inference, emit_phases, emit_step, make_rule
from insitu.rules.protocol import phases
from insitu.run.state import State, extend_state
from insitu.run.torch_exec import TorchExecutor
from insitu.step.ir import Role
from tests.helpers import batch, gradients, largest_difference, one_step, small

Tensors = dict[str, torch.Tensor]
NETWORKS = ["mlp-20-15-12-5", "cnn-8-16", "resnet8"]


def auxiliary(h: torch.Tensor, heads: Tensors, block: str, k: int, norm: bool) -> torch.Tensor:
    """The auxiliary network of a block, in plain torch."""
    for i in range(1, k):
        name = f"{block}.aux{i}"
        bias = heads.get(f"{name}.bias")
        conv = h.dim() == 4
        h = (
            F.conv2d(h, heads[f"{name}.weight"], bias, padding=1)
            if conv
            else F.linear(h, heads[f"{name}.weight"], bias)
        )
        if norm:
            h = normed(h, heads, f"{name}.norm")
        h = F.relu(h)
    if h.dim() == 4:
        h = F.avg_pool2d(h, [max(1, n // 2) for n in h.shape[2:]])
        h = normed(h, heads, f"{block}.head.norm") if norm else h
        h = h.flatten(1)
    return F.linear(h, heads[f"{block}.head.weight"], heads[f"{block}.head.bias"])


def normed(h: torch.Tensor, heads: Tensors, name: str) -> torch.Tensor:
    return F.batch_norm(h, None, None, heads[f"{name}.weight"], heads[f"{name}.bias"], True)


def block_inputs_and_outputs(net: Network, x: torch.Tensor) -> tuple[torch.nn.Module, Tensors]:
    """The module, and the activation of every hidden block with its history."""
    module = to_module(net, dtype=torch.float64)
    module.train()
    points: Tensors = {}
    parts = dict(module.named_modules())
    for block in net.blocks[:-1]:
        parts[block.activation.name].register_forward_hook(
            lambda _m, _i, out, n=block.name: points.__setitem__(n, out)
        )
    points["output"] = module(x)
    return module, points


def mine(block: Block, module: torch.nn.Module) -> list[str]:
    known = dict(module.named_parameters())
    return [n for layer in block.layers for n in map(layer.param, layer.params) if n in known]


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_dgl_gradient_is_that_of_the_auxiliary_loss(name: str, k: int, norm: bool) -> None:
    net = small(name)
    x, y = batch(net, 6)
    rule = make_rule("dgl", {"k": k, "norm": norm})
    heads = {n: t for n, t in one_step(rule, net, x, y, lr=0.0).items() if n not in net.params}
    state = one_step(rule, net, x, y)
    module, points = block_inputs_and_outputs(net, x)
    parameters = dict(module.named_parameters())
    wanted: Tensors = {}
    for block in net.blocks:
        last = block is net.blocks[-1]
        z = points["output"] if last else auxiliary(points[block.name], heads, block.name, k, norm)
        names = mine(block, module)
        found = torch.autograd.grad(F.cross_entropy(z, y), [parameters[n] for n in names], retain_graph=True)
        wanted |= dict(zip(names, found, strict=True))
    assert largest_difference(gradients(state, net), wanted) < 1e-9


def test_auxiliary_networks_learn_their_own_loss() -> None:
    net = small("cnn-8-16")
    x, y = batch(net, 6)
    rule = make_rule("dgl", {"k": 2, "norm": True})
    before = {n: t for n, t in one_step(rule, net, x, y, lr=0.0).items() if n not in net.params}
    after = one_step(rule, net, x, y)
    _, points = block_inputs_and_outputs(net, x)
    heads = {n: t.clone().requires_grad_() for n, t in before.items() if "running" not in n}
    loss = F.cross_entropy(auxiliary(points["conv1"].detach(), heads, "conv1", 2, True), y)
    names = [n for n in heads if n.startswith("conv1.")]
    assert {n.rsplit(".", 1)[0] for n in names} == {
        "conv1.aux1",
        "conv1.aux1.norm",
        "conv1.head",
        "conv1.head.norm",
    }
    for name, gradient in zip(names, torch.autograd.grad(loss, [heads[n] for n in names]), strict=True):
        torch.testing.assert_close(before[name] - after[name], gradient, rtol=1e-9, atol=1e-12)


def run_phase(
    rule: Any, net: Network, x: torch.Tensor, y: torch.Tensor, phase: int, start: int = 0, **more: Any
) -> State:
    step = lower(emit_step(rule, net, len(x), real=F64, phase=phase, start=start, **more))
    state = extend_state({}, step, net.params, 1, dtype=torch.float64)
    executor = TorchExecutor(step, state, seed=1, dtype=torch.float64)
    executor.run(executor.convert(x, y), lr=1.0)
    return state


@pytest.mark.parametrize("name", ["mlp-20-15-12-5", "cnn-8-16"])
def test_a_phase_trains_its_block_alone_behind_a_frozen_prefix(name: str) -> None:
    """Without batch norm the frozen prefix is the one that dgl sees: the same gradient, and nothing else moves."""
    net = small(name)
    x, y = batch(net, 6)
    parallel = gradients(one_step(make_rule("dgl"), net, x, y), net)
    rule = make_rule("greedy")
    assert phases(rule, net).count == len(net.blocks)
    for k, block in enumerate(net.blocks):
        found = gradients(run_phase(rule, net, x, y, k), net)
        own = {layer.param(s) for layer in block.layers for s in layer.params}
        assert all(torch.equal(found[n], parallel[n]) for n in own)
        assert all(not bool(found[n].any()) for n in found if n not in own)


def test_a_frozen_prefix_uses_running_statistics_and_keeps_them() -> None:
    net = small("resnet8")
    x, y = batch(net, 6)
    state = run_phase(make_rule("greedy"), net, x, y, 1)
    first = [layer.name for layer in net.blocks[0].layers if layer.kind == "batch_norm"]
    second = [layer.name for layer in net.blocks[1].layers if layer.kind == "batch_norm"]
    for name in first:
        assert torch.equal(state[f"{name}.running_mean"], torch.zeros_like(state[f"{name}.running_mean"]))
    assert all(bool(state[f"{name}.running_mean"].any()) for name in second)


@pytest.mark.parametrize("name", ["mlp-20-15-12-5", "cnn-8-16", "resnet8"])
def test_cached_features_change_no_number(name: str) -> None:
    net = small(name)
    x, y = batch(net, 6)
    rule = make_rule("greedy", {"cache": True})
    assert phases(rule, net).starts == tuple(range(len(net.blocks)))
    module = to_module(net, dtype=torch.float64).eval()
    kept: Tensors = {}
    dict(module.named_modules())[net.blocks[0].layers[-1].name].register_forward_hook(
        lambda _m, _i, out: kept.__setitem__("h", out.detach())
    )
    module(x)
    whole = gradients(run_phase(rule, net, x, y, 1), net)
    from_cache = gradients(run_phase(rule, net, kept["h"], y, 1, start=1), net)
    for n, gradient in from_cache.items():
        torch.testing.assert_close(gradient, whole[n], rtol=1e-9, atol=1e-12)
    assert set(from_cache) < set(whole)


@pytest.mark.parametrize(("predict", "count"), [("network", 0), ("head", 1), ("ensemble", 2)])
def test_who_predicts(predict: str, count: int) -> None:
    net = small("mlp-20-15-12-5")
    x, _ = batch(net, 6)
    rule = make_rule("dgl", {"predict": predict})
    step = lower(emit_inference(rule, net, 6, real=F64))
    heads = [v for v in step.residents if v.role == Role.HEAD and v.name.endswith("weight")]
    assert len(heads) == count
    state = extend_state({}, step, net.params, 1, dtype=torch.float64)
    executor = TorchExecutor(step, state, dtype=torch.float64)
    (scores,) = executor.run(executor.convert(x))
    module, points = block_inputs_and_outputs(net, x)
    del module
    z = [auxiliary(points[b.name], state, b.name, 1, False) for b in net.blocks[2 - count : -1] if count]
    weighted = sum(2**j * s for j, s in enumerate(z)) / (2**count - 1) if count else points["output"]
    torch.testing.assert_close(scores, weighted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rule", ["greedy", "dgl"])
def test_the_last_block_is_left_alone_where_heads_predict(rule: str) -> None:
    net = small("mlp-20-15-12-5")
    made = make_rule(rule, {"predict": "head"})
    steps = emit_phases(made, net, 4)
    assert len(steps) == (2 if rule == "greedy" else 1)
    assert not any(v.name.startswith("fc3") for step in steps for v in step.residents)


def test_later_layers_do_not_matter() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    params = {n: v * (-3.0 if n == "fc2.weight" else 1.0) for n, v in net.params.items()}
    other = Network(net.name, net.input_shape, net.blocks, params)
    before, after = (gradients(one_step("dgl", n, x, y), n)["fc1.weight"] for n in (net, other))
    assert torch.equal(before, after)


@pytest.mark.parametrize("rule", ["greedy", "dgl"])
def test_refusals(rule: str) -> None:
    with pytest.raises(NetworkError, match=f"rule {rule} cannot train .* use dfa"):
        emit_step(make_rule(rule), small("autoencoder"), 2, loss="mse", targets=True)
    with pytest.raises(NetworkError, match="needs a hidden block, but mlp-20-5 has none; use bp"):
        emit_step(make_rule(rule), small("mlp-20-5"), 2)
    with pytest.raises(ConfigError, match=f"rule {rule} has k=0; use 1 or more"):
        make_rule(rule, {"k": 0})
    with pytest.raises(ConfigError, match="predict='best'"):
        make_rule(rule, {"predict": "best"})
