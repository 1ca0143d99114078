"""Networks as torch modules: names, values and gradients."""

from __future__ import annotations

import copy
from math import prod

import numpy as np
import pytest
import torch
from torch import nn

from insitu.errors import NetworkError
from insitu.network import zoo
from insitu.network.graph import INPUT, Layer, Network, chain
from insitu.network.layers import Describe
from insitu.network.torch.capture import capture
from insitu.network.torch.module import Sign, to_module


@pytest.mark.parametrize("name", ["lenet5", "resnet8", "mlp-64-100-10", "vgg8b-x0.05"])
def test_the_state_dict_is_the_networks(name: str) -> None:
    net = zoo.build(name)
    state = {k: v for k, v in to_module(net).state_dict().items() if "num_batches" not in k}
    assert state.keys() == net.params.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(value.numpy(), net.params[key])


def test_parameters_are_copies() -> None:
    net = zoo.build("mlp-4-3-2")
    before = {k: v.copy() for k, v in net.params.items()}
    module = to_module(net)
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
    for key, value in before.items():
        np.testing.assert_array_equal(net.params[key], value)


def test_dtype() -> None:
    module = to_module(zoo.build("mlp-4-3-2", batch_norm=True), torch.float64)
    assert module(torch.zeros(2, 4, dtype=torch.float64)).dtype == torch.float64


def test_sign_is_straight_through() -> None:
    x = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0], requires_grad=True)
    y = Sign()(x)
    assert y.tolist() == [-1, -1, -1, 1, 1, 1, 1]
    (y * torch.arange(7.0)).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 0, 2, 3, 4, 0, 0]


def test_batch_norm_uses_the_batch_and_moves_the_statistics() -> None:
    d = Describe("net", (3,))
    d.batch_norm(name="bn")
    module = to_module(d.network())
    x = torch.randn(5, 3)
    expected = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(module(x), expected)
    torch.testing.assert_close(module.get_buffer("bn.running_mean"), 0.1 * x.mean(0))
    torch.testing.assert_close(module.get_buffer("bn.running_var"), 0.9 + 0.1 * x.var(0, unbiased=True))


def test_rms_norm_is_over_all_features() -> None:
    d = Describe("net", (2, 2, 2))
    d.rms_norm(eps=1e-3)
    x = torch.randn(3, 2, 2, 2)
    r = (x.flatten(1).square().mean(1) + 1e-3).rsqrt()
    torch.testing.assert_close(to_module(d.network())(x), x * r.view(-1, 1, 1, 1))


def test_dropout_is_off_in_evaluation() -> None:
    d = Describe("net", (100,))
    d.dropout(0.5)
    module = to_module(d.network())
    x = torch.ones(1, 100)
    assert set(module(x).unique().tolist()) == {0.0, 2.0}
    assert torch.equal(module.eval()(x), x)


@pytest.mark.parametrize("shape", [(50, 3, 4), (50, 6)])
def test_dropout_of_whole_channels_comes_back(shape: tuple[int, ...]) -> None:
    kind = nn.Dropout2d if len(shape) == 3 else nn.Dropout1d
    net = capture(nn.Sequential(kind(0.5), nn.Flatten(), nn.Linear(prod(shape), 2)), torch.zeros(2, *shape))
    assert net.layer("0").attrs == {"p": 0.5, "channels": True}
    x = torch.ones(4, *net.input_shape)
    dropped = to_module(net).get_submodule("0")(x).flatten(2)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(dropped.amax(2), dropped.amin(2))


def test_a_residual_network_has_gradients_everywhere() -> None:
    module = to_module(zoo.build("resnet8", input_shape=(1, 8, 8)))
    module(torch.randn(4, 1, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_a_deep_copy_is_independent() -> None:
    module = to_module(zoo.build("mlp-4-3-2"))
    twin = copy.deepcopy(module)
    with torch.no_grad():
        twin.get_parameter("fc1.weight").zero_()
    assert module.get_parameter("fc1.weight").abs().sum() > 0


def test_dotted_names_are_nested_modules() -> None:
    d = Describe("net", (4,))
    d.dense(3, name="features.0.fc")
    d.activation("relu", name="features.0.act")
    module = to_module(d.network())
    assert isinstance(module.get_submodule("features.0.fc"), nn.Linear)
    assert module(torch.zeros(1, 4)).shape == (1, 3)


def test_a_root_layer_among_others_is_refused() -> None:
    layers = [
        Layer("", "activation", (INPUT,), (4,), {"fn": "relu"}),
        Layer("b", "activation", ("",), (4,), {"fn": "tanh"}),
    ]
    with pytest.raises(NetworkError, match=r"nn\.Sequential"):
        to_module(Network("net", (4,), chain(layers), {}))


def test_adaptive_pools() -> None:
    layer = Layer("pool", "avg_pool", (INPUT,), (1, 2, 2), {"size": (2, 2)})
    module = to_module(Network("net", (1, 5, 5), chain([layer]), {}))
    x = torch.randn(1, 1, 5, 5)
    assert torch.equal(module(x), nn.functional.adaptive_avg_pool2d(x, 2))
