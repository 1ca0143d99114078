"""Signal propagation: the emitted gradient is autograd's of each block's loss of samples against targets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from insitu.errors import ConfigError, NetworkError
from insitu.network.graph import Network
from insitu.numbers import prng
from insitu.passes import lower, plan
from insitu.rules import emit_step, make_rule
from insitu.step.ir import Role
from tests.helpers import batch, gradients, largest_difference, one_step, small

from .blocks import Blocks, Tensors, with_changed

NETWORKS = ["mlp-20-15-12-5", "lenet5", "cnn-8-16", "resnet8"]
OPTIONS: list[dict[str, Any]] = [{}, {"scale": "root", "bound": 0.3}, {"scale": "mean"}]


def targets(net: Network, bound: float) -> torch.Tensor:
    """The class inputs of the run with seed 1."""
    shape = (net.outputs, *net.input_shape)
    size = int(torch.tensor(shape).prod())
    return torch.from_numpy(prng.uniform(prng.key(1, "signal.targets"), size, bound)).double().view(shape)


def logits(h: torch.Tensor, t: torch.Tensor, scale: str) -> torch.Tensor:
    """Products of samples and targets; of a map with the mean over its positions, as in the published code."""
    if scale == "code" and h.dim() == 4:
        return torch.einsum("bchw,kchw->bkhw", h, t).mean((2, 3))
    z = h.flatten(1) @ t.flatten(1).T
    n = h[0].numel()
    return z / {"code": 1, "root": n**0.5, "mean": n}[scale]


def reference(net: Network, x: torch.Tensor, y: torch.Tensor, options: dict[str, Any]) -> Tensors:
    blocks = Blocks(net)
    h = torch.cat([x, targets(net, options.get("bound", 1.0))])
    found: Tensors = {}
    for block in net.blocks[:-1]:
        a, end = blocks.run(block, h)
        z = logits(a[: len(x)], a[len(x) :], options.get("scale", "code"))
        found |= blocks.gradients(block, F.cross_entropy(z, y))
        h = end.detach()
    last = net.blocks[-1]
    return found | blocks.gradients(last, F.cross_entropy(blocks.run(last, h[: len(x)])[1], y))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_is_that_of_the_local_loss(name: str, options: dict[str, Any]) -> None:
    net = small(name)
    x, y = batch(net, 6)
    state = one_step(make_rule("sigprop", options), net, x, y)
    assert largest_difference(gradients(state, net), reference(net, x, y, options)) < 1e-9


def test_the_local_loss_is_cross_entropy_whatever_the_networks_is() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    xent, bce = (gradients(one_step("sigprop", net, x, y, loss=loss), net) for loss in ("xent", "bce"))
    assert torch.equal(xent["fc2.weight"], bce["fc2.weight"])
    assert not torch.equal(xent["fc3.weight"], bce["fc3.weight"])


def test_later_blocks_do_not_matter() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    other = with_changed(net, "fc2.weight", "fc3.weight")
    before, after = (gradients(one_step("sigprop", n, x, y), n)["fc1.weight"] for n in (net, other))
    assert torch.equal(before, after)


@pytest.mark.parametrize("name", ["mlp-20-15-12-5", "lenet5"])
def test_regenerated_targets_are_the_stored_ones(name: str) -> None:
    net = small(name)
    x, y = batch(net, 4)
    stored = gradients(one_step("sigprop", net, x, y), net)
    fresh = one_step(make_rule("sigprop", {"targets": "regenerated"}), net, x, y)
    assert "signal.targets" not in fresh
    assert all(torch.equal(g, stored[n]) for n, g in gradients(fresh, net).items())


@pytest.mark.parametrize("name", ["mlp-20-15-12-5", "lenet5"])
def test_learned_targets_follow_the_first_blocks_loss(name: str) -> None:
    net = small(name)
    x, y = batch(net, 6)
    state = one_step(make_rule("sigprop", {"targets": "learned"}), net, x, y)
    first = targets(net, 1.0).requires_grad_()
    a, _ = Blocks(net).run(net.blocks[0], torch.cat([x, first]))
    loss = F.cross_entropy(logits(a[: len(x)], a[len(x) :], "code"), y)
    (want,) = torch.autograd.grad(loss, first)
    assert torch.allclose(first.detach() - state["signal.targets"], want, rtol=1e-9, atol=1e-12)
    assert largest_difference(gradients(state, net), reference(net, x, y, {})) < 1e-9


def test_a_block_dies_behind_its_update() -> None:
    """At batch 32 the 10 target rows cost a third more, and still less than half of BP's activations."""
    net = small("mlp-" + "-".join(["256"] * 9) + "-10")
    moving = {}
    for rule in ("bp", "sigprop"):
        layout = plan(lower(emit_step(make_rule(rule), net, 32)))
        moving[rule] = layout.by_role[Role.ACTIVATION] + layout.by_role[Role.ERROR]
    assert moving["sigprop"] < 0.5 * moving["bp"]


def test_batch_one_learns() -> None:
    net = small("lenet5")
    x, y = batch(net, 1)
    assert all(bool(g.any()) for g in gradients(one_step("sigprop", net, x, y), net).values())


def test_refusals() -> None:
    with pytest.raises(NetworkError, match=r"cannot train .* it compares samples with classes; use dfa"):
        emit_step(make_rule("sigprop"), small("autoencoder"), 2, loss="mse", targets=True)
    with pytest.raises(NetworkError, match="needs a hidden block, but mlp-20-5 has none; use bp"):
        emit_step(make_rule("sigprop"), small("mlp-20-5"), 2)
    with pytest.raises(ConfigError, match="use more than 0, such as 1"):
        make_rule("sigprop", {"bound": 0.0})
    with pytest.raises(ConfigError, match="'code', 'root' or 'mean'"):
        make_rule("sigprop", {"scale": "length"})
