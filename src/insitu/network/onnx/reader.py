"""Imports a graph: walks its nodes in order, folds what is constant, and makes a layer of what is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from insitu.errors import NetworkError
from insitu.network.graph import INPUT, Layer, Network, chain
from insitu.network.onnx.constants import fold
from insitu.network.onnx.draft import Constant, Draft, Seen
from insitu.network.onnx.file import Node, read, refuse, shown
from insitu.network.onnx.forms import shape_constant
from insitu.network.onnx.nodes import TABLE
from insitu.network.onnx.refusals import remedy


@dataclass(frozen=True)
class Imported:
    """An imported graph.

    Attributes:
        network: with its weights; maps have the order (channels, height, width), whatever the graph has.
        scales: of a graph with QuantizeLinear and DequantizeLinear nodes, scale and zero point of each quantized value
            by the name of the layer that gives it (or ``input``), and of weights by their parameter's name; a scale is
            one number, or one per output channel.
        notes: what a reader should know, such as what was left out.
    """

    network: Network
    scales: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def load(path: str | Path) -> Imported:
    """The network that an ONNX file holds.

    Args:
        path: of a float graph, or one of QuantizeLinear and DequantizeLinear (QDQ) nodes, from any converter.

    Raises:
        ConfigError: the file or the package ``onnx`` is not there, or it is too large.
        NetworkError: it is no such graph, or a node has no layer kind; names the node and what to do instead.
    """
    draft = Draft(read(Path(path)))
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        for node in draft.graph.nodes:
            _read(draft, node)
    result = draft.values.get(draft.graph.output)
    if result is None:
        raise NetworkError(f"{path}: no node gives its output {shown(draft.graph.output)}; export it again")
    if not isinstance(result, Seen) or result.layer == INPUT:
        raise NetworkError(f"{path} gives back its input or a constant; export a network with weights")
    if result.order is not None or any(result.pads):
        raise NetworkError(f"{path} gives back a map as a vector, channels last; end it with the map itself")
    layers = _needed(draft, result.layer)
    names = {x.param(s) for x in layers for s in x.params}
    params = {name: array for name, array in draft.arrays.items() if name in names}
    net = Network(draft.name, draft.input_shape, chain(layers), params)
    return Imported(net, draft.scales, tuple(draft.notes))


def _read(draft: Draft, node: Node) -> None:
    if not node.outputs:
        raise refuse(node, "it has no output", "Export the model again")
    operands = [draft.values.get(name) for name in node.inputs if name]
    if any(o is None for o in operands):
        raise refuse(node, "an operand is not there before it is read", "Export the model again")
    constants = [o if isinstance(o, Constant) else None for o in operands]
    try:
        found = fold(draft, node, constants) or shape_constant(draft, node) or _layer(draft, node)
    except FloatingPointError:
        reason = "its numbers divide by zero or leave the range of float32"
        raise refuse(node, reason, "Export the network before it diverged") from None
    except (ValueError, IndexError, TypeError, KeyError, OverflowError) as error:
        reason = f"its operands do not fit ({type(error).__name__})"
        raise refuse(node, reason, "Export the model again") from None
    draft.values[node.outputs[0]] = found


def _layer(draft: Draft, node: Node) -> Seen:
    """What a node that is not constant adds to the network."""
    if node.op not in TABLE:
        raise refuse(node, "this operator has no layer", remedy(node.op, TABLE))
    return TABLE[node.op](draft, node)


def _needed(draft: Draft, result: str) -> list[Layer]:
    """The layers that the result depends on."""
    layers = {x.name: x for x in draft.layers}
    needed, todo = {INPUT}, [result]
    while todo:
        name = todo.pop()
        if name not in needed:
            needed.add(name)
            todo += layers[name].inputs
    return [x for x in draft.layers if x.name in needed]
