"""Options of a network in a configuration: their types, and what the cost model has to know of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from insitu.errors import ConfigError
from insitu.inputs.foreign import is_file
from insitu.inputs.values import fit_all

NETWORK_OPTIONS = {
    "activation": str | None,
    "batch_norm": bool | None,
    "dropout": float | None,
    "init": str,
    "norm": str,
}
"""By name."""


def typed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as their types.

    Raises:
        ConfigError: an unknown option, or a value of another type.
    """
    for name in options:
        if name not in NETWORK_OPTIONS:
            raise ConfigError(f"network option {name!r} is unknown; use one of {', '.join(NETWORK_OPTIONS)}")
    return fit_all(options, NETWORK_OPTIONS, "network")


def billed(network: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What changes the steps of a network, as fields of a design point; a file's network has its own layers.

    Raises:
        ConfigError: as of :func:`typed`.
    """
    fields = ("norm",) if is_file(network) else ("norm", "activation", "batch_norm", "dropout")
    return {name: value for name, value in typed(options).items() if name in fields and value is not None}
