"""Checkpoints are whole or not there, and run no code."""

from __future__ import annotations

import os
import pickle
import resource
import signal
from pathlib import Path

import pytest
import torch

from insitu.errors import CheckpointError
from insitu.run import checkpoint
from insitu.run.checkpoint import Progress
from insitu.run.files import append_line, read_lines, write_atomic


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    progress = Progress(step=3, samples=30, history=[{"epoch": 1, "test_accuracy": None}])
    checkpoint.save(path, {"w": torch.arange(4.0)}, progress, "abc")
    state, read = checkpoint.load(path, "abc")
    assert torch.equal(state["w"], torch.arange(4.0)) and read == progress
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_damaged_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"w": torch.arange(400.0)}, Progress(), "abc")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match=r"damaged .*remove it to start the run anew"):
        checkpoint.load(path, "abc")


def test_every_changed_byte_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    state = {"w": torch.arange(200.0)}
    checkpoint.save(path, state, Progress(step=7), "abc")
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            read, progress = checkpoint.load(path, "abc")
        except CheckpointError:
            continue
        assert torch.equal(read["w"], state["w"]) and progress.step == 7


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist; start the run without --resume"):
        checkpoint.load(tmp_path / "none.pt")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'pwned'}",)

    path = tmp_path / "c.pt"
    torch.save({"version": 1, "state": Evil()}, path)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)
    assert not (tmp_path / "pwned").exists()


def test_another_configuration_or_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, {}, Progress(), "abc")
    with pytest.raises(CheckpointError, match="belongs to another configuration"):
        checkpoint.load(path, "def")
    torch.save({"version": 99}, path)
    with pytest.raises(CheckpointError, match="another version"):
        checkpoint.load(path, "abc")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """The operating system itself refuses to write more than 20 kB."""
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"w": torch.zeros(10)}, Progress(step=1), "abc")
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"cannot be written: .*before is intact. Free space"):
            checkpoint.save(path, {"w": torch.zeros(100_000)}, Progress(step=2), "abc")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert checkpoint.load(path, "abc")[1].step == 1
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_no_space_left_names_the_file() -> None:
    with pytest.raises(CheckpointError, match="/dev/full cannot be written: No space left on device"):
        append_line(Path("/dev/full"), {"a": 1})


def test_a_cut_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    append_line(path, {"a": 1})
    with path.open("a") as stream:
        stream.write('{"a": ')
    assert list(read_lines(path)) == [{"a": 1}]


def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_atomic(tmp_path / "no" / "such" / "file", "x")
