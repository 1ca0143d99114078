"""The baseline of quantized training: the same network as an ordinary PyTorch model with Brevitas' layers.

Quantization-aware training (QAT) as it is done off the device: float32 weights behind quantizers, back-propagation
with straight-through estimators, ``torch.optim``; the precision ``brevitas-w<bits>a<bits>`` of a run. Samples, their
order, learning rate, loss and evaluation are those of every run, for the :class:`insitu.run.trainer.Trainer` is the
same. Needs the extra ``[baseline]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil, log2, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from insitu.data import Dataset
from insitu.errors import ConfigError, NetworkError
from insitu.experiment.config import RunConfig
from insitu.experiment.pieces import Outcome, arrays_of, outcome_of, settings_of, threads_of
from insitu.experiment.resolve import Setup
from insitu.network.graph import INPUT, WEIGHTED, Layer, Network
from insitu.network.torch.module import to_module
from insitu.ops.conv import GEOMETRY
from insitu.ops.loss import VALUES, mean_scale, one_hot
from insitu.ops.optimizers import Optimizer
from insitu.run.samples import Arrays, Batches
from insitu.run.torch_engine import Tensors
from insitu.run.trainer import Settings, Trainer
from insitu.step.ir import Step

OnEvent = Callable[[dict[str, Any]], None]

CALIBRATION = 30
"""Training steps after which the scales of activations are no more the greatest values seen, but learned; up to then
Brevitas does not round them to powers of two while it trains (it does to evaluate)."""

_KINDS = (*WEIGHTED, "activation", "max_pool", "avg_pool", "reshape", "dropout")
_UNSIGNED = ("relu", "sigmoid")


@dataclass(frozen=True)
class Bits:
    """Of the weights, of the activations and of the samples."""

    weight: int = 8
    act: int = 8
    input: int = 8

    def __post_init__(self) -> None:
        for name, least in (("weight", 1), ("act", 2), ("input", 2)):
            bits = getattr(self, name)
            if not least <= bits <= 16:
                raise ConfigError(f"{name}_bits={bits} is out of range; use {least} to 16")


def qat(
    config: RunConfig,
    *,
    weight_bits: int = 8,
    act_bits: int = 8,
    input_bits: int = 8,
    data: Dataset | None = None,
    on_event: OnEvent = lambda _e: None,
) -> Outcome:
    """Trains a run's network with Brevitas, whatever the run's rule is.

    Every tensor has one scale, a power of two. Weights are signed without the least word (2 bits are ternary), and
    their scale follows the greatest magnitude; 1 bit is ±scale, a constant not below sqrt(2/fan_in), and the float32
    weights stay between (BinaryConnect). Values are rounded at the input, behind activation functions and average
    pools, with a learned scale, unsigned behind relu and sigmoid. Biases and the outputs stay float32.

    Args:
        data: the data set, if it is loaded already.
        on_event: called at every evaluation.

    Returns:
        An outcome as of :func:`insitu.experiment.train.train`, with the weights as they are quantized.

    Raises:
        ConfigError: without Brevitas, or for bits or an optimizer that it lacks.
        NetworkError: if the network is no chain of dense and conv2d layers, activations, pools and dropouts.
    """
    bits = Bits(weight_bits, act_bits, input_bits)
    setup = Setup.of(config.model_copy(update={"rule": "bp", "rule_options": {}}), data)
    with threads_of(setup), torch.random.fork_rng():
        torch.manual_seed(config.seed)  # of dropout
        model, trainer = _trainer(setup, bits, on_event)
        progress = trainer.run()
        return outcome_of(setup, progress, _parameters(model), None)


def _brevitas() -> tuple[Any, Any]:
    """``brevitas.nn`` and ``brevitas.quant``."""
    try:
        import brevitas.nn
        import brevitas.quant
    except ImportError:
        raise ConfigError(
            "the QAT baseline needs Brevitas, which is not installed; pip install 'insitu[baseline]'"
        ) from None
    return brevitas.nn, brevitas.quant


def _binary(scale: float) -> type:
    """±scale, straight-through: integers by the sign instead of by rounding. (Brevitas' own binary quantizers multiply
    the gradient by the scale, which plain SGD does not make up for.)"""
    from brevitas.function.ops_ste import binary_sign_ste
    from brevitas.quant.base import IntQuant, PerTensorPoTScaling8bit
    from brevitas.quant.solver import WeightQuantSolver

    class Sign(nn.Module):
        def __init__(self) -> None:  # the injector wants it spelt out
            super().__init__()

        def forward(self, x: Tensor) -> Tensor:
            return binary_sign_ste(x)

    fields = {
        "bit_width": 2,  # the sign takes -1 and 1 of them
        "float_to_int_impl": Sign,
        "scaling_impl_type": "CONST",
        "scaling_const": 2 * scale,  # which Brevitas divides by 2**(bits - 1)
    }
    return type("Binary", (IntQuant, PerTensorPoTScaling8bit, WeightQuantSolver), fields)


class QatModel(nn.Module):
    """A network in Brevitas' layers, with the network's parameters.

    Raises:
        ConfigError: without Brevitas.
        NetworkError: if it cannot take the network.
    """

    def __init__(self, net: Network, bits: Bits, *, signed: bool) -> None:
        super().__init__()
        self._nn, self._quant = _brevitas()
        self.weighted: dict[str, nn.Module] = {}
        self.limits: list[tuple[Tensor, float]] = []
        self.chain = nn.Sequential(*self._modules_of(net, bits, signed))

    def forward(self, x: Tensor) -> Tensor:
        return self.chain(x)

    def _modules_of(self, net: Network, bits: Bits, signed: bool) -> Iterator[nn.Module]:
        _check_chain(net)
        plain = to_module(net)
        yield self._grid(bits.input, signed)
        for layer in net.layers:
            module = plain.get_submodule(layer.name)
            if layer.kind in WEIGHTED:
                module = self._weighted_of(layer, module, bits.weight)
                for name, parameter in module.named_parameters(recurse=False):
                    parameter.requires_grad_(layer.param(name) not in net.frozen)
                self.weighted[layer.name] = module
                signed = True
            yield module
            if layer.kind == "activation":
                signed = layer.attrs["fn"] not in _UNSIGNED
            if layer.kind == "avg_pool" or (layer.kind == "activation" and layer.attrs["fn"] != "sign"):
                yield self._grid(bits.act, signed)

    def _grid(self, bits: int, signed: bool) -> nn.Module:
        """Rounds what passes."""
        kind = self._quant.Int8ActPerTensorFixedPoint if signed else self._quant.Uint8ActPerTensorFixedPoint
        return self._nn.QuantIdentity(act_quant=kind, bit_width=bits, collect_stats_steps=CALIBRATION)

    def _weighted_of(self, layer: Layer, plain: Any, bits: int) -> nn.Module:
        fan_in = plain.weight[0].numel()
        scale = 2.0 ** ceil(log2(sqrt(2 / fan_in)))
        how: dict[str, Any] = {"bias": plain.bias is not None}
        if bits == 1:
            how["weight_quant"] = _binary(scale)
        else:
            how |= {"weight_quant": self._quant.Int8WeightPerTensorFixedPoint, "weight_bit_width": bits}
        if layer.kind == "dense":
            module = self._nn.QuantLinear(plain.in_features, plain.out_features, **how)
        else:
            geometry = {k: getattr(plain, k) for k in GEOMETRY}
            size = (plain.in_channels, plain.out_channels, plain.kernel_size)
            module = self._nn.QuantConv2d(*size, **geometry, **how)
        with torch.no_grad():
            for name, parameter in plain.named_parameters():
                getattr(module, name).copy_(parameter)
            if bits == 1:
                module.weight.mul_(scale * sqrt(fan_in))  # from ±1/sqrt(fan_in), as they are drawn, to ±scale
                self.limits.append((module.weight, scale))
        self.clip()
        return module

    @torch.no_grad()
    def clip(self) -> None:
        """Keeps the float32 weights behind binary ones within ±scale."""
        for weight, scale in self.limits:
            weight.clamp_(-scale, scale)

    @torch.no_grad()
    def quantized(self) -> dict[str, Tensor]:
        """The weights as they are quantized, and the biases, by the network's names."""
        found = {}
        for layer, module in self.weighted.items():
            found[f"{layer}.weight"] = module.quant_weight().value
            if module.bias is not None:
                found[f"{layer}.bias"] = module.bias
        return found


