"""Runs in integers: they learn, resume with the same bits, start from other networks, and say what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from insitu.errors import ConfigError, DataError, NetworkError, StepError
from insitu.experiment.calibrate import measure
from insitu.experiment.compare import compare
from insitu.experiment.config import CalibrationConfig, CompareConfig, RunConfig, parse
from insitu.experiment.resolve import Setup
from insitu.experiment.train import load_run, train
from insitu.network import zoo


def config(**changes: Any) -> RunConfig:
    base: dict[str, Any] = {
        "data": "digits",
        "network": "mlp-64-32-10",
        "network_options": {"activation": "relu"},
        "rule": "pred",
        "epochs": 8,
        "batch": 16,
        "optimizer": {"lr": 0.3},
        "precision": "edge-latent-free-8",
    }
    return parse(RunConfig, base | changes, "test")


@pytest.mark.parametrize(
    ("precision", "least"),
    [("edge-latent-free-8", 0.93), ("edge-latent-free-4:hidden=4", 0.9), ("w8a8", 0.93), ("w2a4", 0.85)],
)
def test_integers_learn_digits(precision: str, least: float) -> None:
    outcome = train(config(precision=precision))
    assert outcome.test_accuracy is not None and outcome.test_accuracy >= least
    losses = outcome.curve.train_loss
    assert losses[0] is not None and losses[-1] is not None
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("network", ["mlp-64-64-64-64-64-10", "cnn-16x2-16x2"])
@pytest.mark.parametrize(("rule", "lr"), [("bp", 0.03), ("bp-stash", 0.01)])
def test_integers_learn_behind_four_layers(network: str, rule: str, lr: float) -> None:
    """Activations outgrow those of first weights many times over: their binary points have to leave room for it."""
    more = {"batch": 1, "engine": "c", "epochs": 6, "optimizer": {"lr": lr}, "limit_test": None}
    outcome = train(config(network=network, rule=rule, **more))
    assert (
        outcome.test_accuracy is not None and outcome.test_accuracy > 0.7
    )  # 0.45 with a room of two doublings


def test_the_last_evaluation_is_that_of_the_parameters(tmp_path: Path) -> None:
    """What is given back as real parameters is the network that was evaluated: no hidden state."""
    outcome = train(config(epochs=3), tmp_path / "a")
    again = config(epochs=1, init_from=str(tmp_path / "a"), optimizer={"lr": 1e-9}, precision="float32")
    before = train(again).before
    assert before is not None and outcome.test_accuracy is not None
    assert before["float32"] == pytest.approx(outcome.test_accuracy, abs=0.02)  # activations of 8 bits


def test_a_resumed_run_has_the_same_bits(tmp_path: Path) -> None:
    whole = config(epochs=2, checkpoint_steps=7)
    train(whole, tmp_path / "whole")

    class Stop(Exception):
        pass

    def interrupt(event: dict[str, Any]) -> None:
        if event["kind"] == "progress" and event["step"] == 49:
            raise Stop

    with pytest.raises(Stop):
        train(whole, tmp_path / "parts", on_event=interrupt)
    train(whole, tmp_path / "parts", resume=True)
    first, second = (load_run(tmp_path / name)[1] for name in ("whole", "parts"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("loss", ["xent", "mse", "bce", "hinge"])
def test_the_learning_curve_is_the_loss_of_the_scores(loss: str) -> None:
    """With a learning rate of nearly nothing the training loss is the float run's, up to the rounding of 8 bits."""
    still = {"loss": loss, "epochs": 1, "rule": "bp", "optimizer": {"lr": 1e-9}, "limit_train": 320}
    found = [
        train(config(precision=p, **still)).curve.train_loss[0] for p in ("float32", "edge-latent-free-8")
    ]
    assert found[0] is not None and found[1] == pytest.approx(found[0], rel=0.03)


def test_the_learning_curve_of_a_goodness() -> None:
    still = {"rule": "forward-forward", "epochs": 1, "optimizer": {"lr": 1e-9}, "limit_train": 320}
    found = [
        train(config(precision=p, **still)).curve.train_loss[0] for p in ("float32", "edge-latent-free-8")
    ]
    assert found[0] is not None and found[1] == pytest.approx(found[0], rel=0.1)


def test_the_run_folder_holds_the_numbers(tmp_path: Path) -> None:
    train(config(epochs=1), tmp_path / "a")
    numbers = yaml.safe_load((tmp_path / "a" / "precision.yaml").read_text())
    assert numbers["policy"]["name"] == "edge-latent-free-8"
    assert numbers["ranges"]["x"] == [0.0, 1.0]
    assert "s-" in (tmp_path / "a" / "step.txt").read_text()


