"""From names in a configuration to the things that they name: data, network, rule, steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from insitu.data import Dataset, load
from insitu.errors import ConfigError, DataError, NetworkError
from insitu.experiment.batches import check_last, last_sizes
from insitu.experiment.calibrate import as_read, measure
from insitu.experiment.config import TORCH, RunConfig, TrainingConfig
from insitu.experiment.design_program import program_of
from insitu.experiment.engines import check_engine, check_steps
from insitu.experiment.network_options import typed
from insitu.experiment.own_network import own
from insitu.experiment.pretrained import started
from insitu.network import zoo
from insitu.network.builder import inference_step
from insitu.network.graph import Network
from insitu.network.norms import folded, with_rms
from insitu.network.phases import Phases
from insitu.numbers.formats import F32, F64, Float
from insitu.ops.optimizers import Optimizer
from insitu.passes import lower
from insitu.passes.fuse import in_place
from insitu.passes.precision import Precision
from insitu.passes.quantize import Ranges, quantize
from insitu.rules.facts import smallest_batch
from insitu.rules.protocol import Rule, emit_exits, emit_inference, emit_step, make_rule, phases
from insitu.run.program import Program
from insitu.step.ir import Role, Step, Trait, Value

NORMS = ("keep", "rms", "fold")
"""What becomes of a network's batch norms (option ``norm``); folding comes after the parameters of a start are in."""


def load_data(config: TrainingConfig) -> Dataset:
    """The data set of a configuration."""
    return load(
        config.data,
        data_dir=Path(config.data_dir) if config.data_dir else None,
        limit_train=config.limit_train,
        limit_test=config.limit_test,
        options=config.data_options,
    )


def build_network(name: str, data: Dataset, config: TrainingConfig, seed: int) -> Network:
    """A network of the zoo, or one of the user's own (:mod:`~insitu.experiment.own_network`), fitted to the data.

    Raises:
        ConfigError: for an unknown name or option.
        NetworkError: if input or output do not fit the data.
    """
    options = typed(name, config.network_options)
    init, norm = options.pop("init", "default"), options.pop("norm", "keep")
    if norm not in NORMS:
        raise ConfigError(f"network option norm={norm!r} is unknown; use one of {', '.join(NORMS)}")
    outputs = prod(data.sample_shape) if config.target == "input" else data.outputs
    net = own(name, data.sample_shape, seed) or zoo.fitted(
        name, data.sample_shape, outputs, seed=seed, **options
    )
    _check_fit(net, data, outputs)
    if norm == "rms":
        net = with_rms(net)
    heads: Mapping[str, np.ndarray] = {}
    if config.init_from is not None:
        net, heads = started(net, config.init_from)
    if norm == "fold":
        net = folded(net)
    if config.init_from is not None:
        return replace(net, heads=heads)
    if init == "zeros":
        return replace(net, params={k: _zeroed(k, v) for k, v in net.params.items()})
    if init != "default":
        raise ConfigError(f"network option init={init!r} is unknown; use 'default' or 'zeros'")
    return net


def _zeroed(name: str, value: np.ndarray) -> np.ndarray:
    """Zero for weights and biases; norms (vectors named weight, running variances) stay."""
    return np.zeros_like(value) if value.ndim > 1 or name.endswith("bias") else value


def _check_fit(net: Network, data: Dataset, outputs: int) -> None:
    if prod(net.input_shape) != prod(data.sample_shape):
        raise NetworkError(
            f"network {net.name} takes inputs of shape {list(net.input_shape)}, data {data.name!r} has "
            f"{list(data.sample_shape)} per sample; choose a network for {prod(data.sample_shape)} inputs"
        )
    if net.outputs != outputs:
        raise NetworkError(
            f"network {net.name} has {net.outputs} outputs, data {data.name!r} needs {outputs}; "
            f"choose a network with {outputs} outputs"
        )


