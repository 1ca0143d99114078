"""Dynamic block-wise local learning (Lee, Lee, Jeon 2021): back-propagation inside blocks whose boundaries move."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

from insitu.errors import ConfigError
from insitu.network.builder import Builder, Trace
from insitu.network.graph import Block, Network
from insitu.network.phases import Phases
from insitu.rules.local import decoder
from insitu.rules.protocol import Citation, ask_labels, rule
from insitu.step.ir import Value


@rule
@dataclass(frozen=True)
class DynamicBlocks:
    """Dynamic block-wise local learning: BP inside groups of layers, a small classifier's loss at each group's end.

    The paper's (by its abstract; neither text nor code is public): consecutive layers form blocks that learn
    locally, the boundaries change during training, small fully connected auxiliary classifiers. Ours, as nothing
    says it: groups of ``size`` units (a unit is a layer, or a residual or separable unit) from an offset that
    moves on by one every ``period`` steps, so that every boundary is inside a group at other times; for each
    possible boundary one linear classifier on the average-pooled activation, kept over the whole run. The last
    group learns from the network's loss.

    One group is back-propagation; groups of one unit are ``dgl`` with linear classifiers (``pred``).

    Args:
        size: units of a group; the first and the last may be shorter.
        move: ``cyclic``: offsets in turn; ``random``: drawn; ``fixed``: the boundaries stay (the control that must
            lose if moving them is what helps).
        period: steps until the boundaries move.
        limit, zero: the classifiers, as of ``pred``.
    """

    size: int = 2
    move: Literal["cyclic", "random", "fixed"] = "cyclic"
    period: int = 1
    limit: int = 2048
    zero: bool = False

    name: ClassVar[str] = "dbl"
    forward_only: ClassVar[bool] = False
    paper: ClassVar[Citation] = Citation(
        "Lee, Lee, Jeon",
        2021,
        "Dynamic block-wise local learning algorithm for efficient neural network training",
        "IEEE TVLSI 29(9)",
    )

    def __post_init__(self) -> None:
        for option, value in (("size", self.size), ("period", self.period), ("limit", self.limit)):
            if value < 1:
                raise ConfigError(f"rule dbl has {option}={value}; use 1 or more")

    def phases(self, net: Network) -> Phases:
        if self.move == "fixed":
            return Phases()
        offsets = min(self.size, len(net.blocks))
        return Phases(offsets, period=self.period, drawn=self.move == "random")

    def groups(self, net: Network, offset: int) -> list[tuple[Block, ...]]:
        """The chain cut behind every unit whose number is ``offset`` modulo ``size``."""
        cuts = [n for n in range(1, len(net.blocks)) if n % self.size == offset % self.size]
        bounds = [0, *cuts, len(net.blocks)]
        return [net.blocks[i:j] for i, j in pairwise(bounds)]

    def emit(self, net: Network, b: Builder) -> None:
        ask_labels("dbl", b, "its classifiers need class labels", instead="bp")
        h = b.x
        for group in self.groups(net, b.phase):
            last = group[-1] is net.blocks[-1]
            traces: list[Trace] = []
            for block in group:
                traces.append(b.forward(block, h, to_activation=block is group[-1] and not last))
                h = traces[-1].output
            self._learn(b, traces, last=last)
            h = b.resume(traces[-1]).output

    def _learn(self, b: Builder, traces: list[Trace], *, last: bool) -> None:
        """Back-propagation inside a group."""
        end = traces[-1]
        b.backward_chain(traces, b.output_error(end.output) if last else self._head(b, end))

    def _head(self, b: Builder, end: Trace) -> Value:
        """The error of the boundary's classifier, which learns too."""
        h = end.output
        head = b.head(decoder(end.block.name, h.shape[1:], b.classes, self.limit), h, zero=self.zero)
        error = b.backward(head, b.local_error(head.output))
        assert error is not None
        return error
