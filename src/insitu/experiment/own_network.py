"""A network of the user's own, wherever its name is read: ``file.py:function``, ``model.onnx``, or a stored module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from insitu.errors import ConfigError
from insitu.inputs import arrays, bounds, foreign
from insitu.inputs.documents import Source, parse_json
from insitu.network.graph import Layer, Network, chain
from insitu.step.ir import Shape

if TYPE_CHECKING:
    from torch import nn

LAYERS = "insitu.network"
"""Of the entry of a stored network that describes its layers, as JSON in bytes; the others are its parameters."""

_REMEDY = "Store it anew with insitu.train(module, data, out=...)."


def own(name: str, shape: Shape | None, seed: int = 0) -> Network | None:
    """The network that a name of the user's own stands for; ``None``: it is no such name.

    Args:
        shape: of a sample, for a Python file; ``seed``: of torch, for a Python file.

    Raises:
        ConfigError, NetworkError: the file is not there, is damaged, or has something that no layer expresses.
    """
    if foreign.is_file(name):
        from insitu.network.torch.userfile import from_file

        return from_file(name, shape, seed)
    if not foreign.is_stored(name):
        return None
    if name.lower().endswith(".onnx"):
        from insitu.network.onnx import load

        return load(name).network
    return restored(Path(name))


def store(module: nn.Module, shape: Shape, path: Path) -> None:
    """Writes what a module computes for samples of a shape, with its parameters, as a file that :func:`own` reads.

    Raises:
        NetworkError: something in the module cannot be captured.
    """
    from insitu.network.torch.capture import capture, example

    net = capture(module, example(module, shape))
    layers = [vars(layer) for layer in net.layers]
    text = {"name": net.name, "input_shape": net.input_shape, "frozen": sorted(net.frozen), "layers": layers}
    described = np.frombuffer(json.dumps(text, default=dict).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {LAYERS: described, **net.params}
    np.savez(path, **values)


def restored(path: Path) -> Network:
    """The network of a file of :func:`store`.

    Raises:
        ConfigError: there is no such file, or it holds no network.
    """
    if not path.is_file():
        raise ConfigError(f"network {str(path)!r}: there is no such file; check the path")
    found = arrays.read(path, _REMEDY, refusal=ConfigError)
    source = Source(f"network {path}", _REMEDY, ConfigError)
    if LAYERS not in found:
        raise source.refuse("holds arrays, but no layers")
    text = parse_json(found.pop(LAYERS).astype(np.uint8).tobytes().decode(errors="replace"), source)
    try:
        net = _network(text, found)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise source.refuse(f"describes no network ({type(error).__name__}: {error})") from None
    return net


def _network(text: Any, params: Mapping[str, np.ndarray]) -> Network:
    bounds.LAYERS.check(len(text["layers"]))
    layers = [Layer(**{k: _tuples(v) for k, v in each.items()}) for each in text["layers"]]
    shapes = {layer.param(s): tuple(shape) for layer in layers for s, shape in layer.params.items()}
    bounds.PARAMETERS.check(sum(map(prod, shapes.values())))
    if shapes != {name: value.shape for name, value in params.items()}:
        raise ValueError("its parameters are not those of its layers")
    values = {name: value.astype(np.float32) for name, value in params.items()}
    return Network(text["name"], tuple(text["input_shape"]), chain(layers), values, frozenset(text["frozen"]))


def _tuples(value: Any) -> Any:
    """Lists, which JSON makes of tuples, as tuples again."""
    if isinstance(value, dict):
        return {name: _tuples(inner) for name, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
