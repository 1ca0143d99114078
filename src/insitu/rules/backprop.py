"""Back-propagation: the reference, its two frugal forms, and the read-out that trains the last block only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from math import ceil, prod
from typing import Any, ClassVar

from insitu.errors import ConfigError, NetworkError
from insitu.network.builder import Builder, Trace
from insitu.network.graph import PASSIVE, WEIGHTED, Block, Layer, Network
from insitu.rules.protocol import Citation, rule
from insitu.step.ir import Phase, Role, Shape, Value


@rule
@dataclass(frozen=True)
class Backprop:
    """Back-propagation.

    δ_k = (δ_{k+1} W_{k+1}) ⊙ f′(z_k), ΔW_k = -η δ_kᵀ h_{k-1}.

    Keeps every block's input and what the derivatives need until the error comes back.
    """

    name: ClassVar[str] = "bp"
    forward_only: ClassVar[bool] = False
    paper: ClassVar[Citation] = Citation(
        "Rumelhart, Hinton, Williams",
        1986,
        "Learning representations by back-propagating errors",
        "Nature 323",
    )

    def emit(self, net: Network, b: Builder) -> None:
        traces = b.forward_all()
        b.backward_chain(traces, b.output_error(traces[-1].output))


Segments = list[tuple[Block, ...]]
_VIEWS = ("activation", "dropout", "reshape")  # in place or views: no memory of their own


def _segments(blocks: tuple[Block, ...], count: int) -> Segments:
    """A chain in at most ``count`` parts of equally many blocks (the last may be shorter)."""
    size = ceil(len(blocks) / count)
    return [blocks[i : i + size] for i in range(0, len(blocks), size)]


def _kept(block: Block) -> int:
    """Elements per sample that a block keeps for its backward pass.

    Activations and dropout work in place, a view has no memory, and a map in front of a max pool dies at once (see
    :func:`insitu.passes.fuse.gate_before_unpool`).
    """
    pooled = {name for x in block.layers if x.kind == "max_pool" for name in x.inputs}
    pooled |= {name for x in block.layers if x.name in pooled and x.kind == "activation" for name in x.inputs}
    return sum(prod(x.shape) for x in block.layers if x.kind not in _VIEWS and x.name not in pooled)


def _price(shape: Shape, parts: Segments) -> int:
    """Elements per sample that live at once: the inputs of all parts, the largest part, and the largest map.

    Args:
        shape: of the first part's input.
    """
    inputs = prod(shape) + sum(prod(part[-1].shape) for part in parts[:-1])
    inner = max(sum(map(_kept, part)) for part in parts)
    return inputs + inner + max(prod(x.shape) for part in parts for block in part for x in block.layers)


@rule
@dataclass(frozen=True)
class CheckpointedBackprop:
    """Back-propagation that keeps only the inputs of segments and recomputes each segment's forward pass.

    The same numbers as ``bp`` (dropout masks are regenerated) with the activations of one segment alive instead of
    all, at the price of a second forward pass. The honest memory baseline of every rule that saves activations.

    Args:
        segments: number of segments of equally many blocks. 0: the number that keeps the least by the shapes (the
            inputs of all segments, the largest segment's activations and the largest map); for layers of one width
            about √L, the published choice, and 1 (plain BP) where one early feature map is the peak anyway.
    """

    segments: int = 0

    name: ClassVar[str] = "bp-checkpoint"
    forward_only: ClassVar[bool] = False
    paper: ClassVar[Citation] = Citation(
        "Chen, Xu, Zhang, Guestrin", 2016, "Training deep nets with sublinear memory cost", "arXiv 1604.06174"
    )

    def emit(self, net: Network, b: Builder) -> None:
        first = next((n for n, block in enumerate(net.blocks) if net.learns(block)), 0)
        before = b.forward_chain(net.blocks[:first], b.x)
        parts = self._split(net, first)
        inputs, traces = [], []
        h = before[-1].output if before else b.x
        for part in parts:
            inputs.append(h)
            traces = []
            for block in part:
                traces.append(b.forward(block, h))
                h = traces[-1].output
        error: Value | None = b.output_error(h)
        for i in reversed(range(len(parts))):
            if i < len(parts) - 1:
                traces = self._again(parts[i], inputs[i], b)
            for k in reversed(range(len(traces))):
                assert error is not None
                error = b.backward(traces[k], error, want_input=i > 0 or k > 0)

    def _split(self, net: Network, first: int) -> Segments:
        """The blocks from number ``first`` on, behind the frozen ones at the start, in segments."""
        count = len(net.blocks)
        if not 0 <= self.segments <= count:
            raise ConfigError(
                f"rule bp-checkpoint: segments={self.segments}, but {net.name} has {count} blocks; use 0 to {count}"
            )
        blocks = net.blocks[first:]
        if self.segments:
            return _segments(blocks, self.segments)
        shape = net.blocks[first - 1].shape if first else net.input_shape
        choices = (_segments(blocks, n) for n in range(1, len(blocks) + 1))
        return min(choices, key=lambda parts: _price(shape, parts))

    @staticmethod
    def _again(part: tuple[Block, ...], h: Value, b: Builder) -> list[Trace]:
        traces = []
        for block in part:
            traces.append(b.forward(block, h, again=True))
            h = traces[-1].output
        return traces


@rule
@dataclass(frozen=True)
class StashedBackprop:
    """Back-propagation that keeps one bit of every hidden activation.

    The forward pass and the error path are those of ``bp``; of the input h of each weighted layer only 1[h > 0] is
    kept, from which ReLU's derivative is read too:

    δ_k = (δ_{k+1} W_{k+1}) ⊙ 1[h_k > 0], ΔW_k = -η δ_kᵀ (s · 1[h_{k-1} > 0]).

    The network's own input is there anyway and is read as it is; max pools keep the positions of their maxima, and RMS
    norms in float32 their outputs. Activations other than ReLU, batch norms, and weighted layers whose input does not
    come from a ReLU are refused.

    Args:
        scale: s, the value that a set bit stands for in the weight gradient.
    """

    scale: float = 1.0

    name: ClassVar[str] = "bp-stash"
    forward_only: ClassVar[bool] = False
    paper: ClassVar[Citation] = Citation(
        "Wang, Davis, Moro, Zielinski et al.",
        2021,
        "Enabling binary neural network training on the edge (activations kept as signs)",
        "arXiv 2102.04270",
    )

    def emit(self, net: Network, b: Builder) -> None:
        if not self.scale > 0:
            raise ConfigError(f"rule bp-stash: scale={self.scale:g}, but a set bit is more than 0; use 1")
        traces = stashed(self.name, net.blocks, b.x, b, self.scale)
        end = traces[-1].output
        b.backward_chain(traces, b.output_error(end))


def stashed(
    rule: str, blocks: Sequence[Block], h: Value, b: Builder, scale: float, *, to_activation: bool = False
) -> list[Trace]:
    """The forward pass of consecutive blocks, as a backward pass with bits in place of inner activations sees it.

    Args:
        rule: for refusals.
        h: their input, which is read as it is.
        scale: what a set bit stands for.
        to_activation: stop behind the last block's activation, which is read as it is too.

    Raises:
        NetworkError: for a layer whose adjoint bits cannot serve, with the remedy.
    """
    kept = _kept_bits(rule, b.net, blocks)
    bits: dict[Value, Value] = {}
    traces: list[Trace] = []
    for block in blocks:
        trace = Trace(block, h, h, {}, ())
        ends = block.activation.name if to_activation and block is blocks[-1] else None
        for layer in block.layers:
            trace = b.resume(trace, 1)
            if layer.name == ends:
                break
            if layer.name in kept:
                _keep(layer, trace, kept[layer.name], bits, b, scale)
        traces.append(trace)
        h = trace.output
    return [_reading(trace, bits) for trace in traces]


def _keep(layer: Layer, trace: Trace, how: _Bits, bits: dict[Value, Value], b: Builder, scale: float) -> None:
    """The bits of a layer's output, as soon as it exists."""
    h, source = trace.output, trace.values.get(layer.inputs[0], trace.input)
    style: dict[str, Any] = {
        "role": Role.ACTIVATION,
        "phase": Phase.FORWARD,
        "name": f"{layer.name}.stash",
    }
    with b.at(layer.name):
        if how is _Bits.VIEW:
            bits[h] = b.emit1("reshape", bits[source], shape=h.shape, **style)
        else:
            bits[h] = b.emit1("stash", h, scale=scale, **style)
    if how is _Bits.SHARED:
        bits[source] = bits[h]


class _Bits(Enum):
    """Which bits are made behind a layer."""

    OWN = "its output's"
    VIEW = "its input's, in another shape"
    SHARED = "its output's, which serve in place of its input's too"


def _reading(trace: Trace, bits: Mapping[Value, Value]) -> Trace:
    """The block as its backward pass sees it: bits in place of values."""

    def seen(v: Value) -> Value:
        return bits.get(v, v)

    ops = (
        replace(op, inputs=tuple(map(seen, op.inputs)), outputs=tuple(map(seen, op.outputs)))
        for op in trace.ops
    )
    values = {name: seen(v) for name, v in trace.values.items()}
    return Trace(trace.block, seen(trace.input), seen(trace.output), values, tuple(ops))


def _kept_bits(rule: str, net: Network, blocks: Sequence[Block]) -> dict[str, _Bits]:
    """Behind which layers bits are made: activations, for their gates, and inputs of weighted layers.

    One set serves both where they are one array or a view of it, and where only a dropout lies between: where its mask
    is 0 no error comes back, elsewhere the bits are equal.

    Raises:
        NetworkError: for a layer whose adjoint bits cannot serve, with the remedy.
    """
    layers = [layer for block in blocks for layer in block.layers]
    outside = _outside(rule, net, layers)
    readers: dict[str, list[Layer]] = {}
    for layer in layers:
        for name in layer.inputs:
            readers.setdefault(name, []).append(layer)

    def weighted(name: str) -> bool:
        behind = readers.get(name, [])
        return any(x.kind in WEIGHTED or (x.kind == "reshape" and weighted(x.name)) for x in behind)

    kept: dict[str, _Bits] = {}
    masked: set[str] = set()
    for layer in layers:
        if layer.name in outside:
            continue
        if layer.kind == "activation" and [x.kind for x in readers.get(layer.name, [])] == ["dropout"]:
            masked.add(layer.name)
        elif layer.kind == "dropout" and layer.inputs[0] in masked:
            kept[layer.name] = _Bits.SHARED
        elif layer.kind == "reshape" and layer.inputs[0] in kept and weighted(layer.name):
            kept[layer.name] = _Bits.VIEW
        elif layer.kind == "activation" or weighted(layer.name):
            kept[layer.name] = _Bits.OWN
    return kept


def _outside(rule: str, net: Network, layers: Sequence[Layer]) -> set[str]:
    """The input of the layers and what pools, views and dropouts make of it: read as they are.

    Raises:
        NetworkError: for a layer whose adjoint bits cannot serve, with the remedy.
    """
    outside = {name for layer in layers for name in layer.inputs} - {layer.name for layer in layers}
    positive = set[str]()
    for layer in layers:
        sources = set(layer.inputs)
        if layer.kind == "activation" and layer.attrs["fn"] != "relu":
            reason = f"one bit does not hold the derivative of {layer.attrs['fn']}"
            raise _no_bits(rule, net, layer, reason, "use relu (network option activation=relu)")
        if layer.kind == "batch_norm":
            reason = "the adjoint of a batch norm reads the values in front of it"
            raise _no_bits(rule, net, layer, reason, "use network option norm=fold or norm=rms")
        if layer.kind in WEIGHTED and not sources <= outside | positive:
            reason = "one bit does not hold an input of both signs"
            raise _no_bits(rule, net, layer, reason, "put a relu in front of it")
        if layer.kind in PASSIVE and sources <= outside:
            outside.add(layer.name)
        elif layer.kind == "activation" or (layer.kind in (*PASSIVE, "add") and sources <= positive):
            positive.add(layer.name)
    return outside


def _no_bits(rule: str, net: Network, layer: Layer, reason: str, remedy: str) -> NetworkError:
    return NetworkError(
        f"rule {rule} cannot train {net.name} at layer {layer.name}: {reason}; {remedy}, or rule bp-checkpoint"
    )


@rule
@dataclass(frozen=True)
class Shallow:
    """Trains the last block only: a linear read-out of random features.

    A rule that does not beat it on the same network has learned nothing in the hidden layers.
    """

    name: ClassVar[str] = "shallow"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = Citation(
        "Frenkel, Lefebvre, Bol",
        2021,
        "Learning without feedback (the 'shallow' control)",
        "Front. Neurosci. 15",
    )

    def emit(self, net: Network, b: Builder) -> None:
        h = b.x
        for block in net.blocks[:-1]:
            h = b.forward(block, h).output
        last = b.forward(net.blocks[-1], h)
        b.backward(last, b.output_error(last.output), want_input=False)
