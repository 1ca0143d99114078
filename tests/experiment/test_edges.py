"""Data at the edges: each is learned from, or refused by name before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insitu.errors import ConfigError, DataError, InsituError, NetworkError
from insitu.experiment.config import RunConfig, parse
from insitu.experiment.train import train

PRECISIONS = ("float32", "edge-latent-free-8", "w2a4")
COUNT, FEATURES, CLASSES = 24, 12, 4


def arrays(x: np.ndarray | None = None, y: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    samples = np.random.default_rng(0).random((COUNT, FEATURES)).astype(np.float32) if x is None else x
    return samples, np.arange(len(samples)) % CLASSES if y is None else y


def config(folder: Path, x: np.ndarray | None = None, y: np.ndarray | None = None, **more: Any) -> RunConfig:
    x, y = arrays(x, y)
    path = folder / "data.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    outputs = max(int(y.max()) + 1, 1)
    raw = {"data": str(path), "network": f"mlp-{FEATURES}-8-{outputs}", "epochs": 1, "batch": 4, **more}
    return parse(RunConfig, raw, "test")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("labels", [[0], [1, 2, 3, 4], [5, 9]])
def test_classes_without_samples_are_learned_beside(
    tmp_path: Path, labels: list[int], precision: str
) -> None:
    found = train(config(tmp_path, y=np.resize(labels, COUNT), precision=precision))
    assert found.samples == COUNT and not found.diverged


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_feature_that_never_changes_is_learned_beside(tmp_path: Path, precision: str) -> None:
    x, _ = arrays()
    x[:, 3] = 0.0
    assert not train(config(tmp_path, x=x, precision=precision)).diverged


def changed(at: tuple[int, int], value: float) -> np.ndarray:
    x, _ = arrays()
    x[at] = value
    return x


REFUSED: dict[str, tuple[type[InsituError], str, dict[str, Any]]] = {
    "NaN": (
        DataError,
        "1 of 24 samples hold NaN or inf in x, first at sample 3",
        {"x": changed((3, 4), np.nan)},
    ),
    "infinity": (DataError, "first at sample 0. Remove or repair", {"x": changed((0, 0), np.inf)}),
    "a negative label": (DataError, "label -1 at sample 1 is negative", {"y": np.resize([0, -1], COUNT)}),
    "a batch larger than the data": (DataError, "use --batch 24 or less", {"batch": 25}),
    "a limit smaller than a batch": (DataError, "use --batch 3 or less", {"limit_train": 3}),
    "too few outputs": (NetworkError, "needs 4; choose a network with 4", {"network": "mlp-12-8-3"}),
    "too many outputs": (NetworkError, "needs 4; choose a network with 4", {"network": "mlp-12-8-5"}),
    "another input": (NetworkError, "choose a network for 12 inputs", {"network": "mlp-13-8-4"}),
    "no share left": (DataError, "leaves 24 to train on", {"validation": 0.01}),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_learned_is_refused(tmp_path: Path, case: str, precision: str) -> None:
    kind, message, given = REFUSED[case]
    with pytest.raises(kind, match=message):
        train(config(tmp_path, precision=precision, **given))


INTEGERS: dict[str, tuple[str, dict[str, Any]]] = {
    "equal samples": (
        "samples are all 0.5; give data that vary",
        {"x": np.full((COUNT, FEATURES), 0.5, np.float32)},
    ),
    "no weights": ("layer fc1 gives 0 for every calibration sample", {"network_options": {"init": "zeros"}}),
    "huge samples": (
        "samples reach 1e[+]30.*divide them",
        {"x": np.float32(1e30) * np.eye(FEATURES, dtype=np.float32)},
    ),
    "tiny samples": (
        "samples reach 1e-30.*divide them",
        {"x": np.float32(1e-30) * np.eye(FEATURES, dtype=np.float32)},
    ),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", INTEGERS)
def test_a_range_that_integers_cannot_hold_is_refused_by_them_alone(
    tmp_path: Path, case: str, precision: str
) -> None:
    message, given = INTEGERS[case]
    made = config(tmp_path, precision=precision, **given)
    if precision == "float32":
        assert train(made).test_accuracy is not None
        return
    with pytest.raises((DataError, ConfigError), match=message):
        train(made)


@pytest.mark.parametrize("precision", ["float32", "edge-latent-free-8"])
@pytest.mark.parametrize("rule", ["bp", "drtp", "pred"])
def test_threads_do_not_change_the_bits(tmp_path: Path, rule: str, precision: str) -> None:
    one, two = (train(config(tmp_path, rule=rule, precision=precision, threads=n)).params for n in (1, 2))
    assert all(np.array_equal(one[name], two[name]) for name in one)
