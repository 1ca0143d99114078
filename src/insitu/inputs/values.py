"""Text to values and back: one reading of ``key=value`` wherever options are written.

The declared type of an option says how its text is read: booleans are ``true`` or ``false``, ``yes`` or ``no``, ``on``
or ``off``, ``1`` or ``0`` in any case; numbers are finite, ``1e-1`` is one; ``none`` or ``null`` where an option can be
absent; else the text itself, in double quotes if it holds a comma, an equals sign or a bracket. What :func:`show`
prints, :func:`read` reads back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from types import NoneType
from typing import Any, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError

from insitu.errors import ConfigError
from insitu.inputs.documents import Source, parse_yaml

_NONE = ("none", "null")
_SPECIAL = re.compile(r"[,=\"\[\]{}()\\\x00-\x1f]|^\s|\s$|^$")
_PART = re.compile(r'(?:"(?:[^"\\]|\\.)*"|\[[^\[\]]*\]|[^,"\[\]]|["\[\]])+')


def show(value: Any) -> str:
    """A value as its text."""
    if isinstance(value, str) and _SPECIAL.search(value):
        return json.dumps(value)
    return str(value)


def show_pairs(options: Mapping[str, Any]) -> str:
    """Options as ``key=value,key=value``."""
    return ",".join(f"{key}={show(value)}" for key, value in options.items())


def pairs(text: str, what: str) -> dict[str, str]:
    """The texts of ``key=value,key=value``.

    Args:
        what: what messages begin with: ``precision 'w8a8:hidden'``.

    Raises:
        ConfigError: a part that is no ``key=value``, or a key that is given twice.
    """
    found: dict[str, str] = {}
    parts = _PART.findall(text)
    for part in parts if parts and ",".join(parts) == text else [""]:
        key, equals, value = part.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"{what}: {part!r} is no field=value; write field=value,field=value")
        if key in found:
            raise ConfigError(f"{what}: {key} is given twice; remove one")
        found[key] = value.strip()
    return found


def read(text: str, wanted: Any, what: str) -> Any:
    """The value of a text.

    Args:
        wanted: the declared type; ``Any``: by the look of the text (see :func:`plain`).
        what: the option, for the message: ``rule 'usf', option scale``.

    Raises:
        ConfigError: if the text is no value of that type.
    """
    if wanted is Any:
        return plain(text, what)
    kinds = get_args(wanted) if NoneType in get_args(wanted) or _is_union(wanted) else (wanted,)
    if NoneType in kinds and text.strip().lower() in _NONE:
        return None
    word = _unquoted(text)
    reasons = []
    for kind in sorted((k for k in kinds if k is not NoneType), key=lambda k: k is str):
        try:
            return _adapter(kind).validate_strings(word)
        except ValidationError as error:
            reasons.append(_reason(error))
    raise ConfigError(f"{what}={text!r} {reasons[0]}; {_remedy(kinds)}")


def fit(value: Any, wanted: Any, what: str) -> Any:
    """A value of the declared type: a text is read, anything else must be of the type (a whole number is a float).

    Raises:
        ConfigError: if it is not.
    """
    if isinstance(value, str):
        return read(value, wanted, what)
    try:
        return _adapter(wanted).validate_python(value, strict=True)
    except ValidationError as error:
        raise ConfigError(f"{what}={value!r} {_reason(error)}; {_remedy((wanted,))}") from None


def fit_all(
    given: Mapping[str, Any], declared: Mapping[str, Any], what: str, noun: str = "option"
) -> dict[str, Any]:
    """Options of the declared types, by name.

    Args:
        what: whose options, for the message: ``rule 'usf'``; ``noun``: what they are called.

    Raises:
        ConfigError: an unknown option, or a value of another type.
    """
    for name in given:
        if name not in declared:
            raise ConfigError(f"{what} has no {noun} {name!r}; {_known(name, declared)}")
    return {name: fit(value, declared[name], f"{what}, {noun} {name}") for name, value in given.items()}


def plain(text: str, what: str) -> Any:
    """The value of a text whose type is not declared: as YAML reads it (``3``, ``1e-1``, ``[1, 2]``, a word)."""
    return parse_yaml(text, Source(f"{what}={text[:80]!r}", "write a number, a word or true"))


_REMEDIES = {
    bool: "write true or false",
    int: "write a whole number, such as 4",
    float: "write a number, such as 0.05",
}


def _remedy(kinds: Iterable[Any]) -> str:
    """What to write where a value of one of some types is asked for."""
    return next((_REMEDIES[kind] for kind in kinds if kind in _REMEDIES), "correct this value")


def _known(name: str, declared: Iterable[str]) -> str:
    known = list(declared)
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}it has {', '.join(known) or 'none'}"


@lru_cache
def _adapter(wanted: Any) -> TypeAdapter[Any]:
    return TypeAdapter(wanted, config=ConfigDict(allow_inf_nan=False))


def _is_union(wanted: Any) -> bool:
    return type(wanted).__name__ in ("UnionType", "_UnionGenericAlias", "Union")


def _unquoted(text: str) -> str:
    word = text.strip()
    if len(word) > 1 and word[0] == word[-1] == '"':
        try:
            return str(json.loads(word))
        except json.JSONDecodeError:
            return word
    return word


_REASONS = {
    "int": "is no whole number",
    "bool": "is neither true nor false",
    "float": "is no number",
    "finite": "is not finite",
    "string": "is no text",
}


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    reason = first["msg"]
    return _REASONS.get(first["type"].partition("_")[0], reason[0].lower() + reason[1:])
