"""The same results whatever surrounds a run: processes, threads, hash seeds, locales, masks; and words at its end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SMALL = ["--data", "digits", "--set", "limit_train=96", "--set", "limit_test=32", "--batch", "16"]
SMALL += ["--network", "mlp-64-12-10"]
TRAIN = ["train", *SMALL, "--rule", "etch", "--precision", "edge-latent-free-8", "--epochs", "2"]


def started(folder: Path, *words: str, umask: int = -1, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "insitu", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        umask=umask,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def ended(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return out, err


def bits(folder: Path) -> dict[str, str]:
    """Trained parameters of all runs below a folder, as hashes."""
    found = {}
    for path in sorted(folder.rglob("parameters.npz")):
        with np.load(path) as stored:
            for name, array in stored.items():
                found[f"{path.relative_to(folder)}:{name}"] = sha256(array.tobytes()).hexdigest()
    return found


HAS_LOCALE = shutil.which("locale") is not None
LOCALES = (
    subprocess.run(["locale", "-a"], capture_output=True, text=True).stdout.split() if HAS_LOCALE else []
)
SURROUNDINGS: dict[str, dict[str, Any]] = {
    "two threads": {"OMP_NUM_THREADS": "2"},
    "hash seed": {"PYTHONHASHSEED": "77"},
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "umask 0": {"umask": 0},
    "umask 077": {"umask": 0o077},
    **({"Turkish": {"LC_ALL": "tr_TR.utf8"}} if "tr_TR.utf8" in LOCALES else {}),
}


def test_surroundings_change_no_bit(tmp_path: Path) -> None:
    processes = {"plain": started(tmp_path, *TRAIN, "--out", "plain")}
    ended(processes["plain"])
    wanted = bits(tmp_path / "plain")
    assert wanted
    for name, given in SURROUNDINGS.items():
        ended(started(tmp_path, *TRAIN, "--out", name, **given))
        assert bits(tmp_path / name) == wanted, name


def test_two_processes_give_the_results_of_one(tmp_path: Path) -> None:
    words = ["compare", *SMALL, "--rules", "bp,drtp", "--seeds", "1", "--epochs", "1"]
    for jobs in ("1", "2"):
        ended(started(tmp_path, *words, "--jobs", jobs, "--out", jobs))
    one, two = (json.loads((tmp_path / jobs / "results.json").read_text())["rows"] for jobs in ("1", "2"))
    assert bits(tmp_path / "1") == bits(tmp_path / "2")
    assert [r["curves"] for r in one] == [r["curves"] for r in two]


def test_of_two_runs_in_one_folder_one_is_refused_and_names_the_other(tmp_path: Path) -> None:
    long = ["train", *SMALL, "--rule", "bp", "--epochs", "100000", "--out", "r"]
    first = started(tmp_path, *long)
    try:
        waited(tmp_path / "r" / "checkpoint.pt")
        for more in ([], ["--resume"]):
            _, err = ended(started(tmp_path, *long, *more), 2)
            assert f"folder r is in use by process {first.pid} on " in err and err.count("\n") == 1
    finally:
        first.kill()
        first.communicate()


def test_two_runs_at_once_choose_two_folders(tmp_path: Path) -> None:
    for process in [started(tmp_path, *TRAIN, "--seed", str(seed)) for seed in (1, 2)]:
        ended(process)
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 2


def waited(path: Path) -> None:
    end = time.monotonic() + 120
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert path.exists()


def test_a_folder_that_is_removed_under_a_run_is_told(tmp_path: Path) -> None:
    process = started(tmp_path, "train", *SMALL, "--rule", "bp", "--epochs", "100000", "--out", "r")
    waited(tmp_path / "r" / "checkpoint.pt")
    (tmp_path / "r").rename(tmp_path / "gone")
    _, err = ended(process, 2)
    assert "its folder is not there, or was removed meanwhile; pass another --out" in err.splitlines()[-1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", place], capture_output=True
    ).returncode:
        pytest.skip("a small disk can be mounted by root alone")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_a_refusal_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path, small_disk: Path
) -> None:
    ended(started(tmp_path, *TRAIN, "--out", "whole"))
    _, err = ended(started(tmp_path, *TRAIN, "--out", "disk/r"), 2)
    assert "No space left on device" in err.splitlines()[-1]
    assert not list((small_disk / "r").glob(".*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    ended(started(tmp_path, *TRAIN, "--out", "disk/r", "--resume"))
    assert bits(small_disk) == {f"r/{n}": x for n, x in bits(tmp_path / "whole").items()}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_a_result_is_printed_whatever_stdout_can_say(tmp_path: Path, encoding: str) -> None:
    out, _ = ended(started(tmp_path, "list", "rules", PYTHONIOENCODING=encoding))
    assert "etch" in out


def test_a_closed_or_full_stdout_loses_no_result(tmp_path: Path) -> None:
    words = f"{sys.executable} -m insitu.cli {' '.join(TRAIN)}"
    done = subprocess.run(
        ["sh", "-c", f"{words} --out closed >&-"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr.count("Traceback"), done.stderr
    assert bits(tmp_path / "closed")
    done = subprocess.run(
        ["sh", "-c", f"{words} --out full >/dev/full"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("insitu: "), done.stderr
    assert bits(tmp_path / "full") == bits(tmp_path / "closed")
