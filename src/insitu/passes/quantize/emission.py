"""What a pass over a step has made so far: the ops and names of the new step, and what each array has become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from insitu.errors import StepError
from insitu.numbers.formats import Fixed, Quantized
from insitu.ops.integer_products import chunks
from insitu.passes.precision import Precision, kind
from insitu.passes.quantize.units import GROWTH, WIDEST, LoweredValue, Ranges, fixed, power
from insitu.step.builder import checked
from insitu.step.ir import Op, Phase, Role, Step, Value


def streams(step: Step) -> dict[str, tuple[str, ...]]:
    """Layers of each stream of couplings, by every one: a coupling's result has the grid of its first operand."""
    found: dict[str, set[str]] = {}
    for op in step.ops:
        if op.kind == "couple":
            a, y = (v.where.layer or "" for v in (op.inputs[0], op.outputs[0]))
            both = found.get(a, {a}) | found.get(y, {y})
            found |= dict.fromkeys(both, both)
    return {name: tuple(sorted(names)) for name, names in found.items()}


class Emission:
    """Grows by one integer op after another.

    Attributes:
        step: the step on reals.
        op: its op at hand.
        users: the ops of that step that read each value.
        ops, residents, inputs: of the step on integers.
        lowered: the lowered form of each value of the emitted step.
        streams: layers whose outputs share a binary point, by each of them.
        plain: what labels, positions and real scalars have become.
    """

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
        self.lowered: dict[Value, LoweredValue] = {}
        self.plain: dict[Value, Value] = {}
        self.users: dict[Value, list[Op]] = {}
        self.names: set[str] = set()
        self.op: Op = step.ops[0]
        for op in step.ops:
            for v in op.inputs:
                self.users.setdefault(v, []).append(op)
        self.streams = streams(step)

    def refuse(self, reason: str) -> StepError:
        return StepError(
            f"precision {self.precision.name}: {self.op.kind} at {self.op.where} cannot be quantized: {reason}"
        )

    def of(self, v: Value) -> LoweredValue:
        """What a value has become.

        Raises:
            StepError: for one that no integer op has made.
        """
        if v not in self.lowered:
            raise self.refuse(f"its operand %{v.name} has no integer form")
        return self.lowered[v]

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
        made, inferred = checked(kind_, inputs, attrs, self.op.where)
        stem = (like.name if like else f"{self.op.where.layer or self.op.kind}.{kind_}") + suffix
        made_role = role or (like.role if like else Role.SCRATCH)
        all_units = units or (unit,) * len(inferred)
        outputs = tuple(
            Value(self.unique(stem), shape, fmt, made_role, self.op.where, unit=u)
            for (shape, fmt), u in zip(inferred, all_units)
        )
        self.ops.append(Op(kind_, inputs, outputs, made, phase or self.op.phase, self.op.where))
        return outputs

    def one(self, kind_: str, *inputs: Value, **more: Any) -> Value:
        (out,) = self.emit(kind_, *inputs, **more)
        return out

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

    def _room(self, policy: Precision, bits: int) -> int:
        """Doublings that activations may grow; a network that was not trained starts far below its later ones."""
        if policy.activation_headroom is not None:
            return policy.activation_headroom
        return min(GROWTH, max(bits - 3, 0)) if self.fresh else min(policy.headroom, max(bits - 4, 0))

    def activation_format(self, v: Value, signed: bool) -> tuple[Quantized, float]:
        """Format and unit of an activation: the layer's measured range times the headroom."""
        policy, name = self.policy(), v.where.layer
        bits = kind(policy.activation, "activation").bits
        layers = self.streams.get(name or "", (name or "",))
        measured = [self.ranges[x] for x in layers if x in self.ranges]
        if measured:
            low, high = min(low for low, _ in measured), max(high for _, high in measured)
            widest = max(abs(low) if signed else 0.0, abs(high)) or 1.0
            widest *= 2.0 ** self._room(policy, bits)
        else:
            widest = WIDEST
        unit = power(widest / 2 ** (bits - signed))
        return fixed(signed, bits, unit), unit
