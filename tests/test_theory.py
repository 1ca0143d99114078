"""Assumptions and bounds of docs/theory.md: the stored runs, and the lemmas on what the words really do."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insitu.numbers.formats import Fixed
from insitu.numbers.rounding import drop
from insitu.ops.updates import BoundUpdate, ErrorFeedback, RoundRobin, Threshold
from insitu.run.integer_updates import SUM, apply
from insitu.step.context import StepContext

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))
theory, windows = import_module("theory"), import_module("theory_windows")
FREE = "edge-latent-free-8:error_exponent=static,headroom=1"


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / "theory.json").read_text())
    return found


def learner(extra: str = "", epochs: int = 0, samples: int = 200) -> Any:
    """A network with a hidden layer, its biases held, after some epochs by stochastic rounding."""
    first = theory.Learner("mlp-64-64-10", 1, FREE, 2.0**-6, samples, biases=False)
    for _ in range(epochs):
        for i in range(samples):
            first.learn(i)
    one = theory.Learner("mlp-64-64-10", 1, FREE + extra, 2.0**-6, samples, biases=False)
    for k, a in first.state.items():
        one.state[k][...] = a
    return one


# --- rounding ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numerator", [1, 37, 128, 255, 300])
def test_a_rounded_step_is_unbiased_and_its_variance_below_its_size(numerator: int) -> None:
    """Within five standard errors; var <= Δ |step|, here in units of Δ."""
    draws = 100_000
    words = np.random.default_rng(numerator).integers(0, 1 << 32, draws)
    moved = drop(np.full(draws, numerator), 8, "stochastic", words)
    step = numerator / 256
    part = step % 1
    assert abs(moved.mean() - step) <= 5 * np.sqrt(part * (1 - part) / draws) + 1e-12
    assert moved.var() <= step + 1e-3


# --- theorems 1 and 5: silence -------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["head", "nearest"])
def test_the_layer_fell_silent_within_the_bound(record: dict[str, Any], part: str) -> None:
    for found in record[part]["runs"]:
        assert found["silent"] and found["gamma"] > 0
        assert found["triggers"][-1] <= found["bound"]
        assert found["triggers"][-1] == found["triggers"][-2]
        assert found["top"] < found["greatest"] - (1 << record[part]["hidden"])


def test_the_box_of_the_recipes_has_no_comparator(record: dict[str, Any]) -> None:
    """What docs/theory.md says of theorem 1: its hypothesis was not found to hold there."""
    assert record["narrow"]["bound"] is None


def test_visible_flips_stay_below_movement_and_turns(record: dict[str, Any]) -> None:
    """Theorem 5 (ii), word by word; with hidden bits far fewer flips than writes."""
    runs = record["nearest"]["runs"] + list(record["layers"].values())
    assert all(r["holds"] and r["flips"] <= r["allowed"] for r in runs)
    assert all(r["flips"] < r["writes"] / 2 for r in record["nearest"]["runs"])


def test_a_word_that_turns_at_a_boundary_flips_at_every_write() -> None:
    """There is no hysteresis: turns cannot be left out of theorem 5 (ii)."""
    o = BoundUpdate(Threshold(), Fixed(True, 13, 0), 1.0, "w")
    w = np.full((1, 1), 31)
    flips = theory.Flips(w, 6)
    for t in range(40):
        apply(o, StepContext(1.0, 1, t), w, np.array([[1 if t % 2 else -1]]), 0, ())
        flips.see(w)
    found = flips.record()
    assert found["flips"] == found["writes"] == 40 and found["turns"] == 39
    assert found["holds"] and found["moved_words"] < 1


@pytest.mark.parametrize("hidden", [2, 5])
def test_flips_of_any_path_stay_below_the_bound(hidden: int) -> None:
    draw = np.random.default_rng(hidden)
    w = draw.integers(-500, 500, (20, 30))
    flips = theory.Flips(w, hidden)
    for _ in range(300):
        w = w + draw.integers(-9, 10, w.shape) * (draw.random(w.shape) < 0.3)
        flips.see(w)
    found = flips.record()
    assert found["holds"] and found["flips"] > 0.8 * min(found["writes"], found["moved_words"])


def test_saturation_brings_a_word_with_its_residual_no_further_from_any_comparator() -> None:
    """Theorem 1 for error feedback: the word stops at its end, its residual goes on; beside a word that has room."""
    draw, method = np.random.default_rng(3), ErrorFeedback(group_size=1, residual_bits=2, threshold=4)
    ends: list[np.ndarray] = []
    w = np.concatenate([draw.integers(-128, -120, (50, 40)), draw.integers(120, 128, (50, 40))])
    residual, g = draw.integers(-2, 2, w.shape), draw.integers(-40, 41, w.shape)
    for bits in (8, 16):
        words, rest = w.copy(), residual.copy()
        o = BoundUpdate(method, Fixed(True, bits - 1, 0), 2.0**-3, "w")
        apply(o, StepContext(1.0, 1, 0), words, g, 0, (rest,))
        ends.append(words - rest / 4)
    assert (ends[0] != ends[1]).mean() > 0.1 and np.abs(ends[0]).max() <= 128.5
    for a in range(-128, 128, 5):
        assert (np.abs(ends[0] - a) <= np.abs(ends[1] - a)).all()


# --- theorems 6 and 7: residuals, fixed gates ----------------------------------------------------------------


def test_residual_bits_lower_the_floor_until_half_of_log2_of_the_inputs() -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "residuals.json").read_text())["rows"]
    found = {(r["read"], r["width"], r["bits"]): r["hinge"] for r in rows}
    for read, width in {(read, width) for read, width, _ in found}:
        enough = round(np.log2(width) / 2)
        assert found[read, width, 1] < 0.75 * found[read, width, 0]
        assert found[read, width, enough] < 1.7 * found[read, width, 6]
        assert all(r["hinge"] <= r["floor"] for r in rows)


def test_networks_with_fixed_gates_fall_silent() -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "gates.json").read_text())["rows"]
    assert None not in rows["fixed gates, fixed heads"]["silent"]


# --- theorem 4: rotating accumulators ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("q", "window", "evidence"),
    [(0.02, 64, 40), (0.3, 64, 70), (-0.3, 64, 30), (-2.3, 64, 30), (1.0, 64, 120)],
)
def test_evidence_beyond_its_mean_is_as_rare_as_lemma_1_says(q: float, window: int, evidence: int) -> None:
    """Sums saturate: also where the drift presses them against the other end first."""
    shape, k = (100, 100), 10
    o = BoundUpdate(RoundRobin(1, window, evidence), Fixed(True, 7, 0), 2.0**-k, "w")
    draw, passed, rounds = np.random.default_rng(1), 0, 5
    noise = 3 * 2**k
    w, sums = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for t in range(window * rounds):
        g = round(q * 2**k) + noise * draw.integers(-1, 2, shape)
        before = w.copy()
        apply(o, StepContext(1.0, 1, t), w, g, 0, (sums,))
        passed += int((w < before).sum())
        assert sums.min() >= SUM.least and sums.max() <= SUM.greatest
    second = q**2 + 9 * 2 / 3 + 0.25
    most = float(np.ceil(abs(q) + 3))
    chance = windows.tail(evidence - window * max(q, 0.0), np.asarray(window * second), np.asarray(most))
    share = passed / (rounds * w.size)
    assert chance < 0.7
    assert share <= chance + 3 * np.sqrt(chance / (rounds * w.size))


def test_a_window_at_once_is_a_window_of_steps() -> None:
    """What the benchmark runs is what the reference does: the words stand still within a window."""
    extra = ",update=round-robin,slices=8,window=16,evidence=3"
    one, two = learner(extra, epochs=1), learner(extra, epochs=1)
    moves = {op.inputs[2].name: op for op in two.step.ops if op.kind == "matmul_dw_update"}
    draw, steps = np.random.default_rng(3), 0
    for _ in range(20):
        chosen = draw.integers(0, len(one.x), 16)
        before = one.state["fc1.weight"].copy()
        for n, i in enumerate(chosen):
            one.learn(int(i))
            assert n == 15 or (one.state["fc1.weight"] == before).all()
        windows.window_of(two, {k: moves[k] for k in windows.NAMES}, chosen, 2.0**-6)
        assert all((one.state[k] == two.state[k]).all() for k in windows.NAMES)
        steps += int((one.state["fc1.weight"] != before).sum())
    assert steps > 50


def test_moments_are_those_of_the_emitted_updates() -> None:
    """The mean over all samples of what single steps add, and the rounding's noise in the second moment."""
    one = learner(epochs=1, samples=60)
    found = windows.exact(one, 2.0**-6, ("fc1.weight",), fine=True)["fc1.weight"]
    op = next(
        op for op in one.step.ops if op.kind == "matmul_dw_update" and op.inputs[2].name == "fc1.weight"
    )
    env = windows.forward(one, *windows.batch(one))
    d, a = (env[v].reshape(60, -1) for v in op.inputs[:2])
    q = d[:, :, None] * a[:, None, :] * 2.0 ** -op.attrs.optimizer.shift(2.0**-6, 0)
    assert np.allclose(found.mean, q.mean(0)) and np.abs(q).max() <= found.most.max()
    part = q % 1
    assert np.allclose(found.mean_v2, (q**2 + part * (1 - part)).mean(0))
    centred = q - q.mean(0)
    on = found.second > 0
    assert np.allclose(found.kurtosis[on], ((centred**4).mean(0)[on] / (centred**2).mean(0)[on] ** 2))


