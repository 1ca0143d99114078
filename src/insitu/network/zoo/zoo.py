"""Networks by name, for experiments, costs and tests; the families are in ``architectures``. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from math import prod
from typing import Any

from insitu.errors import ConfigError, NetworkError
from insitu.network.graph import WEIGHTED, Layer, Network
from insitu.network.zoo.architectures import ENTRIES, Entry
from insitu.network.zoo.builder import Options, Sketch, size_text
from insitu.ops.activations import ACTIVATIONS
from insitu.step.ir import Shape

LONGEST = 200
"""Characters of a name."""


def names() -> tuple[str, ...]:
    """The listed names; ``mlp-...``, ``cnn-...`` and ``vgg..b-xW`` take other sizes too."""
    return tuple(name for entry in ENTRIES for name in entry.names)


def build(
    name: str,
    *,
    input_shape: Shape | None = None,
    classes: int | None = None,
    activation: str | None = None,
    batch_norm: bool | None = None,
    dropout: float | None = None,
    seed: int = 0,
) -> Network:
    """The network of that name, with initial values drawn from ``seed``.

    Args:
        name: such as ``mlp-784-1000-10``, ``lenet5``, ``vgg8b-x0.25``; see :func:`names`.
        input_shape: per sample, ``(features,)`` or ``(channels, height, width)``.
        classes: number of outputs.
        activation: of all hidden layers: a name of :data:`insitu.ops.activations.ACTIVATIONS`.
        batch_norm: a batch norm between each weighted hidden layer and its activation.
        dropout: rate. After every hidden activation (``mlp``, ``cnn``, ``vgg``, ``autoencoder``), after the
            dense ones (``lenet5``, ``drtp-conv``), before the last layer (``resnet``, ``mobilenet``); in
            ``ds-cnn`` after the first layer, and twice the rate before the pool.
        seed: of the initial values.

    ``None`` leaves an option at the network's own default.

    Raises:
        ConfigError: an unknown name or activation, or an option out of range.
        NetworkError: the network does not fit the input shape.
    """
    return _sketch(name, input_shape, classes, activation, batch_norm, dropout).network(seed)


def fitted(name: str, sample_shape: Shape, classes: int, **options: Any) -> Network:
    """The network of that name for data of a shape: an ``mlp`` and an autoencoder have their sizes in the name."""
    if name.startswith(SIZED):
        return build(name, **options)
    return build(name, input_shape=sample_shape, classes=classes, **options)


SIZED = ("mlp-", "autoencoder")
"""Beginnings of names that hold the sizes of input and output."""


def describe() -> list[dict[str, Any]]:
    """The zoo as rows: ``name``, ``what``, ``input_shape``, ``parameters``, ``macs`` (per sample), ``paper``.

    ``parameters`` counts weights and biases, not running statistics.
    """
    rows = []
    for entry in ENTRIES:
        sketch = _sketch(entry.names[0])
        row = {"name": entry.names[0], "what": entry.what, "input_shape": sketch.input_shape}
        counts = {"parameters": parameters(sketch.layers), "macs": macs(sketch.layers)}
        rows.append({**row, **counts, "paper": entry.paper})
    return rows


def parameters(layers: Iterable[Layer]) -> int:
    """Number of weights and biases."""
    trained = (shape for x in layers for suffix, shape in x.params.items() if "running" not in suffix)
    return sum(map(prod, trained))


def macs(layers: Iterable[Layer]) -> int:
    """Multiply-accumulates of the weighted layers in one forward pass of one sample, padding counted."""
    return sum(prod(x.shape) * prod(x.params["weight"][1:]) for x in layers if x.kind in WEIGHTED)


def _sketch(
    name: str,
    input_shape: Shape | None = None,
    classes: int | None = None,
    activation: str | None = None,
    batch_norm: bool | None = None,
    dropout: float | None = None,
) -> Sketch:
    entry, match = _find(name)
    options = Options(
        _classes(name, entry, match, classes),
        _activation(activation or entry.activation),
        entry.batch_norm if batch_norm is None else batch_norm,
        _rate(entry.dropout if dropout is None else dropout),
    )
    default = entry.input_shape(match) if callable(entry.input_shape) else entry.input_shape
    sketch = Sketch(name, _input(name, default, input_shape), options)
    entry.draw(sketch, match)
    return sketch


def _find(name: str) -> tuple[Entry, re.Match[str]]:
    if len(name) > LONGEST:
        raise ConfigError(
            f"network {name[:40]!r}... has a name of {len(name):,} characters; use at most {LONGEST}"
        )
    for entry in ENTRIES:
        match = re.fullmatch(entry.pattern, name)
        if match and float(match.groupdict().get("width") or 1) > 0:
            return entry, match
    near = get_close_matches(name, names(), n=3, cutoff=0.5)
    near = near or [n for n in names() if n.split("-")[0] == name.split("-")[0]]
    hint = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(names())}"
    raise ConfigError(f"network {name!r} is unknown; {hint} 'insitu list networks' shows all")


def _classes(name: str, entry: Entry, match: re.Match[str], asked: int | None) -> int:
    if callable(entry.classes):
        fixed = entry.classes(match)
        if asked in (None, fixed):
            return fixed
        raise ConfigError(f"network {name} has {fixed} outputs, not {asked}; use one with {asked}")
    n = entry.classes if asked is None else asked
    if n < 1:
        raise ConfigError(f"network {name} cannot have {n} classes; give 1 or more")
    return n


def _activation(fn: str) -> str:
    if fn not in ACTIVATIONS:
        near = get_close_matches(fn, ACTIVATIONS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(ACTIVATIONS)}"
        raise ConfigError(f"activation {fn!r} is unknown; {hint}")
    return fn


def _rate(p: float) -> float:
    if not 0 <= p < 1:
        raise ConfigError(f"dropout {p} is out of range; use a rate from 0 up to, not including, 1")
    return p


def _input(name: str, default: Shape, asked: Shape | None) -> Shape:
    shape = default if asked is None else tuple(asked)
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise NetworkError(
            f"network {name} cannot take an input of shape {size_text(shape)}; "
            "use (features,) or (channels, height, width)"
        )
    if len(default) == 3 and len(shape) != 3:
        raise NetworkError(
            f"network {name} takes images (channels, height, width), but a sample has shape {size_text(shape)}; "
            f"use image data, or an mlp such as mlp-{shape[0]}-100-10"
        )
    return shape
