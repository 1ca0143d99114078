"""The step program: values, operations and the record that defines an operation.

A :class:`Step` is one training step (or one inference) of one network at one batch size, in SSA form: every
:class:`Value` is defined once, by a step input, as a resident (it lives from step to step) or by one
:class:`Op`.  Only ops whose record says ``writes`` change a value, and only residents may be written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Flag, StrEnum, auto
from math import prod
from typing import TYPE_CHECKING, Any, Generic, Protocol

from insitu.step.attrs import Attrs

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    A = TypeVar("A", bound=Attrs, default=Any)
    A_co = TypeVar("A_co", bound=Attrs, default=Any, covariant=True)
else:
    from typing import TypeVar

    A = TypeVar("A", bound=Attrs)
    A_co = TypeVar("A_co", bound=Attrs, covariant=True)

Shape = tuple[int, ...]


class Role(StrEnum):
    """What a value is for: the vocabulary of every memory report and precision policy."""

    WEIGHT = "weight"
    STATE = "state"  # optimiser state, running statistics, accumulators
    FEEDBACK = "feedback"
    ACTIVATION = "activation"
    ERROR = "error"
    HEAD = "head"  # auxiliary classifiers and what belongs to them
    LABEL = "label"
    SCRATCH = "scratch"  # weight gradients and other values that live for a moment


class Phase(StrEnum):
    """Which part of learning an operation belongs to: the vocabulary of every operation count."""

    FORWARD = "forward"
    ERROR = "error"
    FEEDBACK = "feedback"
    GRADIENT = "gradient"
    UPDATE = "update"


class Level(Flag):
    """On what an op computes, and who makes it: the vocabulary of what is legal in a step.

    ``REAL``: on real numbers, as rules emit it. ``INTEGER``: on integers, with a meaning in :mod:`insitu.run.integer`.
    ``FUSED``: a pass makes it of several ops.
    """

    REAL = auto()
    INTEGER = auto()
    FUSED = auto()

    def __str__(self) -> str:
        return ", ".join(str(level.name).lower() for level in self)


class Trait(StrEnum):
    """What passes, the cost model and backends ask of an op without knowing its kind."""

    EPILOGUE = "epilogue"  # its sums can be requantized as they leave it
    GATE = "gate"  # an error times a slope that is read from the second operand, element by element
    PASSES_EXPONENT = "passes an exponent"  # a run-time exponent of the operand is that of the result
    STATIC_POINT = (
        "static point"  # compares, adds or squares operands: their binary point is known before the run
    )
    ABSORBS_ZERO = "absorbs zero"  # zero where one operand is zero, whatever the other
    MOVES = "moves a parameter"  # by a gradient, with an optimiser
    ROUNDS = "rounds"  # nothing but the change of a format
    BATCH_STATISTICS = "batch statistics"  # needs a batch of more than one
    TORCH_ONLY = "torch only"  # a function that no other backend can run


class Format(Protocol):
    """A number format; the concrete ones are in :mod:`insitu.numbers.formats`."""

    @property
    def bits(self) -> int: ...


@dataclass(frozen=True)
class Where:
    """Where a value or op comes from: the network layer and the rule's source line."""

    layer: str | None = None
    source: str | None = None

    def __str__(self) -> str:
        return " ".join(part for part in (self.layer, self.source) if part)


@dataclass(frozen=True)
class Init:
    """How a resident gets its first value.

    ``kind``: an entry of :data:`insitu.numbers.initial.KINDS`. ``key``: the network's parameter, or the stream of the
    bit-defined generator. ``bound``: of uniform values. ``times``: a factor on all of them.
    ``frozen``: a parameter that no rule changes, so that no wider copy of it is kept.
    """

    kind: str
    key: str = ""
    bound: float = 0.0
    times: float = 1.0
    frozen: bool = False


