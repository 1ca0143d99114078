"""The former place of :mod:`insitu.passes.precision`, for programs written before it moved; use that one."""

from __future__ import annotations

from importlib import import_module
from typing import Any
from warnings import warn

PLACE = "insitu.passes.precision"


def __getattr__(name: str) -> Any:
    """What lies in the new place; asked for late, since this layer is below."""
    found = getattr(import_module(PLACE), name)
    if not name.startswith("__"):
        warn(f"insitu.numbers.precision has moved: import {name} from {PLACE}", DeprecationWarning, 2)
    return found
