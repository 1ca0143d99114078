"""Options of a network in a configuration: their types, and what the cost model has to know of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from insitu.errors import ConfigError
from insitu.inputs.foreign import has_layers
from insitu.inputs.values import fit_all

NETWORK_OPTIONS = {
    "activation": str | None,
    "batch_norm": bool | None,
    "dropout": float | None,
    "init": str,
    "norm": str,
}
"""By name."""


OF_FILES = ("init", "norm")
"""Those that a network of a user's own file takes: what is done with its parameters. It has its own layers."""


def typed(network: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a network as their types.

    Raises:
        ConfigError: an unknown option, a value of another type, or an option that a network file does not see.
    """
    for name in options:
        if name not in NETWORK_OPTIONS:
            raise ConfigError(f"network option {name!r} is unknown; use one of {', '.join(NETWORK_OPTIONS)}")
    found = fit_all(options, NETWORK_OPTIONS, "network")
    for name, value in found.items():
        if has_layers(network) and name not in OF_FILES and value is not None:
            raise ConfigError(
                f"network option {name!r} is for networks of the zoo, and {network} has layers of its own; "
                "leave it out, and say it in the file"
            )
    return found


def billed(network: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What changes the steps of a network, as fields of a design point.

    Raises:
        ConfigError: as of :func:`typed`.
    """
    return {name: v for name, v in typed(network, options).items() if name != "init" and v is not None}
