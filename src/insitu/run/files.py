"""Files that are either old or new, never half."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from insitu.errors import CheckpointError
from insitu.inputs.documents import Source, parse_json


def refuse(path: Path, error: OSError) -> CheckpointError:
    """The refusal of a failed write."""
    reason = error.strerror or str(error)
    if isinstance(error, FileNotFoundError):
        return CheckpointError(
            f"{path} cannot be written: its folder is not there, or was removed meanwhile; pass another --out"
        )
    return CheckpointError(
        f"{path} cannot be written: {reason}; what was there before is intact. Free space or pass another --out"
    )


def write_atomic(path: Path, data: bytes | str) -> None:
    """Writes a file through a temporary one beside it, flushed to disk before it takes the name.

    Raises:
        CheckpointError: if the disk refuses; the earlier file stays.
    """
    raw = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise refuse(path, error) from None


def make_folder(path: Path) -> None:
    """Makes a folder and its parents."""
    made_folders(path)


def made_folders(path: Path) -> list[Path]:
    """Makes a folder and its parents; those that were not there, the innermost first."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refuse(path, error) from None
    return missing


def drop_empty(folders: Iterable[Path]) -> None:
    """Removes folders that hold nothing, the innermost first."""
    for path in folders:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


_TEMPORARY = re.compile(r"\..+\.([0-9]{1,10})\.tmp")
"""Names of the files that :func:`write_atomic` writes before they take their place."""


def sweep(folder: Path) -> None:
    """Removes what processes that were killed in the middle of a write have left in a folder."""
    for path in folder.iterdir():
        found = _TEMPORARY.fullmatch(path.name)
        if found and not alive(int(found[1])):
            path.unlink(missing_ok=True)


def alive(pid: int) -> bool:
    """Is there such a process on this machine?"""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Adds one JSON line."""
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
    except OSError as error:
        raise refuse(path, error) from None


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file of JSON lines; what is no record (cut off by a crash, foreign) is left out."""
    source = Source(f"a record of {path}", refusal=CheckpointError)
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            found = parse_json(line.decode(), source)
        except (UnicodeDecodeError, CheckpointError):
            continue
        if isinstance(found, dict):
            yield found
