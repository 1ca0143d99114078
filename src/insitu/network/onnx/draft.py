"""The network that an import has so far, and how each tensor of the graph shows a layer's output.

A layer's output has the shape (features,) or (channels, height, width). A graph may show the same numbers in another
order of axes (channels last), without axes of size 1, or as a flat vector of that order: this is bookkeeping here, and
what multiplies a vector gets its columns in the layer's own order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from insitu.inputs import bounds
from insitu.network.graph import INPUT, Layer
from insitu.network.layers import Describe
from insitu.network.onnx.file import Graph, Node, refuse
from insitu.step.ir import Shape

FOLD = "Scale the data before, or fold it into the weights of the layer before"
CHANNELS_LAST = ([0, 3, 1, 2], [0, 2, 1])
"""The transpositions from (batch, height, width, channels) and (batch, length, channels)."""
Pads = tuple[int, int, int, int]
"""Zeros at the top, the left, the bottom and the right."""


@dataclass(frozen=True)
class Constant:
    """Numbers of the graph; of dequantized ones also their scale and zero point."""

    array: np.ndarray
    scale: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Seen:
    """A layer's output as a tensor of the graph.

    Attributes:
        layer: its name.
        axes: the layer's axis behind each axis of the tensor but the batch; -1: one of size 1 that it lacks.
        order: of a flat tensor, the layer's element at each of its places; ``None``: in order.
        pads: zeros around it that the next window adds.
    """

    layer: str
    axes: tuple[int, ...]
    order: np.ndarray | None = None
    pads: Pads = (0, 0, 0, 0)


class Draft(Describe):
    """Grows by one layer after another.

    Attributes:
        values: what each tensor of the graph is.
        readers: how many nodes read each tensor.
        arrays: parameters by name.
        scales: of quantized values and weights, by the names of layers and parameters.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.readers = Counter(name for node in graph.nodes for name in node.inputs)
        self.readers[graph.output] += 1
        shape, axes = self._input()
        super().__init__(graph.name, shape)
        self._bounded(shape, {})
        self.values: dict[str, Seen | Constant] = {n: Constant(a) for n, a in graph.constants.items()}
        self.values[graph.input] = Seen(INPUT, axes)
        self.arrays: dict[str, np.ndarray] = {}
        self.scales: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.notes: list[str] = []
        self._held = 0

    def _input(self) -> tuple[Shape, tuple[int, ...]]:
        """Shape of the input layer, and how the graph shows it."""
        graph = self.graph
        rest = graph.shape[1:]
        if len(rest) not in (1, 2, 3) or None in rest:
            raise refuse(
                Node("the input", graph.input, (), (), {}),
                f"its shape is {['?' if n is None else n for n in graph.shape]}",
                "Export it for inputs of a known shape (batch, features), (batch, channels, length) or "
                "(batch, channels, height, width)",
            )
        sizes = tuple(int(n) for n in rest if n is not None)
        last = self.transposed(graph.input)
        if len(sizes) == 1:
            return sizes, (0,)
        if len(sizes) == 2:
            return ((sizes[1], 1, sizes[0]), (2, 0)) if last else ((sizes[0], 1, sizes[1]), (0, 2))
        return ((sizes[2], *sizes[:2]), (1, 2, 0)) if last else (sizes, (0, 1, 2))

    def transposed(self, name: str) -> bool:
        """Is the tensor brought from channels last to channels first before it is used?"""
        while True:
            found = [node for node in self.graph.nodes if name in node.inputs]
            if len(found) != 1 or not found[0].outputs:
                return False
            if found[0].op == "Transpose":
                return found[0].attrs.get("perm") in CHANNELS_LAST
            if found[0].op not in ("QuantizeLinear", "DequantizeLinear", "Identity", "Unsqueeze"):
                return False
            name = found[0].outputs[0]

    # Values

    def value(self, node: Node, i: int = 0) -> Seen:
        """An operand that the network computes."""
        found = self.values.get(node.inputs[i]) if i < len(node.inputs) else None
        if not isinstance(found, Seen):
            raise refuse(node, "its operand is a constant or missing, not an output of a layer", FOLD)
        return found

    def plain(self, node: Node, i: int = 0) -> Seen:
        """As :meth:`value`, without zeros around it."""
        found = self.value(node, i)
        if any(found.pads):
            raise refuse(node, "it reads a padded map", "Pad right before a Conv")
        return found

    def constant(self, node: Node, i: int) -> Constant | None:
        """An operand that the graph holds; ``None`` where it is left out."""
        if i >= len(node.inputs) or not node.inputs[i]:
            return None
        found = self.values.get(node.inputs[i])
        if not isinstance(found, Constant):
            raise refuse(
                node,
                f"its operand {i + 1} is computed",
                "Export with constant weights and shapes (for inference, constants folded)",
            )
        return found

    def shape_of(self, seen: Seen) -> Shape:
        """Shape of a tensor without the batch, as the graph has it."""
        shape = self._shapes[seen.layer]
        return tuple(1 if a < 0 else shape[a] for a in seen.axes)

    def image(self, node: Node, i: int = 0) -> Seen:
        """An operand of shape (batch, channels, height, width), or without a height."""
        x = self.value(node, i)
        shape = self._shapes[x.layer]
        if len(shape) == 3 and len(x.axes) in (2, 3):
            found = tuple(a for a in x.axes if a >= 0 and shape[a] > 1)
            if found == tuple(a for a in range(3) if shape[a] > 1) and x.axes[0] in (0, -1):
                return x
        raise refuse(
            node,
            f"its input is seen as {list(self.shape_of(x))} of {list(shape)}, not as (channels, height, width)",
            "Export the network with maps in this order",
        )

    def flat(self, node: Node, i: int = 0) -> tuple[str, np.ndarray | None]:
        """The layer of a vector operand, and the layer's element at each place."""
        x = self.plain(node, i)
        if len(x.axes) == 1 and len(self._shapes[x.layer]) == 1:
            return x.layer, x.order
        if sum(n > 1 for n in self.shape_of(x)) > 1:
            raise refuse(
                node, f"its input has shape {['batch', *self.shape_of(x)]}", "Flatten it to a vector first"
            )
        flat = self.flattened(node, x)
        return flat.layer, flat.order

    def flattened(self, node: Node, x: Seen) -> Seen:
        """All features of a sample as one vector, in the order of the tensor."""
        shape = self._shapes[x.layer]
        if len(shape) == 1:
            return Seen(x.layer, (0,), x.order)
        kept = [a for a in x.axes if a >= 0]
        kept += [a for a in range(len(shape)) if a not in kept]  # of size 1: they change nothing
        self.hold(node, prod(shape))
        places = np.arange(prod(shape)).reshape(shape).transpose(kept).ravel()
        order = None if (places[1:] > places[:-1]).all() else places
        self.goto(x.layer)
        return Seen(super().flatten(name=self.named(node, "")), (0,), order)

    # Layers

    def named(self, node: Node, weight: str) -> str:
        """A name that no layer has: of the weight's owner, else of the node."""
        owner = weight.removesuffix(".weight") if weight.endswith(".weight") else node.name
        base = re.sub(r"[^A-Za-z0-9_.]+", "_", owner)[:64].strip("._") or node.op.lower()
        name, n = base, 0
        while name in self._shapes:
            n += 1
            name = f"{base}_{n}"
        return name

    def hold(self, node: Node, count: int) -> None:
        """Counts the numbers that a node is about to make of constants: all nodes together have a bound."""
        self._held += count
        if self._held > bounds.PARAMETERS.value:
            raise refuse(
                node,
                f"what is computed of constants comes to {self._held:,} numbers: {bounds.PARAMETERS.why}",
                "Export the network with constants folded",
            )

    def keep(self, node: Node, name: str, **params: np.ndarray) -> None:
        """Parameters of a layer."""
        for suffix, array in params.items():
            if not np.isfinite(array).all():
                raise refuse(
                    node,
                    f"its {suffix} has numbers that are not finite",
                    "Export the network before it diverged",
                )
            self.arrays[f"{name}.{suffix}"] = np.ascontiguousarray(array, np.float32)

    def sole_owner(self, node: Node, i: int) -> Layer | None:
        """The weighted layer whose output an operand is, where nothing else reads it."""
        seen = self.value(node, i)
        layer = next((x for x in self.layers if x.name == seen.layer), None)
        weighted = layer is not None and layer.kind in ("dense", "conv2d")
        return layer if weighted and self.readers[node.inputs[i]] == 1 else None

    def replace(self, layer: Layer) -> None:
        """The layer of this name becomes another one of its shape."""
        self.layers[[x.name for x in self.layers].index(layer.name)] = layer

    def elementwise(self, x: Seen, kind: str, node: Node, **attrs: Any) -> Seen:
        """A layer that keeps shape and order."""
        name = self._add(kind, self._shapes[x.layer], name=self.named(node, ""), inputs=(x.layer,), **attrs)
        return Seen(name, x.axes, x.order)


Make = Callable[[Draft, Node], Seen]
"""Adds what a node computes to a draft, and says how its output is seen."""


def around(a: Pads, b: Pads) -> Pads:
    """Zeros around zeros."""
    top, left, bottom, right = (m + n for m, n in zip(a, b))
    return (top, left, bottom, right)
