"""What an accuracy hides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insitu.experiment.config import RunConfig
from insitu.experiment.metrics import Metrics
from insitu.experiment.train import train


def test_of_labels_that_were_counted_by_hand() -> None:
    found = Metrics.of(np.array([0, 0, 0, 1, 1, 3]), np.array([0, 1, 0, 1, 0, 1]), ["a", "b", "c", "d"], 4)
    assert found.confusion == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert found.recall == [2 / 3, 0.5, None, 0.0]  # c has no test sample
    assert found.balanced_accuracy == pytest.approx((2 / 3 + 0.5 + 0) / 3) and found.majority == 0.5
    assert found.table.splitlines()[1].split() == ["a", "2", "1", ".", ".", "66.7", "%"]
    assert "–" in found.table.splitlines()[3] and "50.00 %" in found.summary


def test_many_classes_have_recalls_alone() -> None:
    found = Metrics.of(np.arange(101), np.arange(101), [], 101)
    assert found.confusion is None and found.recall == [1.0] * 101 and "too many for a table" in found.table


def config(**more: Any) -> RunConfig:
    return RunConfig(**{"network": "mlp-64-20-10", "epochs": 2, "limit_train": 200, "limit_test": 90, **more})


@pytest.mark.parametrize("engine", ["torch", "c"])
def test_a_run_keeps_them_and_they_are_of_its_accuracy(engine: str, tmp_path: Path) -> None:
    precision = "edge-latent-free-8" if engine == "c" else "float32"
    run = train(config(engine=engine, precision=precision, batch=1), tmp_path / "a")
    assert run.metrics is not None and run.metrics.confusion is not None
    table = np.array(run.metrics.confusion)
    assert table.sum() == 90 and np.trace(table) / 90 == run.test_accuracy
    stored = json.loads((tmp_path / "a" / "result.json").read_text())["metrics"]
    assert stored == run.metrics.model_dump()
    again = train(config(engine=engine, precision=precision, batch=1), tmp_path / "a", resume=True)
    assert again.metrics == run.metrics


def test_a_run_without_classes_has_none() -> None:
    assert train(config(network="mlp-64-8-64", target="input", loss="mse")).metrics is None
