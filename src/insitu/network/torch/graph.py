"""The network that a capture has so far: its layers, their names, and which output each node stands for.

A value of shape (batch, channels, length) is a map of height 1 here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from torch import fx, nn

from insitu.errors import NetworkError
from insitu.network.graph import INPUT, Layer
from insitu.network.torch.calls import Place, op_name
from insitu.network.torch.refusals import PAD, PLAIN, refuse
from insitu.step.ir import Shape

FLAT = ("batch", "features")
READ_PADS = ("conv1d", "conv2d", "pad", "constant_pad_nd")
IMAGE = ("batch", "channels", "height", "width")


class Draft:
    """Grows by one layer after another; ``aten`` writes in it, ``capture`` reads it off at the end.

    Attributes:
        input: the node of the network's input.
        calls: how many layers the calls of each module make; a leaf that makes one gives it its name.
        values: the layer whose output a node stands for.
        pads: rows and columns of zeros above and to the left of what a node stands for.
        layers: by name, in order.
        shapes: of the outputs, per sample.
    """

    def __init__(self, module: nn.Module, program: torch.export.ExportedProgram) -> None:
        modules = {path: m for path, m in module.named_modules() if path}
        self._taken = {*modules, INPUT}
        self._leaves = {path for path, m in modules.items() if not any(m.children())}
        self.calls: Counter[str] = Counter()
        self._targets = _targets(program)
        self.input = _input_node(program)
        self._batch = _batch(self.input)
        self.values: dict[fx.Node, str] = {self.input: INPUT}
        self.pads: dict[fx.Node, tuple[int, int]] = {}
        self.layers: dict[str, Layer] = {}
        self.shapes: dict[str, Shape] = {INPUT: self.shape(self.input)}

    # What a node gives

    def target(self, argument: Any) -> str:
        """The ``state_dict`` name of a parameter or buffer, else an empty text."""
        is_input = isinstance(argument, fx.Node) and argument.op == "placeholder"
        return self._targets.get(argument.name, "") if is_input else ""

    def shape(self, node: fx.Node) -> Shape:
        """Output shape per sample."""
        val = node.meta["val"]
        val = val[0] if isinstance(val, (tuple, list)) else val
        first, *rest = val.shape or (0,)
        same = isinstance(first, torch.SymInt) and first.node.expr == self._batch.node.expr
        if not same or not rest or not all(isinstance(n, int) for n in rest):
            refuse(
                node,
                f"its output {[str(n) for n in val.shape]} does not keep the batch as the first dimension",
                "Treat each sample by itself: x.flatten(1), or x.view(x.size(0), -1) without a fixed batch",
            )
        return lifted(tuple(rest))

    def value(self, node: fx.Node, argument: Any) -> str:
        """Name of the layer whose output an argument is."""
        if isinstance(argument, fx.Node) and argument in self.values:
            if argument in self.pads and op_name(node) not in READ_PADS:
                refuse(node, "it reads a map with zeros around it", PAD)
            return self.values[argument]
        refuse(
            node,
            "it works on a constant or a parameter, not on the outputs of layers",
            "Scale and shift the data instead, or use the bias of a layer",
        )

    def flat(self, node: fx.Node, argument: Any) -> str:
        """The value of an argument of shape (batch, features)."""
        return self._of_shape(node, argument, FLAT, "Flatten it first: x.flatten(1)")

    def image(self, node: fx.Node, argument: Any) -> str:
        """The value of an argument of shape (batch, channels, height, width) or (batch, channels, length)."""
        return self._of_shape(node, argument, IMAGE, "Give it an image, or a sequence of channels")

    def _of_shape(self, node: fx.Node, argument: Any, wanted: tuple[str, ...], remedy: str) -> str:
        name = self.value(node, argument)
        if len(self.shapes[name]) != len(wanted) - 1:
            shape = ["batch", *argument.meta["val"].shape[1:]]
            refuse(node, f"its input has shape {shape}, not ({', '.join(wanted)})", remedy)
        return name

    # Layers and their names

    def emit(
        self,
        node: fx.Node,
        kind: str,
        inputs: tuple[str, ...],
        attrs: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        params: Mapping[str, Shape] | None = None,
        shape: Shape | None = None,
    ) -> str:
        """Adds a layer; one without parameters gets its name here, one with them from :meth:`parameters`."""
        shape = self.shape(node) if shape is None else shape
        attrs = dict(attrs or {})
        if name is None:
            name = self._name(node, "flatten" if kind == "reshape" else attrs.get("fn", kind))
        self.layers[name] = Layer(name, kind, inputs, shape, attrs, dict(params or {}))
        self.shapes[name] = shape
        return name

    def parameters(self, node: fx.Node, **arguments: Any) -> tuple[str, dict[str, Shape]]:
        """The layer's name and parameter shapes, from the arguments that are not ``None``."""
        given = {suffix: a for suffix, a in arguments.items() if a is not None}
        names = sorted({self._owner(node, suffix, a) for suffix, a in given.items()})
        if len(names) != 1:
            refuse(node, f"its parameters belong to {names}", PLAIN)
        (name,) = names
        if name in self.layers:
            refuse(node, "it is used more than once", "Give each use a layer of its own")
        if name == INPUT:
            _refuse_input_name(node)
        return name, {suffix: lifted(tuple(a.meta["val"].shape), at=2) for suffix, a in given.items()}

    def _owner(self, node: fx.Node, suffix: str, argument: Any) -> str:
        """Path of the module whose parameter ``suffix`` an argument is."""
        target = self.target(argument)
        if target.rpartition(".")[2] != suffix:
            what = f"the parameter {target!r}" if target else "a computed or constant tensor"
            refuse(node, f"its {suffix} is {what}", PLAIN)
        return target.rpartition(".")[0]

    def _name(self, node: fx.Node, call: str) -> str:
        place = Place.of(node)
        one_call = place.path in self._leaves and self.calls[place.path] == 1
        if not place.path or not (place.builtin or one_call):
            return self.unique(f"{place.path}.{call}" if place.path else call)
        if place.path == INPUT:
            _refuse_input_name(node)
        return place.path if place.path not in self.layers else self.unique(place.path)

    def unique(self, name: str) -> str:
        """The name, or else the first of name_1, name_2, ... that no module and no layer has."""
        candidate, n = name, 0
        while candidate in self._taken or candidate in self.layers:
            n += 1
            candidate = f"{name}_{n}"
        return candidate


