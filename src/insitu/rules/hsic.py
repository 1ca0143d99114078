"""The HSIC bottleneck (Ma, Lewis, Kleijn 2019): every layer depends little on the input and much on the label."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, prod
from typing import Any, ClassVar, Literal

from insitu.errors import ConfigError, NetworkError
from insitu.network.builder import Builder, Trace
from insitu.network.graph import Network
from insitu.network.layers import Describe
from insitu.network.phases import Phases
from insitu.rules.local import walk_back
from insitu.rules.protocol import Citation, ask_labels, rule
from insitu.step.ir import Init, Phase, Role, Value

_HEAD: dict[str, Any] = {"role": Role.HEAD, "phase": Phase.FORWARD}
DECAY = 0.99
"""Of the votes that assign outputs to classes, per step."""


def regularised_inverse(epsilon: float) -> Any:
    """``K̃ -> (A, R)``: A = (K̃ + εmI)⁻¹ and R = K̃A = I - εmA, by a Cholesky factor in double precision.

    With ε = 1e-5 the condition number reaches 1e5, which single precision barely carries.
    """

    def inverse(k: Any) -> Any:
        import torch

        m = k.shape[0]
        eye = torch.eye(m, dtype=torch.float64, device=k.device)
        a = torch.cholesky_inverse(torch.linalg.cholesky(k.double() + epsilon * m * eye))
        return a.to(k.dtype), (eye - epsilon * m * a).to(k.dtype)

    return inverse


@rule
@dataclass(frozen=True)
class HsicBottleneck:
    """The HSIC bottleneck: min over block k of nHSIC(X, Z_k) - λ nHSIC(Y, Z_k).

    K_ij = exp(-‖a_i - a_j‖² / 2σ²d) of input, activation (d their sizes) and one-hot label, K̃ = HKH centred.
    Normalised: nHSIC = tr(R_X R_Z), R = K̃(K̃ + εmI)⁻¹; else HSIC = tr(K̃_X K_Z)/(m - 1)². One-sided centring, as
    in the published code, gives the same values. The kernels of input and label are made once a step. A batch of
    at least 2; published 256 to 512.

    The inverses are calls (:meth:`insitu.step.builder.Builder.call`), which no integer backend takes; without
    normalisation everything is an ordinary op.

    Args:
        sigma: σ of all kernels.
        lam: λ.
        normalised: nHSIC with its inverses (the paper), or HSIC without (for hardware).
        epsilon: ε.
        readout: ``format``: phase 1 trains the hidden blocks, phase 2 the last block by the network's loss behind
            them; ``unformatted``: the last block learns by HSIC too (behind batch norm and ReLU, as hidden layers
            have), and each output stands for the class that most training samples on which it was the largest
            belong to. (The published evaluation assigns outputs with the labels of the evaluated set; this one
            sees training labels only.)
        rerun: a block passes on what it computes behind its update, as the published code does; one more forward
            pass.
    """

    sigma: float = 5.0
    lam: float = 50.0
    normalised: bool = True
    epsilon: float = 1e-5
    readout: Literal["format", "unformatted"] = "format"
    rerun: bool = False

    name: ClassVar[str] = "hsic"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = Citation(
        "Ma, Lewis, Kleijn", 2020, "The HSIC bottleneck: deep learning without back-propagation", "AAAI 2020"
    )

    def __post_init__(self) -> None:
        for option in ("sigma", "lam", "epsilon"):
            if not getattr(self, option) > 0:
                raise ConfigError(f"rule hsic has {option}={getattr(self, option):g}; use more than 0")

    def phases(self, net: Network) -> Phases:
        return Phases(len(self._stages(net)))

    def _stages(self, net: Network) -> list[str]:
        """What is trained in each phase; stages in which all is frozen are left out."""
        if self.readout == "unformatted":
            return ["blocks"]
        hidden = any(map(net.learns, net.blocks[:-1]))
        return ["blocks"] * (hidden or not net.learns(net.blocks[-1])) + ["readout"] * net.learns(
            net.blocks[-1]
        )

    def emit(self, net: Network, b: Builder) -> None:
        self._check(net, b)
        if self._stages(net)[b.phase] == "readout":
            self._read_out(net, b)
            return
        blocks = net.blocks if self.readout == "unformatted" else net.blocks[:-1]
        target = self._target(b)
        h = b.x
        for block in blocks:
            last = block is blocks[-1]
            trace = b.forward(block, h, to_activation=True)
            if block is net.blocks[-1]:
                self._learn_output(net, b, trace, target)
                return
            with b.at(block.name):
                error = self._error(b, trace.activation, target, report=last and b.with_loss)
            b.backward(trace, error, at=trace.activation, want_input=False)
            if not last:
                again = self.rerun and net.learns(block)
                h = (b.forward(block, h, again=True) if again else b.resume(trace)).output

    def emit_inference(self, net: Network, b: Builder) -> None:
        h = b.x
        for block in net.blocks:
            h = b.forward(block, h).output
        if self.readout == "unformatted":
            h = b.emit1("elect", self._rectified(net, b, h).output, self._votes(b), **_HEAD)
        b.output(h)

    def _learn_output(self, net: Network, b: Builder, trace: Trace, target: Value) -> None:
        """The unformatted output learns like a hidden layer, and votes."""
        rectified = self._rectified(net, b, trace.output)
        with b.at(trace.block.name):
            error = self._error(b, rectified.output, target, report=b.with_loss)
        below = b.backward(rectified, error)
        assert below is not None
        b.backward(trace, below, want_input=False)
        b.emit("vote", rectified.output, b.label, self._votes(b), decay=DECAY, **_HEAD)

    @staticmethod
    def _rectified(net: Network, b: Builder, z: Value) -> Trace:
        """The outputs behind batch norm (if the network has any) and ReLU.

        Clusters of equal distances then lie along the axes, where an argmax finds them.
        """
        layers = Describe("output", z.shape[1:], head=True)
        if any(x.kind == "batch_norm" for x in net.layers):
            layers.batch_norm(affine=False, name="output.norm")
        layers.activation("relu", name="output.relu")
        return b.head(layers.layers, z)

    @staticmethod
    def _read_out(net: Network, b: Builder) -> None:
        """The format stage: the last block on frozen features."""
        h = b.x
        with b.frozen():
            for block in net.blocks[:-1]:
                h = b.forward(block, h).output
        last = b.forward(net.blocks[-1], h)
        b.backward(last, b.output_error(last.output), want_input=False)

    @staticmethod
    def _votes(b: Builder) -> Value:
        return b.resident("votes", (b.classes, b.classes), Role.HEAD, Init("zeros"))

    def _check(self, net: Network, b: Builder) -> None:
        ask_labels("hsic", b, "its label kernel needs classes")
        if b.classes < 2:
            raise NetworkError(
                f"rule hsic has nothing to depend on with {b.classes} class; use data of 2 classes or more"
            )
        if b.batch < 2:
            raise NetworkError(
                "rule hsic measures dependence over the samples of a batch and has no signal at batch 1; use a batch "
                "of some hundreds, or rule pred"
            )

    def _kernel(self, b: Builder, a: Value) -> Value:
        """K of the samples of a value, from their Gram matrix."""
        m = a.shape[0]
        rows = a if len(a.shape) == 2 else b.emit1("reshape", a, shape=(m, a.size // m), **_HEAD)
        gram = b.emit1("gram", rows, **_HEAD)
        return b.emit1("gaussian", gram, width=self._width(prod(a.shape[1:])), **_HEAD)

    def _width(self, d: int) -> float:
        return 2.0 * self.sigma**2 * d

    def _ridge(self, b: Builder, k: Value) -> tuple[Value, Value]:
        """A and R of a centred kernel."""
        m = k.shape[0]
        a, r = b.call(
            "ridge", regularised_inverse(self.epsilon), k, shapes=[k.shape, k.shape], macs=m**3, **_HEAD
        )
        return a, r

    def _target(self, b: Builder) -> Value:
        """M with objective Σ M ⊙ K_Z (or R_Z): what all blocks share."""
        with b.at("labels"):
            two = exp(
                -2.0 / self._width(b.classes)
            )  # kernel of two one-hot labels at a squared distance of 2
            y = b.emit1("label_gram", b.label, classes=b.classes, other=two, format=b.real, **_HEAD)
        x = self._kernel(b, b.x)
        parts = [b.emit1("centre", k, **_HEAD) for k in (x, y)]
        factor = 1.0 / (b.batch - 1) ** 2
        if self.normalised:
            parts = [self._ridge(b, k)[1] for k in parts]
            factor = 1.0
        minus = b.emit1("scale", parts[1], by=-self.lam * factor, **_HEAD)
        plus = parts[0] if factor == 1.0 else b.emit1("scale", parts[0], by=factor, **_HEAD)
        return b.emit1("add", plus, minus, **_HEAD)

    def _error(self, b: Builder, z: Value, target: Value, *, report: bool) -> Value:
        """∂(Σ M ⊙ K_Z)/∂z, or with R_Z for K_Z: dR = εm A dK̃ A."""
        start = len(b.ops)
        kernel = self._kernel(b, z)
        if self.normalised:
            kernel = b.emit1("centre", kernel, **_HEAD)
        chain = b.ops[start:]
        a, found = self._ridge(b, kernel) if self.normalised else (None, kernel)
        if report:
            b.output(b.emit1("inner", target, found, **_HEAD))
        if a is None:
            return walk_back(b, chain, target)
        style: dict[str, Any] = {"role": Role.HEAD, "phase": Phase.ERROR}
        half = b.emit1("matmul", a, target, **style)
        pull = b.emit1("matmul", half, a, **style)
        return walk_back(b, chain, b.emit1("scale", pull, by=self.epsilon * z.shape[0], **style))
