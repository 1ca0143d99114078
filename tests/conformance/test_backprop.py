"""Emitted BP is PyTorch's BP: every zoo network, one step."""

from __future__ import annotations

import pytest
import torch

from tests.helpers import autograd, batch, gradients, largest_difference, one_step, small

NETWORKS = [
    "mlp-20-15-12-5",
    "lenet5",
    "cnn-8-16",
    "drtp-conv-mnist",
    "vgg8b",
    "vgg11b",
    "resnet8",
    "resnet20",
    "ds-cnn",
    "mobilenet-v1-0.25",
    "autoencoder",
]
TARGETS = ("autoencoder",)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("view", ["fused", "eager"])
def test_equals_autograd_in_float64(name: str, view: str) -> None:
    net = small(name)
    targets = name in TARGETS
    loss = "mse" if targets else "xent"
    x, y = batch(net, 3, targets=targets)
    state = one_step("bp", net, x, y, loss=loss, targets=targets, view=view)
    want, module = autograd(net, x, y, loss)
    assert largest_difference(gradients(state, net), want) < 1e-9
    for buffer, value in module.named_buffers():
        if buffer in state:
            assert torch.allclose(state[buffer], value, rtol=1e-9, atol=1e-12), buffer


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_autograd_in_float32(name: str) -> None:
    """Single precision; reached through the difference of weights, so the rate scales the gradient above rounding.

    Smooth activations: at a ReLU whose input rounding carries over zero two single-precision programs part by one
    whole error, PyTorch's own from double precision as well.
    """
    net = small(name, activation="tanh")
    targets = name in TARGETS
    loss = "mse" if targets else "xent"
    x, y = batch(
        net, 16, targets=targets
    )  # batch norm on 3 samples is ill-conditioned in any single-precision code
    x = x.float()
    want, _ = autograd(net, x, y, loss, torch.float32)
    rate = 1e3 / max(float(g.abs().max()) for g in want.values())
    state = one_step("bp", net, x, y, loss=loss, targets=targets, dtype=torch.float32, lr=rate)
    assert largest_difference(gradients(state, net, rate), want) < 1e-4


@pytest.mark.parametrize("name", ["mlp-20-15-12-5", "lenet5", "cnn-8-16", "resnet8", "mobilenet-v1-0.25"])
@pytest.mark.parametrize("segments", [0, 2, 3])
def test_checkpointing_changes_no_number(name: str, segments: int) -> None:
    from insitu.rules import make_rule

    net = small(name)
    x, y = batch(net, 3)
    plain = one_step("bp", net, x, y)
    again = one_step(make_rule("bp-checkpoint", {"segments": segments}), net, x, y)
    for key, value in plain.items():
        assert torch.equal(value, again[key]), key


@pytest.mark.parametrize("loss", ["xent", "bce"])
def test_losses(loss: str) -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 7)
    state = one_step("bp", net, x, y, loss=loss)
    want, _ = autograd(net, x, y, loss)
    assert largest_difference(gradients(state, net), want) < 1e-9