def test_a_pretrained_network_goes_on_in_integers(tmp_path: Path) -> None:
    train(config(rule="bp", precision="float32", epochs=4), tmp_path / "first")
    outcome = train(
        config(init_from=str(tmp_path / "first"), epochs=1, batch=1, optimizer={"lr": 0.01}),
        tmp_path / "second",
    )
    assert outcome.before is not None
    assert set(outcome.before) == {"float32", "edge-latent-free-8"}
    assert all(v is not None and v > 0.85 for v in outcome.before.values())
    stored = json.loads((tmp_path / "second" / "result.json").read_text())
    assert stored["before"] == outcome.before


def test_one_comparison_has_many_precisions() -> None:
    rules = [
        {"rule": "bp", "precision": "float32", "label": "float"},
        {"rule": "bp"},
        {"rule": "bp", "precision": "edge-latent-free-4"},
    ]
    spec = {
        "networks": ["mlp-64-16-10"],
        "rules": rules,
        "seeds": 1,
        "epochs": 1,
        "precision": "edge-latent-free-8",
    }
    rows = compare(parse(CompareConfig, spec, "test")).rows
    assert [r.precision for r in rows] == ["float32", "edge-latent-free-8", "edge-latent-free-4"]
    assert rows[0].peak_bytes.weight > 3 * rows[1].peak_bytes.weight > 4 * rows[2].peak_bytes.weight


def test_convolutions_and_phases_train() -> None:
    small = {"network": "cnn-4-6", "limit_train": 200, "limit_test": 50, "epochs": 1}
    for rule in ("bp", "greedy", "forward-forward"):
        outcome = train(config(rule=rule, **small))
        assert not outcome.diverged and outcome.test_accuracy is not None


def test_a_layer_of_one_phase_may_differ() -> None:
    policy = {"base": "edge-latent-free-4", "layers": {"fc2": {"weight": "8"}}}
    assert not train(config(rule="greedy", precision=policy, epochs=1)).diverged


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"precision": "w9a9"}, ConfigError, "precision 'w9a9' is unknown"),
        (
            {"precision": {"base": "w8a8", "weights": 3}},
            ConfigError,
            "no field 'weights'; did you mean 'weight'",
        ),
        ({"alignment": True}, ConfigError, "alignment compares real gradients"),
        ({"optimizer": {"kind": "adam"}}, StepError, "optimizer adam needs more per weight"),
        ({"rule": "greedy", "rule_options": {"cache": True}}, ConfigError, "use the rule option cache=false"),
        ({"init_from": "nowhere"}, ConfigError, "there is no nowhere; give a finished run folder"),
        (
            {"precision": {"base": "w8a8", "layers": {"fc7": {"weight": "4"}}}},
            ConfigError,
            "no layer fits 'fc7'; there are",
        ),
        (
            {"precision": "edge-latent-free-8:accumulator=20"},
            StepError,
            "sums reach .* the accumulator has 20",
        ),
    ],
)
def test_refusals(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Setup.of(config(**changes))


def test_a_start_of_another_network_is_refused(tmp_path: Path) -> None:
    net = zoo.build("mlp-64-16-10")
    np.savez(tmp_path / "other.npz", **net.params)
    with pytest.raises(NetworkError, match=r"'fc1.weight' has shape \[16, 64\], network .* needs \[32, 64\]"):
        Setup.of(config(init_from=str(tmp_path / "other.npz")))
    np.savez(tmp_path / "less.npz", **{"fc1.weight": net.params["fc1.weight"]})
    with pytest.raises(NetworkError, match=r"has no parameter 'fc1\.bias'"):
        Setup.of(config(network="mlp-64-16-10", init_from=str(tmp_path / "less.npz")))


NET = zoo.build("mlp-6-5-3", activation="relu")


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.full((4, 6), np.nan, np.float32), "calibration data hold NaN"),
        (np.full((4, 6), 0.5, np.float32), "calibration samples are all 0.5"),
    ],
)
def test_calibration_refuses_data_without_a_range(x: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        measure(NET, x, CalibrationConfig())


def test_calibration_names_a_dead_layer() -> None:
    dead = {name: np.where(name.startswith("fc1"), -np.ones_like(v), v) for name, v in NET.params.items()}
    from dataclasses import replace

    x = np.random.default_rng(0).random((8, 6)).astype(np.float32)
    with pytest.raises(DataError, match="layer relu1 gives 0 for every calibration sample"):
        measure(replace(NET, params=dead), x, CalibrationConfig())


def test_calibration_methods_order_their_ranges() -> None:
    x = np.random.default_rng(0).standard_normal((400, 6)).astype(np.float32)
    found = {
        method: measure(NET, x, CalibrationConfig(method=method, percentile=95.0))["fc1"][1]
        for method in ("max", "percentile", "mse")
    }
    assert found["percentile"] < found["max"]
    assert found["mse"] <= found["max"]
