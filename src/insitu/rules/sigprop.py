"""Signal propagation (Kohan, Rietman, Siegelmann 2022): the targets travel the same layers as the samples.

Facts of the authors' code (its losses, propagators and README were read): samples and targets go through a layer
one after the other; the loss of a layer is the cross-entropy of the products h tᵀ, of maps averaged over space; its
error reaches the layer through both, and nothing passes to the layer below. The targets of its examples come from a
learned first layer (linear, layer norm, ReLU), beside a learned first convolution of the samples; a fixed projection
is an option of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Literal

from insitu.errors import ConfigError
from insitu.network.builder import Builder, Trace
from insitu.network.graph import Block, Network
from insitu.rules.protocol import Citation, ask_hidden, ask_labels, rule
from insitu.step.ir import Init, Phase, Role, Value

_FORWARD: dict[str, Any] = {"role": Role.ACTIVATION, "phase": Phase.FORWARD}
_GRADIENT: dict[str, Any] = {"role": Role.SCRATCH, "phase": Phase.GRADIENT}
_STREAM = "signal.targets"


@rule
@dataclass(frozen=True)
class SignalPropagation:
    """Signal propagation: every block classifies its samples by its own outputs for the targets.

    L_k = CE(s h_k t_kᵀ, y), h_k [B, n] the block's output for the samples and t_k [C, n] for the targets, one per
    class. A block learns right behind its forward pass, through h_k and t_k; the last block learns from the network's
    own loss on the samples, and predicts. C more rows in every pass; no classifier per block, nothing passed back.

    Ours: the targets are a matrix C x (elements of a sample), U(±bound), in place of the published learned first
    layer; samples and targets form one batch of B + C rows, which a device may run one by one. So batch norm takes
    its statistics over both (the published code: over each alone): use a batch of many times the classes with it.
    Convolutions of 8 or 16 channels did not beat ``shallow`` here; of 32 and more, with batch norm, they mostly
    did (digits only).

    Args:
        targets: ``stored`` random numbers; ``regenerated`` at every step (the same numbers); or ``learned``, starting
            there, by the error that the first block's loss has at its input (nearer to the published examples).
        bound: of the targets' first elements.
        scale: s: ``code`` 1, of a map 1/(height · width); ``root`` 1/√n; ``mean`` 1/n, n the elements of h.
    """

    targets: Literal["stored", "regenerated", "learned"] = "stored"
    bound: float = 1.0
    scale: Literal["code", "root", "mean"] = "code"

    name: ClassVar[str] = "sigprop"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = Citation(
        "Kohan, Rietman, Siegelmann",
        2022,
        "Signal propagation: the framework for learning and inference in a forward pass",
        "arXiv 2204.01723",
    )

    def __post_init__(self) -> None:
        if not self.bound > 0.0:
            raise ConfigError(f"rule sigprop has bound={self.bound:g}; use more than 0, such as 1")

    def emit(self, net: Network, b: Builder) -> None:
        self._check(net, b)
        taught = self._taught(net)
        h = self._teach(net.blocks[:taught], b) if taught else b.x
        for block in net.blocks[taught:-1]:
            h = b.forward(block, h).output
        last = b.forward(net.blocks[-1], h)
        b.backward(last, b.output_error(last.output), want_input=False)

    @staticmethod
    def _taught(net: Network) -> int:
        """How many of the first blocks the targets travel: up to the last hidden one that learns."""
        return max((n for n, block in enumerate(net.blocks[:-1], 1) if net.learns(block)), default=0)

    def _teach(self, blocks: Sequence[Block], b: Builder) -> Value:
        """The blocks learn from samples and targets; returns what they make of the samples."""
        targets = self._targets(b)
        h = b.emit1("concat_rows", b.x, targets, name="signals", **_FORWARD)
        for block in blocks:
            trace = b.forward(block, h, to_activation=True)
            with b.at(block.name):
                delta = self._signal(b, trace)
            learned = targets.role is Role.HEAD and block is blocks[0]
            below = b.backward(trace, delta, at=trace.activation, want_input=learned)
            if below is not None:
                mine = b.emit1("slice_rows", below, start=b.batch, count=b.classes, **_GRADIENT)
                b.update(targets, mine)
            h = b.resume(trace).output
        return b.emit1("slice_rows", h, start=0, count=b.batch, **_FORWARD)

    def _targets(self, b: Builder) -> Value:
        """A random sample per class, the same at every step, or learned from there."""
        shape = (b.classes, *b.x.shape[1:])
        if self.targets == "regenerated":
            made = {"shape": shape, "format": b.real, "stream": _STREAM, "bound": self.bound}
            return b.emit1("random", **made, role=Role.FEEDBACK, phase=Phase.FEEDBACK)
        role = Role.HEAD if self.targets == "learned" else Role.FEEDBACK
        return b.resident(_STREAM, shape, role, Init("uniform", _STREAM, self.bound))

    def _signal(self, b: Builder, trace: Trace) -> Value:
        """The error at a block's activation, for samples and targets."""
        h = trace.activation
        z = b.emit1("row_products", h, first=b.batch, by=self._factor(h), **_FORWARD)
        products = b.ops[-1]
        return b.adjoint(products, [b.local_error(z, loss="xent")], [0])[0]

    def _factor(self, h: Value) -> float:
        n = h.size // h.shape[0]
        return {"code": 1.0 / prod(h.shape[2:]), "root": n**-0.5, "mean": 1.0 / n}[self.scale]

    def _check(self, net: Network, b: Builder) -> None:
        ask_labels(self.name, b, "it compares samples with classes")
        ask_hidden(self.name, net)
