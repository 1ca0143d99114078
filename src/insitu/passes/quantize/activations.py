"""Activation functions and their gates, by the forms of :mod:`insitu.ops.activations`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from insitu.numbers.formats import B1, Fixed
from insitu.ops.activations import ACTIVATIONS, Binarized, Bounded, Clipped, Leaky, Rectified, Tabulated
from insitu.ops.quant import nearest_shift
from insitu.passes.precision import kind
from insitu.passes.quantize.units import ONE, TABLE_BITS, LoweredValue, fixed
from insitu.passes.quantize.walk import FORMS, Form, Quantizer, lowers
from insitu.step.ir import Op, Value


@lowers("activate")
def _activate(q: Quantizer, op: Op) -> None:
    how = ACTIVATIONS[op.attrs.fn].on_integers(op.attrs.parameter)
    q.lowered[op.outputs[0]] = FORMS[type(how)].forward(q, how, q.of(op.inputs[0]), op)


@lowers("gate")
def _gate(q: Quantizer, op: Op) -> None:
    how = ACTIVATIONS[op.attrs.fn].on_integers(op.attrs.parameter)
    q.lowered[op.outputs[0]] = FORMS[type(how)].gate(q, how, q.of(op.inputs[0]), q.of(op.inputs[1]), op)


def _gated(q: Quantizer, d: LoweredValue, y: LoweredValue, op: Op, gate: str, **attrs: Any) -> LoweredValue:
    """The error where the gate is open."""
    return d.like(q.one(gate, d.value, y.value, unit=d.unit, like=op.outputs[0], **attrs))


# --- ReLU: the saturation itself -------------------------------------------------------------------------------


def _rectify(q: Quantizer, _how: Rectified, x: LoweredValue, op: Op) -> LoweredValue:
    if x.format.least == 0:
        return x
    made = q.one("activate", x.value, fn="relu", unit=x.unit, like=op.outputs[0])
    return LoweredValue(made, x.exponent, x.sign)


FORMS[Rectified] = Form(
    before=lambda q, _how, x, out, result: q.activation(x, out, result, False),
    forward=_rectify,
    gate=lambda q, _how, d, y, op: _gated(q, d, y, op, "gate", fn="relu"),
)


# --- leaky ReLU: a shift ---------------------------------------------------------------------------------------


def _shift(op: Op) -> int:
    """Bits that stand for the slope."""
    slope = op.attrs.parameter
    return max(1, nearest_shift(slope)) if slope > 0 else 31


def _leak(q: Quantizer, _how: Leaky, x: LoweredValue, op: Op) -> LoweredValue:
    made = q.one("leaky", x.value, shift=_shift(op), unit=x.unit, like=op.outputs[0])
    return LoweredValue(made, x.exponent, x.sign)


FORMS[Leaky] = Form(
    before=lambda q, _how, x, out, result: q.activation(x, out, result, True),
    forward=_leak,
    gate=lambda q, _how, d, y, op: _gated(q, d, y, op, "leaky", shift=_shift(op)),
)


# --- hard tanh: the saturation itself --------------------------------------------------------------------------


def _before_clip(q: Quantizer, _how: Clipped, x: LoweredValue, out: Value, _result: Value) -> LoweredValue:
    bits = kind(q.policy().activation).bits
    unit = 2.0 ** (1 - bits) if bits > 1 else 1.0
    return q.to(x, fixed(True, bits, unit), unit, out, q.precision.rounding, general=False)


def _clip(q: Quantizer, _how: Clipped, x: LoweredValue, _op: Op) -> LoweredValue:
    if x.format.greatest > 1.5 / x.unit:
        raise q.refuse("hard tanh behind other than a weighted layer; use relu or tanh")
    return x


FORMS[Clipped] = Form(
    before=_before_clip,
    forward=_clip,
    gate=lambda q, _how, d, y, op: _gated(q, d, y, op, "inside", low=y.format.least, high=y.format.greatest),
)


# --- sign: one bit ---------------------------------------------------------------------------------------------


def _spanned(q: Quantizer, span: float, x: LoweredValue, out: Value, general: bool) -> LoweredValue:
    """A sum as an operand of 8 bits from -span to span."""
    unit = span * 2.0 ** (1 - TABLE_BITS)
    return q.to(x, fixed(True, TABLE_BITS, unit), unit, out, q.precision.rounding, general=general)


def _binarize(q: Quantizer, _how: Binarized, x: LoweredValue, op: Op) -> LoweredValue:
    return LoweredValue(
        q.one("requant", x.value, unit=1.0, like=op.outputs[0], format=B1, shift=0, rounding="half-up")
    )


def _inside_one(q: Quantizer, _how: Binarized, d: LoweredValue, x: LoweredValue, op: Op) -> LoweredValue:
    limit = round(1.0 / x.unit)
    return _gated(q, d, x, op, "inside", low=-limit, high=limit)


FORMS[Binarized] = Form(
    before=lambda q, how, x, out, _result: _spanned(q, how.span, x, out, general=False),
    forward=_binarize,
    gate=_inside_one,
)


# --- any smooth function: a table ------------------------------------------------------------------------------


def _look_up(q: Quantizer, how: Tabulated, x: LoweredValue, op: Op) -> LoweredValue:
    """The value for every integer."""
    fn, out = op.attrs.fn, op.outputs[0]
    if x.exponent is not None:
        raise q.refuse(f"{fn} of values with a run-time exponent; use a static one")
    fmt, unit = _result(q, how, fn, out)
    reals = [how.value(n * x.unit) for n in range(x.format.least, x.format.greatest + 1)]
    table = tuple(min(max(round(y / unit), fmt.least), fmt.greatest) for y in reals)
    return LoweredValue(q.one("lut", x.value, table=table, format=fmt, unit=unit, like=out))


def _result(q: Quantizer, how: Tabulated, fn: str, out: Value) -> tuple[Any, float]:
    """Format and unit of the values: known beforehand, or measured."""
    if how.max_abs is None:
        return q.activation_format(out, how.signed)
    bits = kind(q.policy().activation).bits
    if bits == 1 and how.signed:
        raise q.refuse(f"{fn} in one bit is the sign; use activation sign, or 2 bits or more")
    unit = how.max_abs / 2 ** (bits - how.signed)
    return fixed(how.signed, bits, unit), unit


def _times_slope(q: Quantizer, how: Tabulated, d: LoweredValue, kept: LoweredValue, op: Op) -> LoweredValue:
    """d times the derivative, looked up by the result or the operand."""
    out = op.outputs[0]
    slopes = [how.slope(n * kept.unit) for n in range(kept.format.least, kept.format.greatest + 1)]
    signed = min(slopes) < -(2.0 ** -(ONE + 1))
    fraction = ONE - signed
    fmt = Fixed(signed, 1, fraction)
    table = tuple(min(max(round(s * 2**fraction), fmt.least), fmt.greatest) for s in slopes)
    slope = q.one("lut", kept.value, table=table, format=fmt, unit=2.0**-fraction, like=out, suffix=".slope")
    unit = d.unit * 2.0**-fraction
    wide = q.wide(d.format.max_abs * max(2**fraction, *map(abs, table)), unit)
    made = q.one("mul", d.value, slope, format=wide, unit=unit, like=out, suffix=".product")
    return q.error(LoweredValue(made, d.exponent, d.sign), out, d.unit)


FORMS[Tabulated] = Form(
    before=lambda q, how, x, out, _result: _spanned(q, how.span, x, out, general=True),
    forward=_look_up,
    gate=_times_slope,
)


def _below_bound(q: Quantizer, how: Bounded, d: LoweredValue, y: LoweredValue, op: Op) -> LoweredValue:
    """The error where the result is between 0 and the greatest; one bit has no place for results between."""
    greatest = max(2, min(round(how.high / y.unit), y.format.greatest))
    return _gated(q, d, y, op, "inside", low=0, high=greatest)


FORMS[Bounded] = replace(FORMS[Tabulated], gate=_below_bound)
