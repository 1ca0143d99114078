"""Runs to attack: small ones, whole and stopped half-way, and what of a folder has to be equal."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.attacks.forks import Running

from insitu.run import checkpoint

SMALL = ["--data", "digits", "--set", "limit_train=96", "--set", "limit_test=32"]
RUN = [
    "train",
    *SMALL,
    "--network",
    "mlp-64-12-10",
    "--batch",
    "16",
    "--epochs",
    "2",
    "--set",
    "checkpoint_steps=2",
]
INTEGER = ["--precision", "edge-latent-free-8", "--set", "validation=0.25"]

TRAINED: dict[str, list[str]] = {
    "floats": [*RUN, "--rule", "drtp", "--optimizer", "adam", "--lr", "0.01", "--set", "augment.pad=1"],
    "phases": [*RUN, "--rule", "dgl"],
    "turns": [*RUN, "--rule", "dbl", "--network", "mlp-64-12-12-12-10"],
    "integers": [*RUN, *INTEGER, "--rule", "etch"],
    "c": [*RUN, *INTEGER, "--rule", "drtp", "--engine", "c"],
}
"""Command lines by what they are about; ``--out`` is missing."""

COMPARED: dict[str, list[str]] = {
    "compare": [
        *(
            "compare",
            *SMALL,
            "--network",
            "mlp-64-12-10",
            "--rules",
            "bp,drtp",
            "--epochs",
            "2",
            "--seeds",
            "2",
        ),
        *("--set", "checkpoint_steps=2", "--jobs", "2"),
    ],
    "grid": [
        *(
            "grid",
            *SMALL,
            "--network",
            "mlp-64-12-10",
            "--rules",
            "drtp",
            "--weight-bits",
            "4,8,32",
            "--epochs",
            "1",
        ),
        *("--seeds", "2", "--regimes", "latent-free"),
    ],
    "reproduce": ["reproduce", "attacked"],
}

VOLATILE = {"seconds", "created", "command", "environment"}
"""Keys whose values tell of the moment, not of the result."""

UNLIKE = {
    "env.json",
    "config.yaml",
    "curves.png",
    "memory.png",
    "overview.png",
    "energy.png",
    "report.html",
    "heat.png",
    "grid.md",
    ".lock",
}
"""Files that tell of the machine or are asked for elsewhere, and drawings and tables (with their times) of others."""


def steady(value: Any) -> Any:
    """JSON without what tells of the moment."""
    if isinstance(value, dict):
        return {k: steady(v) for k, v in value.items() if k not in VOLATILE}
    return [steady(v) for v in value] if isinstance(value, list) else value


def contents(folder: Path) -> dict[str, Any]:
    """What has to be equal of a folder's files, by their paths in it."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in UNLIKE)
    return {str(p.relative_to(folder)): _content(p) for p in files}


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return steady(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [steady(json.loads(line)) for line in path.read_text().splitlines()]
    if path.suffix == ".npz":
        with np.load(path) as stored:
            return {
                n: (str(stored[n].dtype), stored[n].shape, sha256(stored[n].tobytes()).hexdigest())
                for n in stored
            }
    if path.suffix == ".pt":
        raw = torch.load(path, weights_only=True)
        tensors = {n: (str(t.dtype), tuple(t.shape), t.numpy().tobytes()) for n, t in raw["state"].items()}
        return tensors, steady(raw["progress"])
    return path.read_text()


def unequal(found: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """What differs first: a file, and of a checkpoint its tensors or values."""
    names = sorted(found.keys() ^ wanted.keys()) or [n for n in sorted(wanted) if found[n] != wanted[n]]
    if not names or names[0] not in found.keys() & wanted.keys() or not names[0].endswith(".pt"):
        return names[0] if names else None
    pairs = list(zip(found[names[0]], wanted[names[0]]))
    return (
        f"{names[0]} ({', '.join(n for a, b in pairs for n in a.keys() | b.keys() if a.get(n) != b.get(n))})"
    )


@cache
def workshop() -> Path:
    """A folder for runs that many cases share; it goes with this process."""
    place, owner = Path(tempfile.mkdtemp(prefix="insitu-workshop-")), os.getpid()
    atexit.register(lambda: shutil.rmtree(place, ignore_errors=True) if os.getpid() == owner else None)
    os.environ["INSITU_CACHE"] = str(place / "cache")
    return place


@cache
def whole(name: str) -> tuple[Path, float]:
    """A finished run, comparison or grid, and the seconds that it took."""
    folder = workshop() / f"whole-{name}"
    folder.mkdir()
    words = (TRAINED | COMPARED)[name]
    ended = Running([*words, "--out", "r"], folder, before=known_recipe).wait(600)
    assert ended.code == 0, ended.err
    return folder / "r", ended.seconds


@cache
def stopped(name: str, saves: int = 3) -> Path:
    """A run that was ended behind a number of checkpoints, as by a kill."""
    folder = workshop() / f"stopped-{name}-{saves}"
    folder.mkdir()
    Running([*TRAINED[name], "--out", "r"], folder, before=_ending(saves)).wait(600)
    assert (folder / "r" / "checkpoint.pt").exists() and not (folder / "r" / "result.json").exists()
    return folder / "r"


def _ending(saves: int) -> Callable[[], None]:
    left = [saves]

    def before() -> None:
        save = checkpoint.save

        def last(*words: Any, **more: Any) -> None:
            save(*words, **more)
            left[0] -= 1
            if not left[0]:
                os._exit(9)

        checkpoint.save = last

    return before


def known_recipe() -> None:
    """Adds a small recipe with a pretraining, for ``reproduce``."""
    from insitu.experiment import recipes

    small = {"data": "digits", "limit_train": 96, "limit_test": 32, "batch": 16, "checkpoint_steps": 2}
    recipe = recipes.Recipe(
        title="attacked",
        source="none",
        compare={
            **small,
            "networks": ["mlp-64-12-10"],
            "rules": [{"rule": "bp"}, {"rule": "drtp"}],
            "seeds": 1,
            "epochs": 2,
        },
        pretrain={**small, "network": "mlp-64-12-10", "rule": "bp", "epochs": 1},
    )
    recipes.find = lambda name: recipe  # type: ignore[assignment]
