"""Dynamic blocks: one group is BP, groups of one are pred, and boundaries move."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from insitu.errors import ConfigError, NetworkError
from insitu.network.torch.module import to_module
from insitu.numbers.formats import F64
from insitu.passes import lower
from insitu.rules import emit_step, make_rule
from insitu.rules.blockwise import DynamicBlocks
from insitu.rules.protocol import phases
from insitu.run.state import extend_state
from insitu.run.torch_exec import TorchExecutor
from tests.helpers import batch, gradients, largest_difference, one_step, small

DEEP = "mlp-20-15-12-14-11-5"


@pytest.mark.parametrize("name", [DEEP, "cnn-8-16", "resnet8", "mobilenet-v1-0.25"])
def test_one_group_is_back_propagation(name: str) -> None:
    net = small(name)
    x, y = batch(net, 4)
    whole = make_rule("dbl", {"size": len(net.blocks)})
    ours, bp = one_step(whole, net, x, y), one_step("bp", net, x, y)
    assert ours.keys() == bp.keys()
    assert all(torch.equal(ours[n], bp[n]) for n in bp)


@pytest.mark.parametrize("name", [DEEP, "lenet5", "resnet8"])
def test_groups_of_one_are_decoupled_greedy_learning_with_linear_heads(name: str) -> None:
    net = small(name)
    x, y = batch(net, 4)
    single = one_step(make_rule("dbl", {"size": 1, "move": "fixed", "limit": 512}), net, x, y)
    pred = one_step(make_rule("pred", {"limit": 512, "zero": False}), net, x, y)
    assert all(torch.equal(single[n], pred[n]) for n in pred) and single.keys() == pred.keys()


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_gradient_is_that_of_each_groups_loss(phase: int) -> None:
    net = small(DEEP)
    x, y = batch(net, 6)
    rule = DynamicBlocks(size=3)
    step = lower(emit_step(rule, net, 6, real=F64, phase=phase))
    state = extend_state({}, step, net.params, 1, dtype=torch.float64)
    heads = {n: t.clone() for n, t in state.items() if n not in net.params}
    executor = TorchExecutor(step, state, dtype=torch.float64)
    executor.run(executor.convert(x, y), lr=1.0)
    module = to_module(net, dtype=torch.float64)
    parts = dict(module.named_modules())
    h, wanted = x, {}
    groups = rule.groups(net, phase)
    for group in groups:
        for block in group:
            for layer in block.layers:
                h = parts[layer.name](h)
        end = group[-1].name
        last = group is groups[-1]
        z = h if last else F.linear(h, heads[f"{end}.head.weight"], heads[f"{end}.head.bias"])
        names = [layer.param(s) for block in group for layer in block.layers for s in layer.params]
        parameters = dict(module.named_parameters())
        found = torch.autograd.grad(F.cross_entropy(z, y), [parameters[n] for n in names])
        wanted |= dict(zip(names, found, strict=True))
        h = h.detach()
    assert largest_difference(gradients(state, net), wanted) < 1e-9


def test_every_boundary_is_inside_a_group_at_other_times() -> None:
    net = small(DEEP)
    rule = DynamicBlocks(size=2)
    assert phases(rule, net).count == 2 and phases(rule, net).period == 1
    ends = [{g[-1].name for g in rule.groups(net, k)[:-1]} for k in range(2)]
    assert ends == [{"fc2", "fc4"}, {"fc1", "fc3"}]
    assert all(sum(map(len, rule.groups(net, k))) == len(net.blocks) for k in range(2))
    assert phases(DynamicBlocks(move="fixed"), net).count == 1


@pytest.mark.parametrize("move", ["cyclic", "random"])
def test_offsets_take_turns(move: Any) -> None:
    schedule = phases(DynamicBlocks(size=3, move=move, period=2), small(DEEP))
    seen = [schedule.at(step, 0.0, seed=4) for step in range(60)]
    assert all(a == b for a, b in zip(seen[::2], seen[1::2], strict=True))
    assert set(seen) == {0, 1, 2}
    assert (seen[:12:2] == [0, 1, 2, 0, 1, 2]) == (move == "cyclic")
    assert seen == [schedule.at(step, 0.5, seed=4) for step in range(60)]


def test_refusals() -> None:
    with pytest.raises(NetworkError, match=r"rule dbl cannot train .* use bp"):
        emit_step(make_rule("dbl"), small("autoencoder"), 2, loss="mse", targets=True)
    with pytest.raises(ConfigError, match="rule dbl has size=0; use 1 or more"):
        make_rule("dbl", {"size": 0})
