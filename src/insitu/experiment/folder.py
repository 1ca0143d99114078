"""The folder of a comparison, a grid or a search: it holds one of them, and says which."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from insitu.errors import CheckpointError
from insitu.experiment.config import dump, load
from insitu.run.files import make_folder, write_atomic

C = TypeVar("C", bound=BaseModel)

STORED = {
    "comparison": "compare.yaml",
    "grid": "grid.yaml",
    "search": "search.yaml",
    "adaptation": "adapt.yaml",
    "run": "config.yaml",
}
"""The file by which the folder of each kind is known."""


def begin(out: Path, kind: str, config: C, resume: bool, key: Callable[[C], Any] | None = None) -> None:
    """Starts a folder with the configuration in it, or makes sure that it holds this one.

    Args:
        kind: of :data:`STORED`.
        key: what of two configurations has to agree to go on; ``None``: the parts see to that themselves.

    Raises:
        CheckpointError: if it holds one already and ``resume`` is not set, another one, or something else.
    """
    name = STORED[kind]
    stored = out / name
    if not stored.exists():
        known = [file for file in (*STORED.values(), "results.json") if (out / file).exists()]
        if known:
            raise CheckpointError(f"folder {out} holds the {known[0]} of something else; pass another --out")
        make_folder(out)
        write_atomic(stored, dump(config))
    elif not resume:
        raise CheckpointError(
            f"folder {out} already holds a {kind}; pass --resume to go on with it, or another --out"
        )
    elif key is not None and key(load(type(config), stored)) != key(config):
        raise CheckpointError(
            f"folder {out} belongs to a {kind} of another configuration; resume with its own {name}, "
            "or pass another --out"
        )
