"""Optimizers: how a weight moves by a gradient of reals.

An :class:`Optimizer` is part of the program (it decides which state lives from step to step); the learning rate and the
step count come from the runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

from insitu.errors import ConfigError
from insitu.ops.common import TorchContext
from insitu.step.attrs import portable

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("sgd", "momentum", "nesterov", "adam", "sign")
_STATES = {"sgd": (), "sign": (), "momentum": ("m",), "nesterov": ("m",), "adam": ("m", "v")}


@portable
@dataclass(frozen=True)
class Optimizer:
    """How a gradient changes a weight. Weight decay is added to the gradient, as in ``torch.optim``; for
    ``sign`` it is decoupled: w ← w - lr (sign(g) + decay · w).
    """

    kind: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"optimizer {self.kind!r} is unknown; use one of {', '.join(KINDS)}")
        if self.kind in ("momentum", "nesterov") and not 0.0 < self.momentum < 1.0:
            raise ConfigError(
                f"optimizer {self.kind!r} has momentum={self.momentum:g}; use more than 0 and less than 1, "
                "or 'sgd', which has none"
            )
        for name in ("beta1", "beta2"):
            beta = getattr(self, name)
            if not 0.0 <= beta < 1.0:
                raise ConfigError(
                    f"optimizer {self.kind!r} has {name}={beta:g}; use at least 0 and less than 1"
                )
        if not self.eps > 0.0:
            raise ConfigError(f"optimizer {self.kind!r} has eps={self.eps:g}; use more than 0, such as 1e-8")
        if not self.weight_decay >= 0.0:
            raise ConfigError(
                f"optimizer {self.kind!r} has weight_decay={self.weight_decay:g}; use 0 or more"
            )

    @property
    def states(self) -> tuple[str, ...]:
        """Suffixes of the arrays that it keeps per weight."""
        return _STATES[self.kind]

    @property
    def zero_grad_is_noop(self) -> bool:
        """Does a gradient of zeros change neither weights nor state?"""
        return self.kind in ("sgd", "sign") and not self.weight_decay

    def __str__(self) -> str:
        parts = [self.kind]
        if self.kind in ("momentum", "nesterov"):
            parts.append(f"momentum={self.momentum:g}")
        if self.kind == "adam":
            parts.append(f"betas={self.beta1:g},{self.beta2:g}")
        if self.weight_decay:
            parts.append(f"decay={self.weight_decay:g}")
        return ":".join(parts)


Accumulate = Callable[[Any, float, float], Any]
"""``(into, beta, alpha)``: into ← beta · into + alpha · gradient, without storing the gradient."""


def _sgd(o: Optimizer, rt: TorchContext, w: Tensor, accumulate: Accumulate) -> None:
    accumulate(w, 1.0 - rt.lr * o.weight_decay, -rt.lr)


def _momentum(o: Optimizer, rt: TorchContext, w: Tensor, accumulate: Accumulate, m: Tensor) -> None:
    if o.weight_decay:
        m.add_(w, alpha=o.weight_decay / o.momentum)
    accumulate(m, o.momentum, 1.0)
    w.add_(m, alpha=-rt.lr)


def _nesterov(o: Optimizer, rt: TorchContext, w: Tensor, accumulate: Accumulate, m: Tensor) -> None:
    """w - lr (g + µ m'), m' = µ m + g, with g = m' - µ m: the gradient itself is never needed."""
    mu, lr, decay = o.momentum, rt.lr, o.weight_decay
    m.mul_(mu)
    w.add_(m, alpha=lr)
    if decay:
        m.mul_(1.0 - decay * lr).add_(w, alpha=decay)
    accumulate(m, 1.0, 1.0)
    w.add_(m, alpha=-lr * (1.0 + mu))


def _adam(o: Optimizer, rt: TorchContext, w: Tensor, g: Tensor, m: Tensor, v: Tensor) -> None:
    if o.weight_decay:
        g = g.add(w, alpha=o.weight_decay)
    m.lerp_(g, 1.0 - o.beta1)
    v.mul_(o.beta2).addcmul_(g, g, value=1.0 - o.beta2)
    t = rt.t + 1
    denominator = v.sqrt().div_(sqrt(1.0 - o.beta2**t)).add_(o.eps)
    w.addcdiv_(m, denominator, value=-rt.lr / (1.0 - o.beta1**t))


def _sign(o: Optimizer, rt: TorchContext, w: Tensor, g: Tensor) -> None:
    w.mul_(1.0 - rt.lr * o.weight_decay).add_(g.sign(), alpha=-rt.lr)


LINEAR: dict[str, Callable[..., None]] = {"sgd": _sgd, "momentum": _momentum, "nesterov": _nesterov}
"""Optimizers whose state is linear in the gradient, so that it can be accumulated in place."""

_ELEMENTWISE: dict[str, Callable[..., None]] = {"adam": _adam, "sign": _sign}


def scaled(into: Tensor, beta: float) -> Any:
    return into if beta == 1.0 else into.mul_(beta)


def _from_gradient(g: Tensor) -> Accumulate:
    return lambda into, beta, alpha: scaled(into, beta).add_(g, alpha=alpha)


def apply(o: Optimizer, rt: TorchContext, w: Tensor, g: Tensor, state: Sequence[Any]) -> None:
    """One update from a gradient in one piece."""
    if o.kind in LINEAR:
        LINEAR[o.kind](o, rt, w, _from_gradient(g), *state)
    else:
        _ELEMENTWISE[o.kind](o, rt, w, g, *state)
