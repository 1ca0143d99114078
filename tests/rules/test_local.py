"""Local losses: the emitted gradient is autograd's of the stated loss, and nothing passes between blocks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from insitu.errors import ConfigError, NetworkError
from insitu.network.graph import Block, Network
from insitu.network.torch.module import to_module
from insitu.passes import lower, plan
from insitu.rules import emit_step, make_rule
from insitu.rules.local import pool_window
from insitu.step.ir import Role
from tests.helpers import batch, gradients, largest_difference, one_step, small

Tensors = dict[str, torch.Tensor]
LIMIT = 64
NETWORKS = ["mlp-20-15-12-5", "lenet5", "cnn-8-16", "resnet8"]
RULES: dict[str, dict[str, object]] = {
    "pred": {"limit": LIMIT, "zero": False},
    "sim": {},
    "predsim": {"limit": LIMIT, "zero": False, "beta": 0.7},
    "pred-bpf": {"limit": LIMIT},
    "sim-bpf": {"limit": LIMIT},
    "predsim-bpf": {"limit": LIMIT, "beta": 0.3},
}


# --- the losses in plain PyTorch ----------------------------------------------------------------------------


def pool(h: torch.Tensor) -> torch.Tensor:
    return h if h.dim() == 2 else F.avg_pool2d(h, pool_window(tuple(h.shape[1:]), LIMIT))


def gram(g: torch.Tensor) -> torch.Tensor:
    """Nøkland & Eidnes: deviation over space of maps of more than 3 channels, centred, normalised, all pairs."""
    x = g.flatten(2).std(2) if g.dim() == 4 and g.shape[1] > 3 and g.shape[2] > 1 else g.flatten(1)
    x = x - x.mean(1, keepdim=True)
    x = x / (x.norm(dim=1, keepdim=True) + 1e-8)
    return x @ x.T


def prediction(h: torch.Tensor, y: torch.Tensor, state: Tensors, block: str) -> torch.Tensor:
    z = F.linear(pool(h).flatten(1), state[f"{block}.head.weight"], state[f"{block}.head.bias"])
    return F.cross_entropy(z, y)


def matching(h: torch.Tensor, y: torch.Tensor, state: Tensors, block: str, classes: int) -> torch.Tensor:
    w = state[f"{block}.sim.weight"]
    g = F.conv2d(h, w, padding=1) if h.dim() == 4 else F.linear(h, w)
    hot = F.one_hot(y, classes).double()
    units = F.normalize(hot - 1 / classes, dim=1)
    return F.mse_loss(gram(g), units @ units.T)


def free_prediction(h: torch.Tensor, y: torch.Tensor, state: Tensors, block: str) -> torch.Tensor:
    """A surrogate whose gradient at h is e F, e the decoder's error, which itself passes no gradient."""
    bits = (state["labels.feedback"][y] > 0).double()
    p = pool(h).flatten(1)
    z = F.linear(p.detach(), state[f"{block}.head.weight"], state[f"{block}.head.bias"])
    error = (torch.sigmoid(z) - bits) / z.numel()
    return (p * (error @ state[f"{block}.head.weight.feedback"])).sum()


def free_matching(h: torch.Tensor, y: torch.Tensor, state: Tensors) -> torch.Tensor:
    return F.mse_loss(gram(pool(h)), gram(state["labels.feedback"][y]))


def local_loss(
    rule: str, h: torch.Tensor, y: torch.Tensor, state: Tensors, block: str, classes: int
) -> torch.Tensor:
    beta = float(RULES[rule].get("beta", 0.0))  # type: ignore[arg-type]
    losses: dict[str, Callable[[], torch.Tensor]] = {
        "pred": lambda: prediction(h, y, state, block),
        "sim": lambda: matching(h, y, state, block, classes),
        "pred-bpf": lambda: free_prediction(h, y, state, block),
        "sim-bpf": lambda: free_matching(h, y, state),
    }
    if rule in losses:
        return losses[rule]()
    free = "-bpf" if rule.endswith("bpf") else ""
    return (1 - beta) * losses[f"pred{free}"]() + beta * losses[f"sim{free}"]()


def reference(rule: str, net: Network, x: torch.Tensor, y: torch.Tensor, state: Tensors) -> Tensors:
    """Gradients of each block's own loss alone, by autograd."""
    module = to_module(net, dtype=torch.float64)
    module.train()
    points: Tensors = {}
    submodules = dict(module.named_modules())
    for block in net.blocks[:-1]:
        layer = block.activation
        submodules[layer.name].register_forward_hook(
            lambda _m, _i, out, n=block.name: points.__setitem__(n, out)
        )
    final = F.cross_entropy(module(x), y)
    parameters = dict(module.named_parameters())
    found: Tensors = {}
    for block in net.blocks:
        mine = [n for layer in block.layers for n in map(layer.param, layer.params) if n in parameters]
        last = block is net.blocks[-1]
        loss = final if last else local_loss(rule, points[block.name], y, state, block.name, net.outputs)
        grads = torch.autograd.grad(loss, [parameters[n] for n in mine], retain_graph=True, allow_unused=True)
        found |= {n: torch.zeros_like(parameters[n]) if g is None else g for n, g in zip(mine, grads)}
    return found


# --- tests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rule", RULES)
def test_gradient_is_that_of_the_local_loss(rule: str, name: str) -> None:
    net = small(name)
    x, y = batch(net, 6)
    made = make_rule(rule, RULES[rule])
    first = one_step(made, net, x, y, lr=0.1)  # heads that started at zero have moved
    params = dict(net.params)
    heads = {n: t for n, t in first.items() if n not in params}
    state = one_step(made, net, x, y, residents=heads)
    assert largest_difference(gradients(state, net), reference(rule, net, x, y, heads)) < 1e-9


