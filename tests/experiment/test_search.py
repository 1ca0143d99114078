"""Choice under a budget: what is planned and refused, tried and stopped, how a search goes on, and what it gives."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from insitu.cli import main
from insitu.errors import CheckpointError, ConfigError
from insitu.experiment import search_study
from insitu.experiment.config import RunConfig, parse
from insitu.experiment.resolve import Setup, load_data
from insitu.experiment.search import SearchResults, search
from insitu.experiment.search_space import SearchConfig, space

pytest.importorskip("optuna")

Score = Callable[[RunConfig, int], float]


def config(**more: Any) -> SearchConfig:
    raw = {
        "network": "mlp-64-8-10",
        "hardware": "stm32l4r5",
        "max_bytes": 100_000,
        "network_options": {"activation": "relu"},
        "rules": ["bp", "etch"],
        "options": {"limit": [64]},
        "residual_bits": [0],
        "epochs": 2,
        "trials": 6,
        "limit_train": 60,
        **more,
    }
    return parse(SearchConfig, raw, "test")


def pretend(monkeypatch: pytest.MonkeyPatch, score: Score) -> list[RunConfig]:
    """In place of training: scores by a function of the run and the epoch. Returns the runs."""
    trained: list[RunConfig] = []

    def train(run: RunConfig, data: Any, on_event: Callable[[dict[str, Any]], None]) -> None:
        trained.append(run)
        for epoch in range(1, run.epochs + 1):
            score_now = score(run, epoch)
            facts = {"validation_accuracy": score_now, "validation_loss": 1.0, "diverged": False}
            on_event({"kind": "eval", "epoch": epoch, **facts})

    monkeypatch.setattr(search_study, "train", train)
    return trained


def best_at(exponent: int) -> Score:
    return lambda run, epoch: 1 - 0.1 * abs(run.optimizer.lr / 2.0**exponent - 1) - 0.05 / epoch


# --- the plan ----------------------------------------------------------------------------------------------


def test_over_the_budget_nothing_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = pretend(monkeypatch, best_at(-5))
    with pytest.raises(
        ConfigError, match=r"none of 4 candidates may train; bp 8: takes .* raise --max-bytes"
    ):
        search(config(max_bytes=100))
    assert not trained
    bounded = config(max_energy_uj=1e-6)
    with pytest.raises(ConfigError, match="µJ a sample on stm32l4r5"):
        search(bounded)
    assert not trained


def test_every_candidate_that_trains_is_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {c.name: c.peak_bytes for c in space(config(), load_data(config())).candidates}
    limit = sorted(sizes.values())[1]
    trained = pretend(monkeypatch, best_at(-5))
    found = search(config(max_bytes=limit))
    assert set(found.refused) == {name for name, size in sizes.items() if size > limit}
    assert {t.name for t in found.trials} == {name for name, size in sizes.items() if size <= limit}
    assert len(trained) == len(found.trials) == 6


def test_planned_bytes_are_those_of_the_run() -> None:
    """Though the plan measures ranges on a few samples."""
    asked = config(network="cnn-4-8", weight_bits=["8", "4"], residual_bits=[0, 2], rules=["etch"])
    data = load_data(asked)
    for candidate in space(asked, data).candidates:
        run = asked.run(asked.network, candidate.spec, asked.seed)
        assert Setup.of(run, data).program.peak_bytes == candidate.peak_bytes, candidate.name


def test_heads_larger_than_the_layer_are_one_candidate() -> None:
    asked = config(rules=["etch"], options={"limit": [64, 256], "violators": ["one", "mean"]})
    names = [c.name for c in space(asked, load_data(asked)).candidates]
    assert sorted(names) == sorted(
        f"etch limit=64,violators={v} {bits}" for v in ("one", "mean") for bits in ("8", "4")
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"max_bytes": None}, "a search needs a budget: max_bytes, and hardware"),
        ({"hardware": None}, "a search needs a budget"),
        ({"precision": "float32"}, "a search over words needs integers"),
        ({"rates": [-3, -9]}, "write the least exponent first"),
        ({"weight_bits": ["9"]}, "weight_bits.0"),
        ({"validation": 0}, "validation: input should be greater than 0"),
    ],
)
def test_what_cannot_be_searched_is_named(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        config(**change)


# --- trials ------------------------------------------------------------------------------------------------


def test_the_same_is_not_tried_twice_and_a_small_space_ends_the_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, best_at(-5))
    found = search(config(rules=["bp"], weight_bits=["8"], rates=[-6, -4], trials=9))
    assert sorted(t.lr for t in found.trials) == [2.0**-6, 2.0**-5, 2.0**-4]
    assert [t.lr for t in found.chosen] == [2.0**-5]


def test_no_trial_is_stopped_for_what_takes_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The most frugal is the worst, and still trained to the end; of two that take the same the worse is stopped."""
    data = load_data(config())
    sizes = {c.spec.precision: c.peak_bytes for c in space(config(rules=["bp"]), data).candidates}
    least = min(sizes, key=lambda precision: sizes[precision])

    def score(run: RunConfig, epoch: int) -> float:
        return 0.1 if run.precision == least else best_at(-4)(run, epoch)

    pretend(monkeypatch, score)
    found = search(config(rules=["bp"], trials=14))
    frugal = [t for t in found.trials if t.peak_bytes == min(sizes.values())]
    assert frugal and not any(t.stopped for t in frugal)
    assert any(t.stopped for t in found.trials if t not in frugal)
    assert all(len(t.score) == 1 and not t.front for t in found.trials if t.stopped)


