"""Number formats: text form, range, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.errors import ConfigError
from insitu.numbers.formats import F32, F64, AnyFormat, Fixed, Float, parse, unsigned


@st.composite
def formats(draw: st.DrawFn) -> AnyFormat:
    """Any format of 1 to 32 bits, or a float."""
    if draw(st.booleans()):
        return draw(st.sampled_from([F32, F64]))
    signed = draw(st.booleans())
    bits = draw(st.integers(1 + signed, 32)) - signed
    fraction = draw(st.integers(0, bits))
    return Fixed(signed, bits - fraction, fraction)


@given(formats())
def test_text_form_reads_back(fmt: AnyFormat) -> None:
    assert parse(str(fmt)) == fmt


@given(formats())
def test_different_formats_have_different_texts(fmt: AnyFormat) -> None:
    if isinstance(fmt, Fixed):
        assert parse(str(fmt)) != Fixed(not fmt.signed, fmt.integer, fmt.fraction)
        assert str(fmt) != str(Fixed(fmt.signed, fmt.integer + 1, fmt.fraction))


@given(formats())
def test_range_has_as_many_values_as_words(fmt: AnyFormat) -> None:
    if isinstance(fmt, Fixed):
        words = (fmt.max - fmt.min) * 2.0**fmt.fraction + 1
        assert words == 2.0**fmt.bits


@pytest.mark.parametrize(
    ("text", "fmt", "bits", "least", "greatest"),
    [
        ("s0.7", Fixed(True, 0, 7), 8, -1.0, 127 / 128),
        ("s8.5", Fixed(True, 8, 5), 14, -256.0, 256 - 1 / 32),
        ("u8.0", Fixed(False, 8, 0), 8, 0.0, 255.0),
        ("u0.1", Fixed(False, 0, 1), 1, 0.0, 0.5),
        ("s0.0", Fixed(True, 0, 0), 1, -1.0, 0.0),
    ],
)
def test_fixed_point(text: str, fmt: Fixed, bits: int, least: float, greatest: float) -> None:
    assert parse(text) == fmt
    assert (fmt.bits, fmt.min, fmt.max) == (bits, least, greatest)


@pytest.mark.parametrize(("text", "fmt"), [("f32", Float(32)), ("f64", Float(64))])
def test_floats(text: str, fmt: Float) -> None:
    assert parse(text) == fmt
    assert str(fmt) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "f16",
        "F32",
        "s8",
        "8.0",
        "s-1.4",
        "u0.0",
        "s16.16",
        "u16.17",
        "s8.5 ",
        " s8.5",
        "s8.5\n",
        "q8.5",
        "s8,5",
    ],
)
def test_refusals(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert repr(text) in str(refused.value)
    assert "use f32, f64, sI.F or uI.F with 1 to 32 bits" in str(refused.value)


@pytest.mark.parametrize(
    ("count", "bits"), [(1, 8), (256, 8), (257, 16), (65536, 16), (65537, 32), (2**32, 32)]
)
def test_smallest_unsigned(count: int, bits: int) -> None:
    assert unsigned(count) == Fixed(False, bits, 0)


def test_too_many_values() -> None:
    with pytest.raises(
        ConfigError, match="4294967297 different values do not fit 32 bits; use a smaller tensor"
    ):
        unsigned(2**32 + 1)
