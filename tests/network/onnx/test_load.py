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
from onnx import TensorProto, helper, numpy_helper

from insitu.errors import InsituError
from insitu.network import zoo
from insitu.network.graph import Network
from insitu.network.onnx import Imported, load
from insitu.network.torch.module import to_module
from tests.network.onnx.graphs import Writer, random_network, spread

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


def loaded(model: onnx.ModelProto, tmp_path: Path) -> Imported:
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return load(path)


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


def graph(
    shape: tuple[int, ...], nodes: list[Any], constants: dict[str, Any], opset: int = 18, out: str = "y"
) -> onnx.ModelProto:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    made = helper.make_tensor_value_info(out, TensorProto.FLOAT, None)
    arrays = [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()]
    body = helper.make_graph(nodes, "g", [given], [made], arrays)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


W = np.random.default_rng(0).normal(size=(4, 2, 3, 3)).astype(np.float32)
node = helper.make_node


def conv(out: str = "y", source: str = "x", **attrs: Any) -> Any:
    return node("Conv", [source, "w"], [out], **attrs)


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


def _growing() -> onnx.ModelProto:
    nodes = [node("Concat", [f"c{i}"] * 8, [f"c{i + 1}"], axis=0) for i in range(12)]
    return graph((3, 4), nodes, {"c0": np.zeros(8)}, out="c12")


def _scaled_input() -> onnx.ModelProto:
    nodes = [node("Mul", ["x", "l"], ["a"]), conv(source="a")]
    return graph((3, 2, 5, 5), nodes, {"l": np.float32(2), "w": W})


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
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
    "growing constants": (_growing, "too large"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_node_and_a_remedy(name: str, tmp_path: Path) -> None:
    make, said = REFUSED[name]
    with pytest.raises(InsituError, match=said):
        loaded(make(), tmp_path)


def test_hostile_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    model = graph((3, 2, 5, 5), [conv()], {"w": W})
    bomb = onnx.ModelProto.FromString(model.SerializeToString())
    bomb.graph.initializer[0].dims[:] = [2**20, 2**20]
    outside = onnx.ModelProto.FromString(model.SerializeToString())
    outside.graph.initializer[0].data_location = TensorProto.EXTERNAL
    outside.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    short = onnx.ModelProto.FromString(model.SerializeToString())
    short.graph.initializer[0].raw_data = b"1234"
    for data, said in (
        (b"", "without nodes"),
        (b"\xff" * 99, "no ONNX model"),
        (model.SerializeToString()[:-9], "no ONNX model"),
        (bomb.SerializeToString(), "more than 1 GiB"),
        (outside.SerializeToString(), "another file"),
        (short.SerializeToString(), "cannot be read"),
    ):
        path.write_bytes(data)
        with pytest.raises(InsituError, match=said):
            load(path)
    with pytest.raises(InsituError, match="cannot be read"):
        load(tmp_path / "none.onnx")


def test_cut_and_changed_files_never_end_in_a_traceback(tmp_path: Path) -> None:
    """Every outcome is a network or a refusal."""
    data = bytearray(Writer(random_network(3)).model().SerializeToString())
    rng, path, refused = np.random.default_rng(0), tmp_path / "net.onnx", 0
    for _ in range(150):
        changed = data.copy()
        for i in rng.integers(0, len(data), 3):
            changed[i] = rng.integers(0, 256)
        path.write_bytes(changed)
        try:
            load(path)
        except InsituError:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize(
    "wrong",
    [{"strides": [0, 0]}, {"strides": [-1, 1]}, {"dilations": [0, 1]}, {"pads": [0, 0, 30000, 29999]}],
    ids=str,
)
def test_geometry_out_of_range_is_refused_before_anything_is_made(tmp_path, wrong):
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    ends = [
        helper.make_tensor_value_info("x", kind, ["N", 1, 8, 8]),
        helper.make_tensor_value_info("y", kind, None),
    ]
    weight = onnx.numpy_helper.from_array(np.ones((8, 1, 3, 3), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], **wrong)
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], [weight]))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(InsituError, match="cannot import Conv"):
        load(tmp_path / "m.onnx")
