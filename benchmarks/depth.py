"""Depth: rules on plain stacks of convolutions, CIFAR-10, one sample at a time, 8-bit words with residuals of 2 bits.

    python benchmarks/depth.py [--epochs 2] [--samples 10000] [--seeds 1]
                                [--out benchmarks/results/depth.json]

Every row takes the same learning rates; the one with the best validation accuracy (a tenth of the training samples,
the first seed) is then trained with further seeds. Bytes are those of the plan at batch 1: of a training step, and of
the forward pass. Rows that are in the output file are not computed again, so it can be stopped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from insitu.experiment.config import OptimizerConfig, RunConfig
from insitu.experiment.resolve import Setup
from insitu.experiment.train import train
from insitu.run.files import write_atomic

WORDS = {
    "base": "edge-latent-free-8",
    "error_exponent": "static",
    "error_clip": 2,
    "group_size": 1,
    "residual_bits": 2,
    "threshold": 4,
    "layers": {
        "conv1": {"update": "error-feedback", "residual_bits": 8},
        "conv?": {"update": "error-feedback"},
    },
}
DYNAMIC = {key: value for key, value in WORDS.items() if key not in ("error_exponent", "error_clip")}
"""Errors with a run-time exponent, for what sends them through many layers."""

RATES = (0.02, 0.01)
NETWORKS = ("cnn-16x2-32x2-64x2",)
ETCH: dict[str, Any] = {"limit": 1024, "violators": "mean", "shared": True, "vote": 1}
ROWS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "etch, one violator": ("etch", ETCH | {"violators": "one"}, WORDS),
    "etch": ("etch", ETCH, WORDS),
    "etch, sketch of 64": ("etch", ETCH | {"sketch": 64}, WORDS),
    "etch, averages of 64": ("etch", ETCH | {"limit": 64}, WORDS),
    "pred": ("pred", {"limit": 1024}, WORDS),
    "bp": ("bp", {}, DYNAMIC),
}


def configuration(args: argparse.Namespace, network: str, row: str, lr: float, seed: int) -> RunConfig:
    rule, options, words = ROWS[row]
    return RunConfig(
        data="cifar10",
        network=network,
        network_options={"activation": "relu"},
        rule=rule,
        rule_options=options,
        precision=words,
        engine="c",
        batch=1,
        epochs=args.epochs,
        eval_epochs=args.epochs,
        limit_train=args.samples,
        limit_test=args.test,
        validation=0.1,
        seed=seed,
        optimizer=OptimizerConfig(kind="sgd", lr=lr),
    )


def accuracies(config: RunConfig) -> dict[str, float]:
    """Of the last evaluation."""
    seen: list[dict[str, Any]] = []
    train(config, on_event=seen.append)
    last = [event for event in seen if "validation_accuracy" in event][-1]
    return {"validation": last["validation_accuracy"], "test": last["test_accuracy"]}


def memory(config: RunConfig) -> tuple[int, int]:
    """Bytes of a training step and of the forward pass."""
    made = Setup.of(config).program
    return made.peak_bytes, made.inference_layout.peak_bytes


def best(found: dict[str, Any]) -> float:
    """The learning rate of the best validation accuracy."""
    return max(RATES, key=lambda lr: found.get(f"{lr:g} 1", {}).get("validation") or 0.0)


def summary(found: dict[str, Any], seeds: int) -> dict[str, Any]:
    lr = best(found)
    test = [100 * (found[f"{lr:g} {seed}"]["test"] or 0.0) for seed in range(1, seeds + 1)]
    return {"lr": lr, "test": round(fmean(test), 2), "sd": round(stdev(test), 2) if seeds > 1 else None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--test", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rates", type=float, nargs="*", choices=RATES, default=RATES)
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "depth.json")
    args = parser.parse_args()
    budget = {name: getattr(args, name) for name in ("epochs", "samples", "test")}
    kept: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {"budget": budget}
    if kept["budget"] != budget:
        raise SystemExit(f"{args.out} has rows of {kept['budget']}; give --out another name")
    for network in args.networks:
        for row in args.rows:
            entry = kept.setdefault(network, {}).setdefault(row, {"runs": {}})
            runs = entry["runs"]
            for seed in range(1, args.seeds + 1):
                for lr in args.rates if seed == 1 else [best(runs)]:
                    if f"{lr:g} {seed}" not in runs:
                        runs[f"{lr:g} {seed}"] = accuracies(configuration(args, network, row, lr, seed))
                        write_atomic(args.out, json.dumps(kept, indent=1))
                        print(network, row, lr, seed, runs[f"{lr:g} {seed}"], flush=True)
            entry["bytes"] = memory(configuration(args, network, row, RATES[0], 1))
            entry |= summary(runs, args.seeds)
            write_atomic(args.out, json.dumps(kept, indent=1))
            print(network, row, {k: v for k, v in entry.items() if k != "runs"}, flush=True)


if __name__ == "__main__":
    main()
