"""The trainer: what it sees, when it stops, and that it is deterministic."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch

from insitu.errors import DataError
from insitu.network import zoo
from insitu.network.builder import inference_step
from insitu.network.graph import Network
from insitu.ops.optimizers import Optimizer
from insitu.passes import lower
from insitu.rules import emit_step, make_rule
from insitu.run.state import State, extend_state
from insitu.run.trainer import Arrays, Settings, Trainer, angles


def arrays(count: int, seed: int = 0, features: int = 8) -> Arrays:
    """Two separable classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    x = rng.normal(size=(count, features)) + 3.0 * y[:, None]
    return Arrays(x.astype(np.float32), y.astype(np.int64))


def trainer(net: Network, train: Arrays, rule: str = "bp", **more: Any) -> Trainer:
    options: dict[str, Any] = {"total": 3 * len(train), "batch": 10, "lr": 0.1, "loss": "xent", "seed": 1}
    keep = {k: more.pop(k) for k in ("validation", "on_event", "on_checkpoint", "probe") if k in more}
    settings = Settings(**(options | more))
    return Trainer(
        settings,
        lambda b, _phase: lower(emit_step(make_rule(rule), net, b, loss=settings.loss, with_loss=True)),
        lambda b: lower(inference_step(net, b)),
        net.params,
        train,
        arrays(50, 9),
        **keep,
    )


NET = zoo.build("mlp-8-12-2", seed=1)


def test_learns_and_reports_every_epoch() -> None:
    events: list[dict[str, Any]] = []
    progress = trainer(NET, arrays(95), on_event=events.append).run()
    assert [e["epoch"] for e in events] == [1, 2, 3]
    assert progress.step == 30 and progress.samples == 285  # nine batches of 10 and one of 5, three times
    assert events[-1]["test_accuracy"] > 0.85
    assert events[-1]["train_loss"] < events[0]["train_loss"]


@pytest.mark.parametrize(("total", "steps"), [(7, 1), (10, 1), (95, 10), (100, 11), (123, 13)])
def test_a_sample_budget_is_met_exactly(total: int, steps: int) -> None:
    progress = trainer(NET, arrays(95), total=total).run()
    assert (progress.samples, progress.step) == (total, steps)


def test_every_sample_is_seen_once_an_epoch_in_a_new_order() -> None:
    data = Arrays(
        np.arange(40, dtype=np.float32).reshape(40, 1) * np.ones((1, 8), np.float32), np.zeros(40, np.int64)
    )
    seen: list[list[int]] = []

    def spy(x: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
        seen.append(x[:, 0].astype(int).tolist())
        return x

    trainer(NET, data, augment=spy, total=80, lr=1e-6).run()
    first, second = list(chain(*seen[:4])), list(chain(*seen[4:]))
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second


def test_same_seed_same_bits() -> None:
    runs = [trainer(NET, arrays(95), seed=s) for s in (1, 1, 2)]
    for r in runs:
        r.run()
    a, b, c = (r.state["fc1.weight"] for r in runs)
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_resuming_from_any_checkpoint_ends_with_the_same_bits() -> None:
    saved: list[tuple[dict[str, torch.Tensor], Any]] = []

    def keep(state: Any, progress: Any) -> None:
        from copy import deepcopy

        saved.append(({k: v.clone() for k, v in state.items()}, deepcopy(progress)))

    def jitter(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return x + rng.normal(size=x.shape).astype(np.float32)

    options = {"checkpoint_steps": 4, "augment": jitter}
    whole = trainer(NET, arrays(95), on_checkpoint=keep, **options)
    end = whole.run()
    assert len(saved) > 6
    for state, progress in saved:
        again = trainer(NET, arrays(95), **options)
        again.restore(state, progress)
        final = again.run()
        assert all(torch.equal(whole.state[k], again.state[k]) for k in whole.state)
        rows = [{k: v for k, v in r.items() if k != "seconds"} for r in final.history]
        assert rows == [{k: v for k, v in r.items() if k != "seconds"} for r in end.history]


def test_early_stop_watches_the_validation_split() -> None:
    noise = Arrays(np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32), np.arange(60) % 2)
    run = trainer(NET, noise, total=60 * 100, validation=arrays(30, 5), patience=3)
    progress = run.run()
    assert progress.epoch < 100
    scores = [r["validation_accuracy"] for r in progress.history]
    assert max(scores[-3:]) <= max(scores[:-3])


def test_divergence_ends_the_run_and_is_said() -> None:
    progress = trainer(NET, arrays(95), lr=3e38, total=95 * 50).run()
    assert progress.epoch < 50
    assert progress.history[-1]["diverged"] and progress.history[-1]["train_loss"] is None


def test_schedule_follows_progress() -> None:
    seen: list[float] = []

    def factor(p: float) -> float:
        seen.append(p)
        return 0.0

    run = trainer(NET, arrays(95), schedule=factor)
    run.run()
    assert seen[0] == 0.0 and max(seen) <= 1.0
    assert torch.equal(run.state["fc1.weight"], torch.as_tensor(NET.params["fc1.weight"]))


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(
        DataError, match="batch 200 is larger than the 95 training samples; use a batch of at most 95"
    ):
        trainer(NET, arrays(95), batch=200)


def test_batch_norm_skips_a_last_single_sample() -> None:
    net = zoo.build("mlp-8-12-2", batch_norm=True)
    progress = trainer(net, arrays(91), skip_single=True, total=91).run()
    assert progress.step == 9


def test_batch_one() -> None:
    progress = trainer(NET, arrays(40), batch=1, total=40, lr=0.05).run()
    assert progress.step == 40


def test_angles_to_back_propagation() -> None:
    plain = Optimizer("sgd")
    steps = {
        r: lower(emit_step(make_rule(r), NET, 40, optimizer=plain))
        for r in ("bp", "dfa", "fa", "forward-forward")
    }
    data = arrays(40)
    settings = Settings(total=1, batch=1, lr=1.0, loss="xent", seed=3)
    state = extend_state({}, steps["fa"], NET.params, 3)
    before = {k: v.clone() for k, v in state.items()}

    def found(rule: str, state: State = state) -> dict[str, float]:
        return angles(state, steps[rule], steps["bp"], (data.x, data.y), settings, NET.params)

    same, other = found("bp"), found("fa")
    assert all(torch.equal(before[k], state[k]) for k in before)
    assert same["fc1.weight"] == pytest.approx(0, abs=0.1) and same["fc2.weight"] == pytest.approx(0, abs=0.1)
    assert 1 < other["fc1.weight"] < 180 and other["fc2.weight"] == pytest.approx(0, abs=0.1)
    assert set(found("dfa")) == {"fc1.weight", "fc2.weight"}
    hidden = extend_state({}, steps["forward-forward"], NET.params, 3)  # its step has no classifier
    assert "fc2.weight" not in hidden and set(found("forward-forward", hidden)) == {"fc1.weight"}
