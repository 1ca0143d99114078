"""A network that starts from trained parameters: of a run folder, or of an .npz file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from insitu.errors import ConfigError, NetworkError
from insitu.network.graph import Network


def parameters(place: str) -> dict[str, np.ndarray]:
    """Real parameters by ``state_dict`` name: ``parameters.npz`` of a run folder, or the file itself.

    Raises:
        ConfigError: if there is no such file, or it holds no arrays.
    """
    path = Path(place)
    path = path / "parameters.npz" if path.is_dir() else path
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name].astype(np.float32) for name in stored.files}
    except FileNotFoundError:
        raise ConfigError(
            f"start {place!r}: there is no {path}; give a finished run folder, or an .npz of parameters"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"start {place!r}: {path} cannot be read ({error}); give an .npz of arrays"
        ) from None


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
