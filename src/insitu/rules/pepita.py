"""PEPITA (Dellaferrera & Kreiman 2022): the error enters at the input, and what it changes is the update.

Facts of the authors' code (the fully connected notebook and the convolutional script were read): F is U(±0.05
√(6/n)), n the elements of a sample; layers have no bias and start at U(±√(6/fan_in)); the update has no derivative
of the activation function; SGD with momentum 0.9, batch 50 or 64, rate 0.1 or 0.01. Its convolutional networks
have one
convolution: the difference is taken before the pool, and a kernel's change is a mean over positions and batch, which
the code then divides by the batch once more (not done here).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar, Literal

from insitu.errors import ConfigError, NetworkError
from insitu.network.builder import Builder, Trace
from insitu.network.graph import PASSIVE, WEIGHTED, Block, Layer, Network
from insitu.ops.loss import mean_scale
from insitu.rules.protocol import Citation, ask_hidden, rule
from insitu.step.ir import Init, Phase, Role, Value

_FORWARD: dict[str, Any] = {"role": Role.ACTIVATION, "phase": Phase.FORWARD}
_FEEDBACK: dict[str, Any] = {"role": Role.ERROR, "phase": Phase.FEEDBACK}
_ERROR: dict[str, Any] = {"role": Role.ERROR, "phase": Phase.ERROR}
_STREAM = "input.feedback"


def _as(b: Builder, value: Value, shape: tuple[int, ...], style: dict[str, Any]) -> Value:
    return value if value.shape == shape else b.emit1("reshape", value, shape=shape, **style)


@dataclass(frozen=True)
class _ErrorAtInput:
    """The two passes; a subclass says where the first pass's activations come from."""

    feedback: Literal["stored", "regenerated"] = "stored"
    scale: float = 0.05
    output: Literal["first", "second"] = "first"

    name: ClassVar[str]

    def __post_init__(self) -> None:
        if not self.scale > 0.0:
            raise ConfigError(f"rule {self.name} has scale={self.scale:g}; use more than 0, such as 0.05")

    def first_pass(self, b: Builder, trace: Trace, h: Value, end: bool) -> Trace:
        """The first pass of a block on ``h``; ``trace`` gave the error. ``end``: its activation is all that is read."""
        raise AssertionError("a subclass has a first pass")

    def emit(self, net: Network, b: Builder) -> None:
        weighted = self._check(net)
        traces = b.forward_all()
        error = b.output_error(traces[-1].output)
        h, changed = b.x, self._modulate(b, error)
        factor = mean_scale(b.loss, error.shape)
        for trace, layer in zip(traces[:-1], weighted):
            first = self.first_pass(b, trace, h, end=trace is traces[-2])
            second = b.forward(trace.block, changed, to_activation=True)
            with b.at(trace.block.name):
                difference = b.emit1("sub", first.activation, second.activation, **_ERROR)
                mean = factor / prod(
                    difference.shape[2:]
                )  # a kernel's change is a mean over the positions too
                delta = b.emit1("scale", difference, by=mean, **_ERROR)
            b.backward(second, delta, at=second.values[layer.name], want_input=False)
            h, changed = first.output, b.resume(second).output
        self._last(b, traces[-1], weighted[-1], error, changed)

    def _modulate(self, b: Builder, error: Value) -> Value:
        """x + F e with the error of each sample, not divided by the batch."""
        n = b.x.size // b.batch
        bound = self.scale * (6.0 / n) ** 0.5
        with b.at("input"):
            signal = _as(b, error, (b.batch, b.classes), _FEEDBACK)
            signal = b.emit1("scale", signal, by=1.0 / mean_scale(b.loss, error.shape), **_FEEDBACK)
            if self.feedback == "stored":
                matrix = b.resident(_STREAM, (b.classes, n), Role.FEEDBACK, Init("uniform", _STREAM, bound))
                change = b.emit1("project", signal, matrix, columns=n, **_FEEDBACK)
            else:
                made = {"columns": n, "stream": _STREAM, "bound": bound}
                change = b.emit1("random_project", signal, **made, **_FEEDBACK)
            change = _as(b, change, b.x.shape, _FEEDBACK)
            return b.emit1("add", b.x, change, name="modulated", **_FORWARD)

    def _last(self, b: Builder, trace: Trace, layer: Layer, error: Value, h: Value) -> None:
        """The last block learns from the second pass's input ``h`` and an error of the output."""
        if self.output == "second":
            second = b.forward(trace.block, h)
            b.backward(second, b.local_error(second.output), want_input=False)
            return
        (op,) = (op for op in trace.ops if trace.values[layer.name] in op.outputs)
        with b.at(layer.name):
            delta = _as(b, error, op.outputs[0].shape, _ERROR)
            elsewhere = replace(op, inputs=(h, *op.inputs[1:]))  # the same layer on another input
            for i, gradient in b.adjoint(elsewhere, [delta], range(1, len(op.inputs))).items():
                b.update(op.inputs[i], gradient)

    def _check(self, net: Network) -> list[Layer]:
        """The weighted layer of every block."""
        ask_hidden(self.name, net)
        found = []
        for block in net.blocks:
            last = block is net.blocks[-1]
            layer = _single(block, last)
            if layer is None:
                wanted = (
                    "a weighted layer alone"
                    if last
                    else "one weighted layer, an activation function and pools"
                )
                kinds = ", ".join(x.kind for x in block.layers)
                raise NetworkError(
                    f"rule {self.name} cannot train block {block.name} of {net.name} ({kinds}): it compares the two "
                    f"outputs of {wanted}, in this order; use pred"
                )
            found.append(layer)
        return found


