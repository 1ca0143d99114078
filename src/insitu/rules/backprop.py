"""Back-propagation: the reference, its checkpointed form, and the read-out that trains the last block only."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod
from typing import ClassVar

from insitu.errors import ConfigError
from insitu.network.builder import Builder, Trace
from insitu.network.graph import Block, Network
from insitu.rules.protocol import Citation, rule
from insitu.step.ir import Value


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
        error: Value | None = b.output_error(traces[-1].output)
        for k in reversed(range(len(traces))):
            assert error is not None
            error = b.backward(traces[k], error, want_input=k > 0)


Segments = list[tuple[Block, ...]]
_VIEWS = ("activation", "dropout", "reshape")  # in place or views: no memory of their own


def _segments(net: Network, count: int) -> Segments:
    """The chain in at most ``count`` parts of equally many blocks (the last may be shorter)."""
    size = ceil(len(net.blocks) / count)
    return [net.blocks[i : i + size] for i in range(0, len(net.blocks), size)]


def _kept(block: Block) -> int:
    """Elements per sample that a block keeps for its backward pass.

    Activations and dropout work in place, a view has no memory, and a map in front of a max pool dies at once (see
    :func:`insitu.passes.fuse.gate_before_unpool`).
    """
    pooled = {name for x in block.layers if x.kind == "max_pool" for name in x.inputs}
    pooled |= {name for x in block.layers if x.name in pooled and x.kind == "activation" for name in x.inputs}
    return sum(prod(x.shape) for x in block.layers if x.kind not in _VIEWS and x.name not in pooled)


def _price(net: Network, parts: Segments) -> int:
    """Elements per sample that live at once: the inputs of all parts, the largest part, and the largest map."""
    inputs = prod(net.input_shape) + sum(prod(part[-1].shape) for part in parts[:-1])
    inner = max(sum(map(_kept, part)) for part in parts)
    return inputs + inner + max(prod(x.shape) for x in net.layers)


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
        parts = self._split(net)
        inputs, traces = [], []
        h = b.x
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

    def _split(self, net: Network) -> Segments:
        count = len(net.blocks)
        if not 0 <= self.segments <= count:
            raise ConfigError(
                f"rule bp-checkpoint: segments={self.segments}, but {net.name} has {count} blocks; use 0 to {count}"
            )
        if self.segments:
            return _segments(net, self.segments)
        return min((_segments(net, n) for n in range(1, count + 1)), key=lambda parts: _price(net, parts))

    @staticmethod
    def _again(part: tuple[Block, ...], h: Value, b: Builder) -> list[Trace]:
        traces = []
        for block in part:
            traces.append(b.forward(block, h, again=True))
            h = traces[-1].output
        return traces


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
