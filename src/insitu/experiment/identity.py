"""What a run is a run of, as hashes by part: whoever goes on from its files compares them, and names what differs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import insitu
from insitu.errors import CheckpointError
from insitu.experiment import pretrained
from insitu.experiment.config import RunConfig
from insitu.inputs.foreign import imported

if TYPE_CHECKING:
    from insitu.experiment.resolve import Setup

Identity = Mapping[str, str]
"""Hashes by part (``configuration``, ``network``, ``start``, ``data``, ``program``), and the version ``insitu``."""

PARTS = {
    "insitu": "was written by insitu {then}, and this is {now}; install that version",
    "configuration": "belongs to another configuration; use the run folder's own config.yaml",
    "network": "is of another version of its network file, or of a module beside it; put back the files of that run",
    "start": "started from other parameters; put back the file or run that it started from",
    "data": "was trained on other data; put back the data of that run",
    "program": "is of another program (rule, precision or ranges differ); use the insitu and the files of that run",
}
"""What to say of a part that differs; a part that comes first explains those behind it."""

UNSEEN = {"checkpoint_steps", "data_dir", "engine"}
"""Fields that change no bit."""


def identity(setup: Setup) -> dict[str, str]:
    """Of a run that is set up: everything that its results follow from."""
    return named(setup.config) | {"data": setup.data.digest, "program": _of_program(setup)}


def named(config: RunConfig) -> dict[str, str]:
    """The parts that the configuration and the files that it names give, without data and program."""
    fields = config.model_dump(mode="json", exclude=UNSEEN)
    return {
        "insitu": insitu.__version__,
        "configuration": _hash(json.dumps(fields, sort_keys=True).encode()),
        "network": _hash(*(path.read_bytes() for path in imported(config.network))),
        "start": _hash(*(path.read_bytes() for path in _start_files(config))),
    }


def fingerprint(config: RunConfig) -> str:
    """One hash of a configuration and of the files that it names, the data's among them."""
    data = Path(config.data)
    files = [data] if data.suffix and data.is_file() else []
    return _hash(json.dumps(named(config)).encode(), *(path.read_bytes() for path in files))


def compare(found: Any, wanted: Identity, what: str) -> None:
    """Refuses files of another run.

    Args:
        found: what the files say; ``wanted``: the parts that have to agree.
        what: the files, for the refusal.

    Raises:
        CheckpointError: naming the first part that differs, and the remedy.
    """
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{what} does not say what run it is of; start the run anew in another folder")
    for part, told in PARTS.items():
        if part in wanted and found.get(part) != wanted[part]:
            raise CheckpointError(
                f"{what} {told.format(then=found.get(part), now=wanted[part])}, or start the run anew in another folder"
            )


def ask_origin(config: RunConfig) -> None:
    """Refuses a start from a run whose network file has changed since, where this run is of that file too.

    Raises:
        CheckpointError: naming the run and the remedy.
    """
    assert config.init_from is not None
    then = pretrained.origin(config.init_from)
    if then.get("spec") == config.network and then.get("network") != named(config)["network"]:
        raise CheckpointError(
            f"init_from {config.init_from!r} was trained with another version of {config.network} or of a module "
            f"beside it; put back the files of that run, or pass its {pretrained.FILES[0]} alone"
        )


def _start_files(config: RunConfig) -> list[Path]:
    """The files of the parameters that a run starts from, if it does."""
    return [path for path in pretrained.files(config.init_from) if path.is_file()] if config.init_from else []


def _of_program(setup: Setup) -> str:
    """Of the text of the steps, without the comments of where their ops come from."""
    lines = (line.rsplit("  # ", 1)[0] for step in setup.steps for line in str(step).splitlines())
    return _hash("\n".join(lines).encode())


def _hash(*parts: Any) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(hashlib.sha256(part).digest())
    return found.hexdigest()[:32]
