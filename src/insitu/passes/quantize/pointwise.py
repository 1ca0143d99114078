"""Activation functions and gates, sums, factors and views."""

from __future__ import annotations

from dataclasses import replace
from math import exp, tanh
from typing import Any

from insitu.numbers.formats import B1, T2, Fixed
from insitu.ops.quant import nearest_shift
from insitu.passes.precision import kind
from insitu.passes.quantize.units import ONE, UNLIKE, Now, fixed
from insitu.passes.quantize.walk import Quantizer, lowers
from insitu.step.ir import Op, Phase, Value


def _slope_shift(slope: float) -> int:
    return max(1, nearest_shift(slope)) if slope > 0 else 31


@lowers("activate")
def _activate(q: Quantizer, op: Op) -> None:
    x, out, fn = q.of(op.inputs[0]), op.outputs[0], op.attrs["fn"]
    if fn == "relu":
        folded = x.format.least == 0
        q.now[out] = (
            x
            if folded
            else Now(q.one("activate", x.value, fn="relu", unit=x.unit, like=out), x.exponent, x.sign)
        )
    elif fn == "hardtanh":
        limit = 1.0 / x.unit
        if x.format.greatest > limit * 1.5:
            raise q.refuse("hard tanh behind other than a weighted layer; use relu or tanh")
        q.now[out] = x
    elif fn == "leaky_relu":
        shift = _slope_shift(op.attrs["slope"])
        q.now[out] = Now(q.one("leaky", x.value, shift=shift, unit=x.unit, like=out), x.exponent, x.sign)
    elif fn == "sign":
        made = q.one("requant", x.value, unit=1.0, like=out, format=B1, shift=0, rounding="half-up")
        q.now[out] = Now(made)
    else:
        _tabulated(q, x, out, fn)


def _tabulated(q: Quantizer, x: Now, out: Value, fn: str) -> None:
    """tanh and sigmoid by their value for every integer."""
    bits = kind(q.policy().activation).bits
    signed = fn == "tanh"
    one = 2 ** (bits - signed)
    fmt = Fixed(signed, 0, bits - signed) if bits > 1 or not signed else None
    if fmt is None:
        raise q.refuse("tanh in one bit is the sign; use activation sign, or 2 bits or more")
    if x.exponent is not None:
        raise q.refuse(f"{fn} of values with a run-time exponent; use a static one")
    function = tanh if signed else (lambda v: 1.0 / (1.0 + exp(-v)))
    reals = [function(n * x.unit) for n in range(x.format.least, x.format.greatest + 1)]
    table = tuple(min(max(round(y * one), fmt.least), fmt.greatest) for y in reals)
    q.now[out] = Now(q.one("lut", x.value, table=table, format=fmt, unit=1.0 / one, like=out))


@lowers("gate")
def _gate(q: Quantizer, op: Op) -> None:
    d, y, out, fn = q.of(op.inputs[0]), q.of(op.inputs[1]), op.outputs[0], op.attrs["fn"]
    style: dict[str, Any] = {"unit": d.unit, "like": out}
    if fn == "relu":
        made = q.one("gate", d.value, y.value, fn="relu", **style)
    elif fn == "hardtanh":
        made = q.one("inside", d.value, y.value, low=y.format.least, high=y.format.greatest, **style)
    elif fn == "sign":
        limit = round(1.0 / y.unit)
        made = q.one("inside", d.value, y.value, low=-limit, high=limit, **style)
    elif fn == "leaky_relu":
        made = q.one("leaky", d.value, y.value, shift=_slope_shift(op.attrs["slope"]), **style)
    else:
        q.now[out] = _gated_by_table(q, d, y, out, fn)
        return
    q.now[out] = d.like(made)


