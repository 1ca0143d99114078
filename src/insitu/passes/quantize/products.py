"""Products and convolutions, their adjoints, and fixed random feedback."""

from __future__ import annotations

from typing import Any

from insitu.numbers.formats import Fixed, Quantized
from insitu.ops.common import Shaped
from insitu.ops.integer_products import GEOMETRY, ConvolutionDw, Geometry
from insitu.ops.loops import loops
from insitu.ops.quant import WeightView, feedback_spread
from insitu.passes.precision import kind
from insitu.passes.quantize.units import LoweredValue, fixed
from insitu.passes.quantize.walk import Quantizer, lowers
from insitu.step.attrs import Attrs
from insitu.step.ir import Op, Role, Value


def _geometry(attrs: Attrs) -> dict[str, Any]:
    """Stride, padding, dilation and groups of a convolution."""
    return dict(zip(GEOMETRY, attrs.geometry)) if isinstance(attrs, Geometry) else {}


def _summed(op: Op) -> tuple[int, int]:
    """How many products one element sums, and the length of the axis that can be cut (1: none)."""
    nest = loops(op)
    assert nest is not None
    return nest.terms, nest.axis


@lowers("matmul", "conv2d")
def _forward(q: Quantizer, op: Op) -> None:
    x, w = q.of(op.inputs[0]), q.matrix(op.inputs[1])
    fan, axis = _summed(op)
    unit = x.unit * w.unit
    bound = fan * x.format.max_abs * w.format.max_abs
    attrs: dict[str, Any] = _geometry(op.attrs)
    operands = [x.value, q.stored(op.inputs[1])]
    if len(op.inputs) == 3:
        bias, read, shift = q.bias(op.inputs[2], unit)
        max_abs = q.lowered[op.inputs[2]].format.max_abs << shift
        if x.exponent is not None:
            bias, shift = _moved_bias(q, bias, read, shift, x), 0
            assert isinstance(bias.format, Quantized)
            max_abs = bias.format.max_abs  # to its left a moved bias fills all of its bits
        bound += max_abs
        operands.append(bias)
        attrs |= {"bias_shift": shift}
        if read is not None:
            attrs["read_bias"] = read
    if q.reads.get(op.inputs[1]) is not None:
        attrs["read"] = q.reads[op.inputs[1]]
    style = {"unit": unit, "like": op.outputs[0], "suffix": ".sum"}
    made = q.one(op.kind, *operands, **style, **q.sums(bound, unit, axis), **attrs)
    q.settle(LoweredValue(made, x.exponent, x.sign), op.outputs[0])


def _moved_bias(q: Quantizer, bias: Value, read: WeightView | None, shift: int, x: LoweredValue) -> Value:
    """A bias at the run-time exponent of the sum that it is added to; it saturates to its usual width."""
    assert x.exponent is not None
    if read is not None or x.sign < 0 or x.exponent.shape:
        raise q.refuse("its bias cannot follow a run-time exponent; use activation_exponent=static")
    assert bias.unit is not None and isinstance(bias.format, Fixed)
    unit = bias.unit * 2.0**-shift
    fmt = q.wide(bias.format.max_abs << shift, unit)
    return q.one(
        "requant",
        bias,
        x.exponent,
        unit=unit,
        format=fmt,
        shift=-shift,
        rounding="half-up",
        role=Role.SCRATCH,
    )


@lowers("matmul_dx", "conv2d_dx")
def _error_below(q: Quantizer, op: Op) -> None:
    view = op.attrs.view
    if view not in (None, "sign"):
        raise q.refuse(f"feedback of random magnitudes ({view}) has no integer form; use usf or fa")
    d, w = q.of(op.inputs[0]), q.matrix(op.inputs[1])
    fan, axis = _summed(op)
    unit = d.unit * (op.attrs.scale if view == "sign" else w.unit)
    max_abs = 1 if view == "sign" else w.format.max_abs
    bound, was = fan * d.format.max_abs * max_abs, d.unit
    few = violators(q, d.value)
    if few:  # of all rows so many count, and nothing finer than their largest sum can be needed
        bound = few * max_abs
        wide = bound.bit_length() + 1 - q.precision.error_clip
        was = unit * 2.0 ** max(wide - kind(q.precision.error, "error").bits, 0)
    attrs = _geometry(op.attrs) | ({"shape": op.attrs.shape} if isinstance(op.attrs, Shaped) else {})
    if view == "sign":
        attrs["view"] = "sign"
    if q.reads.get(op.inputs[1]) is not None:
        attrs["read"] = q.reads[op.inputs[1]]
    made = q.one(
        op.kind,
        d.value,
        q.stored(op.inputs[1]),
        unit=unit,
        like=op.outputs[0],
        suffix=".sum",
        **q.sums(bound, unit, axis),
        **attrs,
    )
    q.lowered[op.outputs[0]] = q.error(LoweredValue(made, d.exponent, d.sign), op.outputs[0], was)


