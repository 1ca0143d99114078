"""Folders that one process has alone, by a lock that the system takes away when the process ends, however it ends."""

from __future__ import annotations

import errno
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

from insitu.errors import CheckpointError
from insitu.run.files import alive, drop_empty, made_folders, refuse, sweep

try:
    import fcntl
except ImportError:  # no POSIX: there is no lock that ends with its process, and folders are not guarded
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
"""Of the file in a held folder; it names the holder, and goes with the release."""

PATIENCE = 1.0
"""Seconds that a new holder has to write its name."""

_HELD: ContextVar[frozenset[tuple[int, Path]]] = ContextVar("held", default=frozenset())
"""Process and folder: a fork of a holder holds nothing."""


@contextmanager
def held(folder: Path, *, grace: float = 0.0) -> Iterator[Path]:
    """Holds a folder while the context is open; makes it, and clears what dead processes left half written.

    A folder that this thread holds already is held on. One that was made here and is still empty goes again.

    Args:
        grace: seconds that another holder has to let go: a worker outlives the process that started it by a moment.

    Raises:
        CheckpointError: another process has it (named with host and time), or it cannot be made or locked.
    """
    mine = (os.getpid(), folder.resolve())
    if mine in _HELD.get():
        yield folder
        return
    made = made_folders(folder)
    try:
        with locked(folder / NAME, f"folder {folder}", grace=grace):
            sweep(folder)
            token = _HELD.set(_HELD.get() | {mine})
            try:
                yield folder
            finally:
                _HELD.reset(token)
    finally:
        drop_empty(made)


@contextmanager
def locked(path: Path, what: str, *, grace: float = 0.0) -> Iterator[None]:
    """Holds a lock file while the context is open.

    Args:
        what: is locked, for the refusal.
        grace: seconds that another holder has to let go.

    Raises:
        CheckpointError: another process holds it, or the file system has no locks.
    """
    descriptor = _taken(path, what, time.monotonic() + grace)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(_me()).encode())
        yield
    finally:
        path.unlink(
            missing_ok=True
        )  # before the lock goes: the next one finds this file gone, and makes its own
        os.close(descriptor)


def _taken(path: Path, what: str, end: float) -> int:
    """The locked file; one that its last holder has taken away meanwhile does not count."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise refuse(path, error) from None
        if _try(descriptor, path) and _same(descriptor, path):
            return descriptor
        busy = _same(descriptor, path)
        os.close(descriptor)
        if busy and time.monotonic() >= end:
            raise CheckpointError(
                f"{what} is in use by {_holder(path)}; wait for it or end it, or pass another --out"
            )
        if busy:
            time.sleep(0.01)


def _try(descriptor: int, path: Path) -> bool:
    """Locks an open file, unless somebody else has."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        os.close(descriptor)
        raise refuse(path, error) from None
    return True


def _same(descriptor: int, path: Path) -> bool:
    """Is the open file still the one of this name?"""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _me() -> dict[str, str | int]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": platform.node(), "since": now}


def _holder(path: Path) -> str:
    """Who has the lock, as far as the file says so; the name of one that died before is not told."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            told = json.loads(path.read_bytes())
            if told["host"] != platform.node() or alive(told["pid"]):
                return f"process {told['pid']} on {told['host']} since {told['since']}"
        except (OSError, ValueError, LookupError, TypeError):
            pass
        time.sleep(0.02)
    return "another process"
