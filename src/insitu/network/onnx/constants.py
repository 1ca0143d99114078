"""What is computed of constants alone, mostly shapes and dequantized weights: nothing that grows without bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from insitu.inputs import bounds
from insitu.network.onnx.draft import Constant
from insitu.network.onnx.file import Node, refuse

BATCH = 0
"""Stands for the batch size in a shape: a reshape reads 0 as *as before*."""

REMEDY = "Export the network for inference, with constants folded"


def fold(node: Node, operands: list[Constant | None]) -> Constant | None:
    """The constant that a node gives; ``None``: no constant operator.

    Raises:
        NetworkError: its operands do not fit.
    """
    if node.op == "Constant":
        return Constant(_given(node))
    if node.op not in _FOLDS or not operands or any(o is None for o in operands):
        return None
    known = [o for o in operands if o is not None]
    if sum(o.array.size for o in known) > bounds.PARAMETERS.value:
        raise refuse(node, f"its constants are too large: {bounds.PARAMETERS.why}", "Use a smaller network")
    try:
        return _FOLDS[node.op](node, known)
    except (ValueError, IndexError, TypeError, KeyError, OverflowError) as error:
        raise refuse(node, f"its constants do not fit ({type(error).__name__})", REMEDY) from None


def _given(node: Node) -> np.ndarray:
    for key in ("value", "value_int", "value_float", "value_ints", "value_floats"):
        if key in node.attrs:
            return np.asarray(node.attrs[key])
    raise refuse(node, "it holds no numbers", REMEDY)


def ints(node: Node, key: str, operand: Constant | None, default: Any = None) -> Any:
    """Whole numbers of an attribute, or of the operand that newer versions have instead."""
    if key in node.attrs:
        return node.attrs[key]
    return default if operand is None else [int(n) for n in operand.array.ravel()]


def dequantized(node: Node, x: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> Constant:
    """(x - zero) · scale, of a tensor or along an axis."""
    if node.attrs.get("block_size"):
        raise refuse(node, "it has a scale per block", "Quantize per tensor or per channel")
    axis = node.attrs.get("axis", 1)
    shape = [1] * x.ndim
    if scale.size > 1:
        shape[axis] = scale.size
    flat = scale.astype(np.float32).reshape(shape if scale.size > 1 else ())
    away = zero.astype(np.int64).reshape(shape if zero.size > 1 else ())
    array = (x.astype(np.int64) - away).astype(np.float32) * flat
    return Constant(array, (scale.astype(np.float32), zero))


def _dequantize(node: Node, given: list[Constant]) -> Constant:
    zero = given[2].array if len(given) > 2 else np.zeros((), np.int64)
    return dequantized(node, given[0].array, given[1].array, zero)


def _quantize(node: Node, given: list[Constant]) -> Constant:
    scale, zero = given[1].array, given[2].array if len(given) > 2 else np.zeros((), np.uint8)
    shape = [1] * given[0].array.ndim
    if scale.size > 1:
        shape[node.attrs.get("axis", 1)] = scale.size
    around = scale.reshape(shape) if scale.size > 1 else scale.reshape(())
    away = zero.reshape(shape) if zero.size > 1 else zero.reshape(())
    limits = np.iinfo(zero.dtype)
    return Constant(
        np.clip(np.rint(given[0].array / around) + away, limits.min, limits.max).astype(zero.dtype)
    )


def _slice(node: Node, given: list[Constant]) -> Constant:
    x = given[0].array
    starts, ends = (
        ints(node, k, given[i] if len(given) > i else None) for i, k in ((1, "starts"), (2, "ends"))
    )
    axes = ints(node, "axes", given[3] if len(given) > 3 else None, range(len(starts)))
    steps = ints(node, "steps", given[4] if len(given) > 4 else None, [1] * len(starts))
    where = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps):
        where[axis] = slice(start, end, step)
    return Constant(x[tuple(where)])


def _axes(node: Node, given: list[Constant]) -> Any:
    return ints(node, "axes", given[1] if len(given) > 1 else None)


def _unsqueeze(node: Node, given: list[Constant]) -> Constant:
    return Constant(np.expand_dims(given[0].array, tuple(_axes(node, given))))


def _squeeze(node: Node, given: list[Constant]) -> Constant:
    axes = _axes(node, given)
    return Constant(np.squeeze(given[0].array, None if axes is None else tuple(axes)))


def _transpose(node: Node, given: list[Constant]) -> Constant:
    return Constant(given[0].array.transpose(node.attrs.get("perm")), given[0].scale)


_FOLDS: dict[str, Callable[[Node, list[Constant]], Constant]] = {
    "Identity": lambda _n, g: g[0],
    "Cast": lambda _n, g: g[0],
    "Reshape": lambda _n, g: Constant(g[0].array.reshape([int(n) for n in g[1].array]), g[0].scale),
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": lambda n, g: Constant(np.concatenate([o.array for o in g], n.attrs["axis"])),
    "Gather": lambda n, g: Constant(g[0].array.take(g[1].array.astype(np.int64), n.attrs.get("axis", 0))),
    "Slice": _slice,
    "DequantizeLinear": _dequantize,
    "QuantizeLinear": _quantize,
}
