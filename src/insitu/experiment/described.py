"""What the user points at: a network of the zoo, ``file.py:function``, a run folder, or a configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from insitu.errors import ConfigError
from insitu.experiment.config import RunConfig, load
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.network_options import billed
from insitu.inputs.foreign import is_stored
from insitu.network import zoo

CONFIG = "config.yaml"
"""Of a run folder."""


def configuration(what: str) -> RunConfig | None:
    """The configuration of a run folder or of a .yaml file; ``None``: it names a network.

    Raises:
        ConfigError: a folder without a configuration that is named like no network, or a file that is none.
    """
    path = Path(what)
    if path.is_dir():
        if not (path / CONFIG).is_file() and path.name != what:
            raise ConfigError(
                f"folder {path} has no {CONFIG}; name a run folder of insitu train, or a network"
            )
        path = path / CONFIG if (path / CONFIG).is_file() else path
    return load(RunConfig, path) if path.suffix in (".yaml", ".yml") else None


def point_of(what: str) -> DesignPoint:
    """The design point of a network, or of a run or configuration: its rule, precision, batch and sample's shape."""
    config = configuration(what)
    if config is None:
        return DesignPoint(what)
    point = DesignPoint(
        config.network,
        config.rule,
        config.precision_name,
        batch=config.batch,
        options=tuple(config.rule_options.items()),
        optimizer=config.optimizer.kind,
        loss=config.loss,
        **billed(config.network, config.network_options),
    )
    known = config.network.startswith(zoo.SIZED) or is_stored(config.network)
    return point if known else _with_shape(point, config)


def _with_shape(point: DesignPoint, config: RunConfig) -> DesignPoint:
    """The point with the shape of the configuration's data."""
    from insitu.experiment.resolve import load_data

    data = load_data(config)
    return replace(point, input_shape=data.sample_shape, classes=data.outputs)


def networks_of(names: Iterable[str]) -> tuple[list[str], dict[str, Any]]:
    """Names with that of its network in place of each run folder, and the network options of those runs.

    Raises:
        ConfigError: runs whose networks have other options than the rest.
    """
    found = [(name, configuration(name)) for name in names]
    options = [config.network_options if config else {} for _, config in found]
    if any(other != options[0] for other in options):
        raise ConfigError(
            f"{', '.join(name for name, _ in found)} have networks of different options, and one configuration has one "
            "set of them; give one run folder at a time"
        )
    return [config.network if config else name for name, config in found], options[0] if options else {}
