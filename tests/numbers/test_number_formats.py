"""Number formats: text form, range, words and values, refusals."""

from __future__ import annotations

import struct
from fractions import Fraction
from itertools import pairwise
from math import inf, nan, nextafter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.errors import ConfigError
from insitu.numbers.formats import (
    B1,
    F16,
    F32,
    F64,
    T2,
    AnyFormat,
    Binary,
    Fixed,
    Float,
    PowerOfTwo,
    Ternary,
    parse,
    unsigned,
)
from insitu.step.ir import Format
from tests.numbers import plain

WORD = 0xFFFFFFFF
FLOATS = [F16, F32, F64]
SMALL = [
    *(f"s{i}.{b - 1 - i}" for b in range(1, 7) for i in range(-3, b + 3)),
    *(f"u{i}.{b - i}" for b in range(1, 6) for i in range(-3, b + 3)),
    *("s0.7", "u8.0", "s-5.12", "s10.-3", "u-118.126", "s37.-30"),
    *("b1", "t2", "po2", "po3", "po4", "po5", "po8"),
]
"""Formats of at most 8 bits: every one of few bits, and some of 8."""


@st.composite
def fixed_formats(draw: st.DrawFn) -> Fixed:
    signed = draw(st.booleans())
    bits = draw(st.integers(1, 32))
    fraction = draw(st.one_of(st.integers(-30, 126), st.integers(0, bits - signed)))
    return Fixed(signed, bits - signed - fraction, fraction)


def formats() -> st.SearchStrategy[AnyFormat]:
    others = st.sampled_from([B1, T2, *map(PowerOfTwo, range(2, 9)), *FLOATS])
    return st.one_of(fixed_formats(), others)


# --- text forms and properties ------------------------------------------------------------------------------


@given(formats())
def test_text_form_reads_back(fmt: AnyFormat) -> None:
    assert parse(str(fmt)) == fmt


@given(formats(), formats())
def test_different_formats_have_different_texts(a: AnyFormat, b: AnyFormat) -> None:
    assert (str(a) == str(b)) == (a == b)


@given(fixed_formats())
def test_range_has_as_many_values_as_words(fmt: Fixed) -> None:
    words = (fmt.max - fmt.min) * 2.0**fmt.fraction + 1
    assert words == fmt.high - fmt.low + 1 == 2.0**fmt.bits


@pytest.mark.parametrize(
    ("text", "fmt", "bits", "least", "greatest"),
    [
        ("s0.7", Fixed(True, 0, 7), 8, -1.0, 127 / 128),
        ("s8.5", Fixed(True, 8, 5), 14, -256.0, 256 - 1 / 32),
        ("u8.0", Fixed(False, 8, 0), 8, 0.0, 255.0),
        ("u0.1", Fixed(False, 0, 1), 1, 0.0, 0.5),
        ("s0.0", Fixed(True, 0, 0), 1, -1.0, 0.0),
        ("s-5.12", Fixed(True, -5, 12), 8, -128 / 4096, 127 / 4096),
        ("s-2.9", Fixed(True, -2, 9), 8, -0.25, 127 / 512),
        ("s10.-3", Fixed(True, 10, -3), 8, -1024.0, 1016.0),
        ("u32.0", Fixed(False, 32, 0), 32, 0.0, 2.0**32 - 1),
        ("s-95.126", Fixed(True, -95, 126), 32, -(2.0**-95), 2.0**-95 - 2.0**-126),
        ("u62.-30", Fixed(False, 62, -30), 32, 0.0, 2.0**62 - 2.0**30),
        ("b1", Binary(), 1, -1.0, 1.0),
        ("t2", Ternary(), 2, -1.0, 1.0),
        ("po2", PowerOfTwo(2), 2, -1.0, 1.0),
        ("po8", PowerOfTwo(8), 8, -1.0, 1.0),
        ("f16", Float(16), 16, -65504.0, 65504.0),
        ("f32", Float(32), 32, -(2.0**128 - 2.0**104), 2.0**128 - 2.0**104),
        ("f64", Float(64), 64, -1.7976931348623157e308, 1.7976931348623157e308),
    ],
)
def test_known_formats(text: str, fmt: AnyFormat, bits: int, least: float, greatest: float) -> None:
    assert parse(text) == fmt
    assert str(fmt) == text
    assert (fmt.bits, fmt.min, fmt.max) == (bits, least, greatest)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("b1", (-1, 1)),
        ("t2", (-1, 0, 1)),
        ("po2", (-1, 0, 1)),
        ("po3", (-1, -0.5, -0.25, 0, 0.25, 0.5, 1)),
        ("u0.2", (0, 0.25, 0.5, 0.75)),
        ("s1.0", (-2, -1, 0, 1)),
        ("s2.-1", (-4, -2, 0, 2)),
        ("s8.0", None),
        ("u16.0", None),
        ("f16", None),
        ("f64", None),
    ],
)
def test_allowed(text: str, values: tuple[float, ...] | None) -> None:
    assert parse(text).allowed == values


