"""The forward-forward algorithm (Hinton 2022): right samples shall excite a block, wrong ones shall not.

Supervised, with the label inside the sample: its first C elements carry the class. Facts of the author's Matlab code
(3 x 1000 ReLU, read in a public copy): the goodness is the sum of squares, with the number of units as threshold;
every input, the sample too, is divided by its root mean square; wrong labels are drawn from a softmax read-out of
the blocks behind the first, in a pass without a label; the goodness of the first block does not count in the
prediction; momentum 0.9, weight decay 0.001, a rate that falls linearly in the second half. It also draws the mean
activities of a block's units towards each other ("peer normalisation"), which is left out here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Literal

from insitu.errors import ConfigError, NetworkError
from insitu.network.builder import Builder, Trace
from insitu.network.graph import Network
from insitu.rules.protocol import Citation, ask_hidden, ask_labels, rule
from insitu.step.ir import Phase, Role, Value

EPS = 1e-8
"""Added to the mean square that a row is divided by."""

BOUNDED = ("tanh", "sigmoid", "hardtanh")
"""Activation functions of at most 1."""

_FORWARD: dict[str, Any] = {"role": Role.ACTIVATION, "phase": Phase.FORWARD}
_ERROR: dict[str, Any] = {"role": Role.ERROR, "phase": Phase.ERROR}
_LABEL: dict[str, Any] = {"role": Role.LABEL, "phase": Phase.FORWARD}


def _normal(b: Builder, h: Value) -> Value:
    """Every row divided by its root mean square: its length says nothing to the next block."""
    return b.emit("rms_norm", h, eps=EPS, **_FORWARD)[0]


@rule
@dataclass(frozen=True)
class ForwardForward:
    """Forward-forward: two forward passes, of a right and of a wrong label, and a loss of every block's own.

    L_k = softplus(θ - g_k(x, y)) + softplus(g_k(x, y′) - θ), g_k the sum (or mean) of h_k², y′ ≠ y a wrong class; the
    block's normalised output h_k / rms(h_k) goes on. The network predicts the label with which the goodness of its
    blocks is largest: C forward passes, whose sums are the scores. The last block, the classifier, has no part in
    this and does not learn, unless ``predict`` or ``negatives`` ask for it.

    The 2B rows, right labels first, run as one batch (a device at batch 1 runs them one after the other), so a step
    holds twice the activations of a block. A block learns right behind its forward pass. Batch norm takes its
    statistics over right and wrong rows. Convolutions see the label only where their window covers the first
    elements: they run, but learn little. The first C elements of a sample are lost: nothing on MNIST, a part of
    8x8 digits.

    Args:
        goodness: ``sum`` over the units (the published code), or ``mean`` (common in public code; learns slower).
        theta: θ per unit; the threshold of a sum is θ times the units. By default 1 for a sum (the published code)
            and 2 for a mean; 0.5 for functions bounded by 1, whose mean square could not reach more.
        negatives: ``random`` classes, or ``hard``: drawn from what the last block, which then learns to read out the
            blocks' output in a pass with 1/C in place of the label, holds for likely (published: a read-out of
            several blocks). A third forward pass, and fewer epochs.
        predict: ``goodness``, or ``readout`` in one pass without a label by the last block, which then learns too.
        first_block: the first block's goodness counts too. The published code leaves it out. Here it helped with
            two hidden blocks on MNIST (2.5 in place of 2.6 % error) and four on digits, and not with three on MNIST.
    """

    goodness: Literal["sum", "mean"] = "sum"
    theta: float | None = None
    negatives: Literal["random", "hard"] = "random"
    predict: Literal["goodness", "readout"] = "goodness"
    first_block: bool = False

    name: ClassVar[str] = "forward-forward"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = Citation(
        "Hinton", 2022, "The forward-forward algorithm: some preliminary investigations", "arXiv 2212.13345"
    )

    def __post_init__(self) -> None:
        if self.theta is not None and not self.theta > 0.0:
            raise ConfigError(f"rule forward-forward has theta={self.theta:g}; use more than 0, such as 1")

    def emit(self, net: Network, b: Builder) -> None:
        self._check(net, b)
        made = {"classes": b.classes, "stream": "wrong_labels"}
        if self.negatives == "hard" or self.predict == "readout":
            wrong = self._read_out(net, b, made)
        else:
            wrong = b.emit1("wrong_labels", b.label, **made, **_LABEL)
        labels = b.emit1("concat_rows", b.label, wrong, **_LABEL)
        h = _normal(b, b.emit1("overlay", b.x, labels, classes=b.classes, name="labelled", **_FORWARD))
        losses = []
        for block in net.blocks[:-1]:
            trace = b.forward(block, h, to_activation=True)
            with b.at(block.name):
                losses += self._learn(b, trace)
                if block is not net.blocks[-2]:
                    h = _normal(b, b.resume(trace).output)
        if losses:
            b.output(b.add_cotangents(losses))

    def emit_inference(self, net: Network, b: Builder) -> None:
        self._check(net, b)
        if self.predict == "readout":
            b.output(self._unlabelled(net, b).output)
            return
        h = _normal(b, b.emit1("overlay_each", b.x, classes=b.classes, name="labelled", **_FORWARD))
        scores: Value | None = None
        for k, block in enumerate(net.blocks[:-1]):
            trace = b.forward(block, h, to_activation=True)
            with b.at(block.name):
                if k or self.first_block or len(net.blocks) == 2:
                    g = self._measure(b, trace.activation)
                    scores = g if scores is None else b.emit1("add", scores, g, **_FORWARD)
                if block is not net.blocks[-2]:
                    h = _normal(b, b.resume(trace).output)
        assert scores is not None
        b.output(b.emit1("reshape", scores, shape=(b.batch, b.classes), **_FORWARD))

    def _measure(self, b: Builder, h: Value) -> Value:
        """The goodness of every row."""
        by = h.shape[0] / h.size if self.goodness == "mean" else 1.0
        return b.emit1("row_squares", h, by=by, **_FORWARD)

    def _learn(self, b: Builder, trace: Trace) -> list[Value]:
        """The block learns from its goodness; returns its loss where the step returns one."""
        h = trace.activation
        g = self._measure(b, h)
        theta = self._threshold(trace) * (1 if self.goodness == "mean" else h.size // h.shape[0])
        with_loss = b.with_loss and self.predict == "goodness"
        measured = b.ops[-1]
        error, *loss = b.emit(
            "goodness_error", g, theta=theta, scale=1.0 / b.batch, with_loss=with_loss, **_ERROR
        )
        b.backward(trace, b.adjoint(measured, [error], [0])[0], at=h, want_input=False)
        return loss

    def _threshold(self, trace: Trace) -> float:
        """θ per unit."""
        if self.theta is not None:
            return self.theta
        if trace.block.activation.attrs.get("fn") in BOUNDED:
            return 0.5
        return 1.0 if self.goodness == "sum" else 2.0

    def _unlabelled(self, net: Network, b: Builder) -> Trace:
        """The forward pass without a label, through the last block."""
        h = _normal(b, b.emit1("overlay_even", b.x, classes=b.classes, name="unlabelled", **_FORWARD))
        for block in net.blocks[:-1]:
            h = _normal(b, b.forward(block, h, again=True).output)
        return b.forward(net.blocks[-1], h, again=True)

    def _read_out(self, net: Network, b: Builder, made: dict[str, Any]) -> Value:
        """The last block learns to classify without a label; returns wrong labels."""
        last = self._unlabelled(net, b)
        if self.negatives == "hard":
            wrong = b.emit1("draw_wrong_labels", last.output, b.label, stream=made["stream"], **_LABEL)
        else:
            wrong = b.emit1("wrong_labels", b.label, **made, **_LABEL)
        readout = self.predict == "readout"
        error = b.output_error(last.output) if readout else b.local_error(last.output)
        b.backward(last, error, want_input=False)
        return wrong

    def _check(self, net: Network, b: Builder) -> None:
        ask_labels(self.name, b, "its samples carry class labels")
        ask_hidden(self.name, net)
        if b.classes < 2 or prod(net.input_shape) <= b.classes:
            raise NetworkError(
                f"rule {self.name} writes {b.classes} classes over the first elements of a sample of "
                f"{prod(net.input_shape)}; it needs 2 classes or more and room for them: use pred"
            )
        for block in net.blocks[:-1]:
            if block.activation.attrs.get("fn") == "sign":
                raise NetworkError(
                    f"rule {self.name} cannot train block {block.name} of {net.name}: outputs of ±1 have one "
                    "goodness, whatever the sample; use pred, or another activation"
                )
