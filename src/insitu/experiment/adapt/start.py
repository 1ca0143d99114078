"""Where each rule starts from: the pretrained network, and heads that fit it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from insitu.data.dataset import Dataset
from insitu.experiment.adapt.config import AdaptConfig
from insitu.experiment.config import RuleSpec, RunConfig, parse
from insitu.experiment.pretrained import FILES, parameters
from insitu.experiment.resolve import Setup
from insitu.experiment.train import train
from insitu.passes import lower
from insitu.passes.sweep import sweep
from insitu.run.files import make_folder, write_atomic
from insitu.run.state import State, extend_state, real_value
from insitu.run.torch_exec import TorchExecutor

HEAD_RATE = 0.05
"""Of the heads' training before the device is shipped, by plain SGD in float32."""


def pretrained(
    config: AdaptConfig, network: str, source: Dataset, seed: int, folder: Path, *, again: bool = False
) -> str:
    """The run folder of the network that was trained on the old domain, trained unless it is there; or the start that
    the user gave.

    Args:
        again: go on with a folder that is there, which makes sure that it is of this run and these data.
    """
    if config.start is not None:
        return config.start
    if again or not (folder / FILES[0]).exists():
        train(
            _run(config, network, source, seed), folder, resume=(folder / "config.yaml").exists(), data=source
        )
    return str(folder)


def _run(config: AdaptConfig, network: str, source: Dataset, seed: int) -> RunConfig:
    how, epochs = config.pretrain, config.epochs(len(source.train))
    raw = {
        "data": source.name,
        "network": network,
        "network_options": config.layers,
        "rule": "bp",
        "epochs": epochs,
        "batch": how.batch,
        "optimizer": {"kind": "adam", "lr": how.lr},
        "eval_epochs": epochs,
        "seed": seed,
    }
    return parse(RunConfig, raw, "pretraining")


def with_heads(
    config: AdaptConfig,
    spec: RuleSpec,
    rule: str,
    network: str,
    source: Dataset,
    seed: int,
    start: str,
    folder: Path,
) -> str:
    """The start of a rule. One that learns something beside the network (heads) gets it trained on the old domain,
    with the network as it is: the device is shipped with both.

    Returns:
        ``start`` itself, or ``folder`` with the network's parameters and the heads.
    """
    raw = {
        "data": source.name,
        "network": network,
        "network_options": {**config.layers, **spec.network_options},
        "rule": rule,
        "rule_options": dict(spec.options),
        "batch": config.pretrain.batch,
        "init_from": start,
        "seed": seed,
    }
    setup = Setup.of(parse(RunConfig, raw, f"rule {spec.name}"), source)
    learned = setup.learned()
    if not learned or setup.phases.count > 1 or set(learned) <= set(parameters(start)):
        return start
    if not (folder / FILES[1]).exists():
        heads = _trained(setup, set(learned), config.epochs(len(source.train)))
        make_folder(folder)
        _write(folder / FILES[0], dict(setup.net.params))
        _write(folder / FILES[1], heads)
    return str(folder)


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomic(path, buffer.getvalue())


def _trained(setup: Setup, names: set[str], epochs: int) -> dict[str, np.ndarray]:
    """The parts ``names`` after some epochs in which nothing else moves."""
    data, batch, seed = setup.data.train, setup.config.batch, setup.config.seed
    step = setup.emitted(batch)
    own = {*setup.net.params}
    kept = tuple(op for op in step.ops if not any(v.name in own for v in op.written))
    step = lower(sweep(replace(step, ops=kept), names))
    state: State = extend_state({}, step, setup.net.values, seed)
    executor = TorchExecutor(step, state, seed=seed)
    x = torch.from_numpy(np.ascontiguousarray(data.x.reshape(len(data), *setup.net.input_shape)))
    y = torch.from_numpy(data.y.astype(np.int32))
    done = 0
    for epoch in range(epochs):
        order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(len(data)))
        for first in range(0, len(data) - batch + 1, batch):
            chosen = order[first : first + batch]
            executor.run(executor.convert(x[chosen], y[chosen]), lr=HEAD_RATE, t=done)
            done += 1
    residents = {v.name: v for v in step.residents}
    return {name: np.asarray(real_value(residents[name], state[name])) for name in names if name in residents}
