"""Assumptions and bounds of docs/theory.md: the stored run, and the rounding that the words really use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insitu.numbers.rounding import drop

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / "theory.json").read_text())
    return found


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


def test_the_layer_fell_silent_within_the_bound(record: dict[str, Any]) -> None:
    for found in record["head"]["runs"]:
        assert found["silent"] and found["gamma"] > 0
        assert found["triggers"][-1] <= found["bound"]
        assert found["triggers"][-1] == found["triggers"][-2]


def test_triggers_of_a_hidden_layer_decay(record: dict[str, Any]) -> None:
    for rows in record["layers"].values():
        assert rows[-1]["triggers"][0] < rows[0]["triggers"][0] / 2
