"""etch: the emitted change is the gradient of each block's hinge; triggered samples alone move words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from insitu.errors import ConfigError
from insitu.network import zoo
from insitu.network.graph import Network
from insitu.network.torch.module import to_module
from insitu.passes import lower, plan
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules.protocol import emit_inference, emit_step, make_rule
from insitu.run.initial import initial_state
from insitu.run.integer import run
from insitu.step.context import StepContext
from insitu.step.ir import Role, Step
from tests.helpers import batch, gradients, largest_difference, one_step, small
from tests.ops.rows import hashed, one_hot
from tests.rules.test_local import pool

POLICY = "edge-latent-free-8:error_exponent=static,headroom=1"
MARGIN, RELATIVE = 0.3, 0.1


def hinge(z: torch.Tensor, y: torch.Tensor, h: torch.Tensor, violators: str) -> torch.Tensor:
    hot = one_hot(y, z)
    bound = MARGIN + RELATIVE * h.shape[1] ** -0.5 * h.detach().abs().sum(1, keepdim=True)
    short = (z - (z * hot).sum(1, keepdim=True) + bound).masked_fill(hot > 0, -torch.inf).clamp(min=0)
    if violators == "mean":
        return (short.sum(1) / (short > 0).sum(1).clamp(min=1)).mean()
    return (short.amax(1) if violators == "one" else short.sum(1)).mean()


def heads(net: Network, limit: int) -> dict[str, torch.Tensor]:
    """Heads that are not zero, or the first step would leave the blocks alone."""
    made = make_rule("etch", {"limit": limit})
    step = emit_step(made, net, 1)
    g = torch.Generator().manual_seed(5)
    return {
        v.name: torch.randn(v.shape, generator=g, dtype=torch.float64) / 4
        for v in step.residents
        if v.role is Role.HEAD
    }


@pytest.mark.parametrize("violators", ["one", "all", "mean"])
@pytest.mark.parametrize("name", ["mlp-20-15-12-5", "lenet5", "cnn-8-16", "resnet8"])
def test_the_change_is_the_gradient_of_each_blocks_own_hinge(name: str, violators: str) -> None:
    net = small(name)
    x, y = batch(net, 6)
    state = heads(net, 64)
    options = {"margin": MARGIN, "relative": RELATIVE, "violators": violators, "limit": 64}
    after = one_step(
        make_rule("etch", options), net, x, y, residents={k: v.clone() for k, v in state.items()}
    )
    module = to_module(net, dtype=torch.float64)
    module.train()
    points: dict[str, torch.Tensor] = {}
    inner = dict(module.named_modules())
    for block in net.blocks[:-1]:
        inner[block.activation.name].register_forward_hook(
            lambda _m, _i, out, n=block.name: points.__setitem__(n, out)
        )
    last = next(x for x in net.blocks[-1].layers if x.kind == "dense")
    inner[last.name].register_forward_hook(lambda _m, i, _o: points.__setitem__("last", i[0]))
    z = module(x)
    parameters, wanted = dict(module.named_parameters()), {}
    for block in net.blocks:
        if block is net.blocks[-1]:
            loss = hinge(z, y, points["last"].flatten(1), violators)
        else:
            h = pool(points[block.name]).flatten(1)
            w, bias = state[f"{block.name}.head.weight"], state[f"{block.name}.head.bias"]
            loss = hinge(F.linear(h, w, bias), y, h, violators)
        mine = [n for layer in block.layers for n in map(layer.param, layer.params) if n in parameters]
        grads = torch.autograd.grad(loss, [parameters[n] for n in mine], retain_graph=True, allow_unused=True)
        wanted |= {n: torch.zeros_like(parameters[n]) if g is None else g for n, g in zip(mine, grads)}
    found = {n: g for n, g in gradients(after, net).items() if n in wanted}
    assert any(g.abs().max() > 0 for g in wanted.values())
    assert largest_difference(found, wanted) < 1e-9


def test_a_sketch_has_no_matrix_and_its_head_as_many_words_as_numbers() -> None:
    net = zoo.build("cnn-8-16", activation="relu")
    step = lower(emit_step(make_rule("etch", {"sketch": 32}), net, 1))
    shapes = [v.shape for v in step.residents if v.role is Role.HEAD and len(v.shape) == 2]
    assert shapes == [(10, 32), (10, 32)]
    assert all(v.role is not Role.FEEDBACK for v in step.residents)


def test_a_head_on_a_sketch_learns_by_the_gradient_of_its_hinge() -> None:
    """The error of a block is that of scores W S h, S the signs."""
    net = zoo.build("mlp-20-40-5", activation="relu")
    rule = make_rule("etch", {"sketch": 8, "violators": "all", "margin": MARGIN})
    x, y = batch(net, 6)
    g = torch.Generator().manual_seed(5)
    head = torch.randn(5, 8, generator=g, dtype=torch.float64) / 4
    after = one_step(rule, net, x, y, residents={"fc1.head.weight": head.clone()})
    signs = hashed(40, 8, "fc1.head.sketch", seed=1)
    module = to_module(net, dtype=torch.float64)
    weights = dict(module.named_parameters())["fc1.weight"]
    h = F.linear(x, weights, dict(module.named_parameters())["fc1.bias"]).relu()
    z = F.linear(h @ signs * 2.0 ** -round(np.log2(5) / 2), head)
    short = (
        (z - (z * one_hot(y, z)).sum(1, keepdim=True) + MARGIN).masked_fill(one_hot(y, z) > 0, 0).clamp(min=0)
    )
    (wanted,) = torch.autograd.grad(short.sum(1).mean(), weights)
    assert wanted.abs().max() > 0
    assert largest_difference({"w": gradients(after, net)["fc1.weight"]}, {"w": wanted}) < 1e-9


def integer_step(network: str, **options: object) -> tuple[Network, Step]:
    net, policy = zoo.build(network, activation="relu"), make(POLICY)
    assert policy is not None
    return net, lower(quantize(emit_step(make_rule("etch", options), net, 1), policy, net.params))


def test_without_a_violation_no_word_moves() -> None:
    net, step = integer_step("mlp-20-15-12-5", margin=0.0)
    state = initial_state(step, net.params, 1)
    x = np.zeros((1, 20), np.int64)  # every head is silent: all scores are the bias, which is zero
    for name in ("fc1.head.bias", "fc2.head.bias", "fc3.bias"):
        state[name][...] = 0
        state[name][2] = 1000
    before = {k: a.copy() for k, a in state.items()}
    run(step, state, x, np.array([2]), StepContext(0.1, 1, 0))
    assert all(np.array_equal(before[k], a) for k, a in state.items())
    run(step, state, x, np.array([3]), StepContext(0.1, 1, 1))
    assert any(not np.array_equal(before[k], a) for k, a in state.items())


def test_fixed_heads_are_never_written_and_take_a_bit() -> None:
    policy = make("edge-latent-free-8:error_exponent=static,feedback=1")
    net = zoo.build("mlp-20-15-12-5", activation="relu")
    assert policy is not None
    step = lower(quantize(emit_step(make_rule("etch", {"head": "fixed"}), net, 1), policy, net.params))
    codes = [v for v in step.residents if v.role is Role.FEEDBACK]
    assert len(codes) == 2 and all(v.format.bits == 1 for v in codes)
    assert not {v for op in step.ops for v in op.written} & set(codes)


def test_without_a_gate_units_that_are_off_learn_too() -> None:
    net = zoo.build("mlp-20-15-5", activation="relu")
    x, y = batch(net, 1)
    moved = []
    for gate in (True, False):
        rule = make_rule("etch", {"gate": gate, "margin": 9.0})
        kept = {k: v.clone() for k, v in heads(net, 64).items()}
        moved.append(int((gradients(one_step(rule, net, x, y, residents=kept), net)["fc1.bias"] != 0).sum()))
    assert 0 < moved[0] < moved[1]


def test_votes_are_added_to_the_prediction() -> None:
    net = zoo.build("mlp-20-15-12-5", activation="relu")
    plain, voted = (emit_inference(make_rule("etch", {"vote": n}), net, 1) for n in (0, 2))
    assert sum(op.kind == "add" for op in voted.ops) == 2 and not any(op.kind == "add" for op in plain.ops)


def test_learning_takes_at_most_a_tenth_more_memory_than_inference_on_dense_layers() -> None:
    net, step = integer_step("mlp-784-500-500-10")
    policy = make(POLICY)
    assert policy is not None
    inference = lower(quantize(emit_inference(make_rule("etch"), net, 1), policy, net.params))
    assert plan(step).peak_bytes <= 1.10 * plan(inference).peak_bytes


@pytest.mark.parametrize("option", [{"margin": -1.0}, {"relative": -0.1}, {"vote": -1}, {"limit": 0}])
def test_bad_options_are_refused(option: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(option))):
        make_rule("etch", option)
