"""Arguments of kernel calls: arrays with their offsets, and the constants that an op's attributes become."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from zlib import crc32

import numpy as np

from insitu.errors import ConfigError
from insitu.numbers import prng
from insitu.numbers.formats import Binary, Float, PowerOfTwo, Quantized
from insitu.ops.common import Pair, saturates_to
from insitu.ops.integer_products import Epilogue, epilogue
from insitu.ops.quant import Requant, WeightView
from insitu.ops.updates import BoundUpdate, MasterUpdate, WeightUpdate
from insitu.ops.updates.base import CValue
from insitu.step.ir import Op, Step, Value
from insitu.step.liveness import roots

LEAST, MOST = -(1 << 31), (1 << 31) - 1
LEAST_SHIFT, MOST_SHIFT = -24, 127
"""Of an update: below, a gradient of 32 bits leaves 64; the most fits a byte, and rounds every gradient away."""
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
    moves: list[BoundUpdate | MasterUpdate] = field(default_factory=list)

    def named(self, kind: str, stem: str, value: str) -> Text:
        """The address of a constant of a struct type."""
        key = f"static const {kind} {{}} = {value};"
        name = self.texts.setdefault(key, f"{stem}_{len(self.texts)}")
        return f"&{name}"

    def numbers(self, kind: str, stem: str, values: Iterable[int]) -> Text:
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
        name = self.numbers("uint8_t", "table", raw)
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
    """Writes the arguments of a step's calls.

    Attributes:
        places: of every storage root by name.
        constants: shared by all steps of a project.
        counted: a call of the host behind every trigger, which counts the samples that it fires for.
    """

    step: Step
    places: Mapping[str, Place]
    constants: Constants
    workspace: int = 0
    counted: bool = False

    def __post_init__(self) -> None:
        self.owner = roots(self.step)

    def array(self, value: Value) -> Text:
        """A value as an argument."""
        place = self.places[self.owner[value].name]
        bits, form = form_of(value)
        return f"&(insitu_array){{{place.region} + {place.offset}u, {value.size}u, {bits}u, {form}}}"

    def arrays(self, values: Iterable[Value]) -> list[Text]:
        return [self.array(v) for v in values]

    def end(self, op: Op) -> Text:
        """What happens to an exact sum: requantized, saturated, or nothing."""
        last, fmt = epilogue(op.attrs), saturates_to(op.attrs)
        limit = None if fmt is None else (fmt.least, fmt.greatest)
        if last is not None:
            return self.fit(last, op.outputs[0], limit)
        return self._fit(1, LEAST, MOST, None, 0, "INSITU_EXACT", limit)

    def fit(self, how: Requant | Epilogue, out: Value, limit: tuple[int, int] | None = None) -> Text:
        """A requantization; ``limit``: of the sum before it."""
        fmt = out.format
        assert isinstance(fmt, Quantized)
        rounding = "INSITU_" + str(how.rounding).upper().replace("-", "_")
        return self._fit(how.times, fmt.least, fmt.greatest, how.stream, how.shift, rounding, limit)

    def _fit(
        self, times: int, low: int, high: int, stream: str | None, shift: int, rounding: str,
        limit: tuple[int, int] | None,
    ) -> Text:  # fmt: skip
        fields = {"times": str(times), "low": integer(low), "high": integer(high), "shift": str(shift)}
        fields |= {"rounding": rounding} | ({} if stream is None else {"stream": stream_of(stream)})
        least, most = limit or (LEAST, MOST)
        limits = {"limited": f"{int(limit is not None)}u", "least": integer(least), "most": integer(most)}
        return self.struct("insitu_fit", "fit", fields | limits)

    def read(self, how: WeightView | None, *, signs: bool = False) -> Text:
        """How an op reads its weights; ``signs``: their signs alone."""
        fields = {
            "how": "INSITU_AS_STORED",
            "low": integer(LEAST),
            "high": integer(MOST),
            "sign": f"{int(signs)}u",
        }
        if how is not None:
            fields |= self._read(how)
        return self.struct("insitu_read", "read", fields)

    def _read(self, how: WeightView) -> dict[str, str]:
        """A weight that is read in another format than it is stored in."""
        fmt, fields = how.format, {"how": "INSITU_HIGH_BITS" if how.shift else "INSITU_AS_STORED"}
        if how.unit is not None:
            power = isinstance(fmt, PowerOfTwo)
            fields = {"how": "INSITU_POWER_FROM_REAL" if power else "INSITU_FROM_REAL"}
            fields["per_unit"] = _real(1.0 / how.unit)
        if how.channels:
            fields["channels"] = self.constants.numbers("int8_t", "channels", how.channels)
        fields |= {"low": integer(fmt.least), "high": integer(fmt.greatest), "shift": str(how.shift)}
        return fields | {"binary": f"{int(isinstance(fmt, Binary))}u"}

    def dense(self, batch: int, outputs: int, inputs: int, pitch: int | None = None) -> Text:
        pitch = inputs if pitch is None else pitch
        sizes = {"batch": batch, "outputs": outputs, "inputs": inputs, "pitch": pitch}
        return self.struct("insitu_dense", "dense", {name: f"{n}u" for name, n in sizes.items()})

    def conv(
        self, batch: int, x: Sequence[int], k: int, out: Sequence[int], kernel: Sequence[int], stride: Pair,
        padding: Pair, dilation: Pair = (1, 1), groups: int = 1,
    ) -> Text:  # fmt: skip
        """``x``: channels, height, width; ``out``, ``kernel``: height, width."""
        sizes = zip("bchwkpqrs", (batch, *x, k, *out, *kernel), strict=True)
        fields = {"batch" if name == "b" else name: f"{n}u" for name, n in sizes}
        fields["groups"] = f"{groups}u"
        pairs = {"stride": stride, "padding": padding, "dilation": dilation}
        fields |= {name: f"{{{{{a}u, {b}u}}}}" for name, (a, b) in pairs.items()}
        return self.struct("insitu_conv", "conv", fields)

    def move(self, op: Op, weight: Value) -> Text:
        """How the weights of an update move; its number among the updates of the program."""
        o = op.attrs.optimizer
        limit = saturates_to(op.attrs)
        least, most = (limit.least, limit.greatest) if limit is not None else (LEAST, MOST)
        fields = {"least": integer(least), "most": integer(most), "index": f"{len(self.constants.moves)}u"}
        self.constants.moves.append(o)
        if isinstance(o, BoundUpdate):
            return self.struct("insitu_move", "move", fields | self._bound(o))
        if isinstance(o, MasterUpdate):
            return self.struct("insitu_move", "move", fields | self._master(op, o))
        raise ConfigError(
            f"{op.kind} at {op.where} moves reals; use a quantized precision such as edge-latent-free-8"
        )

    def _bound(self, o: BoundUpdate) -> dict[str, str]:
        fields = {
            "low": integer(o.format.least),
            "high": integer(o.format.greatest),
            "stream": stream_of(o.stream),
            "rounding": o.method.c_rounding,
            "stride": f"{o.stride}u",
            "random": f"{int(o.random)}u",
            "lfsr": f"{int(o.generator in ('lfsr', 'register'))}u",
            "zero_is_noop": f"{int(o.zero_grad_is_noop)}u",
            "group": f"{o.method.column_group()}u",
        }
        if o.channels:
            fields["channels"] = self.constants.numbers("int8_t", "channels", o.channels)
        if o.registers:
            fields["registers"] = "INSITU_COLUMNS_FIRST" if o.lanes == "columns" else "INSITU_ROWS_FIRST"
        if o.columns:
            fields["maps"], fields["places"] = f"{o.columns[0]}u", f"{prod(o.columns[1:])}u"
        return fields | self._own(o.method, o.method.c_fields(o))

    def _master(self, op: Op, o: MasterUpdate) -> dict[str, str]:
        if o.optimizer.kind != "sgd":
            raise ConfigError(
                f"{op.kind} at {op.where} uses optimizer {o.optimizer.kind}; C has sgd for real weights, use it"
            )
        reals = {"unit": o.unit, "bound": o.bound, "decay": o.optimizer.weight_decay}
        values: dict[str, CValue] = {name: _real(x) for name, x in reals.items()}
        return {"stride": "1u", "group": "1u"} | self._own(o, values | {"half": f"{int(o.half)}u"})

    def _own(self, method: WeightUpdate | MasterUpdate, values: Mapping[str, CValue]) -> dict[str, str]:
        """Which method it is, and the values of its own fields."""
        if not method.c_hooks:
            return {}
        own = [
            f".{name} = {v if isinstance(v, str) else self.constants.numbers(v[0], name, v[1])}"
            for name, v in values.items()
        ]
        fields = {"of": f"{{{{.{method.kernel} = {{{{{', '.join(own)}}}}}}}}}"} if own else {}
        return {"how": f"INSITU_UPDATE_{method.kernel.upper()}"} | fields

    def struct(self, kind: str, stem: str, fields: Mapping[str, str]) -> Text:
        """The address of a constant struct of the given values of its fields; the others are 0."""
        body = ", ".join(f".{key} = {value}" for key, value in fields.items())
        return self.constants.named(kind, stem, f"{{{{{body}}}}}")


def integer(n: int) -> str:
    """A number as C writes it."""
    return f"(-{-n - 1} - 1)" if n == LEAST else str(n)


def _real(x: float) -> str:
    return f"{float(np.float32(x)).hex()}f"


def base_shift(o: BoundUpdate | MasterUpdate, lr: float) -> int:
    """The shift that a learning rate stands for in an update of stored words; 0 for real weights.

    Raises:
        ConfigError: the rate is larger than C shifts by.
    """
    if isinstance(o, MasterUpdate):
        return 0
    shift = o.shift(lr, 0)
    if shift < LEAST_SHIFT:
        raise ConfigError(
            f"learning rate {lr:g} multiplies gradients by 2^{-shift}, and C by 2^{-LEAST_SHIFT} at most; "
            f"use a rate below {lr * 2.0 ** (shift - LEAST_SHIFT):g}"
        )
    return min(shift, MOST_SHIFT)
