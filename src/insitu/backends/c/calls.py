"""From a step to C: an op becomes a call of the kernel of its name (``runtime/insitu_kernels.h``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from insitu.backends.c.emit import NULL, Emitter, Text, integer, stream_of
from insitu.backends.c.jumps import Blocks
from insitu.errors import ConfigError
from insitu.escape import c_comment
from insitu.numbers.formats import Binary, Quantized
from insitu.run.integer import pool_geometry
from insitu.step.ir import Op, Value


def calls(em: Emitter, behind: Mapping[Op, Iterable[str]] | None = None) -> list[str]:
    """The program of a step, an op a call with a comment that says where it comes from. Each is a block of its own, so
    that the arrays of one call and the next share the stack; those that wait for a trigger are jumped over without one.

    Args:
        behind: lines that follow the call of an op.

    Raises:
        ConfigError: an op, a format or an update has no kernel; names op, layer and remedy.
    """
    blocks = Blocks(em.step, em.counted)
    for op in em.step.ops:
        if op.record.alias:
            continue
        make = EMIT.get(op.kind)
        if make is None:
            raise ConfigError(
                f"{op.kind} at {op.where} has no C kernel: it works on reals or is torch alone; use an "
                "integer-ready rule (insitu list rules) in a quantized precision"
            )
        blocks.add(op, _origin(op), make(em, op) + (_registers(em, op) if op.attrs.registers else []))
        blocks.lines += (behind or {}).get(op, ())
    return blocks.end()


def _origin(op: Op) -> str:
    """Layer, phase and file of an op, for a comment. Without the line: the same program has the same bytes, whatever
    was edited around it."""
    file = (op.where.source or "").partition(":")[0]
    return c_comment(f"{op.where.layer or ''} {op.phase.value}, {file}".strip(" ,"))


Calls = list[str]
CLOCK = "&clock"


def _call(name: str, *arguments: object) -> Calls:
    return [f"insitu_{name}({', '.join(map(str, arguments))})"]


def _plain(name: str | None = None) -> Callable[[Emitter, Op], Calls]:
    """An op that has operands and nothing else."""
    return lambda em, op: _call(name or op.kind, *em.arrays((*op.inputs, *op.outputs)))


def _matmul(em: Emitter, op: Op) -> Calls:
    x, w, *bias = op.inputs
    n = em.dense(x.shape[0], w.shape[0], w.shape[1])
    b = em.array(bias[0]) if bias else NULL
    arrays = (em.array(x), em.array(w), b, em.array(op.outputs[0]))
    shift = op.attrs.bias_shift or 0
    return _call(
        "matmul", *arrays, n, em.read(op.attrs.read), em.read(op.attrs.read_bias), shift, em.end(op), CLOCK
    )


def _matmul_dx(em: Emitter, op: Op) -> Calls:
    d, w = op.inputs
    n = em.dense(d.shape[0], w.shape[0], w.shape[1])
    read = em.read(op.attrs.read, signs=op.attrs.view == "sign")
    return _call("matmul_dx", *em.arrays((d, w, op.outputs[0])), n, read, em.end(op), CLOCK)


def _matmul_dw(em: Emitter, op: Op) -> Calls:
    d, x = op.inputs
    n = em.dense(d.shape[0], d.shape[1], x.shape[1])
    return _call("matmul_dw", *em.arrays((d, x, op.outputs[0])), n, em.end(op), CLOCK)


def _project(em: Emitter, op: Op) -> Calls:
    e, matrix = op.inputs
    n = em.dense(e.shape[0], e.shape[1], op.attrs.columns, matrix.shape[1])
    return _call("matmul_dx", *em.arrays((e, matrix, op.outputs[0])), n, em.read(None), em.end(op), CLOCK)


def _reach(fmt: Quantized) -> int:
    return 0 if isinstance(fmt, Binary) else fmt.greatest


def _random_project(em: Emitter, op: Op) -> Calls:
    (e,) = op.inputs
    n = em.dense(e.shape[0], e.shape[1], op.attrs.columns)
    arrays = em.arrays((e, op.outputs[0]))
    return _call("random_project", *arrays, n, stream_of(op.attrs.stream), _reach(op.attrs.matrix), CLOCK)


def _select_rows(em: Emitter, op: Op) -> Calls:
    matrix, label = op.inputs
    n = em.dense(label.shape[0], matrix.shape[0], op.attrs.columns, matrix.shape[1])
    return _call("select_rows", *em.arrays((matrix, label, op.outputs[0])), n)


def _hashed(em: Emitter, op: Op) -> Calls:
    x, y = op.inputs[0], op.outputs[0]
    n = em.dense(x.shape[0], y.shape[1], x.shape[1])
    return _call(op.kind, *em.arrays((x, y)), n, stream_of(op.attrs.stream), CLOCK)


def _random_rows(em: Emitter, op: Op) -> Calls:
    (label,) = op.inputs
    n = em.dense(label.shape[0], 0, op.attrs.columns)
    arrays = em.arrays((label, op.outputs[0]))
    return _call("random_rows", *arrays, n, stream_of(op.attrs.stream), _reach(op.attrs.matrix), CLOCK)


def _fixed_random(em: Emitter, op: Op) -> Calls:
    out = op.outputs[0]
    return _call("fixed_random", em.array(out), stream_of(op.attrs.stream), _reach(op.attrs.format), CLOCK)


def _geometry(em: Emitter, op: Op, d: Value, x: Sequence[int], w: Sequence[int]) -> Text:
    return em.conv(d.shape[0], x[1:], w[0], d.shape[2:], w[2:], *op.attrs.geometry)


def _conv2d(em: Emitter, op: Op) -> Calls:
    x, w, *bias = op.inputs
    out = op.outputs[0]
    n = _geometry(em, op, out, x.shape, w.shape)
    b = em.array(bias[0]) if bias else NULL
    window = w.shape[1] * w.shape[2] * w.shape[3] if x.format.bits == 8 else 0
    em.workspace = max(em.workspace, window)
    arrays = (em.array(x), em.array(w), b, em.array(out))
    shift = op.attrs.bias_shift or 0
    ends = (
        em.read(op.attrs.read),
        em.read(op.attrs.read_bias),
        shift,
        em.end(op),
        CLOCK,
        "workspace" if window else NULL,
    )
    return _call("conv2d", *arrays, n, *ends)


def _conv2d_dx(em: Emitter, op: Op) -> Calls:
    d, w = op.inputs
    n = _geometry(em, op, d, op.attrs.shape, w.shape)
    read = em.read(op.attrs.read, signs=op.attrs.view == "sign")
    return _call("conv2d_dx", *em.arrays((d, w, op.outputs[0])), n, read, em.end(op), CLOCK)


def _conv2d_dw(em: Emitter, op: Op) -> Calls:
    d, x = op.inputs
    n = _geometry(em, op, d, x.shape, op.attrs.kernel)
    return _call("conv2d_dw", *em.arrays((d, x, op.outputs[0])), n, em.end(op), CLOCK)


def _inner(d: Value) -> tuple[str, str, str]:
    batch, channels = d.shape[:2]
    return f"{batch}u", f"{channels}u", f"{d.size // (batch * channels)}u"


def _sum_to_channels(em: Emitter, op: Op) -> Calls:
    (d,) = op.inputs
    return _call("sum_to_channels", em.array(d), em.array(op.outputs[0]), *_inner(d), em.end(op), CLOCK)


def _moved(em: Emitter, op: Op) -> tuple[list[Text], Text]:
    """Exponent, weights and state of an update, and how the weights move."""
    n = op.attrs.exponents
    if op.kind == "update":
        weight, rest = op.inputs[0], op.inputs[2:]
        exponents, state = rest[:n], rest[n:]
    else:
        first = op.attrs.operands - n
        exponents, weight, state = (
            op.inputs[first : first + n],
            op.inputs[first + n],
            op.inputs[first + n + 1 :],
        )
    move = em.move(op, weight)  # refuses what keeps more than one array beside the weights
    texts = [em.array(exponents[0]) if n else NULL, em.array(weight), em.array(state[0]) if state else NULL]
    return texts, move


def _registers(em: Emitter, op: Op) -> Calls:
    """The registers behind an update, which draws a word a row and a word a column from them."""
    w, registers = op.written
    o, rows = op.attrs.optimizer, w.shape[0]
    counts = [rows, w.size // rows if len(w.shape) > 1 else 0]
    first, second = counts if o.lanes == "rows" else reversed(counts)
    return _call(
        "registers_advance", em.array(registers), stream_of(o.stream), f"{first}u", f"{second}u", CLOCK
    )


def _update(em: Emitter, op: Op) -> Calls:
    w, g = op.inputs[:2]
    (e, weight, state), move = _moved(em, op)
    rows = w.shape[0]
    columns = w.size // rows if len(w.shape) > 1 else 0
    return _call("update", weight, em.array(g), e, state, f"{rows}u", f"{columns}u", move, CLOCK)


def _matmul_dw_update(em: Emitter, op: Op) -> Calls:
    d, x = op.inputs[:2]
    rest, move = _moved(em, op)
    n = em.dense(d.shape[0], d.shape[1], x.shape[1])
    return _call("matmul_dw_update", em.array(d), em.array(x), *rest, n, move, CLOCK)


def _matmul_dw_deferred(em: Emitter, op: Op) -> Calls:
    d, x, w, *kept = op.inputs
    n = em.dense(d.shape[0], d.shape[1], x.shape[1])
    defer = f"{op.attrs.defer}u"
    return _call("matmul_dw_deferred", *em.arrays((d, x, w, *kept)), n, defer, em.move(op, w), CLOCK)


def _conv2d_dw_update(em: Emitter, op: Op) -> Calls:
    d, x = op.inputs[:2]
    rest, move = _moved(em, op)
    n = _geometry(em, op, d, x.shape, op.attrs.kernel)
    return _call("conv2d_dw_update", em.array(d), em.array(x), *rest, n, move, CLOCK)


def _gated(
    em: Emitter, op: Op, d: Value, x: Sequence[int], w: Sequence[int], geometry: Sequence[Any]
) -> tuple[Text, ...]:
    """The map of errors behind the update of a layer, and the window that shares one."""
    return em.conv(d.shape[0], x, w[0], d.shape[2:], w[2:], *geometry), *(f"{n}u" for n in op.attrs.pool)


def _gated_conv2d_dw_update(em: Emitter, op: Op) -> Calls:
    d, h, x = op.inputs[:3]
    rest, move = _moved(em, op)
    n = _gated(em, op, h, x.shape[1:], op.attrs.kernel, op.attrs.geometry)
    bytes_ = h.shape[0] == 1 and all(v.format.bits == 8 for v in (d, h, x))
    em.workspace = max(em.workspace, h.shape[2] * h.shape[3] if bytes_ else 0)
    plane = "workspace" if bytes_ else NULL
    return _call("gated_conv2d_dw_update", *em.arrays((d, h, x)), *rest, *n, move, CLOCK, plane)


def _gated_sum_to_channels_update(em: Emitter, op: Op) -> Calls:
    d, h = op.inputs[:2]
    rest, move = _moved(em, op)
    n = _gated(em, op, h, h.shape[1:], (h.shape[1], 1, 1, 1), ((1, 1), (0, 0)))
    return _call("gated_sum_to_channels_update", *em.arrays((d, h)), *rest, *n, move, CLOCK)


def _sum_to_channels_update(em: Emitter, op: Op) -> Calls:
    d = op.inputs[0]
    rest, move = _moved(em, op)
    return _call("sum_to_channels_update", em.array(d), *rest, *_inner(d), move, CLOCK)


def _requant(em: Emitter, op: Op) -> Calls:
    x, *e = op.inputs
    exponent = em.array(e[0]) if e else NULL
    minus = f"{int(op.attrs.minus)}u"
    out = op.outputs[0]
    return _call("requant", em.array(x), exponent, em.array(out), em.fit(op.attrs, out), minus, CLOCK)


def _exponent(em: Emitter, op: Op) -> Calls:
    (x,), a = op.inputs, op.attrs
    groups = x.shape[0] if a.by_sample else 1
    return _call("exponent", em.array(x), em.array(op.outputs[0]), f"{groups}u", f"{a.bits}u", a.usual)


def _norm_exponent(em: Emitter, op: Op) -> Calls:
    (x,) = op.inputs
    return _call("norm_exponent", em.array(x), em.array(op.outputs[0]), f"{x.shape[0]}u", f"{op.attrs.by}u")


def _add_aligned(em: Emitter, op: Op) -> Calls:
    a, b, *exponents = op.inputs
    rest = iter(exponents)
    given = [em.array(next(rest)) if g else NULL for g in op.attrs.exponents]
    y, high = op.outputs
    fmt = y.format
    assert isinstance(fmt, Quantized)
    bounds = (integer(fmt.least), integer(fmt.greatest))
    return _call(
        "add_aligned",
        em.array(a),
        em.array(b),
        *given,
        em.array(y),
        em.array(high),
        *op.attrs.shifts,
        *bounds,
    )


def _pooled(
    em: Emitter, x: Sequence[int], out: Sequence[int], kernel: Any, stride: Any, padding: Any
) -> Text:
    return em.conv(x[0], x[1:], x[1], out[2:], kernel, stride, padding)


def _max_pool(em: Emitter, op: Op) -> Calls:
    (x,), (y, *position) = op.inputs, op.outputs
    n = _pooled(em, x.shape, y.shape, *pool_geometry(op))
    return _call("max_pool", em.array(x), em.array(y), em.array(position[0]) if position else NULL, n)


def _max_unpool(em: Emitter, op: Op) -> Calls:
    d, position = op.inputs
    return _call("max_unpool", *em.arrays((d, position, op.outputs[0])), f"{d.shape[0] * d.shape[1]}u")


def _sum_pool(em: Emitter, op: Op) -> Calls:
    (x,), (y,), a = op.inputs, op.outputs, op.attrs
    n = _pooled(em, x.shape, y.shape, a.kernel, a.stride, a.padding)
    return _call("sum_pool", em.array(x), em.array(y), n, em.end(op), CLOCK)


def _sum_unpool(em: Emitter, op: Op) -> Calls:
    (d,), (e,), a = op.inputs, op.outputs, op.attrs
    n = _pooled(em, e.shape, d.shape, a.kernel, a.stride, a.padding)
    return _call("sum_unpool", em.array(d), em.array(e), n)


def _unpool_gate(em: Emitter, op: Op) -> Calls:
    (d, y), (e,), a = op.inputs, op.outputs, op.attrs
    n = _pooled(em, y.shape, d.shape, a.kernel, a.stride, a.padding)
    return _call("unpool_gate", *em.arrays((d, y, e)), n)


def _activate(em: Emitter, op: Op) -> Calls:
    return _plain("relu" if op.attrs.fn == "relu" else "binarize")(em, op)


def _inside(em: Emitter, op: Op) -> Calls:
    arrays = em.arrays((*op.inputs, op.outputs[0]))
    return _call("inside", *arrays, op.attrs.low, op.attrs.high)


def _leaky(em: Emitter, op: Op) -> Calls:
    x, *y = op.inputs
    second = em.array(y[0]) if y else NULL
    return _call("leaky", em.array(x), second, em.array(op.outputs[0]), f"{op.attrs.shift}u")


def _lut(em: Emitter, op: Op) -> Calls:
    (x,) = op.inputs
    fmt = x.format
    assert isinstance(fmt, Quantized)
    return _call("lut", em.array(x), em.array(op.outputs[0]), em.constants.table(op.attrs.table), fmt.least)


def _offset(em: Emitter, op: Op) -> Calls:
    return _call("offset", em.array(op.inputs[0]), em.array(op.outputs[0]), op.attrs.by)


def _dropout(em: Emitter, op: Op) -> Calls:
    threshold = f"{round(op.attrs.p * 2**32)}u"
    x_y = em.arrays((op.inputs[0], op.outputs[0]))
    return _call("dropout", *x_y, threshold, op.attrs.each, stream_of(op.attrs.stream), CLOCK)


def _concat_rows(em: Emitter, op: Op) -> Calls:
    (a, b), out = op.inputs, em.array(op.outputs[0])
    first = _call("copy", em.array(a), out, "0u", "0u", f"{a.size}u")
    return first + _call("copy", em.array(b), out, "0u", f"{a.size}u", f"{b.size}u")


def _slice_rows(em: Emitter, op: Op) -> Calls:
    (x,), (y,) = op.inputs, op.outputs
    start = op.attrs.start * (x.size // x.shape[0])
    return _call("copy", em.array(x), em.array(y), f"{start}u", "0u", f"{y.size}u")


def _row_squares(em: Emitter, op: Op) -> Calls:
    (x,) = op.inputs
    return _call("row_squares", em.array(x), em.array(op.outputs[0]), f"{x.shape[0]}u")


def _overlay(em: Emitter, op: Op) -> Calls:
    x = op.inputs[0]
    arrays = em.arrays((*op.inputs, op.outputs[0]))
    return _call(op.kind, *arrays, f"{x.shape[0]}u", f"{op.attrs.classes}u", op.attrs.one)


def _wrong_labels(em: Emitter, op: Op) -> Calls:
    arrays = em.arrays((op.inputs[0], op.outputs[0]))
    return _call("wrong_labels", *arrays, f"{op.attrs.classes}u", stream_of(op.attrs.stream), CLOCK)


def _scores(name: str) -> Callable[[Emitter, Op], Calls]:
    def make(em: Emitter, op: Op) -> Calls:
        z, label = op.inputs
        fmt = op.outputs[0].format
        assert isinstance(fmt, Quantized)
        table = (em.constants.table(op.attrs.table),) if name == "softmax_error" else ()
        bounds = (op.attrs.one, integer(fmt.least), integer(fmt.greatest))
        shape = (f"{z.shape[0]}u", f"{z.shape[1]}u")
        return _call(name, *em.arrays((z, label, op.outputs[0])), *shape, *table, *bounds)

    return make


def _violated(em: Emitter, op: Op) -> Calls:
    z, label, *rest = op.inputs
    size = [*em.arrays(rest), NULL, NULL][
        :2
    ]  # of the layer's output and its exponent, where the margin grows with it
    arrays = (*em.arrays((z, label)), *size, em.array(op.outputs[0]))
    shape = (f"{z.shape[0]}u", f"{z.shape[1]}u")
    a = op.attrs
    shares = em.constants.table(a.shares) if a.shares else NULL
    return _call("violated", *arrays, *shape, a.shift, a.margin, f"{int(a.every)}u", shares)


def _less_first_half(em: Emitter, op: Op) -> Calls:
    fmt = op.outputs[0].format
    assert isinstance(fmt, Quantized)
    arrays = em.arrays((op.inputs[0], op.outputs[0]))
    return _call("less_first_half", *arrays, op.attrs.one, integer(fmt.least), integer(fmt.greatest))


EMIT: dict[str, Callable[[Emitter, Op], Calls]] = {
    "matmul": _matmul,
    "matmul_dx": _matmul_dx,
    "matmul_dw": _matmul_dw,
    "project": _project,
    "random_project": _random_project,
    "sketch": _hashed,
    "unsketch": _hashed,
    "select_rows": _select_rows,
    "random_rows": _random_rows,
    "fixed_random": _fixed_random,
    "conv2d": _conv2d,
    "conv2d_dx": _conv2d_dx,
    "conv2d_dw": _conv2d_dw,
    "sum_to_channels": _sum_to_channels,
    "update": _update,
    "matmul_dw_deferred": _matmul_dw_deferred,
    "matmul_dw_update": _matmul_dw_update,
    "conv2d_dw_update": _conv2d_dw_update,
    "sum_to_channels_update": _sum_to_channels_update,
    "gated_conv2d_dw_update": _gated_conv2d_dw_update,
    "gated_sum_to_channels_update": _gated_sum_to_channels_update,
    "requant": _requant,
    "exponent": _exponent,
    "norm_exponent": _norm_exponent,
    "add_exponents": _plain(),
    "add_aligned": _add_aligned,
    "max_pool": _max_pool,
    "max_unpool": _max_unpool,
    "sum_pool": _sum_pool,
    "sum_unpool": _sum_unpool,
    "unpool_gate": _unpool_gate,
    "activate": _activate,
    "gate": _plain(),
    "stash": _plain(),
    "inside": _inside,
    "leaky": _leaky,
    "lut": _lut,
    "add": _plain(),
    "couple": lambda em, op: _plain("sub" if op.attrs.minus else "add")(em, op),  # as words they wrap around
    "sub": _plain(),
    "mul": _plain(),
    "sign": _plain(),
    "offset": _offset,
    "dropout": _dropout,
    "concat_rows": _concat_rows,
    "slice_rows": _slice_rows,
    "row_squares": _row_squares,
    "row_scale": _plain(),
    "overlay": _overlay,
    "overlay_each": _overlay,
    "overlay_even": _overlay,
    "wrong_labels": _wrong_labels,
    "softmax_error": _scores("softmax_error"),
    "difference_error": _scores("difference_error"),
    "less_label": _scores("difference_error"),
    "margin_error": _scores("margin_error"),
    "violated": _violated,
    "less_first_half": _less_first_half,
}
"""How each op is called; a new one is a row here, a function and a kernel."""
