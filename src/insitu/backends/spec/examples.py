"""Small worked examples of ops: a few operands, and what the integer reference makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from insitu.numbers import prng
from insitu.numbers.formats import Binary, Fixed, Float, PowerOfTwo, Quantized
from insitu.ops.integer_products import epilogue
from insitu.ops.quant import EXPONENT
from insitu.ops.updates import BoundUpdate
from insitu.run.integer import FUNCTIONS
from insitu.run.program import Program
from insitu.step.context import StepContext
from insitu.step.ir import Op, Shape, Value

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Example:
    """Operands of an op and what they become.

    Attributes:
        op: the op on small arrays.
        given: operands, before.
        after: results, and operands that the op changes.
    """

    op: Op
    given: tuple[Array, ...]
    after: tuple[Array, ...]


def example(op: Op, program: Program) -> Example:
    """An example of an op: with its formats and shifts, on small arrays of numbers from all over their ranges.

    Of some draws it is the one whose results differ most: few that are saturated say more than many.
    """
    context = StepContext(program.lr, program.seed, program.t)
    small = _small(op)
    return max((_drawn(small, context, n) for n in range(_DRAWS)), key=_told)


_DRAWS = 8


def _drawn(small: Op, context: StepContext, draw: int) -> Example:
    given = tuple(_numbers(small, i, draw) for i in range(len(small.inputs)))
    if small.kind == "matmul_dw_deferred":
        given[-1][:] = 1  # of 2: this step is the last one
    arrays = [a.copy() for a in given]
    result = FUNCTIONS[small.kind](small, context, *arrays)
    results = () if result is None else result if isinstance(result, tuple) else (result,)
    changed = tuple(arrays[small.inputs.index(v)] for v in small.written)
    return Example(small, given, (*results, *changed))


def _told(found: Example) -> int:
    """How many different numbers an example gives, 0 not counted."""
    return sum(len(set(a.ravel().tolist()) - {0}) for a in map(np.asarray, found.after))


# --- small arrays ------------------------------------------------------------------------------------------------

GEOMETRY = {"stride": (2, 2), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
SAME = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
POOL = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
PLANE, KERNEL, ERROR = (1, 1, 3, 3), (1, 1, 3, 3), (1, 1, 2, 2)
WIDE, HALF = (1, 1, 2, 4), (1, 1, 1, 2)
ROW = (1, 4)
SHIFT = 8

SMALL: dict[str, tuple[Sequence[Shape], dict[str, Any]]] = {
    "matmul": (((1, 3), (2, 3), (2,)), {}),
    "matmul_dx": (((1, 2), (2, 3)), {}),
    "matmul_dw": (((1, 2), (1, 3)), {}),
    "matmul_dw_update": (((1, 2), (1, 3)), {"weight": (2, 3)}),
    "matmul_dw_deferred": (((1, 2), (1, 3), (2, 3), (2, 2), (2, 3), (1,)), {"defer": 2}),
    "sum_to_channels": (((1, 2),), {}),
    "sum_to_channels_update": (((1, 2),), {"weight": (2,)}),
    "conv2d": ((PLANE, KERNEL, (1,)), GEOMETRY),
    "conv2d_dx": ((ERROR, KERNEL), {**GEOMETRY, "shape": PLANE}),
    "conv2d_dw": ((ERROR, PLANE), {**GEOMETRY, "kernel": KERNEL}),
    "conv2d_dw_update": ((ERROR, PLANE), {**GEOMETRY, "kernel": KERNEL, "weight": KERNEL}),
    "project": (((1, 2), (2, 3)), {"columns": 3}),
    "select_rows": (((3, 2), (1,)), {"columns": 2}),
    "fixed_random": ((), {"shape": (1, 4)}),
    "random_project": (((1, 2),), {"columns": 3}),
    "random_rows": (((1,),), {"columns": 3}),
    "sketch": (((1, 4),), {"columns": 2}),
    "unsketch": (((1, 2),), {"columns": 4}),
    "gated_conv2d_dw_update": (
        (HALF, WIDE, WIDE),
        {**SAME, "pool": (2, 2), "kernel": KERNEL, "weight": KERNEL},
    ),
    "gated_sum_to_channels_update": ((HALF, WIDE), {"pool": (2, 2), "weight": (1,)}),
    "max_pool": ((WIDE,), {**POOL, "size": None}),
    "max_unpool": ((HALF, HALF), {"shape": WIDE}),
    "sum_pool": ((WIDE,), POOL),
    "sum_unpool": ((HALF,), {**POOL, "shape": WIDE}),
    "unpool_gate": ((HALF, WIDE), POOL),
    "reshape": ((ROW,), {"shape": (2, 2)}),
    "slice_rows": (((2, 3),), {"start": 0, "count": 1}),
    "row_scale": (((2, 2), (2,)), {}),
    "overlay": ((ROW, (1,)), {"classes": 3}),
    "overlay_each": ((ROW,), {"classes": 3}),
    "overlay_even": ((ROW,), {"classes": 3}),
    "wrong_labels": (((4,),), {}),
    "softmax_error": ((ROW, (1,)), {}),
    "difference_error": ((ROW, (1,)), {}),
    "less_label": ((ROW, (1,)), {}),
    "margin_error": ((ROW, (1,)), {}),
    "violated": ((ROW, (1,), (1, 3), ()), {}),
    "less_first_half": (((2,),), {}),
    "norm_exponent": (((2, 3),), {}),
}
"""Of an op, the shapes of the small operands and the attributes that depend on shapes; others take a row each."""


def _small(op: Op) -> Op:
    shapes, changes = SMALL.get(op.kind, ((), {}))
    taken = dict(changes)
    shapes = list(shapes)
    if op.kind == "update":
        shapes = [(2, 3) if len(op.inputs[0].shape) > 1 else (2,)] * 2
    if op.kind == "dropout" and op.attrs.each > 1:
        taken["each"] = 2
    if "weight" in taken or op.kind == "update":
        shapes, taken = _moved(op, shapes, taken.pop("weight", None), taken)
    last = epilogue(op.attrs)
    if last is not None:
        taken["epilogue"] = replace(last, shift=min(last.shift, SHIFT))  # sums of a few products are small
    view = getattr(op.attrs, "read", None)
    if view is not None and view.channels:
        taken["read"] = replace(view, channels=view.channels[: shapes[1][0]])
    shapes += [() if v.format is EXPONENT else ROW for v in op.inputs[len(shapes) :]]
    inputs = tuple(_value(v, shape) for v, shape in zip(op.inputs, shapes))
    attrs = replace(op.attrs, **taken) if taken else op.attrs
    inferred = op.record.infer(inputs, attrs)
    formats = zip(op.outputs, inferred, strict=True)
    return replace(
        op, inputs=inputs, attrs=attrs, outputs=tuple(_value(v, shape) for v, (shape, _) in formats)
    )


def _value(value: Value, shape: Shape) -> Value:
    return replace(value, shape=() if not value.shape else shape)


def _moved(
    op: Op, shapes: list[Shape], weight: Shape | None, taken: dict[str, Any]
) -> tuple[list[Shape], dict[str, Any]]:
    """Shapes behind the operands of an update: its exponents, the weight, what the method keeps."""
    o = op.attrs.optimizer
    exponents: list[Shape] = [()] * op.attrs.exponents
    if weight is None:
        weight, shapes = shapes[0], [*shapes, *exponents]
    else:
        shapes = [*shapes, *exponents, weight]
    if isinstance(o, BoundUpdate):
        method = o.method.for_weight(weight) if "group_size" in o.method.options() else o.method
        o = replace(o, method=method, channels=o.channels[: weight[0]], columns=())
    kept = [shape for _, shape, _ in o.states(weight)]
    return [*shapes, *kept, *([(2,)] if op.attrs.registers else [])], taken | {"optimizer": o}


# --- numbers -----------------------------------------------------------------------------------------------------

_KEY = prng.key(0, "worked examples")


def _numbers(op: Op, index: int, draw: int) -> Array:
    """Numbers of an operand: every one of its format as likely; labels, places and exponents that fit the others."""
    value = op.inputs[index]
    first = np.uint64(64 * (index + 16 * draw))
    word = np.asarray(prng.words(_KEY, first + np.arange(value.size, dtype=np.uint64)))
    word = word.astype(np.int64).reshape(value.shape)
    fmt = value.format
    if isinstance(fmt, Float):
        return ((word >> 8).astype(np.float32) * np.float32(2.0**-23) - np.float32(1.0)).astype(np.float32)
    if fmt is EXPONENT:
        return word & 1
    if value.unit is None and isinstance(fmt, Fixed):
        return word % _most(op, index)
    assert isinstance(fmt, Quantized)
    if isinstance(fmt, PowerOfTwo | Binary):
        return fmt.integers(fmt.low + word % (fmt.high - fmt.low + 1))
    wide = (
        fmt.bits - 8 if op.kind in ("matmul", "conv2d") and index == 2 else 0
    )  # a bias that is not all of the sum
    span = fmt.greatest - fmt.least + 1
    return fmt.least + (word if span == 1 << 32 else word * span >> 32) >> max(wide, 0)


def _most(op: Op, index: int) -> int:
    """Labels are less than the classes, places less than the plane."""
    limits: dict[str, Callable[[], int]] = {
        "max_unpool": lambda: op.attrs.shape[2] * op.attrs.shape[3],
        "wrong_labels": lambda: op.attrs.classes,
        "overlay": lambda: op.attrs.classes,
        "select_rows": lambda: op.inputs[0].shape[0],
    }
    if op.kind in limits:
        return limits[op.kind]()
    scores = next((v for v in op.inputs[:index] if len(v.shape) == 2), None)
    return scores.shape[1] if scores is not None else 2
