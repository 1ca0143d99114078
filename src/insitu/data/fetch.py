"""`insitu data fetch`: download, check and put in place the public data sets.

A download goes to NAME.part, is continued from there after a break (HTTP Range), and is moved to its name
only when its SHA-256 is right; so a file that has its final name is always whole.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any, BinaryIO

from insitu.data import embedded, watch
from insitu.data.folders import download_root, is_file
from insitu.data.mirrors import REMOTES, RemoteFile
from insitu.data.registry import unknown
from insitu.errors import ConfigError, DataError

ENV_MIRROR = "INSITU_MIRROR"
TIMEOUT_S = 30.0  # without a byte
HEADERS_S = 120.0  # until all headers of an answer are there, redirections included
LEAST_BYTES_S = 1024  # in every TIMEOUT_S; so a transfer ends in time
ATTEMPTS = 2  # for each mirror
PAUSE_S = 1.0  # between two attempts
_CHUNK_BYTES = 1 << 16

Progress = Callable[[str, int, int | None], None]  # file name, bytes so far, bytes in all or None


class _Fault(Exception):
    """Why one attempt failed; the next attempt or mirror may do better."""


def fetch(
    name: str,
    *,
    data_dir: Path | None = None,
    base_urls: Mapping[str, str | Sequence[str]] | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Make sure the files of data set `name` are in place, and return their paths (none for `digits`).

    data_dir: the root to write to; else INSITU_DATA, else the user's cache folder.
    base_urls: {data set: base address or addresses} instead of the public mirrors; the file name is appended.
        INSITU_MIRROR, when set, is the address of a served data folder (the folders of `mirrors` are kept).
    progress: called with (file name, bytes so far, bytes in all or None).

    Files with the right SHA-256 are left alone, others are replaced. Raises `ConfigError` for an unknown
    name or a bad address, `DataError` when no mirror gives the right file (listing each with the reason) or
    nothing can be written.
    """
    if name == embedded.NAME:
        return []
    if name == watch.NAME:
        raise DataError(f"data '{name}' cannot be fetched. {watch.REMEDY}")
    if name not in REMOTES:
        raise unknown(name)
    root = download_root(data_dir)
    placed = []
    for remote in REMOTES[name].files:
        placed += _ensure(name, remote, root, _addresses(name, remote, base_urls), progress)
    return placed


def _addresses(
    name: str, remote: RemoteFile, base_urls: Mapping[str, str | Sequence[str]] | None
) -> list[str]:
    """The full addresses to try, best first."""
    given = (base_urls or {}).get(name)
    mirror = os.environ.get(ENV_MIRROR)
    if given is not None:
        bases = [given] if isinstance(given, str) else list(given)
        source = "base_urls"
    elif mirror:
        # plain files lie in their folder, an archive beside the folder it unpacks to
        bases = [mirror if remote.members else f"{mirror.rstrip('/')}/{remote.folder}"]
        source = ENV_MIRROR
    else:
        bases, source = list(REMOTES[name].bases), "mirrors"
    for base in bases:
        if urllib.parse.urlsplit(base).scheme not in ("http", "https"):
            raise ConfigError(
                f"{source}: '{base}' is not a web address. Give one that begins with http:// or https://."
            )
    return [f"{base.rstrip('/')}/{remote.name}" for base in bases]


def _ensure(
    name: str, remote: RemoteFile, root: Path, urls: list[str], progress: Progress | None
) -> list[Path]:
    """The paths of what `remote` provides, downloaded if any of them is missing or wrong."""
    folder = root / remote.folder
    targets = remote.members or ((remote.name, remote.sha256, remote.size_bytes),)
    paths = [folder / target for target, _, _ in targets]
    try:
        if all(is_file(path) and _sha256(path) == digest for path, (_, digest, _) in zip(paths, targets)):
            return paths
        folder.mkdir(parents=True, exist_ok=True)
        part = (root if remote.members else folder) / f"{remote.name}.part"
        _download(name, remote, urls, part, progress)
        if remote.members:
            _unpack(remote, part, folder)
            part.unlink()
        else:
            part.replace(paths[0])
    except OSError as error:
        raise DataError(
            f"data '{name}': cannot write {folder} ({error}). Free some space, or give a writable --data-dir."
        ) from error
    return paths


def _download(name: str, remote: RemoteFile, urls: list[str], part: Path, progress: Progress | None) -> None:
    """Fill `part` with the right bytes from the first mirror that has them."""
    if is_file(part) and _flaw(part, remote) is None:
        return
    reasons = []
    for url in urls:
        for attempt in range(ATTEMPTS):
            try:
                _attempt(url, remote, part, progress)
                return
            except _Fault as fault:
                reason = str(fault)
            if attempt + 1 < ATTEMPTS:
                time.sleep(PAUSE_S)
        reasons.append(f"{url} ({reason})")
    raise DataError(
        f"data '{name}': {remote.name} could not be fetched. Tried {ATTEMPTS} times each: "
        f"{'; '.join(reasons)}. "
        f"Check the network and try again (it continues), or set {ENV_MIRROR} to a mirror."
    )


