"""The integer reference: what a quantized step computes, op by op, in plain integers.

This is the specification, on three pages: :mod:`insitu.run.integer_products` (sums of products, requantization),
:mod:`insitu.run.integer_elements` (elements, run-time exponents, rows, errors of losses) and
:mod:`insitu.run.integer_updates` (weights). Every array holds integers (NumPy int64; only a master copy of a weight is
float32), no float takes part in a sum, and there is one function per op: inputs in, output out; updates change what
lives from step to step. The torch executor, C and hardware must give the same integers, and lend no code.

``>>`` is the arithmetic shift towards minus infinity. A sum never exceeds the bits that the step states for it: the
quantize pass has proved that. Rounding by a shift of k bits:  half-up ``(x + 2**(k-1)) >> k``,  floor ``x >> k``,
stochastic ``(x + (word >> (32-k))) >> k`` with a random 32-bit word of the bit-defined generator
(:mod:`insitu.numbers.prng`).

Legend: B batch, I inputs, O outputs, C channels or classes, K output channels, H W input plane, P Q output plane.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from insitu.errors import StepError
from insitu.numbers.formats import Fixed, Float, Quantized
from insitu.numbers.initial import kind_of
from insitu.ops.quant import EXPONENT
from insitu.run import integer_elements, integer_products
from insitu.run.integer_arithmetic import Array, Ints, saturate, shift_right, words
from insitu.run.integer_products import (
    conv2d_dw,
    feedback_integers,
    matmul_dw,
    pool_geometry,
    read,
    requant,
    sum_to_channels,
)
from insitu.run.integer_updates import deferred, fused, gated, update
from insitu.step.context import StepContext
from insitu.step.ir import Op, Role, Step, Value
from insitu.step.triggers import waiting

FUNCTIONS: dict[str, Callable[..., Any]] = {
    **integer_elements.FUNCTIONS,
    **integer_products.FUNCTIONS,
    "update": update,
    "matmul_dw_deferred": deferred(matmul_dw),
    **{
        f"{gradient.__name__}_update": fused(gradient) for gradient in (matmul_dw, conv2d_dw, sum_to_channels)
    },
    **{
        f"gated_{gradient.__name__}_update": fused(gated(gradient))
        for gradient in (conv2d_dw, sum_to_channels)
    },
}
"""The function of every op by its kind."""


def initial_integers(value: Value, real: Array, seed: int) -> Array:
    """The initial integers of a resident: nearest to its real initial value, in its units."""
    fmt, init = value.format, value.init
    assert init is not None
    if isinstance(fmt, Float):
        return real.astype(np.float32)
    if kind_of(init).random and value.role == Role.FEEDBACK:
        flat = words(StepContext(seed=seed), init.key, value.size, fixed=True)
        return feedback_integers(flat, fmt).reshape(value.shape)
    return nearest(real, value)


def channel_gain(value: Value) -> Any:
    """What the unit is multiplied by, per output channel."""
    return (
        2.0 ** np.array(value.channels).reshape(-1, *(1,) * (len(value.shape) - 1)) if value.channels else 1.0
    )


def nearest(real: Array, value: Value) -> Ints:
    """The integers of a value's format nearest to reals; ties go up."""
    assert isinstance(value.format, Quantized) and value.unit is not None
    position = np.asarray(real, np.float64) / (value.unit * channel_gain(value))
    return value.format.integers(value.format.words(position * value.format.unit))


Watch = Callable[[int, Value, Array], None]
"""Is shown the number of an op, and each array that the op has given or changed."""


def run(
    step: Step,
    state: dict[str, Array],
    x: Ints,
    label: Ints | None,
    context: StepContext,
    watch: Watch | None = None,
) -> list[Array]:
    """One step; the residents in ``state`` change in place, the step's outputs are returned.

    Args:
        watch: is called after every op; arrays of residents change later.

    Raises:
        StepError: for an op that has no integer meaning, or a result that leaves the format that the step states.
    """
    waits = waiting(step)
    fired: set[Op] = set()
    given = {"x": x, "label": label}
    env: dict[Value, Any] = {v: given[v.name] for v in step.inputs}
    env |= {v: state[v.name] for v in step.residents}
    for number, op in enumerate(step.ops):
        if op.kind not in FUNCTIONS:
            raise StepError(
                f"{op.kind} at {op.where} has no integer meaning; emit the step without its loss, "
                "or train it with the torch executor"
            )
        silent = op in waits and not fired & waits[op]
        result = () if silent else FUNCTIONS[op.kind](op, context, *(env[v] for v in op.inputs))
        results = result if isinstance(result, tuple) else (result,)
        for value, array in zip(op.outputs, results):
            _check(op, value, array)
            env[value] = array
        if op.record.trigger and results[0].any():
            fired.add(op)
        for value in (*op.outputs, *op.written) if watch is not None else ():
            watch(number, value, env[value])
    return [env[v] for v in step.outputs]


def _check(op: Op, value: Value, array: Array) -> None:
    fmt = value.format
    if not isinstance(fmt, Quantized) or not array.size:
        return
    low, high = (0, fmt.high) if value.unit is None and isinstance(fmt, Fixed) else (fmt.least, fmt.greatest)
    if value.unit is None and fmt is EXPONENT:
        low, high = fmt.least, fmt.greatest
    if not low <= int(array.min()) <= int(array.max()) <= high:
        raise StepError(
            f"{op.kind} at {op.where} gives {int(array.min())} to {int(array.max())}, which {fmt} "
            f"({low} to {high}) does not hold; the quantize pass must give it more bits"
        )


__all__ = [
    "FUNCTIONS",
    "Array",
    "Ints",
    "StepContext",
    "initial_integers",
    "nearest",
    "pool_geometry",
    "read",
    "requant",
    "run",
    "saturate",
    "shift_right",
    "words",
]
