"""Identities that tie the rules to back-propagation and to each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from insitu.errors import ConfigError, NetworkError
from insitu.network.graph import Network
from insitu.passes import lower, plan
from insitu.rules import RULES, emit_step, make_rule
from insitu.run.state import State, extend_state
from insitu.run.torch_exec import TorchExecutor
from insitu.step.ir import Role
from tests.helpers import autograd, batch, gradients, largest_difference, linear_chain, one_step, small

Tensors = dict[str, torch.Tensor]


def with_feedback(rule: Any, net: Network, x: torch.Tensor, y: torch.Tensor, feedback: Tensors) -> State:
    """One float64 step with given feedback matrices in place of the random ones."""
    from insitu.numbers.formats import F64

    step = lower(emit_step(rule, net, len(x), real=F64))
    state = extend_state({}, step, net.params, 1, dtype=torch.float64)
    for name, value in feedback.items():
        assert state[name].shape == value.shape
        state[name].copy_(value)
    executor = TorchExecutor(step, state, seed=1, dtype=torch.float64)
    executor.run(executor.convert(x, y), lr=1.0)
    return state


@pytest.mark.parametrize("name", ["mlp-20-15-12-5", "lenet5", "cnn-8-16", "resnet8"])
def test_fa_with_the_true_transpose_is_bp(name: str) -> None:
    net = small(name)
    x, y = batch(net, 4)
    step = emit_step(make_rule("fa"), net, 4)
    names = [v.name for v in step.residents if v.role == Role.FEEDBACK]
    assert names
    true = {n: torch.as_tensor(net.params[n.removesuffix(".feedback")]).double() for n in names}
    state = with_feedback(make_rule("fa"), net, x, y, true)
    want, _ = autograd(net, x, y)
    assert largest_difference(gradients(state, net), want) < 1e-12


def test_usf_with_weights_of_one_magnitude_is_bp() -> None:
    net = small("mlp-20-15-12-5")
    params = {k: np.sign(v + 1e-9) * np.float32(0.25) if v.ndim == 2 else v for k, v in net.params.items()}
    equal = Network(net.name, net.input_shape, net.blocks, params)
    x, y = batch(equal, 4)
    state = one_step(make_rule("usf", {"scale": 0.25}), equal, x, y)
    want, _ = autograd(equal, x, y)
    assert largest_difference(gradients(state, equal), want) < 1e-12


def test_frsf_with_the_magnitudes_of_the_weights_is_bp() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 4)
    step = emit_step(make_rule("frsf"), net, 4)
    names = [v.name for v in step.residents if v.role == Role.FEEDBACK]
    true = {n: torch.as_tensor(net.params[n.removesuffix(".feedback")]).double() for n in names}
    state = with_feedback(make_rule("frsf"), net, x, y, true)
    want, _ = autograd(net, x, y)
    assert largest_difference(gradients(state, net), want) < 1e-12


def test_brsf_redraws_its_magnitudes_and_keeps_the_signs() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 4)
    first, second = (gradients(one_step("brsf", net, x, y, t=t), net) for t in (0, 1))
    assert not torch.equal(first["fc1.weight"], second["fc1.weight"])
    again = gradients(one_step("brsf", net, x, y, t=0), net)
    assert torch.equal(first["fc1.weight"], again["fc1.weight"])


@pytest.mark.parametrize("sizes", [(9, 8, 7, 5), (6, 5, 4, 7, 3)])
def test_dfa_with_the_product_of_the_weights_is_bp_in_a_linear_net(sizes: tuple[int, ...]) -> None:
    """B_k = W_K ... W_{k+1}."""
    net = linear_chain(*sizes)
    x, y = batch(net, 4)
    weights = [torch.as_tensor(net.params[f"{b.name}.weight"]).double() for b in net.blocks]
    feedback = {}
    for k, block in enumerate(net.blocks[:-1]):
        product = weights[-1]
        for w in reversed(weights[k + 1 : -1]):
            product = product @ w
        feedback[f"{block.name}.feedback"] = product
    state = with_feedback(make_rule("dfa"), net, x, y, feedback)
    want, _ = autograd(net, x, y)
    assert largest_difference(gradients(state, net), want) < 1e-12


def batch_drtp(net: Network, x: torch.Tensor, y: torch.Tensor, feedback: Tensors) -> Tensors:
    """DRTP as in the published code: a whole forward pass by autograd, then every gradient (before-pool hooks)."""
    from insitu.network.torch.module import to_module

    module = to_module(net, dtype=torch.float64)
    module.train()
    points: dict[str, torch.Tensor] = {}
    submodules = dict(module.named_modules())
    for block in net.blocks[:-1]:
        layer = block.activation
        submodules[layer.name].register_forward_hook(
            lambda _m, _i, out, name=block.name: points.__setitem__(name, out)
        )
    loss = torch.nn.functional.cross_entropy(module(x), y)
    found: Tensors = {}
    parameters = dict(module.named_parameters())
    for block in net.blocks:
        mine = [n for layer in block.layers for n in map(layer.param, layer.params) if n in parameters]
        if block is net.blocks[-1]:
            grads = torch.autograd.grad(loss, [parameters[n] for n in mine], retain_graph=True)
        else:
            h = points[block.name]
            delta = feedback[f"{block.name}.feedback"][y].view_as(h)
            grads = torch.autograd.grad(h, [parameters[n] for n in mine], delta, retain_graph=True)
        found |= dict(zip(mine, grads))
    return found


@pytest.mark.parametrize("name", ["mlp-20-15-12-5", "lenet5", "drtp-conv-mnist"])
def test_streaming_drtp_is_batch_drtp(name: str) -> None:
    """Updating a block before the next one runs changes nothing: the activations passed on are already computed."""
    net = small(name)
    x, y = batch(net, 5)
    state = one_step("drtp", net, x, y)
    feedback = {n: t for n, t in state.items() if n.endswith(".feedback")}
    assert largest_difference(gradients(state, net), batch_drtp(net, x, y, feedback)) < 1e-9


def test_drtp_scale_and_sign() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 8)
    base, mean, minus = (
        gradients(one_step(make_rule("drtp", o), net, x, y), net)["fc1.weight"]
        for o in ({}, {"scale": "mean"}, {"sign": -1})
    )
    assert torch.allclose(mean * 8, base, rtol=1e-6)  # cross-entropy: the mean is over the batch
    assert torch.allclose(minus, -base, rtol=1e-12)


@pytest.mark.parametrize("rule", ["dfa", "sdfa", "drtp"])
@pytest.mark.parametrize("name", ["mlp-20-15-12-5", "lenet5"])
def test_regenerated_feedback_is_the_stored_one(rule: str, name: str) -> None:
    net = small(name)
    x, y = batch(net, 4)
    stored = gradients(one_step(make_rule(rule), net, x, y), net)
    fresh = one_step(make_rule(rule, {"feedback": "regenerated"}), net, x, y)
    assert not any(key.endswith("feedback") for key in fresh)
    assert largest_difference(gradients(fresh, net), stored) < 1e-12


@pytest.mark.parametrize("options", [{}, {"scale": "mean"}, {"feedback": "shared"}])
def test_feedback_is_the_same_matrix_for_every_batch_size(options: dict[str, str]) -> None:
    """The last, smaller batch of an epoch has a step of its own, on the same residents."""
    net = small("mlp-20-15-12-5")
    inits = [
        {v.name: v.init for v in emit_step(make_rule("drtp", options), net, size).residents}
        for size in (32, 29)
    ]
    assert inits[0] == inits[1]


def test_fa_regenerated_feedback_is_the_stored_one() -> None:
    net = small("lenet5")
    x, y = batch(net, 4)
    stored = gradients(one_step("fa", net, x, y), net)
    fresh = one_step(make_rule("fa", {"feedback": "regenerated"}), net, x, y)
    assert largest_difference(gradients(fresh, net), stored) < 1e-12


@pytest.mark.parametrize("rule", ["dfa", "sdfa", "drtp"])
def test_shared_feedback_is_one_matrix_sliced_and_scaled(rule: str) -> None:
    net = small("lenet5")
    step = emit_step(make_rule(rule, {"feedback": "shared"}), net, 2)
    matrices = [v for v in step.residents if v.role == Role.FEEDBACK]
    assert len(matrices) == 1
    x, y = batch(net, 4)
    shared = one_step(make_rule(rule, {"feedback": "shared"}), net, x, y)
    rows = {}
    names = {v.name: v.shape for v in emit_step(make_rule(rule), net, 2).residents if v.role == Role.FEEDBACK}
    bound = 1.0 if rule == "dfa" else 6.0
    for name, (_, n) in names.items():
        rows[name] = shared["feedback"][:, :n] * (bound / n) ** 0.5
    want = gradients(with_feedback(make_rule(rule), net, x, y, rows), net)
    assert largest_difference(gradients(shared, net), want) < 1e-9


def test_point_of_injection_moves_the_projection_behind_the_pool() -> None:
    net = small("lenet5")
    sizes = {}
    for point in ("before_pool", "after_pool"):
        step = emit_step(make_rule("dfa", {"point": point}), net, 2)
        sizes[point] = {v.name: v.shape[1] for v in step.residents if v.role == Role.FEEDBACK}
    first = net.blocks[0].name + ".feedback"
    assert sizes["before_pool"][first] == 4 * sizes["after_pool"][first]


def test_sdfa_projects_the_sign_of_the_error() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 4)
    state = one_step("sdfa", net, x, y)
    feedback = {n: t for n, t in state.items() if n.endswith(".feedback")}
    from insitu.network.torch.module import to_module

    z = to_module(net, dtype=torch.float64)(x)
    error = torch.softmax(z, 1) - torch.nn.functional.one_hot(y, net.outputs)
    delta = torch.sign(error) @ feedback["fc1.feedback"]
    h = torch.tanh(
        x @ torch.as_tensor(net.params["fc1.weight"]).double().T + torch.as_tensor(net.params["fc1.bias"])
    )
    want = (delta * (1 - h**2)).T @ x
    assert torch.allclose(gradients(state, net)["fc1.weight"], want, rtol=1e-9)


def test_shallow_leaves_the_hidden_layers_alone() -> None:
    net = small("lenet5")
    x, y = batch(net, 4)
    state = one_step("shallow", net, x, y)
    last = net.blocks[-1].name
    for name, gradient in gradients(state, net).items():
        assert bool(gradient.any()) == name.startswith(last)
    want, _ = autograd(net, x, y)
    assert torch.allclose(gradients(state, net)[f"{last}.weight"], want[f"{last}.weight"], rtol=1e-9)


LOCKED = {"bp": True, "fa": True, "usf": True, "dfa": True, "sdfa": False, "drtp": False}
"""Do updates of a block depend on later layers' weights? (With a softmax, sign(e) follows from the label alone.)"""


