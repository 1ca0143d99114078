"""Compiled objects, kept by content and doubted: a digest lies beside each, and one that does not fit is made again."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from insitu.errors import CheckpointError, ConfigError, InsituWarning
from insitu.run.files import sweep, write_atomic

OTHERS_WRITE = 0o022
"""Mode bits of a folder that others than its owner may write."""

Make = Callable[[Path], None]
"""Makes an object under a name; what belongs to it lies beside it afterwards."""


def kept(name: str, suffix: str, key: bytes, make: Make, *, beside: Sequence[str] = ()) -> Path:
    """An object of the cache, made if it is not there as it was written.

    Where it cannot be written (full, read-only) the object lies in a folder of this process, with a warning.

    Args:
        name: beginning of the file's name.
        key: everything that the object is made from.
        beside: suffixes of more files that are made with it.

    Raises:
        ConfigError: the folder is another user's, or others may write it.
    """
    stem = f"{name}-{sha256(key).hexdigest()[:16]}"
    here, names = own_folder(), [stem + end for end in (suffix, *beside)]
    for folder in (here, _temporary()):
        if folder is not None and _whole(folder, names):
            return folder / names[0]
    with tempfile.TemporaryDirectory(dir=_temporary()) as made:
        make(Path(made) / names[0])
        if here is not None and _stored(Path(made), here, names):
            return here / names[0]
        _store(Path(made), _temporary(), names)
    return _temporary() / names[0]


def base() -> Path:
    """Where compiled programs are kept: INSITU_CACHE, or the user's cache folder."""
    root = os.environ.get("INSITU_CACHE") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "insitu" / "c"


def own_folder() -> Path | None:
    """The folder of the cache, which this user alone may read and write; ``None`` where it cannot be made.

    Raises:
        ConfigError: it is another user's, or others may write it: what lies there would be run.
    """
    folder = base()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        _note(folder, error.strerror or str(error))
        return None
    user = os.geteuid() if hasattr(os, "geteuid") else found.st_uid
    if found.st_uid != user:
        raise _unsafe(folder, f"belongs to user {found.st_uid}, and this is user {user}")
    if found.st_mode & OTHERS_WRITE:
        raise _unsafe(folder, f"can be written by others (mode {found.st_mode & 0o777:o})")
    if found.st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def _unsafe(folder: Path, why: str) -> ConfigError:
    return ConfigError(
        f"the cache of compiled programs {folder} {why}, so what lies there could be anybody's code; remove it, or set "
        "INSITU_CACHE to a folder of your own"
    )


@lru_cache(maxsize=1)
def _temporary() -> Path:
    """A folder that goes with this process."""
    folder = Path(tempfile.mkdtemp(prefix="insitu-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@lru_cache(maxsize=1)
def _note(folder: Path, reason: str) -> None:
    """Says once that the cache is of no use."""
    warnings.warn(
        f"compiled programs cannot be kept in {folder}, and every process makes its own ({reason}); "
        "free space there, or set INSITU_CACHE",
        InsituWarning,
        stacklevel=3,
    )


# --- digests -----------------------------------------------------------------------------------------------------


def _digests(folder: Path, names: Iterable[str]) -> str:
    """As ``sha256sum`` prints them."""
    return "".join(f"{sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)


def _whole(folder: Path, names: Sequence[str]) -> bool:
    """Is the object there, with the bytes that were written?"""
    try:
        return (folder / f"{names[0]}.sha256").read_bytes() == _digests(folder, names).encode()
    except OSError:
        return False


def _stored(made: Path, folder: Path, names: Sequence[str]) -> bool:
    """Keeps an object in the cache, if it can be written."""
    try:
        sweep(folder)
        _store(made, folder, names)
    except (CheckpointError, OSError) as error:
        _note(folder, str(error))
        return False
    return True


def _store(made: Path, folder: Path, names: Sequence[str]) -> None:
    """Copies an object into a folder, each file flushed to disk before it has its name; the digest comes last."""
    told = _digests(made, names)
    for name in names:
        write_atomic(folder / name, (made / name).read_bytes())
    write_atomic(folder / f"{names[0]}.sha256", told)
