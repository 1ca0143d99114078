"""A network: a chain of blocks, each a small graph of layers with one input and one output.

Shapes here are per sample, without the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from insitu.errors import NetworkError
from insitu.numbers.initial import draw
from insitu.step.ir import Init, Shape

INPUT = "input"
"""Name of the network's input among a layer's ``inputs``."""

WEIGHTED = ("dense", "conv2d")
PASSIVE = ("max_pool", "avg_pool", "upsample", "dropout", "reshape")
"""Kinds that neither learn nor bend: at a block's end they belong to what is passed on."""

PARAMETERS = {
    "dense": ("weight", "bias"),
    "conv2d": ("weight", "bias"),
    "batch_norm": ("weight", "bias", "running_mean", "running_var"),
}
"""Parameter suffixes by layer kind; a layer may lack the bias, and a batch norm weight and bias."""


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        name: module path in the user's network, e.g. ``features.0``.
        kind: ``dense``, ``conv2d``, ``activation``, ``max_pool``, ``avg_pool``, ``upsample``, ``batch_norm``,
            ``rms_norm``, ``dropout``, ``reshape``, ``add`` or ``couple``.
        inputs: names of the layers it reads, or :data:`INPUT`.
        shape: output shape per sample.
        attrs: what the op record of the layer takes (``fn``, ``slope``, ``stride``, ``padding``, ``dilation``,
            ``groups``, ``kernel``, ``size``, ``factor``, ``eps``, ``momentum``, ``p``); ``()`` where nothing.
        params: shape of each parameter and buffer by suffix (``weight``, ``bias``, ...).
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: Shape
    attrs: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Shape] = field(default_factory=dict)

    @property
    def depthwise(self) -> bool:
        """A convolution with one input channel per group, and more than one group."""
        groups = self.attrs.get("groups", 1)
        return self.kind == "conv2d" and groups > 1 and self.params["weight"][1] == 1

    def param(self, suffix: str) -> str:
        """Name of a parameter, as in the module's ``state_dict``."""
        return f"{self.name}.{suffix}" if self.name else suffix


@dataclass(frozen=True)
class Block:
    """Layers between two points that every path passes: the unit of local learning."""

    layers: tuple[Layer, ...]

    @property
    def name(self) -> str:
        """The first weighted layer's name."""
        return next((x.name for x in self.layers if x.kind in WEIGHTED), self.layers[0].name)

    @property
    def shape(self) -> Shape:
        """Output shape per sample."""
        return self.layers[-1].shape

    @property
    def activation(self) -> Layer:
        """The last layer before the pools, dropouts and views at the block's end: mostly its activation function.

        Everything in the block that learns lies before it, so an error that is given here reaches all of it.
        """
        layers = {x.name: x for x in self.layers}
        last = self.layers[-1]
        while last.kind in PASSIVE and last.inputs[0] in layers:
            last = layers[last.inputs[0]]
        return last


