"""Regression, autoencoders and labels that do not exclude each other, in integers as in floats."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insitu.experiment.config import RunConfig
from insitu.experiment.export import export
from insitu.experiment.metrics import Detection, Tags
from insitu.experiment.train import train

WORDS = "edge-latent-free-8"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of a regression, of tags, and of windows with anomalies."""
    folder, rng = tmp_path_factory.mktemp("targets"), np.random.default_rng(1)
    x = rng.random((400, 8), np.float32)
    y = np.stack([x[:, 0] - x[:, 1], 0.5 * x[:, 2] * x[:, 3]], 1).astype(np.float32)
    np.savez(folder / "regression.npz", x=x, y=3 * y)
    tags = np.stack([x[:, 0] > 0.5, x[:, 1] > x[:, 2], x[:, 3] > 0.2], 1).astype(np.float32)
    np.savez(folder / "tags.npz", x=x, y=tags)
    phase = rng.uniform(0, 2 * np.pi, (500, 1))
    speed = np.where(np.arange(500) % 5, 0.3, 0.55)[:, None]  # a fifth is anomalous
    waves = np.sin(speed * np.arange(32) + phase) + 0.05 * rng.normal(size=(500, 32))
    np.savez(folder / "waves.npz", x=waves.astype(np.float32), y=(np.arange(500) % 5 == 0).astype(int))
    return {path.stem: path for path in folder.glob("*.npz")}


KINDS: dict[str, dict[str, Any]] = {
    "regression": {"network": "mlp-8-24-2", "loss": "mse", "optimizer": {"lr": 0.1}},
    "tags": {"network": "mlp-8-24-3", "loss": "bce", "optimizer": {"lr": 0.5}},
    "waves": {
        "network": "mlp-32-24-24-32",
        "loss": "mse",
        "target": "input",
        "data_options": {"normal": "0"},
        "optimizer": {"lr": 0.1},
    },
}


def config(kind: str, data: dict[str, Path], **more: Any) -> RunConfig:
    base = {"data": str(data[kind]), "epochs": 15, "batch": 1, "precision": WORDS, "engine": "c"}
    return RunConfig(**{**base, **KINDS[kind], "network_options": {"activation": "relu"}, **more})


@pytest.mark.parametrize("kind", KINDS)
def test_the_engines_agree(kind: str, data: dict[str, Path]) -> None:
    one, other = (train(config(kind, data, epochs=1, engine=engine)) for engine in ("c", "torch"))
    assert one.curve.test_loss == other.curve.test_loss and one.metrics == other.metrics
    assert all(np.array_equal(one.params[name], other.params[name]) for name in one.params)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", ["bp", "bp-stash", "dfa"])
def test_they_learn(kind: str, rule: str, data: dict[str, Path]) -> None:
    """To a third of the loss of a network that has learned nothing."""
    lr = KINDS[kind]["optimizer"]["lr"] / (4 if rule == "dfa" else 1)
    still = train(config(kind, data, epochs=1, optimizer={"lr": 1e-9})).curve.test_loss[-1]
    found = train(config(kind, data, rule=rule, optimizer={"lr": lr})).curve.test_loss[-1]
    assert still is not None and found is not None and found < still / 3


@pytest.mark.parametrize("kind", KINDS)
def test_the_learning_curve_is_the_loss_of_the_targets(kind: str, data: dict[str, Path]) -> None:
    more = {"epochs": 1, "optimizer": {"lr": 1e-9}, "engine": "torch"}
    real, words = (
        train(config(kind, data, precision=p, **more)).curve.train_loss[0] for p in ("float32", WORDS)
    )
    assert real is not None and words == pytest.approx(real, rel=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_computes_the_same(kind: str, data: dict[str, Path], tmp_path: Path) -> None:
    train(config(kind, data, epochs=1), tmp_path / "run")
    export(tmp_path / "run", tmp_path / "project")
    command = ["make", "-C", str(tmp_path / "project"), "test"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "all equal" in done.stdout, done.stdout + done.stderr


def test_an_autoencoder_tells_anomalies_in_integers_as_in_floats(data: dict[str, Path]) -> None:
    real = train(config("waves", data, precision="float32", engine="torch")).metrics
    words = train(config("waves", data)).metrics
    assert isinstance(real, Detection) and isinstance(words, Detection)
    assert real.auc is not None and words.auc is not None and (words.normal, words.anomalous) == (80, 20)
    assert real.auc > 0.95 and words.auc > real.auc - 0.01


def test_tags_have_their_f1(data: dict[str, Path]) -> None:
    found = train(config("tags", data)).metrics
    assert isinstance(found, Tags) and found.micro is not None and found.micro > 0.9 and "F1" in found.summary


def test_the_area_under_the_curve_that_was_counted_by_hand() -> None:
    anomalous = np.array([False, False, True, True])
    assert Detection.of(anomalous, np.array([1.0, 2.0, 2.0, 3.0])).auc == (1 + 0.5 + 1 + 1) / 4
    assert Detection.of(anomalous, np.array([4.0, 3.0, 2.0, 1.0])).auc == 0.0
    assert Detection.of(np.zeros(3, bool), np.arange(3.0)).auc is None


def test_f1_that_was_counted_by_hand() -> None:
    true, found = np.array([[1, 0, 0], [1, 1, 0.0]]), np.array([[1, 1, 0], [0, 1, 0]])
    assert Tags.of(true, found) == Tags(f1=[2 / 3, 2 / 3, None], macro=2 / 3, micro=2 / 3)