def _check_chain(net: Network) -> None:
    before = INPUT
    for layer in net.layers:
        if layer.kind not in _KINDS or layer.inputs != (before,):
            raise NetworkError(
                f"layer {layer.name!r} ({layer.kind}) of network {net.name} has no place in the QAT baseline, which "
                f"takes a chain of {', '.join(_KINDS)}; use such a network"
            )
        before = layer.name


def _optimizer(kind: Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of ``torch.optim``; the scales of activations have no weight decay."""
    scales = [p for name, p in model.named_parameters() if "scaling_impl" in name]
    known = {id(p) for p in scales}
    others = [p for p in model.parameters() if id(p) not in known]
    groups = [{"params": others, "weight_decay": kind.weight_decay}, {"params": scales}]
    if kind.kind == "adam":
        return torch.optim.Adam(groups, betas=(kind.beta1, kind.beta2), eps=kind.eps)
    if kind.kind == "sign":
        raise ConfigError("optimizer 'sign' is not in torch.optim; use sgd, momentum, nesterov or adam")
    momentum = kind.momentum if kind.kind != "sgd" else 0.0
    return torch.optim.SGD(groups, lr=1.0, momentum=momentum, nesterov=kind.kind == "nesterov")


class _QatEngine:
    """Steps of the Brevitas model in place of a rule's."""

    def __init__(self, setup: Setup, model: QatModel, settings: Settings) -> None:
        self.model, self.loss, self.batch = model, settings.loss, settings.batch
        self._step, self._forward = cache(setup.training_step), cache(setup.prediction)
        self.optimizer = _optimizer(setup.optimizer, model)
        self.tensors = Tensors(settings.dtype, settings.device)
        self.state: Mapping[str, Any] = {}

    def load(self, state: Mapping[str, Any]) -> None:
        raise ConfigError("the QAT baseline keeps no checkpoint to go on from; start it anew")

    def triggered(self) -> list[int]:
        return []

    def step(self, phase: int) -> Step:
        return self._step(self.batch, phase)

    def forward(self, count: int) -> Step:
        return self._forward(count)

    def learn(self, batches: Batches, _phase: int, rates: Sequence[float], _done: int) -> list[float]:
        self.model.train()
        each = self.tensors.batches(batches, *self.tensors.of(batches.data))
        return [self._one(x, y, lr) for (x, y), lr in zip(each, rates)]

    def _one(self, x: Tensor, y: Tensor, lr: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        z = self.model(x)
        loss = VALUES[self.loss](z, one_hot(y, z)) * mean_scale(self.loss, z.shape)
        loss.backward()
        self.optimizer.step()
        self.model.clip()
        return loss.item()

    @torch.no_grad()
    def infer(self, data: Arrays, first: int, end: int, _threads: int) -> Tensor:
        self.model.eval()
        return self.model(self.tensors.of(data)[0][first:end])


def _trainer(setup: Setup, bits: Bits, on_event: OnEvent) -> tuple[QatModel, Trainer]:
    """The model, and the trainer of every run with the model's steps."""
    settings = replace(settings_of(setup), checkpoint_steps=None)
    train, test, validation = arrays_of(setup)
    model = QatModel(setup.net, bits, signed=bool(train.x.min() < 0))
    model = model.to(device=settings.device, dtype=settings.dtype)
    trainer = Trainer(
        settings,
        setup.training_step,
        setup.prediction,
        setup.net.params,
        train,
        test,
        engine=_QatEngine(setup, model, settings),
        validation=validation,
        on_event=on_event,
    )
    return model, trainer


def _parameters(model: QatModel) -> dict[str, np.ndarray]:
    """The weights as they are quantized."""
    return {name: tensor.detach().cpu().float().numpy() for name, tensor in model.quantized().items()}


__all__ = ["Bits", "QatModel", "qat"]
