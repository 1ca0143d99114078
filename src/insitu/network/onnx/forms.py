"""Operators that give the same numbers in another form, or in other words: views, quantization, what training needs."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from insitu.network.onnx.constants import BATCH, ints, scaling
from insitu.network.onnx.draft import FOLD, Constant, Draft, Make, Seen, around
from insitu.network.onnx.file import Node, refuse


def _same(draft: Draft, node: Node) -> Seen:
    return draft.value(node)


def _quantized(draft: Draft, node: Node) -> Seen:
    """Notes the scale; words that begin at 0 stand for a ReLU, which quantizers leave out."""
    x = draft.value(node)
    scale, zero = _scaling(draft, node, x)
    kind = next((layer.kind for layer in draft.layers if layer.name == x.layer), "input")
    rectifies = zero.dtype.kind in "iu" and zero.size == 1 and zero == np.iinfo(zero.dtype).min
    if rectifies and kind in ("dense", "conv2d", "batch_norm", "add"):
        x = draft.elementwise(draft.plain(node), "activation", node, fn="relu")
    if scale.size == 1:
        draft.scales[x.layer] = (scale, zero)
    return x


def _scaling(draft: Draft, node: Node, x: Seen) -> tuple[np.ndarray, np.ndarray]:
    """The scale of quantized values, and their zero point."""
    scale, zero = draft.constant(node, 1), draft.constant(node, 2)
    if scale is None:
        raise refuse(node, "it has no scale", "Quantize the network again")
    away = np.zeros((), np.uint8) if zero is None else zero.array
    scaling(node, (BATCH, *draft.shape_of(x)), scale.array, away)
    return scale.array, away


def _dequantized(draft: Draft, node: Node) -> Seen:
    x = draft.value(node)
    _scaling(draft, node, x)
    return x


def _dropout(draft: Draft, node: Node) -> Seen:
    ratio = draft.constant(node, 1)
    p = float(node.attrs.get("ratio", 0.5 if ratio is None else ratio.array.reshape(())))
    if not 0 <= p < 1:
        raise refuse(node, f"it drops a share of {p:g}", "Use a share from 0 to below 1")
    return draft.elementwise(draft.plain(node), "dropout", node, p=p) if p else draft.value(node)


def _softmax(draft: Draft, node: Node) -> Seen:
    if node.outputs[0] != draft.graph.output:
        raise refuse(node, "it is not the end of the network", "Use Conv in place of attention")
    draft.notes.append(f"the last {node.op} is left out: the loss has it")
    return draft.plain(node)


def _transpose(draft: Draft, node: Node) -> Seen:
    x = draft.plain(node)
    perm = [int(n) for n in node.attrs.get("perm", range(len(x.axes), -1, -1))]
    if perm[0] != 0 or x.order is not None:
        raise refuse(node, "it moves the batch or a flat vector", "Keep the batch as the first axis")
    return replace(x, axes=tuple(x.axes[p - 1] for p in perm[1:]))


def _squeeze(draft: Draft, node: Node) -> Seen:
    x = draft.plain(node)
    rank = len(x.axes) + 1
    shape = (BATCH, *draft.shape_of(x))
    axes = ints(node, "axes", draft.constant(node, 1), [i for i in range(rank) if shape[i] == 1])
    gone = {a % rank for a in axes}
    if any(shape[a] != 1 for a in gone) or len(gone) == len(x.axes):
        raise refuse(node, f"axes {axes} of {list(shape)} are not all of size 1", "Flatten it instead")
    return replace(x, axes=tuple(a for i, a in enumerate(x.axes, 1) if i not in gone))


def _unsqueeze(draft: Draft, node: Node) -> Seen:
    x, axes = draft.plain(node), ints(node, "axes", draft.constant(node, 1))
    rank = len(x.axes) + 1 + len(axes)
    new = {a % rank for a in axes}
    if 0 in new or x.order is not None or rank > 5:
        raise refuse(node, "it adds an axis before the batch, or to a vector in another order", FOLD)
    rest = iter(x.axes)
    return replace(x, axes=tuple(-1 if i in new else next(rest) for i in range(1, rank)))


def _flatten(draft: Draft, node: Node) -> Seen:
    x = draft.plain(node)
    if node.attrs.get("axis", 1) not in (1, -len(x.axes)):
        raise refuse(node, "it flattens other axes than those of a sample", "Use axis=1")
    return draft.flattened(node, x)


def _reshape(draft: Draft, node: Node) -> Seen:
    x, target = draft.plain(node), draft.constant(node, 1)
    asked = node.attrs.get("shape") if target is None else [int(n) for n in target.array]
    before = draft.shape_of(x)
    after = _resolved(node, asked, before)
    if after == before:
        return x
    if len(after) == 1:
        return draft.flattened(node, x)
    if len(before) == 1 and len(after) in (2, 3) and x.order is None:
        return _as_map(draft, node, draft.flattened(node, x).layer, after)
    if [n for n in after if n > 1] == [n for n in before if n > 1] and x.order is None:
        kept = iter([a for a, n in zip(x.axes, before) if n > 1])
        return replace(x, axes=tuple(next(kept) if n > 1 else -1 for n in after))
    raise refuse(node, f"it makes {list(after)} of {list(before)} per sample", "Only flatten a map")


def _resolved(node: Node, asked: Any, before: tuple[int, ...]) -> tuple[int, ...]:
    """Shape per sample; the first number of the target stands for the batch."""
    if not asked or len(asked) < 2:
        raise refuse(node, f"its target {asked} has no batch", "Keep the batch as the first axis")
    rest = [before[i] if n == 0 and i < len(before) else n for i, n in enumerate(asked[1:])]
    known = prod(n for n in rest if n != -1)
    if rest.count(-1) == 1 and known and prod(before) % known == 0:
        rest[rest.index(-1)] = prod(before) // known
    if prod(rest) != prod(before) or min(rest) < 1:
        raise refuse(node, f"its target {asked} does not keep the batch", "Keep the batch as the first axis")
    return tuple(rest)


def _as_map(draft: Draft, node: Node, layer: str, shape: tuple[int, ...]) -> Seen:
    """A vector as a map: (channels, height, width), or (height, width, 1), which has the same order."""
    last = draft.transposed(node.outputs[0])
    if last and shape[-1] != 1:
        raise refuse(node, f"it makes a map {list(shape)}, channels last", "Give the data as a map")
    if last:
        canonical, axes = (1, *shape[:-1]), (*range(1, len(shape)), 0)
    else:
        canonical, axes = shape, tuple(range(len(shape)))
    if len(canonical) == 2:  # of height 1
        canonical, axes = (canonical[0], 1, canonical[1]), tuple(2 if a == 1 else a for a in axes)
    draft.goto(layer)
    return Seen(draft._add("reshape", canonical, name=draft.named(node, "")), axes)


def _pad(draft: Draft, node: Node) -> Seen:
    x = draft.image(node)
    given = [int(n) for n in ints(node, "pads", draft.constant(node, 1))]
    value = draft.constant(node, 2)
    number = node.attrs.get("value", 0.0 if value is None else float(value.array.reshape(())))
    half, rank = len(given) // 2, len(x.axes) + 1
    if node.attrs.get("mode", "constant") != "constant" or number != 0 or half != rank:
        raise refuse(node, "it pads with something else than zeros", "Pad with zeros")
    by_axis = {x.axes[i - 1]: (given[i], given[i + half]) for i in range(1, rank)}
    if given[0] or given[half] or any(by_axis.get(0, (0, 0))) or min(given) < 0:
        raise refuse(node, f"it pads by {given}, not a map by zeros around it", "Pad height and width only")
    (top, bottom), (left, right) = by_axis.get(1, (0, 0)), by_axis.get(2, (0, 0))
    return replace(x, pads=around(x.pads, (top, left, bottom, right)))


def shape_constant(draft: Draft, node: Node) -> Constant | None:
    """The shape of a tensor; the batch is 0, which a reshape reads as *as before*."""
    if node.op != "Shape":
        return None
    shape = [BATCH, *draft.shape_of(draft.value(node))]
    return Constant(np.array(shape[node.attrs.get("start") : node.attrs.get("end")], np.int64))


FORMS: dict[str, Make] = {
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Pad": _pad,
    "Dropout": _dropout,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Identity": _same,
    "Cast": _same,
    "QuantizeLinear": _quantized,
    "DequantizeLinear": _dequantized,
}
