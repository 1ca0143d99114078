"""Activation functions: one table of what they compute, how an error passes, and what becomes of them on integers.

A new function is an entry here, or is added from outside (``docs/add-an-activation.md``)::

    ACTIVATIONS["silu"] = Activation("SiLU", "input", forward, gate, Tabulated(value, slope, span=8.0, max_abs=None))

The capture of a module, its way back to ``torch.nn``, the zoo's options, adjoints, quantization and refusals read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import erf, exp, floor, log2, pi, sqrt, tanh
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor


LEAST, MOST = 1e-3, 1e3
"""The range of the upper bound of a ReLU."""


@dataclass(frozen=True)
class Rectified:
    """On integers: the saturation of an unsigned format at 0; the gate is 1 where the result is positive."""


@dataclass(frozen=True)
class Leaky:
    """On integers: a shift below 0, the power of two nearest to the slope."""


@dataclass(frozen=True)
class Clipped:
    """On integers: the saturation of a format whose range is -1 to 1; the gate is 1 inside of it."""


@dataclass(frozen=True)
class Binarized:
    """On integers: one bit; straight-through, the gate is 1 where the operand is in -1 to 1."""

    span: float = 2.0


@dataclass(frozen=True)
class Tabulated:
    """On integers: the result, and the derivative, by a table of one entry per integer of 8 bits.

    Attributes:
        value: the function.
        slope: its derivative, of what the gate reads: the result or the operand; less than 2 in magnitude.
        span: operands are held from -span to span, a power of two; they saturate there.
        signed: results can be negative.
        max_abs: what results stay below in magnitude, a power of two; ``None``: as measured.
    """

    value: Callable[[float], float]
    slope: Callable[[float], float]
    span: float
    signed: bool = True
    max_abs: float | None = 1.0


@dataclass(frozen=True)
class Bounded(Tabulated):
    """On integers: the result by a table; the gate is 1 between 0 and an upper bound.

    Attributes:
        high: the bound.
    """

    high: float = field(kw_only=True)

    @classmethod
    def relu(cls, high: float) -> Bounded:
        """ReLU up to a bound; operands and results reach beyond it, so that the gate is closed there."""
        span = 2.0 ** (floor(log2(high)) + 1)
        value, slope = (lambda x: min(max(x, 0.0), high)), (lambda y: float(0 < y < high))
        return cls(value, slope, span, signed=False, max_abs=span, high=high)


OnIntegers = Rectified | Leaky | Clipped | Binarized | Tabulated


@dataclass(frozen=True)
class Activation:
    """An activation function.

    Attributes:
        module: the class of ``torch.nn`` that computes it.
        gate_from: its derivative is read from the ``output`` (the input may die) or the ``input``.
        forward, gate: torch functions of ``(tensors..., slope or bound, out)``: of the input, and of the error and what
            the gate reads; ``out`` is the tensor to write, or ``None``.
        integers: what becomes of it on integers, or a function of the bound ``high`` that gives this.
        slope: default of the slope below 0, where the function has one.
        high: default of the upper bound, where the function has one; it takes the place of the slope.
    """

    module: str
    gate_from: Literal["input", "output"]
    forward: Callable[[Any, float, Any], Any]
    gate: Callable[[Any, Any, float, Any], Any]
    integers: OnIntegers | Callable[[float], OnIntegers]
    slope: float | None = None
    high: float | None = None

    @property
    def options(self) -> dict[str, float]:
        """What a layer of this function says of itself, by default."""
        both = {"slope": self.slope, "high": self.high}
        return {key: value for key, value in both.items() if value is not None}

    def on_integers(self, parameter: float) -> OnIntegers:
        """What becomes of it on integers, of a layer with this slope or bound."""
        return self.integers(parameter) if callable(self.integers) else self.integers


def _aten() -> Any:
    import torch

    return torch.ops.aten


def _relu(x: Tensor, _slope: float, out: Tensor | None) -> Any:
    return x.relu() if out is None else x.relu_()


def _relu_gate(d: Tensor, y: Tensor, _slope: float, out: Tensor | None) -> Any:
    op = _aten().threshold_backward
    return op.default(d, y, 0) if out is None else op.grad_input(d, y, 0, grad_input=out)


def _leaky(x: Tensor, slope: float, out: Tensor | None) -> Any:
    op = _aten().leaky_relu
    return op.default(x, slope) if out is None else op.out(x, slope, out=out)


def _leaky_gate(d: Tensor, y: Tensor, slope: float, out: Tensor | None) -> Any:
    op = _aten().leaky_relu_backward
    return op.default(d, y, slope, True) if out is None else op.grad_input(d, y, slope, True, grad_input=out)


def _tanh(x: Tensor, _slope: float, out: Tensor | None) -> Any:
    return x.tanh() if out is None else x.tanh_()


def _tanh_gate(d: Tensor, y: Tensor, _slope: float, out: Tensor | None) -> Any:
    op = _aten().tanh_backward
    return op.default(d, y) if out is None else op.grad_input(d, y, grad_input=out)


def _sigmoid(x: Tensor, _slope: float, out: Tensor | None) -> Any:
    return x.sigmoid() if out is None else x.sigmoid_()


def _sigmoid_gate(d: Tensor, y: Tensor, _slope: float, out: Tensor | None) -> Any:
    op = _aten().sigmoid_backward
    return op.default(d, y) if out is None else op.grad_input(d, y, grad_input=out)


def _hardtanh(x: Tensor, _slope: float, out: Tensor | None) -> Any:
    return x.clamp(-1, 1) if out is None else x.clamp_(-1, 1)


def _hardtanh_gate(d: Tensor, y: Tensor, _slope: float, out: Tensor | None) -> Any:
    op = _aten().hardtanh_backward
    return op.default(d, y, -1, 1) if out is None else op.grad_input(d, y, -1, 1, grad_input=out)


def _sign(x: Tensor, _slope: float, out: Tensor | None) -> Any:
    """±1; sign(0) = +1, as a stored sign bit reads."""
    y = (x >= 0).to(x.dtype).mul_(2).sub_(1)
    return y if out is None else out.copy_(y)


def _clipped_relu(x: Tensor, high: float, out: Tensor | None) -> Any:
    return x.clamp(0, high) if out is None else x.clamp_(0, high)


def _clipped_relu_gate(d: Tensor, y: Tensor, high: float, out: Tensor | None) -> Any:
    op = _aten().hardtanh_backward
    return op.default(d, y, 0, high) if out is None else op.grad_input(d, y, 0, high, grad_input=out)


def _relu6(x: Tensor, _slope: float, out: Tensor | None) -> Any:
    return _clipped_relu(x, 6.0, out)


def _relu6_gate(d: Tensor, y: Tensor, _slope: float, out: Tensor | None) -> Any:
    return _clipped_relu_gate(d, y, 6.0, out)


def _by_name(name: str) -> tuple[Callable[[Any, float, Any], Any], Callable[[Any, Any, float, Any], Any]]:
    """Function and gate of an op of ATen whose derivative reads the input."""

    def forward(x: Tensor, _slope: float, out: Tensor | None) -> Any:
        y = getattr(_aten(), name).default(x)
        return y if out is None else out.copy_(y)

    def gate(d: Tensor, x: Tensor, _slope: float, out: Tensor | None) -> Any:
        e = getattr(_aten(), f"{name}_backward").default(d, x)
        return e if out is None else out.copy_(e)

    return forward, gate


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + exp(-x))


def _hard_logistic(x: float) -> float:
    return min(max(x + 3.0, 0.0), 6.0) / 6.0


def _normal(x: float) -> float:
    """The cumulative distribution function of the normal distribution."""
    return (1.0 + erf(x / sqrt(2.0))) / 2.0


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation("ReLU", "output", _relu, _relu_gate, Rectified()),
    "leaky_relu": Activation(
        "LeakyReLU", "output", _leaky, _leaky_gate, Leaky(), slope=0.01
    ),  # PyTorch's default, and that of Nøkland 2019
    "tanh": Activation("Tanh", "output", _tanh, _tanh_gate, Tabulated(tanh, lambda y: 1.0 - y * y, span=4.0)),
    "sigmoid": Activation(
        "Sigmoid",
        "output",
        _sigmoid,
        _sigmoid_gate,
        Tabulated(_logistic, lambda y: y * (1.0 - y), span=8.0, signed=False),
    ),
    "relu6": Activation("ReLU6", "output", _relu6, _relu6_gate, Bounded.relu(6.0)),
    "clipped_relu": Activation(
        "Hardtanh", "output", _clipped_relu, _clipped_relu_gate, Bounded.relu, high=1.0
    ),
    "hardsigmoid": Activation(
        "Hardsigmoid",
        "input",
        *_by_name("hardsigmoid"),
        Tabulated(_hard_logistic, lambda x: (abs(x) < 3) / 6, span=4.0, signed=False),
    ),
    "hardswish": Activation(
        "Hardswish",
        "input",
        *_by_name("hardswish"),
        Tabulated(
            lambda x: x * _hard_logistic(x),
            lambda x: 0.0 if x <= -3 else 1.0 if x >= 3 else x / 3 + 0.5,
            span=8.0,
            max_abs=None,
        ),
    ),
    "silu": Activation(
        "SiLU",
        "input",
        *_by_name("silu"),
        Tabulated(
            lambda x: x * _logistic(x),
            lambda x: _logistic(x) * (1 + x * (1 - _logistic(x))),
            span=8.0,
            max_abs=None,
        ),
    ),
    "gelu": Activation(
        "GELU",
        "input",
        *_by_name("gelu"),
        Tabulated(
            lambda x: x * _normal(x),
            lambda x: _normal(x) + x * exp(-x * x / 2) / sqrt(2 * pi),
            span=8.0,
            max_abs=None,
        ),
    ),
    "hardtanh": Activation("Hardtanh", "output", _hardtanh, _hardtanh_gate, Clipped()),
    # straight-through: the derivative of hard tanh at the input (Hubara 2016)
    "sign": Activation("Sign", "input", _sign, _hardtanh_gate, Binarized()),
}
"""By the name of the ATen op, which is that of the layer's attribute ``fn``."""

_CLIPS: dict[tuple[float | None, float | None], str] = {
    (-1, 1): "hardtanh",
    (0, 6): "relu6",
    (0, None): "relu",
}


def clip(low: float | None, high: float | None) -> dict[str, Any] | None:
    """What a layer that clips to a range says of itself; ``None``: no layer does."""
    if (low, high) in _CLIPS:
        return {"fn": _CLIPS[low, high]}
    if low == 0 and high is not None and LEAST <= high <= MOST:
        return {"fn": "clipped_relu", "high": float(high)}
    return None
