"""Local learning with fixed periodic codes (Apolinario, Roy, Roy 2025): the head of a block is a set of waves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from insitu.errors import ConfigError
from insitu.network.builder import Builder, Trace
from insitu.rules.local import LocalLoss, check_limit, pooled, walk_back
from insitu.rules.protocol import Citation, rule
from insitu.step.ir import Init, Phase, Role, Value

_HEAD: dict[str, Any] = {"role": Role.HEAD, "phase": Phase.FORWARD}


@rule
@dataclass(frozen=True)
class PeriodicCodes(LocalLoss):
    """Local learning signals from fixed periodic codes: no head is trained.

    L_k = CE(v φᵀ / τ, y), v = pool(h_k) / ‖pool(h_k)‖, φ_c(t) = sin(f_c t), f_c from 50 to 512 linearly over the
    classes, t = 0, 1, ... the index of a feature (square: the sign, so that the product is additions). Serves batch 1.
    Frequencies, t, τ = 1 and the two mixes are those of the authors' code (it was read; it stores no code and makes φ
    at every step, where the codes here are resident feedback). Its mixes start at 0.01 N(0, 1), here at 1, so that
    the first step is that of ``none``; it pools a map to a fixed grid, and dense features too.

    Known limits: where features are few, two classes may have nearly one code (10 classes on 16 features, square: the
    same), and the block cannot part them. Small maps of few channels: give ``mix`` (measured on digits).

    Args:
        wave: ``sine`` or ``square``, ±1.
        mix: ``none``; ``scale``: a trained factor per class (LLS-M); ``matrix``: a trained C x C matrix (LLS-MxM).
        temperature: τ.
        limit: features of v at most; larger maps are average-pooled.
    """

    wave: Literal["sine", "square"] = "sine"
    mix: Literal["none", "scale", "matrix"] = "none"
    temperature: float = 1.0
    limit: int = 2048

    name: ClassVar[str] = "lls"
    forward_only: ClassVar[bool] = True
    paper: ClassVar[Citation] = Citation(
        "Apolinario, Roy, Roy",
        2025,
        "LLS: local learning rule for deep neural networks inspired by neural activity synchronization",
        "WACV 2025",
    )

    def __post_init__(self) -> None:
        check_limit(self.name, self.limit)
        if not self.temperature > 0:
            raise ConfigError(f"rule lls has temperature={self.temperature:g}; use more than 0")

    def signal(self, b: Builder, trace: Trace) -> Value:
        block, h = b.layer or "", trace.activation
        start = len(b.ops)
        layers = pooled(block, h.shape[1:], self.limit).layers
        rows = b.head(layers, h).output if layers else h
        v = b.emit("unit_rows", rows, centre=False, **_HEAD)[0]
        shape = (b.classes, v.shape[1])
        stream = f"{block}.codes"
        codes = b.resident(stream, shape, Role.FEEDBACK, Init(self.wave, stream))
        z = b.emit1("matmul", v, codes, **_HEAD)
        if self.temperature != 1.0:
            z = b.emit1("scale", z, by=1.0 / self.temperature, **_HEAD)
        chain = b.ops[start:]
        return walk_back(b, chain, self._mixed(b, z))

    def _mixed(self, b: Builder, z: Value) -> Value:
        """The error at the products, behind what is trained there."""
        if self.mix == "none":
            return b.local_error(z, loss="xent")
        if self.mix == "scale":
            kind, shape, init = "channel_scale", (b.classes,), Init("ones")
        else:
            kind, shape, init = "matmul", (b.classes, b.classes), Init("eye")
        trained = b.resident(f"{b.layer}.mix", shape, Role.HEAD, init)
        mixed = b.emit1(kind, z, trained, **_HEAD)
        op = b.ops[-1]
        found = b.adjoint(op, [b.local_error(mixed, loss="xent")], [0, 1])
        b.update(trained, found[1])
        return found[0]