def lifted(shape: Shape, at: int = 1) -> Shape:
    """A shape (channels, length) as (channels, 1, length), and that of a kernel with it, ``at`` = 2."""
    return (*shape[:at], 1, *shape[at:]) if len(shape) == at + 1 else shape


def _targets(program: torch.export.ExportedProgram) -> dict[str, str]:
    """The ``state_dict`` name that each parameter and buffer of a program stands for."""
    specs = program.graph_signature.input_specs
    return {spec.arg.name: spec.target for spec in specs if spec.target is not None}


def _input_node(program: torch.export.ExportedProgram) -> fx.Node:
    (name,) = program.graph_signature.user_inputs
    return next(n for n in program.graph.nodes if n.op == "placeholder" and n.name == name)


def _batch(node: fx.Node) -> torch.SymInt:
    """The symbol of the batch size."""
    batch = node.meta["val"].shape[0]
    if not isinstance(batch, torch.SymInt):
        raise NetworkError(
            "cannot capture the module: it works for one batch size only. Keep the batch free: "
            "x.flatten(1) or x.view(x.size(0), -1) instead of a fixed number"
        )
    return batch


def _refuse_input_name(node: fx.Node) -> NoReturn:
    refuse(node, f"the name {INPUT!r} stands for the input of the network", "Rename the layer")
