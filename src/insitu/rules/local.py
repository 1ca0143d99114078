"""Local error signals (Nøkland & Eidnes 2019): every hidden block has a loss of its own.

A block learns right behind its forward pass and passes nothing back, so its input dies at once. The loss reads the
block's activation h before its pool and dropout; the last block learns from the network's own loss. Where the
published networks put batch norm and LeakyReLU, so must the network here: a rule does not add layers to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from insitu.errors import ConfigError, NetworkError
from insitu.network.builder import Builder, Trace
from insitu.network.graph import Layer, Network
from insitu.network.layers import Describe
from insitu.ops.conv import plane
from insitu.rules.protocol import Citation, ask_labels, rule
from insitu.step.ir import Init, Op, Phase, Role, Shape, Value

_PAPER = Citation("Nøkland, Eidnes", 2019, "Training neural networks with local error signals", "ICML 2019")
_HEAD: dict[str, Any] = {"role": Role.HEAD, "phase": Phase.FORWARD}


def pool_window(shape: Shape, limit: int) -> tuple[int, int]:
    """The window of the average pool that leaves at most ``limit`` features; it doubles in height and width in turn.

    Raises:
        ConfigError: if one value per channel is still too much.
    """
    window = [1, 1]
    while (
        shape[0] * plane(shape[1], window[0], window[0], 0) * plane(shape[2], window[1], window[1], 0) > limit
    ):
        axis = 0 if window[0] <= window[1] else 1
        if 2 * window[axis] > shape[1 + axis]:
            raise ConfigError(
                f"a block of shape {list(shape)} cannot be pooled to {limit} features; raise limit"
            )
        window[axis] *= 2
    return window[0], window[1]


def pooled(block: str, shape: Shape, limit: int) -> Describe:
    """The head's first layers: average pool to at most ``limit`` features, flatten."""
    head = Describe(block, shape, head=True)
    if len(shape) == 3:
        window = pool_window(shape, limit)
        if window != (1, 1):
            head.avg_pool(window, name=f"{block}.head.pool")
        head.flatten(name=f"{block}.head.flatten")
    return head


def decoder(block: str, shape: Shape, outputs: int, limit: int, sketch: int = 0) -> list[Layer]:
    """The linear classifier of a block: pool, flatten, a sketch of so many numbers if there are more, dense."""
    head = pooled(block, shape, limit)
    if 0 < sketch < head.shape[0]:
        head.sketch(sketch, f"{block}.head.sketch", name=f"{block}.head.sketch")
    head.dense(outputs, name=f"{block}.head")
    return head.layers


def projector(block: str, shape: Shape) -> list[Layer]:
    """The auxiliary map of the similarity loss: 3x3 convolution or dense of the block's own width, no bias."""
    aux = Describe(block, shape, head=True)
    if len(shape) == 3:
        aux.conv(shape[0], 3, padding=1, bias=False, name=f"{block}.sim")
    else:
        aux.dense(shape[0], bias=False, name=f"{block}.sim")
    return aux.layers


def similarity(b: Builder, g: Value) -> tuple[Value, list[Op]]:
    """R = x̂ x̂ᵀ with x̂ the centred, normalised descriptor of g; and the ops that made it.

    The descriptor is the standard deviation over space of a map of more than 3 channels, else g flattened.
    """
    start = len(b.ops)
    spatial = len(g.shape) == 4 and g.shape[1] > 3 and g.shape[2] > 1
    x = b.emit1("space_std", g, **_HEAD) if spatial else _rows(b, g)
    units = b.emit("unit_rows", x, **_HEAD)[0]
    return b.emit1("gram", units, **_HEAD), b.ops[start:]


