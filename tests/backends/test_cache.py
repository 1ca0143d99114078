"""What is compiled once is looked at before it is run: every damage is made good, and no other user's code is run."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from insitu.backends.c import cache
from insitu.backends.c.cache import kept
from insitu.errors import ConfigError, InsituWarning

CONTENT = bytes(range(256)) * 8


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("INSITU_CACHE", str(tmp_path))
    fresh: Path | None = None

    def temporary() -> Path:
        nonlocal fresh
        fresh = fresh or Path(tmp_path / "temporary")
        fresh.mkdir(exist_ok=True)
        return fresh

    monkeypatch.setattr(cache, "_temporary", temporary)
    cache._note.cache_clear()
    yield tmp_path / "insitu" / "c"
    cache._note.cache_clear()


class Maker:
    """Makes an object with a companion, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, path: Path) -> None:
        self.calls += 1
        path.write_bytes(CONTENT)
        path.with_suffix(".txt").write_text("said")

    def get(self) -> Path:
        return kept("object", ".o", b"key", self, beside=(".txt",))


def flipped(at: int, bit: int) -> bytes:
    return CONTENT[:at] + bytes([CONTENT[at] ^ 1 << bit]) + CONTENT[at + 1 :]


DAMAGES = {"empty": b"", "half": CONTENT[:1024], "zeros": bytes(2048), "longer": CONTENT + b"\0"}
DAMAGES |= {f"bit {bit} of byte {at}": flipped(at, bit) for at, bit in ((0, 0), (1000, 5), (2047, 7))}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_object_is_made_again(folder: Path, name: str) -> None:
    make = Maker()
    path = make.get()
    assert path.parent == folder and make.get() == path and make.calls == 1
    path.write_bytes(DAMAGES[name])
    assert make.get().read_bytes() == CONTENT and make.calls == 2
    assert make.get() == path and make.calls == 2


@pytest.mark.parametrize("suffix", [".o", ".txt", ".o.sha256"])
def test_a_missing_or_changed_file_is_made_again(folder: Path, suffix: str) -> None:
    make = Maker()
    path = make.get()
    file = path.with_name(path.stem + suffix)
    for calls, damage in enumerate((file.unlink, lambda: file.write_text("x")), 2):
        damage()
        assert make.get().read_bytes() == CONTENT and make.calls == calls
        assert path.with_suffix(".txt").read_text() == "said"


def test_the_folder_is_this_users_alone_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        Maker().get()
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    Maker().get()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700, "readable by others is mended"


@pytest.mark.parametrize("mode", [0o777, 0o722, 0o770, 0o702])
def test_a_folder_that_others_can_write_is_refused(folder: Path, mode: int) -> None:
    make = Maker()
    make.get()
    folder.chmod(mode)
    with pytest.raises(ConfigError, match=f"can be written by others \\(mode {mode:o}\\).*INSITU_CACHE"):
        make.get()


def test_another_users_folder_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Maker().get()
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(
        ConfigError, match=f"belongs to user {user}, and this is user {user + 1}.*INSITU_CACHE"
    ):
        Maker().get()


def test_without_a_folder_the_object_is_this_processs(folder: Path, tmp_path: Path) -> None:
    folder.parent.touch()
    make = Maker()
    with pytest.warns(InsituWarning, match=r"cannot be kept in .*free space there, or set INSITU_CACHE"):
        path = make.get()
    assert path.parent == tmp_path / "temporary" and path.read_bytes() == CONTENT
    assert make.get() == path and make.calls == 1


def test_what_a_kill_left_half_written_is_cleared(folder: Path) -> None:
    make = Maker()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    make.get()
    left = folder / f".object.o.{ended.pid}.tmp"
    left.touch()
    (folder / "object.txt").touch()
    kept("other", ".o", b"key", make, beside=(".txt",))
    assert not left.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True
    ).returncode:
        pytest.skip("a small disk can be mounted by root alone")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_full_or_read_only_cache_does_no_harm(
    folder: Path, small_disk: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSITU_CACHE", str(small_disk))
    kept_before = kept("before", ".o", b"key", lambda path: path.write_bytes(CONTENT) and None)
    if how == "full":
        (small_disk / "much").write_bytes(bytes(60 * 1024 - 4096 * 3))
    else:
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    big = CONTENT * 10
    with pytest.warns(InsituWarning, match="cannot be kept in"):
        path = kept("big", ".o", b"key", lambda path: path.write_bytes(big) and None)
    assert path.read_bytes() == big and small_disk not in path.parents
    assert kept("before", ".o", b"key", lambda _: pytest.fail("made again")) == kept_before
