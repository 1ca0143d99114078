"""The network that a function of a user's own file returns, ``path/module.py:function``."""

from __future__ import annotations

from math import prod

import torch
from torch import nn

from insitu.errors import ConfigError
from insitu.inputs import bounds, foreign
from insitu.network.graph import Network
from insitu.network.torch.capture import capture, example
from insitu.step.ir import Shape


def from_file(spec: str, sample_shape: Shape | None, seed: int = 0) -> Network:
    """Runs the file and the function, and captures the ``nn.Module`` for one sample.

    Args:
        sample_shape: ``(features,)``, ``(channels, length)`` or ``(channels, height, width)``; ``None``: that of a
            first dense layer.
        seed: of torch, set before the function is called.

    Raises:
        ConfigError: the file or the function does not end as it should, or the shape is needed.
        NetworkError: something in the module cannot be captured.
    """
    with foreign.loaded(spec) as function:
        torch.manual_seed(seed)
        made = function()
        if not isinstance(made, nn.Module):
            raise ConfigError(f"network {spec!r} returned {type(made).__name__}; return a torch.nn.Module")
        net = capture(made, example(made, sample_shape or _features(spec, made)), name=_name(spec))
    _bounded(spec, net)
    return net


def _name(spec: str) -> str:
    path, function = foreign.parts(spec)
    return f"{path.stem}:{function}"


def _features(spec: str, module: nn.Module) -> Shape:
    """The input of a module that begins with a dense layer."""
    first = next((m for m in module.modules() if next(m.parameters(recurse=False), None) is not None), None)
    if not isinstance(first, nn.Linear):
        raise ConfigError(
            f"network {spec!r} does not begin with a dense layer; say what a sample is: --input 1x28x28"
        )
    return (first.in_features,)


def _bounded(spec: str, net: Network) -> None:
    try:
        bounds.LAYERS.check(len(list(net.layers)))
        bounds.PARAMETERS.check(sum(prod(value.shape) for value in net.params.values()))
    except ValueError as error:
        raise ConfigError(f"network {spec!r}: a size {error}; use a smaller network") from None
