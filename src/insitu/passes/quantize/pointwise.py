"""Sums, factors, signs and views."""

from __future__ import annotations

from dataclasses import replace

from insitu.numbers.formats import T2
from insitu.ops.quant import nearest_shift
from insitu.passes.precision import kind
from insitu.passes.quantize.units import UNLIKE, LoweredValue, fixed
from insitu.passes.quantize.walk import Quantizer, lowers
from insitu.step.ir import Op, Phase, Value


@lowers("stash")
def _stash(q: Quantizer, op: Op) -> None:
    """A bit n whose unit is what it stands for; a run-time exponent does not change the sign of its operand."""
    x, unit = q.of(op.inputs[0]), float(op.attrs.scale)
    made = q.one("stash", x.value, format=fixed(False, 1, unit), unit=unit, like=op.outputs[0])
    q.lowered[op.outputs[0]] = LoweredValue(made)


@lowers("scale")
def _scale(q: Quantizer, op: Op) -> None:
    x, by = q.of(op.inputs[0]), op.attrs.by
    if not by > 0:
        raise q.refuse(f"a factor of {by:g} would need a negation; use a positive one")
    q.lowered[op.outputs[0]] = replace(x, scaled_unit=x.unit * by)  # no operation


@lowers("sign")
def _sign(q: Quantizer, op: Op) -> None:
    x = q.of(op.inputs[0])
    q.lowered[op.outputs[0]] = LoweredValue(q.one("sign", x.value, format=T2, unit=1.0, like=op.outputs[0]))


@lowers("reshape")
def _reshape(q: Quantizer, op: Op) -> None:
    x = q.of(op.inputs[0])
    made = q.one("reshape", x.value, shape=op.attrs.shape, unit=x.unit, like=op.outputs[0])
    q.lowered[op.outputs[0]] = x.like(made)


@lowers("dropout")
def _dropout(q: Quantizer, op: Op) -> None:
    x, attrs = q.of(op.inputs[0]), op.attrs.explicit()
    made = q.one("dropout", x.value, unit=x.unit / (1.0 - op.attrs.p), like=op.outputs[0], **attrs)
    q.lowered[op.outputs[0]] = x.like(made)


@lowers("add")
def _add(q: Quantizer, op: Op) -> None:
    if op.inputs[0] in q.plain:  # losses, for the learning curve
        q.plain[op.outputs[0]] = q.one(
            "add", q.plain[op.inputs[0]], q.plain[op.inputs[1]], like=op.outputs[0]
        )
        return
    a, b = q.of(op.inputs[0]), q.of(op.inputs[1])
    if op.phase == Phase.FORWARD:
        _add_forward(q, op, a, b)
    else:
        q.lowered[op.outputs[0]] = _added_errors(q, a, b, op.outputs[0])


def _add_forward(q: Quantizer, op: Op, a: LoweredValue, b: LoweredValue) -> None:
    """Both in the finer of the two units, 16 bits; then what the readers want."""
    out = op.outputs[0]
    unit = min(a.unit, b.unit) if a.exponent is None and b.exponent is None else (a if b.exponent else b).unit
    fmt = fixed(True, 16, unit)
    parts = [
        x
        if x.exponent is None and x.unit == unit
        else q.to(x, fmt, unit, out, "half-up", f".{i}", general=True)
        for i, x in enumerate((a, b))
    ]
    bound = sum(p.format.max_abs for p in parts)
    total = q.one(
        "add", *(p.value for p in parts), format=q.wide(bound, unit), unit=unit, like=out, suffix=".sum"
    )
    if out.name == "modulated":  # the sample with an error on it: as fine as the sample
        signed = fixed(True, kind(q.precision.input, "input").bits + 1, a.unit)
        q.lowered[out] = q.to(LoweredValue(total), signed, a.unit, out, "half-up", general=True)
        return
    q.settle(LoweredValue(total), out)


def _added_errors(q: Quantizer, a: LoweredValue, b: LoweredValue, out: Value) -> LoweredValue:
    unit = max(a.unit, b.unit)
    shifts = tuple(-nearest_shift(x.unit / unit) for x in (a, b))
    exponents = tuple(x.exponent for x in (a, b))
    bits = kind(q.precision.error, "error").bits + 1
    made, e = q.emit(
        "add_aligned",
        a.value,
        b.value,
        *(e for e in exponents if e is not None),
        format=fixed(True, bits, unit),
        shifts=shifts,
        exponents=tuple(e is not None for e in exponents),
        like=out,
        units=(unit, None),
    )
    return LoweredValue(made, e)


@lowers("sub")
def _sub(q: Quantizer, op: Op) -> None:
    a, b = q.of(op.inputs[0]), q.of(op.inputs[1])
    if a.exponent is not None or b.exponent is not None or abs(a.unit / b.unit - 1.0) > UNLIKE:
        raise q.refuse(f"its operands have units of {a.unit:g} and {b.unit:g}; use one format for both")
    bound = max(a.format.greatest, b.format.greatest) - min(a.format.least, b.format.least)
    made = q.one("sub", a.value, b.value, format=q.wide(bound, a.unit), unit=a.unit, like=op.outputs[0])
    q.lowered[op.outputs[0]] = LoweredValue(made)
