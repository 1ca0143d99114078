"""Files that were made to harm, or by mistake: each is refused by its node, before anything large is made."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from insitu.errors import InsituError
from insitu.network.onnx import load
from tests.network.onnx.graphs import W, Writer, conv, graph, loaded, node, random_network

SHAPE = (3, 2, 5, 5)


def _conv(*, w: Any = W, shape: tuple[int, ...] = SHAPE, **attrs: Any) -> onnx.ModelProto:
    return graph(shape, [conv(**attrs)], {"w": w})


def _bad(index: int, value: float, dtype: Any = np.float32) -> np.ndarray:
    w = W.astype(dtype)
    w.flat[index] = value
    return w


def _dequantized(scale: Any, **attrs: Any) -> onnx.ModelProto:
    nodes = [node("DequantizeLinear", ["q", "s"], ["w"], **attrs), conv()]
    return graph(SHAPE, nodes, {"q": (W * 50).astype(np.int8), "s": np.asarray(scale, np.float32)})


def _quantized_weights(scale: float, x: float) -> onnx.ModelProto:
    nodes = [node("QuantizeLinear", ["f", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["w"]), conv()]
    return graph(SHAPE, nodes, {"f": _bad(0, x), "s": np.float32(scale)})


def _quantized_input(op: str, scale: float) -> onnx.ModelProto:
    nodes = [node(op, ["x", "s", "z"], ["a"]), conv(source="a")]
    return graph(SHAPE, nodes, {"s": np.float32(scale), "z": np.uint8(128), "w": W})


def _batch_norm(variance: float, **attrs: float) -> onnx.ModelProto:
    ones = {n: np.ones(2, np.float32) for n in ("g", "b", "m")}
    nodes = [node("BatchNormalization", ["x", "g", "b", "m", "v"], ["y"], **attrs)]
    return graph(SHAPE, nodes, ones | {"v": np.float32([1, variance])})


def _behind(op: str, constant: Any) -> onnx.ModelProto:
    return graph(SHAPE, [conv("a"), node(op, ["a", "c"], ["y"])], {"w": W, "c": np.float32(constant)})


def _alone(op: str, *inputs: str, **attrs: Any) -> onnx.ModelProto:
    return graph(SHAPE, [conv("a"), node(op, ["a", *inputs], ["y"], **attrs)], {"w": W, "r": np.float32(1.5)})


def _gathered() -> onnx.ModelProto:
    """A hundred thousand numbers, each ten thousand times."""
    big = {"c": np.zeros(10**5, np.int8), "i": np.zeros((10**4, 1), np.int64)}
    return graph(
        SHAPE, [node("Unsqueeze", ["c"], ["u"], axes=[0]), node("Gather", ["u", "i"], ["y"])], big, 11
    )


def _growing() -> onnx.ModelProto:
    nodes = [node("Concat", [f"c{i}"] * 8, [f"c{i + 1}"], axis=0) for i in range(12)]
    return graph((3, 4), nodes, {"c0": np.zeros(8, np.int8)}, out="c12")


def _many() -> onnx.ModelProto:
    """No node's constant is too large, but there are many."""
    nodes = [node("Concat", ["c"] * 64, [f"c{i}"], axis=0) for i in range(64)]
    return graph((3, 4), nodes, {"c": np.zeros(2**17, np.int8)}, out="c1")


def _twice() -> onnx.ModelProto:
    return graph(SHAPE, [conv("y"), conv("y")], {"w": W})


def _circle() -> onnx.ModelProto:
    return graph(SHAPE, [node("Identity", ["x"], ["x"]), conv()], {"w": W})


def _no_output() -> onnx.ModelProto:
    model = graph(SHAPE, [conv()], {"w": W})
    del model.graph.output[:]
    return model