def _gated_by_table(q: Quantizer, d: Now, y: Now, out: Value, fn: str) -> Now:
    """d times the derivative, looked up by the activation."""
    reals = [n * y.unit for n in range(y.format.least, y.format.greatest + 1)]
    slopes = [1.0 - v * v if fn == "tanh" else v * (1.0 - v) for v in reals]
    table = tuple(max(0, round(s * 2**ONE)) for s in slopes)
    slope = q.one(
        "lut", y.value, table=table, format=Fixed(False, 1, ONE), unit=2.0**-ONE, like=out, suffix=".slope"
    )
    unit = d.unit * 2.0**-ONE
    fmt = q.wide(d.format.reach * 2**ONE, unit)
    made = q.one("mul", d.value, slope, format=fmt, unit=unit, like=out, suffix=".product")
    return q.error(Now(made, d.exponent, d.sign), out, d.unit)


@lowers("stash")
def _stash(q: Quantizer, op: Op) -> None:
    """A bit n whose unit is what it stands for; a run-time exponent does not change the sign of its operand."""
    x, unit = q.of(op.inputs[0]), float(op.attrs["scale"])
    made = q.one("stash", x.value, format=fixed(False, 1, unit), unit=unit, like=op.outputs[0])
    q.now[op.outputs[0]] = Now(made)


@lowers("scale")
def _scale(q: Quantizer, op: Op) -> None:
    x, by = q.of(op.inputs[0]), op.attrs["by"]
    if not by > 0:
        raise q.refuse(f"a factor of {by:g} would need a negation; use a positive one")
    q.now[op.outputs[0]] = replace(x, seen=x.unit * by)  # no operation


@lowers("sign")
def _sign(q: Quantizer, op: Op) -> None:
    x = q.of(op.inputs[0])
    q.now[op.outputs[0]] = Now(q.one("sign", x.value, format=T2, unit=1.0, like=op.outputs[0]))


@lowers("reshape")
def _reshape(q: Quantizer, op: Op) -> None:
    x = q.of(op.inputs[0])
    made = q.one("reshape", x.value, shape=op.attrs["shape"], unit=x.unit, like=op.outputs[0])
    q.now[op.outputs[0]] = x.like(made)


@lowers("dropout")
def _dropout(q: Quantizer, op: Op) -> None:
    x, p = q.of(op.inputs[0]), op.attrs["p"]
    made = q.one(
        "dropout", x.value, p=p, stream=op.attrs["stream"], unit=x.unit / (1.0 - p), like=op.outputs[0]
    )
    q.now[op.outputs[0]] = x.like(made)


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
        q.now[op.outputs[0]] = _added_errors(q, a, b, op.outputs[0])


def _add_forward(q: Quantizer, op: Op, a: Now, b: Now) -> None:
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
    bound = sum(p.format.reach for p in parts)
    total = q.one(
        "add", *(p.value for p in parts), format=q.wide(bound, unit), unit=unit, like=out, suffix=".sum"
    )
    if out.name == "modulated":  # the sample with an error on it: as fine as the sample
        signed = fixed(True, kind(q.precision.input, "input").bits + 1, a.unit)
        q.now[out] = q.to(Now(total), signed, a.unit, out, "half-up", general=True)
        return
    q.settle(Now(total), out)


def _added_errors(q: Quantizer, a: Now, b: Now, out: Value) -> Now:
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
    return Now(made, e)


@lowers("sub")
def _sub(q: Quantizer, op: Op) -> None:
    a, b = q.of(op.inputs[0]), q.of(op.inputs[1])
    if a.exponent is not None or b.exponent is not None or abs(a.unit / b.unit - 1.0) > UNLIKE:
        raise q.refuse(f"its operands have units of {a.unit:g} and {b.unit:g}; use one format for both")
    bound = max(a.format.greatest, b.format.greatest) - min(a.format.least, b.format.least)
    made = q.one("sub", a.value, b.value, format=q.wide(bound, a.unit), unit=a.unit, like=op.outputs[0])
    q.now[op.outputs[0]] = Now(made)