def violators(q: Quantizer, error: Value) -> int:
    """|e|_1 at most of a violated margin's error; 0 of any other."""
    made = next((op for op in q.ops if error in op.outputs), None)
    return 0 if made is None or made.record.max_l1 is None else made.record.max_l1(made)


def deferred_steps(q: Quantizer, op: Op) -> int:
    """The policy's ``defer`` where a gradient op moves the weights of a dense layer by itself; else 1."""
    alone = [user.kind for user in q.users.get(op.outputs[0], [])] == ["update"]
    if op.kind != "matmul_dw" or not alone:
        return 1
    (update,) = q.users[op.outputs[0]]
    return q.policy().defer if update.inputs[0].role == Role.WEIGHT else 1


@lowers("matmul_dw", "conv2d_dw")
def _gradient(q: Quantizer, op: Op) -> None:
    d, x = q.of(op.inputs[0]), q.of(op.inputs[1])
    terms, axis = _summed(op)
    steps = deferred_steps(q, op)
    terms, axis = terms * steps, axis * steps
    unit = d.unit * x.unit
    bound = terms * d.format.max_abs * x.format.max_abs
    attrs = _geometry(op.attrs) | ({"kernel": op.attrs.kernel} if isinstance(op.attrs, ConvolutionDw) else {})
    made = q.one(
        op.kind,
        d.value,
        x.value,
        unit=unit,
        like=op.outputs[0],
        **q.sums(bound, unit, axis),
        **attrs,
    )
    if x.exponent is not None and x.exponent.shape:
        raise q.refuse("its input has an exponent per sample, so the samples' gradients cannot be added")
    exponent = q.added(d.exponent, x.exponent)
    q.lowered[op.outputs[0]] = LoweredValue(made, exponent, d.sign)


@lowers("sum_to_channels")
def _bias_gradient(q: Quantizer, op: Op) -> None:
    d = q.of(op.inputs[0])
    bound = d.value.size // d.value.shape[1] * d.format.max_abs
    made = q.one(
        op.kind,
        d.value,
        unit=d.unit,
        like=op.outputs[0],
        **q.sums(bound, d.unit, 1),
    )
    q.lowered[op.outputs[0]] = LoweredValue(made, d.exponent, d.sign)


@lowers("project")
def _project(q: Quantizer, op: Op) -> None:
    e, m = q.of(op.inputs[0]), q.matrix(op.inputs[1])
    fan, axis = _summed(op)
    unit, bound = e.unit * m.unit, fan * e.format.max_abs * m.format.max_abs
    made = q.one(
        "project",
        e.value,
        m.value,
        unit=unit,
        like=op.outputs[0],
        suffix=".sum",
        columns=op.attrs.columns,
        **q.sums(bound, unit, axis),
    )
    q.lowered[op.outputs[0]] = q.error(LoweredValue(made, e.exponent, e.sign), op.outputs[0], e.unit)


def _drawn(q: Quantizer, bound: float) -> tuple[Quantized, float]:
    """Format and unit of feedback that is regenerated."""
    fmt = kind(q.precision.feedback, "feedback")
    assert isinstance(fmt, Quantized)
    unit = bound / feedback_spread(fmt)
    return (fixed(True, fmt.bits, unit) if isinstance(fmt, Fixed) else fmt), unit


@lowers("random")
def _random(q: Quantizer, op: Op) -> None:
    fmt, unit = _drawn(q, op.attrs.bound)
    made = q.one(
        "fixed_random",
        unit=unit,
        like=op.outputs[0],
        format=fmt,
        shape=op.attrs.shape,
        stream=op.attrs.stream,
    )
    q.lowered[op.outputs[0]] = LoweredValue(made)


@lowers("random_project")
def _random_project(q: Quantizer, op: Op) -> None:
    e = q.of(op.inputs[0])
    matrix, unit = _drawn(q, op.attrs.bound)
    unit *= e.unit
    bound = e.value.shape[1] * e.format.max_abs * matrix.max_abs
    attrs = {"columns": op.attrs.columns, "stream": op.attrs.stream, "matrix": matrix}
    made = q.one(
        op.kind, e.value, unit=unit, like=op.outputs[0], suffix=".sum", format=q.wide(bound, unit), **attrs
    )
    q.lowered[op.outputs[0]] = q.error(LoweredValue(made, e.exponent, e.sign), op.outputs[0], e.unit)


@lowers("select_rows")
def _select(q: Quantizer, op: Op) -> None:
    m = q.matrix(op.inputs[0])
    made = q.one(
        op.kind, m.value, q.plain[op.inputs[1]], unit=m.unit, like=op.outputs[0], columns=op.attrs.columns
    )
    q.lowered[op.outputs[0]] = LoweredValue(made)


@lowers("random_rows")
def _random_rows(q: Quantizer, op: Op) -> None:
    matrix, unit = _drawn(q, op.attrs.bound)
    attrs = {"columns": op.attrs.columns, "stream": op.attrs.stream, "matrix": matrix}
    made = q.one(op.kind, q.plain[op.inputs[0]], unit=unit, like=op.outputs[0], format=matrix, **attrs)
    q.lowered[op.outputs[0]] = LoweredValue(made)