def _single(block: Block, last: bool) -> Layer | None:
    """The weighted layer of a block, if the rule takes the block: nothing but functions up to the activation."""
    weighted = [x for x in block.layers if x.kind in WEIGHTED]
    others = {x.kind for x in block.layers if x.kind not in WEIGHTED}
    if len(weighted) != 1 or not others <= ({"reshape"} if last else {"activation", *PASSIVE}):
        return None
    layers = {x.name: x for x in block.layers}
    end = block.activation
    while end.kind == "activation" and end.inputs[0] in layers:
        end = layers[end.inputs[0]]
    return weighted[0] if end is weighted[0] else None


@rule
@dataclass(frozen=True)
class Pepita(_ErrorAtInput):
    """PEPITA: a second forward pass on x + F e, and ΔW_k = -η (h_k - h_k^err) h_{k-1}^errᵀ.

    F is a fixed random matrix, e the output error of the first pass; the last layer learns from e and h^err. No
    derivative of the activation function and no weight read backwards; but every update waits for the output
    error, and the first pass's activations wait for the second. Updates are means over the batch, a kernel's over
    its positions too. Biases (ours: the published networks have none) move by h_k - h_k^err. Regression works,
    with the error of its loss.

    It takes blocks of one weighted layer, an element-wise activation function, pools and dropout (one mask for both
    passes). The published networks have ReLU, one or two hidden dense layers or one convolution; with a
    second convolution it did not beat ``shallow`` here.

    Args:
        feedback: ``stored`` F, or ``regenerated`` row by row, nothing stored (the same numbers).
        scale: F is U(±scale √(6/n)), n the elements of a sample.
        output: the error that the last layer learns from: of the ``first`` pass (the published equation; the second
            pass then ends before the last layer), or of the ``second`` (the published notebook).
    """

    name: ClassVar[str] = "pepita"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = Citation(
        "Dellaferrera, Kreiman",
        2022,
        "Error-driven input modulation: solving the credit assignment problem without a backward pass",
        "ICML 2022",
    )

    def first_pass(self, b: Builder, trace: Trace, h: Value, end: bool) -> Trace:
        """As it was."""
        return trace


@rule
@dataclass(frozen=True)
class MemoryPepita(_ErrorAtInput):
    """MEMPEPITA: PEPITA that keeps no activation; the first pass runs again, layer by layer, beside the second.

    The same numbers as ``pepita`` for the memory of two layers' activations and one more forward pass.

    Args:
        feedback, scale, output: as for ``pepita``.
    """

    name: ClassVar[str] = "mempepita"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = Citation(
        "Pau, Aymone",
        2023,
        "Suitability of forward-forward and PEPITA learning to MLCommons-Tiny benchmarks",
        "IEEE COINS 2023",
    )

    def first_pass(self, b: Builder, trace: Trace, h: Value, end: bool) -> Trace:
        """Anew; the block's weights have not changed yet."""
        return b.forward(trace.block, h, again=True, to_activation=end)
