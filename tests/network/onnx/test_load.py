"""What is imported computes what onnxruntime computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from insitu.errors import InsituError
from insitu.network import zoo
from insitu.network.graph import Network
from insitu.network.onnx import Imported
from insitu.network.torch.module import to_module
from tests.network.onnx.graphs import W, Writer, conv, graph, loaded, node, random_network, spread

TINY = ("ds-cnn", "resnet8", "mobilenet-v1-0.25", "autoencoder")
RANDOM = range(20)


def runtime(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    return y


def ours(net: Network, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return to_module(net).eval()(torch.from_numpy(x)).numpy()


def close(model: onnx.ModelProto, tmp_path: Path, *, last: bool = False) -> Imported:
    """Imports a model and compares it with onnxruntime."""
    found = loaded(model, tmp_path)
    x = np.random.default_rng(1).random((3, *found.network.input_shape), np.float32)
    shown = x.transpose(0, 2, 3, 1) if last and x.ndim == 4 else x
    shown = shown.reshape(3, *(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]))
    expected = runtime(model, np.ascontiguousarray(shown))
    assert np.abs(ours(found.network, x).ravel() - expected.ravel()).max() < 1e-5 * max(
        1, np.abs(expected).max()
    )
    return found


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", TINY)
def test_the_tiny_benchmarks(name: str, last: bool, tmp_path: Path) -> None:
    net = spread(zoo.build(name))
    found = close(Writer(net, last=last).model(), tmp_path, last=last)
    assert [x.kind for x in found.network.layers if x.kind in ("dense", "conv2d", "add")] == [
        x.kind for x in net.layers if x.kind in ("dense", "conv2d", "add")
    ]


@pytest.mark.parametrize("seed", RANDOM)
def test_random_networks(seed: int, tmp_path: Path) -> None:
    net = random_network(seed)
    found = close(Writer(net).model(), tmp_path)
    assert found.network.params.keys() == net.params.keys()
    close(Writer(net, last=True).model(), tmp_path, last=True)


def test_a_quantized_graph_has_its_weights_and_scales(tmp_path: Path) -> None:
    net = random_network(0)
    found = loaded(Writer(net, quantized=True).model(), tmp_path)
    name = next(x.param("weight") for x in net.layers if x.kind == "conv2d")
    scale, zero = found.scales[name]
    assert scale.shape == net.params[name].shape[:1] and not zero.any()
    positions = found.network.params[name] / scale.reshape(-1, 1, 1, 1)
    assert np.abs(positions - np.rint(positions)).max() < 1e-4
    assert np.abs(positions).max() <= 127.01
    quantized = [x.name for x in net.layers]
    assert quantized[-1] in found.scales and found.scales[quantized[-1]][0] == 1 / 16


def test_words_from_zero_on_are_a_relu(tmp_path: Path) -> None:
    quantized = [
        node("QuantizeLinear", ["a", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    constants = {"w": W, "s": np.float32(0.25)}
    for zero, kinds in ((np.uint8(0), ["conv2d", "activation"]), (np.uint8(128), ["conv2d"])):
        found = loaded(graph((3, 2, 5, 5), [conv("a"), *quantized], constants | {"z": zero}), tmp_path)
        assert [x.kind for x in found.network.layers] == kinds


# --- single operators ------------------------------------------------------------------------------------------


GRAPHS: dict[str, Callable[[], onnx.ModelProto]] = {
    "same padding, stride 2": lambda: graph(
        (3, 2, 8, 7), [conv(auto_pad="SAME_UPPER", strides=[2, 2])], {"w": W}
    ),
    "same padding at the top": lambda: graph(
        (3, 2, 8, 7), [conv(auto_pad="SAME_LOWER", strides=[2, 2])], {"w": W}
    ),
    "pad, then conv": lambda: graph(
        (3, 2, 8, 7),
        [node("Pad", ["x", "p"], ["a"]), conv(source="a", strides=[2, 2])],
        {"w": W, "p": np.array([0, 0, 0, 1, 0, 0, 1, 0])},
    ),
    "one dimension": lambda: graph((3, 2, 9), [conv(pads=[1, 1])], {"w": W[:, :, 0]}),
    "one dimension with a pool": lambda: graph(
        (3, 2, 9),
        [
            conv("a"),
            node("MaxPool", ["a"], ["b"], kernel_shape=[2], strides=[2]),
            node("Flatten", ["b"], ["y"]),
        ],
        {"w": W[:, :, 0]},
    ),
    "scale and shift behind a conv": lambda: graph(
        (3, 2, 8, 7),
        [
            conv("a"),
            node("Mul", ["a", "s"], ["b"]),
            node("Add", ["b", "t"], ["c"]),
            node("Sub", ["c", "u"], ["y"]),
        ],
        {
            "w": W,
            "s": np.float32([1, 2, 3, 4]).reshape(4, 1, 1),
            "t": np.float32([[[[1]], [[2]], [[3]], [[4]]]]),
            "u": np.float32(2),
        },
    ),
    "shape arithmetic": lambda: graph(
        (3, 2, 5, 4),
        [
            conv("a"),
            node("Shape", ["a"], ["s"]),
            node("Gather", ["s", "zero"], ["n"], axis=0),
            node("Concat", ["n", "rest"], ["t"], axis=0),
            node("Reshape", ["a", "t"], ["y"]),
        ],
        {"w": W, "zero": np.array([0]), "rest": np.array([-1])},
    ),
    "a part of a shape": lambda: graph(
        (3, 2, 5, 4),
        [
            conv("a"),
            node("Shape", ["a"], ["s"], start=1),
            node("Concat", ["batch", "s"], ["t"], axis=0),
            node("Reshape", ["a", "t"], ["y"]),
        ],
        {"w": W, "batch": np.array([-1])},
    ),
    "mean over the map": lambda: graph(
        (3, 2, 5, 4),
        [conv("a"), node("ReduceMean", ["a", "axes"], ["y"], keepdims=0)],
        {"w": W, "axes": np.array([2, 3])},
    ),
    "clip and a last softmax": lambda: graph(
        (3, 2, 3, 3),
        [conv("a"), node("Clip", ["a", "l", "h"], ["y"])],
        {"w": W, "l": np.float32(-1), "h": np.float32(1)},
    ),
    "a vector as a map, channels last": lambda: graph(
        (3, 40),
        [
            node("Reshape", ["x", "s"], ["a"]),
            node("Transpose", ["a"], ["b"], perm=[0, 3, 1, 2]),
            conv("y", "b"),
        ],
        {"w": W[:, :1], "s": np.array([-1, 8, 5, 1])},
    ),
    "functions by tables": lambda: graph(
        (3, 2, 3, 3),
        [
            conv("a"),
            node("HardSwish", ["a"], ["b"]),
            node("HardSigmoid", ["b"], ["c"], alpha=1 / 6),
            node("Gelu", ["c"], ["d"]),
            node("Clip", ["d", "l", "h"], ["y"]),
        ],
        {"w": W, "l": np.float32(0), "h": np.float32(6)},
        opset=20,
    ),
    "a bound of 2.5": lambda: graph(
        (3, 2, 3, 3),
        [conv("a"), node("Clip", ["a", "l", "h"], ["y"])],
        {"w": W, "l": np.float32(0), "h": np.float32(2.5)},
    ),
    "larger by scales": lambda: graph(
        (3, 2, 4, 3),
        [node("Resize", ["x", "", "s"], ["a"], mode="nearest"), conv(source="a")],
        {"w": W, "s": np.float32([1, 1, 2, 3])},
    ),
    "larger by sizes, a sequence": lambda: graph(
        (3, 2, 4),
        [
            node(
                "Resize",
                ["x", "", "", "s"],
                ["a"],
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            ),
            conv(source="a"),
        ],
        {"w": W[:, :, 0], "s": np.array([3, 2, 12])},
    ),
    "larger, as it was written before": lambda: graph(
        (3, 2, 4, 3),
        [node("Upsample", ["x", "s"], ["a"], mode="nearest"), conv(source="a")],
        {"w": W, "s": np.float32([1, 1, 4, 2])},
        opset=9,
    ),
    "squeezed and widened": lambda: graph(
        (3, 2, 9),
        [node("Unsqueeze", ["x", "i"], ["a"]), conv("b", "a"), node("Squeeze", ["b", "i"], ["y"])],
        {"w": W[:, :, :1], "i": np.array([2])},
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_operators(name: str, tmp_path: Path) -> None:
    close(GRAPHS[name](), tmp_path)


def test_a_last_softmax_is_left_out_and_told(tmp_path: Path) -> None:
    model = graph(
        (3, 4),
        [node("Gemm", ["x", "w"], ["a"]), node("Softmax", ["a"], ["y"])],
        {"w": W[0, 0, :1].repeat(4, 0)},
    )
    found = loaded(model, tmp_path)
    assert [x.kind for x in found.network.layers] == ["dense"]
    assert "Softmax is left out" in found.notes[0]


# --- refusals --------------------------------------------------------------------------------------------------


def _one(op: str, *inputs: str, shape: tuple[Any, ...] = (3, 2, 5, 5), **constants: Any) -> Callable[[], Any]:
    """A graph of one operator, or of one before a convolution."""
    return lambda: graph(shape, [node(op, ["x", *inputs], ["y"])], {n: a for n, a in constants.items()})


def _softmax_inside() -> onnx.ModelProto:
    nodes = [node("Softmax", ["x"], ["a"]), node("Gemm", ["a", "w"], ["y"])]
    return graph((3, 4), nodes, {"w": np.eye(4, dtype=np.float32)})


def _scaled_input() -> onnx.ModelProto:
    nodes = [node("Mul", ["x", "l"], ["a"]), conv(source="a")]
    return graph((3, 2, 5, 5), nodes, {"l": np.float32(2), "w": W})


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "resize by a part": (_one("Resize", "", "s", s=np.float32([1, 1, 1.5, 2])), "it makes .* a whole factor"),
    "resize of channels": (_one("Resize", "", "s", s=np.float32([1, 2, 1, 1])), "it makes .* a whole factor"),
    "resize of the batch": (_one("Resize", "", "s", s=np.float32([2, 1, 1, 1])), "every axis of a sample"),
    "resize of an axis that was added": (
        lambda: graph(
            (3, 2, 5),
            [
                node("Unsqueeze", ["x", "i"], ["a"]),
                node("Resize", ["a", "", "s"], ["b"]),
                conv(source="b"),
            ],
            {"i": np.array([2]), "s": np.float32([1, 1, 3, 1]), "w": W},
        ),
        "Resize 'b': it makes .* a whole factor",
    ),
    "resize without an end": (_one("Resize", "", "s", s=np.float32([1, 1, np.inf, 1])), "do not fit"),
    "lstm": (_one("LSTM", "w", w=W), "LSTM 'y': .* Use Conv over time"),
    "unknown": (_one("Einsum", "w", w=W), "Einsum 'y': this operator has no layer. Use Add"),
    "clip": (_one("Clip", "l", l=np.float32(-3)), "clips to -3"),
    "constant on the input": (_scaled_input, "right behind a weighted layer. Scale the data"),
    "computed weights": (_one("Conv", "x"), "computed. Export with constant"),
    "unknown size": (_one("Conv", "w", shape=("n", "c", 5, 5), w=W), "known shape"),
    "wrong channels": (_one("Conv", "w", shape=(3, 5, 5, 5), w=W), "weights for 2 channels, not 5"),
    "too large": (_one("Conv", "w", shape=(1, 2, 2**14, 2**14), w=W), "more than 256 MiB"),
    "old": (lambda: graph((3, 2, 5, 5), [conv()], {"w": W}, opset=6), "opset 7 or later"),
    "missing operand": (lambda: graph((3, 2, 5, 5), [conv(source="nothing")], {"w": W}), "not there before"),
    "softmax inside": (_softmax_inside, "not the end"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_node_and_a_remedy(name: str, tmp_path: Path) -> None:
    make, said = REFUSED[name]
    with pytest.raises(InsituError, match=said):
        loaded(make(), tmp_path)
