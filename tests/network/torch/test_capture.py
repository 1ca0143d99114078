"""Capture of modules: what becomes of each layer, names, parameters, and that nothing else changes."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import insitu
from insitu.errors import NetworkError
from insitu.network import zoo
from insitu.network.graph import INPUT, Network
from insitu.network.torch.capture import capture
from insitu.network.torch.module import Sign, to_module

Same = Callable[[Network, Network], None]
ZOO = tuple(n for n in zoo.names() if n not in ("vgg8b", "vgg11b", "drtp-conv-cifar", "drtp-conv-mnist"))


def kinds(net: Network) -> list[str]:
    return [x.attrs.get("fn", x.kind) for x in net.layers]


def agrees(module: nn.Module, net: Network, x: Tensor) -> None:
    """The captured network computes what the module does, in training and evaluation, and its gradients.

    Up to rounding: an adaptive pool sums in another order than an ordinary one.
    """
    twin = to_module(net)
    module = copy.deepcopy(module)
    for mode in (True, False):
        for m in [*module.modules(), *twin.modules()]:
            m.training = mode and not isinstance(m, nn.Dropout)
        y, z = module(x.clone()), twin(x.clone())
        torch.testing.assert_close(y, z)
        weights = torch.randn_like(y)
        (y * weights).sum().backward()
        (z * weights).sum().backward()
    for name, parameter in twin.named_parameters():
        torch.testing.assert_close(parameter.grad, module.get_parameter(name).grad, atol=1e-4, rtol=1e-4)
    for name, buffer in twin.named_buffers():
        torch.testing.assert_close(buffer, module.get_buffer(name))


@pytest.mark.parametrize("name", ZOO)
def test_the_zoo_comes_back_as_it_was(name: str, same: Same) -> None:
    if name.startswith("rev-"):
        pytest.skip("torch has no coupling: a module of one comes back with plain sums")
    net = zoo.build(name)
    same(capture(to_module(net), torch.zeros(1, *net.input_shape), name), net)


@pytest.mark.parametrize(
    "options",
    [
        {"activation": fn, "batch_norm": fn != "sign", "dropout": 0.25}
        for fn in ("relu", "leaky_relu", "tanh", "sigmoid", "hardtanh", "sign")
    ],
)
def test_options_come_back_as_they_were(options: dict, same: Same) -> None:
    for name in ("mlp-4-3-2", "cnn-2-3"):
        net = zoo.build(name, **options)
        same(capture(to_module(net), torch.zeros(3, *net.input_shape)), net)


def test_sequential() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding="same", bias=False),
        nn.BatchNorm2d(4, affine=False),
        nn.ReLU(inplace=True),
        nn.Identity(),
        nn.MaxPool2d(2),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    x = torch.randn(5, 1, 8, 8)
    net = capture(module, x)
    assert net.name == "Sequential"
    assert [x.name for x in net.layers] == ["0", "1", "2", "4", "5", "6", "7"]
    assert net.layer("0").attrs == {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    assert net.layer("1").params == {"running_mean": (4,), "running_var": (4,)}
    assert net.layer("4").attrs == {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    agrees(module, net, x)


class Functional(nn.Module):
    """Calls functions, with a view that keeps the batch free."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)
        self.fc1 = nn.Linear(48, 6)
        self.fc2 = nn.Linear(6, 2)
        self.unused = nn.LSTM(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.avg_pool2d(torch.tanh(self.conv(x)), 1))
        x = x.view(x.size(0), -1)
        x = F.dropout(F.leaky_relu(self.fc1(x), 0.2), 0.1, self.training)
        x = torch.clamp(F.rms_norm(x, (6,), eps=1e-3), -1, 1).contiguous()
        return self.fc2(x)


def test_functional_style() -> None:
    module = Functional().eval()
    x = torch.randn(3, 2, 4, 8)
    net = capture(module, x)
    assert [x.name for x in net.layers] == [
        *("conv", "tanh", "avg_pool", "relu", "flatten", "fc1", "leaky_relu", "dropout", "rms_norm"),
        *("hardtanh", "fc2"),
    ]
    assert net.layer("conv").attrs == {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}
    assert net.layer("leaky_relu").attrs == {"fn": "leaky_relu", "slope": 0.2}
    assert net.layer("rms_norm").attrs == {"eps": 1e-3}
    assert "unused.weight_ih_l0" not in net.params
    assert torch.equal(module(x), to_module(net).eval()(x))