def test_steps_stay_below_theorem_4_on_a_small_run() -> None:
    """Steps and bad steps within the bound; the loss falls, and by less curvature than λ allows."""
    one = learner(",update=round-robin,slices=4,window=128,evidence=24", epochs=3)
    rows = windows.windows(one, 20, lambda _: 2.0**-6, 2.0**-6)
    grid = one.unit["fc1.weight"]
    curve, _ = windows.curvature(rows)
    limits = windows.bound(rows, grid, 2.0**-6, curve)
    assert curve * grid / 2 < 2.0**-6
    assert all(np.cumsum([r["steps"] for r in rows]) <= limits)
    assert sum(r["steps"] for r in rows) > 50
    assert sum(r["bad"] for r in rows) <= sum(r["chance"] for r in rows)
    assert sum(r["fall"] for r in rows) > 0


def test_the_stored_runs_stay_below_theorem_4(record: dict[str, Any]) -> None:
    for r in record["rotating"]:
        assert r["bound"] is None or (np.cumsum(r["steps"]) <= r["bound"]).all()
        assert sum(r["bad"]) <= sum(r["chance"])
    trained = [r for r in record["rotating"] if "after 4 epochs" in r["label"] and "E = 2" not in r["label"]]
    assert len(trained) == 6 and all(r["bound"] and r["fell"] > 0.9 for r in trained)
    for r in trained:
        quarter = len(r["steps"]) // 4
        assert sum(r["steps"][-quarter:]) < sum(r["steps"][:quarter]) / 2
        assert (sum(r["steps"][-quarter:]) == 0) == ("cosine" in r["label"])
        assert r["left"][-1] == 0


