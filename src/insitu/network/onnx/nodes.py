"""What becomes of each operator: one function an operator, and the table of them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from insitu.inputs import bounds
from insitu.network.onnx.constants import ints
from insitu.network.onnx.draft import FOLD, Constant, Draft, Make, Pads, Seen, around
from insitu.network.onnx.file import Node, refuse
from insitu.network.onnx.forms import FORMS
from insitu.ops.activations import LEAST, MOST, clip
from insitu.ops.conv import plane

# --- layers with weights ---------------------------------------------------------------------------------------


def _conv(draft: Draft, node: Node) -> Seen:
    x, weight = draft.image(node), _weight(draft, node, 1)
    w = weight.array
    flat = w.ndim == 3  # (channels, inputs, length): of height 1
    w = w[:, :, None] if flat else w
    if w.ndim != 4:
        raise refuse(node, f"its kernel has shape {list(w.shape)}", "Use Conv over one or two axes")
    strides, dilations = (_two(node, k) for k in ("strides", "dilations"))
    pads = around(x.pads, _pads(draft, node, x, w.shape[2:], strides, dilations))
    w, padding = _centred(w, pads, dilations)
    name = draft.named(node, node.inputs[1])
    geometry = {"stride": strides, "padding": padding, "dilation": dilations}
    draft.goto(x.layer)
    bias = draft.constant(node, 2)
    groups = int(node.attrs.get("group", 1))
    if w.shape[1] * groups != draft.shape[0]:
        raise refuse(node, f"it has weights for {w.shape[1] * groups} channels, not {draft.shape[0]}", FOLD)
    draft.conv(w.shape[0], w.shape[2:], groups=groups, bias=bias is not None, name=name, **geometry)
    draft.keep(node, name, weight=w, **({} if bias is None else {"bias": bias.array.reshape(w.shape[0])}))
    _note_scale(draft, name, weight)
    return Seen(name, (0, 2) if flat else (0, 1, 2))


def _weight(draft: Draft, node: Node, i: int) -> Constant:
    found = draft.constant(node, i)
    if found is None:
        raise refuse(node, "it has no weights", "Export the model again")
    return found


def _note_scale(draft: Draft, name: str, weight: Constant) -> None:
    if weight.scale is not None:
        draft.scales[f"{name}.weight"] = weight.scale


def _two(node: Node, name: str) -> tuple[int, int]:
    """(vertical, horizontal) of an attribute, 1 by default; of one number the horizontal one."""
    values = [int(v) for v in node.attrs.get(name, [1, 1])]
    if not values or not all(1 <= v <= bounds.FEATURES.value for v in values):
        raise refuse(node, f"its {name} are {values}", f"Use numbers from 1 to {bounds.FEATURES.value:,}")
    return (values[0], values[1]) if len(values) > 1 else (1, values[0])


def _pads(draft: Draft, node: Node, x: Seen, kernel: Any, stride: Any, dilation: Any = (1, 1)) -> Pads:
    """Top, left, bottom, right."""
    auto = node.attrs.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        size = draft._shapes[x.layer][1:]
        sums = [
            max(0, (-(-size[i] // stride[i]) - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1 - size[i])
            for i in (0, 1)
        ]
        less, more = [n // 2 for n in sums], [n - n // 2 for n in sums]
        first, last = (less, more) if auto == "SAME_UPPER" else (more, less)
        return (first[0], first[1], last[0], last[1])
    given = [int(n) for n in node.attrs.get("pads", [0, 0, 0, 0])]
    if len(given) == 2:
        given = [0, given[0], 0, given[1]]
    if auto == "VALID":
        given = [0, 0, 0, 0]
    if min(given) < 0:
        raise refuse(node, f"it pads by {given}", "Crop the data instead")
    top, left, bottom, right = given
    return (top, left, bottom, right)


def _centred(w: np.ndarray, pads: Pads, dilation: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """The same convolution with as much padding on both sides: rows and columns of zeros make up for the difference.

    Out of reach of a dilated kernel unless the difference is a multiple of the dilation; then it raises ``ValueError``.
    """
    grown, padding = [(0, 0), (0, 0)], []
    for i in (0, 1):
        first, last = pads[i], pads[i + 2]
        rows, rest = divmod(abs(first - last), dilation[i])
        if rest:
            raise ValueError("padding")
        grown.append((rows, 0) if last > first else (0, rows))
        padding.append(max(first, last))
    bounds.PARAMETERS.check(
        w.shape[0] * w.shape[1] * prod(n + sum(g) for n, g in zip(w.shape[2:], grown[2:]))
    )
    return np.pad(w, grown), (padding[0], padding[1])


def _gemm(draft: Draft, node: Node) -> Seen:
    if node.attrs.get("transA", 0) or node.attrs.get("beta", 1.0) not in (0.0, 1.0):
        raise refuse(node, "it transposes its input or scales its bias", "Export it as a plain Gemm")
    weight = _weight(draft, node, 1)
    w = weight.array if node.attrs.get("transB", 0) else weight.array.T
    bias = draft.constant(node, 2) if node.attrs.get("beta", 1.0) else None
    return _dense(draft, node, weight, w * np.float32(node.attrs.get("alpha", 1.0)), bias)


def _matmul(draft: Draft, node: Node) -> Seen:
    weight = _weight(draft, node, 1)
    return _dense(draft, node, weight, weight.array.T, None)


def _dense(draft: Draft, node: Node, weight: Constant, w_OI: np.ndarray, bias: Constant | None) -> Seen:
    layer, order = draft.flat(node)
    if w_OI.ndim != 2 or w_OI.shape[1] != prod(draft._shapes[layer]):
        raise refuse(
            node, f"it has weights of shape {list(w_OI.shape)} for {draft._shapes[layer]}", "Export it again"
        )
    if order is not None:
        w_OI = w_OI[:, np.argsort(order)]
    draft.goto(layer)
    name = draft.named(node, node.inputs[1])
    draft.dense(w_OI.shape[0], bias=bias is not None, name=name)
    b = {} if bias is None else {"bias": np.broadcast_to(bias.array.ravel(), (w_OI.shape[0],))}
    draft.keep(node, name, weight=w_OI, **b)
    _note_scale(draft, name, weight)
    return Seen(name, (0,))


def _batch_norm(draft: Draft, node: Node) -> Seen:
    x = draft.plain(node)
    if x.axes[0] != 0 or x.order is not None:
        raise refuse(node, "its channels are not the first axis", "Export it with channels first")
    names = ("weight", "bias", "running_mean", "running_var")
    arrays = {key: _weight(draft, node, i + 1).array.ravel() for i, key in enumerate(names)}
    name = draft.named(node, node.inputs[1])
    draft.goto(x.layer)
    if any(a.shape != draft.shape[:1] for a in arrays.values()):
        raise refuse(node, "its parameters have another shape than its channels", "Export it again")
    least, eps = float(arrays["running_var"].min()), float(node.attrs.get("epsilon", 1e-5))
    if not (least >= 0 <= eps < float("inf") and least + eps > 0):
        raise refuse(
            node,
            f"its least variance is {least:g} and its epsilon {eps:g}",
            "Export a trained network: a variance is at least 0, and epsilon is above 0",
        )
    shapes = {key: a.shape for key, a in arrays.items()}
    attrs = {"eps": eps, "momentum": 0.1}
    draft._add("batch_norm", draft.shape, name=name, params=shapes, **attrs)
    draft.keep(node, name, **arrays)
    return Seen(name, x.axes)


# --- constants added to and multiplied with what a layer gives ------------------------------------------------------


def _add(draft: Draft, node: Node) -> Seen:
    if any(isinstance(draft.values[name], Constant) for name in node.inputs):
        return _affine(draft, node, "add")
    a, b = draft.plain(node, 0), draft.plain(node, 1)
    if draft.shape_of(a) != draft.shape_of(b):
        raise refuse(
            node, f"it adds shapes {draft.shape_of(a)} and {draft.shape_of(b)}", "Make both shapes equal"
        )
    orders = [np.arange(0) if v.order is None else v.order for v in (a, b)]
    if a.axes != b.axes or not np.array_equal(*orders):
        raise refuse(node, "its operands have different orders of axes", "Add maps of one order")
    return replace(a, layer=draft.add(a.layer, b.layer, name=draft.named(node, "")))


def _affine(draft: Draft, node: Node, how: str) -> Seen:
    """A constant per channel (or one for all) becomes part of the weighted layer before."""
    i = next(i for i, name in enumerate(node.inputs) if isinstance(draft.values[name], Seen))
    x, constant = draft.plain(node, i), draft.constant(node, 1 - i)
    layer = draft.sole_owner(node, i)
    if constant is None or layer is None or (i == 1 and how in ("sub", "div")):
        raise refuse(node, "its constant does not stand right behind a weighted layer", FOLD)
    per = _per_channel(draft, node, x, constant.array.astype(np.float32), layer.params["weight"][0])
    w, b = (draft.arrays.get(layer.param(s)) for s in ("weight", "bias"))
    assert w is not None
    b = np.zeros(len(per), np.float32) if b is None else b
    if how in ("mul", "div"):
        gain = per if how == "mul" else 1 / per
        draft.keep(node, layer.name, weight=w * gain.reshape(-1, *[1] * (w.ndim - 1)), bias=b * gain)
    else:
        draft.keep(node, layer.name, bias=b + per if how == "add" else b - per)
    draft.replace(replace(layer, params={**layer.params, "bias": per.shape}))
    return x


def _per_channel(draft: Draft, node: Node, x: Seen, array: np.ndarray, channels: int) -> np.ndarray:
    if array.size == 1:
        return np.full(channels, array.ravel()[0])
    rank = len(x.axes) + 1
    shape = (*[1] * (rank - array.ndim), *array.shape)
    at = x.axes.index(0) + 1
    if len(shape) != rank or x.order is not None or prod(shape) != shape[at] or shape[at] != channels:
        raise refuse(node, f"its constant of shape {list(array.shape)} is not one per channel", FOLD)
    return array.ravel()


# --- activation functions --------------------------------------------------------------------------------------


def _function(draft: Draft, node: Node, *, fn: str) -> Seen:
    return draft.elementwise(draft.plain(node), "activation", node, fn=fn)


def _leaky(draft: Draft, node: Node) -> Seen:
    slope = float(node.attrs.get("alpha", 0.01))
    if not abs(slope) <= 1:
        raise refuse(node, f"its slope is {slope:g}", "Use a slope from -1 to 1")
    return draft.elementwise(draft.plain(node), "activation", node, fn="leaky_relu", slope=slope)


def _hard_sigmoid(draft: Draft, node: Node) -> Seen:
    alpha, beta = float(node.attrs.get("alpha", 0.2)), float(node.attrs.get("beta", 0.5))
    if abs(alpha - 1 / 6) > 1e-6 or beta != 0.5:
        raise refuse(node, f"its slope is {alpha:g} and its offset {beta:g}", "Use alpha=1/6 and beta=0.5")
    return _function(draft, node, fn="hardsigmoid")


def _gelu(draft: Draft, node: Node) -> Seen:
    if node.attrs.get("approximate", "none") != "none":
        raise refuse(node, "it is approximated", "Use approximate=none")
    return _function(draft, node, fn="gelu")


def _clip(draft: Draft, node: Node) -> Seen:
    low, high = (_bound(draft, node, i, key) for i, key in ((1, "min"), (2, "max")))
    attrs = clip(low, high)
    if attrs is None:
        raise refuse(node, f"it clips to {low} ... {high}", f"Clip to {RANGES}")
    return draft.elementwise(draft.plain(node), "activation", node, **attrs)


RANGES = f"0 to a bound from {LEAST:g} to {MOST:g}, -1 to 1, or from 0 on"
"""What a Clip may clip to."""


def _bound(draft: Draft, node: Node, i: int, key: str) -> float | None:
    """``None``: there is no bound, or one that float32 does not come to."""
    found = None if key in node.attrs else draft.constant(node, i)
    if key not in node.attrs and found is None:
        return None
    value = float(node.attrs[key] if found is None else found.array.reshape(()))
    return None if abs(value) >= 3e38 else value


# --- pools -----------------------------------------------------------------------------------------------------


def _pool(draft: Draft, node: Node, *, kind: str) -> Seen:
    x = draft.image(node)
    kernel = _two(node, "kernel_shape")
    stride = _two(node, "strides")
    if any(n != 1 for n in node.attrs.get("dilations", [1])):
        raise refuse(node, "its window is dilated", "Use a pool without dilation")
    pads = around(x.pads, _pads(draft, node, x, kernel, stride))
    _check_pads(draft, node, x, pads, kernel, stride, kind)
    draft.goto(x.layer)
    name = draft._pool(kind, kernel, stride, pads[:2], draft.named(node, ""))
    return Seen(name, x.axes)


def _check_pads(draft: Draft, node: Node, x: Seen, pads: Pads, kernel: Any, stride: Any, kind: str) -> None:
    """The same on both sides, or more behind than any window comes to."""
    size = draft._shapes[x.layer][1:]
    for i in (0, 1):
        whole = size[i] + pads[i] + pads[i + 2] - kernel[i]
        count = (-(-whole // stride[i]) if node.attrs.get("ceil_mode", 0) else whole // stride[i]) + 1
        if count != plane(size[i], kernel[i], stride[i], pads[i]):
            raise refuse(
                node,
                f"its windows do not fit: padding {list(pads)} of {list(size)}",
                "Pad the same on both sides and use ceil_mode=False, or crop the data",
            )
    if kind == "avg_pool" and any(pads) and not (node.attrs.get("count_include_pad", 0) or any(x.pads)):
        raise refuse(node, "it does not count its padding", "Use count_include_pad=True or no padding")
    if kind == "max_pool" and any(x.pads):
        raise refuse(node, "it reads a map padded with zeros", "Use the padding of the pool itself")


def _global(draft: Draft, node: Node, *, kind: str) -> Seen:
    x = draft.image(node)
    if any(x.pads):
        raise refuse(node, "it reads a padded map", "Pad right before a Conv")
    draft.goto(x.layer)
    size = draft.shape[1:]
    return Seen(draft._pool(kind, size, size, 0, draft.named(node, "")), x.axes)


def _resize(draft: Draft, node: Node) -> Seen:
    """Copies of rows and columns, where the factor is whole and every element is nearest to its own copies."""
    x = draft.image(node)
    if any(x.pads):
        raise refuse(node, "it reads a padded map", "Pad right before a Conv")
    before, after = draft.shape_of(x), _resized(draft, node, x)
    places = node.attrs.get(
        "coordinate_transformation_mode", "half_pixel" if node.op == "Resize" else "asymmetric"
    )
    rounds = node.attrs.get("nearest_mode", "round_prefer_floor" if node.op == "Resize" else "floor")
    own = (places == "asymmetric" and rounds == "floor") or (
        places in ("half_pixel", "pytorch_half_pixel") and rounds.startswith("round")
    )
    factors = [(a, n / m) for a, n, m in zip(x.axes, after, before)]
    whole = all(f == 1 or (f > 1 and f == int(f) and a > 0) for a, f in factors)
    if node.attrs.get("mode", "nearest") != "nearest" or not own or not whole:
        raise refuse(node, f"it makes {list(after)} of {list(before)}", "Use mode=nearest and a whole factor")
    draft.goto(x.layer)
    rows, columns = (int(dict(factors).get(a, 1)) for a in (1, 2))
    return Seen(draft.upsample((rows, columns), name=draft.named(node, "")), x.axes)


def _resized(draft: Draft, node: Node, x: Seen) -> tuple[float, ...]:
    """Sizes per sample; of scales they may have a fraction."""
    last = [draft.constant(node, i) for i in range(1, len(node.inputs))]
    given = [c.array for c in last if c is not None and c.array.size]
    scales = node.attrs.get("scales", given[-1] if given else None)
    sizes = len(node.inputs) > 3 and bool(node.inputs[3])
    if scales is None or len(scales) != len(x.axes) + 1 or not (sizes or scales[0] == 1):
        raise refuse(node, "it has no size for every axis of a sample", "Use scales or sizes of all axes")
    if sizes:
        return tuple(float(n) for n in scales[1:])
    return tuple(float(s) * n for s, n in zip(scales[1:], draft.shape_of(x)))


def _mean(draft: Draft, node: Node) -> Seen:
    x = draft.plain(node)
    axes = ints(node, "axes", draft.constant(node, 1))
    rank = len(x.axes) + 1
    over = {x.axes[a % rank - 1] for a in (axes or []) if a % rank}
    shape = draft._shapes[x.layer]
    wanted = {a for a in range(1, len(shape)) if shape[a] > 1}
    if len(shape) != 3 or not wanted <= over or 0 in over or len(over) != len(axes):
        raise refuse(node, f"its mean over axes {axes} is not that of a map", "Use GlobalAveragePool")
    draft.goto(x.layer)
    name = draft._pool("avg_pool", shape[1:], shape[1:], 0, draft.named(node, ""))
    kept = x.axes if node.attrs.get("keepdims", 1) else tuple(a for a in x.axes if a not in over)
    return Seen(name, kept)


TABLE: dict[str, Make] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "Add": _add,
    "Sub": partial(_affine, how="sub"),
    "Mul": partial(_affine, how="mul"),
    "Div": partial(_affine, how="div"),
    "Relu": partial(_function, fn="relu"),
    "Tanh": partial(_function, fn="tanh"),
    "Sigmoid": partial(_function, fn="sigmoid"),
    "LeakyRelu": _leaky,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": partial(_function, fn="hardswish"),
    "Gelu": _gelu,
    "Clip": _clip,
    "MaxPool": partial(_pool, kind="max_pool"),
    "AveragePool": partial(_pool, kind="avg_pool"),
    "GlobalAveragePool": partial(_global, kind="avg_pool"),
    "GlobalMaxPool": partial(_global, kind="max_pool"),
    "ReduceMean": _mean,
    "Resize": _resize,
    "Upsample": _resize,
    **FORMS,
}
