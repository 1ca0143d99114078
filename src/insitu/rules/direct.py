"""Rules that project the output error, or the target, straight to every hidden block: DFA, sDFA, DRTP.

Which variant for convolutions: the dense one of Nøkland and of Frenkel, one feedback weight per output class and
element of the feature map (C × channels × height × width), not biotorch's kernel over a constant error map. A block
of several weighted layers (a residual or depthwise-separable unit) receives the projection at its end and
passes it on inside by its own adjoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from insitu.network.builder import Builder, Trace
from insitu.network.graph import Block, Network
from insitu.ops.loss import mean_scale
from insitu.rules.protocol import Citation, ask_labels, choose, rule
from insitu.step.ir import Init, Phase, Role, Value

FEEDBACK = ("stored", "shared", "regenerated")
POINTS = ("before_pool", "after_pool")
BOUNDS = ("kaiming", "lecun")


@dataclass(frozen=True)
class _Projection:
    """The options that the direct rules share, and the emission of B."""

    feedback: str = "stored"
    point: str = "before_pool"
    bound: str = "kaiming"

    def __post_init__(self) -> None:
        choose("feedback", self.feedback, FEEDBACK)
        choose("point", self.point, POINTS)
        choose("bound", self.bound, BOUNDS)

    def where(self, trace: Trace) -> Value:
        """The value of a block that receives the projection."""
        return trace.activation if self.point == "before_pool" else trace.output

    def _bound(self, n: int) -> float:
        return ((6.0 if self.bound == "kaiming" else 1.0) / n) ** 0.5

    def deliver(self, b: Builder, trace: Trace, source: Value, factor: float = 1.0) -> None:
        """Projects ``source`` (an error [B,C] or the labels) to a block and lets the block learn from it, if it can."""
        if not b.net.learns(trace.block):
            return
        at = self.where(trace)
        n = at.size // at.shape[0]
        with b.at(trace.block.name):
            delta = self._project(b, trace.block.name, source, n, factor)
            if delta.shape != at.shape:
                delta = b.emit1("reshape", delta, shape=at.shape, role=Role.ERROR, phase=Phase.FEEDBACK)
        b.backward(trace, delta, at=at, want_input=False)

    def _project(self, b: Builder, block: str, source: Value, n: int, factor: float) -> Value:
        """B's product with an error, or the rows of the labels, times a factor (the matrix is the same for every
        batch size, so the factor is no part of it)."""
        labels = source is b.label
        kinds = ("select_rows", "random_rows") if labels else ("project", "random_project")
        style: dict[str, Any] = {"role": Role.ERROR, "phase": Phase.FEEDBACK}
        stream, bound = f"{block}.feedback", self._bound(n)
        if self.feedback == "regenerated":
            made = {"stream": stream, "bound": bound} | ({"format": b.real} if labels else {})
            delta = b.emit1(kinds[1], source, columns=n, **made, **style)
        else:
            matrix = self._shared(b) if self.feedback == "shared" else self._stored(b, stream, n)
            delta = b.emit1(kinds[0], *self._operands(labels, matrix, source), columns=n, **style)
            factor *= bound if self.feedback == "shared" else 1.0
        return delta if factor == 1.0 else b.emit1("scale", delta, by=factor, **style)

    def _stored(self, b: Builder, stream: str, n: int) -> Value:
        """A matrix of the block's own."""
        init = Init("uniform", stream, self._bound(n))
        return b.resident(stream, (b.classes, n), Role.FEEDBACK, init)

    @staticmethod
    def _operands(labels: bool, matrix: Value, source: Value) -> tuple[Value, Value]:
        return (matrix, source) if labels else (source, matrix)

    def _shared(self, b: Builder) -> Value:
        """One matrix U(±1) as wide as the widest hidden block that learns."""
        widest = max(self._width(block) for block in b.net.blocks[:-1] if b.net.learns(block))
        return b.resident("feedback", (b.classes, widest), Role.FEEDBACK, Init("uniform", "feedback", 1.0))

    def _width(self, block: Block) -> int:
        """Elements per sample at the point of injection."""
        return prod(block.activation.shape if self.point == "before_pool" else block.shape)