def _attempt(url: str, remote: RemoteFile, part: Path, progress: Progress | None) -> None:
    """One transfer; when a continued file turns out wrong, once more from the start."""
    continued = _transfer(url, remote, part, progress)
    flaw = _flaw(part, remote)
    if flaw and continued:
        part.unlink()
        _transfer(url, remote, part, progress)
        flaw = _flaw(part, remote)
    if flaw:
        part.unlink()
        raise _Fault(flaw)


def _transfer(url: str, remote: RemoteFile, part: Path, progress: Progress | None) -> bool:
    """Get what `part` lacks; True when bytes of an earlier attempt were kept. Raises `_Fault`."""
    have = part.stat().st_size if is_file(part) else 0
    if have >= remote.size_bytes:
        part.unlink()
        have = 0
    request = urllib.request.Request(url, headers={"User-Agent": "insitu", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with _open(request, part) as response:
        kept = have if response.status == 206 and _range_start(response) == have else 0
        if response.status == 206 and not kept:
            part.unlink(missing_ok=True)
            raise _Fault("the mirror sent another range than the one asked for")
        with part.open("ab" if kept else "wb") as out:
            _copy(response, out, kept, remote, progress)
    return kept > 0


def _open(request: urllib.request.Request, part: Path) -> http.client.HTTPResponse:
    try:
        return _answer(request)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # what we have does not belong to this file: start again
            part.unlink(missing_ok=True)
        raise _Fault(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _Fault(str(error.reason)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Fault(str(error) or type(error).__name__) from error


def _answer(request: urllib.request.Request) -> http.client.HTTPResponse:
    """The answer, once all of its headers are there.

    The socket's time-out is for a silence; against headers that come byte by byte a thread waits for them, and is left
    to itself where they take too long.
    """
    answers: Queue[Any] = Queue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(request, timeout=TIMEOUT_S))
        except (OSError, http.client.HTTPException, ValueError) as error:  # raised again below
            answers.put(error)

    Thread(target=ask, daemon=True).start()
    try:
        found = answers.get(timeout=HEADERS_S)
    except Empty:
        raise _Fault(f"no whole answer in {HEADERS_S:.0f} s") from None
    if isinstance(found, Exception):
        raise found
    response: http.client.HTTPResponse = found
    return response


def _copy(
    response: http.client.HTTPResponse,
    out: BinaryIO,
    kept: int,
    remote: RemoteFile,
    progress: Progress | None,
) -> None:
    """Stream the body after the `kept` bytes; raises `_Fault` when it is too short, too long or too slow."""
    done = kept
    length = response.headers.get("Content-Length", "")
    total = kept + int(length) if length.isdigit() else None
    since, then = time.monotonic(), done
    while chunk := _receive(response):
        done += len(chunk)
        if (seconds := time.monotonic() - since) > TIMEOUT_S:
            if done - then < LEAST_BYTES_S * seconds:
                raise _Fault(f"{done - then} bytes in {seconds:.0f} s: less than {LEAST_BYTES_S} a second")
            since, then = time.monotonic(), done
        if done > remote.size_bytes:
            out.truncate(0)
            raise _Fault(f"longer than the published {remote.size_bytes} bytes")
        out.write(chunk)
        if progress is not None:
            progress(remote.name, done, total)
    if total is not None and done < total:
        raise _Fault(f"the transfer broke off after {done} of {total} bytes")


def _receive(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK_BYTES)  # what is there; read() waits for all of them
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Fault(f"the transfer broke off: {error or type(error).__name__}") from error


def _range_start(response: http.client.HTTPResponse) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _flaw(part: Path, remote: RemoteFile) -> str | None:
    """What is wrong with a finished download, or None."""
    size = part.stat().st_size
    if size != remote.size_bytes:
        return f"{size} bytes instead of {remote.size_bytes}"
    digest = _sha256(part)
    return None if digest == remote.sha256 else f"SHA-256 {digest[:16]}... instead of {remote.sha256[:16]}..."


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unpack(remote: RemoteFile, archive: Path, folder: Path) -> None:
    """Take the expected members out of a tar archive; no path of the archive itself is used."""
    wanted = {f"{remote.folder}/{name}": (name, digest, size) for name, digest, size in remote.members}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name, digest, size = wanted.pop(member.name.removeprefix("./"), ("", "", 0))
                if name:
                    stream = tar.extractfile(member) if member.isreg() and member.size == size else None
                    _place(stream, folder / name, digest)
    except (tarfile.TarError, EOFError, zlib.error, _Fault) as error:
        raise DataError(f"{archive}: cannot be unpacked ({error}). Delete it and fetch again.") from error
    if wanted:
        raise DataError(f"{archive}: lacks {', '.join(wanted)}. Delete it and fetch again.")


def _place(stream: object, path: Path, digest: str) -> None:
    """Write a member beside its place, check it, and move it there."""
    if stream is None:
        raise _Fault(f"{path.name} is not a file of the published size")
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as out:
        while chunk := stream.read(_CHUNK_BYTES):  # type: ignore[attr-defined]
            out.write(chunk)
    if _sha256(part) != digest:
        part.unlink()
        raise _Fault(f"{path.name} has another SHA-256 than published")
    part.replace(path)
