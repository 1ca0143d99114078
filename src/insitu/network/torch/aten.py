"""What becomes of each ATen op: one function an op, and the table of them.

A function takes the draft, the node and the op's arguments by name; it adds a layer, or none, and returns the
name of the layer whose output the node stands for. What has no layer kind it refuses.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import fx, nn

from insitu.network.layers import pair
from insitu.network.torch.calls import Place, arguments, in_place, op_name, short_name
from insitu.network.torch.graph import Draft, lifted
from insitu.network.torch.refusals import PAD, PLANE_MEAN, Supported, refuse, refuse_kind
from insitu.ops.activations import ACTIVATIONS, LEAST, MOST, clip
from insitu.ops.conv import plane
from insitu.step.ir import Shape

Arguments = Mapping[str, Any]

_VIEWS = ("flatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "alias", "to", "getitem")
_GETITEM = operator.getitem.__name__


def known(node: fx.Node) -> bool:
    """The op has a place in the table."""
    return row(op_name(node)) is not None


def translate(draft: Draft, node: fx.Node) -> str:
    """Adds what a node computes to the draft; returns the layer whose output it is."""
    place, op = Place.of(node), op_name(node)
    foreign = (
        place.builtin and short_name(place.kind) not in supported().classes
    )  # an LSTM calls known ops, too
    found = row(op)
    if found is None or foreign:
        refuse_kind(node, supported())
    return found.make(draft, node, {} if op == _GETITEM else arguments(node))


def shares_storage(draft: Draft, node: fx.Node) -> bool:
    """The node's output is its first argument's memory."""
    idle = (
        op_name(node) in ("dropout", "feature_dropout") and draft.values[node] == draft.values[node.args[0]]
    )
    return op_name(node) in _VIEWS or in_place(node) or idle


# Layers with weights


def _linear(draft: Draft, node: fx.Node, a: Arguments) -> str:
    x = draft.flat(node, a["input"])
    name, params = draft.parameters(node, weight=a["weight"], bias=a["bias"])
    return draft.emit(node, "dense", (x,), name=name, params=params)


def _conv2d(draft: Draft, node: fx.Node, a: Arguments) -> str:
    x = draft.image(node, a["input"])
    name, params = draft.parameters(node, weight=a["weight"], bias=a["bias"])
    dilation = _pair(node, a["dilation"])
    own = _padding(node, a["padding"], params["weight"][2:], dilation)
    top, left = draft.pads.get(a["input"], (0, 0))
    geometry = {
        "stride": _pair(node, a["stride"]),
        "padding": (own[0] + top, own[1] + left),
        "dilation": dilation,
        "groups": a["groups"],
    }
    _check_pads(draft, node, x, params["weight"][2:], geometry)
    return draft.emit(node, "conv2d", (x,), geometry, name=name, params=params)


def _pair(node: fx.Node, n: Any, beside: int = 1) -> tuple[int, int]:
    """A scalar, one or two numbers as (vertical, horizontal); ``beside``: the vertical one of an op over a length."""
    first = n[0] if isinstance(n, (list, tuple)) and len(n) == 1 else n
    return (beside, int(first)) if _over_length(node) else pair(first)


def _over_length(node: fx.Node) -> bool:
    return "1d" in op_name(node)


def _padding(node: fx.Node, padding: Any, kernel: Shape, dilation: tuple[int, int]) -> tuple[int, int]:
    if padding == "valid":
        return (0, 0)
    if padding != "same":
        return _pair(node, padding, 0)
    total = [d * (k - 1) for d, k in zip(dilation, kernel)]
    if any(n % 2 for n in total):
        refuse(node, f"padding='same' of an even kernel {list(kernel)} is not symmetric", "Use odd sizes")
    return (total[0] // 2, total[1] // 2)


def _check_pads(draft: Draft, node: fx.Node, x: str, kernel: Shape, geometry: dict[str, Any]) -> None:
    """Zeros on the other sides are as many, or are not read."""
    each = zip(draft.shapes[x][1:], kernel, *(geometry[k] for k in ("stride", "padding", "dilation")))
    if tuple(plane(*sizes) for sizes in each) != draft.shape(node)[1:]:
        refuse(
            node,
            "it reads a map that is not padded the same on both sides",
            "Pad the same, as nn.ZeroPad2d(1) does",
        )


def _zeros(draft: Draft, node: fx.Node, a: Arguments) -> str:
    """Zeros around a map are part of the convolutions that read it."""
    x, given = draft.image(node, node.args[0]), [int(n) for n in a["pad"]]
    if a.get("mode", "constant") != "constant" or a["value"] not in (None, 0) or min(given) < 0:
        refuse_kind(node, supported())
    if len(given) > 4 or any(user.op == "output" for user in node.users):
        refuse(node, "it pads other axes, or what the network gives back", PAD)
    top, left = draft.pads.get(node.args[0], (0, 0))
    draft.pads[node] = (top + (given[2] if len(given) > 2 else 0), left + given[0])
    return x


def _batch_norm(draft: Draft, node: fx.Node, a: Arguments) -> str:
    x = draft.value(node, a["input"])
    if len(draft.shapes[x]) not in (1, 3):
        refuse_kind(node, supported())
    if a["running_mean"] is None or not a["training"]:
        refuse(node, "it keeps no running statistics in training mode", "Use track_running_stats=True")
    if a["bias"] is not None and a["weight"] is None:
        refuse(node, "it has a bias but no weight", "Use affine=True or affine=False")
    arrays = {k: a[k] for k in ("weight", "bias", "running_mean", "running_var")}
    name, params = draft.parameters(node, **arrays)
    attrs = {"eps": a["eps"], "momentum": a["momentum"]}
    return draft.emit(node, "batch_norm", (x,), attrs, name=name, params=params)


# Layers without


def _activation(draft: Draft, node: fx.Node, a: Arguments) -> str:
    """The op has the name of the activation function."""
    attrs: dict[str, Any] = {"fn": op_name(node)}
    if a.get("approximate", "none") != "none":
        refuse(node, f"it is approximated by {a['approximate']}", "Use nn.GELU() without an approximation")
    if "negative_slope" in a:
        attrs["slope"] = a["negative_slope"]
    return draft.emit(node, "activation", (draft.value(node, node.args[0]),), attrs)


def _hardtanh(draft: Draft, node: fx.Node, a: Arguments) -> str:
    """Also ``clamp``, which has other names for the bounds."""
    low, high = a.get("min_val", a.get("min")), a.get("max_val", a.get("max"))
    attrs = clip(low, high)
    if attrs is None:
        remedy = f"Use nn.Hardtanh(0, c) with c from {LEAST:g} to {MOST:g}, nn.Hardtanh(-1, 1) or nn.ReLU"
        refuse(node, f"its range is {low} to {high}", remedy)
    return draft.emit(node, "activation", (draft.value(node, node.args[0]),), attrs)


def _pool(draft: Draft, node: fx.Node, a: Arguments, *, kind: str) -> str:
    x = draft.image(node, node.args[0])
    _check_pool(node, a)
    stride = a["stride"] or a["kernel_size"]
    attrs = {
        "kernel": _pair(node, a["kernel_size"]),
        "stride": _pair(node, stride),
        "padding": _pair(node, a["padding"], 0),
    }
    if a["ceil_mode"]:
        _check_ceil(node, draft.shapes[x], draft.shape(node), attrs)
    return draft.emit(node, kind, (x,), attrs)


def _check_pool(node: fx.Node, a: Arguments) -> None:
    if "dilation" in a and _pair(node, a["dilation"]) != (1, 1):
        refuse(node, "its window is dilated", "Use dilation=1")
    if a.get("divisor_override") is not None:
        refuse(node, "it divides by another number than the size of its window", "Use divisor_override=None")
    if a.get("count_include_pad") is False and _pair(node, a["padding"], 0) != (0, 0):
        refuse(node, "it does not count its padding", "Use count_include_pad=True or no padding")


def _check_ceil(node: fx.Node, before: Shape, after: Shape, attrs: Mapping[str, Any]) -> None:
    """Rounding up is the same as rounding down where the windows fit."""
    sizes = zip(before[1:], attrs["kernel"], attrs["stride"], attrs["padding"])
    if tuple((n + 2 * p - k) // s + 1 for n, k, s, p in sizes) != after[1:]:
        refuse(node, "ceil_mode=True makes partial windows here", "Use ceil_mode=False and padding")


def _adaptive_pool(draft: Draft, node: fx.Node, _a: Arguments, *, kind: str) -> str:
    """An ordinary pool where the output's size divides the input's."""
    x = draft.image(node, node.args[0])
    before, after = draft.shapes[x][1:], draft.shape(node)[1:]
    if any(n % m for n, m in zip(before, after)):
        return draft.emit(node, kind, (x,), {"size": tuple(after)})
    return draft.emit(node, kind, (x,), _tiles((before[0] // after[0], before[1] // after[1])))


def _upsample(draft: Draft, node: fx.Node, a: Arguments) -> str:
    """Rows and columns of copies, where the factor is whole."""
    x = draft.image(node, node.args[0])
    before, after = draft.shapes[x][1:], draft.shape(node)[1:]
    factor = (after[0] // before[0], after[1] // before[1])
    asked = a.get("scale_factors") or factor
    if tuple(n * f for n, f in zip(before, factor)) != after or list(asked) != list(factor)[-len(asked) :]:
        refuse(node, f"it makes {list(after)} of {list(before)}", "Use nn.Upsample by a whole factor")
    return draft.emit(node, "upsample", (x,), {"factor": factor})


def _tiles(kernel: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """The geometry of windows side by side."""
    return {"kernel": kernel, "stride": kernel, "padding": (0, 0)}


def _mean(draft: Draft, node: fx.Node, a: Arguments) -> str:
    """The mean over height and width, or the length, is an average pool over the whole plane."""
    x, source = draft.value(node, node.args[0]), node.args[0]
    rank, dims = source.meta["val"].dim(), a.get("dim") or []
    if rank < 3 or {d % rank for d in dims} != {*range(2, rank)}:
        refuse(node, f"it is a mean over the dimensions {list(dims)}", PLANE_MEAN)
    channels, height, width = draft.shapes[x]
    pooled = draft.emit(node, "avg_pool", (x,), _tiles((height, width)), shape=(channels, 1, 1))
    if a["keepdim"]:
        return pooled
    return draft.emit(node, "reshape", (pooled,), name=draft.unique(f"{pooled}_flatten"))


def _dropout(draft: Draft, node: fx.Node, a: Arguments) -> str:
    x = draft.value(node, node.args[0])
    if a["p"] == 0 or not a["train"]:
        return x
    if a["p"] >= 1:
        refuse(node, "it drops everything", "Use a rate below 1")
    channels = op_name(node) == "feature_dropout" and len(draft.shapes[x]) == 3
    return draft.emit(node, "dropout", (x,), {"p": a["p"]} | ({"channels": True} if channels else {}))


def _rms_norm(draft: Draft, node: fx.Node, a: Arguments) -> str:
    x = draft.value(node, a["input"])
    over, shape = lifted(tuple(a["normalized_shape"])), draft.shapes[x]
    if a["weight"] is not None:
        refuse(node, "it has weights", "Use nn.RMSNorm(..., elementwise_affine=False)")
    if over != shape:
        refuse(
            node,
            f"it normalises over {list(over)} of {list(shape)}",
            "Normalise over all features of a sample",
        )
    eps = torch.finfo(node.meta["val"].dtype).eps if a["eps"] is None else a["eps"]
    return draft.emit(node, "rms_norm", (x,), {"eps": eps})


def _add(draft: Draft, node: fx.Node, a: Arguments) -> str:
    if not isinstance(a["other"], fx.Node):
        remedy = "Use the bias of the layer before, or shift the data"
        refuse(node, f"it adds the constant {a['other']}", remedy)
    inputs = (draft.value(node, a["self"]), draft.value(node, a["other"]))
    if a["alpha"] != 1:
        refuse(node, f"it scales by alpha={a['alpha']}", "Add without a factor")
    one, other = (draft.shapes[i] for i in inputs)
    if one != other:
        refuse(node, f"it adds {one} and {other} per sample", "Make both shapes equal")
    return draft.emit(node, "add", inputs)


# The same numbers in another form


def _reshape(draft: Draft, node: fx.Node, _a: Arguments) -> str:
    x = draft.value(node, node.args[0])
    shape = draft.shape(node)
    if shape == draft.shapes[x]:
        return x
    to_sequence = op_name(node) == "unsqueeze" and len(draft.shapes[x]) == 1
    if len(shape) != 1 and not to_sequence:
        remedy = "Only x.flatten(1) to (batch, features) is known"
        refuse(node, f"it makes the shape {['batch', *shape]}", remedy)
    return draft.emit(node, "reshape", (x,))


def _same(draft: Draft, node: fx.Node, _a: Arguments) -> str:
    """The same numbers; a change of type is refused."""
    source: Any = node.args[0]
    x, dtype = draft.value(node, source), node.meta["val"].dtype
    if dtype != source.meta["val"].dtype:
        refuse(node, f"it changes the type to {dtype}", "Leave number formats to the precision")
    return x


def _item(draft: Draft, node: fx.Node, _a: Arguments) -> str:
    """The first of several results; the others (indices of a pool) are no values of the network."""
    if node.args[1] != 0:
        refuse(node, "it uses the indices of a pool", "Use the pooled values only")
    return draft.value(node, node.args[0])


@dataclass(frozen=True)
class Row:
    """What becomes of an ATen op, and the classes of ``torch.nn`` that are calls of it."""

    make: Callable[[Draft, fx.Node, Arguments], str]
    classes: tuple[str, ...] = ()


_MAX = partial(_pool, kind="max_pool")

TABLE: dict[str, Row] = {
    "linear": Row(_linear, ("Linear",)),
    "conv2d": Row(_conv2d, ("Conv2d",)),
    "conv1d": Row(_conv2d, ("Conv1d",)),
    "batch_norm": Row(_batch_norm, ("BatchNorm1d", "BatchNorm2d")),
    "pad": Row(_zeros, ("ZeroPad1d", "ZeroPad2d", "ConstantPad1d", "ConstantPad2d")),
    "constant_pad_nd": Row(_zeros),
    "rms_norm": Row(_rms_norm, ("RMSNorm",)),
    "hardtanh": Row(_hardtanh),
    "clamp": Row(_hardtanh),
    "max_pool2d": Row(_MAX, ("MaxPool2d",)),
    "max_pool2d_with_indices": Row(_MAX),
    "max_pool1d": Row(_MAX, ("MaxPool1d",)),
    "max_pool1d_with_indices": Row(_MAX),
    "avg_pool2d": Row(partial(_pool, kind="avg_pool"), ("AvgPool2d",)),
    "avg_pool1d": Row(partial(_pool, kind="avg_pool"), ("AvgPool1d",)),
    "adaptive_max_pool1d": Row(partial(_adaptive_pool, kind="max_pool"), ("AdaptiveMaxPool1d",)),
    "adaptive_avg_pool1d": Row(partial(_adaptive_pool, kind="avg_pool"), ("AdaptiveAvgPool1d",)),
    "adaptive_max_pool2d": Row(partial(_adaptive_pool, kind="max_pool"), ("AdaptiveMaxPool2d",)),
    "adaptive_avg_pool2d": Row(partial(_adaptive_pool, kind="avg_pool"), ("AdaptiveAvgPool2d",)),
    "upsample_nearest1d": Row(_upsample, ("Upsample",)),
    "upsample_nearest2d": Row(_upsample, ("UpsamplingNearest2d",)),
    "mean": Row(_mean),
    "dropout": Row(_dropout, ("Dropout",)),
    "feature_dropout": Row(_dropout, ("Dropout1d", "Dropout2d")),
    "add": Row(_add),
    "flatten": Row(_reshape, ("Flatten",)),
    "view": Row(_reshape),
    "reshape": Row(_reshape),
    "squeeze": Row(_reshape),
    "unsqueeze": Row(_reshape),
    "contiguous": Row(_same),
    "clone": Row(_same),
    "alias": Row(_same),
    "to": Row(_same),
    "_to_copy": Row(_same),
    _GETITEM: Row(_item),
}
"""Ops other than activation functions, which are those of :data:`insitu.ops.activations.ACTIVATIONS`."""


def row(op: str) -> Row | None:
    """What becomes of an op; ``None`` where it has no place in the tables."""
    return TABLE.get(op) or (Row(_activation) if op in ACTIVATIONS else None)


def supported() -> Supported:
    """The classes of both tables."""
    functions = tuple(dict.fromkeys(f.module for f in ACTIVATIONS.values() if hasattr(nn, f.module)))
    return Supported((*(c for r in TABLE.values() for c in r.classes), *functions), functions)
