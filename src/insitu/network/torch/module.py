"""A network as a ``torch.nn.Module``: the autograd oracle, the PyTorch baseline, and what users get back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from insitu.errors import NetworkError
from insitu.network.graph import INPUT, Layer, Network
from insitu.ops.activations import ACTIVATIONS
from insitu.step.ir import Shape


def _sign(x: Tensor) -> Tensor:
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)


def _straight_through(ctx: Any, d: Tensor) -> Tensor:
    """The derivative of hard tanh at the input (Hubara 2016)."""
    (x,) = ctx.saved_tensors
    return torch.ops.aten.hardtanh_backward(d, x, -1, 1)


# An op of its own, since torch.export would replace an autograd.Function by its forward and lose the name.
sign = torch.library.custom_op("insitu::sign", _sign, mutates_args=(), schema="(Tensor x) -> Tensor")
sign.register_fake(torch.empty_like)
sign.register_autograd(
    _straight_through, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs)
)


class Sign(nn.Module):
    """±1 of the input, with sign(0) = +1; straight-through: the gradient passes where -1 < x < 1."""

    def forward(self, x: Tensor) -> Tensor:
        return sign(x)


class Add(nn.Module):
    """Sum of two tensors of the same shape."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class NetworkModule(nn.Module):
    """The layers of a network as submodules of the same names, run in order.

    Input ``(batch, *input_shape)``, output ``(batch, *shape of the last layer)``.
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        layers = list(net.layers)
        shapes = {INPUT: net.input_shape} | {x.name: x.shape for x in layers}
        for layer in layers:
            _place(self, layer.name, _module(layer, shapes[layer.inputs[0]]))
        # One private attribute, so that no layer name of the user's can collide.
        self._insitu_plan = [(x.name, x.inputs, _last_used(layers, i)) for i, x in enumerate(layers)]

    def forward(self, x: Tensor) -> Tensor:
        values = {INPUT: x}
        for name, inputs, done in self._insitu_plan:
            values[name] = x = self.get_submodule(name)(*(values[i] for i in inputs))
            for source in done:
                del values[source]
        return x


def to_module(net: Network, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A module that computes the network under autograd, with its parameters loaded.

    Its ``state_dict`` has the names of ``net.params`` (and PyTorch's own ``num_batches_tracked`` counters).
    In training mode a batch norm uses the statistics of the batch (biased variance) and moves the running
    ones (unbiased variance) by its momentum; dropout draws from PyTorch's generator.

    Raises:
        NetworkError: a network captured from a bare layer that computes more than this layer.
    """
    layers = list(net.layers)
    if len(layers) == 1 and not layers[0].name:
        module = _module(layers[0], net.input_shape)
    else:
        module = NetworkModule(net)
    module = module.to(dtype)
    net.load_into(module)
    return module


def _last_used(layers: list[Layer], at: int) -> tuple[str, ...]:
    """The values that nobody reads after layer ``at``."""
    later = {source for x in layers[at + 1 :] for source in x.inputs}
    return tuple({i: None for i in layers[at].inputs if i not in later})


def _place(root: nn.Module, name: str, module: nn.Module) -> None:
    """Adds a submodule under a dotted path, with empty modules on the way."""
    if not name:
        raise NetworkError("the module is a layer itself; wrap it in nn.Sequential before capture")
    *path, leaf = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(leaf, module)


def _dense(layer: Layer, _before: Shape) -> nn.Module:
    outputs, inputs = layer.params["weight"]
    return nn.Linear(inputs, outputs, bias="bias" in layer.params)


def _conv2d(layer: Layer, before: Shape) -> nn.Module:
    channels, _, *kernel = layer.params["weight"]
    geometry = {k: layer.attrs[k] for k in ("stride", "padding", "dilation", "groups")}
    return nn.Conv2d(before[0], channels, tuple(kernel), bias="bias" in layer.params, **geometry)


def _batch_norm(layer: Layer, before: Shape) -> nn.Module:
    kind = nn.BatchNorm1d if len(before) == 1 else nn.BatchNorm2d
    affine = "weight" in layer.params
    module = kind(before[0], eps=layer.attrs["eps"], momentum=layer.attrs["momentum"], affine=affine)
    if affine and "bias" not in layer.params:
        module.register_parameter("bias", None)
    return module


def _pool(fixed: type[nn.Module], adaptive: type[nn.Module]) -> Callable[[Layer, Shape], nn.Module]:
    def make(layer: Layer, _before: Shape) -> nn.Module:
        if layer.attrs.get("size") is not None:
            return adaptive(layer.attrs["size"])
        return fixed(*(layer.attrs[k] for k in ("kernel", "stride", "padding")))

    return make


def _activation(layer: Layer, _before: Shape) -> nn.Module:
    f = ACTIVATIONS[layer.attrs["fn"]]
    kind = Sign if f.module == Sign.__name__ else getattr(nn, f.module)
    if f.high is not None:
        return kind(0.0, layer.attrs["high"])
    return kind() if f.slope is None else kind(layer.attrs.get("slope", 0.0))


_KINDS: dict[str, Callable[[Layer, Shape], nn.Module]] = {
    "dense": _dense,
    "conv2d": _conv2d,
    "batch_norm": _batch_norm,
    "activation": _activation,
    "max_pool": _pool(nn.MaxPool2d, nn.AdaptiveMaxPool2d),
    "avg_pool": _pool(nn.AvgPool2d, nn.AdaptiveAvgPool2d),
    "upsample": lambda layer, _: nn.Upsample(scale_factor=tuple(map(float, layer.attrs["factor"]))),
    "rms_norm": lambda layer, _: nn.RMSNorm(layer.shape, eps=layer.attrs["eps"], elementwise_affine=False),
    "dropout": lambda layer, _: (nn.Dropout2d if layer.attrs.get("channels") else nn.Dropout)(
        layer.attrs["p"]
    ),
    "reshape": lambda layer, _: nn.Flatten() if len(layer.shape) == 1 else nn.Unflatten(1, layer.shape),
    "add": lambda _layer, _before: Add(),
    "couple": lambda _layer, _before: Add(),
}


def _module(layer: Layer, before: Shape) -> nn.Module:
    """The module of one layer, whose first input has shape ``before`` per sample."""
    return _KINDS[layer.kind](layer, before)
