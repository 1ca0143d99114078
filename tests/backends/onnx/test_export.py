"""An exported graph gives the integers of the reference under onnxruntime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from insitu.backends.onnx.backend import Onnx, Options
from insitu.backends.onnx.writer import IR, OPSET, QONNX
from insitu.network import zoo
from insitu.network.graph import Network
from insitu.network.layers import Describe
from insitu.network.norms import folded
from insitu.passes import lower
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules.protocol import emit_inference, make_rule
from insitu.run.initial import initial_state
from insitu.run.program import Program
from insitu.run.samples import as_integers
from tests.network.onnx.graphs import random_network, spread

SAMPLES = 6
TINY = ("ds-cnn", "resnet8", "mobilenet-v1-0.25", "autoencoder")


def exported(
    net: Network, policy: str = "edge-latent-free-8", folder: Path | None = None, form: str = "qdq"
) -> tuple[onnx.ModelProto, np.ndarray, np.ndarray, float]:
    """The written graph, samples and scores."""
    net, found = folded(net), make(policy)
    assert found is not None and folder is not None
    step = lower(quantize(emit_inference(make_rule("bp", {}), net, 1), found, net.params))
    x = np.random.default_rng(0).random((SAMPLES, *net.input_shape), np.float32)
    integers = as_integers(step.inputs[0], x)
    batches = ((integers, np.zeros(SAMPLES, np.int64)),)
    program = Program(net.name, (), step, initial_state(step, net.params, 0), batches=batches)
    assert Onnx().refuse(step) == []
    written = Onnx().write(program, folder, Options(form))
    check = np.load(folder / "check.npz")
    return onnx.load(folder / "model.onnx"), check["x"], check["y"], written.facts["unit"]


def steps_off(given: np.ndarray, expected: np.ndarray, unit: float) -> int:
    """The largest difference in integers."""
    return int(np.abs(np.rint(given / unit) - np.rint(expected / unit)).max())


def scores(model: onnx.ModelProto, x: np.ndarray, *, optimized: bool = True) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"input": x})[0].reshape(len(x), -1)


def lively(net: Network) -> Network:
    """Weights as large as He et al. draw them, so that the scores of a deep network differ."""
    net = spread(net)
    return replace(
        net, params={n: a * np.float32(6**0.5 if a.ndim > 1 else 1) for n, a in net.params.items()}
    )


@pytest.mark.parametrize("name", TINY)
def test_the_tiny_benchmarks_are_equal(name: str, tmp_path: Path) -> None:
    model, x, y, unit = exported(lively(zoo.build(name)), folder=tmp_path)
    for optimized in (False, True):
        assert steps_off(scores(model, x, optimized=optimized), y, unit) == 0, optimized
    assert len(np.unique(y)) > 3


@pytest.mark.parametrize("seed", range(20))
def test_random_networks_are_equal(seed: int, tmp_path: Path) -> None:
    model, x, y, unit = exported(random_network(seed), folder=tmp_path)
    for optimized in (False, True):
        assert steps_off(scores(model, x, optimized=optimized), y, unit) == 0, optimized


def test_an_upsampled_map_is_equal(tmp_path: Path) -> None:
    d = Describe("larger", (2, 5, 6))
    d.conv(4, 3)
    d.activation("clipped_relu", high=0.7)
    d.upsample((2, 3))
    d.conv(3, 3)
    d.flatten()
    d.dense(4)
    model, x, y, unit = exported(d.network(2), folder=tmp_path)
    assert steps_off(scores(model, x), y, unit) == 0
    assert len(np.unique(y)) > 3
    assert "Resize" in [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("policy", ["w8a8", "w4a8", "w4a4", "w2a4"])
def test_other_words_are_equal(policy: str, tmp_path: Path) -> None:
    model, x, y, unit = exported(random_network(5), policy, tmp_path)
    assert steps_off(scores(model, x), y, unit) == 0


def with_quant(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with what the node Quant computes, by the definition of QONNX, in place of it."""
    nodes = []
    for node in model.graph.node:
        if node.op_type != "Quant":
            nodes.append(node)
            continue
        x, scale, zero, bits = node.input
        signed = next(a.i for a in node.attribute if a.name == "signed")
        out = node.output[0]
        constants = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
        n = int(constants[bits])
        low, high = (-(2 ** (n - 1)), 2 ** (n - 1) - 1) if signed else (0, 2**n - 1)
        for name, value in ((f"{out}.l", low), (f"{out}.h", high)):
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(value), name))
        nodes += [
            helper.make_node("Div", [x, scale], [f"{out}.1"]),
            helper.make_node("Add", [f"{out}.1", zero], [f"{out}.2"]),
            helper.make_node("Round", [f"{out}.2"], [f"{out}.3"]),
            helper.make_node("Clip", [f"{out}.3", f"{out}.l", f"{out}.h"], [f"{out}.4"]),
            helper.make_node("Sub", [f"{out}.4", zero], [f"{out}.5"]),
            helper.make_node("Mul", [f"{out}.5", scale], [out]),
        ]
    graph = helper.make_graph(
        nodes, "g", model.graph.input, model.graph.output, list(model.graph.initializer)
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


@pytest.mark.parametrize("seed", range(3))
def test_qonnx_is_equal(seed: int, tmp_path: Path) -> None:
    model, x, y, unit = exported(random_network(seed), folder=tmp_path, form="qonnx")
    assert any(node.domain == QONNX for node in model.graph.node)
    assert steps_off(scores(with_quant(model), x), y, unit) == 0


def test_refusals_name_op_place_and_remedy() -> None:
    net = zoo.build("cnn-4-6", input_shape=(1, 8, 8), classes=4, activation="relu")
    policy = make("edge-latent-free-8")
    assert policy is not None
    exponents = replace(policy, activation_exponent="dynamic")
    step = lower(quantize(emit_inference(make_rule("bp", {}), net, 1), exponents, net.params))
    (reason,) = Onnx().refuse(step)
    assert "conv1" in reason and "use" in reason
