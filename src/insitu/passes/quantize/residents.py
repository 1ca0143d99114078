"""Weights, heads, biases and feedback of a step on integers: their formats, their units, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil, log2, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.numbers.formats import B1, F16, F32, Fixed, Quantized
from insitu.numbers.initial import kind_of
from insitu.ops.quant import WeightView, feedback_spread, nearest_shift
from insitu.passes.precision import Precision, kind
from insitu.passes.quantize.emission import Emission
from insitu.passes.quantize.units import CHANNEL_BITS, SPREAD, LoweredValue, Ranges, fixed, power
from insitu.step.ir import Init, Role, Step, Value


class Residents(Emission):
    """Makes the residents of the step on integers as ops ask for them.

    Attributes:
        reads: how a resident is read where it is not read as stored.
        moves: the stored array of a weight.
    """

    def __init__(
        self,
        step: Step,
        precision: Precision,
        params: Mapping[str, npt.NDArray[Any]],
        ranges: Ranges,
        fresh: bool,
    ) -> None:
        super().__init__(step, precision, params, ranges, fresh)
        self.reads: dict[Value, WeightView | None] = {}
        self.moves: dict[Value, Value] = {}

    def first(self, v: Value) -> float:
        """The largest magnitude that a weight starts with (of zeros: what PyTorch would draw up to)."""
        init = v.init
        assert init is not None
        largest = kind_of(init).max_abs(init)
        if init.kind == "param" and init.key in self.params:
            largest = float(np.abs(self.params[init.key]).max(initial=0.0))
            if not largest < np.inf:
                raise self.refuse(f"parameter {init.key} holds values that are not finite")
        if largest:
            return largest
        return float(max(prod(v.shape[1:]), 1) ** -0.5) if len(v.shape) > 1 else 0.25

    def matrix(self, v: Value) -> LoweredValue:
        """A weight, head or feedback matrix as it is read."""
        if v in self.lowered:
            return self.lowered[v]
        if not v.resident:
            raise self.refuse(f"it multiplies by %{v.name}, which is neither a weight nor feedback")
        if v.role == Role.FEEDBACK:
            made = self._feedback(v)
            self.lowered[v] = LoweredValue(made)
            return self.lowered[v]
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
            return self.lowered[v]
        if isinstance(fmt, Fixed):
            grown = largest * 2.0 ** min(policy.headroom, max(fmt.bits - 2, 0))
            unit = power(grown / 2 ** (fmt.bits - 1))
            if policy.per_channel and len(v.shape) > 1:
                self._store_by_channel(v, fmt.bits, unit / largest, policy)
                return self.lowered[v]
            fmt = fixed(True, fmt.bits, unit)
        else:
            unit = _unit_of_few(largest, fmt)
        self.store(v, fmt, unit, policy)
        return self.lowered[v]

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

        A frozen weight is stored as it is read, whatever the regime.

        Args:
            key: the array of the emitted step, where ``v`` is it with channels.
        """
        v_init, key, channels = first or v.init, key or v, v.channels
        assert v_init is not None
        if policy.latent and not v_init.frozen:
            master = F32 if policy.master == "f32" else F16
            stored = replace(v, format=master, init=v_init)
            self.reads[key] = WeightView(fmt, unit=unit, channels=channels)
        elif policy.hidden and len(v.shape) > 1 and not v_init.frozen:
            bits = fmt.bits + policy.hidden
            if bits > 32:
                raise self.refuse(
                    f"a stored word of {bits} bits is too wide; use hidden: {32 - fmt.bits} or less"
                )
            small = unit * 2.0**-policy.hidden
            stored = replace(v, format=fixed(True, bits, small), unit=small, init=v_init)
            self.reads[key] = WeightView(fmt, shift=policy.hidden, channels=channels)
        else:
            stored = replace(v, format=fmt, unit=unit, init=v_init)
            self.reads[key] = WeightView(fmt, channels=channels) if channels else None
        self.residents[v.name] = stored
        self.names.add(v.name)
        self.moves[key] = stored
        read = fixed(True, fmt.bits + max(channels), unit) if channels else fmt
        self.lowered[key] = LoweredValue(replace(stored, format=read, unit=unit))  # as it is read

    def stored(self, v: Value) -> Value:
        """The operand that an op takes for a matrix."""
        return self.moves.get(v) or self.lowered[v].value

    def _feedback(self, v: Value) -> Value:
        init = v.init
        assert init is not None
        fmt, unit = self._feedback_format(init)
        made = replace(v, format=fmt, unit=unit)
        self.residents[v.name] = made
        self.names.add(v.name)
        return made

    def _feedback_format(self, init: Init) -> tuple[Quantized, float]:
        """Format and unit of a fixed matrix: random integers, or the integers nearest to what the kind of it draws."""
        how, fmt = kind_of(init), kind(self.precision.feedback, "feedback")
        assert isinstance(fmt, Quantized)
        largest = how.max_abs(init) or 1.0
        if how.random:
            unit = largest / feedback_spread(fmt)
            return (fixed(True, fmt.bits, unit) if isinstance(fmt, Fixed) else fmt), unit
        if how.bits == 1:
            return B1, largest
        if isinstance(fmt, Fixed):
            unit = power(largest) * 2.0 ** (1 - fmt.bits)
            return fixed(True, fmt.bits, unit), unit
        return fmt, _unit_of_few(largest, fmt)

    def bias(self, v: Value, sum_unit: float) -> tuple[Value, WeightView | None, int]:
        """A bias, how it is read, and by how many bits it is shifted to the units of a sum."""
        if v not in self.lowered:
            bits = kind(self.precision.bias, "bias").bits
            grown = max(self.first(v), 0.25) * 2.0 ** max(self.precision.headroom, 1)
            doublings = max(0, ceil(log2(grown / (2 ** (bits - 1) * sum_unit)) - 1e-9))
            unit = sum_unit * 2.0**doublings
            self.store(v, fixed(True, bits, unit), unit, self.policy())
        shift = -nearest_shift(self.lowered[v].unit / sum_unit)
        if shift < 0:
            raise self.refuse(
                f"the bias %{v.name} is finer than its sum by {-shift} bits; use more bits for the input"
            )
        return self.stored(v), self.reads[v], shift


def _unit_of_few(largest: float, fmt: Quantized) -> float:
    """Unit of values up to ± largest in a format of few levels: binary, ternary, powers of two."""
    return power(largest * (0.6 if fmt.max_abs == 1 else 2.0 / fmt.max_abs), up=False)
