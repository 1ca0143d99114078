"""The federated examples run: deltas are smaller than float32, and the merged state is evaluated."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from insitu.cli import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    words = "train --data digits --network mlp-64-32-10 --rule drtp --precision edge-latent-free-8 --batch 1 --lr 0.02"
    limits = ["--epochs", "1", "--set", "limit_train=60", "--set", "limit_test=20", "-q"]
    assert main([*words.split(), *limits, "--out", str(tmp_path / "a")]) == 0
    return tmp_path / "a" / "config.yaml"


def rows(example: str, configuration: Path) -> list[dict]:
    """What an example prints as JSON, of two clients in two rounds."""
    command = [sys.executable, str(ROOT / "examples" / example), str(configuration)]
    done = subprocess.run(
        [*command, "--clients", "2", "--rounds", "2"], capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_the_example_runs(configuration: Path) -> None:
    *rounds, sent = rows("federated.py", configuration)
    assert [r["round"] for r in rounds] == [1, 2]
    facts = sent["bytes_up_per_client_and_round"]
    assert 0 < facts["delta"] < facts["state"] < facts["float32"]


@pytest.mark.skipif(find_spec("flwr") is None, reason="needs the package flwr: pip install flwr")
def test_flower_finds_the_same(configuration: Path) -> None:
    assert rows("federated_flower.py", configuration) == rows("federated.py", configuration)[:-1]
