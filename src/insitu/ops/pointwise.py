"""Element-wise ops: activation functions and their gates, addition, scaling, sign, views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from insitu.numbers.formats import BIT
from insitu.ops.activations import ACTIVATIONS, LEAST, MOST
from insitu.ops.common import (
    Factor,
    Formatted,
    Run,
    Shaped,
    TorchContext,
    error_attrs,
    free,
    in_result_format,
    per_output,
    require,
    same_as,
    zeroed,
)
from insitu.ops.quant import integers
from insitu.step.attrs import Attrs, attributes
from insitu.step.builder import Builder
from insitu.step.ir import Inferred, Level, Op, OpRecord, Trait, Value, register

if TYPE_CHECKING:
    pass


@attributes
class Activate(Attrs):
    """
    Attributes:
        fn: name of the activation function (see :mod:`insitu.ops.activations`).
        slope: of ``leaky_relu`` below 0.
        high: upper bound of ``clipped_relu``.
    """

    fn: str
    slope: float | None = None
    high: float | None = None

    @property
    def parameter(self) -> float:
        """The slope or the bound, 0 where there is none."""
        return self.slope or self.high or 0.0


def _activate_infer(inputs: Sequence[Value], attrs: Activate) -> Inferred:
    fn = attrs.fn
    require(fn in ACTIVATIONS, f"activation function {fn!r} is unknown; use {', '.join(ACTIVATIONS)}")
    if "high" in ACTIVATIONS[fn].options:
        high = attrs.high or 0.0
        require(LEAST <= high <= MOST, f"{fn} has a bound of {high:g}; use one from {LEAST:g} to {MOST:g}")
    return [(inputs[0].shape, inputs[0].format)]


def _activate_torch(op: Op[Activate], _rt: TorchContext) -> Run:
    forward, parameter = ACTIVATIONS[op.attrs.fn].forward, op.attrs.parameter
    if op.inplace is None:
        return lambda x: forward(x, parameter, None)
    return lambda x: forward(x, parameter, x)


def _activate_adjoint(
    b: Builder, op: Op[Activate], cotangents: Sequence[Value], _needs: Sequence[int]
) -> dict[int, Value]:
    kept = op.outputs[0] if ACTIVATIONS[op.attrs.fn].gate_from == "output" else op.inputs[0]
    return {0: b.emit1("gate", cotangents[0], kept, **op.attrs.explicit(), **error_attrs())}


register(
    OpRecord(
        kind="activate",
        doc="h = f(z), f one of " + ", ".join(ACTIVATIONS) + " (sign: ±1, straight-through)",
        attrs=Activate,
        infer=_activate_infer,
        torch=_activate_torch,
        counts=per_output,
        adjoint=_activate_adjoint,
        inplace=(0,),
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.PASSES_EXPONENT,),
    )
)


def _gate_torch(op: Op[Activate], _rt: TorchContext) -> Run:
    gate, parameter = ACTIVATIONS[op.attrs.fn].gate, op.attrs.parameter
    if op.inplace is None:
        return lambda d, kept: gate(d, kept, parameter, None)
    return lambda d, kept: gate(d, kept, parameter, d)


def _gate_infer(inputs: Sequence[Value], attrs: Activate) -> Inferred:
    d, kept = inputs
    require(
        d.shape == kept.shape, f"the error {list(d.shape)} does not fit the activation {list(kept.shape)}"
    )
    _activate_infer(inputs, attrs)
    return zeroed(inputs, attrs)


register(
    OpRecord(
        kind="gate",
        doc="e = d ⊙ f′, with f′ read from the activation's output (sign: from its input)",
        attrs=Activate,
        infer=_gate_infer,
        torch=_gate_torch,
        counts=per_output,
        inplace=(0,),
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.GATE,),
    )
)


def _add_infer(inputs: Sequence[Value], attrs: Formatted) -> Inferred:
    a, b = inputs
    require(a.shape == b.shape, f"the shapes must be equal, got {list(a.shape)} and {list(b.shape)}")
    return [(a.shape, attrs.result(a.format))]


def _binary(name: str) -> Callable[[Op, Any], Any]:
    def lower(op: Op, _rt: TorchContext) -> Any:
        import torch

        if op.inplace is None:
            return getattr(torch, name)
        into = op.inplace
        method = getattr(torch.Tensor, f"{name}_")
        return lambda *xs: method(xs[into], xs[1 - into])

    return lower


register(
    OpRecord(
        kind="add",
        doc="a + b, equal shapes: residual connections and the sum of errors",
        attrs=Formatted,
        infer=_add_infer,
        torch=_binary("add"),
        counts=per_output,
        adjoint=lambda b, op, cotangents, needs: {i: cotangents[0] for i in needs},
        inplace=(0, 1),
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.STATIC_POINT,),
    )
)


register(
    OpRecord(
        kind="mul",
        doc="a ⊙ b, equal shapes",
        attrs=Formatted,
        infer=_add_infer,
        torch=_binary("mul"),
        counts=per_output,
        inplace=(0, 1),
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.ABSORBS_ZERO,),
    )
)


def _scale_torch(op: Op[Factor], _rt: TorchContext) -> Run:
    factor = op.attrs.by
    return (lambda x: x * factor) if op.inplace is None else (lambda x: x.mul_(factor))


register(
    OpRecord(
        kind="scale",
        doc="by · x, a constant factor",
        attrs=Factor,
        infer=same_as(0),
        torch=_scale_torch,
        counts=per_output,
        adjoint=lambda b, op, cotangents, needs: {
            0: b.emit1("scale", cotangents[0], by=op.attrs.by, **error_attrs())
        },
        inplace=(0,),
    )
)


def _sign_torch(op: Op[Formatted], _rt: TorchContext) -> Any:
    import torch

    return torch.sign if op.inplace is None else torch.Tensor.sign_


register(
    OpRecord(
        kind="sign",
        doc="sign(x) in {-1, 0, 1}: the one-bit error of sDFA",
        attrs=Formatted,
        infer=in_result_format,
        torch=_sign_torch,
        counts=per_output,
        inplace=(0,),
        level=Level.REAL | Level.INTEGER,
    )
)


@attributes
class Stash(Formatted):
    """
    Attributes:
        scale: the real that a bit of 1 stands for; of integers it is the unit of the result.
    """

    scale: float | None = None


def _stash_infer(inputs: Sequence[Value], attrs: Stash) -> Inferred:
    fmt = attrs.result(BIT)
    require(fmt.bits == 1, f"a stash takes one bit, not {fmt}")
    require(
        attrs.scale is None or attrs.scale > 0, f"a bit cannot stand for {attrs.scale}; use a positive scale"
    )
    return [(inputs[0].shape, fmt)]


def _stash_torch(op: Op[Stash], _rt: TorchContext) -> Run:
    if integers(op.outputs[0]):
        return lambda x: (x > 0).float()
    scale = op.attrs.scale
    return lambda x: (x > 0).to(x.dtype).mul_(scale)


register(
    OpRecord(
        kind="stash",
        doc="y = scale · 1[x > 0], of which one bit per element is kept: what a backward pass reads in place of x",
        attrs=Stash,
        infer=_stash_infer,
        torch=_stash_torch,
        counts=per_output,
        level=Level.REAL | Level.INTEGER,
    )
)


def _reshape_infer(inputs: Sequence[Value], attrs: Shaped) -> Inferred:
    (x,) = inputs
    require(prod(attrs.shape) == x.size, f"cannot view {list(x.shape)} as {list(attrs.shape)}")
    return [(attrs.shape, x.format)]


def _reshape_torch(op: Op[Shaped], _rt: TorchContext) -> Run:
    shape = op.attrs.shape
    return lambda x: x.view(shape)


register(
    OpRecord(
        kind="reshape",
        doc="the same numbers in another shape: a view, no memory and no operation",
        attrs=Shaped,
        infer=_reshape_infer,
        torch=_reshape_torch,
        counts=free,
        adjoint=lambda b, op, cotangents, needs: {
            0: b.emit1("reshape", cotangents[0], shape=op.inputs[0].shape, **error_attrs())
        },
        alias=True,
        level=Level.REAL | Level.INTEGER,
        traits=(Trait.PASSES_EXPONENT,),
    )
)
