"""SoftHebb: the published update in plain torch, no labels below the read-out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from insitu.errors import ConfigError
from insitu.ops.optimizers import Optimizer
from insitu.passes import lower, plan
from insitu.rules import emit_step, make_rule
from insitu.step.ir import Role
from tests.helpers import batch, gradients, largest_difference, one_step, small
from tests.rules.blocks import with_changed


def competition(u: torch.Tensor, temperature: float, anti: bool) -> torch.Tensor:
    y = torch.softmax(u / temperature, 1)
    return torch.where(u == u.amax(1, keepdim=True), y, -y) if anti else y


@pytest.mark.parametrize("anti", [False, True])
def test_dense_update_is_the_published_one(anti: bool) -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    rule = make_rule("softhebb", {"temperature": 0.5, "anti": anti})
    found = gradients(one_step(rule, net, x, y), net)
    w, bias = (torch.from_numpy(net.params[n]).double() for n in ("fc1.weight", "fc1.bias"))
    change = torch.zeros_like(w)
    for sample in x:
        u = w @ sample + bias
        won = competition(u[None], 0.5, anti)[0]
        for i in range(len(u)):
            change[i] += won[i] * (sample - u[i] * w[i]) / len(x)
    torch.testing.assert_close(-found["fc1.weight"], change, rtol=1e-9, atol=1e-12)
    assert not found["fc1.bias"].any()


def test_convolution_update_is_the_dense_one_of_its_patches() -> None:
    net = small("cnn-8-16")
    x, y = batch(net, 4)
    found = gradients(one_step("softhebb", net, x, y), net)
    w, bias = (torch.from_numpy(net.params[n]).double() for n in ("conv1.weight", "conv1.bias"))
    patches = F.unfold(x, 3, padding=1).transpose(1, 2).flatten(0, 1)
    u = patches @ w.flatten(1).T + bias
    won = competition(u, 0.2, False)
    change = (won.T @ patches - (won * u).sum(0)[:, None] * w.flatten(1)) / len(patches)
    torch.testing.assert_close(-found["conv1.weight"].flatten(1), change, rtol=1e-9, atol=1e-12)


def test_hidden_blocks_see_no_label_and_the_read_out_is_that_of_shallow() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    one, other = (one_step("softhebb", net, x, labels) for labels in (y, (y + 1) % 5))
    assert torch.equal(one["fc2.weight"], other["fc2.weight"])
    assert not torch.equal(one["fc3.weight"], other["fc3.weight"])
    shallow = one_step("shallow", net, x, y)
    assert torch.equal(one["fc3.weight"], shallow["fc3.weight"])


def test_rate_is_a_factor_of_the_hidden_blocks() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    plain, fast = (
        gradients(one_step(make_rule("softhebb", {"rate": r}), net, x, y), net) for r in (1.0, 4.0)
    )
    torch.testing.assert_close(fast["fc1.weight"], 4 * plain["fc1.weight"], rtol=1e-9, atol=1e-12)
    assert torch.equal(fast["fc3.weight"], plain["fc3.weight"])


@pytest.mark.parametrize("name", ["mlp-20-15-12-5", "cnn-8-16", "resnet8"])
def test_both_ways_to_apply_the_change_give_the_same(name: str) -> None:
    """In place under plain SGD; by a stored gradient otherwise, which the first step of momentum does not alter."""
    net = small(name)
    x, y = batch(net, 6)
    plain, stored = (
        gradients(one_step("softhebb", net, x, y, optimizer=o, lr=0.1), net, 0.1)
        for o in (Optimizer("sgd"), Optimizer("momentum"))
    )
    assert largest_difference(plain, stored) < 1e-9


def test_weight_decay_is_added_to_the_change() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    plain, decayed = (
        gradients(one_step("softhebb", net, x, y, optimizer=Optimizer("sgd", weight_decay=d)), net)
        for d in (0.0, 0.1)
    )
    w = torch.from_numpy(net.params["fc1.weight"]).double()
    torch.testing.assert_close(decayed["fc1.weight"], plain["fc1.weight"] + 0.1 * w, rtol=1e-9, atol=1e-12)


def test_later_layers_do_not_matter() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    before, after = (
        gradients(one_step("softhebb", n, x, y), n) for n in (net, with_changed(net, "fc2.weight"))
    )
    assert torch.equal(before["fc1.weight"], after["fc1.weight"])
    assert not torch.equal(before["fc2.weight"], after["fc2.weight"])


def test_no_gradient_is_stored_and_a_block_dies_behind_its_update() -> None:
    net = small("mlp-" + "-".join(["256"] * 9) + "-10")
    layouts = {r: plan(lower(emit_step(make_rule(r), net, 32))) for r in ("bp", "softhebb")}
    assert layouts["softhebb"].resident_bytes == layouts["bp"].resident_bytes
    assert layouts["softhebb"].by_role[Role.SCRATCH] <= 4 * 256
    assert layouts["softhebb"].arena_bytes < 0.5 * layouts["bp"].arena_bytes


@pytest.mark.parametrize("option", ["temperature", "rate"])
def test_refusals(option: str) -> None:
    with pytest.raises(ConfigError, match=f"rule softhebb has {option}=0; use more than 0"):
        make_rule("softhebb", {option: 0.0})
