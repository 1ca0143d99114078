"""How fast points are costed: all rules x precisions x targets of some networks, in two processes.

    python benchmarks/cost_speed.py [--jobs 2] [--out benchmarks/results/cost_speed.json]

A point is emission, quantization, planning, and the bills of a training step and of inference; refused ones are apart.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path
from time import perf_counter

from insitu.experiment.design_point import DesignPoint
from insitu.experiment.impact_table import sweep
from insitu.hardware.target import names
from insitu.passes.precision import NAMED
from insitu.rules import RULES

NETWORKS = ("mlp-784-1000-10", "lenet5", "ds-cnn", "resnet8")


def measure(network: str, jobs: int) -> dict[str, float | str]:
    """Points, refused ones and seconds of a sweep, from a cold start of its processes."""
    every = product(RULES, ("float32", *NAMED), names())
    points = [
        DesignPoint(network, rule, precision, target, activation="relu") for rule, precision, target in every
    ]
    start = perf_counter()
    rows = sweep(points, jobs)
    seconds = perf_counter() - start
    costed = sum(row["peak_bytes"] is not None for row in rows)
    return {
        "network": network,
        "points": len(rows),
        "costed": costed,
        "seconds": round(seconds, 1),
        "seconds_per_1000_costed": round(1000 * seconds / costed, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = [measure(network, args.jobs) for network in NETWORKS]
    for row in rows:
        print(row)
    if args.out is not None:
        args.out.write_text(json.dumps({"jobs": args.jobs, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
