"""Pooling, upsampling, sketches and their adjoints."""

from __future__ import annotations

from math import ceil, prod
from typing import Any

from insitu.ops.pool import Window
from insitu.passes.quantize.units import LoweredValue, fixed
from insitu.passes.quantize.walk import Quantizer, lowers
from insitu.step.ir import Op


@lowers("max_pool")
def _max_pool(q: Quantizer, op: Op) -> None:
    x = q.of(op.inputs[0])
    size = op.attrs.size
    if size is not None and any(op.inputs[0].shape[2 + i] % size[i] for i in (0, 1)):
        raise q.refuse("an adaptive pool whose size does not divide the plane; use a fixed window")
    made, position = q.emit(
        "max_pool", x.value, units=(x.unit, None), like=op.outputs[0], **op.attrs.explicit()
    )
    q.lowered[op.outputs[0]] = x.like(made)
    q.plain[op.outputs[1]] = position


@lowers("max_unpool")
def _max_unpool(q: Quantizer, op: Op) -> None:
    d = q.of(op.inputs[0])
    made = q.one(
        "max_unpool", d.value, q.plain[op.inputs[1]], shape=op.attrs.shape, unit=d.unit, like=op.outputs[0]
    )
    q.lowered[op.outputs[0]] = d.like(made)


def _window(q: Quantizer, op: Op, plane: tuple[int, ...], pooled: tuple[int, ...]) -> dict[str, Any]:
    """Kernel, stride and padding, of an adaptive pool too."""
    window: Window | None = op.attrs.window
    if window is not None:
        return window.explicit()
    if any(plane[2 + i] % pooled[2 + i] for i in (0, 1)):
        raise q.refuse("an adaptive pool whose size does not divide the plane; use a fixed window")
    kernel = tuple(plane[2 + i] // pooled[2 + i] for i in (0, 1))
    return {"kernel": kernel, "stride": kernel, "padding": (0, 0)}


@lowers("avg_pool")
def _avg_pool(q: Quantizer, op: Op) -> None:
    x, out = q.of(op.inputs[0]), op.outputs[0]
    window = _window(q, op, op.inputs[0].shape, out.shape)
    n = prod(window["kernel"])
    unit = x.unit / n
    total = q.one(
        "sum_pool",
        x.value,
        unit=unit,
        like=out,
        suffix=".sum",
        format=q.wide(n * x.format.max_abs, unit),
        **window,
    )
    made = q.to(LoweredValue(total), x.format, x.unit, out, q.precision.rounding)
    q.lowered[out] = x.like(made.value)


@lowers("avg_unpool")
def _avg_unpool(q: Quantizer, op: Op) -> None:
    d = q.of(op.inputs[0])
    window = _window(q, op, op.attrs.shape, op.inputs[0].shape)
    overlap = prod(ceil(k / s) for k, s in zip(window["kernel"], window["stride"]))
    fmt = d.format if overlap == 1 else q.wide(overlap * d.format.max_abs, d.unit)
    unit = d.unit / prod(window["kernel"])
    made = q.one(
        "sum_unpool", d.value, shape=op.attrs.shape, format=fmt, unit=unit, like=op.outputs[0], **window
    )
    spread = d.like(made)
    q.lowered[op.outputs[0]] = spread if overlap == 1 else q.error(spread, op.outputs[0], unit)


@lowers("upsample")
def _upsample(q: Quantizer, op: Op) -> None:
    """As an error is spread below a pool."""
    x, out = q.of(op.inputs[0]), op.outputs[0]
    window = op.attrs.window.explicit()
    made = q.one("sum_unpool", x.value, shape=out.shape, format=x.format, unit=x.unit, like=out, **window)
    q.lowered[out] = x.like(made)


@lowers("upsample_dx")
def _upsample_dx(q: Quantizer, op: Op) -> None:
    d, out = q.of(op.inputs[0]), op.outputs[0]
    fmt = q.wide(prod(op.attrs.factor) * d.format.max_abs, d.unit)
    window = op.attrs.window.explicit()
    total = q.one("sum_pool", d.value, unit=d.unit, like=out, suffix=".sum", format=fmt, **window)
    q.lowered[out] = q.error(d.like(total), out, d.unit)


@lowers("sketch")
def _sketch(q: Quantizer, op: Op) -> None:
    """In as many bits as the features, one of them for the sign."""
    x, out, a = q.of(op.inputs[0]), op.outputs[0], op.attrs
    unit = x.unit * 2.0**-a.shift
    bound = op.inputs[0].shape[1] * x.format.max_abs
    total = q.one(
        "sketch",
        x.value,
        unit=unit,
        like=out,
        suffix=".sum",
        format=q.wide(bound, unit),
        columns=a.columns,
        stream=a.stream,
    )
    step = x.unit if x.format.least < 0 else 2.0 * x.unit
    made = q.to(LoweredValue(total), fixed(True, x.format.bits, step), step, out, q.precision.rounding)
    q.lowered[out] = x.like(made.value)


@lowers("unsketch")
def _unsketch(q: Quantizer, op: Op) -> None:
    d, a = q.of(op.inputs[0]), op.attrs
    unit = d.unit * 2.0**-a.shift
    made = q.one(
        "unsketch",
        d.value,
        format=d.format,
        unit=unit,
        like=op.outputs[0],
        columns=a.columns,
        stream=a.stream,
    )
    q.lowered[op.outputs[0]] = d.like(made)
