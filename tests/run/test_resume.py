"""A checkpoint is compared with the run that goes on from it: every misfit is refused, by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from insitu.errors import CheckpointError
from insitu.experiment.config import RunConfig, parse
from insitu.experiment.train import train

Raw = dict[str, Any]


def config(**more: Any) -> RunConfig:
    raw = {
        **{"network": "mlp-64-12-10", "rule": "drtp", "epochs": 3, "batch": 16, "checkpoint_steps": 2},
        **{"limit_train": 72, "limit_test": 32, **more},
    }
    return parse(RunConfig, raw, "test")


KINDS: dict[str, RunConfig] = {
    "floats": config(optimizer={"kind": "adam", "lr": 0.01}),
    "integers": config(precision="edge-latent-free-8", rule="etch"),
    "turns": config(rule="dbl", network="mlp-64-12-12-10"),
    "stops": config(validation=0.25, early_stop={"patience": 5}),
}


class Stop(Exception):
    """Ends a run as a kill would, for its folder."""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a run that was ended in its second epoch, behind a checkpoint."""

    @cache
    def folder(kind: str) -> Path:
        place = tmp_path_factory.mktemp(kind) / "r"

        def on_event(event: Raw) -> None:
            if event["kind"] == "progress" and event["samples"] > 72:
                raise Stop

        with pytest.raises(Stop):
            train(KINDS[kind], place, on_event=on_event)
        return place

    return folder


def changed(folder: Path, to: Path, change: Callable[[Raw], None]) -> Path:
    shutil.copytree(folder, to)
    raw = torch.load(to / "checkpoint.pt", weights_only=True)
    change(raw)
    torch.save(raw, to / "checkpoint.pt")
    return to


@pytest.mark.parametrize("kind", KINDS)
def test_an_unchanged_checkpoint_goes_on_to_equal_bits(
    tmp_path: Path, stopped: Callable[[str], Path], kind: str
) -> None:
    whole = train(KINDS[kind], tmp_path / "whole")
    again = train(KINDS[kind], changed(stopped(kind), tmp_path / "r", lambda raw: None), resume=True)
    assert again.curve == whole.curve and again.samples == whole.samples
    assert all(again.params[n].tobytes() == whole.params[n].tobytes() for n in whole.params)
    lines = [(f / "events.jsonl").read_text().count("\n") for f in (tmp_path / "whole", tmp_path / "r")]
    assert lines[0] == lines[1]


def tensor(name: str, value: Callable[[torch.Tensor], Any]) -> Callable[[Raw], None]:
    return lambda raw: raw["state"].update({name: value(raw["state"][name])})


def progress(**values: Any) -> Callable[[Raw], None]:
    return lambda raw: raw["progress"].update(values)


def row(**values: Any) -> Callable[[Raw], None]:
    return lambda raw: raw["progress"]["history"][0].update(values)


W = "fc1.weight"
MISFITS: list[tuple[str, Callable[[Raw], Any], str]] = [
    ("floats", lambda raw: raw["state"].pop(W), "it lacks 'fc1.weight'"),
    ("floats", lambda raw: [raw["state"].pop(n) for n in list(raw["state"])[:2]], "it lacks '.*', '.*'"),
    (
        "floats",
        lambda raw: raw["state"].update(extra=torch.zeros(1)),
        "it holds 'extra', which the program does not",
    ),
    (
        "floats",
        tensor(W, lambda t: torch.zeros(3, 3)),
        r"'fc1.weight' has shape \[3, 3\], and not \[12, 64\]",
    ),
    ("floats", tensor(W, lambda t: t[None]), r"has shape \[1, 12, 64\]"),
    ("floats", tensor(W, lambda t: t.double()), r"'fc1.weight' is of type torch.float64.*not torch.float32"),
    ("floats", tensor(W, lambda t: t.to(torch.complex64)), "is of type torch.complex64"),
    ("floats", tensor(W, lambda t: t.to_sparse()), "is of type torch.float32, torch.sparse_coo"),
    ("integers", tensor(W, lambda t: t + 300), r"'fc1.weight' holds .*, and .* has the integers -128 to 127"),
    ("integers", tensor(W, lambda t: t + 0.5), "has the integers -128 to 127"),
    ("integers", tensor(W, lambda t: t * torch.nan), "holds nan"),
    (
        "floats",
        progress(position=10**9),
        "position 1000000000 is no end of a batch of epoch 2, which has 72 samples",
    ),
    ("floats", progress(position=17), "position 17 is no end of a batch"),
    ("floats", progress(position=32), "step .* where epoch and position say"),
    ("floats", progress(epoch=9), "epoch 9 of 3"),
    ("floats", progress(step=1), "step 1 and sample"),
    ("floats", progress(samples=1), "sample 1, where epoch and position say"),
    ("floats", progress(phase=1), "phase 1 at step"),
    ("turns", progress(phase=7), "phase 7 at step"),
    ("floats", progress(phase_start=3), "phase 0 began at step 3"),
    ("floats", progress(loss_samples=100), "a loss of 100 samples of"),
    ("floats", progress(loss_samples=0, loss_sum=2.5), "a loss of 0 samples of .*, 2.5 in all"),
    ("floats", progress(finished=True), "it is finished behind epoch 1 of 3"),
    ("integers", progress(fired=[1, 2, 3, 4, 5, 6]), "it counts 6 triggers of"),
    ("floats", progress(history=[]), r"evaluations of epochs \[\], and not of \[1\]"),
    ("floats", row(epoch=2), r"evaluations of epochs \[2\], and not of \[1\]"),
    ("floats", row(samples=3), "the evaluation of epoch 1 at step 5 and sample 3"),
    ("stops", progress(stale=7), "it is not finished behind epoch 1 of 3"),
]


@pytest.mark.parametrize("n", range(len(MISFITS)))
def test_a_misfit_is_refused_by_name(tmp_path: Path, stopped: Callable[[str], Path], n: int) -> None:
    kind, change, told = MISFITS[n]
    folder = changed(stopped(kind), tmp_path / "r", change)
    with pytest.raises(
        CheckpointError, match=f"does not fit its run: .*{told}.*; restore a copy of it, or start"
    ):
        train(KINDS[kind], folder, resume=True)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"null\n", b'{"kind": "eval", "epoch": "x"}\n', b"[" * 5000]
)
def test_events_mend_themselves_from_the_checkpoint(
    tmp_path: Path, stopped: Callable[[str], Path], content: bytes
) -> None:
    folder = changed(stopped("floats"), tmp_path / "r", lambda raw: None)
    (folder / "events.jsonl").write_bytes(content)
    train(KINDS["floats"], folder, resume=True)
    assert (folder / "events.jsonl").read_text().count('"eval"') == 3
