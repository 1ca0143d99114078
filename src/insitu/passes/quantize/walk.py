"""The walk over a step on reals, and the requantization of sums, errors and activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from insitu.numbers.formats import Fixed, Float, Quantized
from insitu.numbers.rounding import Rounding
from insitu.ops.activations import ACTIVATIONS
from insitu.ops.quant import nearest_shift
from insitu.passes.precision import kind
from insitu.passes.quantize.residents import Residents
from insitu.passes.quantize.units import (
    LoweredValue,
    fixed,
    multiplier,
    power,
)
from insitu.step.ir import Level, Op, Phase, Role, Step, Trait, Value


class Quantizer(Residents):
    """Walks a step on reals and builds the step on integers."""

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
            level=Level.INTEGER,
        ).verify()

    def _output(self, v: Value) -> Value:
        return self.lowered[v].value if v in self.lowered else self.plain[v]

    def _input(self, v: Value) -> None:
        self.names.add(v.name)
        if v.role == Role.LABEL:
            if isinstance(v.format, Float):
                fmt = self._target_format(v)
                made = replace(v, format=fmt, unit=fmt.unit)
                self.lowered[v] = LoweredValue(made)
            else:
                self.plain[v] = made = v
            self.inputs.append(made)
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
            self.lowered[v] = LoweredValue(centred)
            return
        signed = low < 0
        unit = power((max(-low, high) or 1.0) / 2 ** (bits - signed))
        made = replace(v, format=fixed(signed, bits, unit), unit=unit)
        self.inputs.append(made)
        self.lowered[v] = LoweredValue(made)

    def _target_format(self, v: Value) -> Fixed:
        """Of real targets: those of a squared error as the outputs; of independent sigmoids, 0 to 1 as their values."""
        if any(op.kind == "bce_error" for op in self.users.get(v, [])):
            one = 2 ** (kind(self.precision.error, "error").bits - 1)
            return Fixed(False, 1, one.bit_length() - 1)
        bits = kind(self.precision.output, "output").bits
        low, high = self.ranges.get("label", (-1.0, 1.0))
        return fixed(True, bits, power((max(-low, high) or 1.0) * 2.0 ** (1 - bits)))

    def to(
        self,
        x: LoweredValue,
        fmt: Quantized,
        unit: float,
        like: Value,
        rounding: str,
        suffix: str = "",
        **style: Any,
    ) -> LoweredValue:
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
        return LoweredValue(
            self.one("requant", *operands, unit=made_unit, like=like, suffix=suffix, **attrs, **style)
        )

    def error(self, x: LoweredValue, like: Value, was: float | None = None) -> LoweredValue:
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
        return LoweredValue(shrunk, self.added(x.exponent, e))

    def added(self, a: Value | None, b: Value | None) -> Value | None:
        """The sum of two exponents."""
        if a is None or b is None:
            return a or b
        return self.one("add_exponents", a, b, role=Role.SCRATCH)

    def settle(self, x: LoweredValue, out: Value) -> None:
        """A sum of the forward pass in the format that its readers want."""
        readers = self.users.get(out, [])
        if any(op.record.scores and op.inputs[0] is out for op in readers) or out in self.step.outputs:
            self.lowered[out] = self._scores(x, out, readers)
            return
        if readers and all(op.kind == "couple" and op.inputs[1] is out for op in readers):
            self.lowered[out] = x  # a coupling rounds it to the grid of its stream
            return
        functions = {op.attrs.fn for op in readers if op.kind == "activate"}
        if len(functions) == 1 and all(op.kind == "activate" for op in readers):
            self._before_activation(x, out, functions.pop(), readers)
            return
        self.lowered[out] = self.activation(x, out, out, True)

    def activation(self, x: LoweredValue, out: Value, ranged: Value, signed: bool) -> LoweredValue:
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
        return LoweredValue(made, self.added(x.exponent, e))

    def _fixed_point_behind(self, v: Value) -> bool:
        """Does an op read the value, or a view or pool of it, that needs a static binary point?"""
        return any(
            Trait.STATIC_POINT in op.record.traits
            or (Trait.PASSES_EXPONENT in op.record.traits and self._fixed_point_behind(op.outputs[0]))
            for op in self.users.get(v, [])
        )

    def fixed_point(self, v: Value) -> LoweredValue:
        """As :meth:`of`, for an op that cannot carry a run-time exponent on."""
        found = self.of(v)
        if found.exponent is not None:
            raise self.refuse("its operand has a run-time exponent; use activation_exponent=static")
        return found

    def _scores(self, x: LoweredValue, out: Value, readers: list[Op]) -> LoweredValue:
        bits = kind(self.precision.output, "output").bits
        of_targets = (op.kind == "mse_error" and op.inputs[1] in self.lowered for op in readers)
        if "label" in self.ranges or any(of_targets):
            fmt = self._target_format(out)
            return self.to(x, fmt, fmt.unit, out, self.precision.rounding)
        largest = min((op.record.scores for op in readers if op.record.scores), default=SCORES)
        unit = largest * 2.0 ** (1 - bits)
        return self.to(x, fixed(True, bits, unit), unit, out, self.precision.rounding)

    def _before_activation(self, x: LoweredValue, out: Value, fn: str, readers: list[Op]) -> None:
        """A sum in the format that the activation function behind it takes."""
        how = ACTIVATIONS[fn].on_integers(readers[0].attrs.parameter)
        self.lowered[out] = FORMS[type(how)].before(self, how, x, out, readers[0].outputs[0])


Lower = Callable[[Quantizer, Op], None]
LOWER: dict[str, Lower] = {}


@dataclass(frozen=True)
class Form:
    """What becomes of an activation function of one form (see :mod:`insitu.ops.activations`) on integers.

    Attributes:
        before: ``(quantizer, form, sum, its place, the result's place)``: the sum in the format that it takes.
        forward: ``(quantizer, form, operand, op)``: the result.
        gate: ``(quantizer, form, error, what the gate reads, op)``: the error below.
    """

    before: Callable[[Quantizer, Any, LoweredValue, Value, Value], LoweredValue]
    forward: Callable[[Quantizer, Any, LoweredValue, Op], LoweredValue]
    gate: Callable[[Quantizer, Any, LoweredValue, LoweredValue, Op], LoweredValue]


FORMS: dict[type, Form] = {}
SCORES = 32.0
"""Largest magnitude of scores that no loss reads."""

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
