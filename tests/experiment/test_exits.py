"""Heads as exits of a run: what it reports, with thresholds from validation data, and what an export takes from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insitu.cli import main
from insitu.errors import ConfigError
from insitu.experiment.config import RunConfig, parse
from insitu.experiment.exits import Exits
from insitu.experiment.export import exportable
from insitu.experiment.resolve import Setup
from insitu.experiment.train import Outcome, train
from insitu.run.exits import early


def config(**more: Any) -> RunConfig:
    raw = {
        "network": "mlp-64-16-8-10",
        "rule": "etch",
        "precision": "edge-latent-free-8:error_exponent=static",
        "network_options": {"activation": "relu"},
        "optimizer": {"lr": 0.02},
        "batch": 1,
        "epochs": 2,
        "validation": 0.25,
        "limit_train": 400,
        "limit_test": 100,
        **more,
    }
    return parse(RunConfig, raw, "test")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return train(config(), tmp_path_factory.mktemp("exits") / "run")


def test_a_run_reports_accuracy_against_operations(trained: Outcome) -> None:
    found = trained.exits
    assert found is not None and trained.folder is not None
    assert found.names == ["fc1", "fc2", "output"]
    assert found.macs == [
        64 * 16 + 16 * 10,
        64 * 16 + 16 * 10 + 16 * 8 + 8 * 10,
        64 * 16 + 16 * 10 + 16 * 8 + 160,
    ]
    assert found.inference_macs == 64 * 16 + 16 * 8 + 8 * 10
    full = next(e["validation_accuracy"] for e in reversed(_evaluations(trained.folder)))
    for point in found.points:
        assert point.validation_accuracy >= full - point.loss - 1e-9
        assert sum(point.shares) == pytest.approx(1)
        assert point.macs == pytest.approx(np.dot(point.shares, found.macs))
    assert [p.macs for p in found.points] == sorted((p.macs for p in found.points), reverse=True)
    told = json.loads((trained.folder / "result.json").read_text(encoding="utf-8"))
    assert Exits.model_validate(told["exits"]) == found


def _evaluations(folder: Path) -> list[dict[str, Any]]:
    told = map(json.loads, (folder / "events.jsonl").read_text(encoding="utf-8").splitlines())
    return [e for e in told if e["kind"] == "eval"]


@pytest.mark.parametrize("more", [{"validation": 0.0}, {"rule": "bp"}, {"network": "mlp-64-10"}])
def test_without_heads_or_validation_there_is_nothing_to_report(more: dict[str, Any]) -> None:
    assert train(config(epochs=1, limit_train=40, **more)).exits is None


def test_floats_have_exits_too() -> None:
    found = train(config(precision="float32", rule="pred", epochs=1, limit_train=40)).exits
    assert found is not None and len(found.points[0].thresholds) == 2


def test_an_export_has_the_thresholds_of_its_run_and_its_exits(trained: Outcome) -> None:
    """By the integer reference, over the test data: the shares and the accuracy that the run reported."""
    assert trained.folder is not None and trained.exits is not None
    made = exportable(trained.folder, early=0.01)
    point = next(p for p in trained.exits.points if p.loss == 0.01)
    assert list(made.thresholds) == point.thresholds
    setup = Setup.of(config())
    from insitu.run.samples import as_integers

    x = as_integers(made.inference.inputs[0], setup.data.test.x.reshape(-1, 64))
    state = {name: np.array(a) for name, a in made.initial_state.items()}
    left = [early(made, state, one[None]) for one in x]
    shares = np.bincount([exit_ for exit_, _ in left], minlength=3) / len(left)
    assert shares.tolist() == point.shares
    assert np.mean([c for _, c in left] == setup.data.test.y) == pytest.approx(point.test_accuracy)


def test_an_export_without_exits_to_take_is_refused(trained: Outcome, tmp_path: Path) -> None:
    assert trained.folder is not None
    train(config(rule="bp", epochs=1, limit_train=40), tmp_path / "bp")
    with pytest.raises(ConfigError, match=r"has no exits: .* train a rule such as etch or pred"):
        exportable(tmp_path / "bp", early=0.01)
    with pytest.raises(ConfigError, match="has no exits"):
        exportable(trained.folder / "config.yaml", early=0.01)
    with pytest.raises(ConfigError, match="--early -1 is no accuracy"):
        exportable(trained.folder, early=-1)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")
def test_the_command_line_says_and_exports_them(
    trained: Outcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "c", str(trained.folder), "-o", str(tmp_path / "c"), "--early", "0.01"]) == 0
    header = (tmp_path / "c" / "insitu_net.h").read_text(encoding="utf-8")
    assert "#define INSITU_EXITS 3u" in header and "insitu_infer_early(" in header
    assert "`early` may end behind each" in (tmp_path / "c" / "spec.md").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["train", str(trained.folder / "config.yaml"), "--resume", "--out", str(trained.folder)]) == 0
    assert "% of validation accuracy: test accuracy" in capsys.readouterr().out
