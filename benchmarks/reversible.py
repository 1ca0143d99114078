"""BP without stored activations against its rivals: a network of couplings, digits, one sample at a time, 8-bit words
with residuals of 4 bits.

    python benchmarks/reversible.py [--out benchmarks/results/reversible.json]
    python benchmarks/reversible.py --bytes       # no training: bytes and operations of deeper networks, 3x32x32 images

Every rule takes the same learning rates; the test accuracy is that of the rate with the best validation accuracy (a
tenth of the training samples). Bytes are those of the plan at batch 1. `bp-reversible` learns what `bp` learns bit for
bit (`tests/rules/test_reversible.py`), and is trained at one rate to say so. Rows that are in the output file are kept.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from depth import accuracies, memory

from insitu.experiment.config import OptimizerConfig, RunConfig
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.design_program import program
from insitu.experiment.resolve import Setup
from insitu.run.files import write_atomic

NETWORK = "rev-8x4"
RATES = (0.02, 0.01, 0.005, 0.002, 0.001)
PLAIN = "edge-latent-free-8:error_exponent=static"
WORDS = f"{PLAIN},update=error-feedback,group_size=1,threshold=4,residual_bits=4"
ROWS: dict[str, dict[str, Any]] = {
    "bp": {},
    "bp-reversible": {},
    "bp-checkpoint": {},
    "bp-stash": {},
    "etch": {"limit": 64, "violators": "mean"},
}
TRAINED = {"bp": RATES, "bp-reversible": RATES[:1], "bp-stash": RATES, "etch": RATES}


def configuration(rule: str, lr: float) -> RunConfig:
    return RunConfig(
        data="digits",
        network=NETWORK,
        rule=rule,
        rule_options=ROWS[rule],
        precision=WORDS,
        engine="c",
        batch=1,
        epochs=4,
        eval_epochs=4,
        validation=0.1,
        optimizer=OptimizerConfig(kind="sgd", lr=lr),
    )


def grown() -> None:
    """Bytes of a step over those of inference, and operations likewise, by the number of couplings."""
    for count in (4, 8, 16, 32):
        for rule, options in ROWS.items():
            point = DesignPoint(f"rev-16x{count}", rule=rule, precision=PLAIN, options=tuple(options.items()))
            made = program(point)
            learn, infer = (sum(s.counts().macs.values()) for s in (made.steps[0], made.inference))
            infer_bytes = made.inference_layout.peak_bytes
            print(
                count,
                rule,
                made.peak_bytes,
                infer_bytes,
                f"{made.peak_bytes / infer_bytes:.2f}",
                f"{learn / infer:.2f}",
            )


def macs(config: RunConfig) -> float:
    """Of a training step, over those of the forward pass."""
    made = Setup.of(config).program
    learn, infer = (sum(step.counts().macs.values()) for step in (made.steps[0], made.inference))
    return round(learn / infer, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "reversible.json")
    parser.add_argument("--bytes", action="store_true", help="bytes and operations alone")
    args = parser.parse_args()
    if args.bytes:
        return grown()
    kept: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    for rule in ROWS:
        entry = kept.setdefault(rule, {"runs": {}})
        config = configuration(rule, RATES[0])
        entry |= {"bytes": memory(config), "macs": macs(config)}
        for lr in TRAINED.get(rule, ()):
            if f"{lr:g}" not in entry["runs"]:
                entry["runs"][f"{lr:g}"] = accuracies(configuration(rule, lr))
                print(rule, lr, entry["runs"][f"{lr:g}"], flush=True)
                write_atomic(args.out, json.dumps(kept, indent=1))
        print(rule, entry["bytes"], entry["macs"], flush=True)
        write_atomic(args.out, json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
