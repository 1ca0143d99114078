"""Text to values and back."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.errors import ConfigError
from insitu.inputs.values import fit, pairs, plain, read, show, show_pairs


@pytest.mark.parametrize(
    ("text", "wanted", "value"),
    [
        *[(word, bool, True) for word in ("true", "True", "YES", "on", "1")],
        *[(word, bool, False) for word in ("false", "FALSE", "no", "Off", "0")],
        ("1e-1", float, 0.1),
        ("3", float, 3.0),
        ("3", int, 3),
        ("none", int | None, None),
        ("None", Literal["none", "all"] | None, None),
        ("none", Literal["none", "all"], "none"),
        ("xavier", str | float, "xavier"),
        ("0.5", str | float, 0.5),
        ("no", str, "no"),
        ('"a,b"', str, "a,b"),
        ("1e-1", Any, 0.1),
    ],
)
def test_a_text_is_read_as_its_type(text: str, wanted: Any, value: Any) -> None:
    found = read(text, wanted, "x")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("value", "wanted", "reason"),
    [
        ("maybe", bool, "is neither true nor false"),
        ("yes", int, "is no whole number"),
        ("9" * 10_000, int, "x="),
        ("inf", float, "is not finite"),
        ("nan", float, "is not finite"),
        ("1e400", float, "is not finite"),
        (float("inf"), float, "is not finite"),
        (True, int, "is no whole number"),
        (True, float, "is no number"),
        (0, bool, "is neither true nor false"),
        (2.0, int, "is no whole number"),
        (3, str, "is no text"),
        ("some", Literal["one", "all"], "input should be 'one' or 'all'"),
        ("none", int, "is no whole number"),
    ],
)
def test_a_value_of_another_type_is_refused(value: Any, wanted: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        fit(value, wanted, "x")


TYPES = {
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    int | None: st.none() | st.integers(-9, 9),
}


@given(st.data(), st.sampled_from(list(TYPES)))
def test_what_is_printed_is_read_back(data: st.DataObject, wanted: Any) -> None:
    value = data.draw(TYPES[wanted])
    text = show_pairs({"a": value, "b": 1})
    found = pairs(text, "x")
    assert read(found["a"], wanted, "x") == value
    assert found["b"] == "1"


@pytest.mark.parametrize("text", ["a", "a=1,", "a=1,,b=2", "=1", ",", "", "a=1,a=2"])
def test_texts_that_are_no_pairs(text: str) -> None:
    with pytest.raises(ConfigError, match=r"no field=value|given twice"):
        pairs(text, "x")


@pytest.mark.parametrize("value", [True, False, 3, 0.1, 1e-07, "word", None, [1, 2]])
def test_values_by_their_look(value: Any) -> None:
    text = "null" if value is None else show(value)
    assert plain(text, "x") == value
