"""Batch norms taken out of a network: folded into the weights in front of them, or replaced by RMS norms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from insitu.errors import NetworkError
from insitu.network.graph import WEIGHTED, Layer, Network, chain


def with_rms(net: Network) -> Network:
    """Every batch norm becomes an RMS norm over the features of a sample, without parameters: serves batch 1, and is a
    power-of-two shift in integers."""
    layers = [_as_rms(layer) for layer in net.layers]
    return _rebuilt(net, layers, dict(net.params))


def _as_rms(layer: Layer) -> Layer:
    if layer.kind != "batch_norm":
        return layer
    return replace(layer, kind="rms_norm", attrs={"eps": layer.attrs["eps"]}, params={})


def folded(net: Network) -> Network:
    """Every batch norm with its running statistics becomes part of the dense or conv2d layer in front of it.

    w' = w γ / √(σ² + ε), b' = β + (b - µ) γ / √(σ² + ε): the same outputs as in inference.

    Raises:
        NetworkError: if a norm reads something else, or something else reads what it normalises.
    """
    layers = {layer.name: layer for layer in net.layers}
    params = dict(net.params)
    renamed: dict[str, str] = {}
    for norm in [x for x in net.layers if x.kind == "batch_norm"]:
        source = layers.get(norm.inputs[0])
        readers = [x for x in net.layers if norm.inputs[0] in x.inputs]
        if source is None or source.kind not in WEIGHTED or len(readers) != 1:
            raise NetworkError(
                f"batch norm {norm.name} of {net.name} does not stand alone behind a dense or conv2d layer, so it "
                "cannot be folded; use network option norm=rms"
            )
        layers[source.name] = _fold(source, norm, params)
        renamed[norm.name] = source.name
        del layers[norm.name]
    kept = [replace(x, inputs=tuple(renamed.get(i, i) for i in x.inputs)) for x in layers.values()]
    return _rebuilt(net, kept, params)


def _fold(layer: Layer, norm: Layer, params: dict[str, Any]) -> Layer:
    """Changes the layer's parameters; it has a bias afterwards."""
    mean, var = (params[norm.param(s)] for s in ("running_mean", "running_var"))
    gamma = params.get(norm.param("weight"), np.ones_like(mean))
    beta = params.get(norm.param("bias"), np.zeros_like(mean))
    gain = (gamma / np.sqrt(var + norm.attrs["eps"])).astype(np.float32)
    weight, bias = params[layer.param("weight")], params.get(layer.param("bias"), np.zeros_like(mean))
    params[layer.param("weight")] = (weight * gain.reshape(-1, *(1,) * (weight.ndim - 1))).astype(np.float32)
    params[layer.param("bias")] = (beta + (bias - mean) * gain).astype(np.float32)
    return replace(layer, params={**layer.params, "bias": mean.shape})


def _rebuilt(net: Network, layers: Iterable[Layer], params: dict[str, Any]) -> Network:
    """The network of these layers, with the parameters that they have."""
    ordered = list(layers)
    names = {layer.param(suffix) for layer in ordered for suffix in layer.params}
    return replace(
        net,
        blocks=chain(ordered),
        params={name: array for name, array in params.items() if name in names},
        frozen=net.frozen & names,
    )
