"""A step as plain data for JSON, and back: what a program in another language reads.

:func:`to_dict` and :func:`from_dict` are inverse: the step that comes back prints the same text and is equal in every
field. ``docs/step-program.md`` describes the layout. Values are referred to by their names, which are unique. Number
formats, weight views, epilogues and updates are objects ``{"type": ..., fields}`` of the classes that
:func:`insitu.step.attrs.portable` has entered; fields at their defaults are left out. Import :mod:`insitu.ops` before a
step is read: it enters the kinds of ops and those classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from insitu.errors import StepError
from insitu.step.attrs import PORTABLE, make
from insitu.step.ir import OPS, Init, Op, Phase, Role, Step, Value, Where

VERSION = 1
"""Of the layout; a reader refuses others."""


def to_dict(step: Step) -> dict[str, Any]:
    """The step as dictionaries, lists, strings, numbers, ``True``, ``False`` and ``None``.

    Raises:
        StepError: if an op holds a Python function, by its name and line.
    """
    return {
        "version": VERSION,
        "name": step.name,
        "batch": step.batch,
        "inputs": [_value(v) for v in step.inputs],
        "residents": [_value(v) for v in step.residents],
        "ops": [_op(op) for op in step.ops],
        "outputs": [v.name for v in step.outputs],
    }


def _value(v: Value) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": v.name,
        "shape": list(v.shape),
        "format": _plain(v.format),
        "role": v.role.value,
    }
    given: dict[str, Any] = {"where": _fields(v.where), "init": None if v.init is None else _fields(v.init)}
    given |= {"unit": v.unit, "zero": v.zero, "channels": list(v.channels)}
    return shown | {name: part for name, part in given.items() if part}


def _op(op: Op) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "kind": op.kind,
        "inputs": [v.name for v in op.inputs],
        "outputs": [_value(v) for v in op.outputs],
    }
    try:
        shown["attrs"] = {name: _plain(value) for name, value in op.attrs.explicit().items()}
    except StepError as error:
        raise StepError(f"op {op.kind} at {op.where} has no JSON form: {error}") from error
    shown |= {"phase": op.phase.value, "where": _fields(op.where)}
    return shown if op.inplace is None else shown | {"inplace": op.inplace}


def _plain(value: Any) -> Any:
    """A value of an attribute as plain data."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    name = type(value).__name__
    if PORTABLE.get(name) is type(value):
        return {"type": name} | _fields(value)
    if callable(value):
        function = getattr(value, "__qualname__", name)
        raise StepError(f"it holds the Python function {function}; use ops of the table (docs/ops.md)")
    raise StepError(f"it holds a {name}, which is not declared portable (see insitu.step.attrs.portable)")


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults."""
    found = {f.name: (getattr(value, f.name), f.default) for f in fields(value) if f.init}
    return {name: _plain(v) for name, (v, default) in found.items() if default is MISSING or v != default}


# --- reading -------------------------------------------------------------------------------------------------


def from_dict(data: Mapping[str, Any]) -> Step:
    """The step of :func:`to_dict`, verified.

    Raises:
        StepError: for another version, an unknown kind of op, class or value, or a program that is not well formed.
    """
    if data.get("version") != VERSION:
        raise StepError(f"the step has version {data.get('version')!r}, not {VERSION}; write it again")
    try:
        return _Reader().step(data).verify()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StepError(f"the step is damaged ({type(error).__name__}: {error}); write it again") from error


class _Reader:
    """Values by name, as they are defined."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}

    def step(self, data: Mapping[str, Any]) -> Step:
        inputs, residents = self.define(data["inputs"]), self.define(data["residents"])
        ops = tuple(self.op(op) for op in data["ops"])
        return Step(data["name"], inputs, residents, ops, self.known(data["outputs"]), data["batch"])

    def define(self, values: Iterable[Mapping[str, Any]]) -> tuple[Value, ...]:
        made = tuple(map(_read_value, values))
        self.values |= {v.name: v for v in made}
        return made

    def known(self, names: Iterable[str]) -> tuple[Value, ...]:
        for name in names:
            if name not in self.values:
                raise StepError(f"%{name} is used before its definition; move it up")
        return tuple(self.values[name] for name in names)

    def op(self, data: Mapping[str, Any]) -> Op:
        kind, where = data["kind"], Where(**data["where"])
        if kind not in OPS:
            raise StepError(f"op kind {kind!r} at {where} is unknown; known: {', '.join(sorted(OPS))}")
        try:
            attrs = make(OPS[kind].attrs, {name: _read(value) for name, value in data["attrs"].items()})
        except StepError as error:
            raise StepError(f"op {kind} at {where}: {error}") from error
        inputs, phase = self.known(data["inputs"]), Phase(data["phase"])
        return Op(kind, inputs, self.define(data["outputs"]), attrs, phase, where, data.get("inplace"))


def _read_value(data: Mapping[str, Any]) -> Value:
    init = Init(**data["init"]) if "init" in data else None
    shape, channels = tuple(data["shape"]), tuple(data.get("channels", ()))
    role, where = Role(data["role"]), Where(**data.get("where", {}))
    unit, zero = data.get("unit"), data.get("zero", 0)
    return Value(data["name"], shape, _read(data["format"]), role, where, init, unit, zero, channels)


def _read(value: Any) -> Any:
    """Plain data as the value of an attribute."""
    if isinstance(value, list):
        return tuple(map(_read, value))
    if not isinstance(value, dict):
        return value
    name = value.get("type")
    if name not in PORTABLE:
        raise StepError(f"type {name!r} is unknown; known: {', '.join(sorted(PORTABLE))}")
    return PORTABLE[name](**{key: _read(part) for key, part in value.items() if key != "type"})
