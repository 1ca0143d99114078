"""An ONNX file as nodes and arrays. Sizes are checked before anything is allocated; no other file is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from insitu.errors import ConfigError, NetworkError
from insitu.inputs import bounds

DOMAINS = ("", "ai.onnx")
OLDEST = 7
"""Version of the operators from which on broadcasting is that of NumPy."""


@dataclass(frozen=True)
class Node:
    """One node.

    Attributes:
        op: the operator, with its domain if that is not ONNX's own.
        name: of the node, or of its first output: as messages call it.
        inputs, outputs: names of tensors; an empty one is left out.
        attrs: by name, as Python values and arrays.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """A graph with one input and one output.

    Attributes:
        input, output: names.
        shape: of the input, with the batch in front; ``None`` where an axis is not known.
        nodes: in the order of execution.
        constants: the initializers.
    """

    name: str
    input: str
    output: str
    shape: tuple[int | None, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]


def refuse(node: Node, reason: str, remedy: str) -> NetworkError:
    """What to raise where a node cannot be imported."""
    return NetworkError(f"cannot import {node.op} {shown(node.name)}: {reason}. {remedy}")


def shown(name: str) -> str:
    """A name of a file that nobody has checked, on one line."""
    return repr(name[:80])


def read(path: Path) -> Graph:
    """The graph of a file.

    Raises:
        ConfigError: there is no such file, or no package to read it, or it is too large.
        NetworkError: it is no ONNX model, or not one graph in one file with one input and one output.
    """
    model = _parsed(path)
    for used in model.opset_import:
        if used.domain in DOMAINS and used.version < OLDEST:
            raise NetworkError(
                f"{path} has operators of version {used.version}; export it with opset {OLDEST} or later"
            )
    graph = model.graph
    constants = {x.name: _array(x) for x in graph.initializer}
    if graph.sparse_initializer:
        raise NetworkError(f"{path} has sparse initializers; export it with dense ones")
    inputs = [x for x in graph.input if x.name not in constants]
    for what, found in (("inputs", inputs), ("outputs", graph.output)):
        if len(found) != 1:
            names = ", ".join(shown(x.name) for x in list(found)[:4]) or "none"
            raise NetworkError(f"{path} has {len(found)} {what} ({names}); export a network with one of each")
    _within(path, "nodes", len(graph.node), bounds.NODES)
    nodes = tuple(map(_node, graph.node))
    sources = [("the input", inputs[0].name), *(("the constant", x.name) for x in graph.initializer)]
    _once([*(Node(what, name, (), (name,), {}) for what, name in sources), *nodes])
    return Graph(path.stem, inputs[0].name, graph.output[0].name, _shape(inputs[0]), nodes, constants)


def _once(nodes: Iterable[Node]) -> None:
    """Every tensor is given once, which also means that no node reads what it gives."""
    given: set[str] = set()
    for node in nodes:
        for name in filter(None, node.outputs):
            if name in given:
                raise refuse(
                    node, f"it gives the tensor {shown(name)} a second time", "Export the model again"
                )
            given.add(name)


def _parsed(path: Path) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise ConfigError(f"{path} needs the package onnx; pip install 'insitu[onnx]'") from None
    try:
        _within(path, "bytes", path.stat().st_size, bounds.MODEL)
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"network {path} cannot be read: {error.strerror}; check the path") from None
    except DecodeError:
        raise NetworkError(f"{path} is no ONNX model; export it again, as a protobuf") from None
    if not model.HasField("graph") or not model.graph.node:
        raise NetworkError(f"{path} is an ONNX model without nodes; export it again")
    return model


def _within(path: Path, what: str, count: int, bound: bounds.Most) -> None:
    try:
        bound.check(count)
    except ValueError as error:
        raise ConfigError(f"{path}: {count:,} {what} {error}; use a smaller network") from None


def _array(tensor: Any) -> np.ndarray:
    """The numbers of a tensor that is in the file itself."""
    import onnx
    from onnx import numpy_helper

    name = shown(tensor.name)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise NetworkError(
            f"the numbers of tensor {name} are in another file; save the model in one: onnx.save(model, path)"
        )
    if any(n < 0 for n in tensor.dims) or prod(tensor.dims) > bounds.PARAMETERS.value:
        raise NetworkError(f"tensor {name} has shape {list(tensor.dims)[:8]}: {bounds.PARAMETERS.why}")
    if tensor.data_type in (onnx.TensorProto.STRING, onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128):
        raise NetworkError(f"tensor {name} holds text or complex numbers; export a network of real numbers")
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        said = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise NetworkError(f"tensor {name} cannot be read: {said}; export the model again") from None


def _node(node: Any) -> Node:
    op = node.op_type if node.domain in DOMAINS else f"{node.domain}.{node.op_type}"
    name = node.name or next(iter(node.output), "")
    return Node(op[:80], name, tuple(node.input), tuple(node.output), dict(_attributes(node)))


def _attributes(node: Any) -> Iterator[tuple[str, Any]]:
    from onnx import AttributeProto, helper

    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            yield attribute.name, _array(attribute.t)
        elif attribute.type in (AttributeProto.STRING, AttributeProto.STRINGS):
            value = helper.get_attribute_value(attribute)
            yield attribute.name, value.decode(errors="replace") if isinstance(value, bytes) else value
        elif attribute.type in _PLAIN:
            yield attribute.name, helper.get_attribute_value(attribute)


_PLAIN = (1, 2, 6, 7)
"""FLOAT, INT, FLOATS, INTS. Sub-graphs are no attribute here: an operator that has one is unknown anyway."""


def _shape(value: Any) -> tuple[int | None, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims)