@pytest.mark.parametrize("rule", LOCKED)
def test_update_locking(rule: str) -> None:
    """Perturbing the last layer changes the first layer's update, unless the signal follows from the label."""
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 4)
    params = dict(net.params)
    params["fc3.weight"] = params["fc3.weight"] * -3.0
    other = Network(net.name, net.input_shape, net.blocks, params)
    before = gradients(one_step(rule, net, x, y), net)["fc1.weight"]
    after = gradients(one_step(rule, other, x, y), other)["fc1.weight"]
    assert torch.equal(before, after) is not LOCKED[rule]


def test_drtp_refuses_regression() -> None:
    net = small("autoencoder")
    with pytest.raises(NetworkError, match="use dfa or sdfa"):
        emit_step(make_rule("drtp"), net, 2, loss="mse", targets=True)


def test_dfa_serves_regression() -> None:
    net = small("autoencoder")
    x, y = batch(net, 3, targets=True)
    state = one_step("dfa", net, x, y, loss="mse", targets=True)
    assert bool(gradients(state, net)[f"{net.blocks[0].name}.weight"].any())


def test_memory_of_a_deep_narrow_net() -> None:
    """9 layers of one width at batch 32: DRTP needs at most 0.45 of BP's activations and errors; DFA what BP needs."""
    net = small("mlp-" + "-".join(["256"] * 9) + "-10")
    found = {}
    for rule in ("bp", "bp-checkpoint", "dfa", "drtp"):
        layout = plan(lower(emit_step(make_rule(rule), net, 32)))
        found[rule] = layout.by_role[Role.ACTIVATION] + layout.by_role[Role.ERROR]
    assert found["drtp"] <= 0.45 * found["bp"]
    assert found["dfa"] == found["bp"]
    assert found["drtp"] < found["bp-checkpoint"] < found["bp"]


def test_registry_refusals_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'drtp'"):
        make_rule("drpt")
    with pytest.raises(ConfigError, match="has no option 'feedbak'"):
        make_rule("dfa", {"feedbak": "stored"})
    with pytest.raises(ConfigError, match="use one of stored, shared, regenerated"):
        make_rule("dfa", {"feedback": "none"})


@pytest.mark.parametrize("name", RULES)
def test_every_rule_says_where_it_comes_from(name: str) -> None:
    rule = RULES[name]
    assert rule.__doc__ and rule.__doc__.strip()
    assert rule.paper.year > 1980 and rule.paper.title
