"""Arrays from outside: ``.npz`` and ``.npy`` files without pickles, state dicts of torch (weights only).

Damage is one refusal.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from insitu.errors import DataError, InsituError

DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, RuntimeError, TypeError, AttributeError, MemoryError),
    *(OverflowError, SyntaxError, zlib.error, zipfile.BadZipFile, struct.error, pickle.UnpicklingError),
)
"""What reading a damaged archive can raise: NumPy, zipfile, zlib and torch each have their own."""

MAX_BYTES = 1 << 34
"""Of the arrays of a file, unpacked, 16 GiB: an archive of a few MB can claim more."""


def names(path: Path, remedy: str, refusal: type[InsituError] = DataError) -> tuple[str, ...]:
    """The keys of an ``.npz`` file, or of a folder with an ``.npy`` file for each of them.

    Raises:
        refusal: if it is no zip archive, holds a key twice, or claims more than :data:`MAX_BYTES`.
    """
    if path.is_dir():
        return tuple(sorted(file.stem for file in path.glob("*.npy")))
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except DAMAGE as error:
        raise refusal(f"{path}: not a readable .npz file ({_said(error)}). {remedy}") from None
    found = tuple(member.filename.removesuffix(".npy") for member in members)
    if len(set(found)) < len(found):
        raise refusal(f"{path}: holds an array twice. {remedy}")
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise refusal(f"{path}: its arrays claim more than {MAX_BYTES >> 30} GiB. {remedy}")
    return found


def read(
    path: Path, remedy: str, wanted: Sequence[str] | None = None, refusal: type[InsituError] = DataError
) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` file, or of a folder of ``.npy`` files, by key.

    Args:
        wanted: keys; ``None``: all.

    Raises:
        refusal: for missing keys (listing those found), pickles and damage.
    """
    keys = names(path, remedy, refusal)
    lacking = [key for key in wanted or () if key not in keys]
    if lacking:
        held = ", ".join(keys) or "nothing"
        raise refusal(f"{path}: lacks {', '.join(lacking)}; it holds {held}. {remedy}")
    arrays: dict[str, np.ndarray] = {}
    key = ""
    try:
        with nullcontext(_Folder(path)) if path.is_dir() else np.load(path, allow_pickle=False) as archive:
            for key in keys if wanted is None else wanted:
                arrays[key] = archive[key]
    except DAMAGE as error:
        pickled = "allow_pickle" in str(error)
        reason = (
            "holds pickled Python objects, which are never opened"
            if pickled
            else f"cannot be read: ({_said(error)})"
        )
        raise refusal(f"{path}: array '{key}' {reason}. {remedy}") from None
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise refusal(f"{path}: '{key}' is not a NumPy array. {remedy}")
    return arrays


@dataclass(frozen=True)
class _Folder:
    """A folder of ``.npy`` files, read as an archive is."""

    path: Path

    def __getitem__(self, key: str) -> np.ndarray:
        found: np.ndarray = np.load(self.path / f"{key}.npy", allow_pickle=False)
        return found


def read_state_dict(path: Path, remedy: str, refusal: type[InsituError] = DataError) -> dict[str, np.ndarray]:
    """Arrays of a ``state_dict`` that ``torch.save`` wrote; no code in the file is run.

    Raises:
        refusal: if it is damaged, or no dictionary of tensors.
    """
    import torch

    try:
        found: Any = torch.load(path, weights_only=True, map_location="cpu")
    except DAMAGE as error:
        raise refusal(f"{path}: not a readable state dict ({_said(error)}). {remedy}") from None
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise refusal(f"{path}: holds no state dict of tensors. {remedy}")
    return {str(name): tensor.detach().numpy() for name, tensor in found.items()}


def _said(error: Exception) -> str:
    """Kind and first line of an error."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