@pytest.mark.parametrize("rule", ["pred", "sim", "predsim"])
def test_heads_learn_their_own_loss(rule: str) -> None:
    net = small("cnn-8-16")
    x, y = batch(net, 6)
    made = make_rule(rule, RULES[rule])
    before = {n: t for n, t in one_step(made, net, x, y, lr=0.0).items() if n not in net.params}
    after = one_step(made, net, x, y, lr=1.0)
    module = to_module(net, dtype=torch.float64)
    h = dict(module.named_modules())["relu1"](dict(module.named_modules())["conv1"](x)).detach()
    mine = {n: t.clone().requires_grad_() for n, t in before.items()}
    loss = local_loss(rule, h, y, mine, "conv1", net.outputs)
    names = [n for n in mine if n.startswith("conv1.")]
    for name, gradient in zip(names, torch.autograd.grad(loss, [mine[n] for n in names])):
        assert torch.allclose(before[name] - after[name], gradient, rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize("rule", RULES)
def test_later_layers_do_not_matter(rule: str) -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    params = dict(net.params)
    params["fc2.weight"] = params["fc2.weight"] * -3.0
    other = Network(net.name, net.input_shape, net.blocks, params)
    made = make_rule(rule, RULES[rule])
    before, after = (gradients(one_step(made, n, x, y), n)["fc1.weight"] for n in (net, other))
    assert torch.equal(before, after)


def test_zero_heads_leave_the_first_step_of_the_hidden_layers_at_zero() -> None:
    net = small("lenet5")
    x, y = batch(net, 4)
    state = one_step("pred", net, x, y)
    found = gradients(state, net)
    assert not any(bool(found[f"{b.name}.weight"].any()) for b in net.blocks[:-1])
    assert bool(state["conv1.head.weight"].any()) and bool(found["fc3.weight"].any())
    assert bool(gradients(one_step("predsim", net, x, y), net)["conv1.weight"].any())


def test_one_class_teaches_similarity_nothing_new_but_two_do() -> None:
    """The gradient vanishes where all samples are one and the same: R is 1 and so is its target."""
    net = small("mlp-20-15-12-5")
    x, _ = batch(net, 1)
    same = x.repeat(4, 1)
    state = one_step("sim", net, same, torch.zeros(4, dtype=torch.int64))
    assert float(gradients(state, net)["fc1.weight"].abs().max()) < 1e-12
    mixed = one_step("sim", net, batch(net, 4)[0], torch.tensor([0, 1, 0, 1]))
    assert float(gradients(mixed, net)["fc1.weight"].abs().max()) > 1e-6


def test_heads_are_a_role_of_their_own_and_a_block_dies_behind_its_update() -> None:
    net = small("mlp-" + "-".join(["256"] * 9) + "-10")
    layouts = {r: plan(lower(emit_step(make_rule(r), net, 32))) for r in ("bp", "pred", "predsim")}
    moving = {r: x.by_role[Role.ACTIVATION] + x.by_role[Role.ERROR] for r, x in layouts.items()}
    assert moving["pred"] < 0.35 * moving["bp"]
    weights = 4 * 8 * 256 * 10
    assert layouts["predsim"].by_role[Role.HEAD] > 10 * layouts["pred"].by_role[Role.HEAD] > 10 * weights
    assert layouts["bp"].by_role[Role.HEAD] == 0


@pytest.mark.parametrize(("limit", "window"), [(512, (1, 1)), (256, (2, 1)), (128, (2, 2)), (8, (8, 8))])
def test_the_window_doubles_in_turn(limit: int, window: tuple[int, int]) -> None:
    assert pool_window((8, 8, 8), limit) == window


@pytest.mark.parametrize("rule", ["sim", "predsim", "sim-bpf", "predsim-bpf"])
def test_batch_one_is_refused_with_the_rule_that_would_work(rule: str) -> None:
    with pytest.raises(
        NetworkError, match="no signal at batch 1; use a batch of several times the classes, or rule pred"
    ):
        emit_step(make_rule(rule), small("lenet5"), 1)


@pytest.mark.parametrize("rule", RULES)
def test_regression_is_refused(rule: str) -> None:
    with pytest.raises(NetworkError, match=f"rule {rule} cannot train .* use dfa"):
        emit_step(make_rule(rule), small("autoencoder"), 2, loss="mse", targets=True)


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="raise limit"):
        emit_step(make_rule("pred", {"limit": 4}), small("lenet5"), 2)
    with pytest.raises(ConfigError, match="use at least 1 feature"):
        make_rule("pred", {"limit": 0})
    with pytest.raises(ConfigError, match="or rule pred or sim"):
        make_rule("predsim", {"beta": 1.0})


@pytest.mark.parametrize("block", [b.name for b in small("resnet8").blocks[:-1]])
def test_residual_units_are_blocks(block: str) -> None:
    """BP inside the unit: every weighted layer of a residual block learns from the block's own loss."""
    net = small("resnet8")
    x, y = batch(net, 4)
    found = gradients(one_step(make_rule("pred", RULES["pred"]), net, x, y), net)
    unit: Block = next(b for b in net.blocks if b.name == block)
    assert all(bool(found[x.param("weight")].any()) for x in unit.layers if x.kind == "conv2d")
