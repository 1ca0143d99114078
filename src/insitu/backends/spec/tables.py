"""The ops of a step as rows of named fields: shifts, bounds, streams, shapes and places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from insitu.escape import file_name
from insitu.numbers import prng
from insitu.numbers.formats import Binary, Fixed, PowerOfTwo, Quantized
from insitu.ops.common import Sums
from insitu.ops.integer_products import Epilogue
from insitu.ops.quant import WeightView
from insitu.ops.updates import BoundUpdate, MasterUpdate
from insitu.run.program import Program
from insitu.step.ir import Op, Value

Fields = dict[str, str]

FREE = ("chunks", "operands", "format", "scale", "bound", "parts")
"""Attributes that the integers do not depend on, or that stand elsewhere in the row."""


def label(value: Value) -> str:
    """The name of a value where it is written: in tables and as a file."""
    return file_name(value.name)


def constant(stream: str | None) -> int:
    """What a stream is told by: all that random words depend on of its name."""
    return int(prng.mix(crc32((stream or "").encode())))


def stream_text(stream: str | None) -> str:
    return f"{constant(stream):#010x}"


def typed(value: Value) -> str:
    """Format, shape and least to greatest integer."""
    shape = ",".join(map(str, value.shape))
    return f"`{value.format}` [{shape}]{_span(value)}"


def _span(value: Value) -> str:
    fmt = value.format
    if not isinstance(fmt, Quantized):
        return ""
    if value.unit is None and isinstance(fmt, Fixed) and not fmt.signed:
        return f" 0..{fmt.high}"
    return f" {fmt.least}..{fmt.greatest}"


@dataclass
class Rows:
    """The fields of a program's ops.

    Attributes:
        program: whose ops.
        tables: the entries of look-up tables, by name.
        moves: the updates so far, numbered as they come.
    """

    program: Program
    tables: dict[str, tuple[int, ...]] = field(default_factory=dict)
    moves: int = 0

    def of(self, op: Op) -> Fields:
        """What an op is told beside its operands."""
        found: Fields = {}
        for name in op.attrs.order():
            value = getattr(op.attrs, name)
            if name not in FREE and value is not None and (name, value) not in USUAL:
                found |= self._field(name, value)
        if isinstance(op.attrs, Sums):
            found |= _sum(op.attrs)
        return found | (_range(op.outputs[0].format) if op.kind == "requant" else {})

    def _field(self, name: str, value: Any) -> Fields:
        if isinstance(value, Epilogue):
            return _epilogue(value)
        if isinstance(value, WeightView):
            return _view({"read": "weight", "read_bias": "bias"}[name], value)
        if isinstance(value, BoundUpdate | MasterUpdate):
            self.moves += 1
            return {"update": str(self.moves - 1), **_update(value, self.program.lr)}
        if name == "p":
            return {"threshold": str(round(value * 2**32))}
        return {name: self._table(value) if name == "table" else _text(name, value)}

    def _table(self, entries: tuple[int, ...]) -> str:
        for name, known in self.tables.items():
            if known == entries:
                return name
        name = f"T{len(self.tables)}"
        self.tables[name] = entries
        return name


USUAL = (("exponents", 0), ("times", 1), ("limit", False), ("minus", False), ("positions", True))
"""Attributes that are said only where they have another value."""


def _text(name: str, value: Any) -> str:
    return stream_text(value) if name == "stream" else plain(value)


def plain(value: Any) -> str:
    """A value without markup."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(plain(v) for v in value)
    if isinstance(value, float):
        return f"{value:.9g}"
    return str(value)


def _range(fmt: Any) -> Fields:
    return {"low": str(fmt.least), "high": str(fmt.greatest)}


def _sum(attrs: Sums) -> Fields:
    fmt = attrs.format
    if fmt is None:
        return {}
    bounds = {"sum_low": str(fmt.least), "sum_high": str(fmt.greatest)} if attrs.limit else {}
    return {"sum_bits": str(fmt.bits), **bounds}


def _epilogue(how: Epilogue) -> Fields:
    times = {"times": str(how.times)} if how.times != 1 else {}
    stream = {"stream": stream_text(how.stream)} if how.stream is not None else {}
    return {**times, "shift": str(how.shift), "rounding": str(how.rounding), **_range(how.format), **stream}


