"""Small helpers that the op records share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from insitu.errors import StepError
from insitu.numbers.formats import T2, Binary, Quantized
from insitu.step.attrs import Attrs, Range, attributes
from insitu.step.context import StepContext
from insitu.step.ir import Counts, Format, Inferred, Op, Phase, Role, Value

Run = Callable[..., Any]
"""An op in torch: its input tensors to its output tensor, a tuple of them, or ``None`` where it only writes."""

Pair = tuple[Annotated[int, Range(1)], Annotated[int, Range(1)]]
"""Rows and columns."""


Padding = tuple[Annotated[int, Range(0)], Annotated[int, Range(0)]]
"""Zeros on each side of rows and columns."""


@dataclass(kw_only=True)
class TorchContext(StepContext):
    """A step's context as the torch half of an op reads it.

    Attributes:
        real: torch type of the real numbers.
        device: torch device of every tensor.
    """

    real: Any
    device: Any


@attributes
class Formatted(Attrs):
    """
    Attributes:
        format: of the result, where it holds integers.
    """

    format: Quantized | None = None

    def result(self, default: Format) -> Format:
        """The format of the result; ``default`` for reals."""
        return self.format or default


@attributes
class Sums(Formatted):
    """
    Attributes:
        chunks: parts of equal size in which integers are summed, each exact in float32; 0: the whole sum in float64.
        limit: the exact sum saturates to ``format``.
    """

    chunks: Annotated[int, Range(0)] | None = None
    limit: bool = False


def saturates_to(attrs: Attrs) -> Quantized | None:
    """The format that the exact sums of an op saturate to, where they have such a limit."""
    return attrs.format if isinstance(attrs, Sums) and attrs.limit else None


@attributes
class OfFormat(Attrs):
    """
    Attributes:
        format: of the result, which holds integers.
    """

    format: Quantized


@attributes
class Entries(Attrs):
    """
    Attributes:
        table: the result for every integer of the operand's format, from the least on.
    """

    table: tuple[int, ...]


@attributes
class Shaped(Attrs):
    """
    Attributes:
        shape: of the result.
    """

    shape: tuple[int, ...]


@attributes
class Factor(Attrs):
    """
    Attributes:
        by: factor on the result.
    """

    by: float


@attributes
class Columns(Attrs):
    """
    Attributes:
        columns: of the feedback matrix that are read, from the first on.
    """

    columns: Annotated[int, Range(1)]


@attributes
class Drawn(Attrs):
    """
    Attributes:
        stream: name of the stream of random words, where the op draws any.
    """

    stream: str | None = None

    @property
    def draws(self) -> bool:
        return self.stream is not None or super().draws


@attributes
class Streamed(Drawn):
    """
    Attributes:
        stream: name of the stream of random words.
    """

    stream: str = field()


def require(condition: bool, reason: str) -> None:
    """Raises ``StepError(reason)`` unless the condition holds."""
    if not condition:
        raise StepError(reason)


def same_as(index: int) -> Callable[[Sequence[Value], Attrs], Inferred]:
    """Infers one output with the shape and format of input ``index``."""
    return lambda inputs, _attrs: [(inputs[index].shape, inputs[index].format)]


def or_zero(fmt: Format) -> Format:
    """The format of values of which some become 0: binary words (-1, +1) become ternary."""
    return T2 if isinstance(fmt, Binary) else fmt


def zeroed(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    """Infers one output with the shape of the first input, of which some elements become 0."""
    return [(inputs[0].shape, or_zero(inputs[0].format))]


def in_result_format(inputs: Sequence[Value], attrs: Formatted) -> Inferred:
    """Infers one output of the first input's shape, in the format of the attributes or else that of the input."""
    return [(inputs[0].shape, attrs.result(inputs[0].format))]


def no_outputs(_inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
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


def touch(times: int, operand: int = 0) -> Callable[[Op], Counts]:
    """``times`` simple operations per element of an operand."""
    return lambda op: Counts(other={op.phase: times * op.inputs[operand].size})


def error_attrs() -> dict[str, Any]:
    """Role and phase of everything that an adjoint passes down."""
    return {"role": Role.ERROR, "phase": Phase.ERROR}