@pytest.mark.parametrize("text", SMALL)
def test_allowed_min_max_and_step_equal_the_oracle(text: str) -> None:
    fmt = parse(text)
    expected = [v for _, v in plain.row(text)]
    allowed = fmt.allowed
    assert allowed is not None and fmt.bits <= 8
    assert [Fraction(v) for v in allowed] == expected
    assert (fmt.min, fmt.max) == (allowed[0], allowed[-1])
    steps = {b - a for a, b in pairwise(expected)}
    assert {fmt.step} == (steps if len(steps) == 1 else {None})


def test_every_8_bit_format_lists_its_values_and_no_larger_one_does() -> None:
    assert len(parse("s3.4").allowed or ()) == len(parse("u8.0").allowed or ()) == 256
    assert parse("u9.0").allowed is parse("s8.0").allowed is None


@pytest.mark.parametrize("fmt", FLOATS)
def test_floats_have_no_grid(fmt: Float) -> None:
    assert fmt.step is None


@pytest.mark.parametrize("text", ["s0.7", "b1", "t2", "po4", "f16"])
def test_is_a_format_of_the_step_program(text: str) -> None:
    fmt: Format = parse(text)
    assert fmt.bits == parse(text).bits
    assert hash(fmt) == hash(parse(text))


@given(fixed_formats())
def test_float32_holds_every_step(fmt: Fixed) -> None:
    for value in (fmt.step, fmt.min):
        assert float(np.float32(value)) == value
        assert value == 0 or abs(value) >= 2.0**-126


# --- words and values ---------------------------------------------------------------------------------------


@given(formats(), st.data())
def test_words_and_values_are_inverse(fmt: AnyFormat, data: st.DataObject) -> None:
    words = np.array(data.draw(st.lists(st.integers(fmt.low, fmt.high), max_size=9)), dtype=np.int64)
    if isinstance(fmt, Float):
        words = words[np.isfinite(fmt.values(words))]
    values = fmt.values(words)
    assert values.dtype == np.float64
    np.testing.assert_array_equal(fmt.words(values), words)


@given(fixed_formats(), st.data())
def test_values_of_fixed_point_are_exact(fmt: Fixed, data: st.DataObject) -> None:
    word = data.draw(st.integers(fmt.low, fmt.high))
    assert Fraction(float(fmt.values(word))) == word * plain.power(-fmt.fraction)


@pytest.mark.parametrize("text", SMALL)
def test_all_values_equal_the_oracle(text: str) -> None:
    words, values = zip(*plain.row(text), strict=True)
    fmt = parse(text)
    assert (fmt.low, fmt.high) == (words[0], words[-1])
    assert [Fraction(v) for v in fmt.values(list(words)).tolist()] == list(values)


def probes(fmt: AnyFormat) -> list[float]:
    """Values, ties and thirds between them, the floats just beside, and far outside."""
    values = fmt.allowed or ()
    ties = [(a + b) / 2 for a, b in pairwise(values)]
    thirds = [a + (b - a) / 3 for a, b in pairwise(values)]
    near = [nextafter(x, side) for x in (*values, *ties) for side in (-inf, inf)]
    return [*values, *ties, *thirds, *near, 0.0, -0.0, 5e-324, -5e-324, 1e-40, -1e-40, 1e300, -1e300]


@pytest.mark.parametrize("rounding", ["half-up", "floor", "stochastic"])
@pytest.mark.parametrize("text", SMALL)
def test_words_of_reals_equal_the_oracle(text: str, rounding: str) -> None:
    fmt = parse(text)
    assert not isinstance(fmt, Float)
    values = plain.row(text)
    reals = probes(fmt)
    random = np.random.default_rng(0).choice([0, 1, 2**31 - 1, 2**31, 2**32 // 3, WORD], len(reals))
    got = fmt.words(reals, rounding, random).tolist()
    expected = [plain.word(x, values, rounding, int(w)) for x, w in zip(reals, random, strict=True)]
    assert got == expected


@given(
    st.sampled_from(SMALL),
    st.sampled_from(["half-up", "floor", "stochastic"]),
    st.floats(-1.5, 1.5),
    st.integers(0, WORD),
)
def test_words_of_any_real_equal_the_oracle(text: str, rounding: str, share: float, w: int) -> None:
    fmt = parse(text)
    assert not isinstance(fmt, Float)
    real = share * (fmt.max or -fmt.min)
    assert int(fmt.words([real], rounding, [w])[0]) == plain.word(real, plain.row(text), rounding, w)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False), st.sampled_from(SMALL))
def test_words_keep_the_order_of_reals_and_saturate(a: float, b: float, text: str) -> None:
    fmt = parse(text)
    assert not isinstance(fmt, Float)
    low, high = fmt.words([min(a, b), max(a, b)])
    assert fmt.low <= low <= high <= fmt.high
    assert fmt.words([-inf, inf]).tolist() == [fmt.low, fmt.high]


