"""The errors of losses."""

from __future__ import annotations

from math import ceil, exp

from insitu.numbers.formats import Fixed
from insitu.ops.quant import nearest_shift
from insitu.passes.precision import kind
from insitu.passes.quantize.units import LoweredValue, fixed
from insitu.passes.quantize.walk import Quantizer, lowers
from insitu.step.ir import Op, Value

WHOLE = 16
"""The error that violators of a margin share, in units: 6 bits hold it, and the share of one of nine is 2."""


def one_of(q: Quantizer) -> int:
    """1.0 in the policy's error bits."""
    return int(2 ** (kind(q.precision.error, "error").bits - 1))


def _monitor(q: Quantizer, op: Op, z: LoweredValue, loss: str, scale: float) -> None:
    if op.attrs.with_loss:
        target = q.lowered.get(op.inputs[1])
        label, of = (target.value, target.unit) if target else (q.plain[op.inputs[1]], 1.0)
        how = {"loss": loss, "step": z.unit, "target_step": of, "scale": scale}
        q.plain[op.outputs[1]] = q.one("monitor", z.value, label, **how, like=op.outputs[1], unit=None)


def _checked_labels(q: Quantizer, op: Op) -> tuple[LoweredValue, Value]:
    z = q.of(op.inputs[0])
    if op.inputs[1] not in q.plain or len(op.inputs[0].shape) != 2:
        raise q.refuse(
            "this loss needs scores [B,C] and class labels on integers; use mse or bce for other targets"
        )
    return z, q.plain[op.inputs[1]]


@lowers("xent_error")
def _xent(q: Quantizer, op: Op) -> None:
    z, label = _checked_labels(q, op)
    scale, one, out = op.attrs.scale, one_of(q), op.outputs[0]
    count = min(z.format.greatest - z.format.least, ceil(11.0 / z.unit))
    table = tuple(round(2**15 * exp(-i * z.unit)) for i in range(count + 1))
    fmt = fixed(True, kind(q.precision.error).bits, scale / one)
    made = q.one(
        "softmax_error", z.value, label, table=table, one=one, format=fmt, unit=scale / one, like=out
    )
    q.lowered[out] = LoweredValue(made)
    _monitor(q, op, z, "xent", scale)


@lowers("mse_error")
def _mse(q: Quantizer, op: Op) -> None:
    if op.inputs[1] in q.lowered:
        _mse_of_targets(q, op)
        return
    z, label = _checked_labels(q, op)
    one, out = round(1.0 / z.unit), op.outputs[0]
    unit = 2.0 * op.attrs.scale * z.unit
    fmt = q.wide(z.format.max_abs + one, unit)
    wide = LoweredValue(
        q.one("difference_error", z.value, label, one=one, format=fmt, unit=unit, like=out, suffix=".wide")
    )
    q.lowered[out] = q.error(wide, out, was=4.0 * op.attrs.scale / one_of(q))  # errors up to 2, if static
    _monitor(q, op, z, "mse", op.attrs.scale)


def _mse_of_targets(q: Quantizer, op: Op) -> None:
    """Outputs and targets share a unit, and the largest error that a static policy keeps is the targets' range."""
    z, t, out = q.of(op.inputs[0]), q.of(op.inputs[1]), op.outputs[0]
    unit = 2.0 * op.attrs.scale * z.unit
    fmt = q.wide(z.format.max_abs + t.format.max_abs, unit)
    wide = q.one("sub", z.value, t.value, format=fmt, unit=unit, like=out, suffix=".wide")
    q.lowered[out] = q.error(LoweredValue(wide), out, was=unit * t.format.max_abs / one_of(q))
    _monitor(q, op, z, "mse", op.attrs.scale)


@lowers("hinge_error")
def _hinge(q: Quantizer, op: Op) -> None:
    z, label = _checked_labels(q, op)
    scale, out = op.attrs.scale, op.outputs[0]
    fmt = q.wide(op.inputs[0].shape[1], scale)
    made = q.one("margin_error", z.value, label, one=round(1.0 / z.unit), format=fmt, unit=scale, like=out)
    q.lowered[out] = LoweredValue(made)
    _monitor(q, op, z, "hinge", scale)


@lowers("violation_error")
def _violation(q: Quantizer, op: Op) -> None:
    """The part of the margin that grows with h becomes a shift of the sum of |h|."""
    z, label = _checked_labels(q, op)
    scale, every, out = op.attrs.scale, op.attrs.every, op.outputs[0]
    operands, shift = [z.value, label], 0
    for h in map(q.of, op.inputs[2:]):
        if h.exponent is not None and (h.sign < 0 or h.exponent.shape):
            raise q.refuse("its layer has an exponent per sample; use activation_exponent=static")
        operands += [h.value] if h.exponent is None else [h.value, h.exponent]
        shift = nearest_shift(op.attrs.relative * h.unit / z.unit)
    most = op.inputs[0].shape[1] - 1 if every else 1
    how = {"shift": shift, "margin": round(op.attrs.margin / z.unit), "every": every}
    if op.attrs.mean:
        how["shares"] = shares = (0, *(round(WHOLE / n) for n in range(1, most + 1)))
        most, scale = max(n * share for n, share in enumerate(shares)), scale / WHOLE
    made = q.one("violated", *operands, **how, format=q.wide(most, scale), unit=scale, like=out)
    q.lowered[out] = LoweredValue(made)
    _monitor(q, op, z, "xent", op.attrs.scale)


@lowers("bce_error")
def _bce(q: Quantizer, op: Op) -> None:
    scale, out, target = op.attrs.scale, op.outputs[0], q.lowered.get(op.inputs[1])
    z, label = (q.of(op.inputs[0]), target.value) if target else _checked_labels(q, op)
    p, one = sigmoid(q, z, out)
    unit = scale / one
    fmt = fixed(True, kind(q.precision.error).bits, unit)
    if target is None:
        made = q.one("less_label", p, label, one=one, format=fmt, unit=unit, like=out)
        q.lowered[out] = LoweredValue(made)
    else:
        wide = q.one("sub", p, label, format=q.wide(one, unit), unit=unit, like=out, suffix=".wide")
        q.lowered[out] = q.to(LoweredValue(wide), fmt, unit, out, "half-up")
    _monitor(q, op, z, "bce", scale)


def sigmoid(q: Quantizer, z: LoweredValue, out: Value) -> tuple[Value, int]:
    """sigmoid(z) in units of 1 / one."""
    one = one_of(q)
    reals = (n * z.unit for n in range(z.format.least, z.format.greatest + 1))
    table = tuple(round(one / (1.0 + exp(-max(v, -60.0)))) for v in reals)
    fmt = Fixed(False, one.bit_length(), 0)
    return q.one("lut", z.value, table=table, format=fmt, unit=1.0 / one, like=out, suffix=".p"), one
