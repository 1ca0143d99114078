"""Declared attributes: what is refused, what is printed, and that every one is documented."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Annotated, Any, Literal

import pytest

import insitu.ops  # noqa: F401  (fills OPS)
from insitu.errors import StepError
from insitu.numbers.formats import F32, Fixed
from insitu.ops.conv import Convolution
from insitu.ops.quant import Requant
from insitu.step.attrs import Attrs, Range, attributes, make, meanings, portable, spelled
from insitu.step.builder import Builder
from insitu.step.ir import OPS, Phase, Role

S8 = Fixed(True, 7, 0)


@attributes
class Sample(Attrs):
    """
    Attributes:
        count: of things, which
            are many.
        pair: two of them.
        mode: how.
    """

    count: Annotated[int, Range(1, 8)]
    pair: tuple[Annotated[int, Range(0)], ...] = ()
    mode: Literal["up", "down"] | None = None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"counts": 1}, "there is no attribute 'counts'; it takes count, pair, mode"),
        ({}, "the attribute 'count' is missing; it takes count, pair, mode"),
        ({"count": 9}, "attribute count=9 is not allowed; use int, 1 to 8"),
        ({"count": True}, "attribute count=True is not allowed; use int, 1 to 8"),
        ({"count": 1.0}, "attribute count=1.0 is not allowed; use int, 1 to 8"),
        (
            {"count": 1, "pair": (1, -1)},
            r"attribute pair=\(1, -1\) is not allowed; use tuple of int, 0 or more",
        ),
        ({"count": 1, "pair": [1]}, r"attribute pair=\[1\] is not allowed"),
        ({"count": 1, "mode": "left"}, "attribute mode='left' is not allowed; use `up` or `down` or none"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(StepError, match=message):
        make(Sample, given)


def test_an_emission_names_op_layer_and_what_it_takes() -> None:
    b = Builder("step", 2, F32)
    x = b.input("x", (2, 3), Role.ACTIVATION)
    with b.at("fc1"), pytest.raises(StepError) as refused:
        b.emit1("scale", x, times=2.0, role=Role.ACTIVATION, phase=Phase.FORWARD)
    assert str(refused.value).startswith("scale(%x [2, 3]) at fc1 ")
    assert str(refused.value).endswith(": there is no attribute 'times'; it takes by")


def test_only_what_differs_from_its_default_is_printed() -> None:
    assert make(Sample, {"count": 2, "pair": ()}).explicit() == {"count": 2}
    how = Requant(format=S8, shift=3, rounding="half-up", stream="s")
    assert list(how.explicit()) == ["format", "shift", "rounding", "stream"]


def test_attributes_of_base_classes_come_first() -> None:
    geometry = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    conv = Convolution(**geometry, format=S8, chunks=1, bias_shift=0)
    assert list(conv.explicit()) == ["format", "chunks", *geometry, "bias_shift"]


def test_meanings_are_read_from_docstrings() -> None:
    assert meanings(Sample) == {"count": "of things, which are many.", "pair": "two of them.", "mode": "how."}


@pytest.mark.parametrize("kind", sorted(OPS))
def test_every_attribute_of_an_op_is_described(kind: str) -> None:
    declared = OPS[kind].attrs
    assert {f.name for f in fields(declared)} <= set(meanings(declared))


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (tuple[int, int], "2 × int"),
        (Fixed | None, "Fixed or none"),
        (Callable[..., Any], "function"),
        (Annotated[float, Range(0.5)], "float, 0.5 or more"),
    ],
)
def test_types_in_words(hint: Any, text: str) -> None:
    assert spelled(hint) == text


def test_two_portable_classes_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two portable classes are called Fixed"):
        portable(type("Fixed", (), {"__qualname__": "Other.Fixed"}))


def test_equality_and_text_are_of_the_class_and_all_values() -> None:
    one = Sample(count=2, pair=(1, 2))
    assert one == replace(one) and hash(one) == hash(replace(one)) and one != replace(one, mode="up")

    @attributes
    class Other(Sample):
        """Another class with the same attributes."""

    assert one != Other(count=2, pair=(1, 2))
    assert repr(one) == "Sample(count=2, pair=(1, 2), mode=None)"
