"""Where everything lies in the engine's two memories.

A holds inputs, activations, errors, scores and biases; W holds weight matrices, kernels and, for the gradient of a
convolution, its map of errors. Transients of each step are placed by the planner of all backends
(:mod:`insitu.passes.plan`), with the engine's sizes: one byte an element, channels padded to P. Its peak is the
engine's own, not that of C.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from insitu.backends.engine.actions import PROJECTIONS, Action, actions, matrix_of
from insitu.backends.engine.build import Build
from insitu.backends.engine.forms import Form, Grid, Kernel, Matrix, Planes, padded
from insitu.backends.engine.isa import CLASSES
from insitu.errors import ConfigError
from insitu.numbers.formats import Quantized
from insitu.numbers.lfsr import REGISTERS
from insitu.passes.plan import Item, place
from insitu.run.program import Program
from insitu.step.ir import Op, Step, Value
from insitu.step.liveness import roots

SCALAR_READERS = {"conv2d": 0, "conv2d_dw_update": 1, "gated_conv2d_dw_update": 2}
"""Ops that read an operand byte by byte, by its number."""


@dataclass(frozen=True)
class Place:
    """Where an array lies.

    Attributes:
        form: how.
        start: address of its first byte of A, or its first word of W.
    """

    form: Form
    start: int

    @property
    def weights(self) -> bool:
        """It lies in W."""
        return isinstance(self.form, Matrix | Kernel)

    @property
    def end(self) -> int:
        return self.start + self.form.size


@dataclass(frozen=True)
class StepLayout:
    """The memory of a step.

    Attributes:
        actions: what it does, in order.
        places: of every value that has memory.
        scratch: of each action that needs words of W of its own: the first.
    """

    actions: tuple[Action, ...]
    places: Mapping[Value, Place]
    scratch: Mapping[Action, int]
    a_bytes: int
    w_words: int


class Layout:
    """The memories of a program.

    Attributes:
        residents: place of each resident by name.
        steps: of every phase, then of inference.
        a_bytes, w_words: what all of it takes; constants of the microcode come behind in A.

    Raises:
        ConfigError: an array has no form that the engine can hold; names it and the remedy.
    """

    def __init__(self, program: Program, build: Build) -> None:
        self.build, self.program = build, program
        self.residents: dict[str, Place] = {}
        self._residents()
        self.steps = [self._step(step) for step in (*program.steps, program.inference)]
        self.a_bytes = max(s.a_bytes for s in self.steps)
        self.w_words = max(s.w_words for s in self.steps)

    # --- residents -----------------------------------------------------------------------------------------------

    @property
    def _all_steps(self) -> tuple[Step, ...]:
        return (*self.program.steps, self.program.inference)

    @cached_property
    def _resident_bytes(self) -> tuple[int, int]:
        """Ends of the residents in A and W."""
        a = max((p.end for p in self.residents.values() if not p.weights), default=0)
        return padded(a, self.build.lanes), max(
            (p.end for p in self.residents.values() if p.weights), default=0
        )

    def _residents(self) -> None:
        ends = {False: 0, True: 0}
        for name, value in self.program.residents.items():
            if name == REGISTERS:
                continue
            place_ = Place(self._resident(value), 0)
            kind = place_.weights
            self.residents[name] = Place(place_.form, ends[kind])
            ends[kind] = (
                self.residents[name].end if kind else padded(self.residents[name].end, self.build.lanes)
            )

    def _resident(self, value: Value) -> Form:
        """Refuses what no form holds."""
        fmt, lanes = value.format, self.build.lanes
        if len(value.shape) == 1 and 8 < fmt.bits <= 16:
            return Planes(value.size, max(CLASSES, padded(value.size, lanes)))
        if (
            fmt.bits > self.build.weight_bits
            or len(value.shape) not in (2, 4)
            or not isinstance(fmt, Quantized)
        ):
            raise ConfigError(
                f"%{value.name} ({fmt}, shape {value.shape}) does not fit the engine's memories, which hold matrices "
                f"and kernels of {self.build.weight_bits} bits and biases of 16; use --precision edge-latent-free-8"
            )
        if len(value.shape) == 4:
            k, c, r, s = value.shape
            return Kernel((k, c, r, s), lanes)
        return Matrix(value.shape[0], self._columns(value), lanes, self.by_rows(value))

    def by_rows(self, value: Value) -> bool:
        """Do lanes hold neighbouring columns of a matrix: of an output layer, a head, or what only errors pass?"""
        readers = [op for step in self._all_steps for op in step.ops if value in op.inputs]
        return value.shape[0] < CLASSES or all(op.kind in PROJECTIONS for op in readers)

    def _columns(self, value: Value) -> Grid:
        """The grid that a matrix reads (or gives errors of)."""
        for step in self._all_steps:
            for op in step.ops:
                if value in op.inputs and (other := _other(op, value)) is not None:
                    channels, height, width = self._plane(step, other)
                    return Grid(channels, height, width)
        return Grid(value.size // value.shape[0])

    # --- transients ------------------------------------------------------------------------------------------------

    def _plane(self, step: Step, value: Value) -> tuple[int, int, int]:
        """Channels, rows and columns of what lies in a value's storage: those of a map, if any view of it is one."""
        root = roots(step)
        shapes = [v.shape[1:] for v in root if root[v] is root[value]]
        shapes.sort(key=len, reverse=True)
        found = [*shapes[0], 1, 1][:3]
        return found[0], found[1], found[2]

    def _step(self, step: Step) -> StepLayout:
        done = tuple(actions(step, self.by_rows))
        root = roots(step)
        forms = {v: self._form(step, v) for v in _stored(step, done, root)}
        a_start, w_start = self._resident_bytes
        kept = {root[v] for v in step.outputs}
        items = [_item(v, form, done, root, v in kept) for v, form in forms.items()]
        offsets, a_top = place(items, self.build.lanes)
        places = {v: Place(form, a_start + at) for (v, form), at in zip(forms.items(), offsets)}
        scratch = {action: w_start for action in done if _scratch(action, self.build.lanes)}
        w_top = max((_scratch(action, self.build.lanes) for action in done), default=0)
        found = {v: places[r] for v, r in root.items() if r in places}
        found |= {v: self.residents[v.name] for v in step.residents if v.name in self.residents}
        return StepLayout(done, found, scratch, a_start + a_top, w_start + w_top)

    def _form(self, step: Step, value: Value) -> Form:
        lanes = self.build.lanes
        if value.name == "label":
            return Grid(CLASSES, 1, 1, padded(CLASSES, lanes))
        if value.format.bits > 16 or value.shape[0] != 1:
            raise ConfigError(
                f"%{value.name} ({value.format}, shape {value.shape}) does not fit the engine's memory of bytes, which "
                "holds one sample of at most 8 bits an element; use a batch of 1 and --precision edge-latent-free-8"
            )
        if value.format.bits > 8:
            return Planes(value.size, max(CLASSES, padded(value.size, lanes)))
        channels, height, width = self._plane(step, value)
        narrow = value in step.inputs and height * width > 1 and self._by_bytes(step, value)
        return Grid(channels, height, width, channels if narrow else padded(channels, lanes))

    def _by_bytes(self, step: Step, value: Value) -> bool:
        """Is a map read byte by byte alone?"""
        reads = [(op.kind, i) for op in step.ops for i, v in enumerate(op.inputs) if v is value]
        return all(SCALAR_READERS.get(kind) == i for kind, i in reads)