@dataclass(frozen=True)
class Network:
    """What is computed.

    Attributes:
        name: for messages and reports.
        input_shape: per sample.
        blocks: the chain.
        params: the initial (or trained) value of each parameter and buffer, float32, by ``state_dict`` name.
        frozen: names of parameters that no rule changes (``requires_grad=False`` in the module).
        heads: values of what a rule learned beside the network, by the names of its residents, where a run starts from
            them.
    """

    name: str
    input_shape: Shape
    blocks: tuple[Block, ...]
    params: Mapping[str, np.ndarray]
    frozen: frozenset[str] = frozenset()
    heads: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Name, shapes, layers and the count of values: one line, without the weights."""
        shape = "x".join(map(str, self.input_shape))
        layers, values = len(tuple(self.layers)), sum(v.size for v in self.params.values())
        return f"<Network {self.name}: {shape} -> {self.outputs}, layers: {layers}, values: {values:,}>"

    @property
    def values(self) -> Mapping[str, np.ndarray]:
        """Parameters and heads: what residents begin with."""
        return {**self.params, **self.heads}

    @property
    def layers(self) -> Iterator[Layer]:
        for block in self.blocks:
            yield from block.layers

    @property
    def trainable(self) -> Iterator[str]:
        """Names of the parameters that a rule may change: neither frozen nor running statistics."""
        for block in self.blocks:
            yield from self.trainable_in(block)

    def trainable_in(self, block: Block) -> Iterator[str]:
        """As :attr:`trainable`, of one block."""
        names = (x.param(s) for x in block.layers for s in x.params if not s.startswith("running_"))
        return (name for name in names if name not in self.frozen)

    def learns(self, block: Block) -> bool:
        """Has the block a parameter that is not frozen?"""
        return any(self.trainable_in(block))

    @property
    def outputs(self) -> int:
        """Size of the output vector of one sample."""
        return prod(self.blocks[-1].shape)

    def layer(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise NetworkError(
            f"network {self.name} has no layer {name!r}; it has {[x.name for x in self.layers]}"
        )

    def load_into(self, module: Any, params: Mapping[str, np.ndarray] | None = None) -> None:
        """Copies the parameters (of this network, or ``params``) into a module with the same ``state_dict``.

        Raises:
            NetworkError: naming the first parameter that is missing or has another shape.
        """
        import torch

        target = module.state_dict()
        for name, array in (params or self.params).items():
            if name not in target:
                raise NetworkError(f"the module has no parameter {name!r}; pass the module that was captured")
            shape = tuple(target[name].shape)
            if shape == array.shape[:2] + array.shape[3:] and array.shape[2:3] == (1,):  # of a Conv1d
                array = array.reshape(shape)
            if shape != array.shape:
                raise NetworkError(
                    f"parameter {name!r} has shape {shape} in the module and {array.shape} "
                    "here; pass the module that was captured"
                )
            with torch.no_grad():
                target[name].copy_(torch.from_numpy(np.ascontiguousarray(array)))


def chain(layers: Iterable[Layer]) -> tuple[Block, ...]:
    """Groups layers in topological order into a chain of blocks.

    A cut is possible where exactly one value is still needed later. A new block begins at a cut before the next
    weighted layer, except after a depthwise convolution whose pointwise one is still to come.
    """
    ordered = list(layers)
    segments = _segments(ordered)
    blocks: list[list[Layer]] = []
    for segment in segments:
        weighted = any(x.kind in WEIGHTED for x in segment)
        open_block = blocks[-1] if blocks else None
        if open_block is None or (weighted and _closed(open_block)):
            blocks.append(list(segment))
        else:
            open_block.extend(segment)
    return tuple(Block(tuple(b)) for b in blocks)


def _segments(layers: list[Layer]) -> list[list[Layer]]:
    """The shortest pieces between single-value cuts."""
    last_use: dict[str, int] = {}
    for i, layer in enumerate(layers):
        for source in layer.inputs:
            last_use[source] = i
    segments: list[list[Layer]] = [[]]
    for i, layer in enumerate(layers):
        segments[-1].append(layer)
        pending = [x.name for x in layers[: i + 1] if last_use.get(x.name, -1) > i]
        pending += [INPUT] if last_use.get(INPUT, -1) > i else []
        if pending == [layer.name]:
            segments.append([])
    return [s for s in segments if s]


def _closed(block: list[Layer]) -> bool:
    """A block takes no further weighted layer once it has one that is not depthwise."""
    weighted = [x for x in block if x.kind in WEIGHTED]
    return bool(weighted) and not weighted[-1].depthwise


def first_value(layer: Layer, suffix: str, *, zero: bool = False) -> Init:
    """PyTorch's default distribution of a parameter: U(±1/sqrt(fan_in)); norms 1 and 0. ``zero``: weights at zero."""
    if layer.kind in WEIGHTED and not zero:
        return Init("uniform", layer.param(suffix), prod(layer.params["weight"][1:]) ** -0.5)
    ones = layer.kind not in WEIGHTED and suffix in ("weight", "running_var")
    return Init("ones" if ones else "zeros")


def initial(layer: Layer, seed: int) -> dict[str, np.ndarray]:
    """PyTorch's default initial values, from the bit-defined generator."""
    return {
        layer.param(suffix): draw(first_value(layer, suffix), shape, seed)
        for suffix, shape in layer.params.items()
    }


def with_initial(net: Network, seed: int) -> Network:
    """The same network with fresh initial values."""
    params: dict[str, np.ndarray] = {}
    for layer in net.layers:
        params.update(initial(layer, seed))
    return replace(net, params=params)
