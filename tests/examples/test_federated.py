"""The federated example runs: deltas are smaller than float32, and the merged state is evaluated."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from insitu.cli import main

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_runs(tmp_path: Path) -> None:
    words = "train --data digits --network mlp-64-32-10 --rule drtp --precision edge-latent-free-8 --batch 1 --lr 0.02"
    limits = ["--epochs", "1", "--set", "limit_train=60", "--set", "limit_test=20", "-q"]
    assert main([*words.split(), *limits, "--out", str(tmp_path / "a")]) == 0
    command = [sys.executable, str(ROOT / "examples" / "federated.py"), str(tmp_path / "a" / "config.yaml")]
    done = subprocess.run(
        [*command, "--clients", "2", "--rounds", "2"], capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    *rounds, sent = map(json.loads, done.stdout.splitlines())
    assert [r["round"] for r in rounds] == [1, 2]
    facts = sent["bytes_up_per_client_and_round"]
    assert 0 < facts["delta"] < facts["state"] < facts["float32"]
