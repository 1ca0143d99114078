"""Whatever a name is, it stays a name: it ends no comment, string, cell or row of the language it is written into."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.escape import c_comment, c_string, csv_cell, file_name, markdown

NASTY = st.text(st.sampled_from('*/\\?"\n\r=+-@|`<&a é\ud800\u202e\u2028%'), max_size=12) | st.text(
    max_size=12
)


@given(NASTY)
def test_a_comment_of_c_is_one_comment_on_one_line(text: str) -> None:
    comment = f"/* {c_comment(text)} */"
    assert comment.isascii() and comment.isprintable() and "\\" not in comment and "??" not in comment
    assert comment.find("*/") == len(comment) - 2 and comment.rfind("/*") == 0


def test_plain_names_stay_as_they_are() -> None:
    assert c_comment("blocks.0.conv1 forward, rules/direct.py") == "blocks.0.conv1 forward, rules/direct.py"
    assert c_string("seven of 9") == '"seven of 9"'


@given(NASTY)
def test_a_string_of_c_is_one_literal_with_the_same_bytes(text: str) -> None:
    literal = c_string(text)
    assert re.fullmatch(r'"(?:[ !#->@-\[\]-~]|\\[0-7]{3})*"', literal)
    read = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), literal[1:-1]).encode("latin-1")
    assert read == text.encode("utf-8", "backslashreplace")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_a_compiler_reads_nasty_names_without_a_warning(tmp_path: Path) -> None:
    names = [
        "a*/ #error INJECTED /*",
        "a/*b",
        "/",
        "*",
        "??/",
        "x\\",
        "end\\\n",
        "a//b",
        '"??/"',
        "é\ud800",
        "\u202e",
    ]
    source = tmp_path / "names.c"
    for name in names:
        lines = (
            f"/* {c_comment(name)} */",
            f"static const char name[] = {c_string(name)};",
            "int main(void) { return name[0]; }",
        )
        source.write_text("\n".join(lines) + "\n", encoding="ascii")
        flags = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
        done = subprocess.run(["gcc", *flags, str(source)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@given(NASTY | st.floats(allow_nan=False) | st.integers())
def test_a_cell_is_no_formula_and_a_number_stays_one(value: object) -> None:
    cell = csv_cell(value)
    if not isinstance(value, str):
        assert cell is value
        return
    assert isinstance(cell, str) and cell.removeprefix("'") == value.removeprefix("'")
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    text = io.StringIO(newline="")
    csv.writer(text).writerow([cell, "next"])
    assert list(csv.reader(io.StringIO(text.getvalue(), newline=""))) == [[cell, "next"]]


@given(NASTY)
def test_a_name_in_a_markdown_table_stays_in_its_cell(text: str) -> None:
    cell = markdown(text)
    assert len(cell.splitlines()) <= 1 and "<" not in cell
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`*_\[\]]", cell)


@given(NASTY)
def test_a_name_of_a_file_is_one_part_of_a_path(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.~-]*", file_name(text))


@given(NASTY, NASTY)
def test_different_names_are_different_files(one: str, other: str) -> None:
    long = "x" * 100
    assert (file_name(one) == file_name(other)) == (one == other)
    assert file_name(long + one) != file_name(long + one + "y") and len(file_name(long + one)) < 100
