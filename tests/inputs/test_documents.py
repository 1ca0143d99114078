"""YAML and JSON from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.errors import CheckpointError, ConfigError
from insitu.inputs.documents import MAX_YAML, Source, dump_yaml, parse_json, parse_yaml, read_text

BOMB = "\n".join(
    ["a: &a [x,x]", *(f"{c}: &{c} [{','.join(['*' + p] * 10)}]" for p, c in zip("abcdefgh", "bcdefghi"))]
)
DOC = Source("doc")
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, r"line 1: has an anchor or an alias"),
        ("b: 1\na: *b", r"line 2: has an anchor or an alias"),
        ("[" * 70 + "]" * 70, "nested deeper than 64 levels"),
        (DEEP, "line 1: is no YAML: exceeded maximum nesting depth"),
        ("a: 1\nb: 2\na: 3", "line 3: key 'a' is written twice"),
        ("a: 1\nb:\n  c: 1\n  c: 2", "line 4: key 'c' is written twice"),
        ("? [1]\n: 2", "line 1: a key is a list or a mapping"),
        ("a: " + "9" * 10_000, "a whole number has 10,000 digits"),
        ('a: "\\ud800"', "line 1: is no YAML"),
        ('a: 1\nb: "\\0"', "line 2: .* holds a character that no text in UTF-8 can hold"),
        ("!!python/object/apply:os.system [x]", "python/object/apply:os.system' does not fit"),
        ("a: !!binary aGk=", "binary' does not fit"),
        ("a: !!int x", "int' does not fit"),
        ("a: !!bool 1", "bool' does not fit"),
        ("a: !!str [1]", "str' does not fit"),
        ("a\n---\nb", "line 2: holds a second document"),
        ("a: 1\nb: {c: d", "line 2: is no YAML|line 3: is no YAML"),
        ("\x07", "is no YAML"),
        ("a" * (MAX_YAML + 1), "has more than 1,048,576 characters"),
    ],
    ids=str,
)
def test_yaml_that_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"^doc.*{reason}"):
        parse_yaml(text, DOC)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (DEEP, "nested deeper than 64 levels"),
        ("[" * 70 + "]" * 70, "nested deeper than 64 levels"),
        ('{"a": 1, "a": 2}', "key 'a' is written twice"),
        ('\n{"a": ' + "9" * 5_000 + "}", "line 2: a whole number has 5,000 digits"),
        ('"\\ud800"', "holds a character"),
        ('{"\\u0000": 1}', "holds a character"),
        ("{\n\n", "line 3: is no JSON"),
        ("", "line 1: is no JSON"),
    ],
    ids=str,
)
def test_json_that_is_refused(text: str, reason: str) -> None:
    with pytest.raises(CheckpointError, match=f"^doc.*{reason}"):
        parse_json(text, Source("doc", refusal=CheckpointError))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("yes", True),
        ("~", None),
        ("", None),
        ("010", "010"),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("0x10", 16),
        ("'1'", "1"),
        ("<<: 1", {"<<": 1}),
        ("[.5, +1, -.inf]", [0.5, 1, float("-inf")]),
    ],
)
def test_scalars_without_the_traps_of_yaml(text: str, value: Any) -> None:
    assert parse_yaml(text, DOC) == value


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | TEXTS
DATA = st.recursive(SCALARS, lambda part: st.lists(part) | st.dictionaries(TEXTS, part), max_leaves=12)


@given(DATA)
def test_what_is_dumped_is_read_back(data: Any) -> None:
    assert parse_yaml(dump_yaml(data), DOC) == data


def test_a_value_that_occurs_twice_is_written_twice() -> None:
    shared = {"scale": "mean"}
    text = dump_yaml({"a": shared, "b": shared})
    assert "&" not in text
    assert parse_yaml(text, DOC) == {"a": shared, "b": shared}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [(b"a: \xff", "line 1: is no text in UTF-8"), (None, "cannot be read: No such file")],
)
def test_files_that_are_no_text(tmp_path: Path, raw: bytes | None, reason: str) -> None:
    path = tmp_path / "a.yaml"
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(ConfigError, match=f"configuration .*{reason}.*check it"):
        read_text(path, Source(f"configuration {path}", "check it"))


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="has more than 67,108,864 bytes"):
        read_text(Path("/dev/zero"), DOC)


def test_a_byte_order_mark_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_text(tmp_path / "a.yaml", DOC) == "a: 1\n"
