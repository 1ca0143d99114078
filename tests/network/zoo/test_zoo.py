"""Shapes, sizes and options of the networks by name."""

from __future__ import annotations

import subprocess
import sys
from math import prod

import pytest
import torch

from insitu.errors import ConfigError, NetworkError
from insitu.network import zoo
from insitu.network.graph import Network
from insitu.network.torch.module import to_module
from insitu.network.zoo.architectures import ENTRIES

SMALL = tuple(n for n in zoo.names() if n not in ("vgg8b", "vgg11b", "drtp-conv-cifar", "drtp-conv-mnist"))
KINDS = {"dense": "matmul", "conv2d": "conv2d"}

# parameters without running statistics, MACs of one sample
KNOWN = {
    "mlp-784-1000-10": (795_010, 794_000),
    "lenet5": (61_706, 416_520),
    "drtp-conv-mnist": (6_283_842, 6_909_200),
    "drtp-conv-cifar": (17_545_514, 56_912_208),
    "vgg8b": (8_900_234, 949_364_736),
    "vgg11b": (11_555_978, 1_402_349_568),
    "resnet20": (272_474, 40_813_184),
    "resnet8": (78_186, 12_501_632),
    "ds-cnn": (23_756, 2_656_768),
    "mobilenet-v1-0.25": (216_322, 7_489_664),
    "autoencoder": (267_928, 264_192),
}


def rows() -> dict[str, dict]:
    return {row["name"]: row for row in zoo.describe()}


@pytest.mark.parametrize("name", KNOWN)
def test_sizes_are_the_known_ones(name: str) -> None:
    row = rows()[name]
    assert (row["parameters"], row["macs"]) == KNOWN[name]


@pytest.mark.parametrize(
    ("name", "macs", "total"),
    [
        ("resnet8", 12.50e6, 78_666),
        ("ds-cnn", 2.66e6, 24_908),
        ("mobilenet-v1-0.25", 7.49e6, 221_794),
        ("autoencoder", 0.264e6, 269_992),
    ],
)
def test_the_tiny_benchmarks_match_their_reference(name: str, macs: float, total: int) -> None:
    """Keras counts running statistics among the parameters."""
    net = zoo.build(name)
    assert zoo.macs(net.layers) == pytest.approx(macs, rel=0.01)
    assert sum(v.size for v in net.params.values()) == total


def test_describe_has_a_row_for_each_family() -> None:
    assert {e.names[0] for e in ENTRIES} == set(rows())
    assert all(row["what"] and row["paper"] and row["input_shape"] for row in zoo.describe())


@pytest.mark.parametrize("name", SMALL)
def test_each_network_runs_in_torch_with_the_shapes_it_says(name: str) -> None:
    net = zoo.build(name)
    shapes = {}
    module = to_module(net)
    for layer in net.layers:
        module.get_submodule(layer.name).register_forward_hook(
            lambda _m, _i, y, name=layer.name: shapes.update({name: tuple(y.shape)})
        )
    y = module(torch.zeros(2, *net.input_shape))
    assert y.shape == (2, net.outputs)
    assert shapes == {x.name: (2, *x.shape) for x in net.layers}


@pytest.mark.parametrize("name", SMALL)
def test_the_last_layer_gives_logits(name: str) -> None:
    *_, last = zoo.build(name).layers
    assert last.kind == "dense"


def test_macs_agree_with_the_flop_counter() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    for name in ("resnet8", "ds-cnn", "lenet5", "mlp-64-100-10"):
        net = zoo.build(name)
        with FlopCounterMode(display=False) as counter:
            to_module(net).eval()(torch.zeros(1, *net.input_shape))
        assert counter.get_total_flops() == 2 * zoo.macs(net.layers)


