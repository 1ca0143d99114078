"""Small helpers that the op records share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from insitu.errors import StepError
from insitu.numbers.formats import T2, Binary
from insitu.step.ir import Counts, Inferred, Op, Phase, Value


def require(condition: bool, reason: str) -> None:
    """Raises ``StepError(reason)`` unless the condition holds."""
    if not condition:
        raise StepError(reason)


def same_as(index: int) -> Callable[[Sequence[Value], Any], Inferred]:
    """Infers one output with the shape and format of input ``index``."""
    return lambda inputs, _attrs: [(inputs[index].shape, inputs[index].format)]


def or_zero(fmt: Any) -> Any:
    """The format of values of which some become 0: binary words (-1, +1) become ternary."""
    return T2 if isinstance(fmt, Binary) else fmt


def zeroed(inputs: Sequence[Value], _attrs: Any) -> Inferred:
    """Infers one output with the shape of the first input, of which some elements become 0."""
    return [(inputs[0].shape, or_zero(inputs[0].format))]


def result(attrs: Any, default: Any) -> Any:
    """The format of an op's sums: of integers as given, with the requantization at the op's end; else ``default``."""
    then = attrs.get("then")
    return then.format if then is not None else attrs.get("format", default)


def no_outputs(_inputs: Sequence[Value], _attrs: Any) -> Inferred:
    return []


def free(_op: Op) -> Counts:
    """Counts of an op that moves nothing."""
    return Counts()


def per_output(op: Op) -> Counts:
    """One simple operation per output element."""
    return Counts(other={op.phase: op.outputs[0].size})


def macs(op: Op, n: int, other: int = 0) -> Counts:
    """``n`` multiply-accumulates (and ``other`` simple operations) in the op's own phase."""
    return Counts(macs={op.phase: n}, other={op.phase: other} if other else {})


def error_attrs() -> dict[str, Any]:
    """Role and phase of everything that an adjoint passes down."""
    from insitu.step.ir import Role

    return {"role": Role.ERROR, "phase": Phase.ERROR}
