"""Local error signals: every hidden block has a loss of its own and learns from it right behind its forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from insitu.errors import ConfigError, NetworkError
from insitu.network.build import Describe
from insitu.network.builder import Builder
from insitu.network.graph import Layer, Network
from insitu.rules.protocol import Citation, rule
from insitu.step.ir import Shape


def decoder(block: str, shape: Shape, outputs: int, limit: int) -> list[Layer]:
    """The linear classifier of a block: average pool until at most ``limit`` features are left, then dense.

    The pool's window doubles in height and width in turn (Nøkland & Eidnes' code).
    """
    head = Describe(block, shape)
    if len(shape) == 3:
        window = [1, 1]
        while head.shape[0] * (shape[1] // window[0]) * (shape[2] // window[1]) > limit:
            axis = 0 if window[0] <= window[1] else 1
            if 2 * window[axis] > shape[1 + axis]:
                raise ConfigError(
                    f"block {block} of shape {list(shape)} cannot be pooled to {limit} features; raise limit"
                )
            window[axis] *= 2
        if window != [1, 1]:
            head.avg_pool(window, name=f"{block}.head.pool")
        head.flatten(name=f"{block}.head.flatten")
    head.dense(outputs, name=f"{block}.head")
    return head.layers


@rule
@dataclass(frozen=True)
class LocalPrediction:
    """Prediction loss of local error signals: a linear classifier on every hidden block.

    L_k = CE(W_dec pool(h_k) + b, y), ΔW_k = -η ∂L_k/∂W_k; nothing passes from block to block, so a block's input dies
    right behind its update. The loss reads h before the block's pool and dropout. With ``zero`` heads (the published
    code) the first step of the hidden weights is zero.

    Args:
        limit: features of the classifier at most; larger maps are average-pooled (2048 to 4096 for 32x32 images, 1024
            for 28x28 in the published code).
        zero: the classifiers start at zero.
    """

    limit: int = 2048
    zero: bool = True

    name: ClassVar[str] = "pred"
    paper: ClassVar[Citation] = Citation(
        "Nøkland, Eidnes", 2019, "Training neural networks with local error signals", "ICML 2019"
    )

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ConfigError(f"rule pred has limit={self.limit}; use at least 1 feature")

    def emit(self, net: Network, b: Builder) -> None:
        if b.targets:
            raise NetworkError(
                f"rule pred cannot train {net.name} on regression targets: its heads classify; use dfa"
            )
        h = b.x
        for block in net.blocks[:-1]:
            trace = b.forward(block, h, to_activation=True)
            at = trace.activation
            head = b.head(decoder(block.name, at.shape[1:], b.classes, self.limit), at, zero=self.zero)
            error = b.backward(head, b.output_error(head.output, local=True))
            assert error is not None
            b.backward(trace, error, at=at, want_input=False)
            h = b.resume(trace).output
        last = b.forward(net.blocks[-1], h)
        b.backward(last, b.output_error(last.output), want_input=False)
