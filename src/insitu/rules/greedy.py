"""Greedy layerwise learning (Belilovsky 2019) and its parallel form, decoupled greedy learning (Belilovsky 2020).

Every hidden block has an auxiliary network of its own and learns by back-propagation through that alone:
``k - 1`` times [3x3 convolution (dense: a layer of the same width), batch norm, ReLU], average pool to a grid of 2x2,
batch norm, linear. Published blocks halve the map at their start by an invertible space-to-depth step; a 3x3
convolution behind it is the same linear map as a 6x6 convolution of stride 2, which the network here should have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from insitu.errors import ConfigError
from insitu.inputs import bounds
from insitu.network.builder import Builder, Trace
from insitu.network.graph import Block, Layer, Network
from insitu.network.layers import Describe
from insitu.network.phases import Phases
from insitu.rules.protocol import Citation, ask_hidden, ask_labels, rule
from insitu.step.ir import Phase, Role, Shape, Value

Predict = Literal["network", "head", "ensemble"]


@dataclass(frozen=True)
class _Auxiliary:
    """The auxiliary network of a block, and who predicts."""

    k: int = 1
    width: int | None = None
    grid: int = 2
    norm: bool | None = None
    predict: Predict = "network"

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for option, value in (("k", self.k), ("width", self.width), ("grid", self.grid)):
            if value is not None and value < 1:
                raise ConfigError(f"rule {self.name} has {option}={value}; use 1 or more")
        if self.k > bounds.DEPTH.value:
            raise ConfigError(
                f"rule {self.name} has k={self.k}; use {bounds.DEPTH.value} or less: {bounds.DEPTH.why}"
            )

    def layers(self, block: str, shape: Shape, classes: int, norm: bool) -> list[Layer]:
        """The auxiliary network behind an activation."""
        aux = Describe(block, shape, head=True)
        width = self.width or shape[0]
        for i in range(1, self.k):
            if len(shape) == 3:
                aux.conv(width, 3, padding=1, bias=not norm, name=f"{block}.aux{i}")
            else:
                aux.dense(width, bias=not norm, name=f"{block}.aux{i}")
            if norm:
                aux.batch_norm(name=f"{block}.aux{i}.norm")
            aux.activation("relu", name=f"{block}.aux{i}.relu")
        if len(shape) == 3:
            aux.avg_pool([max(1, n // self.grid) for n in aux.shape[1:]], name=f"{block}.head.pool")
            if norm:
                aux.batch_norm(name=f"{block}.head.norm")
            aux.flatten(name=f"{block}.head.flatten")
        aux.dense(classes, name=f"{block}.head")
        return aux.layers

    def scores(self, net: Network, b: Builder, block: Block, h: Value) -> Trace:
        """The auxiliary network of a block, on its activation."""
        norm = any(x.kind == "batch_norm" for x in net.layers) if self.norm is None else self.norm
        return b.head(self.layers(block.name, h.shape[1:], b.classes, norm), h)

    def learn(self, net: Network, b: Builder, trace: Trace, *, last: bool) -> None:
        """The block and its auxiliary network learn; the step's loss is that of the ``last`` of them."""
        aux = self.scores(net, b, trace.block, trace.activation)
        error = b.output_error(aux.output) if last else b.local_error(aux.output)
        b.backward(trace, _below(b, aux, error), at=trace.activation, want_input=False)

    def check(self, net: Network, b: Builder) -> None:
        ask_labels(self.name, b, "its auxiliary classifiers need class labels")
        ask_hidden(self.name, net)

    def emit_inference(self, net: Network, b: Builder) -> None:
        """The network, the auxiliary network of the last hidden block, or the 2^j-weighted mean of all of them."""
        h = b.x
        found: list[Value] = []
        for block in net.blocks[:-1]:
            trace = b.forward(block, h, to_activation=True)
            if self.predict == "ensemble" or (self.predict == "head" and block is net.blocks[-2]):
                found.append(self.scores(net, b, block, trace.activation).output)
            h = b.resume(trace).output if not found or block is not net.blocks[-2] else trace.output
        if self.predict == "network":
            found.append(b.forward(net.blocks[-1], h).output)
        b.output(_weighted(b, found))


