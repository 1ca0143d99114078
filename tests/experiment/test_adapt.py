"""Adaptation: how scenarios are cut, the replay buffer, and whole runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insitu.data.dataset import Dataset, Split
from insitu.errors import CheckpointError, ConfigError, DataError, InsituError
from insitu.experiment.adapt.adapt import adapt
from insitu.experiment.adapt.config import AdaptConfig
from insitu.experiment.adapt.record import AdaptResults, AdaptRow
from insitu.experiment.adapt.reservoir import replayed
from insitu.experiment.adapt.scenarios import SCENARIOS, Domain, World, find, stream, world
from insitu.experiment.config import parse

QUICK = [{"rule": "frozen"}, {"rule": "last-layer"}, {"rule": "biases"}, {"rule": "bp"}]


def config(**more: Any) -> AdaptConfig:
    raw = {
        "rules": QUICK,
        "limit": 40,
        "every": 20,
        "rates": [0.01, 0.001],
        "seeds": 1,
        "pretrain": {"epochs": 3},
    }
    return parse(AdaptConfig, {**raw, **more}, "test")


def numbered(count: int, first: int) -> Split:
    """Samples that are known by their only value."""
    return Split(np.arange(first, first + count, dtype=np.float32)[:, None], np.arange(count) % 3)


def given(*, aligned: bool) -> World:
    source = Dataset("toy", numbered(200, 0), numbered(30, 1000), 3, ("a", "b", "c"), (1,), "here", "none")
    # aligned: row i is the same sample as the source's, told apart by a half
    parts = [numbered(200, 0), numbered(200, 0)] if aligned else [numbered(150, 2000), numbered(150, 3000)]
    domains = (Domain("x", parts[0], numbered(30, 4000)), Domain("y", parts[1], numbered(30, 5000)))
    return World(source, domains, aligned)


def values(split: Split) -> set[float]:
    return set(split.x.ravel().tolist())


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("regime", ["single", "drift", "continual"])
def test_nothing_serves_twice(aligned: bool, regime: str) -> None:
    """Pretraining, choice of the old domain, stream, choice of the new, tests of both: no two share a sample."""
    made = given(aligned=aligned)
    if regime == "single":
        made = World(made.source, made.domains[:1], aligned)
    cut = stream(made, regime, seed=3)
    parts = [
        values(cut.source.train),
        values(cut.old_held),
        values(cut.samples),
        set().union(*map(values, cut.held)),
        values(cut.source.test),
        set().union(*map(values, cut.tests)),
    ]
    assert all(parts)
    assert sum(map(len, parts)) == len(set().union(*parts))
    assert len(values(cut.samples)) == len(cut.samples)


def real() -> list[tuple[str, str]]:
    return [(s.name, r) for s in SCENARIOS.values() for r in s.worlds]


@pytest.mark.parametrize(("name", "regime"), real())
def test_no_sample_of_the_stream_is_tested(name: str, regime: str) -> None:
    """By the samples themselves."""
    try:
        made = world(find(name), regime, None, None)
    except DataError as error:
        pytest.skip(f"needs its data set: {error}")
    cut = stream(made, regime, seed=1)
    tested = {x.tobytes() for split in (cut.source.test, *cut.tests) for x in split.x}
    assert not tested & {x.tobytes() for x in cut.samples.x}
    assert not tested & {x.tobytes() for split in (cut.old_held, *cut.held) for x in split.x}
    assert not {x.tobytes() for x in cut.samples.x} & {x.tobytes() for x in cut.source.train.x}


def test_windows_of_the_old_wearers_tests_overlap_no_other() -> None:
    """Neighbours in the file share half of their time; a test window has none among those that are learned from."""

    def fake(**options: Any) -> Dataset:
        count = 500 if options["role"] == "pretrain" else 100
        first = 0 if options["role"] == "pretrain" else 5000
        return Dataset(
            "w", numbered(count, first), numbered(30, 9000), 3, ("a", "b", "c"), (1,), "here", "none"
        )

    cut = stream(find("new-wearer").worlds["single"](fake), "single", seed=1)
    learned = values(cut.source.train) | values(cut.old_held)
    for window in values(cut.source.test):
        assert not {window - 1, window, window + 1} & learned
    assert len(cut.source.test) >= 50


def test_drift_of_strength_goes_up() -> None:
    cut = stream(world(find("rotated"), "drift", None, None), "drift", seed=1)
    assert (np.diff(cut.domain) >= 0).all() and set(cut.domain) == set(range(5))
    assert cut.names == tuple(f"rotate {s}" for s in range(1, 6))
    assert cut.goal == (4,), "what counts is where the drift ends"


def test_drift_of_shares_goes_from_old_to_new() -> None:
    made = given(aligned=False)
    cut = stream(World(made.source, made.domains[:1], False), "drift", seed=1)
    new = cut.domain == 0
    half = len(new) // 2
    assert new[:half].mean() < new[half:].mean()
    assert (cut.samples.x[new] >= 2000).all() and (cut.samples.x[~new] < 1000).all()
    assert (cut.present == 0).all()


def test_withheld_classes_are_not_pretrained_on() -> None:
    cut = stream(world(find("new-class"), "continual", None, None), "continual", seed=1)
    assert set(cut.source.train.y) == set(cut.source.test.y) == set(cut.old_held.y) == set(range(7))
    assert list(dict.fromkeys(cut.samples.y.tolist())) == [7, 8, 9]
    assert [set(test.y) for test in cut.tests] == [{7}, {8}, {9}]
    assert cut.source.classes == 10 and cut.goal == (0, 1, 2)


def test_a_seed_orders_the_stream_and_moves_no_sample() -> None:
    one, same, other = (stream(given(aligned=True), "continual", seed) for seed in (1, 1, 2))
    assert np.array_equal(one.samples.x, same.samples.x)
    assert not np.array_equal(one.samples.x, other.samples.x)
    assert values(one.samples) == values(other.samples) and values(one.source.train) == values(
        other.source.train
    )


def test_a_limit_shortens_the_stream_alone() -> None:
    short, whole = (stream(given(aligned=True), "continual", 1, limit) for limit in (10, None))
    assert len(short.samples) == 10 and set(short.domain) == {0, 1}
    assert np.array_equal(short.source.train.x, whole.source.train.x)


def test_too_few_samples_are_refused() -> None:
    made = given(aligned=False)
    tiny = World(made.source, (Domain("x", numbered(1, 2000), numbered(1, 3000)),), False)
    with pytest.raises(DataError, match="too few"):
        stream(tiny, "single", 1)


# --- the replay buffer -------------------------------------------------------------------------------------------


def test_replay_is_of_what_was_seen() -> None:
    drawn = replayed(before=50, stream=400, capacity=20, seed=1)
    assert (drawn < 50 + np.arange(400)).all(), "a sample is replayed before it came"
    assert len(set(drawn[:30].tolist())) <= 20 + 30
    assert np.array_equal(drawn, replayed(50, 400, 20, 1)) and not np.array_equal(
        drawn, replayed(50, 400, 20, 2)
    )


def test_the_buffer_is_a_uniform_sample_of_all() -> None:
    """At the end each of before + stream samples is in the buffer with the same probability."""
    before, count = 30, 30
    late = Counter(int(replayed(before, count, 6, seed)[-1]) for seed in range(6000))
    expected = 6000 / (before + count - 1)
    old = sum(late[n] for n in range(before)) / before
    new = sum(late[n] for n in range(before, before + count - 1)) / (count - 1)
    assert old == pytest.approx(expected, rel=0.08) and new == pytest.approx(expected, rel=0.08)


# --- runs ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapt") / "run"


@pytest.fixture(scope="module")
def results(folder: Path) -> AdaptResults:
    return adapt(config(), folder, command="insitu adapt")


def by_label(results: AdaptResults) -> dict[str, AdaptRow]:
    return {row.label: row for row in results.rows}


def test_rows(results: AdaptResults) -> None:
    rows = by_label(results)
    assert list(rows) == ["frozen", "last-layer", "biases", "bp"]
    assert (results.stream, results.tested_old, results.tested_new) == (40, 360, 360)
    for row in rows.values():
        (curve,) = row.curves
        assert curve.samples == [0, 20, 40] and curve.prequential[0] is None
        assert row.old_before.mean == rows["frozen"].old_before.mean
        assert row.forgotten.mean == pytest.approx(row.old_before.mean - row.old.mean)
        assert row.new.mean == curve.new[-1] == curve.domains[-1][0]


def test_the_frozen_network_stays(results: AdaptResults) -> None:
    row = by_label(results)["frozen"]
    assert row.forgotten.mean == 0 and row.new.mean == row.new_before.mean
    assert row.lr is None and not row.trials and row.writes_per_weight == 0
    assert row.peak_bytes == row.inference_bytes and row.energy_to_inference == 1


def test_bills_are_in_order(results: AdaptResults) -> None:
    """What learns less takes less energy; every rule had as many trials."""
    rows = by_label(results)
    energies = [rows[name].energy_to_inference or 0 for name in ("frozen", "last-layer", "bp")]
    assert energies == sorted(energies)
    assert (rows["biases"].energy_to_inference or 9) < (rows["bp"].energy_to_inference or 0)
    assert {len(row.trials) for row in rows.values() if row.label != "frozen"} == {2}


def test_a_finished_folder_is_kept_and_grows(results: AdaptResults, folder: Path) -> None:
    stored = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*")}
    with pytest.raises(CheckpointError, match="--resume"):
        adapt(config(), folder)
    with pytest.raises(CheckpointError, match="another configuration"):
        adapt(config(regime="drift"), folder, resume=True)
    again = adapt(config(rules=[{"rule": "bp"}, {"rule": "pred"}], seeds=2), folder, resume=True)
    assert by_label(again)["bp"].curves[0] == by_label(results)["bp"].curves[0]
    assert [row.seeds for row in again.rows] == [[1, 2]] * 2
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stored.items())


def test_the_same_bits_by_torch(results: AdaptResults, tmp_path: Path) -> None:
    """Another folder and another engine give the same accuracies."""
    other = adapt(config(engine="torch", rules=QUICK[2:]), tmp_path / "a")
    for row in other.rows:
        mine, theirs = (
            c.model_copy(update={"seconds": 0.0})
            for c in (row.curves[0], by_label(results)[row.label].curves[0])
        )
        assert mine == theirs and row.trials == by_label(results)[row.label].trials


def test_replay_is_billed(results: AdaptResults, tmp_path: Path) -> None:
    bp, plain = adapt(config(replay=12, rules=QUICK[3:]), tmp_path / "a").rows[0], by_label(results)["bp"]
    assert bp.replay_bytes == 12 * (64 + 1) == bp.peak_bytes - plain.peak_bytes
    assert bp.writes_per_weight == 2 * plain.writes_per_weight
    assert bp.energy_to_inference == pytest.approx(2 * (plain.energy_to_inference or 0))


def test_rules_get_heads_that_fit(tmp_path: Path) -> None:
    """They are trained on the old domain, and the network stays as it was pretrained."""
    (row,) = adapt(config(rules=[{"rule": "pred", "label": "pred"}]), tmp_path / "a").rows
    (heads,) = (tmp_path / "a" / "heads").glob("*")
    with (
        np.load(heads / "parameters.npz") as kept,
        np.load(tmp_path / "a/pretrain/s1/parameters.npz") as first,
    ):
        assert all(np.array_equal(kept[name], first[name]) for name in first)
    with np.load(heads / "heads.npz") as found:
        assert found.files and all(np.abs(found[name]).max() > 0 for name in found.files)
    assert row.lr is not None


def test_a_start_takes_the_place_of_pretraining(results: AdaptResults, folder: Path, tmp_path: Path) -> None:
    start = str(folder / "pretrain" / "s1")
    row = adapt(config(start=start, rules=QUICK[3:]), tmp_path / "a").rows[0]
    assert row.old == by_label(results)["bp"].old
    assert not (tmp_path / "a" / "pretrain").exists()


def test_large_data_are_pretrained_on_for_fewer_epochs() -> None:
    free = AdaptConfig(scenario="rotated")
    assert free.epochs(500) == SCENARIOS["rotated"].epochs > free.epochs(100_000) > free.epochs(10**7) == 1
    assert config().epochs(10**7) == 3, "what is given holds"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"scenario": "new-planet"}, "scenario 'new-planet' is unknown; use one of rotated"),
        (
            {"scenario": "new-wearer", "regime": "continual"},
            "has no regime 'continual'; use one of single, drift",
        ),
        ({"rules": [{"rule": "bp"}, {"rule": "bp"}]}, "label of its own"),
        ({"rates": []}, "rates"),
    ],
)
def test_refusals(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"rules": [{"rule": "greedy"}]}, "in phases over a whole run"),
        ({"replay": 10_000}, "use at most so many"),
        ({"network": "mlp-64-10-9"}, "9 outputs"),
        ({"rules": [{"rule": "bq"}]}, "rule 'bq' is unknown"),
    ],
)
def test_refusals_come_before_anything_is_written(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InsituError, match=message):
        adapt(config(**more), tmp_path / "a")
    assert not (tmp_path / "a" / "adapt.yaml").exists() and not (tmp_path / "a" / "pretrain").exists()


def test_data_that_a_scenario_does_not_take() -> None:
    with pytest.raises(ConfigError, match="is of data mnist, not of 'digits'"):
        world(find("new-writer"), "single", "digits", None)