@rule
@dataclass(frozen=True)
class DirectFeedbackAlignment(_Projection):
    """Direct feedback alignment: every hidden block receives the output error through its own fixed random matrix.

    δ_k = (e B_k) ⊙ f′(z_k), e = ∂L/∂z_K averaged over the batch as the loss is (Nøkland's code sums; a matter of the
    learning rate, the same for all layers); the last block learns from e itself. Convolutions: the dense variant, B of
    C × (channels × height × width) (see the module's text). The error exists only after the forward
    pass, so DFA keeps the activations that BP keeps; it saves the chain of errors.

    Args:
        feedback: ``stored`` one matrix per block; ``shared`` one matrix, of which a block of n elements reads the
            first n columns (Launay 2019); ``regenerated`` row by row, nothing stored (the numbers of ``stored``).
        point: where a block receives the projection: ``before_pool`` (before the pools at its end, Frenkel's
            code) or ``after_pool`` (at its end; Nøkland's code, the published form).
        bound: distribution of B: ``lecun`` U(±1/√n) (Nøkland's code), ``kaiming`` U(±√(6/n)) (Frenkel's code).
    """

    point: str = "after_pool"
    bound: str = "lecun"

    name: ClassVar[str] = "dfa"
    forward_only: ClassVar[bool] = False
    paper: ClassVar[Citation] = Citation(
        "Nøkland", 2016, "Direct feedback alignment provides learning in deep neural networks", "NeurIPS 2016"
    )

    def emit(self, net: Network, b: Builder) -> None:
        traces = b.forward_all()
        error = b.output_error(traces[-1].output)
        signal = self.signal(b, error)
        b.backward(traces[-1], error, want_input=False)
        for trace in reversed(traces[:-1]):
            self.deliver(b, trace, signal)

    def signal(self, b: Builder, error: Value) -> Value:
        """What is projected: the output error, as a vector per sample."""
        return _vector(b, error)


def _vector(b: Builder, error: Value) -> Value:
    """An error as [B, outputs]."""
    if len(error.shape) == 2:
        return error
    shape = (error.shape[0], prod(error.shape[1:]))
    return b.emit1("reshape", error, shape=shape, role=Role.ERROR, phase=Phase.FEEDBACK)


@rule
@dataclass(frozen=True)
class SignDirectFeedbackAlignment(DirectFeedbackAlignment):
    """Error-sign DFA: δ_k = (sign(e) B_k) ⊙ f′(z_k).

    The projected signal is one bit (and a zero) per class and does not shrink with the error.

    Args:
        feedback, point, bound: as for ``dfa``; Frenkel's code is the published form.
        scale: ``mean`` multiplies sign(e) by the loss's own mean factor, so that one learning rate serves the hidden
            and the output layer; ``one``: ±1 as in the published code (harmless under Adam).
    """

    point: str = "before_pool"
    bound: str = "kaiming"
    scale: str = "one"

    name: ClassVar[str] = "sdfa"
    forward_only: ClassVar[bool] = False
    paper: ClassVar[Citation] = Citation(
        "Frenkel, Lefebvre, Bol", 2021, "Learning without feedback (error-sign DFA)", "Front. Neurosci. 15"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        choose("scale", self.scale, ("one", "mean"))

    def signal(self, b: Builder, error: Value) -> Value:
        style: dict[str, Any] = {"role": Role.ERROR, "phase": Phase.FEEDBACK}
        sign = b.emit1("sign", _vector(b, error), **style)
        if self.scale == "one":
            return sign
        return b.emit1("scale", sign, by=mean_scale(b.loss, error.shape), **style)


@rule
@dataclass(frozen=True)
class DirectRandomTargetProjection(_Projection):
    """Direct random target projection: the label picks one row of a fixed random matrix.

    δ_k = B_k[c*] ⊙ f′(z_k), known as soon as z_k is: a block learns right behind its own forward pass and its input
    dies at once. No multiplication for feedback. Convolutions: the dense variant, as for ``dfa``. It needs class
    labels: regression is impossible. The signal never shrinks, so saturating activations (tanh, sigmoid, hard tanh)
    or a decaying learning rate are needed.

    Args:
        feedback, point, bound: as for ``dfa``; the defaults are the published code's.
        scale: ``one``: B is not divided by the batch (nor, for bce, by the outputs), while the output error is:
            under SGD the hidden layers then see a B (bce: B·C) times larger gradient (the published code; it
            cancels under Adam).
            ``mean``: the same factor as the loss.
        sign: 1 as published (the label as a proxy of the error; B is symmetric), -1 to compare angles with BP
            when B is shared with DFA (the sign of y - t at the true class).
    """

    scale: str = "one"
    sign: int = 1

    name: ClassVar[str] = "drtp"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = Citation(
        "Frenkel, Lefebvre, Bol",
        2021,
        "Learning without feedback: fixed random learning signals allow for feedforward training of deep networks",
        "Front. Neurosci. 15",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        choose("scale", self.scale, ("one", "mean"))
        choose("sign", str(self.sign), ("1", "-1"))

    def emit(self, net: Network, b: Builder) -> None:
        ask_labels("drtp", b, "it projects class labels", instead="dfa or sdfa")
        h = b.x
        factor = self.sign * (mean_scale(b.loss, (b.batch, b.classes)) if self.scale == "mean" else 1.0)
        for block in net.blocks[:-1]:
            trace = b.forward(block, h, to_activation=self.point == "before_pool")
            self.deliver(b, trace, b.label, factor)
            h = b.resume(trace).output
        last = b.forward(net.blocks[-1], h)
        b.backward(last, b.output_error(last.output), want_input=False)
