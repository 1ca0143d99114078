"""Files that are either old or new, never half."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from insitu.errors import CheckpointError


def refuse(path: Path, error: OSError) -> CheckpointError:
    """The refusal of a failed write."""
    reason = error.strerror or str(error)
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
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refuse(path, error) from None


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Adds one JSON line."""
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
    except OSError as error:
        raise refuse(path, error) from None


def read_lines(path: Path) -> Iterable[dict[str, Any]]:
    """The JSON lines of a file; a last line that was cut off by a crash is left out."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return