def test_binary_is_the_sign() -> None:
    reals = np.array([-3.0, -1e-300, -0.0, 0.0, 1e-300, 0.4, 7.0])
    assert B1.words(reals).tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert B1.words(reals, "floor").tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_power_of_two_takes_the_nearer_value_not_the_nearer_exponent() -> None:
    assert PowerOfTwo(4).values(PowerOfTwo(4).words([0.74, 0.75, -0.75, -0.76])).tolist() == [
        0.5,
        1,
        -0.5,
        -1,
    ]


def test_every_pattern_of_f16_equals_struct() -> None:
    values = F16.values(np.arange(1 << 16))
    expected = [struct.unpack("<e", struct.pack("<H", w))[0] for w in range(1 << 16)]
    np.testing.assert_array_equal(values, expected)


@given(st.floats(width=64), st.sampled_from([(F32, "<f", "<I"), (F64, "<d", "<q")]))
def test_float_words_equal_struct(x: float, how: tuple[Float, str, str]) -> None:
    fmt, real, pattern = how
    if np.isnan(x):
        assert np.isnan(fmt.values(fmt.words(x)))
        return
    try:
        expected = struct.unpack(pattern, struct.pack(real, x))[0]
    except OverflowError:
        expected = 0x7F800000 if x > 0 else 0xFF800000
    assert int(fmt.words(x)) == expected


def test_floats_round_to_even() -> None:
    ulp = 2.0**-10
    assert F16.values(F16.words([1 + ulp / 2, 1 + 1.5 * ulp, 65519.9, 65520.0])).tolist() == [
        1.0,
        1 + 2 * ulp,
        65504.0,
        inf,
    ]


@pytest.mark.parametrize("text", ["s0.7", "u8.0", "b1", "t2", "po4", "f16", "f32", "f64"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3), (2, 0, 4)])
def test_shapes_are_kept(text: str, shape: tuple[int, ...]) -> None:
    fmt = parse(text)
    words = fmt.words(np.ones(shape, np.float32))
    assert words.shape == fmt.values(words).shape == shape
    assert words.dtype == np.int64


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("", "F32", "s8", "8.0", "s8.5 ", " s8.5", "s8.5\n", "q8.5", "s8,5", "s٣.٤"),
        *("s08.5", "s-0.8", "s8.-0", "s+1.4", "s--1.4", "s1.4.2", "s1000.-990"),
        *("b", "b2", "b01", "t1", "t3", "po", "po04", "po-4", "po4.0", "f", "f032", "float32"),
    ],
)
def test_texts_that_are_no_format(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert f"number format {text!r} does not parse; use sI.F or uI.F of 1 to 32 bits" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("u0.0", "has 0 bits"),
        ("s-1.0", "has 0 bits"),
        ("u-9.4", "has -5 bits"),
        ("s16.16", "has 33 bits"),
        ("u16.17", "has 33 bits"),
        ("s38.-31", "has steps of 2**31"),
        ("u-119.127", "has steps of 2**-127"),
        ("po1", "asks for powers of two in 1 bits"),
        ("po9", "asks for powers of two in 9 bits"),
        ("f8", "asks for a float of 8 bits"),
        ("f128", "asks for a float of 128 bits"),
    ],
)
def test_formats_out_of_range(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert str(refused.value).startswith(f"number format {text!r} {reason}; use sI.F")


def test_value_objects_cannot_be_out_of_range_either() -> None:
    for make in (lambda: Fixed(True, 16, 16), lambda: PowerOfTwo(1), lambda: Float(31)):
        with pytest.raises(ConfigError):
            make()


@pytest.mark.parametrize("text", ["s0.7", "u8.0", "b1", "t2", "po4"])
def test_nan_has_no_word(text: str) -> None:
    fmt = parse(text)
    with pytest.raises(ConfigError, match=f"NaN has no word in {text}; remove its cause, or keep"):
        fmt.words([0.0, nan])


@pytest.mark.parametrize(
    ("text", "word", "words"),
    [
        ("s0.7", 128, "-128 to 127"),
        ("s0.7", -129, "-128 to 127"),
        ("u4.0", -1, "0 to 15"),
        ("b1", -1, "0 to 1"),
        ("t2", -2, "-1 to 1"),
        ("po4", -8, "-7 to 7"),
        ("f16", 65536, "0 to 65535"),
    ],
)
def test_integers_that_are_no_word(text: str, word: int, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text).values([0, word])
    assert (
        str(refused.value) == f"the integer {word} is no word of {text} ({words}); saturate or wrap it first"
    )


def test_reals_are_no_words() -> None:
    with pytest.raises(
        ConfigError, match=r"an array of float64 holds no integers; convert it with a format's"
    ):
        T2.values([0.0, 1.0])


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