def _rows(b: Builder, g: Value) -> Value:
    if len(g.shape) == 2:
        return g
    return b.emit1("reshape", g, shape=(g.shape[0], g.size // g.shape[0]), **_HEAD)


def walk_back(b: Builder, ops: Sequence[Op], error: Value) -> Value:
    """The adjoint of a chain of ops without parameters."""
    for op in reversed(ops):
        rest: list[Value | None] = [None] * (len(op.outputs) - 1)
        error = b.adjoint(op, [error, *rest], [0])[0]
    return error


class LocalLoss:
    """The order of emission that all these rules share; a subclass gives the error at a block's activation."""

    name: ClassVar[str]

    def signal(self, b: Builder, trace: Trace) -> Value:
        raise AssertionError("a subclass has a local loss")

    def emit(self, net: Network, b: Builder) -> None:
        ask_labels(self.name, b, "its local losses need class labels")
        h = b.x
        for block in net.blocks[:-1]:
            trace = b.forward(block, h, to_activation=True)
            with b.at(block.name):
                error = self.signal(b, trace)
            b.backward(trace, error, at=trace.activation, want_input=False)
            h = b.resume(trace).output
        last = b.forward(net.blocks[-1], h)
        b.backward(last, b.output_error(last.output), want_input=False)


def check_limit(name: str, limit: int) -> None:
    if limit < 1:
        raise ConfigError(f"rule {name} has limit={limit}; use at least 1 feature")


def _check_batch(name: str, b: Builder) -> None:
    if b.batch < 2:
        raise NetworkError(
            f"rule {name} compares the samples of a batch and has no signal at batch 1; use a batch of several "
            "times the classes, or rule pred"
        )


def _prediction(b: Builder, h: Value, limit: int, zero: bool, weight: float) -> Value:
    """The error of a linear classifier at h; the classifier learns too."""
    block = b.layer or ""
    head = b.head(decoder(block, h.shape[1:], b.classes, limit), h, zero=zero)
    error = b.backward(head, b.local_error(head.output, weight=weight))
    assert error is not None
    return error


def _matching(b: Builder, h: Value, weight: float) -> Value:
    """The error of the similarity loss at h through a trained auxiliary map; the map learns too."""
    aux = b.head(projector(b.layer or "", h.shape[1:]), h)
    found, ops = similarity(b, aux.output)
    target = b.emit1("label_gram", b.label, classes=b.classes, format=b.real, **_HEAD)
    error = walk_back(b, ops, b.local_error(found, target, loss="mse", weight=weight))
    below = b.backward(aux, error)
    assert below is not None
    return below


@rule
@dataclass(frozen=True)
class LocalPrediction(LocalLoss):
    """Prediction loss: a linear classifier on every hidden block.

    L_k = CE(W_dec pool(h_k) + b, y). With ``zero`` heads (the published code) the first step of the hidden weights is
    zero. Serves batch 1.

    Args:
        limit: features of the classifier at most; larger maps are average-pooled (2048 to 4096 for 32x32 images,
            1024 for 28x28 in the published code).
        zero: the classifiers start at zero.
    """

    limit: int = 2048
    zero: bool = True

    name: ClassVar[str] = "pred"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = _PAPER

    def __post_init__(self) -> None:
        check_limit(self.name, self.limit)

    def signal(self, b: Builder, trace: Trace) -> Value:
        return _prediction(b, trace.activation, self.limit, self.zero, 1.0)

    def emit_exits(self, net: Network, b: Builder) -> None:
        h = b.x
        for block in net.blocks[:-1]:
            trace = b.forward(block, h, to_activation=True)
            layers = decoder(block.name, trace.activation.shape[1:], b.classes, self.limit)
            b.output(b.head(layers, trace.activation, zero=self.zero).output)
            h = b.resume(trace).output
        b.output(b.forward(net.blocks[-1], h).output)


@rule
@dataclass(frozen=True)
class LocalSimilarity(LocalLoss):
    """Similarity matching loss: samples of one class shall look alike, of different classes not.

    L_k = MSE(R(g_k), R(y)) over all B² pairs, g = aux(h) a trained 3x3 convolution (dense: square) of the block's
    own width, R the Gram matrix of centred, normalised descriptors (a map's standard deviation over space). Needs
    a batch of at least 2, and several samples of each class to be of use.
    """

    name: ClassVar[str] = "sim"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = _PAPER

    def signal(self, b: Builder, trace: Trace) -> Value:
        _check_batch(self.name, b)
        return _matching(b, trace.activation, 1.0)


@rule
@dataclass(frozen=True)
class LocalPredictionSimilarity(LocalLoss):
    """Both: L_k = (1 - β) L_pred + β L_sim.

    The published code also multiplies the output layer's loss by 1 - β, which matters to Adam through its ε only; here
    it is not multiplied.

    Args:
        beta: β.
        limit, zero: as for ``pred``.
    """

    beta: float = 0.99
    limit: int = 2048
    zero: bool = True

    name: ClassVar[str] = "predsim"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = _PAPER

    def __post_init__(self) -> None:
        check_limit(self.name, self.limit)
        _check_beta(self.name, self.beta)

    def signal(self, b: Builder, trace: Trace) -> Value:
        _check_batch(self.name, b)
        h = trace.activation
        alike = _matching(b, h, self.beta)
        return b.add_cotangents([alike, _prediction(b, h, self.limit, self.zero, 1.0 - self.beta)])


def _check_beta(name: str, beta: float) -> None:
    if not 0.0 < beta < 1.0:
        raise ConfigError(
            f"rule {name} has beta={beta:g}; use more than 0 and less than 1, or rule pred or sim"
        )


LABEL_WIDTH = 128
"""Width of the random label projection of the backprop-free variants (the published code)."""


def _projected_labels(b: Builder) -> Value:
    """P[y], rows of a fixed random matrix C x 128, U(±1)."""
    init = Init("uniform", "labels.feedback", 1.0)
    matrix = b.resident("labels.feedback", (b.classes, LABEL_WIDTH), Role.FEEDBACK, init)
    return b.emit1("select_rows", matrix, b.label, columns=LABEL_WIDTH, role=Role.HEAD, phase=Phase.FEEDBACK)


def _free_prediction(b: Builder, h: Value, limit: int, weight: float) -> Value:
    """BCE of a 128-output decoder against the signs of P[y]; the error passes a fixed random matrix F."""
    block = b.layer or ""
    head = b.head(decoder(block, h.shape[1:], LABEL_WIDTH, limit), h, zero=True)
    bits = b.emit1("positive", _projected_labels(b), role=Role.HEAD, phase=Phase.FEEDBACK)
    error = b.local_error(head.output, bits, loss="bce", weight=weight)

    def through(op: Op, d: Value) -> Value:
        w = op.inputs[1]
        stream = f"{w.name}.feedback"
        init = Init("uniform", stream, w.shape[1] ** -0.5)
        return b.linear_dx(op, d, b.resident(stream, w.shape, Role.FEEDBACK, init))

    below = b.backward(head, error, through=through)
    assert below is not None
    return below


def _free_matching(b: Builder, h: Value, limit: int, weight: float) -> Value:
    """The similarity loss on h itself, pooled as the decoder's input is, against the similarity of P[y]."""
    start = len(b.ops)
    pool = [x for x in pooled(f"{b.layer}.free", h.shape[1:], limit).layers if x.kind == "avg_pool"]
    g = b.head(pool, h).output if pool else h
    found, _ = similarity(b, g)
    ops = b.ops[start:]
    target, _ = similarity(b, _projected_labels(b))
    return walk_back(b, ops, b.local_error(found, target, loss="mse", weight=weight))


@rule
@dataclass(frozen=True)
class FreePrediction(LocalLoss):
    """``pred`` without any back-propagation, also inside the head.

    Targets are the signs of a fixed random projection of the label to 128 bits; a 128-output decoder learns them by
    binary cross-entropy, and its error reaches h through a fixed random F, U(±1/√d), not through the decoder.

    Args:
        limit: as for ``pred``.
    """

    limit: int = 2048

    name: ClassVar[str] = "pred-bpf"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = _PAPER

    def __post_init__(self) -> None:
        check_limit(self.name, self.limit)

    def signal(self, b: Builder, trace: Trace) -> Value:
        return _free_prediction(b, trace.activation, self.limit, 1.0)


@rule
@dataclass(frozen=True)
class FreeSimilarity(LocalLoss):
    """``sim`` without an auxiliary map: the descriptor of h itself against the similarity of projected labels.

    Args:
        limit: as for ``pred``.
    """

    limit: int = 2048

    name: ClassVar[str] = "sim-bpf"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = _PAPER

    def __post_init__(self) -> None:
        check_limit(self.name, self.limit)

    def signal(self, b: Builder, trace: Trace) -> Value:
        _check_batch(self.name, b)
        return _free_matching(b, trace.activation, self.limit, 1.0)


@rule
@dataclass(frozen=True)
class FreePredictionSimilarity(LocalLoss):
    """Both, without back-propagation: (1 - β) L_pred-bpf + β L_sim-bpf.

    Args:
        beta: β, 0.01 as published for this variant (not 0.99).
        limit: as for ``pred``.
    """

    beta: float = 0.01
    limit: int = 2048

    name: ClassVar[str] = "predsim-bpf"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = _PAPER

    def __post_init__(self) -> None:
        check_limit(self.name, self.limit)
        _check_beta(self.name, self.beta)

    def signal(self, b: Builder, trace: Trace) -> Value:
        _check_batch(self.name, b)
        alike = _free_matching(b, trace.activation, self.limit, self.beta)
        return b.add_cotangents([alike, _free_prediction(b, trace.activation, self.limit, 1.0 - self.beta)])
