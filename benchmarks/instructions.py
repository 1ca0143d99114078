"""Instructions of exported C on a board: predicted by the cost model, and counted in the emulator.

    python benchmarks/instructions.py [--board m4] [--out benchmarks/results/instructions.json]

Model: instructions(pass) = Σ_class cost(class) * work(class, pass), with the classes and the work of the target
``stm32l4r5-c``, whose costs are this fit; with ``--board rv32imc`` of ``esp32c3-c``, without the programs that its
128 KB do not hold. It is made in log space around the counts of our kernels (:data:`PRIOR`), as
benchmarks/mlperf_tiny.py does; the errors reported are of a program (its forward pass and its training step) that the
fit has not seen. The same run compares the planned bytes with those of the build. That the plan's multiply-accumulates
are the executor's is for tests/conformance/test_macs.py.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from boards import program
from insitu.backends.c.firmware import on_board
from insitu.backends.c.project import write
from insitu.errors import ConfigError
from insitu.hardware.cost import cost
from insitu.hardware.target import find
from insitu.passes import plan
from insitu.run.integer import run
from insitu.run.program import Program
from insitu.run.trace import trace, triggered
from insitu.step.ir import Step
from insitu.step.triggers import triggers_of
from mlperf_tiny import Prior, _band, _round, fit, macs

SILENT = "etch, silent"
"""``etch`` without a margin, whose heads begin with zeros, on samples of the class that the network predicts."""

PROGRAMS = (
    ("digits", "mlp-64-32-10", "drtp"),
    ("digits", "mlp-64-32-10", "bp"),
    ("digits", "mlp-64-100-50-10", "pred"),
    ("digits", "mlp-64-100-50-10", "dfa"),
    ("mnist", "mlp-784-100-10", "drtp"),
    ("mnist", "mlp-784-64-64-10", "bp-stash"),
    ("digits", "cnn-8-16", "drtp"),
    ("digits", "cnn-8-16", "bp"),
    ("digits", "mlp-64-32-10", "bp-stash"),
    ("digits", "cnn-8-16", "bp-stash"),
    ("digits", "mlp-64-32-10", "etch"),
    ("digits", "mlp-64-32-10", SILENT),
    ("digits", "cnn-8-16", "etch"),
    ("digits", "cnn-8-16", SILENT),
    ("digits", "cnn-16-32", "etch"),
    ("mnist", "mlp-784-100-10", "etch"),
    ("mnist", "lenet5", "etch"),
    ("mnist", "lenet5", SILENT),
    ("digits", "cnn-16-32", "pred"),
    ("digits", "cnn-16-16-16", "dgl"),
    ("mnist", "lenet5", "drtp"),
    ("mnist", "lenet5", "bp-stash"),
    ("mnist", "cnn-8-16-16", "drtp"),
    ("cifar10", "cnn-16-16", "drtp"),
    ("cifar10", "cnn-8-8-16", "mono-forward"),
    ("digits", "ds-cnn", "drtp"),
    ("mnist", "ds-cnn", "dgl"),
    ("cifar10", "mobilenet-v1-0.25", "drtp"),
    ("cifar10", "resnet8", "dgl"),
)
"""Data, network (batch norm folded), rule; all in 8-bit words as the only copy, batch 1, ReLU."""

TARGETS = {"m4": "stm32l4r5-c", "rv32imc": "esp32c3-c"}
"""The target that takes a board's fit over."""

RECORDS = {"m4": "instructions.json", "rv32imc": "instructions-rv32imc.json"}
TARGET = TARGETS["m4"]
TIMEOUT = 600.0
"""Seconds of a self-test in the emulator."""

NOISE = 0.15
"""Standard deviation of the logarithm of a counted over a modelled pass."""

PRIOR: Prior = {
    "conv": (3.0, 0.7),
    "single": (5.7, 0.7),
    "pointwise": (3.0, 0.7),
    "depthwise": (10.0, 0.7),
    "conv_dx": (6.0, 1.0),
    "conv_dw": (6.0, 1.0),
    "dense": (2.0, 0.7),
    "dense_dx": (4.0, 1.0),
    "unpack": (50.0, 0.7),
    "word": (25.0, 0.5),
    "update": (6.5, 0.7),
    "conv_update": (300.0, 1.0),
    "random": (8.0, 0.7),
    "rounding": (20.0, 0.7),
    "elementwise": (10.0, 1.0),
    "call": (200.0, 1.0),
}
"""Instructions per unit, and the standard deviation of their logarithm: kernels counted alone, or read."""