def _other(op: Op, matrix: Value) -> Value | None:
    """What lies along the columns of a matrix."""
    if op.kind in PROJECTIONS and matrix is matrix_of(op):
        return op.outputs[0]
    return op.inputs[0] if op.kind == "matmul" else None


def _stored(step: Step, done: Iterable[Action], root: Mapping[Value, Value]) -> list[Value]:
    """The values that own memory for a while."""
    values = [*step.inputs, *(v for action in done for v in (*action.reads, *action.writes))]
    labels = any(op.kind == "select_rows" for op in step.ops)
    owned = dict.fromkeys(root[v] for v in values if not root[v].resident)
    return [v for v in owned if v.name != "label" or labels]


def _item(
    value: Value, form: Form, done: tuple[Action, ...], root: Mapping[Value, Value], kept: bool
) -> Item:
    """Its lifetime in actions and its size in the engine; an input lives from the start, an output to the end."""
    writes = [value in {root[v] for v in action.writes} for action in done]
    uses = [w or value in {root[v] for v in action.reads} for w, action in zip(writes, done)]
    birth = writes.index(True) if True in writes else -1
    last = max((i for i, used in enumerate(uses) if used), default=-1)
    return Item(form.size, birth, len(done) - 1 if kept else last)


def _scratch(action: Action, lanes: int) -> int:
    """Words of W for the map of errors of a kernel's gradient: a tile of channels at a time if it is gated."""
    op = action.first
    if op.kind == "conv2d_dw_update":
        _, k, height, width = op.inputs[0].shape
        return height * width * padded(k, lanes) // lanes
    if op.kind.startswith("gated_"):
        return op.inputs[1].shape[2] * op.inputs[1].shape[3]
    return 0
