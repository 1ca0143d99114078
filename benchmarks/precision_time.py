"""Time of one training step in integers against the same executor in float32, in one run side by side.

    python benchmarks/precision_time.py [--threads 1,2] [--turns 20] [--out benchmarks/results/precision_time.json]

The contestants take turns as in step_time.py; a figure is a ratio of medians. Rounding of the samples to integers is
part of the step.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch

from insitu.network import zoo
from insitu.network.graph import Network
from insitu.passes import lower
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules import emit_step, make_rule
from insitu.run.state import extend_state
from insitu.run.torch_exec import TorchExecutor
from step_time import race

LR = 0.05
"""Below about 1/500 the update of a batch runs in float64, since a step is then a part in millions of a sum."""

CASES = [("mlp-784-1000-10", 128), ("mlp-784-1000-10", 1), ("mlp-784-100-50-10", 32), ("lenet5", 32)]
RULES = ["bp", "drtp", "pred"]
PRECISIONS = ["edge-latent-free-8", "w8a8"]


def ours(rule: str, precision: str, net: Network, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    """One step of a rule in a precision, conversion of samples and labels included."""
    step = emit_step(make_rule(rule), net, len(x))
    policy = make(precision)
    step = lower(step if policy is None else quantize(step, policy, net.params))
    executor = TorchExecutor(step, extend_state({}, step, net.params, seed=1))
    return lambda: executor.run(executor.convert(x, y), lr=LR) and None


def measure(name: str, batch: int, rule: str, turns: int) -> dict[str, float]:
    """Microseconds in float32, and the ratios."""
    net = zoo.build(name, activation="relu")
    torch.manual_seed(0)
    x, y = torch.rand(batch, *net.input_shape), torch.randint(0, net.outputs, (batch,))
    medians = race({p: ours(rule, p, net, x, y) for p in ("float32", *PRECISIONS)}, turns)
    return {"float32_us": medians["float32"] * 1e6} | {p: medians[p] / medians["float32"] for p in PRECISIONS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", default="1,2", help="torch thread counts, comma-separated")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = []
    for threads in map(int, options.threads.split(",")):
        torch.set_num_threads(threads)
        for name, batch in CASES:
            for rule in RULES:
                row = {"network": name, "batch": batch, "rule": rule, "threads": threads}
                row |= measure(name, batch, rule, options.turns)
                found.append(row)
                print(
                    "  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
                )
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
