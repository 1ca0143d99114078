"""Rules with a schedule over time: phases, their shares, caches of features, resuming inside, costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from insitu.errors import ConfigError, DataError
from insitu.experiment.compare import step_cost
from insitu.experiment.config import CompareConfig, RunConfig, parse
from insitu.experiment.resolve import Setup
from insitu.experiment.train import train
from insitu.network.phases import ONE, Phases
from insitu.passes import lower, plan
from insitu.run.state import State
from insitu.run.torch_exec import TorchExecutor
from insitu.run.trainer import Trainer


def config(**more: Any) -> RunConfig:
    raw = {
        "network": "mlp-64-24-16-10",
        "rule": "greedy",
        "epochs": 6,
        "limit_train": 300,
        "limit_test": 100,
        "optimizer": {"kind": "adam", "lr": 0.01},
        **more,
    }
    return parse(RunConfig, raw, "test")


def test_shares() -> None:
    phases = Phases(3)
    assert [phases.at(0, p, 1) for p in (0.0, 0.3, 0.34, 0.66, 0.67, 0.999)] == [0, 0, 1, 1, 2, 2]
    assert phases.within(0.5) == pytest.approx(0.5) and phases.within(1 / 3) == pytest.approx(0.0)
    assert ONE.at(10**6, 0.99, 1) == 0 and ONE.within(0.25) == 0.25
    assert Phases(2, period=3).within(0.25) == 0.25


def test_a_block_moves_in_its_own_phase_only() -> None:
    """Two epochs a block: what an epoch changed, by the weights at its end."""
    setup = Setup.of(config())
    seen: list[dict[str, np.ndarray]] = []

    def note(state: State) -> dict[str, float]:
        seen.append({n: t.numpy().copy() for n, t in state.items()})
        return {}

    from insitu.experiment import train as module

    train_data, test_data, _ = module.arrays_of(setup)
    trainer = Trainer(
        module.settings_of(setup),
        lambda batch, phase: setup.training_step(batch, phase, with_loss=True),
        setup.prediction,
        setup.net.params,
        train_data,
        test_data,
        probe=note,
        phases=setup.phases,
        prefix=setup.prefix,
    )
    trainer.run()
    for epoch in range(1, 6):
        moved = {
            n for n in seen[epoch] if n in seen[epoch - 1] and (seen[epoch][n] != seen[epoch - 1][n]).any()
        }
        block = f"fc{epoch // 2 + 1}"
        assert moved and all(n.startswith(block) for n in moved)


def test_the_optimiser_starts_anew_with_every_phase() -> None:
    """Adam's bias correction counts the steps of the phase: the first step of a phase has the size of the rate."""
    setup = Setup.of(config(epochs=3, batch=300))
    outcome = train(setup.config)
    for name in ("fc1.weight", "fc2.weight", "fc3.weight"):
        change = np.abs(outcome.params[name] - setup.net.params[name])
        assert change.max() == pytest.approx(0.01, rel=1e-3)


def test_a_cache_of_features_changes_only_rounding() -> None:
    runs = [train(config(precision="float64", rule_options={"cache": c})) for c in (False, True)]
    for name, value in runs[0].params.items():
        np.testing.assert_allclose(value, runs[1].params[name], rtol=1e-6, atol=1e-7)
    assert runs[0].test_accuracy == runs[1].test_accuracy


@pytest.mark.parametrize(
    ("rule", "options"),
    [("greedy", {"cache": True}), ("dbl", {"move": "random"}), ("dbl", {"period": 7}), ("hsic", {})],
)
def test_resumed_inside_a_phase_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str, options: dict[str, Any]
) -> None:
    more = {"rule": rule, "rule_options": options, "batch": 20, "checkpoint_steps": 4}
    whole = train(config(**more))
    calls = 0
    run = TorchExecutor.run

    def stop(self: TorchExecutor, inputs: list[torch.Tensor], *, lr: float = 0.0, **more: Any) -> Any:
        nonlocal calls
        calls += lr > 0  # a prediction has no learning rate
        if calls == 41:  # of 90: in the second phase of greedy, one step behind a checkpoint
            raise KeyboardInterrupt
        return run(self, inputs, lr=lr, **more)

    monkeypatch.setattr(TorchExecutor, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config(**more), tmp_path)
    monkeypatch.setattr(TorchExecutor, "run", run)
    resumed = train(config(**more), tmp_path, resume=True)
    assert resumed.curve == whole.curve
    assert all(np.array_equal(resumed.params[n], whole.params[n]) for n in whole.params)


def test_evaluations_can_be_rarer() -> None:
    outcome = train(config(rule="pred", epochs=5, eval_epochs=2))
    assert outcome.curve.samples == [600, 1200, 1500]


def test_costs_of_phases() -> None:
    """Sequential: the whole network's weights and one block's optimiser state; in turn: everything of every phase."""
    greedy = Setup.of(config())
    cost = step_cost(greedy)
    weights = 4 * sum(v.size for v in greedy.net.params.values())
    assert cost.peak.weight == weights
    steps = [lower(greedy.emitted(32, k)) for k in range(3)]
    assert cost.peak.state == max(plan(s).by_role["state"] for s in steps)
    assert cost.macs.update == sum(s.counts().macs["update"] for s in steps) / 3 / 32
    turns = Setup.of(config(rule="dbl"))
    heads = {v.name: v.bytes for k in range(2) for v in turns.emitted(32, k).residents if v.role == "head"}
    assert len(heads) == 4 and step_cost(turns).peak.head >= sum(heads.values())
    assert all(m.bytes.head >= sum(heads.values()) for m in step_cost(turns).timeline)


def test_a_rule_may_train_longer_than_the_others() -> None:
    raw = {"epochs": 2, "rules": [{"rule": "bp"}, {"rule": "greedy", "epochs_factor": 3}]}
    made = parse(CompareConfig, raw, "test")
    assert [made.run(made.networks[0], spec, 1).epochs for spec in made.rules] == [2, 6]


def test_a_cache_and_augmentation_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="use the rule option cache=false, or no augmentation"):
        Setup.of(config(rule_options={"cache": True}, augment={"pad": 1}))


@pytest.mark.parametrize("rule", ["sim", "predsim", "hsic"])
def test_one_class_is_refused(rule: str, tmp_path: Path) -> None:
    path = tmp_path / "one.npz"
    x = np.random.default_rng(0).random((40, 8), np.float32)
    y = np.zeros(40, np.int64)
    np.savez(path, x_train=x, y_train=y, x_test=x[:10], y_test=y[:10])
    more = {"data": str(path), "network": "mlp-8-6-1", "limit_train": None, "limit_test": None}
    with pytest.raises(DataError, match="are of class 0; use data of 2 classes or more, or rule pred"):
        Setup.of(config(rule=rule, **more))
    Setup.of(config(rule="pred", **more))
