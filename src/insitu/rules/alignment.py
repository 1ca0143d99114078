"""Rules that walk back as BP does, but through other matrices: feedback alignment and sign symmetry."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from insitu.network.builder import Builder
from insitu.network.graph import Network
from insitu.rules.protocol import Citation, choose, rule
from insitu.step.ir import Init, Op, Phase, Role, Value

_LIAO = Citation(
    "Liao, Leibo, Poggio", 2016, "How important is weight symmetry in backpropagation?", "AAAI 2016"
)


def fan_in(w: Value) -> int:
    """Inputs of one output element."""
    return prod(w.shape[1:])


def fan_out(w: Value) -> int:
    return w.shape[0] * prod(w.shape[2:])


class _WalkBack:
    """BP's order of operations, with :meth:`through` in place of the transpose."""

    def through(self, b: Builder, op: Op, d: Value) -> Value:
        raise AssertionError("a subclass says how the error passes")

    def emit(self, net: Network, b: Builder) -> None:
        traces = b.forward_all()
        error: Value | None = b.output_error(traces[-1].output)
        for k in reversed(range(len(traces))):
            assert error is not None
            error = b.backward(
                traces[k], error, want_input=k > 0, through=lambda op, d: self.through(b, op, d)
            )


@rule
@dataclass(frozen=True)
class FeedbackAlignment(_WalkBack):
    """Feedback alignment.

    δ_k = (δ_{k+1} F_{k+1}) ⊙ f′(z_k) with a fixed random F of W's shape. Batch norm, pooling and activations pass
    the error exactly. Keeps what BP keeps: FA removes weight transport, not activation storage.

    Args:
        bound: distribution of F. ``kaiming``: U(±√(6/fan_in)) (Frenkel's code, the published MNIST table);
            ``lecun``: U(±1/√fan_in), that of the initial weights (Nøkland's code).
        feedback: ``stored``, or ``regenerated`` from the generator when it is read.
    """

    bound: str = "kaiming"
    feedback: str = "stored"

    name: ClassVar[str] = "fa"
    forward_only: ClassVar[bool] = False
    paper: ClassVar[Citation] = Citation(
        "Lillicrap, Cownden, Tweed, Akerman",
        2016,
        "Random synaptic feedback weights support error backpropagation for deep learning",
        "Nat. Commun. 7",
    )

    def __post_init__(self) -> None:
        choose("bound", self.bound, ("kaiming", "lecun"))
        choose("feedback", self.feedback, ("stored", "regenerated"))

    def through(self, b: Builder, op: Op, d: Value) -> Value:
        w = op.inputs[1]
        bound = (6.0 if self.bound == "kaiming" else 1.0) ** 0.5 * fan_in(w) ** -0.5
        stream = f"{w.name}.feedback"
        if self.feedback == "stored":
            matrix = b.resident(stream, w.shape, Role.FEEDBACK, Init("uniform", stream, bound))
        else:
            matrix = b.emit1(
                "random",
                shape=w.shape,
                format=b.real,
                stream=stream,
                bound=bound,
                role=Role.FEEDBACK,
                phase=Phase.FEEDBACK,
                name=stream,
            )
        return b.linear_dx(op, d, matrix)


def xavier_std(w: Value) -> float:
    """√(2/(fan_in + fan_out)): the scale that keeps variances in both directions (Glorot & Bengio 2010)."""
    return (2.0 / (fan_in(w) + fan_out(w))) ** 0.5


@rule
@dataclass(frozen=True)
class UniformSignSymmetry(_WalkBack):
    """Uniform sign-concordant feedback: F = s · sign(W).

    Only the stored sign bits travel back: the natural low-bit upper bound, though still weight transport. It keeps
    what BP keeps and stores nothing more.

    Args:
        scale: s; ``xavier``: √(2/(fan_in+fan_out)) (biotorch), ``lecun``: 1/√fan_in (the authors' code), or a number.
    """

    scale: str | float = "xavier"

    name: ClassVar[str] = "usf"
    forward_only: ClassVar[bool] = False
    paper: ClassVar[Citation] = _LIAO

    def __post_init__(self) -> None:
        if isinstance(self.scale, str):
            choose("scale", self.scale, ("xavier", "lecun"))

    def through(self, b: Builder, op: Op, d: Value) -> Value:
        w = op.inputs[1]
        named = {"xavier": xavier_std, "lecun": lambda w: fan_in(w) ** -0.5}
        scale = named[self.scale](w) if isinstance(self.scale, str) else float(self.scale)
        return b.linear_dx(op, d, w, view="sign", scale=scale)


def _xavier_bound(w: Value) -> float:
    """Bound of Xavier's uniform distribution."""
    return 3.0**0.5 * xavier_std(w)


@rule
@dataclass(frozen=True)
class BatchRandomSignSymmetry(_WalkBack):
    """Batch-wise random magnitudes: F = |R_t| ⊙ sign(W), R_t ~ Xavier uniform, redrawn at every step, not stored."""

    name: ClassVar[str] = "brsf"
    forward_only: ClassVar[bool] = False
    paper: ClassVar[Citation] = _LIAO

    def through(self, b: Builder, op: Op, d: Value) -> Value:
        w = op.inputs[1]
        stream = f"{w.name}.feedback"
        return b.linear_dx(op, d, w, view="sign-fresh", scale=_xavier_bound(w), stream=stream)


@rule
@dataclass(frozen=True)
class FixedRandomSignSymmetry(_WalkBack):
    """Fixed random magnitudes: F = |R| ⊙ sign(W), R ~ Xavier uniform, drawn once and stored (as many words as W)."""

    name: ClassVar[str] = "frsf"
    forward_only: ClassVar[bool] = False
    paper: ClassVar[Citation] = _LIAO

    def through(self, b: Builder, op: Op, d: Value) -> Value:
        w = op.inputs[1]
        stream = f"{w.name}.feedback"
        init = Init("uniform", stream, _xavier_bound(w))
        magnitude = b.resident(stream, w.shape, Role.FEEDBACK, init)
        return b.linear_dx(op, d, w, magnitude, view="sign-magnitude")