HOSTILE: dict[str, tuple[Callable[[], onnx.ModelProto], str, str]] = {
    "scale of 0": (lambda: _dequantized(0), "DequantizeLinear 'w': its scale", "Quantize"),
    "scale below 0": (lambda: _dequantized(-1), "DequantizeLinear 'w': its scale", "Quantize"),
    "scale without an end": (lambda: _dequantized(np.inf), "DequantizeLinear 'w': its scale", "Quantize"),
    "scale that is no number": (lambda: _dequantized(np.nan), "DequantizeLinear 'w': its scale", "Quantize"),
    "no scale at all": (lambda: _dequantized([]), "DequantizeLinear 'w': its scale", "Quantize"),
    "scales that do not fit": (
        lambda: _dequantized(np.ones(5), axis=0),
        "DequantizeLinear 'w': it has 5 scales along axis 0",
        "per channel",
    ),
    "scales along an axis of size 1": (
        lambda: graph(
            SHAPE,
            [node("DequantizeLinear", ["q", "s"], ["w"], axis=0), conv()],
            {"q": np.ones((1, 2, 3, 3), np.int8), "s": np.ones(10**6, np.float32)},
        ),
        "it has 1000000 scales",
        "per channel",
    ),
    "scales of no axis": (lambda: _dequantized(np.ones(4), axis=9), "4 scales along axis 9", "per channel"),
    "weights quantized by 0": (lambda: _quantized_weights(0, 1), "QuantizeLinear 'q': its scale", "Quantize"),
    "weights that are no numbers, quantized": (
        lambda: _quantized_weights(1, np.nan),
        "QuantizeLinear 'q': its numbers",
        "Export",
    ),
    "values quantized by 0": (
        lambda: _quantized_input("QuantizeLinear", 0),
        "QuantizeLinear 'a': its scale",
        "Quantize",
    ),
    "values dequantized by no number": (
        lambda: _quantized_input("DequantizeLinear", np.nan),
        "DequantizeLinear 'a': its scale",
        "Quantize",
    ),
    "weights that are no numbers": (lambda: _conv(w=_bad(3, np.nan)), "Conv 'y': its weight has", "Export"),
    "weights without an end": (lambda: _conv(w=_bad(3, -np.inf)), "Conv 'y': its weight has", "Export"),
    "weights beyond float32": (
        lambda: _conv(w=_bad(3, 1e300, np.float64)),
        "Conv 'y': its numbers .* leave the range of float32",
        "Export",
    ),
    "a constant that is no number": (lambda: _behind("Add", np.nan), "Add 'y': its bias has", "Export"),
    "division by 0": (lambda: _behind("Div", 0), "Div 'y': its numbers divide by zero", "Export"),
    "products without an end": (lambda: _behind("Mul", 3e38), "Mul 'y': its numbers", "Export"),
    "variance below 0": (
        lambda: _batch_norm(-1),
        "BatchNormalization 'y': its least variance is -1",
        "above 0",
    ),
    "variance of 0": (lambda: _batch_norm(0, epsilon=0.0), "variance is 0 and its epsilon 0", "above 0"),
    "variance that is no number": (lambda: _batch_norm(np.nan), "least variance is nan", "above 0"),
    "epsilon that is no number": (lambda: _batch_norm(1, epsilon=np.nan), "epsilon nan", "above 0"),
    "slope that is no number": (lambda: _alone("LeakyRelu", alpha=np.nan), "LeakyRelu 'y': its slope", "Use"),
    "dropout of more than all": (
        lambda: _alone("Dropout", "r"),
        "Dropout 'y': it drops a share of 1.5",
        "Use",
    ),
    "a gather that grows": (_gathered, "Gather 'y': what is computed of constants", "Export"),
    "constants that grow": (_growing, "Concat 'c9': what is computed of constants", "Export"),
    "many constants": (_many, "Concat 'c32': what is computed of constants", "Export"),
    "a tensor given twice": (_twice, "Conv 'y': it gives the tensor 'y' a second time", "Export"),
    "a node that gives the input": (_circle, "Identity 'x': it gives the tensor 'x' a second", "Export"),
    "no output": (_no_output, r"has 0 outputs \(none\)", "export a network with one"),
    "an output of no node": (
        lambda: graph(SHAPE, [conv("a")], {"w": W}),
        "no node gives its output 'y'",
        "export it again",
    ),
    "stride of 0": (lambda: _conv(strides=[0, 0]), "Conv 'y': its strides are", "Use numbers from 1"),
    "stride below 0": (lambda: _conv(strides=[-1, 1]), "Conv 'y': its strides are", "Use numbers from 1"),
    "dilation of 0": (lambda: _conv(dilations=[0, 1]), "Conv 'y': its dilations are", "Use numbers from 1"),
    "padding that makes a kernel too large": (
        lambda: _conv(pads=[0, 0, 30000, 29999]),
        "Conv 'y'",
        "Export the model again",
    ),
    "text for weights": (
        lambda: _conv(w=np.full((4, 2, 3, 3), "w", object)),
        "tensor 'w' holds text",
        "export a network of real numbers",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused_by_its_node_with_a_remedy(name: str, tmp_path: Path) -> None:
    make, reason, remedy = HOSTILE[name]
    with warnings.catch_warnings(), pytest.raises(InsituError, match=f"{reason}.*{remedy}"):
        warnings.simplefilter("error")
        loaded(make(), tmp_path)


def test_files_that_are_no_graphs_are_refused(tmp_path: Path) -> None:
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
