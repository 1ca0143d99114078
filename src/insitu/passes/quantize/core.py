"""What the lowering of every op shares: units, formats, residents, requantization, and the walk over a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil, log2, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.errors import StepError
from insitu.numbers.formats import B1, F16, F32, Fixed, Float, Quantized
from insitu.numbers.precision import Precision, kind
from insitu.numbers.rounding import Rounding
from insitu.ops.integer_products import chunks
from insitu.ops.quant import Read, feedback_spread, nearest_shift
from insitu.passes.quantize.units import (
    CHANNEL_BITS,
    FIXED_POINT,
    PASSED,
    SPREAD,
    TABLE_BITS,
    WIDEST,
    Now,
    Ranges,
    fixed,
    multiplier,
    power,
)
from insitu.step.ir import OPS, Init, Op, Phase, Role, Step, Value


class Quantizer:
    """Walks a step on reals and builds the step on integers."""

    def __init__(
        self,
        step: Step,
        precision: Precision,
        params: Mapping[str, npt.NDArray[Any]],
        ranges: Ranges,
        fresh: bool,
    ) -> None:
        self.step, self.precision, self.params, self.ranges = step, precision, params, ranges
        self.fresh = fresh
        self.ops: list[Op] = []
        self.residents: dict[str, Value] = {}
        self.inputs: list[Value] = []
        self.now: dict[Value, Now] = {}
        self.reads: dict[Value, Read | None] = {}
        self.plain: dict[Value, Value] = {}  # labels, positions, real scalars
        self.users: dict[Value, list[Op]] = {}
        self.moves: dict[Value, Value] = {}
        self.names: set[str] = set()
        self.op: Op = step.ops[0]
        for op in step.ops:
            for v in op.inputs:
                self.users.setdefault(v, []).append(op)

    # --- pieces ------------------------------------------------------------------------------------------------

    def run(self) -> Step:
        for v in self.step.inputs:
            self._input(v)
        for op in self.step.ops:
            self.op = op
            lower = LOWER.get(op.kind)
            if lower is None:
                raise self.refuse(REASONS.get(op.kind, "it has no integer form"))
            lower(self, op)
        outputs = tuple(self._output(v) for v in self.step.outputs)
        ops = tuple(self.ops)
        return replace(
            self.step,
            inputs=tuple(self.inputs),
            residents=tuple(self.residents.values()),
            ops=ops,
            outputs=outputs,
        ).verify()

    def _output(self, v: Value) -> Value:
        return self.now[v].value if v in self.now else self.plain[v]

    def refuse(self, reason: str) -> StepError:
        return StepError(
            f"precision {self.precision.name}: {self.op.kind} at {self.op.where} cannot be quantized: {reason}"
        )

    def of(self, v: Value) -> Now:
        """What a value has become.

        Raises:
            StepError: for one that no integer op has made.
        """
        if v not in self.now:
            raise self.refuse(f"its operand %{v.name} has no integer form")
        return self.now[v]

    def policy(self) -> Precision:
        """The policy of the layer at hand."""
        return self.precision.at(self.op.where.layer)

    def unique(self, name: str) -> str:
        candidate, n = name, 1
        while candidate in self.names:
            n += 1
            candidate = f"{name}.{n}"
        self.names.add(candidate)
        return candidate

    def emit(
        self,
        kind_: str,
        *inputs: Value,
        unit: float | None = None,
        like: Value | None = None,
        suffix: str = "",
        role: Role | None = None,
        phase: Phase | None = None,
        units: tuple[float | None, ...] = (),
        **attrs: Any,
    ) -> tuple[Value, ...]:
        """Adds an op; its outputs take name and role of ``like`` (an array of the emitted step)."""
        inferred = OPS[kind_].infer(inputs, attrs)
        stem = (like.name if like else f"{self.op.where.layer or self.op.kind}.{kind_}") + suffix
        made_role = role or (like.role if like else Role.SCRATCH)
        all_units = units or (unit,) * len(inferred)
        outputs = tuple(
            Value(self.unique(stem), shape, fmt, made_role, self.op.where, unit=u)
            for (shape, fmt), u in zip(inferred, all_units)
        )
        self.ops.append(Op(kind_, inputs, outputs, attrs, phase or self.op.phase, self.op.where))
        return outputs

    def one(self, kind_: str, *inputs: Value, **more: Any) -> Value:
        (out,) = self.emit(kind_, *inputs, **more)
        return out

    # --- formats -----------------------------------------------------------------------------------------------

    def wide(self, bound: int, unit: float) -> Fixed:
        """The narrowest format of a sum up to ± bound.

        Raises:
            StepError: if the accumulator has fewer bits.
        """
        bits = bound.bit_length() + 1
        limit = self.precision.accumulator
        if bits > limit:
            fewer = bits - limit
            raise self.refuse(
                f"its sums reach ±{bound}, {bits} bits with sign, but the accumulator has {limit}; use weights or "
                f"activations of {fewer} bits less, a smaller batch, or accumulator: {bits}"
                + ("" if bits <= 32 else " (at most 32)")
            )
        return fixed(True, bits, unit)

    def sums(self, bound: int, unit: float, axis: int) -> dict[str, Any]:
        """How an op sums up to ± bound: format, parts along an axis, and a limit where sums may saturate."""
        bits = self.precision.accumulator
        if self.precision.saturate and bound.bit_length() + 1 > bits:
            return {"format": fixed(True, bits, unit), "chunks": chunks(bound, axis), "limit": True}
        return {"format": self.wide(bound, unit), "chunks": chunks(bound, axis)}

    def activation_format(self, v: Value, signed: bool) -> tuple[Quantized, float]:
        """Format and unit of an activation: the layer's measured range times the headroom."""
        policy, name = self.policy(), v.where.layer
        bits = kind(policy.activation, "activation").bits
        if name is not None and name in self.ranges:
            low, high = self.ranges[name]
            widest = max(abs(low) if signed else 0.0, abs(high)) or 1.0
            room = policy.headroom if policy.activation_headroom is None else policy.activation_headroom
            widest *= 2.0 ** min(room, max(bits - 4, 0))
        else:
            widest = WIDEST
        unit = power(widest / 2 ** (bits - signed))
        return fixed(signed, bits, unit), unit

    # --- inputs and residents ----------------------------------------------------------------------------------

    def _input(self, v: Value) -> None:
        self.names.add(v.name)
        if v.role == Role.LABEL:
            if isinstance(v.format, Float):
                raise StepError(
                    f"precision {self.precision.name}: step {self.step.name} learns from real targets, which have no "
                    "integer form yet; use class labels, or float32"
                )
            self.inputs.append(v)
            self.plain[v] = v
            return
        low, high = self.ranges.get("x", (0.0, 1.0))
        bits = kind(self.precision.input, "input").bits
        if self.precision.scales == "general" and low < 0 and high > low:
            unit = (high - low) / (2**bits - 1)
            zero = round(-low / unit)
            raw = replace(v, format=Fixed(False, bits, 0), unit=unit, zero=zero)
            self.inputs.append(raw)
            self.op = replace(self.step.ops[0], where=v.where, phase=Phase.FORWARD)
            centred = self.one(
                "offset", raw, by=zero, format=Fixed(True, bits, 0), unit=unit, like=v, suffix=".centred"
            )
            self.now[v] = Now(centred)
            return
        signed = low < 0
        unit = power((max(-low, high) or 1.0) / 2 ** (bits - signed))
        made = replace(v, format=fixed(signed, bits, unit), unit=unit)
        self.inputs.append(made)
        self.now[v] = Now(made)

    def first(self, v: Value) -> float:
        """The largest magnitude that a weight starts with (of zeros: what PyTorch would draw up to)."""
        init = v.init
        assert init is not None
        if init.kind == "uniform":
            return init.bound
        if init.kind == "param" and init.key in self.params:
            largest = float(np.abs(self.params[init.key]).max(initial=0.0))
            if not largest < np.inf:
                raise self.refuse(f"parameter {init.key} holds values that are not finite")
            if largest:
                return largest
        if init.kind in ("ones", "eye"):
            return 1.0
        return float(max(prod(v.shape[1:]), 1) ** -0.5) if len(v.shape) > 1 else 0.25

    def matrix(self, v: Value) -> Now:
        """A weight, head or feedback matrix as it is read."""
        if v in self.now:
            return self.now[v]
        if not v.resident:
            raise self.refuse(f"it multiplies by %{v.name}, which is neither a weight nor feedback")
        if v.role == Role.FEEDBACK:
            made = self._feedback(v)
            self.now[v] = Now(made)
            return self.now[v]
        policy = self.policy()
        token = policy.head if v.role == Role.HEAD and policy.head is not None else policy.weight
        fmt = kind(token, "weight")
        assert isinstance(fmt, Quantized)
        largest = self.first(v)
        if fmt.bits <= 2 and self.fresh:
            unit = power(largest * SPREAD, up=False)
            fmt = fixed(True, fmt.bits, unit) if isinstance(fmt, Fixed) else fmt
            assert v.init is not None
            first = replace(v.init, times=unit / largest)  # else all of them would start at zero
            self.store(v, fmt, unit, policy, first)
            return self.now[v]
        if isinstance(fmt, Fixed):
            grown = largest * 2.0 ** min(policy.headroom, max(fmt.bits - 2, 0))
            unit = power(grown / 2 ** (fmt.bits - 1))
            if policy.per_channel and len(v.shape) > 1:
                self._store_by_channel(v, fmt.bits, unit / largest, policy)
                return self.now[v]
            fmt = fixed(True, fmt.bits, unit)
        else:
            unit = power(largest * (0.6 if fmt.reach == 1 else 2.0 / fmt.reach), up=False)
        self.store(v, fmt, unit, policy)
        return self.now[v]

    def _store_by_channel(self, v: Value, bits: int, per_largest: float, policy: Precision) -> None:
        """A unit per output channel: the least of them is the array's own."""
        init = v.init
        assert init is not None
        known = init.kind == "param" and init.key in self.params
        rows = np.abs(self.params[init.key]).reshape(v.shape[0], -1).max(1) if known else np.ones(1)
        largest = float(rows.max()) if known and rows.max() > 0 else self.first(v)
        least = largest * 2.0**-CHANNEL_BITS
        wanted = [
            power(max(float(r), least) / largest)
            for r in np.broadcast_to(rows if known else largest, v.shape[:1])
        ]
        unit = power(largest * per_largest) * min(wanted)
        channels = tuple(round(log2(w / min(wanted))) for w in wanted)
        self.store(replace(v, channels=channels), fixed(True, bits, unit), unit, policy, key=v)

    def store(
        self,
        v: Value,
        fmt: Quantized,
        unit: float,
        policy: Precision,
        first: Init | None = None,
        key: Value | None = None,
    ) -> None:
        """Makes the resident of a weight: a stored word, or a real copy; ``now`` is what is read of it.

        Args:
            key: the array of the emitted step, where ``v`` is it with channels.
        """
        v_init, key, channels = first or v.init, key or v, v.channels
        if policy.latent:
            master = F32 if policy.master == "f32" else F16
            stored = replace(v, format=master, init=v_init)
            self.reads[key] = Read(fmt, unit=unit, channels=channels)
        elif policy.hidden and len(v.shape) > 1:
            bits = fmt.bits + policy.hidden
            if bits > 32:
                raise self.refuse(
                    f"a stored word of {bits} bits is too wide; use hidden: {32 - fmt.bits} or less"
                )
            small = unit * 2.0**-policy.hidden
            stored = replace(v, format=fixed(True, bits, small), unit=small, init=v_init)
            self.reads[key] = Read(fmt, shift=policy.hidden, channels=channels)
        else:
            stored = replace(v, format=fmt, unit=unit, init=v_init)
            self.reads[key] = Read(fmt, channels=channels) if channels else None
        self.residents[v.name] = stored
        self.names.add(v.name)
        self.moves[key] = stored
        read = fixed(True, fmt.bits + max(channels), unit) if channels else fmt
        self.now[key] = Now(replace(stored, format=read, unit=unit))  # as it is read

    def stored(self, v: Value) -> Value:
        """The operand that an op takes for a matrix."""
        return self.moves.get(v) or self.now[v].value

    def _feedback(self, v: Value) -> Value:
        init = v.init
        assert init is not None
        if init.kind == "square":
            fmt: Quantized = B1
            unit = 1.0
        elif init.kind == "uniform":
            found = kind(self.precision.feedback, "feedback")
            assert isinstance(found, Quantized)
            unit = init.bound / feedback_spread(found)
            fmt = fixed(True, found.bits, unit) if isinstance(found, Fixed) else found
        else:
            unit = 2.0**-7
            fmt = fixed(True, 8, unit)
        made = replace(v, format=fmt, unit=unit)
        self.residents[v.name] = made
        self.names.add(v.name)
        return made

    def bias(self, v: Value, sum_unit: float) -> tuple[Value, Read | None, int]:
        """A bias, how it is read, and by how many bits it is shifted to the units of a sum."""
        if v not in self.now:
            bits = kind(self.precision.bias, "bias").bits
            grown = max(self.first(v), 0.25) * 2.0 ** max(self.precision.headroom, 1)
            doublings = max(0, ceil(log2(grown / (2 ** (bits - 1) * sum_unit)) - 1e-9))
            unit = sum_unit * 2.0**doublings
            self.store(v, fixed(True, bits, unit), unit, self.policy())
        shift = -nearest_shift(self.now[v].unit / sum_unit)
        if shift < 0:
            raise self.refuse(
                f"the bias %{v.name} is finer than its sum by {-shift} bits; use more bits for the input"
            )
        return self.stored(v), self.reads[v], shift

    # --- requantization ----------------------------------------------------------------------------------------

    def to(
        self, x: Now, fmt: Quantized, unit: float, like: Value, rounding: str, suffix: str = "", **style: Any
    ) -> Now:
        """x in a static format with about the given unit; a run-time exponent is taken out."""
        ratio = x.unit / unit
        times, shift = 1, nearest_shift(ratio)
        exact = ratio == 2.0**-shift
        if not exact and (self.precision.scales == "general" or style.pop("general", False)):
            times, shift = multiplier(ratio)
        style.pop("general", None)
        made_unit = x.unit * 2.0**shift / times
        operands = [x.value] + ([x.exponent] if x.exponent is not None else [])
        attrs: dict[str, Any] = {"format": fmt, "shift": shift, "rounding": rounding}
        if times != 1:
            attrs["times"] = times
        if x.exponent is not None and x.sign > 0:
            attrs["minus"] = True
        if rounding == Rounding.STOCHASTIC:
            attrs["stream"] = f"{like.name}{suffix}.rounding"
        return Now(self.one("requant", *operands, unit=made_unit, like=like, suffix=suffix, **attrs, **style))

    def error(self, x: Now, like: Value, was: float | None = None) -> Now:
        """A wide error in the policy's bits.

        Args:
            was: unit of the error that it came from: what a static policy keeps.
        """
        fmt = kind(self.precision.error, "error")
        assert isinstance(fmt, Quantized)
        rounding = self.precision.error_rounding
        if self.precision.error_exponent == "static":
            unit = was or x.unit
            made = self.to(replace(x, exponent=None), fixed(True, fmt.bits, unit), unit, like, rounding)
            return x.like(made.value)
        e = self.one("exponent", x.value, bits=fmt.bits, by_sample=False, like=like, suffix=".exponent")
        attrs: dict[str, Any] = {"format": fixed(True, fmt.bits, x.unit), "shift": 0, "rounding": rounding}
        if rounding == Rounding.STOCHASTIC:
            attrs["stream"] = f"{like.name}.rounding"
        shrunk = self.one("requant", x.value, e, unit=x.unit, like=like, **attrs)
        return Now(shrunk, self.added(x.exponent, e))

    def added(self, a: Value | None, b: Value | None) -> Value | None:
        """The sum of two exponents."""
        if a is None or b is None:
            return a or b
        return self.one("add_exponents", a, b, role=Role.SCRATCH)

    def settle(self, x: Now, out: Value) -> None:
        """A sum of the forward pass in the format that its readers want."""
        readers = self.users.get(out, [])
        if any(op.kind in LOSSES and op.inputs[0] is out for op in readers) or out in self.step.outputs:
            self.now[out] = self._scores(x, out, readers)
            return
        functions = {op.attrs["fn"] for op in readers if op.kind == "activate"}
        if len(functions) == 1 and all(op.kind == "activate" for op in readers):
            self._bent(x, out, functions.pop(), readers)
            return
        self.now[out] = self._activation(x, out, out, True)

    def _activation(self, x: Now, out: Value, ranged: Value, signed: bool) -> Now:
        """A sum as an activation: with a measured binary point, or with a run-time exponent relative to it."""
        policy = self.policy()
        fmt, unit = self.activation_format(ranged, signed)
        if policy.activation_exponent == "static" or self._fixed_point_behind(out):
            return self.to(x, fmt, unit, out, policy.rounding)
        usual = nearest_shift(x.unit / unit)
        bits = fmt.bits + (not signed)
        e = self.one(
            "exponent", x.value, bits=bits, by_sample=False, usual=usual, like=out, suffix=".exponent"
        )
        attrs: dict[str, Any] = {"format": fmt, "shift": usual, "rounding": policy.rounding}
        if policy.rounding == Rounding.STOCHASTIC:
            attrs["stream"] = f"{out.name}.rounding"
        made = self.one("requant", x.value, e, unit=x.unit * 2.0**usual, like=out, **attrs)
        return Now(made, self.added(x.exponent, e))

    def _fixed_point_behind(self, v: Value) -> bool:
        """Does an op read the value, or a view or pool of it, that needs a static binary point?"""
        return any(
            op.kind in FIXED_POINT or (op.kind in PASSED and self._fixed_point_behind(op.outputs[0]))
            for op in self.users.get(v, [])
        )

    def fixed_point(self, v: Value) -> Now:
        """As :meth:`of`, for an op that cannot carry a run-time exponent on."""
        found = self.of(v)
        if found.exponent is not None:
            raise self.refuse("its operand has a run-time exponent; use activation_exponent=static")
        return found

    def _scores(self, x: Now, out: Value, readers: list[Op]) -> Now:
        bits = kind(self.precision.output, "output").bits
        fine = any(op.kind.startswith(("mse", "hinge", "bce")) for op in readers)
        unit = 2.0 ** ((3 if fine else 5) + 1 - bits)
        return self.to(x, fixed(True, bits, unit), unit, out, self.precision.rounding)

    def _bent(self, x: Now, out: Value, fn: str, readers: list[Op]) -> None:
        """Before an activation function: ReLU and hard tanh are the saturation itself."""
        rounding = self.precision.rounding
        results = [op.outputs[0] for op in readers]
        if fn in ("relu", "leaky_relu"):
            self.now[out] = self._activation(x, out, results[0], fn == "leaky_relu")
            return
        if fn == "hardtanh":
            bits = kind(self.policy().activation).bits
            unit = 2.0 ** (1 - bits) if bits > 1 else 1.0
            fmt: Quantized = fixed(True, bits, unit)
        else:
            unit = 2.0 ** {"tanh": 3 - TABLE_BITS, "sigmoid": 4 - TABLE_BITS, "sign": 2 - TABLE_BITS}[fn]
            fmt = fixed(True, TABLE_BITS, unit)
        self.now[out] = self.to(x, fmt, unit, out, rounding, general=fn in ("tanh", "sigmoid"))


Lower = Callable[[Quantizer, Op], None]
LOWER: dict[str, Lower] = {}
LOSSES = ("xent_error", "mse_error", "hinge_error", "bce_error", "violation_error", "xent_loss", "mse_loss")
_BATCH_NORM = (
    "batch norm has no integer form; fold it into the weights in front of it (network option norm=fold), or use "
    "norm=rms, a power-of-two shift"
)
REASONS = {
    "bn_stats": _BATCH_NORM,
    "bn_apply": _BATCH_NORM,
    "unit_rows": "centred unit rows need a mean and a division per sample, which stay in float32; use pred",
    "space_std": "a standard deviation needs squares and a root, which stay in float32; use pred",
    "call": "a torch function has no integer form; write it with the ops of the table",
    "channel_scale": "a factor per class is no integer; use mix=none",
    "draw_wrong_labels": "drawing by softmax probabilities is no integer op; use negatives=random",
}


def lowers(*kinds: str) -> Callable[[Lower], Lower]:
    def enter(function: Lower) -> Lower:
        for name in kinds:
            LOWER[name] = function
        return function

    return enter
