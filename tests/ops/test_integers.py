"""Ops on integers: the torch half gives what the reference says, at the edges of the formats too."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

from insitu.numbers.formats import B1, T2, AnyFormat, Fixed, parse
from insitu.ops.common import TorchContext
from insitu.ops.quant import EXPONENT, FixedRandom, Requant, WeightView
from insitu.ops.update import Deferred
from insitu.ops.updates import BoundUpdate, Stochastic
from insitu.run import integer, integer_updates
from insitu.step.attrs import make
from insitu.step.context import StepContext
from insitu.step.ir import OPS, Op, Phase, Role, Value

SEED, T, LR = 5, 3, 0.05
WIDE = Fixed(True, 29, 0)
S8, U8 = Fixed(True, 7, 0), Fixed(False, 8, 0)
LABEL = "label"
GEOMETRY = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 1), "groups": 1}

Operand = tuple[Any, tuple[int, ...]]


@dataclass(frozen=True)
class Row:
    """An op on random integers of its operands' formats."""

    kind: str
    tag: str
    operands: tuple[Operand, ...]
    attrs: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind}-{self.tag}"


def _requant(tag: str, source: AnyFormat, *more: Operand, **attrs: Any) -> Row:
    how = {"format": S8, "shift": 5, "rounding": "half-up"} | attrs
    return Row("requant", tag, ((source, (4, 6)), *more), how)


def _with_bias(chunks: int) -> dict[str, Any]:
    return {"format": WIDE, "chunks": chunks, "bias_shift": 6}


