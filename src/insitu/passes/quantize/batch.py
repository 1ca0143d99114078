"""Rows of a batch: goodness, norms as shifts, labels inside samples."""

from __future__ import annotations

from math import prod

from insitu.numbers.rounding import Rounding
from insitu.ops.quant import nearest_shift
from insitu.passes.precision import kind
from insitu.passes.quantize.losses import sigmoid
from insitu.passes.quantize.units import LoweredValue, fixed
from insitu.passes.quantize.walk import REASONS, Quantizer, lowers
from insitu.step.ir import Op, Role


@lowers("row_squares")
def _row_squares(q: Quantizer, op: Op) -> None:
    x = q.fixed_point(op.inputs[0])
    unit = x.unit * x.unit * op.attrs.by
    bound = prod(op.inputs[0].shape[1:]) * x.format.max_abs**2
    made = q.one("row_squares", x.value, format=q.wide(bound, unit), unit=unit, like=op.outputs[0])
    q.lowered[op.outputs[0]] = LoweredValue(made)


@lowers("goodness_error")
def _goodness(q: Quantizer, op: Op) -> None:
    g, out, one_unit = q.fixed_point(op.inputs[0]), op.outputs[0], op.attrs.scale
    theta = round(op.attrs.theta / g.unit)
    wide = q.wide(g.format.max_abs + theta, g.unit)
    centred = q.one("offset", g.value, by=theta, format=wide, unit=g.unit, like=out, suffix=".centred")
    unit = 2.0**-5
    z = q.to(LoweredValue(centred), fixed(True, 10, unit), unit, out, "half-up", ".z")
    p, one = sigmoid(q, z, out)
    fmt = fixed(True, kind(q.precision.error).bits, one_unit / one)
    made = q.one("less_first_half", p, one=one, format=fmt, unit=one_unit / one, like=out)
    q.lowered[out] = LoweredValue(made)
    if op.attrs.with_loss:
        made = q.one(
            "monitor_goodness", centred, step=g.unit, scale=op.attrs.scale, like=op.outputs[1], unit=None
        )
        q.plain[op.outputs[1]] = made


@lowers("row_scale")
def _row_scale(q: Quantizer, op: Op) -> None:
    x, d = q.fixed_point(op.inputs[0]), q.of(op.inputs[1])
    unit = x.unit * d.unit * op.attrs.by
    fmt = q.wide(x.format.max_abs * d.format.max_abs, unit)
    made = q.one("row_scale", x.value, d.value, format=fmt, unit=unit, like=op.outputs[0], suffix=".product")
    q.lowered[op.outputs[0]] = q.error(LoweredValue(made, d.exponent, d.sign), op.outputs[0], d.unit)


@lowers("rms_norm")
def _rms_norm(q: Quantizer, op: Op) -> None:
    """A power-of-two shift per sample: its root mean square comes to lie between 1/2 and 2."""
    x, out = q.fixed_point(op.inputs[0]), op.outputs[0]
    features = prod(op.inputs[0].shape[1:])
    e = q.one("norm_exponent", x.value, by=features, like=op.outputs[1], role=Role.SCRATCH)
    signed = x.format.least < 0
    bits = max(kind(q.policy().activation).bits, 2)
    unit = 2.0 ** (3 + signed - bits)  # up to 8 times the root mean square
    fmt = fixed(signed, bits, unit)
    shift = nearest_shift(1.0 / unit)
    rounding = q.precision.rounding
    if rounding == Rounding.STOCHASTIC:
        rounding = Rounding.HALF_UP  # a shift per sample has no random words; most are to the left
    made = q.one("requant", x.value, e, format=fmt, shift=shift, rounding=rounding, unit=unit, like=out)
    q.lowered[out] = LoweredValue(made)
    q.lowered[op.outputs[1]] = LoweredValue(e, scaled_unit=x.unit)


@lowers("unit_rows")
def _unit_rows(q: Quantizer, op: Op) -> None:
    if op.attrs.centre:
        raise q.refuse(REASONS["unit_rows"])
    x = q.fixed_point(op.inputs[0])
    e = q.one("norm_exponent", x.value, by=1, like=op.outputs[1], role=Role.SCRATCH)
    q.lowered[op.outputs[0]] = LoweredValue(
        x.value, e, -1, scaled_unit=1.0
    )  # x / 2^e, the shift left to the sum behind it
    q.lowered[op.outputs[1]] = LoweredValue(e, scaled_unit=x.unit)


@lowers("unit_rows_dx", "rms_norm_dx")
def _norm_dx(q: Quantizer, op: Op) -> None:
    """d / 2^e, without the part along y: the shift is a constant for the gradient."""
    norm = q.of(op.inputs[1 if op.kind == "unit_rows_dx" else 2])
    d, out = q.of(op.inputs[0]), op.outputs[0]
    up, x_unit = 12, norm.unit
    unit = d.unit / x_unit * 2.0**-up
    fmt = fixed(True, min(d.format.bits + up, 31), unit)
    made = q.one(
        "requant",
        d.value,
        norm.value,
        format=fmt,
        shift=-up,
        rounding="half-up",
        unit=unit,
        like=out,
        suffix=".wide",
    )
    q.lowered[out] = q.error(LoweredValue(made, d.exponent, d.sign), out)


@lowers("overlay", "overlay_each", "overlay_even")
def _overlay(q: Quantizer, op: Op) -> None:
    x, out = q.fixed_point(op.inputs[0]), op.outputs[0]
    classes = op.attrs.classes
    mark = 1.0 / classes if op.kind == "overlay_even" else 1.0
    one = min(round(mark / x.unit), x.format.greatest)
    labels = [q.plain[v] for v in op.inputs[1:]]
    made = q.one(op.kind, x.value, *labels, classes=classes, one=one, unit=x.unit, like=out)
    q.lowered[out] = x.like(made)


@lowers("wrong_labels")
def _labels(q: Quantizer, op: Op) -> None:
    q.plain[op.outputs[0]] = q.one(op.kind, q.plain[op.inputs[0]], like=op.outputs[0], **op.attrs.explicit())


@lowers("concat_rows", "slice_rows")
def _rows(q: Quantizer, op: Op) -> None:
    if op.inputs[0] in q.plain:
        made = q.one(op.kind, *(q.plain[v] for v in op.inputs), like=op.outputs[0], **op.attrs.explicit())
        q.plain[op.outputs[0]] = made
        return
    parts = [q.of(v) for v in op.inputs]
    if any(p.exponent is not None or p.unit != parts[0].unit for p in parts):
        raise q.refuse("rows of different units or exponents; use one format for all")
    made = q.one(
        op.kind, *(p.value for p in parts), unit=parts[0].unit, like=op.outputs[0], **op.attrs.explicit()
    )
    q.lowered[op.outputs[0]] = parts[0].like(made)