def units(step: Step, triggers: Sequence[float] = (), target: str = TARGET) -> dict[str, float]:
    """Work of a step by class."""
    known = find(target).cycles
    found = {name: 0.0 for name in PRIOR if getattr(known, name) is not None}
    for row in cost(step, plan(step), find(target), triggers=triggers).rows:
        for (entry, *_), amount in row.cycle_uses.items():
            found[entry.removeprefix("cycles.")] += amount
    return found


def made(place: str, data: str, network: str, rule: str) -> Program:
    """The program of a row."""
    if rule != SILENT:
        return program(place, data, network, rule, norm="fold")
    found = program(place, data, network, "etch", norm="fold", rule_options={"margin": 0.0})
    arrays = {name: np.array(a) for name, a in found.initial_state.items()}
    scores = [run(found.inference, arrays, x, None, found.context(0))[0] for x, _ in found.batches]
    return replace(found, batches=tuple((x, s.argmax(1)) for (x, _), s in zip(found.batches, scores)))


def shares(program: Program) -> list[float]:
    """Of the training steps, those at which each trigger fires."""
    step, steps = program.steps[0], len(program.batches)
    waits = [step.ops.index(op) for op in triggers_of(step).values()]
    if not waits:
        return []
    fired = [ops for _, ops in triggered(program, steps, trace(program, steps))]
    return [sum(op in ops for ops in fired) / steps for op in waits]


def passes(core: str) -> list[dict[str, Any]]:
    """A row per program and pass: what was planned, and what the build and the emulator gave."""
    found = []
    for data, network, rule in PROGRAMS:
        with tempfile.TemporaryDirectory() as place:
            learner = made(place, data, network, rule)
            try:
                board = on_board(write(learner, Path(place) / "c"), core, run=True, timeout=TIMEOUT)
            except ConfigError as error:
                print(error, flush=True)
                continue
        named = {"data": data, "network": network, "rule": rule}
        named |= {"planned_bytes": board.planned, "bytes": board.memory}
        fires = shares(learner)
        for kind, step, often, counted in (
            ("forward", learner.inference, [], board.per_inference),
            ("step", learner.steps[0], fires, board.per_step),
        ):
            more = {"triggers": often} if often else {}
            found.append(
                named | {"pass": kind, "counted": counted, **more, "work": units(step, often, TARGETS[core])}
            )
        print(data, network, rule, board.per_inference, board.per_step, flush=True)
    return found


def costs(rows: Sequence[dict[str, Any]], without: int | None = None) -> dict[str, float]:
    """Costs by class; ``without`` the program of a row."""
    programs = [(r["data"], r["network"], r["rule"]) for r in rows]
    work = {str(i): r["work"] for i, r in enumerate(rows)}
    points = tuple(
        None if without is not None and programs[i] == programs[without] else r["counted"] / macs(r["work"])
        for i, r in enumerate(rows)
    )
    prior = {name: p for name, p in PRIOR.items() if name in rows[0]["work"]}
    return fit({"board": points}, work, prior, free=False, shared=1e-6, noise=NOISE)[1]


def measure(core: str) -> dict[str, Any]:
    """Everything the record holds."""
    rows = passes(core)
    found, folds = costs(rows), [costs(rows, i) for i in range(len(rows))]
    for row, fold in zip(rows, folds, strict=True):
        row["predicted"] = round(sum(fold[c] * n for c, n in row["work"].items()))
        row["error"] = round(row["predicted"] / row["counted"] - 1, 4)
    spread = sorted(abs(r["error"]) for r in rows)[len(rows) // 2]
    bands = {c: _band(v, [f[c] for f in folds], spread) for c, v in found.items()}
    return {"costs": bands, "median_error": _round(spread), "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--board", choices=TARGETS, default="m4")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    record = measure(args.board)
    for row in record["rows"]:
        print(
            f"{row['network']:20} {row['rule']:14} {row['pass']:8} {row['counted']:12,.0f} {row['error']:+7.1%}"
        )
    for name, band in record["costs"].items():
        print(f"  {name}: {{value: {band['value']:g}, low: {band['low']:g}, high: {band['high']:g}}}")
    out = args.out or Path(__file__).parent / "results" / RECORDS[args.board]
    out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