def _view(what: str, how: WeightView) -> Fields:
    """How a weight is read that is stored in another format."""
    fields = {"drop": str(how.shift), **_range(how.format)}
    if how.unit is not None:
        fields["per_unit"] = plain(1.0 / how.unit)
    if isinstance(how.format, Binary):
        fields["sign"] = "yes"
    if isinstance(how.format, PowerOfTwo):
        fields["power"] = "yes"
    if how.channels:
        fields["left"] = plain(how.channels)
    return {f"{what}_{name}": text for name, text in fields.items()}


def _update(o: BoundUpdate | MasterUpdate, lr: float) -> Fields:
    if isinstance(o, MasterUpdate):
        reals = {"unit": o.unit, "bound": o.bound, "decay": o.optimizer.weight_decay, "half": o.half}
        return {"method": "master", **{name: plain(x) for name, x in reals.items()}}
    options = {name: plain(x) for name, x in o.method.options().items() if x is not None}
    drawn = {"stream": stream_text(o.stream), "generator": o.generator} if o.random else {}
    drawn |= {"lanes": o.lanes} if o.registers else {}
    drawn |= {"columns_last": plain(o.columns)} if o.columns else {}
    shift = {"k": str(o.shift(lr, 0)), "ratio": f"{o.ratio:.9g}", "stride": str(o.stride)}
    channels = {"channels": plain(o.channels)} if o.channels else {}
    return {"method": o.method.name, **shift, **_range(o.format), **drawn, **options, **channels}


# --- random words ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """Random words of an op.

    Attributes:
        stream: the name.
        count: words of one execution, from word 0 on.
        order: what the words are for, in their order.
        fixed: they are the same at every step.
    """

    stream: str
    count: int
    order: str
    fixed: bool = False


def drawn(op: Op) -> Iterator[Drawn]:
    """The random words that an op draws."""
    attrs: Any = op.attrs
    last = getattr(attrs, "epilogue", None)
    if last is not None and last.stream is not None:
        yield Drawn(last.stream, op.outputs[0].size, "an element of the result each, row-major")
    o = getattr(attrs, "optimizer", None)
    if isinstance(o, BoundUpdate) and o.random:
        yield _of_update(o, op.written[0])
    stream: Any = getattr(attrs, "stream", None)
    if op.kind == "requant" and stream is not None:
        yield Drawn(stream, op.outputs[0].size, "an element of the result each, row-major")
    elif op.kind == "dropout" and attrs.each > 1:
        yield Drawn(
            stream, op.inputs[0].size // attrs.each, f"{attrs.each} elements of the operand each, row-major"
        )
    elif op.kind in ("dropout", "wrong_labels"):
        yield Drawn(stream, op.inputs[0].size, "an element of the operand each, row-major")
    elif op.kind == "fixed_random":
        yield Drawn(stream, op.outputs[0].size, "an element of the result each, row-major", fixed=True)
    elif op.kind in ("random_project", "random_rows"):
        yield _of_matrix(op)
    elif op.kind in ("sketch", "unsketch"):
        features = op.inputs[0].shape[1] if op.kind == "sketch" else attrs.columns
        yield Drawn(stream, features, "a feature each", fixed=True)


def _of_update(o: BoundUpdate, w: Value) -> Drawn:
    rows, columns = w.shape[0], w.size // w.shape[0] if len(w.shape) > 1 else 0
    order = f"{rows} rows, then {columns} columns" if columns else f"{rows} rows"
    return Drawn(o.stream, rows + columns, order)


def _of_matrix(op: Op) -> Drawn:
    attrs: Any = op.attrs
    rows = op.inputs[0].shape[1] if op.kind == "random_project" else 1
    order = f"a matrix of {attrs.columns} columns, row-major"
    return Drawn(attrs.stream, rows * attrs.columns, order, fixed=True)


# --- what is read before and after it moves ----------------------------------------------------------------------


def orders(ops: tuple[Op, ...]) -> Mapping[Value, tuple[list[int], list[int], list[int]]]:
    """Of each resident that a step moves: the ops that read it before, that move it, and that read it after."""
    found: dict[Value, tuple[list[int], list[int], list[int]]] = {}
    moving = {v: i for i, op in enumerate(ops) for v in op.written}
    for value, at in moving.items():
        readers = [i for i, op in enumerate(ops) if value in op.inputs and value not in op.written]
        moved = [i for i, op in enumerate(ops) if value in op.written]
        found[value] = ([i for i in readers if i < moved[0]], moved, [i for i in readers if i > at])
    return found
