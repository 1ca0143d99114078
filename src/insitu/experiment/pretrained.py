"""A network that starts from trained parameters: of a run folder, of an .npz file, or of a state dict of torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from insitu.errors import ConfigError, NetworkError
from insitu.inputs import arrays
from insitu.network.graph import Network


def parameters(place: str) -> dict[str, np.ndarray]:
    """Real parameters by ``state_dict`` name: ``parameters.npz`` of a run folder, or the file itself (.npz or .pt).

    Raises:
        ConfigError: if there is no such file, or it holds no arrays.
    """
    path = Path(place)
    path = path / "parameters.npz" if path.is_dir() else path
    if not path.exists():
        raise ConfigError(
            f"start {place!r}: there is no {path}; give a finished run folder, or an .npz of parameters"
        )
    reader = arrays.read_state_dict if path.suffix in (".pt", ".pth") else arrays.read
    found = reader(path, "Give an .npz of arrays, or a state dict of tensors (.pt).", refusal=ConfigError)
    for name, array in found.items():
        if array.dtype.kind not in "biuf":
            raise ConfigError(
                f"start {place!r}: {name!r} holds {array.dtype}, no numbers; give arrays of numbers"
            )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        return {name: array.astype(np.float32) for name, array in found.items()}


def started(net: Network, place: str) -> Network:
    """The network with the parameters of a run or a file; all of them must be there, in the right shapes.

    Raises:
        NetworkError: naming the first parameter that is missing, has another shape, or is not finite.
    """
    found = parameters(place)
    for name, first in net.params.items():
        if name not in found:
            raise NetworkError(
                f"start {place!r} has no parameter {name!r} of network {net.name}; it has {', '.join(found)}"
            )
        if found[name].shape != first.shape:
            raise NetworkError(
                f"start {place!r}: parameter {name!r} has shape {list(found[name].shape)}, network {net.name} needs "
                f"{list(first.shape)}; use the network that was trained"
            )
        if not np.isfinite(found[name]).all():
            raise NetworkError(
                f"start {place!r}: parameter {name!r} holds values that are not finite; train it anew"
            )
    return replace(net, params={name: found[name] for name in net.params})
