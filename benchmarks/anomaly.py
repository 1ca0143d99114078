"""An autoencoder on a device: how well it tells a motion that it never saw, in 8-bit words beside float32.

    python benchmarks/anomaly.py [--seeds 5] [--out benchmarks/results/anomaly.json]

Windows of a watch's sensors (`spar-watch`, the test wearer is new). Six of seven exercises are normal, and the network
(768-64-16-64-768) learns to reconstruct them, one sample at a time; windows of the seventh are anomalies. The learning
rate is that of the least error of reconstruction on a tenth of the training samples, which are all normal, with the
first seed; the figure is the area under the ROC curve on the test split. Runs in the output file are not done again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from insitu.experiment.config import OptimizerConfig, RunConfig
from insitu.experiment.metrics import Detection
from insitu.experiment.train import train
from insitu.run.files import write_atomic
from trials import interval

WORDS = "edge-latent-free-8"
ROWS = {
    "bp, float32": ("bp", "float32"),
    "bp": ("bp", WORDS),
    "dfa": ("dfa", WORDS),
    "bp, 4-bit words": ("bp", "edge-latent-free-4"),
}
RATES = (1.0, 0.3, 0.1, 0.03)


def configuration(row: str, lr: float, seed: int) -> RunConfig:
    rule, words = ROWS[row]
    return RunConfig(
        data="spar-watch",
        data_options={"normal": [1, 2, 3, 4, 5, 6]},
        network="mlp-768-64-16-64-768",
        network_options={"activation": "tanh"},
        rule=rule,
        precision=words,
        engine="torch" if words == "float32" else "c",
        target="input",
        loss="mse",
        batch=1,
        epochs=10,
        eval_epochs=10,
        validation=0.1,
        seed=seed,
        optimizer=OptimizerConfig(kind="sgd", lr=lr),
        schedule={"kind": "cosine", "final": 0.05},
    )


def found(config: RunConfig) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []
    outcome = train(config, on_event=seen.append)
    assert isinstance(outcome.metrics, Detection)
    last = [event for event in seen if "validation_loss" in event][-1]
    return {"validation_loss": last["validation_loss"], "auc": outcome.metrics.auc}


def best(runs: dict[str, Any]) -> float:
    """The rate of the least validation loss of the first seed; one that diverged has none."""
    losses = {lr: runs.get(f"{lr:g} 1", {}).get("validation_loss") for lr in RATES}
    return min(losses, key=lambda lr: float("inf") if losses[lr] is None else losses[lr])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, choices=range(1, 11))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "anomaly.json")
    args = parser.parse_args()
    kept: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    for row in ROWS:
        entry = kept.setdefault(row, {"runs": {}})
        runs = entry["runs"]
        for seed in range(1, args.seeds + 1):
            for lr in RATES if seed == 1 else [best(runs)]:
                if f"{lr:g} {seed}" not in runs:
                    runs[f"{lr:g} {seed}"] = found(configuration(row, lr, seed))
                    write_atomic(args.out, json.dumps(kept, indent=1))
        areas = [runs[f"{best(runs):g} {seed}"]["auc"] for seed in range(1, args.seeds + 1)]
        entry |= {"lr": best(runs), "auc": fmean(areas), "interval": interval(areas)}
        write_atomic(args.out, json.dumps(kept, indent=1))
        print(row, {key: value for key, value in entry.items() if key != "runs"}, flush=True)


if __name__ == "__main__":
    main()
