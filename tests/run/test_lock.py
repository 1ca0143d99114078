"""A folder belongs to one process at a time, and to nobody after its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from insitu.errors import CheckpointError
from insitu.run.lock import NAME, held

HOLD = """
import sys, time
from pathlib import Path
from insitu.run.lock import held
with held(Path(sys.argv[1])):
    print(1, flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that has the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "1\n"
    return process


def test_the_holder_is_named_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    process = holder(tmp_path / "run")
    told = json.loads((tmp_path / "run" / NAME).read_text())
    assert told["pid"] == process.pid
    with pytest.raises(CheckpointError) as refused, held(tmp_path / "run"):
        raise AssertionError("held twice")
    for part in ("in use by process", str(process.pid), told["host"], told["since"], "--out"):
        assert part in str(refused.value)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with held(tmp_path / "run") as folder:
        assert json.loads((folder / NAME).read_text())["pid"] == os.getpid()
    assert not any((tmp_path / "run").iterdir())
    with held(tmp_path / "new" / "run"):
        pass
    assert not (tmp_path / "new").exists(), "made here, and still empty"


def test_a_holder_that_ends_in_time_is_waited_for(tmp_path: Path) -> None:
    process = holder(tmp_path)
    threading.Timer(0.3, process.kill).start()
    with held(tmp_path, grace=30.0):
        assert process.wait(1) == -signal.SIGKILL


def test_the_same_thread_holds_on_and_another_does_not(tmp_path: Path) -> None:
    seen: list[str] = []

    def other() -> None:
        try:
            with held(tmp_path):
                seen.append("held")
        except CheckpointError as error:
            seen.append(str(error))

    with held(tmp_path), held(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert (tmp_path / NAME).exists()
    assert "in use" in seen[0] and not any(tmp_path.iterdir())
    assert tmp_path.exists(), "was there before"


def test_what_dead_processes_left_half_written_is_cleared(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, mine = tmp_path / f".checkpoint.pt.{ended.pid}.tmp", tmp_path / f".checkpoint.pt.{os.getppid()}.tmp"
    others = [tmp_path / name for name in (".hidden", "notes.tmp", ".a.b.tmp")]
    for path in (dead, mine, *others):
        path.touch()
    with held(tmp_path):
        assert not dead.exists()
    assert all(path.exists() for path in (mine, *others))


def test_a_place_that_takes_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="file/run cannot be written"), held(tmp_path / "file" / "run"):
        raise AssertionError("held")