class BasicBlock(nn.Module):
    """As in torchvision: one ReLU used twice, in place, and a sum in place."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(4, 4, 1), BasicBlock(4, 8, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.layer1(self.stem(x)))
        return self.fc(torch.flatten(x, 1))


def test_torchvision_like_residual_blocks() -> None:
    module = ResNet()
    x = torch.randn(4, 3, 8, 8)
    net = capture(module, x)
    assert [b.name for b in net.blocks] == ["stem", "layer1.0.conv1", "layer1.1.downsample.0", "fc"]
    names = [x.name for x in net.layers]
    assert {"layer1.0.relu", "layer1.0.relu_1", "layer1.0.add", "layer1.1.add"} <= set(names)
    assert net.layer("layer1.0.add").inputs == ("layer1.0.bn2", "stem")
    assert net.layer("avgpool").attrs == {"kernel": (4, 4), "stride": (4, 4), "padding": (0, 0)}
    agrees(module, net, x)


class Separable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.dw = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.pw = nn.Conv2d(4, 8, 1)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.pw(torch.relu(self.dw(self.stem(x)))))
        return self.fc(x.mean([-2, -1]))


def test_depthwise_separable_and_a_global_mean() -> None:
    module = Separable()
    x = torch.randn(2, 1, 6, 4)
    net = capture(module, x)
    assert [[x.name for x in b.layers] for b in net.blocks] == [
        ["stem"],
        ["dw", "relu", "pw", "relu_1", "avg_pool", "avg_pool_flatten"],
        ["fc"],
    ]
    assert net.layer("avg_pool").attrs["kernel"] == (6, 4)
    assert net.layer("avg_pool_flatten").shape == (8,)
    torch.testing.assert_close(to_module(net)(x), module(x))


def test_pools() -> None:
    module = nn.Sequential(
        nn.MaxPool2d(3, 2, 1),
        nn.AdaptiveMaxPool2d(3),
        nn.AvgPool2d(2, 1, ceil_mode=True),
        nn.AdaptiveAvgPool2d((2, 1)),
        nn.AdaptiveAvgPool2d(1),
    )
    x = torch.randn(2, 3, 9, 9)
    net = capture(module, x)
    attrs = [layer.attrs for layer in net.layers]
    assert attrs[0] == {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)}
    assert attrs[1] == {"size": (3, 3)}
    assert attrs[2] == {"kernel": (2, 2), "stride": (1, 1), "padding": (0, 0)}
    assert attrs[3] == {"kernel": (1, 2), "stride": (1, 2), "padding": (0, 0)}
    assert torch.equal(to_module(net)(x), module(x))


def test_zeros_around_a_map_are_part_of_the_convolution() -> None:
    module = nn.Sequential(
        nn.ZeroPad2d((1, 1, 2, 2)),
        nn.ConstantPad2d(1, 0.0),
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.ZeroPad2d((1, 0, 0, 1)),  # the last row and column that the convolution could read are not there
        nn.Conv2d(4, 2, 2, stride=2),
    )
    x = torch.randn(4, 3, 8, 7)
    net = capture(module, x)
    assert [v.attrs["padding"] for v in net.layers if v.kind == "conv2d"] == [(4, 3), (0, 1)]
    assert kinds(net) == ["conv2d", "relu", "conv2d"]
    agrees(module, net, x)


def test_zeros_around_a_sequence() -> None:
    module, x = nn.Sequential(nn.ZeroPad1d(2), nn.Conv1d(3, 4, 5)), torch.randn(4, 3, 8)
    torch.testing.assert_close(to_module(capture(module, x))(x[:, :, None])[:, :, 0], module(x))


def test_upsampling_by_copies() -> None:
    module = nn.Sequential(
        nn.Upsample(scale_factor=2),
        nn.Conv2d(3, 4, 3),
        nn.UpsamplingNearest2d(size=(8, 18)),
        nn.Conv2d(4, 2, 3),
    )
    x = torch.randn(2, 3, 3, 4)
    net = capture(module, x)
    assert [v.attrs["factor"] for v in net.layers if v.kind == "upsample"] == [(2, 2), (2, 3)]
    agrees(module, net, x)
    line = nn.Sequential(nn.Upsample(scale_factor=3), nn.Conv1d(3, 2, 3))
    assert capture(line, torch.zeros(2, 3, 5)).layer("0").attrs["factor"] == (1, 3)


class OfSequences(nn.Module):
    """Every layer over a length, a sum, and a mean over the length."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 6, 5, stride=2, padding=2)
        self.norm = nn.BatchNorm1d(6)
        self.pools = nn.Sequential(nn.MaxPool1d(3, 2, 1), nn.AvgPool1d(2))
        self.deep = nn.Conv1d(6, 6, 3, padding="same", dilation=2, groups=6, bias=False)
        self.fit = nn.Sequential(nn.AdaptiveAvgPool1d(4), nn.AdaptiveMaxPool1d(2))
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pools(F.relu(self.norm(self.first(x))))
        return self.out(self.fit(x + self.deep(x)).mean(2))