def test_the_front_is_of_bytes_and_of_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, best_at(-5))
    found = search(config(trials=12))
    for trial in found.chosen:
        rivals = [t for t in found.ended if (t.last or 0) > (trial.last or 0)]
        fewer = [t for t in rivals if t.peak_bytes <= trial.peak_bytes]
        cheaper = [t for t in rivals if (t.energy_uj or 0) <= (trial.energy_uj or 0)]
        assert not fewer or not cheaper
    assert max(t.last or 0 for t in found.ended) in {t.last for t in found.chosen}


def test_a_search_that_was_stopped_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def interrupted(run: RunConfig, epoch: int) -> float:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return best_at(-5)(run, epoch)

    pretend(monkeypatch, best_at(-5))
    whole = search(config(), tmp_path / "whole")
    pretend(monkeypatch, interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(config(), tmp_path / "parts")
    with pytest.raises(CheckpointError, match="already holds a search; pass --resume"):
        search(config(), tmp_path / "parts")
    with pytest.raises(CheckpointError, match="of another configuration"):
        search(config(seed=2), tmp_path / "parts", resume=True)
    parts = search(config(), tmp_path / "parts", resume=True)
    assert [t.model_dump() for t in parts.trials] == [t.model_dump() for t in whole.trials]
    assert search(config(), tmp_path / "parts", resume=True).trials == parts.trials  # nothing left to do


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'insitu\[search\]'"):
        search(config())


# --- the verb ----------------------------------------------------------------------------------------------


def test_the_command_of_a_point_repeats_its_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "search --data digits --network mlp-64-8-10 --target stm32l4r5 --max-bytes 100000 --rules bp --trials 2"
    more = "--epochs 2 --weight-bits 4 --residual-bits 2 --set limit_train=60 --set network_options.activation=relu"
    assert main([*words.split(), *more.split(), "--out", str(tmp_path / "s")]) == 0
    printed = capsys.readouterr()
    assert "candidates are within the budget" in printed.err and "pareto.png" in printed.out
    found = SearchResults.model_validate_json((tmp_path / "s" / "results.json").read_text(encoding="utf-8"))
    point = found.chosen[0]
    assert point.command in printed.out
    assert (tmp_path / "s" / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert main([*shlex.split(point.command)[1:], "--out", str(tmp_path / "run")]) == 0
    told = (tmp_path / "run" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    evaluations = [e for e in map(json.loads, told) if e["kind"] == "eval"]
    assert [e["validation_accuracy"] for e in evaluations] == point.score


def test_the_test_split_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    whole = search_study.train

    def train(run: RunConfig, data: Any, on_event: Any) -> Any:
        seen.append(len(data.test))
        assert (data.test.x == data.train.x[:1]).all()
        return whole(run, data=data, on_event=on_event)

    monkeypatch.setattr(search_study, "train", train)
    search(config(rules=["bp"], weight_bits=["8"], trials=1, epochs=1))
    assert seen == [1]
