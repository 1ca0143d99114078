"""The attributes of an op: what it is told beside its operands, as a frozen dataclass per kind of op.

A kind declares its attributes by a subclass of :class:`Attrs`; the verifier, the printed step, the generated
``docs/ops.md`` and the JSON form (:mod:`insitu.step.serial`) follow from the declaration::

    @attributes
    class Shift(Attrs):
        \"""
        Attributes:
            shift: bits to the right.
        \"""

        shift: Annotated[int, Range(-62, 62)]

An attribute without a default must be given. One with a default is printed only where its value is another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from inspect import getdoc
from math import inf
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from insitu.errors import StepError

F = TypeVar("F", bound=Callable[..., Any])


def _once(function: F) -> F:
    """``functools.cache``, which the type checker lets take a class."""
    return cast(F, cache(function))


@dataclass(frozen=True)
class Range:
    """Least and greatest value of a number, or of every number of a tuple."""

    least: float
    most: float = inf

    def holds(self, value: Any) -> bool:
        """Is the number, or are all of the tuple, in the range?"""
        return all(self.least <= v <= self.most for v in (value if isinstance(value, tuple) else (value,)))

    def __str__(self) -> str:
        return f"{self.least:g} or more" if self.most == inf else f"{self.least:g} to {self.most:g}"


A = TypeVar("A")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def attributes(declared: type[A]) -> type[A]:
    """A frozen dataclass by keywords, with the comparison and the text of its base: half of the start-up of a class."""
    return dataclass(frozen=True, kw_only=True, eq=False, repr=False)(declared)


@attributes
class Attrs:
    """No attributes; the base of all others. Types and ranges are checked where an instance is made."""

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"

    def __post_init__(self) -> None:
        for name, (holds, wanted) in _declared(type(self)).items():
            value = getattr(self, name)
            if not holds(value):
                raise StepError(f"attribute {name}={value!r} is not allowed; use {wanted}")

    @property
    def draws(self) -> bool:
        """Does the op draw random words?"""
        return False

    @property
    def zero_grad_is_noop(self) -> bool:
        """Does the op leave what it writes as it is where the gradient is zero?"""
        return False

    @property
    def registers(self) -> bool:
        """Does the op draw from registers that run on, the last of what it writes?"""
        return False

    def explicit(self) -> dict[str, Any]:
        """The attributes that differ from their defaults, in the order of the printed step."""
        defaults = _defaults(type(self))
        found = {name: getattr(self, name) for name in self.order()}
        return {name: v for name, v in found.items() if defaults[name] is MISSING or v != defaults[name]}

    def order(self) -> tuple[str, ...]:
        """Names in the order of the printed step: as declared, those of base classes first."""
        return names(type(self))


@_once
def _defaults(declared: type[Any]) -> dict[str, Any]:
    """The default of each attribute; ``MISSING`` where it must be given."""
    return {f.name: f.default for f in fields(declared)}


@_once
def names(declared: type[Any]) -> tuple[str, ...]:
    """The attributes of a class, those of base classes first."""
    return tuple(f.name for f in fields(declared))


def make(declared: type[Attrs], given: Mapping[str, Any]) -> Attrs:
    """Attributes by name.

    Raises:
        StepError: for one that is unknown, missing, of another type, or out of its range.
    """
    takes = names(declared)
    for name in given:
        if name not in takes:
            raise StepError(f"there is no attribute {name!r}; {_takes(takes)}")
    for name, default in _defaults(declared).items():
        if default is MISSING and name not in given:
            raise StepError(f"the attribute {name!r} is missing; {_takes(takes)}")
    return declared(**given)


def _takes(takes: tuple[str, ...]) -> str:
    return f"it takes {', '.join(takes)}" if takes else "it takes none"


# --- what is declared ----------------------------------------------------------------------------------------

Check = Callable[[Any], bool]


@_once
def hints(declared: type[Any]) -> dict[str, Any]:
    """The declared types of a dataclass, ``Annotated`` kept."""
    return get_type_hints(declared, include_extras=True)


@_once
def _declared(declared: type[Any]) -> dict[str, tuple[Check, str]]:
    """Of each attribute: does a value hold, and what is allowed in words."""
    return {
        name: (checker(hints(declared)[name]), spelled(hints(declared)[name])) for name in names(declared)
    }


def checker(hint: Any) -> Check:
    """Does a value have a declared type?"""
    origin, of = get_origin(hint), get_args(hint)
    if origin is Annotated:
        ranges = [extra for extra in of[1:] if isinstance(extra, Range)]
        plain = checker(of[0])
        return lambda v: plain(v) and (v is None or all(r.holds(v) for r in ranges))
    if origin in (Union, UnionType):
        return _any_of([checker(h) for h in of])
    if origin is Literal:
        return lambda v: v in of
    if origin is tuple:
        return _tuple_of(of)
    return _PLAIN.get(hint) or _instance_of(origin or hint)


def _any_of(checks: list[Check]) -> Check:
    return lambda v: any(holds(v) for holds in checks)


def _tuple_of(of: tuple[Any, ...]) -> Check:
    each = checker(of[0])
    if of[-1] is Ellipsis:
        return lambda v: isinstance(v, tuple) and all(map(each, v))
    return lambda v: isinstance(v, tuple) and len(v) == len(of) and all(map(each, v))


def _instance_of(kind: Any) -> Check:
    return callable if kind is Callable else lambda v: isinstance(v, kind)


_PLAIN: dict[Any, Check] = {
    int: lambda v: isinstance(v, int) and not isinstance(v, bool),
    float: lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    Any: lambda v: True,
}


def spelled(hint: Any) -> str:
    """A declared type in words."""
    origin, of = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return ", ".join([spelled(of[0]), *(str(extra) for extra in of[1:])])
    if origin in (Union, UnionType):
        return " or ".join(spelled(h) for h in of if h is not NoneType) + (
            " or none" if NoneType in of else ""
        )
    if origin is Literal:
        return " or ".join(f"`{v}`" for v in of)
    if origin is tuple:
        return f"tuple of {spelled(of[0])}" if of[-1] is Ellipsis else f"{len(of)} × {spelled(of[0])}"
    return {Callable: "function"}.get(origin or hint, getattr(hint, "__name__", str(hint)))


_ENTRY = re.compile(r"^    (\w+): (.*(?:\n      +.*)*)", re.MULTILINE)


def meanings(declared: type) -> dict[str, str]:
    """What each attribute means, from the ``Attributes:`` part of the docstrings of the class and its bases."""
    found: dict[str, str] = {}
    for base in reversed(declared.__mro__):
        _, _, listed = (
            (getdoc(base) or "").partition("Attributes:\n") if "__doc__" in vars(base) else ("", "", "")
        )
        found |= {name: " ".join(text.split()) for name, text in _ENTRY.findall(listed)}
    return found


# --- types that attributes hold ------------------------------------------------------------------------------

PORTABLE: dict[str, type] = {}
"""Dataclasses that may stand inside attributes, by name: number formats, epilogues, weight views, updates."""

T = TypeVar("T", bound=type)


def portable(declared: T) -> T:
    """Enters a frozen dataclass in :data:`PORTABLE`, so that a step which holds it can be written as JSON."""
    if PORTABLE.setdefault(declared.__name__, declared).__qualname__ != declared.__qualname__:
        raise ValueError(f"two portable classes are called {declared.__name__}; rename one of them")
    PORTABLE[declared.__name__] = declared
    return declared
