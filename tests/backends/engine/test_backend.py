"""The engine as a backend: refusals by name, its listing, and a run that it trains with the bits of torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from insitu.backends.engine.build import PRECISION
from insitu.backends.protocol import find
from insitu.cli import main
from tests.backends.engine.pairs import made

RUN = [
    "train",
    "--data",
    "digits",
    "--network",
    "mlp-64-12-10",
    "--epochs",
    "1",
    "--batch",
    "1",
    "--lr",
    "0.01",
]
RUN += ["--set", "network_options.activation=relu", "--set", "limit_train=20", "--set", "limit_test=10"]


def test_a_run_has_the_bits_of_torch(tmp_path: Path) -> None:
    for engine in ("microcode", "torch"):
        words = [*RUN, "--rule", "etch", "--precision", PRECISION, "--engine", engine]
        assert main([*words, "--out", str(tmp_path / engine)]) == 0
    ours, other = (np.load(tmp_path / engine / "parameters.npz") for engine in ("microcode", "torch"))
    assert sorted(ours.files) == sorted(other.files)
    assert all(np.array_equal(ours[name], other[name]) for name in other.files)


def test_the_listing_tells_memory_nests_and_cycles(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "microcode", "mlp-64-32-10", "--rule", "etch", "--words"]) == 0
    text = capsys.readouterr().out
    assert "173 instructions for 8 lanes, S = 24, generator register" in text
    assert "fc1.weight: 32 x 64, lanes hold rows" in text and "10 x 32, lanes hold columns" in text
    assert "where no trigger fires" in text and "fc1.weight update" in text
    assert "GO      number=1" in text


@pytest.mark.parametrize(
    ("rule", "precision", "said"),
    [
        ("usf", PRECISION, "through a view"),
        ("bp", "edge-latent-free-8:error_exponent=static", "generator=register"),
    ],
)
def test_refusals_before_anything_runs(rule: str, precision: str, said: str) -> None:
    (reason,) = find("microcode").refuse(made(rule, "mlp-64-32-10", precision).steps[0])
    assert said in reason


def test_a_step_that_runs_is_not_refused() -> None:
    assert find("microcode").refuse(made("etch", "mlp-64-32-10").steps[0]) == []


def test_tanh_is_refused_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "microcode", "mlp-64-32-10", "--activation", "tanh"]) == 2
    assert "has no microcode; use a ReLU network" in capsys.readouterr().err