def test_no_torch_is_imported() -> None:
    code = (
        "import sys; from insitu.network import zoo; zoo.build('lenet5'); zoo.describe(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def kinds(net: Network) -> str:
    return " ".join(x.attrs.get("fn", x.kind) for x in net.layers)


def test_mlp_options() -> None:
    assert kinds(zoo.build("mlp-4-3-2")) == "dense tanh dense"
    net = zoo.build("mlp-4-3-2", activation="relu", batch_norm=True, dropout=0.1)
    assert kinds(net) == "dense batch_norm relu dropout dense"
    assert net.layer("drop1").attrs["p"] == 0.1
    assert zoo.build("mlp-4-2").outputs == 2


def test_an_mlp_flattens_images() -> None:
    net = zoo.build("mlp-784-20-10", input_shape=(1, 28, 28))
    assert net.input_shape == (1, 28, 28)
    assert kinds(net) == "reshape dense tanh dense"


def test_lenet_takes_28_and_32_pixels() -> None:
    assert zoo.build("lenet5").layer("conv1").attrs["padding"] == (2, 2)
    net = zoo.build("lenet5", input_shape=(3, 32, 32))
    assert net.layer("conv1").attrs["padding"] == (0, 0)
    assert net.layer("conv1").shape == (6, 28, 28)
    assert net.layer("fc1").params["weight"] == (120, 400)


def test_cnn_pools_while_the_plane_can_be_halved() -> None:
    assert kinds(zoo.build("cnn-2-2-2-2", input_shape=(1, 4, 4))).count("max_pool") == 2
    net = zoo.build("cnn-4", classes=3)
    assert kinds(net) == "conv2d relu max_pool reshape dense"
    assert net.outputs == 3


def test_vgg_widths_scale() -> None:
    net = zoo.build("vgg8b-x0.25")
    assert [x.shape[0] for x in net.layers if x.kind == "conv2d"] == [32, 64, 64, 128, 128, 128]
    assert net.layer("fc1").shape == (256,)
    assert zoo.build("vgg8b-x0.01").layer("conv1").shape[0] == 1
    assert "bias" not in net.layer("conv1").params
    assert "bias" in zoo.build("vgg8b-x0.01", batch_norm=False).layer("conv1").params


def test_leaky_relu_has_its_slope() -> None:
    assert zoo.build("cnn-2", activation="leaky_relu").layer("leaky_relu1").attrs["slope"] == 0.01


def test_ds_cnn_dropout_can_be_switched_off() -> None:
    assert [x.attrs["p"] for x in zoo.build("ds-cnn").layers if x.kind == "dropout"] == [0.2, 0.4]
    assert "dropout" not in kinds(zoo.build("ds-cnn", dropout=0.0))


def test_seeds_change_the_values_only() -> None:
    a, b, c = (zoo.build("mlp-4-3-2", seed=s) for s in (0, 0, 1))
    assert (a.params["fc1.weight"] == b.params["fc1.weight"]).all()
    assert (a.params["fc1.weight"] != c.params["fc1.weight"]).any()
    assert abs(a.params["fc1.weight"]).max() <= 0.5  # 1/sqrt(4)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vgg8", {}, "vgg8b"),
        ("lenet", {}, "did you mean lenet5"),
        ("mlp-784", {}, "mlp-784-1000-10"),
        ("mlp-0-10", {}, "unknown"),
        ("vgg8b-x0", {}, "vgg8b"),
        ("transformer", {}, "use one of .*resnet8"),
        ("lenet5", {"activation": "rellu"}, "did you mean relu"),
        ("lenet5", {"activation": "mish"}, "unknown"),
        ("lenet5", {"dropout": 1.0}, "out of range"),
        ("lenet5", {"classes": 0}, "1 or more"),
        ("mlp-4-3-2", {"classes": 10}, "2 outputs, not 10"),
        ("autoencoder", {"classes": 10}, "640 outputs"),
    ],
)
def test_bad_requests_are_refused(name: str, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        zoo.build(name, **options)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("mlp-784-10-10", (1, 8, 8), "takes 784 inputs.*has 64; use .*mlp-64-100-10"),
        ("vgg8b-x0.01", (1, 8, 8), "does not fit an input of 1x8x8: its max_pool layer.*larger input"),
        ("lenet5", (1, 8, 8), "does not fit"),
        ("lenet5", (784,), "takes images.*mlp-784"),
        ("cnn-2", (8, 8), "cannot take an input of shape 8x8"),
        ("autoencoder", (1, 8, 8), "takes 640 inputs"),
    ],
)
def test_networks_that_do_not_fit_are_refused(name: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        zoo.build(name, input_shape=shape)


def test_parameters_are_counted_without_statistics() -> None:
    net = zoo.build("mlp-4-3-2", batch_norm=True)
    running = sum(v.size for k, v in net.params.items() if "running" in k)
    assert running == 6
    assert zoo.parameters(net.layers) + running == sum(prod(v.shape) for v in net.params.values())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mlp-64-99999999999-10", "is more than 268,435,456: float32 parameters"),
        ("cnn-8-99999999", "is more than"),
        ("mlp-64-" + "8-" * 3000 + "10", "has a name of 6,009 characters"),
        ("mlp-64-" + "8-" * 90 + "10", ""),
        ("layerwise-999999x999999", "is more than"),
        ("layerwise-999999x1", "513 layers is more than 512"),
        ("vgg8b-x99999999", "is more than"),
        ("mlp-" + "9" * 5000 + "-10", "has a name of"),
        ("mlp-99999999999-1-10", "is more than"),
    ],
)
def test_a_network_that_no_machine_can_hold_is_refused_at_once(name: str, reason: str) -> None:
    if not reason:
        assert zoo.build(name).outputs == 10
        return
    with pytest.raises(ConfigError, match=reason):
        zoo.build(name)


def test_classes_have_a_bound() -> None:
    with pytest.raises(ConfigError, match="is more than"):
        zoo.build("lenet5", classes=99_999_999)
