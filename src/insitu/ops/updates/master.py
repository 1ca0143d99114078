"""A master copy of a weight in reals, which an optimizer moves (the latent regime)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any, ClassVar

import numpy as np

from insitu.numbers.formats import F32
from insitu.ops.optimizers import Optimizer
from insitu.ops.updates.base import MACS_PER_WEIGHT
from insitu.step.attrs import portable
from insitu.step.ir import Counts, Format, Phase, Shape


@portable
@dataclass(frozen=True)
class MasterUpdate:
    """A real copy w of a weight moves by a gradient of integers; the forward pass reads it through a rounding:

        w ← clip(w - step(g · unit · 2**e), ± bound)          in float32, one rounding per operation

    Attributes:
        optimizer: whose step it is, as for real gradients.
        unit: value of the gradient's integer 1.
        bound: the copy saturates at ± bound, the range of what is read, so that no weight leaves it for good.
        half: the copy is kept in float16.
    """

    optimizer: Optimizer
    unit: float
    bound: float
    half: bool = False

    def __str__(self) -> str:
        return f"{self.optimizer}:unit={self.unit:.9g}:bound={self.bound:.9g}" + (":f16" if self.half else "")

    needs_full_gradient: ClassVar[bool] = False
    random: ClassVar[bool] = False
    kernel: ClassVar[str] = "master"
    c_hooks: ClassVar[tuple[str, ...]] = ("begin", "change")
    c_struct: ClassVar[str] = "float unit, bound, decay; uint8_t half;"

    @property
    def zero_grad_is_noop(self) -> bool:
        return self.optimizer.zero_grad_is_noop

    def states(self, shape: Shape) -> tuple[tuple[str, Shape, Format], ...]:
        return tuple((s, shape, F32) for s in self.optimizer.states)

    def counts(self, shape: Shape) -> Counts:
        """As the optimizer's on reals."""
        size = prod(shape)
        macs = MACS_PER_WEIGHT[self.optimizer.kind] * size
        return Counts(macs={Phase.UPDATE: macs}, other={Phase.UPDATE: size})

    def move(self, rt: Any, w: Any, g: Any, e: int, state: Sequence[Any]) -> None:
        """Torch: w and the optimizer's state change in place."""
        real = g.float() * _f32(self.unit * 2.0**e)
        w.sub_(step(self.optimizer, rt.lr, rt.t, w, real, state)).clamp_(-self.bound, self.bound)
        if self.half:
            w.copy_(w.half().float())


def step(o: Optimizer, lr: float, t: int, w: Any, g: Any, state: Sequence[Any]) -> Any:
    """What is subtracted from w, in float32; the state changes in place."""
    if o.weight_decay:
        g = g + w * _f32(o.weight_decay)
    if o.kind == "sgd":
        return g * _f32(lr)
    if o.kind == "sign":
        return g.sign() * _f32(lr)
    if o.kind == "adam":
        return _adam(o, lr, t, g, *state)
    (m,) = state
    m.mul_(_f32(o.momentum)).add_(g)
    return (m if o.kind == "momentum" else g + m * _f32(o.momentum)) * _f32(lr)


def _adam(o: Optimizer, lr: float, t: int, g: Any, m: Any, v: Any) -> Any:
    m.mul_(_f32(o.beta1)).add_(g * _f32(1.0 - o.beta1))
    v.mul_(_f32(o.beta2)).add_(g * g * _f32(1.0 - o.beta2))
    root = v.sqrt() * _f32(1.0 / sqrt(1.0 - o.beta2 ** (t + 1)))
    return m / (root + _f32(o.eps)) * _f32(lr / (1.0 - o.beta1 ** (t + 1)))


def _f32(x: float) -> float:
    """A Python float that float32 holds exactly."""
    return float(np.float32(x))
