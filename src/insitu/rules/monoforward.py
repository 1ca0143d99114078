"""Mono-Forward (Gong, Li, Abdulla 2025): forward-forward's layers with a cross-entropy of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from insitu.network.builder import Builder, Trace
from insitu.network.layers import Describe
from insitu.rules.local import LocalLoss
from insitu.rules.protocol import Citation, rule
from insitu.step.ir import Value


@rule
@dataclass(frozen=True)
class MonoForward(LocalLoss):
    """Mono-Forward: a trained matrix of class weights M_k on every hidden block.

    L_k = CE(G_k, y), G_k = h_k M_kᵀ, h_k the whole activation, flattened; no bias, no pool. The last block learns
    from the network's loss, which is the same form. ``pred`` with the whole map and random instead of zero
    weights. Serves batch 1. (The published prediction by the last block's G is the network's own output here; the
    reference code was not read.)
    """

    name: ClassVar[str] = "mono-forward"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = Citation(
        "Gong, Li, Abdulla",
        2025,
        "Mono-Forward: backpropagation-free algorithm for efficient neural network training harnessing local errors",
        "arXiv 2501.09238",
    )

    def signal(self, b: Builder, trace: Trace) -> Value:
        h = trace.activation
        block = b.layer or ""
        layers = Describe(block, h.shape[1:], head=True)
        if len(h.shape) > 2:
            layers.flatten(name=f"{block}.head.flatten")
        layers.dense(b.classes, bias=False, name=f"{block}.head")
        head = b.head(layers.layers, h)
        error = b.backward(head, b.local_error(head.output, loss="xent"))
        assert error is not None
        return error