@dataclass(frozen=True, eq=False)
class Value:
    """One array of the program; compared by identity.

    ``shape`` includes the batch where there is one. ``init`` is set for residents only. ``unit`` is the value of the
    integer 1 in an array of integers, as far as it is known before the run (a run-time exponent may multiply it);
    ``None`` for reals, labels and positions. ``zero`` is the integer that stands for 0 (asymmetric samples).
    ``channels``: of weights with a scale per output channel, the powers of two that the unit of each is multiplied by.
    """

    name: str
    shape: Shape
    format: Format
    role: Role
    where: Where = Where()
    init: Init | None = None
    unit: float | None = None
    zero: int = 0
    channels: tuple[int, ...] = ()

    @property
    def resident(self) -> bool:
        return self.init is not None

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Packed size in bytes: elements times format bits, rounded up to whole bytes."""
        return (self.size * self.format.bits + 7) // 8


@dataclass(frozen=True, eq=False)
class Op(Generic[A_co]):
    """One operation.

    ``attrs`` is an instance of the class that the kind's record declares. ``inplace`` names the input whose storage the
    first output takes over (set by a pass).
    """

    kind: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attrs: A_co
    phase: Phase
    where: Where = Where()
    inplace: int | None = None

    @property
    def record(self) -> OpRecord:
        return OPS[self.kind]

    @property
    def written(self) -> tuple[Value, ...]:
        """The inputs that this op changes."""
        return tuple(self.inputs[i] for i in self.record.writes(len(self.inputs), self.attrs))


@dataclass(frozen=True)
class Counts:
    """Operations of one execution of an op, by phase.

    ``macs``: multiply-accumulates of products and convolutions, and of updates; ``other``: additions, scalings,
    comparisons, look-ups and the like, one each per element touched; ``random``: generated 32-bit words.
    """

    macs: Mapping[Phase, int] = field(default_factory=dict)
    other: Mapping[Phase, int] = field(default_factory=dict)
    random: int = 0


@dataclass(frozen=True)
class Hole:
    """A part of an op record that does not exist, and why."""

    reason: str


Inferred = list[tuple[Shape, Format]]


def writes_nothing(_inputs: int, _attrs: Attrs) -> tuple[int, ...]:
    """No input is changed."""
    return ()


def draws_words(op: Op) -> bool:
    """Are random words drawn, which differ from one place in the batch to another?"""
    attrs: Attrs = op.attrs
    return attrs.draws


def over_batch(_op: Op) -> bool:
    """The samples of the batch are summed or compared."""
    return True


@dataclass(frozen=True)
class OpRecord(Generic[A]):
    """Everything there is to know about one kind of operation, in one place.

    Attributes:
        kind: the name in the program.
        doc: one line: operands, shapes and meaning.
        attrs: what the op is told beside its operands: a frozen dataclass.
        infer: ``(inputs, attrs) -> [(shape, format), ...]``; raises ``StepError`` where they do not fit.
        torch: ``(op, runtime) -> function of the input tensors``; a function of one output returns the
            tensor, of several a tuple, of none (writes only) ``None``.
        counts: operations of one execution.
        adjoint: ``(builder, op, cotangents, needs) -> {input index: cotangent}``, or why there is none.
        writes: ``(number of inputs, attrs) -> indices`` of the inputs that the op changes.
        alias: the first output is a view of the first input.
        inplace: inputs whose storage the first output may take over at their last use.
        trigger: the first output is an error that can be all zero for a sample (see :mod:`insitu.step.triggers`).
        level: on what it computes, and who makes it.
        traits: see :class:`Trait`.
        loops: the loop nest of a product (see :mod:`insitu.ops.loops`).
        fuses: the gradient op of which it is the fusion with an update.
        deferred: ``op -> (op, n)``: what it does once in n executions; else it keeps its operands.
        error_below: ``(builder, op, error, matrix, *more, **view) -> error``: the error below a linear op through a
            matrix, which need not be its weights.
        mixes_samples: does the result for a sample depend on the others of the batch, or on its place there?
        scores: of a loss, the largest magnitude of a score (its first operand) that integers need to hold.
        max_l1: of an error of integers, the largest possible sum of magnitudes in a row.
        touched: ``(op, operand index) -> elements`` that one execution reads of an operand; all of them where ``None``.
    """

    kind: str
    doc: str
    infer: Callable[[Sequence[Value], A], Inferred]
    torch: Callable[[Op[A], Any], Callable[..., Any]]
    counts: Callable[[Op[A]], Counts]
    attrs: type[A] = Attrs  # type: ignore[assignment]
    adjoint: Callable[..., dict[int, Value]] | Hole = Hole("not differentiable: it ends a chain")
    writes: Callable[[int, A], tuple[int, ...]] = writes_nothing
    alias: bool = False
    inplace: tuple[int, ...] = ()
    trigger: bool = False
    level: Level = Level.REAL
    traits: tuple[Trait, ...] = ()
    loops: Callable[[Op[A]], Any] | None = None
    fuses: str | None = None
    deferred: Callable[[Op[A]], tuple[Op, int]] | None = None
    error_below: Callable[..., Value] | None = None
    mixes_samples: Callable[[Op[A]], bool] = draws_words
    scores: float | None = None
    max_l1: Callable[[Op[A]], int] | None = None
    touched: Callable[[Op[A], int], int] | None = None


OPS: dict[str, OpRecord[Any]] = {}
"""All op records by kind; filled by :mod:`insitu.ops`."""


def register(record: OpRecord[A]) -> OpRecord[A]:
    """Adds a record to :data:`OPS`; a kind is defined once."""
    if record.kind in OPS:
        raise ValueError(f"op kind {record.kind!r} is defined twice")
    OPS[record.kind] = record
    return record


@dataclass(frozen=True)
class Step:
    """A program: inputs, residents, operations in execution order, and the values it gives back.

    ``swept``: what frozen parameters alone would have needed was left out (see :mod:`insitu.passes.sweep`).
    ``level``: ``INTEGER`` once it is quantized: every op of it then computes on integers.
    """

    name: str
    inputs: tuple[Value, ...]
    residents: tuple[Value, ...]
    ops: tuple[Op, ...]
    outputs: tuple[Value, ...]
    batch: int
    swept: bool = False
    level: Level = Level.REAL

    def __str__(self) -> str:
        from insitu.step.text import print_step

        return print_step(self)

    def verify(self) -> Step:
        """Checks the program (see :mod:`insitu.step.verify`) and returns it."""
        from insitu.step.verify import verify

        verify(self)
        return self

    def keeps(self) -> dict[str, tuple[int, int]]:
        """First and last op index at which each transient storage is live, by the name of its value."""
        from insitu.step.liveness import storages

        return {s.root.name: (s.birth, s.death) for s in storages(self) if not s.root.resident}

    def counts(self) -> Counts:
        """Sum of the counts of all ops."""
        macs: dict[Phase, int] = {}
        other: dict[Phase, int] = {}
        random = 0
        for op in self.ops:
            c = op.record.counts(op)
            random += c.random
            for phase, n in c.macs.items():
                macs[phase] = macs.get(phase, 0) + n
            for phase, n in c.other.items():
                other[phase] = other.get(phase, 0) + n
        return Counts(macs, other, random)
