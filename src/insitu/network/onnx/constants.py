"""What is computed of constants alone, mostly shapes and dequantized weights: nothing that grows without bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from insitu.network.onnx.draft import Constant, Draft
from insitu.network.onnx.file import Node, refuse

BATCH = 0
"""Stands for the batch size in a shape: a reshape reads 0 as *as before*."""


def fold(draft: Draft, node: Node, operands: list[Constant | None]) -> Constant | None:
    """The constant that a node gives; ``None``: no constant operator.

    Raises:
        NetworkError: all that was computed of constants is too large by now.
        ValueError, IndexError, TypeError, KeyError: its operands do not fit.
    """
    if node.op == "Constant":
        return Constant(_given(node))
    if node.op not in _FOLDS or not operands or any(o is None for o in operands):
        return None
    known = [o for o in operands if o is not None]
    draft.hold(node, _gathered(node, known) if node.op == "Gather" else sum(o.array.size for o in known))
    return _FOLDS[node.op](node, known)


def _gathered(node: Node, given: list[Constant]) -> int:
    """Size of what a Gather gives, which can be larger than all that it reads."""
    x = given[0].array
    return given[1].array.size * (x.size // max(1, x.shape[node.attrs.get("axis", 0)]))


def _given(node: Node) -> np.ndarray:
    for key in ("value", "value_int", "value_float", "value_ints", "value_floats"):
        if key in node.attrs:
            return np.asarray(node.attrs[key])
    raise refuse(node, "it holds no numbers", "Export the model again")


def ints(node: Node, key: str, operand: Constant | None, default: Any = None) -> Any:
    """Whole numbers of an attribute, or of the operand that newer versions have instead."""
    if key in node.attrs:
        return node.attrs[key]
    return default if operand is None else [int(n) for n in operand.array.ravel()]


def dequantized(node: Node, x: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> Constant:
    """(x - zero) · scale, of a tensor or along an axis."""
    scale = scale.astype(np.float32)
    flat, away = scaling(node, x.shape, scale, zero)
    return Constant((x.astype(np.int64) - away).astype(np.float32) * flat, (scale, zero))


def scaling(
    node: Node, shape: tuple[int, ...], scale: np.ndarray, zero: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point as they stand beside a tensor of this shape: one of each, or one per place of an axis."""
    if node.attrs.get("block_size"):
        raise refuse(node, "it has a scale per block", "Quantize per tensor or per channel")
    if not (scale.size and (scale > 0).all() and np.isfinite(scale).all()):
        raise refuse(node, "its scale is not a finite number above 0", "Quantize the network again")
    axis = node.attrs.get("axis", 1)
    for what, array in (("scales", scale), ("zero points", zero)):
        if array.size != 1 and not (-len(shape) <= axis < len(shape) and array.size == shape[axis]):
            raise refuse(
                node,
                f"it has {array.size} {what} along axis {axis} of {list(shape)}",
                "Quantize per tensor, or per channel with one scale a channel",
            )
    along = [-1 if i == axis % len(shape) else 1 for i in range(len(shape))] if shape else []
    return tuple(a.reshape(along if a.size > 1 else ()) for a in (scale, zero.astype(np.int64)))


def _dequantize(node: Node, given: list[Constant]) -> Constant:
    zero = given[2].array if len(given) > 2 else np.zeros((), np.int64)
    return dequantized(node, given[0].array, given[1].array, zero)


def _quantize(node: Node, given: list[Constant]) -> Constant:
    scale, zero = given[1].array, given[2].array if len(given) > 2 else np.zeros((), np.uint8)
    flat, away = scaling(node, given[0].array.shape, scale, zero)
    limits = np.iinfo(zero.dtype)
    return Constant(np.clip(np.rint(given[0].array / flat) + away, limits.min, limits.max).astype(zero.dtype))


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