def test_sequences_are_maps_of_height_1() -> None:
    module, x = OfSequences(), torch.randn(4, 3, 64)
    net = capture(module, x)
    assert net.input_shape == (3, 1, 64)
    assert net.params["first.weight"].shape == (6, 3, 1, 5)
    assert net.layer("first").attrs["stride"] == (1, 2) and net.layer("first").attrs["padding"] == (0, 2)
    assert net.layer("deep").attrs["dilation"] == (1, 2)
    twin = to_module(net)
    for mode in (True, False):
        torch.testing.assert_close(twin.train(mode)(x[:, :, None]), module.train(mode)(x))
    module.first.weight.data.zero_()
    net.load_into(module)
    assert np.array_equal(module.first.weight.detach().numpy(), net.params["first.weight"][:, :, 0])


def test_a_vector_becomes_a_sequence() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x.unsqueeze(1)).flatten(1)

    module, x = Net(), torch.randn(4, 9)
    net = capture(module, x)
    assert kinds(net) == ["reshape", "conv2d", "reshape"]
    torch.testing.assert_close(to_module(net)(x), module(x))


class ViewAndSign(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = Sign()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.fc(self.act(x)), inplace=True)
        return torch.sign(y + y)


def test_sign_and_a_sum_with_itself() -> None:
    net = capture(ViewAndSign(), torch.zeros(1, 4))
    assert [(x.name, *x.inputs) for x in net.layers] == [
        *(("act", INPUT), ("fc", "act"), ("relu", "fc"), ("add", "relu", "relu"), ("sign", "add")),
    ]
    assert net.layer("act").attrs == net.layer("sign").attrs == {"fn": "sign"}


class InPlace(nn.Module):
    """What is changed in place is changed under its old name too."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc(x)
        torch.relu_(h)
        return torch.tanh(h) + h


def test_changes_in_place_are_seen() -> None:
    module = InPlace()
    x = torch.randn(3, 4)
    net = capture(module, x)
    assert net.layer("add").inputs == ("tanh", "relu")
    assert torch.equal(to_module(net)(x), module(x))


def test_a_layer_of_its_own() -> None:
    module = nn.Linear(3, 2)
    net = capture(module, torch.zeros(1, 3))
    assert list(net.params) == ["weight", "bias"]
    assert torch.equal(to_module(net)(torch.ones(1, 3)), module(torch.ones(1, 3)))


def test_reshape_needs_no_layer_where_it_changes_nothing() -> None:
    net = capture(nn.Sequential(nn.Flatten(), nn.Linear(3, 2), nn.Dropout(0.0)), torch.zeros(2, 3))
    assert kinds(net) == ["dense"]


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_batch_of_the_example_does_not_matter(batch: int, same: Same) -> None:
    net = zoo.build("cnn-2", batch_norm=True)
    module = to_module(net)
    same(capture(module, torch.randn(batch, 1, 8, 8)), net)


def test_nothing_of_the_module_changes() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2))
    module.eval()
    module[2].train()
    modes = [m.training for m in module.modules()]
    before = {k: v.clone() for k, v in module.state_dict().items()}
    example, random = torch.randn(6, 4), torch.get_rng_state()
    kept = example.clone()
    net = capture(module, example)
    for array in net.params.values():
        array += 1
    assert [m.training for m in module.modules()] == modes
    assert torch.equal(example, kept) and torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_modes_come_back_after_a_refusal() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(4, 3)).eval()
    with pytest.raises(insitu.errors.NetworkError):
        capture(module, torch.zeros(1, 4))
    assert not any(m.training for m in module.modules())


def test_parameters_can_be_loaded_back() -> None:
    module = ResNet()
    x = torch.randn(4, 3, 8, 8)
    net = capture(module, x)
    new = {k: v + np.float32(0.125) for k, v in net.params.items()}
    net.load_into(module, new)
    for key, value in new.items():
        np.testing.assert_array_equal(module.state_dict()[key].numpy(), value)
    agrees(module, capture(module, x), x)
    net.load_into(module)
    np.testing.assert_array_equal(module.fc.weight.detach().numpy(), net.params["fc.weight"])


def test_load_into_names_what_does_not_fit() -> None:
    net = capture(nn.Sequential(nn.Linear(3, 2)), torch.zeros(1, 3))
    with pytest.raises(insitu.errors.NetworkError, match=r"no parameter '0\.weight'"):
        net.load_into(nn.Linear(3, 2))
    with pytest.raises(insitu.errors.NetworkError, match=r"shape \(3, 3\) in the module and \(2, 3\) here"):
        net.load_into(nn.Sequential(nn.Linear(3, 3)))


def test_double_precision_is_captured_as_float32() -> None:
    net = capture(nn.Sequential(nn.Linear(3, 2)).double(), torch.zeros(1, 3, dtype=torch.float64))
    assert {v.dtype for v in net.params.values()} == {np.dtype("float32")}


def test_capture_is_the_packages() -> None:
    assert insitu.capture is capture


def test_frozen_parameters_are_kept_frozen() -> None:
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    module[0].weight.requires_grad_(False)
    net = capture(module, torch.zeros(2, 6))
    assert net.frozen == {"0.weight"}
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(NetworkError, match=r"no parameter has requires_grad, so nothing can learn. Set it"):
        capture(module, torch.zeros(2, 6))