@dataclass(frozen=True)
class Setup:
    """Everything of one run, resolved and checked before the first step."""

    config: RunConfig
    data: Dataset
    net: Network
    rule: Rule

    @classmethod
    def of(cls, config: RunConfig, data: Dataset | None = None) -> Setup:
        """Resolves a configuration; ``data`` saves loading it again."""
        check_engine(config)
        found = data or load_data(config)
        _check_loss(config, found)
        _check_device(config.device)
        net = build_network(config.network, found, config, config.seed)
        setup = cls(config, found, net, make_rule(config.rule, config.rule_options))
        count = setup.training_samples
        if count == 0 or (config.validation and count == len(found.train) and found.validation is None):
            raise DataError(
                f"validation={config.validation:g} of {len(found.train)} training samples of {config.data!r} leaves "
                f"{count} to train on; choose a share that leaves samples on both sides"
            )
        if config.batch > count:
            raise DataError(
                f"batch {config.batch} is larger than the {count} training samples of {config.data!r}; "
                f"use --batch {count} or less"
            )
        if config.early_stop is not None and not config.validation and found.validation is None:
            raise ConfigError(
                "early_stop needs validation samples, so that the test split stays unseen; add --set validation=0.1"
            )
        setup.check_classes()
        # a rule that cannot serve this network, or a precision that cannot hold it, says so now
        steps = [setup.emitted(config.batch, phase) for phase in range(setup.phases.count)]
        if setup.policy is not None:
            named = {op.where.layer for step in steps for op in step.ops if op.where.layer}
            setup.policy.check_layers(named | {layer.name for layer in net.layers})
        setup.check_cache()
        check_last(setup)
        if config.engine != TORCH:
            check_steps(config.engine, (setup.prediction(1), *setup.executed(config.batch)))
        return setup

    @property
    def training_samples(self) -> int:
        """Of the training split, without the validation share: data that have validation samples need none."""
        count, own = len(self.data.train), self.data.validation is not None
        return count - (0 if own else round(count * self.config.validation))

    @property
    def total_samples(self) -> int:
        """Training samples of the whole run."""
        return self.config.samples or self.config.epochs * self.training_samples

    def check_classes(self) -> None:
        """Refuses samples of one class where a rule learns from the differences of classes."""
        labels = self.data.train.y
        if self.targets or (labels != labels[0]).any() or smallest_batch(self.rule, self.net) == 1:
            return
        raise DataError(
            f"rule {self.rule.name} compares samples of different classes, but all {len(labels)} training samples of "
            f"{self.config.data!r} are of class {labels[0]}; use data of 2 classes or more, or rule pred"
        )

    def check_cache(self) -> None:
        """Refuses samples that change from epoch to epoch where a rule keeps features of them."""
        if self.phases.starts and self.policy is not None:
            raise ConfigError(
                f"rule {self.rule.name} keeps real features in a cache, which precision {self.policy} has no place "
                "for; use the rule option cache=false"
            )
        if self.phases.starts and _augmented(self.config):
            raise ConfigError(
                f"rule {self.rule.name} keeps the features of the training samples in a cache, but augmentation makes "
                "new samples at every step; use the rule option cache=false, or no augmentation"
            )

    @property
    def optimizer(self) -> Optimizer:
        return self.config.optimizer.build()

    @cached_property
    def targets(self) -> bool:
        """Labels are arrays of the output's shape."""
        return self.config.target == "input" or self.data.classes is None

    def labels(self, chosen: Any) -> np.ndarray:
        """Classes or targets of training samples: what the data say, or the samples in the output's shape."""
        if self.config.target != "input":
            return self.data.train.y[chosen]
        x = self.data.train.x[chosen]
        return x.reshape(len(x), *self.net.blocks[-1].shape)

    @cached_property
    def phases(self) -> Phases:
        """The rule's schedule over time."""
        return phases(self.rule, self.net)

    def emitted(
        self,
        batch: int,
        phase: int = 0,
        *,
        with_loss: bool = False,
        optimizer: Optimizer | None = None,
        start: int | None = None,
    ) -> Step:
        """The training step of a phase as the rule emits it; ``start`` as of :func:`emit_step`, else as scheduled."""
        first = self.phases.start(phase) if start is None else start
        return self._emit(self.rule, batch, optimizer, with_loss=with_loss, phase=phase, start=first)

    def reference(self, batch: int, optimizer: Optimizer | None = None) -> Step:
        """The step of back-propagation on the same network."""
        return self._emit(make_rule("bp"), batch, optimizer)

    def _emit(self, rule: Rule, batch: int, optimizer: Optimizer | None, **options: Any) -> Step:
        step = emit_step(
            rule,
            self.net,
            batch,
            optimizer=optimizer or self.optimizer,
            loss=self.config.loss,
            targets=self.targets,
            real=self._real,
            **options,
        )
        return self.quantized(step)

    @cached_property
    def policy(self) -> Precision | None:
        """The precision policy; ``None`` for floats."""
        return self.config.policy

    @cached_property
    def ranges(self) -> Ranges:
        """Measured ranges of samples and activations; nothing for floats."""
        if self.policy is None:
            return {}
        x = self.data.train.x[: self.config.calibration.samples]
        step = quantize(
            inference_step(self.net, 1, real=self._real),
            self.policy,
            self.net.values,
            fresh=self.config.init_from is None,
        )
        return measure(
            as_read(self.net, step),
            x.reshape(len(x), *self.net.input_shape),
            self.config.calibration,
            self.labels(slice(len(x))) if self.targets and self.config.loss == "mse" else None,
        )

    def quantized(self, step: Step) -> Step:
        """A step in the run's precision."""
        if self.policy is None:
            return step
        return quantize(step, self.policy, self.net.values, self.ranges, fresh=self.config.init_from is None)

    @property
    def _real(self) -> Float:
        return F64 if self.config.precision == "float64" else F32

    def training_step(self, batch: int, phase: int = 0, *, with_loss: bool = False) -> Step:
        """The step of a phase that is executed: fused, in the best order."""
        return lower(self.emitted(batch, phase, with_loss=with_loss))

    def executed(self, batch: int) -> tuple[Step, ...]:
        """The steps of all phases."""
        return tuple(self.training_step(batch, phase) for phase in range(self.phases.count))

    def inference(self, batch: int) -> Step:
        """The forward pass that is executed."""
        return lower(self._forward(batch))

    def _forward(self, batch: int) -> Step:
        return self.quantized(inference_step(self.net, batch, real=self._real))

    @cached_property
    def program(self) -> Program:
        """The steps of all phases and the forward pass, at the training batch."""
        batch = self.config.batch
        emitted = tuple(self.emitted(batch, phase) for phase in range(self.phases.count))
        return program_of(emitted, self._forward(batch), self.phases, self.net)

    def prediction(self, batch: int) -> Step:
        """How the trained network predicts; the forward pass for most rules."""
        return lower(self.quantized(emit_inference(self.rule, self.net, batch, real=self._real)))

    def exits(self, batch: int) -> Step | None:
        """The forward pass with the scores of every head, in the order of the blocks; ``None``: there are no heads."""
        emitted = emit_exits(self.rule, self.net, batch, real=self._real)
        return None if emitted is None else lower(self.quantized(emitted), order=in_place)

    def learned(self) -> dict[str, Value]:
        """Residents beside the network's parameters that learning changes: heads, and feedback that learns."""
        steps = [self.emitted(self.config.batch, phase) for phase in range(self.phases.count)]
        written = {v.name for step in steps for op in step.ops for v in op.written}
        kinds = (Role.WEIGHT, Role.HEAD, Role.FEEDBACK)
        every = {v.name: v for step in steps for v in step.residents if v.role in kinds and v.name in written}
        return {name: v for name, v in every.items() if name not in self.net.params}

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """What a run executes: the training step of every phase, and the prediction of one sample."""
        training = (self.training_step(self.config.batch, phase) for phase in range(self.phases.count))
        return (*training, self.prediction(1))

    def prefix(self, batch: int, blocks: int) -> Step:
        """The forward pass of the first blocks: what a cache of features is filled by."""
        return lower(inference_step(self.net, batch, real=self._real, blocks=blocks))

    @cached_property
    def skips_single(self) -> bool:
        """There is a last batch of one sample that nothing is learned from: a step takes statistics over the batch, in
        the network or in a head, or the rule compares samples."""
        if 1 not in last_sizes(self.training_samples, self.total_samples, self.config.batch):
            return False
        emitted = (self.emitted(self.config.batch, phase) for phase in range(self.phases.count))
        norms = any(Trait.BATCH_STATISTICS in op.record.traits for step in emitted for op in step.ops)
        return norms or smallest_batch(self.rule, self.net) > 1


def _augmented(config: TrainingConfig) -> bool:
    return bool(config.augment.pad or config.augment.flip)


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {device!r} cannot be used: {reason}; use --set device=cpu") from None


def _check_loss(config: RunConfig, data: Dataset) -> None:
    targets = config.target == "input" or data.classes is None
    if targets and config.loss in ("xent", "hinge"):
        raise ConfigError(
            f"loss {config.loss!r} needs class labels, but the targets of {config.data!r} here are real numbers; "
            "use --set loss=mse"
        )
