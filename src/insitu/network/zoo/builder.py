"""Describes the zoo's networks: what :class:`Describe` does, under a caller's options. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from insitu.errors import NetworkError
from insitu.network.layers import Describe
from insitu.ops.activations import ACTIVATIONS
from insitu.step.ir import Shape

_PREFIX = {
    "dense": "fc",
    "conv2d": "conv",
    "batch_norm": "bn",
    "max_pool": "pool",
    "avg_pool": "pool",
    "reshape": "flatten",
    "dropout": "drop",
}


@dataclass(frozen=True)
class Options:
    """What a caller may change about a network; see :func:`insitu.network.zoo.build`."""

    classes: int
    activation: str
    batch_norm: bool
    dropout: float


class Sketch(Describe):
    """Describes a network under :class:`Options`, with readable layer names (``conv1``, ``bn1``, ``relu1``).

    Raises:
        NetworkError: where a layer would have an empty output, since the input is too small.
    """

    def __init__(self, name: str, input_shape: Shape, options: Options) -> None:
        super().__init__(name, input_shape)
        self.options = options
        self._numbers: dict[str, int] = {}

    def _add(self, kind: str, shape: Shape, *, name: str | None = None, **more: Any) -> str:
        if min(shape) < 1:
            raise NetworkError(
                f"network {self.name} does not fit an input of {size_text(self.input_shape)}: its {kind} layer "
                f"after {self.here!r} ({size_text(self.shape)}) would have no output. Use a larger input, or a "
                "network with fewer pools such as cnn-16-32"
            )
        return super()._add(kind, shape, name=name or self._next(kind, more), **more)

    def _next(self, kind: str, more: dict[str, Any]) -> str:
        prefix = more["fn"] if kind == "activation" else _PREFIX.get(kind, kind)
        if kind == "conv2d" and more["groups"] > 1:
            prefix = "dw"
        self._numbers[prefix] = self._numbers.get(prefix, 0) + 1
        return f"{prefix}{self._numbers[prefix]}"

    def act(self) -> str:
        """The network's activation function."""
        fn = self.options.activation
        return self.activation(fn, **ACTIVATIONS[fn].options)

    def norm(self) -> str:
        """A batch norm, unless it is switched off."""
        return self.batch_norm() if self.options.batch_norm else self.here

    def drop(self, p: float | None = None) -> str:
        """A dropout layer, unless the rate (by default the network's) is 0."""
        p = self.options.dropout if p is None else p
        return self.dropout(p) if p > 0 else self.here

    def hidden_dense(self, outputs: int, *, bias: bool = True) -> str:
        """Dense, batch norm, activation, dropout (the middle and last one if they are on)."""
        self.dense(outputs, bias=bias)
        self.norm()
        self.act()
        return self.drop()

    def hidden_conv(self, channels: int, kernel: Any, **geometry: Any) -> str:
        """Convolution, batch norm (if it is on), activation."""
        self.conv(channels, kernel, **geometry)
        self.norm()
        return self.act()

    def logits(self) -> str:
        """The last layer: one output per class."""
        return self.dense(self.options.classes)

    def pooled_logits(self) -> str:
        """The end of a convolutional network: the mean of each channel, dropout, the last layer."""
        self.global_avg_pool()
        self.flatten()
        self.drop()
        return self.logits()


def size_text(shape: Shape) -> str:
    """A shape as ``3x32x32``."""
    return "x".join(map(str, shape))
