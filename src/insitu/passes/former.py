"""Names that fields of precision policies had in version 0.1. They are read for one release, then this file goes.

A text on the command line that uses one is answered with a note; stored files are read without one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from insitu.errors import ConfigError, InsituWarning

FIELDS = {"carry": "group_size", "remainder": "residual_bits", "band": "threshold", "gather": "defer"}
UPDATES = {"carry": "error-feedback", "rotating": "round-robin"}


def present(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a policy by their present names.

    Raises:
        ConfigError: a field is there by both of its names.
    """
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = FIELDS.get(key, key)
        if name in found:
            raise ConfigError(f"precision: {key!r} and {name!r} are one field; keep {name!r}")
        if key == "layers" and isinstance(value, Mapping):
            value = {k: present(v) if isinstance(v, Mapping) else v for k, v in value.items()}
        if key == "update" and isinstance(value, str):
            value = UPDATES.get(value, value)
        found[name] = value
    return found


def tell(given: Mapping[str, Any], text: str) -> None:
    """Notes the names of before that the fields of a text use."""
    if found := dict.fromkeys(_renamed(given)):
        warnings.warn(
            f"precision {text!r}: {', '.join(found)}; the old names are read for one release",
            InsituWarning,
            stacklevel=3,
        )


def _renamed(given: Mapping[str, Any]) -> Iterator[str]:
    for key, value in given.items():
        if key in FIELDS:
            yield f"{key} is now {FIELDS[key]}"
        if key == "update" and value in UPDATES:
            yield f"update={value} is now update={UPDATES[value]}"
        if key == "layers":
            for fields in value.values():
                yield from _renamed(fields)