def _below(b: Builder, aux: Trace, error: Value) -> Value:
    below = b.backward(aux, error)
    assert below is not None
    return below


def _weighted(b: Builder, scores: list[Value]) -> Value:
    """Σ_j 2^j s_j / Σ_j 2^j."""
    if len(scores) == 1:
        return scores[0]
    total = 2 ** len(scores) - 1
    parts = [
        b.emit1("scale", s, by=2**j / total, role=Role.HEAD, phase=Phase.FORWARD)
        for j, s in enumerate(scores)
    ]
    mean = parts[0]
    for part in parts[1:]:
        mean = b.emit1("add", mean, part, role=Role.HEAD, phase=Phase.FORWARD)
    return mean


@rule
@dataclass(frozen=True)
class Greedy(_Auxiliary):
    """Greedy layerwise learning: one block after another, behind a frozen prefix.

    Phase j: min over block j and its auxiliary network of CE(aux_j(h_j), y), h_j = f_j(h_{j-1}), h_{j-1} from
    blocks that do not change any more (running statistics, no dropout). Every phase has an equal share of the
    run's samples (published: 50 epochs each), its own learning rate schedule and a fresh optimiser. Only one
    block's activations and optimiser state are alive.

    Args:
        k: depth of the auxiliary network; 1 is a linear classifier on the pooled map.
        width: channels of the auxiliary network; the block's own where ``None``.
        grid: the map is average-pooled to grid x grid.
        norm: batch norm in the auxiliary network; as the network has it where ``None``.
        predict: ``network``: the last block learns in a phase of its own and predicts; ``head``: the last hidden
            block's auxiliary network (as published; the last block is not used); ``ensemble``: the mean of the
            scores of all auxiliary networks, weighted by 2^j.
        cache: keep the frozen prefix's features of all training samples instead of computing them at every step.
    """

    cache: bool = False

    name: ClassVar[str] = "greedy"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = Citation(
        "Belilovsky, Eickenberg, Oyallon",
        2019,
        "Greedy layerwise learning can scale to ImageNet",
        "ICML 2019",
    )

    def phases(self, net: Network) -> Phases:
        trained = self._trained(net)
        return Phases(len(trained), starts=tuple(trained) if self.cache else ())

    def _trained(self, net: Network) -> list[int]:
        """The block of each phase: those that learn, or whose auxiliary network is read in a prediction."""
        count = max(1, len(net.blocks) - (self.predict != "network"))
        heads = {"network": range(0), "head": range(count - 1, count), "ensemble": range(count)}[self.predict]
        return [k for k in range(count) if k in heads or net.learns(net.blocks[k])] or [0]

    def emit(self, net: Network, b: Builder) -> None:
        self.check(net, b)
        h, index = b.x, self._trained(net)[b.phase]
        with b.frozen():
            for block in net.blocks[b.start : index]:
                h = b.forward(block, h).output
        block = net.blocks[index]
        if block is not net.blocks[-1]:
            self.learn(net, b, b.forward(block, h, to_activation=True), last=True)
            return
        trace = b.forward(block, h)
        b.backward(trace, b.output_error(trace.output), want_input=False)


@rule
@dataclass(frozen=True)
class DecoupledGreedy(_Auxiliary):
    """Decoupled greedy learning: all blocks at once, each from its own auxiliary network.

    min over block j and its auxiliary network of CE(aux_j(h_j), y), h_{j-1} as it is at this step.

    Args:
        k, width, grid, norm, predict: as of ``greedy``.
    """

    name: ClassVar[str] = "dgl"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = Citation(
        "Belilovsky, Eickenberg, Oyallon", 2020, "Decoupled greedy learning of CNNs", "ICML 2020"
    )

    def emit(self, net: Network, b: Builder) -> None:
        self.check(net, b)
        own = self.predict == "network"
        h = b.x
        for block in net.blocks[:-1]:
            trace = b.forward(block, h, to_activation=True)
            final = block is net.blocks[-2] and not own
            self.learn(net, b, trace, last=final)
            if not final:
                h = b.resume(trace).output
        if own:
            trace = b.forward(net.blocks[-1], h)
            b.backward(trace, b.output_error(trace.output), want_input=False)
