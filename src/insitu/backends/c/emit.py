"""From a step to C: the list of kernel calls with offsets, and the constants that they need.

One function per op kind turns an op into a call of the kernel of the same name (``runtime/insitu_kernels.h``);
everything that an op's attributes say becomes a constant of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np

from insitu.errors import ConfigError
from insitu.numbers import prng
from insitu.numbers.formats import Binary, Float, PowerOfTwo, Quantized
from insitu.ops.quant import Read, nearest_shift
from insitu.ops.stored import Latent, Stored, jump_table
from insitu.run.integer import _pool_geometry
from insitu.step.ir import Op, Step, Value
from insitu.step.liveness import roots

LEAST, MOST = -(1 << 31), (1 << 31) - 1
Text = str
NULL = "NULL"


@dataclass(frozen=True)
class Place:
    """Where an array lies: at an offset of ``arena``, ``state`` (residents that change) or ``rom`` (the others)."""

    region: str
    offset: int


@dataclass
class Constants:
    """Constants of the program, each written once; ``moves``: the updates, whose shift follows from the rate."""

    texts: dict[str, str] = field(default_factory=dict)
    moves: list[Stored | Latent] = field(default_factory=list)

    def named(self, kind: str, stem: str, value: str) -> Text:
        """The address of a constant of a struct type."""
        key = f"static const {kind} {{}} = {value};"
        name = self.texts.setdefault(key, f"{stem}_{len(self.texts)}")
        return f"&{name}"

    def list(self, kind: str, stem: str, values: Iterable[int]) -> Text:
        """An array of numbers."""
        body = ", ".join(map(str, values))
        key = f"static const {kind} {{}}[] = {{{{{body}}}}};"
        return self.texts.setdefault(key, f"{stem}_{len(self.texts)}")

    def table(self, values: Sequence[int]) -> Text:
        """A packed table as an array."""
        low, high = min(values), max(values)
        bits = next(b for b in (8, 16, 32) if -(1 << (b - 1)) <= low and high < 1 << (b - (low < 0)))
        data = np.array(values, dtype=f"<i{max(bits, 8) // 8 if low < 0 else 8}").astype(f"<i{8}")
        raw = b"".join(int(v & ((1 << bits) - 1)).to_bytes(bits // 8, "little") for v in data.tolist())
        name = self.list("uint8_t", "table", raw)
        form = "INSITU_SIGNED" if low < 0 else "INSITU_UNSIGNED"
        return f"&(insitu_array){{(uint8_t *)(uintptr_t){name}, {len(values)}u, {bits}u, {form}}}"

    def lines(self) -> list[str]:
        return [key.format(name) for key, name in self.texts.items()]


def stream_of(name: str | None) -> str:
    """What the key of a stream is made from."""
    return f"{prng.mix(crc32((name or '').encode())):#010x}u"


def form_of(value: Value) -> tuple[int, str]:
    """Bits of a word and how it is read."""
    fmt = value.format
    if isinstance(fmt, Float):
        if fmt.bits != 32:
            raise ConfigError(
                f"%{value.name} is kept in {fmt}, which C has no form for; use master f32 or a latent-free policy"
            )
        return 32, "INSITU_REAL"
    if isinstance(fmt, PowerOfTwo):
        raise ConfigError(f"%{value.name} is stored in {fmt}; C reads powers of two from a real copy only")
    if isinstance(fmt, Binary):
        return 1, "INSITU_BINARY"
    assert isinstance(fmt, Quantized)
    return fmt.bits, "INSITU_SIGNED" if fmt.low < 0 else "INSITU_UNSIGNED"


@dataclass
class Emitter:
    """Writes the calls of a step.

    Attributes:
        places: of every storage root by name.
        constants: shared by all steps of a project.
    """

    step: Step
    places: Mapping[str, Place]
    constants: Constants
    workspace: int = 0

    def __post_init__(self) -> None:
        self.owner = roots(self.step)

    def calls(self) -> list[str]:
        """The program, an op a call with a comment that says where it comes from.

        Raises:
            ConfigError: an op, a format or an update has no kernel; names op, layer and remedy.
        """
        lines = []
        for op in self.step.ops:
            if op.record.alias:
                continue
            make = EMIT.get(op.kind)
            if make is None:
                raise ConfigError(
                    f"{op.kind} at {op.where} has no C kernel: it works on reals or is torch alone; use an "
                    "integer-ready rule (insitu list rules) in a quantized precision"
                )
            where = f"{op.where.layer or ''} {op.phase.value}, {op.where.source or ''}".strip(" ,")
            lines += [f"    /* {where} */", *(f"    {call};" for call in make(self, op))]
        return lines

    def array(self, value: Value) -> Text:
        """A value as an argument."""
        place = self.places[self.owner[value].name]
        bits, form = form_of(value)
        return f"&(insitu_array){{{place.region} + {place.offset}u, {value.size}u, {bits}u, {form}}}"

    def arrays(self, values: Iterable[Value]) -> list[Text]:
        return [self.array(v) for v in values]

    def end(self, op: Op) -> Text:
        """What happens to an exact sum: requantized, saturated, or nothing."""
        then, fmt = op.attrs.get("then"), op.attrs.get("format")
        limit = (fmt.least, fmt.greatest) if op.attrs.get("limit") and fmt is not None else None
        if then is not None:
            return self.fit(vars(then), op.outputs[0], limit)
        return self._fit(1, LEAST, MOST, None, 0, "INSITU_EXACT", limit)

    def fit(self, how: Mapping[str, Any], out: Value, limit: tuple[int, int] | None = None) -> Text:
        """A requantization; ``limit``: of the sum before it."""
        fmt = out.format
        assert isinstance(fmt, Quantized)
        rounding = "INSITU_" + str(how["rounding"]).upper().replace("-", "_")
        return self._fit(
            how.get("times", 1), fmt.least, fmt.greatest, how.get("stream"), how["shift"], rounding, limit
        )

    def _fit(
        self, times: int, low: int, high: int, stream: str | None, shift: int, rounding: str,
        limit: tuple[int, int] | None,
    ) -> Text:  # fmt: skip
        key = stream_of(stream) if stream is not None else "0u"
        least, most = limit or (LEAST, MOST)
        bounds = f"{int(limit is not None)}u, {_int(least)}, {_int(most)}"
        text = f"{{{{{times}, {_int(low)}, {_int(high)}, {key}, {shift}, {rounding}, {bounds}}}}}"
        return self.constants.named("insitu_fit", "fit", text)

    def read(self, op: Op, name: str = "read") -> Text:
        how: Read | None = op.attrs.get(name)
        sign = int(name == "read" and op.attrs.get("view") == "sign")
        if how is None:
            text = f"{{{{NULL, 0.0f, {_int(LEAST)}, {_int(MOST)}, INSITU_AS_STORED, 0, 0u, {sign}u}}}}"
            return self.constants.named("insitu_read", "read", text)
        fmt, binary = how.format, int(isinstance(how.format, Binary))
        channels = self.constants.list("int8_t", "channels", how.channels) if how.channels else NULL
        if how.unit is None:
            kind, per_unit = ("INSITU_HIGH_BITS" if how.shift else "INSITU_AS_STORED"), "0.0f"
        else:
            power = isinstance(fmt, PowerOfTwo)
            kind, per_unit = "INSITU_POWER_FROM_REAL" if power else "INSITU_FROM_REAL", _real(1.0 / how.unit)
        bounds = f"{_int(fmt.least)}, {_int(fmt.greatest)}"
        text = f"{{{{{channels}, {per_unit}, {bounds}, {kind}, {how.shift}, {binary}u, {sign}u}}}}"
        return self.constants.named("insitu_read", "read", text)

    def dense(self, batch: int, outputs: int, inputs: int, pitch: int | None = None) -> Text:
        text = f"{{{{{batch}u, {outputs}u, {inputs}u, {inputs if pitch is None else pitch}u}}}}"
        return self.constants.named("insitu_dense", "dense", text)

    def conv(
        self, batch: int, x: Sequence[int], k: int, out: Sequence[int], kernel: Sequence[int], how: Any
    ) -> Text:
        """``x``: channels, height, width; ``out``, ``kernel``: height, width; ``how``: the attributes of the op."""
        pairs = (how["stride"], how["padding"], how.get("dilation", (1, 1)))
        numbers = ", ".join(f"{n}u" for n in (batch, *x, k, *out, *kernel, how.get("groups", 1)))
        shape = ", ".join(f"{{{{{a}u, {b}u}}}}" for a, b in pairs)
        return self.constants.named("insitu_conv", "conv", f"{{{{{numbers}, {shape}}}}}")

    def move(self, op: Op, weight: Value) -> Text:
        """How the weights of an update move; its number among the updates of the program."""
        o = op.attrs["optimizer"]
        index = len(self.constants.moves)
        self.constants.moves.append(o)
        if isinstance(o, Latent):
            return self._latent(op, o, index)
        if not isinstance(o, Stored):
            raise ConfigError(
                f"{op.kind} at {op.where} moves reals; use a quantized precision such as edge-latent-free-8"
            )
        fmt = o.format
        limit = op.attrs.get("format") if op.attrs.get("limit") else None
        least, most = (limit.least, limit.greatest) if limit is not None else (LEAST, MOST)
        channels = self.constants.list("int8_t", "channels", o.channels) if o.channels else NULL
        jumps = self.constants.list("uint32_t", "jumps", jump_table(o.kappa)) if o.kind == "dst" else NULL
        kind = "INSITU_MOVE_" + o.kind.upper().replace("-", "_")
        decay = -1 if o.decay is None else o.decay
        text = (
            f"{{{{{channels}, {jumps}, {_int(fmt.least)}, {_int(fmt.greatest)}, {_int(least)}, {_int(most)}, "
            f"{stream_of(o.stream)}, {o.slices}u, {o.window}u, {o.evidence}, {o.flip}, 0.0f, 0.0f, 0.0f, {index}u, "
            f"{kind}, {o.stride}u, {o.step_bits}u, {o.gamma}u, {decay}, {int(o.generator == 'lfsr')}u, 0u}}}}"
        )
        return self.constants.named("insitu_move", "move", text)

    def _latent(self, op: Op, o: Latent, index: int) -> Text:
        if o.optimizer.kind != "sgd":
            raise ConfigError(
                f"{op.kind} at {op.where} uses optimizer {o.optimizer.kind}; C has sgd for real weights, use it"
            )
        limit = op.attrs.get("format") if op.attrs.get("limit") else None
        least, most = (limit.least, limit.greatest) if limit is not None else (LEAST, MOST)
        text = (
            f"{{{{NULL, NULL, 0, 0, {_int(least)}, {_int(most)}, 0u, 1u, 1u, 0, 0, {_real(o.unit)}, {_real(o.bound)}, "
            f"{_real(o.optimizer.weight_decay)}, {index}u, INSITU_MOVE_LATENT, 1u, 0u, 0u, -1, 0u, {int(o.half)}u}}}}"
        )
        return self.constants.named("insitu_move", "move", text)


def _int(n: int) -> str:
    return f"(-{-n - 1} - 1)" if n == LEAST else str(n)


def _real(x: float) -> str:
    return f"{float(np.float32(x)).hex()}f"


def base_shift(o: Stored | Latent, lr: float) -> int:
    """The shift that a learning rate stands for in an update of stored words; 0 for real weights."""
    return 0 if isinstance(o, Latent) else nearest_shift(lr * o.ratio) + (o.stride - 1)


# --- one function per op -----------------------------------------------------------------------------------------

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
    shift = op.attrs.get("bias_shift", 0)
    return _call("matmul", *arrays, n, em.read(op), em.read(op, "read_bias"), shift, em.end(op), CLOCK)


def _matmul_dx(em: Emitter, op: Op) -> Calls:
    d, w = op.inputs
    n = em.dense(d.shape[0], w.shape[0], w.shape[1])
    return _call("matmul_dx", *em.arrays((d, w, op.outputs[0])), n, em.read(op), em.end(op), CLOCK)


def _matmul_dw(em: Emitter, op: Op) -> Calls:
    d, x = op.inputs
    n = em.dense(d.shape[0], d.shape[1], x.shape[1])
    return _call("matmul_dw", *em.arrays((d, x, op.outputs[0])), n, em.end(op), CLOCK)


def _project(em: Emitter, op: Op) -> Calls:
    e, matrix = op.inputs
    n = em.dense(e.shape[0], e.shape[1], op.attrs["columns"], matrix.shape[1])
    return _call("project", *em.arrays((e, matrix, op.outputs[0])), n, em.end(op), CLOCK)


def _reach(fmt: Quantized) -> int:
    return 0 if isinstance(fmt, Binary) else fmt.greatest


def _random_project(em: Emitter, op: Op) -> Calls:
    (e,) = op.inputs
    n = em.dense(e.shape[0], e.shape[1], op.attrs["columns"])
    arrays = em.arrays((e, op.outputs[0]))
    return _call(
        "random_project", *arrays, n, stream_of(op.attrs["stream"]), _reach(op.attrs["matrix"]), CLOCK
    )


def _select_rows(em: Emitter, op: Op) -> Calls:
    matrix, label = op.inputs
    n = em.dense(label.shape[0], matrix.shape[0], op.attrs["columns"], matrix.shape[1])
    return _call("select_rows", *em.arrays((matrix, label, op.outputs[0])), n)


def _random_rows(em: Emitter, op: Op) -> Calls:
    (label,) = op.inputs
    n = em.dense(label.shape[0], 0, op.attrs["columns"])
    arrays = em.arrays((label, op.outputs[0]))
    return _call("random_rows", *arrays, n, stream_of(op.attrs["stream"]), _reach(op.attrs["matrix"]), CLOCK)


def _fixed_random(em: Emitter, op: Op) -> Calls:
    out = op.outputs[0]
    return _call(
        "fixed_random", em.array(out), stream_of(op.attrs["stream"]), _reach(op.attrs["format"]), CLOCK
    )


def _geometry(em: Emitter, op: Op, d: Value, x: Sequence[int], w: Sequence[int]) -> Text:
    return em.conv(d.shape[0], x[1:], w[0], d.shape[2:], w[2:], op.attrs)


def _conv2d(em: Emitter, op: Op) -> Calls:
    x, w, *bias = op.inputs
    out = op.outputs[0]
    n = _geometry(em, op, out, x.shape, w.shape)
    b = em.array(bias[0]) if bias else NULL
    window = w.shape[1] * w.shape[2] * w.shape[3] if x.format.bits == 8 else 0
    em.workspace = max(em.workspace, window)
    arrays = (em.array(x), em.array(w), b, em.array(out))
    shift = op.attrs.get("bias_shift", 0)
    ends = (em.read(op), em.read(op, "read_bias"), shift, em.end(op), CLOCK, "workspace" if window else NULL)
    return _call("conv2d", *arrays, n, *ends)


def _conv2d_dx(em: Emitter, op: Op) -> Calls:
    d, w = op.inputs
    n = _geometry(em, op, d, op.attrs["shape"], w.shape)
    return _call("conv2d_dx", *em.arrays((d, w, op.outputs[0])), n, em.read(op), em.end(op), CLOCK)


def _conv2d_dw(em: Emitter, op: Op) -> Calls:
    d, x = op.inputs
    n = _geometry(em, op, d, x.shape, op.attrs["kernel"])
    return _call("conv2d_dw", *em.arrays((d, x, op.outputs[0])), n, em.end(op), CLOCK)


def _inner(d: Value) -> tuple[str, str, str]:
    batch, channels = d.shape[:2]
    return f"{batch}u", f"{channels}u", f"{d.size // (batch * channels)}u"


def _sum_to_channels(em: Emitter, op: Op) -> Calls:
    (d,) = op.inputs
    return _call("sum_to_channels", em.array(d), em.array(op.outputs[0]), *_inner(d), em.end(op), CLOCK)


def _moved(em: Emitter, op: Op) -> tuple[list[Text], Text]:
    """Exponent, weights and state of an update, and how the weights move."""
    n = op.attrs.get("exponents", 0)
    if op.kind == "update":
        weight, rest = op.inputs[0], op.inputs[2:]
        exponents, state = rest[:n], rest[n:]
    else:
        first = op.attrs["operands"] - n
        exponents, weight, state = (
            op.inputs[first : first + n],
            op.inputs[first + n],
            op.inputs[first + n + 1 :],
        )
    if len(state) > 1:
        raise ConfigError(
            f"{op.kind} at {op.where} keeps {len(state)} arrays beside its weights; C has kernels for one"
        )
    texts = [em.array(exponents[0]) if n else NULL, em.array(weight), em.array(state[0]) if state else NULL]
    return texts, em.move(op, weight)


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


def _conv2d_dw_update(em: Emitter, op: Op) -> Calls:
    d, x = op.inputs[:2]
    rest, move = _moved(em, op)
    n = _geometry(em, op, d, x.shape, op.attrs["kernel"])
    return _call("conv2d_dw_update", em.array(d), em.array(x), *rest, n, move, CLOCK)


def _sum_to_channels_update(em: Emitter, op: Op) -> Calls:
    d = op.inputs[0]
    rest, move = _moved(em, op)
    return _call("sum_to_channels_update", em.array(d), *rest, *_inner(d), move, CLOCK)


def _requant(em: Emitter, op: Op) -> Calls:
    x, *e = op.inputs
    exponent = em.array(e[0]) if e else NULL
    minus = f"{int(bool(op.attrs.get('minus')))}u"
    out = op.outputs[0]
    return _call("requant", em.array(x), exponent, em.array(out), em.fit(op.attrs, out), minus, CLOCK)


def _exponent(em: Emitter, op: Op) -> Calls:
    (x,) = op.inputs
    groups = x.shape[0] if op.attrs["by_sample"] else 1
    a = op.attrs
    return _call(
        "exponent", em.array(x), em.array(op.outputs[0]), f"{groups}u", f"{a['bits']}u", a.get("usual", 0)
    )


def _norm_exponent(em: Emitter, op: Op) -> Calls:
    (x,) = op.inputs
    return _call(
        "norm_exponent", em.array(x), em.array(op.outputs[0]), f"{x.shape[0]}u", f"{op.attrs['by']}u"
    )


def _add_aligned(em: Emitter, op: Op) -> Calls:
    a, b, *exponents = op.inputs
    rest = iter(exponents)
    given = [em.array(next(rest)) if g else NULL for g in op.attrs["exponents"]]
    y, high = op.outputs
    fmt = y.format
    assert isinstance(fmt, Quantized)
    bounds = (_int(fmt.least), _int(fmt.greatest))
    return _call(
        "add_aligned",
        em.array(a),
        em.array(b),
        *given,
        em.array(y),
        em.array(high),
        *op.attrs["shifts"],
        *bounds,
    )


def _pooled(
    em: Emitter, x: Sequence[int], out: Sequence[int], kernel: Any, stride: Any, padding: Any
) -> Text:
    return em.conv(x[0], x[1:], x[1], out[2:], kernel, {"stride": stride, "padding": padding})


def _max_pool(em: Emitter, op: Op) -> Calls:
    (x,), (y, position) = op.inputs, op.outputs
    n = _pooled(em, x.shape, y.shape, *_pool_geometry(op))
    return _call("max_pool", *em.arrays((x, y, position)), n)


def _max_unpool(em: Emitter, op: Op) -> Calls:
    d, position = op.inputs
    return _call("max_unpool", *em.arrays((d, position, op.outputs[0])), f"{d.shape[0] * d.shape[1]}u")


def _sum_pool(em: Emitter, op: Op) -> Calls:
    (x,), (y,), a = op.inputs, op.outputs, op.attrs
    n = _pooled(em, x.shape, y.shape, a["kernel"], a["stride"], a["padding"])
    return _call("sum_pool", em.array(x), em.array(y), n, em.end(op), CLOCK)


def _sum_unpool(em: Emitter, op: Op) -> Calls:
    (d,), (e,), a = op.inputs, op.outputs, op.attrs
    n = _pooled(em, e.shape, d.shape, a["kernel"], a["stride"], a["padding"])
    return _call("sum_unpool", em.array(d), em.array(e), n)


def _activate(em: Emitter, op: Op) -> Calls:
    return _plain("relu" if op.attrs["fn"] == "relu" else "binarize")(em, op)


def _inside(em: Emitter, op: Op) -> Calls:
    arrays = em.arrays((*op.inputs, op.outputs[0]))
    return _call("inside", *arrays, op.attrs["low"], op.attrs["high"])


def _leaky(em: Emitter, op: Op) -> Calls:
    x, *y = op.inputs
    second = em.array(y[0]) if y else NULL
    return _call("leaky", em.array(x), second, em.array(op.outputs[0]), f"{op.attrs['shift']}u")


def _lut(em: Emitter, op: Op) -> Calls:
    (x,) = op.inputs
    fmt = x.format
    assert isinstance(fmt, Quantized)
    return _call(
        "lut", em.array(x), em.array(op.outputs[0]), em.constants.table(op.attrs["table"]), fmt.least
    )


def _offset(em: Emitter, op: Op) -> Calls:
    return _call("offset", em.array(op.inputs[0]), em.array(op.outputs[0]), op.attrs["by"])


def _dropout(em: Emitter, op: Op) -> Calls:
    threshold = f"{round(op.attrs['p'] * 2**32)}u"
    return _call(
        "dropout", *em.arrays((op.inputs[0], op.outputs[0])), threshold, stream_of(op.attrs["stream"]), CLOCK
    )


def _concat_rows(em: Emitter, op: Op) -> Calls:
    (a, b), out = op.inputs, em.array(op.outputs[0])
    first = _call("copy", em.array(a), out, "0u", "0u", f"{a.size}u")
    return first + _call("copy", em.array(b), out, "0u", f"{a.size}u", f"{b.size}u")


def _slice_rows(em: Emitter, op: Op) -> Calls:
    (x,), (y,) = op.inputs, op.outputs
    start = op.attrs["start"] * (x.size // x.shape[0])
    return _call("copy", em.array(x), em.array(y), f"{start}u", "0u", f"{y.size}u")


def _row_squares(em: Emitter, op: Op) -> Calls:
    (x,) = op.inputs
    return _call("row_squares", em.array(x), em.array(op.outputs[0]), f"{x.shape[0]}u")


def _overlay(em: Emitter, op: Op) -> Calls:
    x = op.inputs[0]
    arrays = em.arrays((*op.inputs, op.outputs[0]))
    return _call(op.kind, *arrays, f"{x.shape[0]}u", f"{op.attrs['classes']}u", op.attrs["one"])


def _wrong_labels(em: Emitter, op: Op) -> Calls:
    arrays = em.arrays((op.inputs[0], op.outputs[0]))
    return _call("wrong_labels", *arrays, f"{op.attrs['classes']}u", stream_of(op.attrs["stream"]), CLOCK)


def _scores(name: str) -> Callable[[Emitter, Op], Calls]:
    def make(em: Emitter, op: Op) -> Calls:
        z, label = op.inputs
        fmt = op.outputs[0].format
        assert isinstance(fmt, Quantized)
        table = (em.constants.table(op.attrs["table"]),) if name == "softmax_error" else ()
        bounds = (op.attrs["one"], _int(fmt.least), _int(fmt.greatest))
        shape = (f"{z.shape[0]}u", f"{z.shape[1]}u")
        return _call(name, *em.arrays((z, label, op.outputs[0])), *shape, *table, *bounds)

    return make


def _less_first_half(em: Emitter, op: Op) -> Calls:
    fmt = op.outputs[0].format
    assert isinstance(fmt, Quantized)
    arrays = em.arrays((op.inputs[0], op.outputs[0]))
    return _call("less_first_half", *arrays, op.attrs["one"], _int(fmt.least), _int(fmt.greatest))


EMIT: dict[str, Callable[[Emitter, Op], Calls]] = {
    "matmul": _matmul,
    "matmul_dx": _matmul_dx,
    "matmul_dw": _matmul_dw,
    "project": _project,
    "random_project": _random_project,
    "select_rows": _select_rows,
    "random_rows": _random_rows,
    "fixed_random": _fixed_random,
    "conv2d": _conv2d,
    "conv2d_dx": _conv2d_dx,
    "conv2d_dw": _conv2d_dw,
    "sum_to_channels": _sum_to_channels,
    "update": _update,
    "matmul_dw_update": _matmul_dw_update,
    "conv2d_dw_update": _conv2d_dw_update,
    "sum_to_channels_update": _sum_to_channels_update,
    "requant": _requant,
    "exponent": _exponent,
    "norm_exponent": _norm_exponent,
    "add_exponents": _plain(),
    "add_aligned": _add_aligned,
    "max_pool": _max_pool,
    "max_unpool": _max_unpool,
    "sum_pool": _sum_pool,
    "sum_unpool": _sum_unpool,
    "activate": _activate,
    "gate": _plain(),
    "stash": _plain(),
    "inside": _inside,
    "leaky": _leaky,
    "lut": _lut,
    "add": _plain(),
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
    "less_first_half": _less_first_half,
}
"""How each op is called; a new one is a row here, a function and a kernel."""
