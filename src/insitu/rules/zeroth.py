"""Zeroth-order learning (SPSA, Spall 1992; MeZO, Malladi 2023): two forward passes, and inference's memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import prod
from typing import Any, ClassVar

from insitu.errors import ConfigError
from insitu.network.builder import Builder
from insitu.network.graph import Block, Network
from insitu.rules.protocol import Citation, rule
from insitu.step.ir import Phase, Role, Value

_UPDATE: dict[str, Any] = {"role": Role.WEIGHT, "phase": Phase.UPDATE}


@rule
@dataclass(frozen=True)
class ZerothOrder:
    """MeZO: the weights move along a random direction by what the loss says of it.

    g = (L(θ + εz) - L(θ - εz)) / 2ε, θ ← θ - η g z. z is made anew from (seed, step) each time it is needed and
    never stored; the way back from θ - εz and the update are one pass over the weights. The extreme of memory: no
    activation is kept, no gradient, no state, only the sample longer than inference keeps it; the price is
    variance that grows with the number of weights. Serves batch 1 and any loss. Plain SGD only.

    z is ±1 (SPSA: one random bit a weight, no multiplier), where MeZO draws from N(0, 1). MeZO was published for
    fine-tuning; from random weights it is slow: on the embedded digits it stays below ``shallow`` for 60 epochs, and
    its rate must fall with the number of weights (0.01 at 2,400, 0.003 at 7,500). Dropout has one mask for both
    passes; batch norm tracks the first, whose weights are those of θ + εz.

    Args:
        epsilon: ε.
    """

    epsilon: float = 1e-3

    name: ClassVar[str] = "mezo"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = Citation(
        "Malladi, Gao, Nichani, Damian, Lee, Chen, Arora",
        2023,
        "Fine-tuning language models with just forward passes",
        "NeurIPS 2023",
    )

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise ConfigError(f"rule mezo has epsilon={self.epsilon:g}; use more than 0, such as 1e-3")

    def emit(self, net: Network, b: Builder) -> None:
        if b.optimizer.kind != "sgd" or b.optimizer.weight_decay:
            raise ConfigError(
                f"rule mezo has no gradient for the optimiser {b.optimizer}; use sgd without weight decay "
                "(--set optimizer.kind=sgd)"
            )
        first = _shared(net)
        traces = b.forward_chain(net.blocks[:first], b.x)
        h, blocks = traces[-1].output if traces else b.x, net.blocks[first:]
        free = set(net.trainable)
        weights = [b.param(x, s) for x in net.layers for s in x.params if x.param(s) in free]
        up = self._loss(b, blocks, h, weights, self.epsilon, again=False)
        down = self._loss(b, blocks, h, weights, -2.0 * self.epsilon, again=True)
        for w in weights:
            b.emit(
                "perturb_update", w, up, down, stream=f"{w.name}.direction", epsilon=self.epsilon, **_UPDATE
            )
        if b.with_loss:
            total = b.emit1("add", up, down, role=Role.SCRATCH, phase=Phase.ERROR)
            b.output(b.emit1("scale", total, by=0.5, role=Role.SCRATCH, phase=Phase.ERROR))

    @staticmethod
    def _loss(
        b: Builder, blocks: Sequence[Block], h: Value, weights: list[Value], by: float, *, again: bool
    ) -> Value:
        """The loss behind a move of all weights along z; ``h``: the input of the blocks."""
        for w in weights:
            b.emit("perturb", w, stream=f"{w.name}.direction", by=by, **_UPDATE)
        for block in blocks:
            h = b.forward(block, h, again=again).output
        return b.loss_of(h)


def _shared(net: Network) -> int:
    """How many of the first blocks both passes share: frozen ones, up to the last output no larger than a sample."""
    frozen = takewhile(lambda block: not net.learns(block), net.blocks)
    small = [n for n, block in enumerate(frozen, 1) if prod(block.shape) <= prod(net.input_shape)]
    return max(small, default=0)