DEFER = {
    "optimizer": BoundUpdate(Stochastic(), S8, 0.5, "w"),
    "operands": 2,
    "defer": 2,
    "format": WIDE,
    "chunks": 1,
}
KEPT = ((S8, (2, 5)), (U8, (2, 7)), (S8, (5, 7)), (S8, (4, 5)), (U8, (4, 7)))
POOL = {"kernel": (2, 3), "stride": (2, 3), "padding": (0, 0)}
TABLE = tuple(range(100, 100 - 256, -1))
ROWS = [
    *[_requant(f"shift{k}", WIDE, shift=k) for k in (-3, 0, 1, 8, 21, 23, 24, 29, 40, 62)],
    *[_requant(f"narrow{k}", Fixed(True, 20, 0), shift=k) for k in (1, 19, 20, 21)],
    _requant("floor", WIDE, rounding="floor", shift=20),
    _requant("stochastic", WIDE, rounding="stochastic", stream="s", shift=24),
    _requant("stochastic-all", WIDE, rounding="stochastic", stream="s", shift=32),
    _requant("times", WIDE, times=23170, shift=30),
    _requant("binary", WIDE, format=B1, shift=0),
    _requant("ternary", WIDE, format=T2, shift=28),
    _requant("unsigned", WIDE, format=Fixed(False, 3, 5), shift=18),
    _requant("dynamic", WIDE, (EXPONENT, ()), shift=3),
    _requant("dynamic-minus", WIDE, (EXPONENT, ()), shift=30, minus=True),
    _requant("by-sample", WIDE, (EXPONENT, (4,)), shift=3),
    _requant("by-sample-floor", WIDE, (EXPONENT, (4,)), shift=3, rounding="floor", minus=True),
    Row("exponent", "", ((WIDE, (4, 6)),), {"bits": 8, "by_sample": False}),
    Row("exponent", "by-sample", ((WIDE, (4, 6)),), {"bits": 4, "by_sample": True}),
    Row("norm_exponent", "length", ((U8, (4, 9)),), {"by": 1}),
    Row("norm_exponent", "rms", ((S8, (4, 3, 3)),), {"by": 9}),
    Row("add_exponents", "scalars", ((EXPONENT, ()), (EXPONENT, ()))),
    Row("add_exponents", "by-sample", ((EXPONENT, ()), (EXPONENT, (4,)))),
    Row(
        "add_aligned",
        "both",
        ((S8, (4, 6)), (S8, (4, 6)), (EXPONENT, ()), (EXPONENT, ())),
        {"format": Fixed(True, 8, 0), "shifts": (0, -3), "exponents": (True, True)},
    ),
    Row(
        "add_aligned",
        "one",
        ((S8, (4, 6)), (S8, (4, 6)), (EXPONENT, ())),
        {"format": S8, "shifts": (-2, 0), "exponents": (False, True)},
    ),
    *[
        Row(
            "couple",
            f"{bits}-{minus}",
            ((Fixed(True, bits, 0), (4, 6)), (Fixed(True, bits, 0), (4, 6))),
            {"format": Fixed(True, bits, 0), "minus": minus},
        )
        for bits in (4, 8)
        for minus in (False, True)
    ],
    Row("lut", "", ((S8, (4, 6)),), {"table": TABLE, "format": Fixed(True, 8, 0)}),
    Row("leaky", "", ((S8, (4, 6)),), {"shift": 3}),
    Row("leaky", "gate", ((S8, (4, 6)), (S8, (4, 6))), {"shift": 7}),
    Row("inside", "", ((S8, (4, 6)), (S8, (4, 6))), {"low": -128, "high": 127}),
    *[
        Row("stash", str(fmt), ((fmt, (4, 6)),), {"format": Fixed(False, 0, 1)})
        for fmt in (U8, S8, Fixed(False, 1, 0), T2)
    ],
    Row("offset", "", ((U8, (4, 6)),), {"by": 77, "format": Fixed(True, 8, 0)}),
    Row("sum_pool", "", ((U8, (2, 3, 4, 6)),), {"format": Fixed(True, 12, 0), **POOL}),
    Row(
        "sum_pool",
        "overlap",
        ((U8, (2, 3, 5, 6)),),
        {"format": Fixed(True, 12, 0), "kernel": (3, 2), "stride": (1, 2), "padding": (1, 1)},
    ),
    Row("unpool_gate", "", ((S8, (2, 3, 2, 2)), (U8, (2, 3, 5, 6))), {"parts": 1, **POOL}),
    Row("sum_unpool", "", ((S8, (2, 3, 2, 2)),), {"shape": (2, 3, 4, 6), "format": S8, **POOL}),
    Row(
        "sum_unpool",
        "overlap",
        ((S8, (2, 3, 5, 4)),),
        {
            "shape": (2, 3, 5, 6),
            "format": Fixed(True, 11, 0),
            "kernel": (3, 2),
            "stride": (1, 2),
            "padding": (1, 1),
        },
    ),
    Row(
        "softmax_error",
        "",
        ((Fixed(True, 5, 6), (4, 5)), (LABEL, (4,))),
        {"table": tuple(round(32768 * 0.98**i) for i in range(700)), "one": 128, "format": S8},
    ),
    Row("difference_error", "", ((S8, (4, 5)), (LABEL, (4,))), {"one": 32, "format": Fixed(True, 8, 0)}),
    Row("margin_error", "", ((S8, (4, 5)), (LABEL, (4,))), {"one": 40, "format": S8}),
    *[
        Row(
            "violated",
            f"{'all' if every else 'one'}{shift}",
            ((S8, (4, 5)), (LABEL, (4,)), (U8, (4, 3, 3)), *more),
            {"shift": shift, "margin": 9, "every": every, "format": S8},
        )
        for every in (False, True)
        for shift, more in ((3, ()), (-1, ()), (62, ()), (2, ((EXPONENT, ()),)))
    ],
    Row(
        "violated",
        "margin",
        ((S8, (4, 5)), (LABEL, (4,))),
        {"shift": 0, "margin": 9, "every": False, "format": S8},
    ),
    Row("less_label", "", ((U8, (4, 5)), (LABEL, (4,))), {"one": 255, "format": Fixed(True, 8, 0)}),
    Row("less_first_half", "", ((U8, (6,)),), {"one": 255, "format": Fixed(True, 8, 0)}),
    Row("fixed_random", "", (), {"shape": (5, 7), "format": S8, "stream": "s"}),
    Row("fixed_random", "binary", (), {"shape": (5, 7), "format": B1, "stream": "s"}),
    Row("fixed_random", "ternary", (), {"shape": (5, 7), "format": T2, "stream": "s"}),
    *[
        Row("matmul", f"chunks{n}", ((S8, (3, 9)), (S8, (4, 9)), (S8, (4,))), _with_bias(n))
        for n in (0, 1, 4)
    ],
    Row(
        "matmul",
        "hidden",
        ((U8, (3, 9)), (Fixed(True, 15, 0), (4, 9))),
        {"format": WIDE, "chunks": 1, "read": WeightView(S8, shift=8)},
    ),
    Row(
        "matmul",
        "hidden-binary",
        ((U8, (3, 9)), (Fixed(True, 7, 0), (4, 9))),
        {"format": WIDE, "chunks": 1, "read": WeightView(B1, shift=7)},
    ),
    Row("matmul_dx", "sign", ((S8, (3, 4)), (S8, (4, 9))), {"format": WIDE, "chunks": 2, "view": "sign"}),
    Row("matmul_dw", "chunks", ((S8, (5, 4)), (U8, (5, 9))), {"format": WIDE, "chunks": 3}),
    Row(
        "matmul_dw",
        "limit",
        ((S8, (5, 4)), (U8, (5, 9))),
        {"format": Fixed(True, 9, 0), "chunks": 1, "limit": True},
    ),
    *[
        Row(
            "conv2d",
            f"chunks{n}",
            ((S8, (2, 4, 6, 5)), (S8, (3, 4, 3, 2)), (S8, (3,))),
            {"format": WIDE, "chunks": n, "bias_shift": 2, **GEOMETRY},
        )
        for n in (0, 1, 3)
    ],
    Row(
        "conv2d",
        "groups",
        ((S8, (2, 4, 6, 5)), (S8, (6, 2, 3, 2))),
        {"format": WIDE, "chunks": 1, **GEOMETRY, "groups": 2, "dilation": (2, 1), "padding": (2, 1)},
    ),
    *[
        Row(
            "conv2d_dx",
            f"chunks{n}",
            ((S8, (2, 3, 3, 4)), (S8, (3, 4, 3, 2))),
            {"format": WIDE, "chunks": n, "shape": (2, 4, 6, 5), **GEOMETRY},
        )
        for n in (0, 1, 2)
    ],
    *[
        Row(
            "conv2d_dw",
            f"chunks{n}",
            ((S8, (2, 3, 3, 4)), (S8, (2, 4, 6, 5))),
            {"format": WIDE, "chunks": n, "kernel": (3, 4, 3, 2), **GEOMETRY},
        )
        for n in (0, 1, 2)
    ],
    Row(
        "max_pool",
        "padded",
        ((S8, (2, 3, 5, 6)),),
        {"kernel": (3, 2), "stride": (2, 2), "padding": (1, 1), "size": None},
    ),
    Row(
        "max_pool",
        "size",
        ((S8, (2, 3, 4, 6)),),
        {"kernel": None, "stride": None, "padding": None, "size": (2, 3)},
    ),
    Row("max_pool", "lean", ((S8, (2, 3, 4, 6)),), {"positions": False, "size": None, **POOL}),
    Row(
        "sum_to_channels", "limit", ((S8, (9, 4)),), {"format": Fixed(True, 7, 0), "chunks": 1, "limit": True}
    ),
    Row("matmul_dw_deferred", "", (*KEPT, (Fixed(False, 1, 0), (1,))), DEFER),
    Row("row_squares", "", ((U8, (4, 3, 5)),), {"format": WIDE, "by": 1.0}),
    Row("dropout", "", ((S8, (4, 6)),), {"p": 0.3, "stream": "s"}),
    Row("dropout", "channels", ((S8, (4, 3, 2, 4)),), {"p": 0.3, "stream": "s", "each": 8}),
    Row("wrong_labels", "", ((LABEL, (40,)),), {"classes": 5, "stream": "s"}),
    Row("overlay", "", ((U8, (4, 9)), (LABEL, (8,))), {"classes": 5, "one": 200}),
    Row("overlay_each", "", ((U8, (4, 9)),), {"classes": 5, "one": 200}),
    Row("overlay_even", "", ((U8, (4, 9)),), {"classes": 5, "one": 51}),
    Row("random_rows", "", ((LABEL, (6,)),), {"columns": 7, "stream": "s", "matrix": S8, "format": S8}),
    Row("sketch", "", ((U8, (3, 40)),), {"columns": 7, "stream": "s", "format": WIDE}),
    Row("unsketch", "", ((S8, (3, 7)),), {"columns": 40, "stream": "s", "format": S8}),
    Row("random_project", "", ((S8, (4, 5)),), {"columns": 7, "stream": "s", "matrix": B1, "format": WIDE}),
]


