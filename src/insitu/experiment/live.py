"""The verbs in Python: of a configuration, or of a live ``nn.Module`` with arrays.

Module and arrays are written beside the run (``network.npz``, ``data.npz``), so that its folder is complete:
``insitu export``, ``cost`` and ``check`` take it like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import nn

from insitu.data import Dataset, load
from insitu.errors import ConfigError, DataError
from insitu.experiment import compare as comparing
from insitu.experiment import impact
from insitu.experiment import train as training
from insitu.experiment.config import CompareConfig, RunConfig, parse
from insitu.experiment.own_network import store
from insitu.experiment.pieces import Outcome
from insitu.experiment.record import Results
from insitu.step.ir import Shape

HERE = "the call"
"""Where a configuration that Python gives came from, for messages."""


def train(
    what: RunConfig | nn.Module, data: Any = None, *, out: str | Path | None = None, lr: float | None = None,
    resume: bool = False, on_event: training.OnEvent = lambda _e: None, **fields: Any,
) -> Outcome:  # fmt: skip
    """Trains a configuration, or a live module: ``train(module, (x, y), rule="etch", precision="edge-latent-free-8")``.

    Args:
        what: the module stays as it is; :meth:`~insitu.experiment.pieces.Outcome.module` gives the trained one.
        data: of a module: a name or path as for ``--data``, arrays ``(x, y)`` or ``(x_train, y_train, x_test,
            y_test)`` as an .npz would hold them, or an iterable of batches ``(x, y)``, such as a ``DataLoader``. Of a
            configuration: its data set, if it is loaded, or ``out``.
        out: the run folder; ``None`` keeps nothing on disk.
        lr: the learning rate; ``fields``: the others of a :class:`RunConfig`.

    Raises:
        InsituError: if anything in the request does not fit, before the first step.
    """
    if isinstance(what, RunConfig):
        if fields or lr is not None:
            raise ConfigError(f"{', '.join([*fields, 'lr'][:1])}: a RunConfig says it; put it there")
        loaded, folder = _beside(data, out)
        return training.train(what, folder, resume=resume, on_event=on_event, data=loaded)
    folder = Path(out) if out is not None else None
    with _written(what, data, folder, fields) as names:
        config = parse(RunConfig, {**_rated(fields, lr), "network": names[0], "data": names[1]}, HERE)
        found = training.train(config, folder, resume=resume, on_event=on_event)
    return replace(found, origin=what)


def compare(
    what: CompareConfig | nn.Module, data: Any = None, *, rules: Sequence[str] = ("bp",), lr: float | None = None,
    out: str | Path | None = None, **fields: Any,
) -> Results:  # fmt: skip
    """Compares rules on a configuration, or on a live module; arguments as of :func:`train`.

    Of a configuration, ``fields`` are ``resume``, ``jobs``, ``command`` and ``on_event`` of
    :func:`insitu.experiment.compare.compare`; of a module also the fields of a :class:`CompareConfig`.
    """
    how = {k: fields.pop(k) for k in ("resume", "jobs", "command", "on_event") if k in fields}
    if isinstance(what, CompareConfig):
        loaded, folder = _beside(data, out)
        if loaded is not None or fields:
            raise ConfigError(f"{', '.join([*fields, 'data'][:1])}: a CompareConfig says it; put it there")
        return comparing.compare(what, folder, **how)
    folder = Path(out) if out is not None else None
    with _written(what, data, folder, fields) as names:
        raw = {**_rated(fields, lr), "networks": [names[0]], "data": names[1]}
        config = parse(CompareConfig, raw | {"rules": [{"rule": rule} for rule in rules]}, HERE)
        return comparing.compare(config, folder, **how)


def cost(what: str | nn.Module, *, input_shape: Shape | None = None, **options: Any) -> impact.Impact:
    """What a training step takes: ``cost("lenet5", rule="drtp")``, ``cost(module, input_shape=(1, 8, 8))``.

    Args:
        what: a name as for ``insitu cost``, or a live module, which needs the shape of a sample.
        options: the other attributes of a :class:`~insitu.experiment.design_point.DesignPoint`.
    """
    if not isinstance(what, nn.Module):
        return impact.cost(what, input_shape=input_shape, **options)
    if input_shape is None:
        raise ConfigError("a module does not say what a sample is; pass input_shape, such as (1, 28, 28)")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.npz"
        store(what, input_shape, path)
        return impact.cost(str(path), **options)


def _beside(data: Any, out: str | Path | None) -> tuple[Dataset | None, Path | None]:
    """The loaded data and the folder that a configuration is given.

    Raises:
        ConfigError: data that are neither.
    """
    if out is None and isinstance(data, str | Path):
        data, out = None, data
    if data is not None and not isinstance(data, Dataset):
        raise ConfigError(
            f"a configuration names its data, {type(data).__name__} beside it is no loaded data set; leave it out, or "
            "pass a module"
        )
    return data, Path(out) if out is not None else None


def _rated(fields: dict[str, Any], lr: float | None) -> dict[str, Any]:
    return fields if lr is None else {**fields, "optimizer": {**fields.get("optimizer", {}), "lr": lr}}


@contextmanager
def _written(
    module: nn.Module, data: Any, out: Path | None, fields: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    """Names of the module and of the data, as files in the run folder, or in one that goes away."""
    with TemporaryDirectory() as passing:
        folder = out or Path(passing)
        network, stored = folder / "network.npz", folder / "data.npz"
        name = data if isinstance(data, str) else str(stored)
        if network.exists():
            raise ConfigError(f"folder {folder} already holds a run of a module; pass another out")
        folder.mkdir(parents=True, exist_ok=True)
        if name == str(stored):
            np.savez(stored, **_arrays(data))
        store(module, load(name, options=fields.get("data_options")).sample_shape, network)
        yield str(network), name


def _arrays(data: Any) -> dict[str, np.ndarray]:
    """The arrays of a data set as an .npz names them."""
    whole = isinstance(data, tuple) and all(hasattr(part, "shape") for part in data)
    if whole and len(data) in (2, 4):
        keys = ("x", "y") if len(data) == 2 else ("x_train", "y_train", "x_test", "y_test")
        return {key: np.asarray(part) for key, part in zip(keys, data)}
    try:
        pairs = [(np.asarray(x), np.asarray(y)) for x, y in data]
    except (TypeError, ValueError):
        pairs = []
    if not pairs:
        raise DataError(
            "the data are neither a name, nor arrays (x, y) or (x_train, y_train, x_test, y_test), nor an iterable of "
            "batches (x, y); pass one of these"
        )
    return {key: np.concatenate(parts) for key, parts in zip(("x", "y"), zip(*pairs))}
