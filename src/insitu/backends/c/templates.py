"""The files of the runtime that a program's own text is filled into."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

RUNTIME = Path(__file__).parent / "runtime"
PREFIX = "insitu"
"""Of the symbols of a project."""


def template(name: str, values: Mapping[str, str]) -> str:
    """A file of the runtime with each ``@name@`` replaced."""
    text = (RUNTIME / name).read_text(encoding="utf-8")
    return re.sub(r"@(\w+)@", lambda m: values[m[1]], text)
