"""A network's blocks one by one in plain PyTorch: for rules whose passes are not the network's own."""

from __future__ import annotations

import torch

from insitu.network.graph import INPUT, Block, Network
from insitu.network.torch.module import to_module

Tensors = dict[str, torch.Tensor]


class Blocks:
    """The blocks of a network under autograd, in float64 and training mode."""

    def __init__(self, net: Network, *, training: bool = True) -> None:
        self.net = net
        self.module = to_module(net, dtype=torch.float64).train(training)

    def run(self, block: Block, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The block's activation and its output for any number of rows."""
        own = {x.name for x in block.layers}
        values = {INPUT: h}
        for layer in block.layers:
            inputs = [values[i] if i in own else h for i in layer.inputs]
            values[layer.name] = self.module.get_submodule(layer.name)(*inputs)
        return values[block.activation.name], values[block.layers[-1].name]

    def gradients(self, block: Block, loss: torch.Tensor) -> Tensors:
        """∂loss/∂(parameters of the block)."""
        names = [x.param(s) for x in block.layers for s in x.params if "running" not in s]
        parameters = dict(self.module.named_parameters())
        found = torch.autograd.grad(loss, [parameters[n] for n in names], retain_graph=True)
        return dict(zip(names, found))


def with_changed(net: Network, *names: str) -> Network:
    """The same network with other weights under these names."""
    params = dict(net.params)
    for name in names:
        params[name] = params[name] * -3.0
    return Network(net.name, net.input_shape, net.blocks, params)