def test_the_policys_own_evidence_is_too_small_for_steps_to_end(record: dict[str, Any]) -> None:
    """Most steps are bad and go on; the words are no worse for it."""
    (small,) = (r for r in record["rotating"] if "E = 2" in r["label"])
    quarter = len(small["steps"]) // 4
    assert sum(small["bad"]) > sum(small["steps"]) / 2
    assert sum(small["steps"][-quarter:]) > 0.8 * sum(small["steps"][:quarter])
    assert small["loss"][-1] < record["rotating"][0]["loss"][-1]


def test_theorem_4_says_nothing_where_all_rivals_tie(record: dict[str, Any]) -> None:
    """From the start: curvature exceeds λ with one violator, and does not with all of them."""
    one, every = (r for r in record["rotating"] if "from the start" in r["label"])
    assert one["curvature"] * one["grid"] / 2 > one["least"] and one["bound"] is None and one["fell"] < 0.6
    assert every["curvature"] * every["grid"] / 2 < every["least"] / 10 and every["fell"] > 0.95


# --- measured ------------------------------------------------------------------------------------------------


def test_triggers_of_a_hidden_layer_decay_and_margins_grow(record: dict[str, Any]) -> None:
    for label, run in record["layers"].items():
        first, last = run["epochs"][0], run["epochs"][-1]
        if "rotating" not in label:
            assert last["triggers"][0] < first["triggers"][0] / 2
            assert first["margins"]["fc1.head"][1] < 1 < last["margins"]["fc1.head"][1]


def test_a_hidden_layer_settles_in_part_and_by_a_falling_rate_only(record: dict[str, Any]) -> None:
    for update in ("stochastic, 8 bits", "nearest, 8 of 14 bits"):
        constant, falling = (
            [r["moved"] for r in record["layers"][f"{update}, {rate}"]["epochs"]] for rate in theory.RATES
        )
        assert constant[-1] > 0.9 * constant[0]
        assert 0 < falling[-1] < 0.7 * constant[-1]


def test_signal_is_small_and_tails_are_heavy(record: dict[str, Any]) -> None:
    for found in (r["words"] for r in record["moments"] if "words" in r):
        for m in found.values():
            assert m["snr_rounded"][2] <= m["snr"][2] < 0.1
            assert m["kurtosis"][2] > 3 * 3
