"""Emits a step op by op; shapes and formats come from the op records."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from insitu.errors import StepError
from insitu.step.attrs import Attrs, make
from insitu.step.ir import OPS, Format, Hole, Inferred, Init, Op, Phase, Role, Shape, Step, Value, Where

_PACKAGE = Path(__file__).resolve().parents[1]
_RULES = _PACKAGE / "rules"
_PROTOCOL = _RULES / "protocol.py"  # calls the rules
_EMIT = {"step", "ops", "network", "rules"}
"""Rooms whose functions a rule calls to emit; a frame of another one asked for the step."""
_LIBRARY = Path(sysconfig.get_paths()["stdlib"])  # of Python's own, such as functools: no user's line


def rule_line() -> str | None:
    """``file:line`` of the rule that emits: the nearest frame in ``insitu/rules`` or outside ``insitu``.

    ``None`` where no rule emits (a plain forward pass): who asked for the step is no part of it.
    """
    frame = sys._getframe(1)
    while frame is not None:
        file, line = frame.f_code.co_filename, frame.f_lineno
        origin = _origin(file)
        if origin != "emits":
            return {"rule": f"rules/{Path(file).name}:{line}", "user": f"{Path(file).name}:{line}"}.get(
                origin
            )
        frame = frame.f_back  # type: ignore[assignment]
    return None


@cache
def _origin(file: str) -> str:
    """What a source file is to a step: a ``rule``, a ``user``'s, what a rule calls (``emits``), or ``other``."""
    path = Path(file)
    if _RULES in path.parents and path != _PROTOCOL:
        return "rule"
    if _PACKAGE not in path.parents:
        return "other" if _LIBRARY in path.parents else "user"
    emits = path != _PROTOCOL and path.relative_to(_PACKAGE).parts[0] in _EMIT
    return "emits" if emits else "other"


def checked(
    kind: str, inputs: Sequence[Value], attrs: Mapping[str, Any], where: Where
) -> tuple[Attrs, Inferred]:
    """The attributes of an op, and shape and format of its outputs.

    Raises:
        StepError: if the operands or attributes do not fit, with the op, its layer and the rule's line.
    """
    try:
        made = make(OPS[kind].attrs, attrs)
        return made, OPS[kind].infer(inputs, made)
    except StepError as error:
        operands = ", ".join(f"%{v.name} {list(v.shape)}" for v in inputs)
        raise StepError(f"{kind}({operands}) at {where}: {error}") from error


class Builder:
    """Collects inputs, residents and ops of one step.

    Args:
        name: the step's name, for messages and the printed form.
        batch: samples per step, at least 1.
        real: number format of everything that is not an index or a label.
    """

    def __init__(self, name: str, batch: int, real: Format) -> None:
        if batch < 1:
            raise StepError(f"step {name} has a batch of {batch}; use at least 1")
        self.name = name
        self.batch = batch
        self.real = real
        self.ops: list[Op] = []
        self._inputs: list[Value] = []
        self._residents: dict[str, Value] = {}
        self._outputs: list[Value] = []
        self._taken: set[str] = set()
        self._layer: str | None = None

    @contextmanager
    def at(self, layer: str | None) -> Iterator[None]:
        """Everything emitted inside belongs to this layer."""
        before, self._layer = self._layer, layer
        try:
            yield
        finally:
            self._layer = before

    @property
    def layer(self) -> str | None:
        """The layer that is being emitted."""
        return self._layer

    def _where(self) -> Where:
        return Where(self._layer, rule_line())

    def _unique(self, name: str) -> str:
        candidate, n = name, 1
        while candidate in self._taken:
            n += 1
            candidate = f"{name}.{n}"
        self._taken.add(candidate)
        return candidate

    def input(self, name: str, shape: Shape, role: Role, fmt: Format | None = None) -> Value:
        """A value that the caller passes at every step."""
        value = Value(self._unique(name), shape, fmt or self.real, role, self._where())
        self._inputs.append(value)
        return value

    def resident(self, name: str, shape: Shape, role: Role, init: Init) -> Value:
        """A value that lives from step to step; the same name gives the same value."""
        known = self._residents.get(name)
        if known is not None:
            if known.shape != shape:
                raise StepError(f"resident %{name} has shape {known.shape}, asked for again as {shape}")
            return known
        self._taken.add(name)
        value = Value(name, shape, self.real, role, self._where(), init)
        self._residents[name] = value
        return value

    def output(self, *values: Value) -> None:
        """Marks values that the step gives back."""
        self._outputs.extend(values)

    def emit(
        self, kind: str, *inputs: Value, role: Role, phase: Phase, name: str | None = None, **attrs: Any
    ) -> tuple[Value, ...]:
        """Adds an op; returns its outputs.

        Raises:
            StepError: if the operands or attributes do not fit, with the op, its layer and the rule's line.
        """
        if kind not in OPS:
            raise StepError(f"op kind {kind!r} is unknown; known: {', '.join(sorted(OPS))}")
        where = self._where()
        made, inferred = checked(kind, inputs, attrs, where)
        stem = name or f"{self._layer or kind}.{kind}"
        outputs = tuple(
            Value(self._unique(stem if i == 0 else f"{stem}.{i}"), shape, fmt, role, where)
            for i, (shape, fmt) in enumerate(inferred)
        )
        self.ops.append(Op(kind, tuple(inputs), outputs, made, phase, where))
        return outputs

    def emit1(
        self, kind: str, *inputs: Value, role: Role, phase: Phase, name: str | None = None, **attrs: Any
    ) -> Value:
        """As :meth:`emit`, for an op with one output."""
        (out,) = self.emit(kind, *inputs, role=role, phase=phase, name=name, **attrs)
        return out

    def call(
        self,
        name: str,
        fn: Callable[..., Any],
        *inputs: Value,
        shapes: Sequence[Shape],
        role: Role,
        phase: Phase,
        macs: int = 0,
        other: int = 0,
        vjp: Callable[..., Any] | None = None,
    ) -> tuple[Value, ...]:
        """Any torch function as an op: it trains and is costed, but no backend can take it.

        Args:
            fn: tensors in, a tensor or a tuple of tensors out; must not change its inputs.
            shapes: of the outputs.
            macs, other: operations of one execution, for the costs.
            vjp: ``(*cotangents, *inputs)`` to the error at each input; PyTorch's own derivative where ``None``.
        """
        counted = {"macs": macs, "other": other, "shapes": tuple(tuple(s) for s in shapes)}
        return self.emit("call", *inputs, role=role, phase=phase, name=name, fn=fn, vjp=vjp, **counted)

    def add_cotangents(self, values: Sequence[Value]) -> Value:
        """Sum of the errors that reach one value by several paths."""
        total = values[0]
        for value in values[1:]:
            total = self.emit1("add", total, value, role=Role.ERROR, phase=Phase.ERROR)
        return total

    def adjoint(self, op: Op, cotangents: Sequence[Value | None], needs: Sequence[int]) -> dict[int, Value]:
        """Emits the adjoint of one op for the inputs in ``needs``.

        Raises:
            StepError: if the op's record has no adjoint.
        """
        adjoint = op.record.adjoint
        if isinstance(adjoint, Hole):
            raise StepError(f"{op.kind} at {op.where} has no adjoint: {adjoint.reason}")
        with self.at(op.where.layer):
            return adjoint(self, op, cotangents, needs)

    def finish(self) -> Step:
        """The verified step."""
        step = Step(
            self.name,
            tuple(self._inputs),
            tuple(self._residents.values()),
            tuple(self.ops),
            tuple(self._outputs),
            self.batch,
        )
        return step.verify()
