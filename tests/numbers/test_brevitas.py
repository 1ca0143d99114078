"""Brevitas' quantizers, an oracle that is not ours: with a constant scale they give the values of our formats.

Brevitas rounds to nearest with ties to even; our half-up goes into its quantizers as one more module (``HalfUp``),
and then every value is the same up to 24 bits and a sign, what float32 holds. With its own rounding only the ties
above an even word differ: Brevitas keeps the even word. Its binary quantizer is ``b1``; its ternary one is ``t2`` but
at +0.5, which it makes 0. It has none for ``poN``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from insitu.numbers.formats import B1, T2, Fixed, Quantized, parse

base = pytest.importorskip("brevitas.quant.base")
solver = pytest.importorskip("brevitas.quant.solver")
qnn = pytest.importorskip("brevitas.nn")

FIXED = [
    *(f"s{i}.{b - 1 - i}" for b in (1, 2, 3, 4, 5, 8, 16, 25) for i in (-5, 0, 3)),
    *(f"u{i}.{b - i}" for b in (1, 2, 3, 4, 8, 16, 24) for i in (-5, 0, 3)),
    *("s10.-3", "s37.-30", "s-118.126", "u38.-30", "u-118.126"),
]


class _HalfUp(torch.autograd.Function):
    """floor(x + 1/2) without the sum, which float32 would round; straight-through, as Brevitas' own."""

    @staticmethod
    def forward(_ctx: Any, x: torch.Tensor) -> torch.Tensor:
        low = torch.floor(x)
        return low + (x - low >= 0.5).to(x.dtype)

    @staticmethod
    def backward(_ctx: Any, d: torch.Tensor) -> torch.Tensor:
        return d


class HalfUp(nn.Module):
    def __init__(self) -> None:  # Brevitas' injector wants it spelt out
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _HalfUp.apply(x)


def quantizer(fmt: Quantized, *, weights: bool, **more: Any) -> type:
    """The Brevitas quantizer with the constant scale of a format; it has full range, but for ``t2``.

    Brevitas divides ``scaling_const`` by 2**(bits - sign) to get the step.
    """
    fields: dict[str, Any] = {"scaling_impl_type": "CONST", "bit_width": fmt.bits}
    if isinstance(fmt, Fixed):
        fields |= {"scaling_const": 2.0**fmt.integer, "signed": fmt.signed}
    else:
        fields |= {"scaling_const": 2.0 if fmt == T2 else 1.0, "narrow_range": True}
    if not weights:
        fields |= {"min_val": 0.0, "max_val": fields["scaling_const"]}
    parent = solver.WeightQuantSolver if weights else solver.ActQuantSolver
    return type("Quantizer", (base.IntQuant, base.PerTensorPoTScaling8bit, parent), fields | more)


def as_activations(fmt: Quantized, x: np.ndarray, **more: Any) -> np.ndarray:
    layer = qnn.QuantIdentity(act_quant=quantizer(fmt, weights=False, **more), return_quant_tensor=False)
    return layer(torch.from_numpy(x)).numpy()


def as_weights(fmt: Quantized, x: np.ndarray, **more: Any) -> np.ndarray:
    quant = quantizer(fmt, weights=True, **more)
    layer = qnn.QuantLinear(len(x), 1, bias=False, weight_quant=quant)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(x)[None])
        found = layer.quant_weight()
    return getattr(found, "value", found)[0].numpy()


def ours(fmt: Quantized, x: np.ndarray) -> np.ndarray:
    return fmt.values(fmt.words(x))


def ties(fmt: Quantized) -> np.ndarray:
    """Reals in the middle between a word and the next, and the words; few enough bits for float32."""
    words = np.unique(np.linspace(fmt.low, fmt.high - 1, 99).astype(np.int64))
    words = words[np.abs(words) < 1 << 23]
    return ((words + 0.5) * fmt.step).astype(np.float32)


def probes(fmt: Quantized) -> np.ndarray:
    """Random reals in and beyond the range, ties and the floats beside them, the ends, zeros and tiny numbers."""
    top = max(abs(fmt.min), fmt.max)
    random = np.random.default_rng(0).uniform(-1.3 * top, 1.3 * top, 500).astype(np.float32)
    middle = ties(fmt)
    beside = [np.nextafter(middle, np.float32(side)) for side in (-np.inf, np.inf)]
    ends = [fmt.min, fmt.max, fmt.min - fmt.step / 2, fmt.max + fmt.step / 2, -3e38, 3e38]
    return np.concatenate([random, middle, *beside, np.float32([*ends, 0.0, -0.0, 1e-40, -1e-40])])


@pytest.mark.parametrize("how", [as_activations, as_weights])
@pytest.mark.parametrize("text", [*FIXED, "t2"])
def test_with_half_up_every_value_is_the_same(text: str, how: Any) -> None:
    fmt = parse(text)
    x = probes(fmt)
    np.testing.assert_array_equal(how(fmt, x, float_to_int_impl=HalfUp), ours(fmt, x))


@pytest.mark.parametrize("how", [as_activations, as_weights])
@pytest.mark.parametrize("text", [*FIXED, "t2"])
def test_its_own_rounding_differs_at_ties_above_even_words_only(text: str, how: Any) -> None:
    fmt = parse(text)
    x = probes(fmt)
    inside = np.clip(x.astype(np.float64), fmt.min, fmt.max) / fmt.step
    lower = np.floor(inside)
    even_tie = (inside - lower == 0.5) & (lower % 2 == 0)
    assert even_tie.any() or not (ties(fmt).size and fmt.bits > 1)
    np.testing.assert_array_equal(how(fmt, x), ours(fmt, x) - np.where(even_tie, fmt.step, 0.0))


@pytest.mark.parametrize("text", ["s0.25", "s31.0", "u0.25", "u32.0"])
def test_beyond_float32_the_greatest_word_alone_is_rounded(text: str) -> None:
    fmt = parse(text)
    x = probes(fmt)
    got, expected = as_activations(fmt, x, float_to_int_impl=HalfUp), ours(fmt, x)
    np.testing.assert_array_equal(got, expected.astype(np.float32))
    assert set(expected[got != expected]) == {fmt.max}


@pytest.mark.parametrize("how", [as_activations, as_weights])
def test_binary_is_b1(how: Any) -> None:
    x = probes(B1)
    np.testing.assert_array_equal(how(B1, x, quant_type="BINARY"), ours(B1, x))


@pytest.mark.parametrize("how", [as_activations, as_weights])
def test_ternary_is_t2_but_at_plus_one_half(how: Any) -> None:
    x = probes(T2)
    assert 0.5 in x and -0.5 in x
    got = how(T2, x, quant_type="TERNARY", threshold=0.5, scaling_const=1.0, max_val=1.0)
    np.testing.assert_array_equal(got, np.where(x == 0.5, 0.0, ours(T2, x)))
