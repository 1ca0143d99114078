"""Local losses: the emitted gradient is autograd's of the stated loss, and nothing passes between blocks."""

from __future__ import annotations

import pytest
import torch

from insitu.errors import ConfigError, NetworkError
from insitu.network.graph import Network
from insitu.network.module import to_module
from insitu.passes import lower, plan
from insitu.rules import emit_step, make_rule
from insitu.rules.local import decoder
from insitu.step.ir import Role
from tests.helpers import batch, gradients, largest_difference, one_step, small

Tensors = dict[str, torch.Tensor]
NETWORKS = ["mlp-20-15-12-5", "lenet5", "cnn-8-16", "vgg8b", "resnet8"]


def local_loss_gradients(net: Network, x: torch.Tensor, y: torch.Tensor, heads: Tensors) -> Tensors:
    """Autograd of L_k = CE(W_dec pool(h_k) + b, y) per block, each block's input detached, by plain PyTorch."""
    module = to_module(net, dtype=torch.float64)
    module.train()
    points: dict[str, torch.Tensor] = {}
    submodules = dict(module.named_modules())
    for block in net.blocks[:-1]:
        layer = block.activation
        assert layer is not None
        submodules[layer.name].register_forward_hook(
            lambda _m, _i, out, n=block.name: points.__setitem__(n, out)
        )
    final = torch.nn.functional.cross_entropy(module(x), y)
    parameters = dict(module.named_parameters())
    found: dict[str, torch.Tensor] = {}
    for block in net.blocks:
        mine = [n for layer in block.layers for n in map(layer.param, layer.params) if n in parameters]
        loss = final
        if block is not net.blocks[-1]:
            h = points[block.name]
            name = f"{block.name}.head"
            pool = [
                s for s in decoder(block.name, tuple(h.shape[1:]), net.outputs, 64) if s.kind == "avg_pool"
            ]
            if pool:
                h = torch.nn.functional.avg_pool2d(h, pool[0].attrs["kernel"])
            z = torch.nn.functional.linear(h.flatten(1), heads[f"{name}.weight"], heads[f"{name}.bias"])
            loss = torch.nn.functional.cross_entropy(z, y)
        found |= dict(zip(mine, torch.autograd.grad(loss, [parameters[n] for n in mine], retain_graph=True)))
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_is_that_of_the_local_loss(name: str) -> None:
    net = small(name)
    x, y = batch(net, 4)
    rule = make_rule("pred", {"limit": 64, "zero": False})
    still = one_step(rule, net, x, y, lr=0.0)
    heads = {n: t for n, t in still.items() if ".head" in n}
    assert heads
    state = one_step(rule, net, x, y)
    assert largest_difference(gradients(state, net), local_loss_gradients(net, x, y, heads)) < 1e-9


def test_zero_heads_leave_the_first_step_of_the_hidden_layers_at_zero() -> None:
    net = small("lenet5")
    x, y = batch(net, 4)
    state = one_step("pred", net, x, y)
    found = gradients(state, net)
    assert not any(bool(found[f"{b.name}.weight"].any()) for b in net.blocks[:-1])
    assert bool(state["conv1.head.weight"].any()) and bool(found["fc3.weight"].any())


def test_later_layers_do_not_matter() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 4)
    params = dict(net.params)
    params["fc2.weight"] = params["fc2.weight"] * -3.0
    other = Network(net.name, net.input_shape, net.blocks, params)
    rule = make_rule("pred", {"zero": False})
    before, after = (gradients(one_step(rule, n, x, y), n)["fc1.weight"] for n in (net, other))
    assert torch.equal(before, after)


def test_heads_are_a_role_of_their_own_and_a_block_dies_behind_its_update() -> None:
    net = small("mlp-" + "-".join(["256"] * 9) + "-10")
    layouts = {r: plan(lower(emit_step(make_rule(r), net, 32))) for r in ("bp", "pred", "drtp")}
    moving = {r: x.by_role[Role.ACTIVATION] + x.by_role[Role.ERROR] for r, x in layouts.items()}
    assert moving["pred"] < 0.35 * moving["bp"]
    assert layouts["pred"].by_role[Role.HEAD] >= 4 * 8 * (256 * 10 + 10)
    assert layouts["bp"].by_role[Role.HEAD] == 0


@pytest.mark.parametrize(
    ("shape", "limit", "window"), [((8, 8, 8), 128, (2, 2)), ((8, 8, 8), 256, (2, 1)), ((8, 8, 8), 512, None)]
)
def test_the_window_doubles_in_turn(
    shape: tuple[int, ...], limit: int, window: tuple[int, int] | None
) -> None:
    layers = decoder("b", shape, 10, limit)
    pools = [x.attrs["kernel"] for x in layers if x.kind == "avg_pool"]
    assert pools == ([window] if window else [])


def test_refusals() -> None:
    with pytest.raises(NetworkError, match="use dfa"):
        emit_step(make_rule("pred"), small("autoencoder"), 2, loss="mse", targets=True)
    with pytest.raises(ConfigError, match="raise limit"):
        emit_step(make_rule("pred", {"limit": 4}), small("lenet5"), 2)
    with pytest.raises(ConfigError, match="use at least 1 feature"):
        make_rule("pred", {"limit": 0})
