"""Long tables in parts: CI takes some of their rows, ``INSITU_TESTS=all pytest`` all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import product
from typing import Any, TypeVar

T = TypeVar("T")
ALL = os.environ.get("INSITU_TESTS") == "all"


def part(rows: Sequence[T], of: int) -> list[T]:
    """One in ``of`` rows."""
    return list(rows[:: 1 if ALL else of])


def crossed(first: Sequence[Any], second: Sequence[Any], of: int) -> list[tuple[Any, Any]]:
    """Pairs of two lists: every entry of the one with one in ``of`` entries of the other."""
    pairs = product(enumerate(first), enumerate(second))
    return [(a, b) for (i, a), (j, b) in pairs if ALL or (i + j) % of == 0]
