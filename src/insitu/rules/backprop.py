"""Back-propagation: the reference, its checkpointed form, and the read-out that trains the last block only."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from typing import ClassVar

from insitu.errors import ConfigError
from insitu.network.builder import Builder, Trace
from insitu.network.graph import Block, Network
from insitu.rules.protocol import Citation, rule
from insitu.step.ir import Value


def _forward(net: Network, b: Builder) -> list[Trace]:
    h = b.x
    traces = []
    for block in net.blocks:
        traces.append(b.forward(block, h))
        h = traces[-1].output
    return traces


@rule
@dataclass(frozen=True)
class Backprop:
    """Back-propagation.

    δ_k = (δ_{k+1} W_{k+1}) ⊙ f′(z_k), ΔW_k = -η δ_kᵀ h_{k-1}.

    Keeps every block's input and what the derivatives need until the error comes back.
    """

    name: ClassVar[str] = "bp"
    paper: ClassVar[Citation] = Citation(
        "Rumelhart, Hinton, Williams",
        1986,
        "Learning representations by back-propagating errors",
        "Nature 323",
    )

    def emit(self, net: Network, b: Builder) -> None:
        traces = _forward(net, b)
        error: Value | None = b.output_error(traces[-1].output)
        for k in reversed(range(len(traces))):
            assert error is not None
            error = b.backward(traces[k], error, want_input=k > 0)


@rule
@dataclass(frozen=True)
class CheckpointedBackprop:
    """Back-propagation that keeps only the inputs of segments and recomputes each segment's forward pass.

    The same numbers as ``bp`` (dropout masks are regenerated), about √L segments alive instead of L layers, at
    the price of a second forward pass. The honest memory baseline of every rule that saves activations.

    Args:
        segments: number of segments; √(number of blocks) where 0.
    """

    segments: int = 0

    name: ClassVar[str] = "bp-checkpoint"
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

    def _split(self, net: Network) -> list[tuple[Block, ...]]:
        count = len(net.blocks)
        segments = self.segments or max(1, round(sqrt(count)))
        if not 1 <= segments <= count:
            raise ConfigError(
                f"rule bp-checkpoint: segments={segments}, but {net.name} has {count} blocks; use 1 to {count}"
            )
        size = ceil(count / segments)
        return [net.blocks[i : i + size] for i in range(0, count, size)]

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
