"""Names that users chose, written into other languages: one function per language, used wherever text is generated.

The names of layers, functions, files and classes are any text. None of it may end the comment, string, cell or row
that it is written into. HTML is escaped by Jinja and markupsafe; a Makefile holds no names.
"""

from __future__ import annotations

import re
from zlib import crc32

_FORMULA = tuple("=+-@\t\r")
"""Beginnings of cells that spreadsheets take for formulas (OWASP, CSV injection)."""


def c_comment(text: str) -> str:
    """Text inside a block comment of C: printable ASCII that neither ends nor begins a comment, continues no line and
    holds no trigraph; any other character as ``<U+00E9>``."""
    plain = "".join(c if " " <= c <= "~" and c != "\\" else f"<U+{ord(c):04X}>" for c in text)
    return re.sub(r"([*/?])(?=[*/?])", r"\1 ", plain)


def c_string(text: str) -> str:
    """A string literal of C, its quotes included: UTF-8, with octal escapes for all but plain ASCII."""
    data = text.encode("utf-8", "backslashreplace")
    plain = "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in data)
    return f'"{plain}"'


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers. Commas and quotes are the writer's."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value


def markdown(text: str) -> str:
    """Text that Markdown shows as it is, in a table too: one line, no markup, no end of a cell."""
    plain = " ".join(text.replace("&", "&amp;").replace("<", "&lt;").splitlines())
    return "".join(f"\\{c}" if c in "\\|`*_[]" else c for c in plain)


def file_name(text: str) -> str:
    """A part of a file's name on every system: letters, digits, ``_``, ``.`` and ``-``, any other character as
    ``~E9~``; what is long is cut, and told apart by a checksum."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", lambda found: f"~{ord(found[0]):X}~", text)
    return plain if len(plain) <= _LONG else f"{plain[:_LONG]}~{crc32(plain.encode()):08X}"


_LONG = 80
"""Characters of a file's name that come from a user."""