def _array(operand: Operand, rng: np.random.Generator) -> np.ndarray:
    """Random integers of a format, its two ends among them."""
    fmt, shape = operand
    if fmt == LABEL:
        return rng.integers(0, 5, shape)
    low, high = (-6, 9) if fmt is EXPONENT else (fmt.least, fmt.greatest)
    array = np.asarray(rng.integers(low, high + 1, shape))
    if array.size > 4:
        array.flat[:2] = low, high
    return array


def _value(name: str, operand: Operand) -> Value:
    fmt, shape = operand
    return Value(name, shape, Fixed(False, 8, 0) if fmt == LABEL else fmt, Role.SCRATCH, unit=1.0)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_torch_gives_what_the_reference_says(row: Row) -> None:
    rng = np.random.default_rng(11)
    arrays = [_array(operand, rng) for operand in row.operands]
    values = tuple(_value(f"v{i}", operand) for i, operand in enumerate(row.operands))
    attrs = make(OPS[row.kind].attrs, row.attrs)
    inferred = OPS[row.kind].infer(values, attrs)
    outputs = tuple(
        Value(f"y{i}", shape, fmt, Role.SCRATCH, unit=1.0) for i, (shape, fmt) in enumerate(inferred)
    )
    op = Op(row.kind, values, outputs, attrs, Phase.FORWARD)
    context = TorchContext(lr=LR, seed=SEED, t=T, real=torch.float32, device=torch.device("cpu"))
    tensors = [
        torch.as_tensor(
            a, dtype=torch.uint8 if o[0] == LABEL else torch.float64 if o[0] is WIDE else torch.float32
        )
        for a, o in zip(arrays, row.operands)
    ]
    found = op.record.torch(op, context)(*tensors)
    wanted = integer.FUNCTIONS[row.kind](op, StepContext(LR, SEED, T), *arrays)
    for ours, reference in zip((*_several(found), *tensors), (*_several(wanted), *arrays)):
        assert np.array_equal(ours.double().numpy(), reference)


