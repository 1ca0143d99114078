"""ONNX models of networks, as different converters write them: channels first or last, floats or QDQ nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from insitu.network.graph import INPUT, Layer, Network
from insitu.network.layers import Describe
from insitu.network.onnx import Imported, load

FUNCTIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "leaky_relu": "LeakyRelu"}


class Writer:
    """Writes a network, layer by layer.

    Args:
        last: maps are channels last between layers, with a transposition around each, as converters of Keras nets do.
        quantized: weights per output channel, and QDQ nodes behind every layer.
    """

    def __init__(self, net: Network, *, last: bool = False, quantized: bool = False) -> None:
        self.net, self.last, self.quantized = net, last, quantized
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.at = {INPUT: "x"}
        self.shapes = {INPUT: net.input_shape} | {x.name: x.shape for x in net.layers}

    def model(self) -> onnx.ModelProto:
        for layer in self.net.layers:
            self._layer(layer)
        result = self.at[list(self.net.layers)[-1].name]
        shapes = (self._outer(self.net.input_shape), self._outer(self.net.blocks[-1].shape))
        given, made = (
            helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", *s])
            for n, s in zip(("x", result), shapes)
        )
        graph = helper.make_graph(self.nodes, "net", [given], [made], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

    def _outer(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[1:], shape[0]) if self.last and len(shape) == 3 else shape

    def constant(self, name: str, array: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attrs: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"n_{output}", **attrs))
        return output

    def _weight(self, name: str, array: np.ndarray) -> str:
        if not self.quantized:
            return self.constant(name, array)
        scale = np.maximum(np.abs(array.reshape(len(array), -1)).max(1), 1e-3).astype(np.float32) / 127
        q = np.rint(array / scale.reshape(-1, *[1] * (array.ndim - 1))).astype(np.int8)
        zero = self.constant(f"{name}.zero", np.zeros(len(scale), np.int8))
        inputs = [self.constant(f"{name}.q", q), self.constant(f"{name}.scale", scale), zero]
        return self.node("DequantizeLinear", inputs, name, axis=0)

    def _layer(self, layer: Layer) -> None:
        maps = self.last and any(len(self.shapes[i]) == 3 for i in layer.inputs)
        inputs = [self.at[i] for i in layer.inputs]
        write = getattr(self, f"_{layer.kind}", None)
        around = maps and layer.kind in ("conv2d", "max_pool", "avg_pool", "batch_norm")
        if around:
            inputs = [self.node("Transpose", [i], f"{layer.name}.first", perm=[0, 3, 1, 2]) for i in inputs]
        assert write is not None, layer.kind
        name = layer.name if not around else f"{layer.name}.map"
        made = write(layer, inputs, name)
        if around:
            made = self.node("Transpose", [made], layer.name, perm=[0, 2, 3, 1])
        self.at[layer.name] = self._qdq(layer.name, made) if self.quantized else made

    def _qdq(self, name: str, made: str) -> str:
        scale = self.constant(f"{name}.out.scale", np.float32(1 / 16))
        zero = self.constant(f"{name}.out.zero", np.int8(0))
        q = self.node("QuantizeLinear", [made, scale, zero], f"{name}.out.q")
        return self.node("DequantizeLinear", [q, scale, zero], f"{name}.out")

    def _params(self, layer: Layer) -> list[np.ndarray]:
        return [self.net.params[layer.param(s)] for s in layer.params]

    def _dense(self, layer: Layer, inputs: list[str], name: str) -> str:
        weight, *bias = self._params(layer)
        source = (
            next(x for x in self.net.layers if x.name == layer.inputs[0])
            if self.last and layer.inputs[0] != INPUT
            else None
        )
        if source is not None and source.kind == "reshape":
            shape = self.shapes[source.inputs[0]]
            if len(shape) == 3:  # the columns in the order of channels last
                order = np.arange(weight.shape[1]).reshape(shape).transpose(1, 2, 0).ravel()
                weight = weight[:, order]
        if self.last:  # MatMul and Add, as Keras has it
            kernel = self.constant(f"{name}/kernel", weight.T)
            made = self.node("MatMul", [*inputs, kernel], name if not bias else f"{name}.sum")
            return self.node("Add", [made, self.constant(f"{name}/bias", bias[0])], name) if bias else made
        more = [self.constant(layer.param("bias"), bias[0])] if bias else []
        return self.node(
            "Gemm", [*inputs, self._weight(layer.param("weight"), weight), *more], name, transB=1
        )

    def _conv2d(self, layer: Layer, inputs: list[str], name: str) -> str:
        weight, *bias = self._params(layer)
        a = layer.attrs
        more = [self.constant(layer.param("bias"), bias[0])] if bias else []
        return self.node(
            "Conv",
            [*inputs, self._weight(layer.param("weight"), weight), *more],
            name,
            strides=a["stride"],
            dilations=a["dilation"],
            group=a["groups"],
            pads=[*a["padding"]] * 2,
        )

    def _batch_norm(self, layer: Layer, inputs: list[str], name: str) -> str:
        names = [self.constant(layer.param(s), self.net.params[layer.param(s)]) for s in layer.params]
        return self.node("BatchNormalization", [*inputs, *names], name, epsilon=layer.attrs["eps"])

    def _activation(self, layer: Layer, inputs: list[str], name: str) -> str:
        attrs = {"alpha": layer.attrs["slope"]} if "slope" in layer.attrs else {}
        return self.node(FUNCTIONS[layer.attrs["fn"]], inputs, name, **attrs)

    def _max_pool(self, layer: Layer, inputs: list[str], name: str, op: str = "MaxPool", **more: Any) -> str:
        a = layer.attrs
        pads = [*a["padding"]] * 2
        return self.node(op, inputs, name, kernel_shape=a["kernel"], strides=a["stride"], pads=pads, **more)

    def _avg_pool(self, layer: Layer, inputs: list[str], name: str) -> str:
        if tuple(layer.attrs["kernel"]) == self.shapes[layer.inputs[0]][1:]:
            return self.node("GlobalAveragePool", inputs, name)
        return self._max_pool(layer, inputs, name, "AveragePool", count_include_pad=1)

    def _dropout(self, _layer: Layer, inputs: list[str], name: str) -> str:
        return self.node("Identity", inputs, name)

    def _reshape(self, layer: Layer, inputs: list[str], name: str) -> str:
        return self.node("Flatten", inputs, name)

    def _add(self, _layer: Layer, inputs: list[str], name: str) -> str:
        return self.node("Add", inputs, name)


def spread(net: Network, seed: int = 0) -> Network:
    """The same network with biases and running statistics that are not all 0 or 1."""
    rng = np.random.default_rng(seed)
    small = {n: (0.2 * rng.normal(size=a.shape)).astype(np.float32) for n, a in net.params.items()}
    params: Mapping[str, np.ndarray] = {
        n: np.abs(a + small[n]) + 0.1 if n.endswith("running_var") else a + small[n] * (a.ndim == 1)
        for n, a in net.params.items()
    }
    return replace(net, params=params)


def random_network(seed: int) -> Network:
    """A small network of random layers, with random weights."""
    rng = np.random.default_rng(seed)
    fn = [*FUNCTIONS][seed % len(FUNCTIONS)]
    slope = {"slope": 0.125} if fn == "leaky_relu" else {}
    d = Describe(
        f"random-{seed}", (int(rng.integers(1, 4)), int(rng.integers(9, 14)), int(rng.integers(9, 14)))
    )
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.3:
            d.depthwise(3, padding=1)
        channels, kernel = int(rng.integers(2, 6)), int(rng.choice([1, 3]))
        d.conv(
            channels,
            kernel,
            stride=int(rng.integers(1, 3)),
            padding=kernel // 2,
            bias=bool(rng.random() < 0.7),
        )
        if rng.random() < 0.5:
            d.batch_norm()
        start = d.activation(fn, **slope)
        if rng.random() < 0.5:
            d.conv(channels, 3, padding=1)
            d.activation(fn, **slope)
            d.add(start, d.here)
        if min(d.shape[1:]) >= 4:
            (d.max_pool if rng.random() < 0.5 else d.avg_pool)(2)
    if rng.random() < 0.5:
        d.global_avg_pool()
    d.flatten()
    if rng.random() < 0.5:
        d.dense(8)
        d.activation(fn, **slope)
    d.dense(5, bias=bool(rng.random() < 0.7))
    return spread(d.network(seed), seed)


def loaded(model: onnx.ModelProto, tmp_path: Path) -> Imported:
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return load(path)


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
