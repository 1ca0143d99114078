"""Checkpoints are whole or not there, and run no code."""

from __future__ import annotations

import math
import os
import pickle
import resource
import signal
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from insitu.errors import CheckpointError
from insitu.run import checkpoint
from insitu.run.checkpoint import Evaluation, Progress
from insitu.run.files import append_line, read_lines, write_atomic

OF = {"program": "abc"}
"""What the run is a run of."""


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    row: Evaluation = {
        **{"epoch": 1, "step": 3, "samples": 30, "lr": 0.1, "seconds": 0.5, "diverged": False},  # type: ignore[typeddict-item]
        **{"train_loss": None, "test_loss": 0.5, "test_accuracy": None},
    }
    progress = Progress(step=3, samples=30, loss_sum=1.5, history=[row])
    checkpoint.save(path, {"w": torch.arange(4.0)}, progress, OF)
    found = checkpoint.load(path)
    assert torch.equal(found.state["w"], torch.arange(4.0)) and found.fingerprint == OF
    assert found.progress == progress
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_damaged_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"w": torch.arange(400.0)}, Progress(), OF)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match=r"damaged .*remove it to start the run anew"):
        checkpoint.load(path)


def test_every_changed_byte_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    state = {"w": torch.arange(200.0)}
    checkpoint.save(path, state, Progress(step=7), OF)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            read = checkpoint.load(path)
        except CheckpointError:
            continue
        assert torch.equal(read.state["w"], state["w"]) and read.progress.step == 7


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist; start the run without --resume"):
        checkpoint.load(tmp_path / "none.pt")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'pwned'}",)

    path = tmp_path / "c.pt"
    torch.save({"version": checkpoint.VERSION, "state": Evil()}, path)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)
    assert not (tmp_path / "pwned").exists()


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    for raw in ({"version": 1, "state": {}}, {}, [1], torch.zeros(3)):
        torch.save(raw, path)
        with pytest.raises(
            CheckpointError, match=r"is of version .*, and this insitu reads version 2; go on with"
        ):
            checkpoint.load(path)


MEANT: list[tuple[str, Any, str]] = [
    ("fingerprint", None, "fingerprint: input should be a valid dictionary"),
    ("fingerprint", ..., "fingerprint: field required"),
    ("state", ..., "state: field required"),
    ("state", {"w": 3}, "state.w: input should be an instance of Tensor"),
    ("state", {3: torch.zeros(1)}, "state.3.*: input should be a valid string"),
    ("progress", [1], "progress: input should be a dictionary"),
    ("extra", 1, "extra: unexpected keyword"),
    ("progress.step", -1, "progress.step: input should be greater than or equal to 0"),
    ("progress.step", True, "progress.step: input should be a valid integer"),
    ("progress.position", 1.0, "progress.position: input should be a valid integer"),
    ("progress.seconds", math.nan, "progress.seconds: input should be a finite number"),
    ("progress.finished", 0, "progress.finished: input should be a valid boolean"),
    ("progress.history", [{}], "progress.history.0.epoch: field required"),
    ("progress.fired", [-1], "progress.fired.0: input should be greater"),
    ("progress.best", "x", "progress.best: input should be a valid number"),
    *((f"progress.{f.name}", ..., f"progress.{f.name}: field required") for f in fields(Progress)),
    ("progress.other", 1, "progress.other: unexpected keyword"),
]


@pytest.mark.parametrize("place, value, told", MEANT)
def test_whole_bytes_that_say_something_else_are_refused(
    tmp_path: Path, place: str, value: Any, told: str
) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"w": torch.arange(4.0)}, Progress(), OF)
    raw = torch.load(path, weights_only=True)
    part = raw["progress"] if "." in place else raw
    if value is ...:
        del part[place.rpartition(".")[2]]
    else:
        part[place.rpartition(".")[2]] = value
    torch.save(raw, path)
    with pytest.raises(CheckpointError, match=f"does not say where its run stands: {told}.*; restore a copy"):
        checkpoint.load(path)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """The operating system itself refuses to write more than 20 kB."""
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"w": torch.zeros(10)}, Progress(step=1), OF)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"cannot be written: .*before is intact. Free space"):
            checkpoint.save(path, {"w": torch.zeros(100_000)}, Progress(step=2), OF)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert checkpoint.load(path).progress.step == 1
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


@pytest.mark.parametrize(
    "foreign",
    [
        *(b"\xff\xfe\n", b"null\n", b"[1]\n", b"\0\0\n", b'{"a": 2\n', b"[" * 100_000 + b"\n"),
        *(b'{"a": 2, "a": 3}\n', b'{"a": ' + b"9" * 10_000 + b"}\n", b'{"a": "\\ud800"}\n'),
    ],
)
def test_lines_that_are_no_records_are_left_out(tmp_path: Path, foreign: bytes) -> None:
    path = tmp_path / "e.jsonl"
    path.write_bytes(b'{"a": 1}\n' + foreign + b'{"b": 2}\n')
    assert list(read_lines(path)) == [{"a": 1}, {"b": 2}]


def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_atomic(tmp_path / "no" / "such" / "file", "x")