def _several(result: Any) -> tuple[Any, ...]:
    if result is None:
        return ()
    return result if isinstance(result, tuple) else (result,)


def test_half_up_is_the_nearest_integer() -> None:
    """The reference itself, against exact fractions."""
    x = np.arange(-40, 41)
    how = Requant(format=S8, shift=3, rounding="half-up")
    op = Op("requant", (), (Value("y", x.shape, S8, Role.SCRATCH),), how, Phase.FORWARD)
    assert integer.requant(op, StepContext(), x).tolist() == [int(np.floor(v / 8 + 0.5)) for v in x]


@pytest.mark.parametrize("text", ["s0.7", "s2.1", "b1", "t2"])
def test_fixed_random_is_centred_and_fills_the_format(text: str) -> None:
    fmt = parse(text)
    out = Value("y", (40_000,), fmt, Role.FEEDBACK)
    op = Op("fixed_random", (), (out,), FixedRandom(format=fmt, shape=out.shape, stream="s"), Phase.FEEDBACK)
    found = integer.FUNCTIONS["fixed_random"](op, StepContext(seed=3))
    assert set(np.unique(found)) <= set(range(-fmt.greatest, fmt.greatest + 1))  # type: ignore[union-attr]
    assert {-fmt.greatest, fmt.greatest} <= set(np.unique(found))  # type: ignore[union-attr]
    assert abs(found.mean()) < 4 * found.std() / 200


