"""Batches of another size than the run's: learned alike by both engines, or refused before the first step."""

from __future__ import annotations

import shutil
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insitu.errors import ConfigError
from insitu.experiment.batches import last_sizes
from insitu.experiment.config import RunConfig, parse
from insitu.experiment.export import export
from insitu.experiment.resolve import Setup
from insitu.experiment.train import train

DEFER = "edge-latent-free-8:defer=3,error_exponent=static"


def config(**more: Any) -> RunConfig:
    raw = {
        "data": "digits",
        "network": "mlp-64-12-10",
        "epochs": 2,
        "batch": 4,
        "limit_train": 10,
        "limit_test": 20,
        "optimizer": {"lr": 0.1},
        **more,
    }
    return parse(RunConfig, raw, "test")


@pytest.mark.parametrize(
    ("count", "total", "batch", "sizes"),
    [
        (8, 16, 4, set()),
        (10, 20, 4, {2}),
        (10, 13, 4, {2, 3}),
        (10, 7, 4, {3}),
        (10, 8, 4, set()),
        (10, 30, 10, set()),
    ],
)
def test_sizes_of_last_batches(count: int, total: int, batch: int, sizes: set[int]) -> None:
    assert last_sizes(count, total, batch) == sizes
    epochs = -(-total // count)
    stops = [min(count, total - k * count) for k in range(epochs)]
    spans = chain.from_iterable(([batch] * (n // batch) + [n % batch]) for n in stops)
    assert {n for n in spans if n} - {batch} == sizes


@pytest.mark.parametrize("rule", ["bp", "drtp"])
def test_deferred_samples_of_unlike_batches_are_refused_with_a_batch_that_works(rule: str) -> None:
    with pytest.raises(
        ConfigError, match=r"errors for batches of 4 samples.*a batch of 2; use --batch 2, or defer=1"
    ):
        Setup.of(config(rule=rule, precision=DEFER))
    assert Setup.of(config(rule=rule, precision=DEFER, batch=2)).config.batch == 2
    assert Setup.of(config(rule=rule, precision=DEFER, limit_train=8)).config.batch == 4


def test_a_run_that_ends_inside_a_batch_is_refused_too() -> None:
    with pytest.raises(ConfigError, match="a batch of 3; use --batch 1, or defer=1"):
        Setup.of(config(precision=DEFER, limit_train=8, samples=11))


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")
def test_an_export_for_another_batch_is_refused_where_its_state_does_not_fit(tmp_path: Path) -> None:
    train(config(precision=DEFER, batch=2, engine="c"), tmp_path / "run")
    with pytest.raises(
        ConfigError, match="cannot be exported for batches of 1; use --batch 2, or train with defer=1"
    ):
        export(tmp_path / "run", tmp_path / "project", batch=1, steps=2)
    export(tmp_path / "run", tmp_path / "project", batch=2, steps=2)
    train(config(precision="edge-latent-free-8", batch=2), tmp_path / "plain")
    export(tmp_path / "plain", tmp_path / "other", batch=1, steps=2)


POLICIES = [
    "edge-latent-free-8",
    "edge-latent-free-8:update=error-feedback",
    "edge-latent-free-8:update=round-robin,window=2",
    "edge-latent-free-8:update=threshold,hidden=8",
    "edge-latent-free-8:error_exponent=static",
    "edge-latent-free-8:update=bop,weight=1",
    "w8a8",
    "niti-int8",
    "nitro",
]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")
@pytest.mark.parametrize(("rule", "policy"), [(r, p) for p in POLICIES for r in ("bp", "etch")])
def test_a_smaller_last_batch_gives_both_engines_the_same_bits(rule: str, policy: str) -> None:
    found = [train(config(rule=rule, precision=policy, engine=engine)).params for engine in ("torch", "c")]
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("rule", ["sim", "hsic", "bp"])
def test_a_last_batch_of_one_sample_is_left_out_where_nothing_is_learned_from_it(rule: str) -> None:
    setup = Setup.of(config(rule=rule, limit_train=9, epochs=1))
    assert setup.skips_single == (rule != "bp")
    assert train(setup.config).samples == (9 if rule == "bp" else 8)
