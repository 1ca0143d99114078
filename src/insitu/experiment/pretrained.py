"""A network that starts from what a run learned, from an .npz file, or from a state dict of torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from insitu.errors import CheckpointError, ConfigError, InsituWarning, NetworkError
from insitu.inputs import arrays
from insitu.inputs.documents import Source, parse_json, read_text
from insitu.network.graph import Network

Arrays = dict[str, np.ndarray]
FILES = ("parameters.npz", "heads.npz")
"""Of a finished run: the network's parameters, and what its rule learned beside them."""

_REMEDY = "Give a finished run folder, an .npz of arrays, or a state dict of tensors (.pt)."


def files(place: str) -> list[Path]:
    """The files that a start reads."""
    path = Path(place)
    if not path.is_dir():
        return [path]
    return [path / FILES[0], *(x for x in (path / name for name in FILES[1:]) if x.exists())]


def parameters(place: str) -> Arrays:
    """Real arrays by name: those of a run folder, or of the file itself (.npz or .pt).

    Raises:
        ConfigError: if there is no such file, it is damaged, or holds anything but arrays of numbers.
    """
    found: Arrays = {}
    for path in files(place):
        if not path.exists():
            raise ConfigError(
                f"init_from {place!r}: there is no {path}; give a finished run folder, or an .npz of parameters"
            )
        reader = arrays.read_state_dict if path.suffix in (".pt", ".pth") else arrays.read
        found |= reader(path, _REMEDY, refusal=ConfigError)
    for name, array in found.items():
        if array.dtype.kind not in "biuf":
            raise ConfigError(
                f"init_from {place!r}: {name!r} holds {array.dtype}, no numbers; give arrays of numbers"
            )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        return {name: array.astype(np.float32) for name, array in found.items()}


def started(net: Network, place: str) -> tuple[Network, Arrays]:
    """The network with the parameters of a run or a file, and what is there beside them.

    Raises:
        NetworkError: naming the first parameter that is missing, has another shape, or is not finite.
    """
    found = parameters(place)
    for name, first in net.params.items():
        if name not in found:
            raise NetworkError(
                f"init_from {place!r} has no parameter {name!r} of network {net.name}; it has {', '.join(found)}"
            )
        if found[name].ndim == 3 and first.ndim == 4:  # the kernel of a Conv1d
            found[name] = found[name][:, :, None]
        if found[name].shape != first.shape:
            raise NetworkError(
                f"init_from {place!r}: parameter {name!r} has shape {list(found[name].shape)}, network {net.name} "
                f"needs {list(first.shape)}; use the network that was trained"
            )
    for name, array in found.items():
        if not np.isfinite(array).all():
            raise NetworkError(
                f"init_from {place!r}: parameter {name!r} holds values that are not finite; train it anew"
            )
    rest = {name: array for name, array in found.items() if name not in net.params}
    return replace(net, params={name: found[name] for name in net.params}), rest


def tell(place: str, given: Iterable[str], learned: Iterable[str]) -> None:
    """Says by name what of a start has no use here, and what begins as in a new run.

    Args:
        given: names beside the network's parameters; ``learned``: those that the rule has.
    """
    given, learned = set(given), set(learned)
    told = {
        "is not used, as the rule has no such part": sorted(given - learned),
        "is not there and begins as in a new run": sorted(learned - given),
    }
    for what, names in told.items():
        if names:
            warnings.warn(f"init_from {place!r}: {', '.join(names)} {what}", InsituWarning, stacklevel=2)


def origin(place: str) -> Mapping[str, Any]:
    """What run the parameters of a folder are of, as its result says; nothing of a file, or of an older run.

    Raises:
        CheckpointError: the result is damaged.
    """
    path = Path(place) / "result.json"
    if not path.is_file():
        return {}
    source = Source(f"init_from {place!r}: {path}", f"pass {Path(place) / FILES[0]} alone", CheckpointError)
    found = parse_json(read_text(path, source), source)
    if not isinstance(found, dict) or not isinstance(found.get("identity", {}), dict):
        raise source.refuse("is no result of a run")
    return found.get("identity", {})