@pytest.mark.parametrize("generator", ["counter", "lfsr", "register"])
def test_words_of_rows_and_columns_round_without_bias(generator: str) -> None:
    """A change of 0.3 steps: 0.3 on the mean of many steps for the whole matrix, and no row or column leans."""
    move = BoundUpdate(Stochastic(), S8, 1.0, "s", generator=generator)
    k, steps, shape = 10, 400, (24, 31)
    g = np.full(shape, round(0.3 * 2**k))
    ups, registers = np.zeros(shape), np.zeros(2, np.int64)
    for t in range(steps):
        context = StepContext(1.0, SEED, t)
        words = integer_updates.weight_words(move, context, shape, (registers,))
        ups += integer.shift_right(g, k, "stochastic", words)
    sigma = (0.3 * 0.7 / steps) ** 0.5
    mean = ups / steps
    assert abs(mean - 0.3).max() < 5 * sigma
    assert abs(mean.mean() - 0.3) < 5 * sigma / (shape[0] * shape[1]) ** 0.5
    assert abs(mean.std() - sigma) < 0.15 * sigma  # as independent errors would give


def test_deferred_steps_move_weights_as_one_batch() -> None:
    """Steps without an error are not counted; the deferred ones give one rounding of their summed gradient."""
    rng = np.random.default_rng(2)
    d, x = (np.asarray(rng.integers(-9, 10, shape)) for shape in ((4, 1, 5), (4, 1, 7)))
    d[2] = 0
    w = np.asarray(rng.integers(-50, 50, (5, 7)))
    wanted, kept = w.copy(), [np.zeros((3, 5), np.int64), np.zeros((3, 7), np.int64), np.zeros(1, np.int64)]
    shapes = ((1, 5), (1, 7), (5, 7), (3, 5), (3, 7), (1,))
    values = tuple(_value(f"v{i}", (S8, shape)) for i, shape in enumerate(shapes))
    op = Op("matmul_dw_deferred", values, (), Deferred(**(DEFER | {"defer": 3})), Phase.GRADIENT)
    for t in range(4):
        assert t == 0 or np.array_equal(w, wanted)
        integer.FUNCTIONS["matmul_dw_deferred"](op, StepContext(LR, SEED, t), d[t], x[t], w, *kept)
    at_once = replace(op, kind="matmul_dw_update", inputs=(values[3], values[4], values[2]))
    integer.FUNCTIONS["matmul_dw_update"](
        at_once, StepContext(LR, SEED, 3), d[[0, 1, 3], 0], x[[0, 1, 3], 0], wanted
    )
    assert np.array_equal(w, wanted)
    assert kept[2] == 0


def test_one_rounding_of_a_sum_is_less_noise_than_many() -> None:
    """Docs, theory: the noise of K roundings grows as the sum of |x|, that of one as |sum of x|."""
    rng, k, shape = np.random.default_rng(4), 8, (64, 64)
    g = np.asarray(rng.integers(-40, 41, (16, *shape)))
    move, noise = BoundUpdate(Stochastic(), S8, 1.0, "s"), []
    for parts in (g, g.sum(0, keepdims=True)):
        moved = np.zeros(shape)
        for t, part in enumerate(parts):
            words = integer_updates.weight_words(move, StepContext(1.0, SEED, t), shape)
            moved += integer.shift_right(part, k, "stochastic", words)
        noise.append(float(((moved - g.sum(0) / 2**k) ** 2).mean()))
    assert noise[1] < 0.4 * noise[0]
    assert noise[0] <= np.abs(g).sum(0).mean() / 2**k * 1.1
    assert noise[1] <= np.abs(g.sum(0)).mean() / 2**k * 1.1
