"""Memory, triggers and energy of etch beside back-propagation with a one-bit stash.

    python benchmarks/own_rule.py [--out benchmarks/results/own_rule.json]

Bytes are of the plan, and on the Cortex-M4 of the build. Triggers: etch learns MNIST in C (folder INSITU_DATA), and the
integer reference counts on samples that it has not seen. Energy per sample: the forward pass in full, what learns times
the share of the samples that trigger its block.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from boards import exported
from insitu.backends.c.host import Engine
from insitu.experiment.config import RunConfig
from insitu.experiment.export import on_board
from insitu.experiment.impact import Point, assess
from insitu.experiment.program import Feed, as_integers, c_program, unpacked
from insitu.experiment.setup import Setup
from insitu.run.integer import Clock, run

WORDS = "edge-latent-free-8:error_exponent=static,headroom=1"
STASH = "edge-latent-free-8"
NETWORK = "mlp-784-500-500-10"
NETWORKS = (NETWORK, "lenet5", "resnet8")
TARGETS = ("stm32l4r5", "accelerator-22nm")
BOARDS = (("digits", "mlp-64-32-10"), ("digits", "cnn-8-16", 64), ("mnist", "lenet5", 256))
"""Data, network, and features of smaller heads."""
EPOCHS, COUNTED = (1, 3, 6), 500
VARIANTS = tuple((net, f"8 bits, heads of {n}", (("limit", n),)) for net in NETWORKS[1:] for n in (256, 64))
"""Network, what it is called, and options of etch."""


def triggers() -> list[dict[str, Any]]:
    """Share of unseen samples that trigger each block, after some epochs, and test accuracy."""
    config = RunConfig(
        data="mnist", network=NETWORK, rule="etch", precision=WORDS, batch=1, engine="c", epochs=max(EPOCHS),
        network_options={"activation": "relu"}, optimizer={"lr": 0.01}, schedule={"kind": "cosine", "final": 0.05},
    )  # fmt: skip
    setup = Setup.of(config)
    program = c_program(setup, 1)
    engine, step = Engine(program), program.steps[0]
    errors = tuple(op.outputs[0] for op in step.ops if op.kind == "violated")
    watched = replace(step, outputs=(*step.outputs, *errors))
    data, test = setup.data.train, setup.data.test
    given = {v.name: v for v in step.inputs}
    shape = setup.net.input_shape
    x = Feed(given["x"], data.x.reshape(-1, *shape))
    y = Feed(given["label"], data.y)
    rng, count, rows = np.random.default_rng(1), len(data.x), []
    for epoch in range(1, max(EPOCHS) + 1):
        for part in np.array_split(rng.permutation(count), 20):
            t = (epoch - 1) * count
            engine.set_clock(config.optimizer.lr * config.schedule.factor(t / (count * max(EPOCHS))), t)
            index = part.reshape(-1, 1)
            engine.learn(x.batches(index), y.batches(index))
        if epoch not in EPOCHS:
            continue
        state = {
            name: unpacked(program.residents[name], engine.state[place.offset :])
            for name, place in program.places.items()
        }
        fired = np.zeros(len(errors))
        for i in range(COUNTED):
            copy = {name: np.array(a) for name, a in state.items()}
            sample = as_integers(given["x"], test.x[i].reshape(1, *shape))
            found = run(watched, copy, sample, test.y[i : i + 1].astype(np.int64), Clock(0.01, 1, 0))
            fired += [bool((e != 0).any()) for e in found]
        rows.append({"epochs": epoch, "triggered": (fired / COUNTED).round(4).tolist()})
    return rows


def point(network: str, rule: str, target: str) -> dict[str, Any]:
    """Bytes of training and inference, and energy of the forward pass and of learning by block, in uJ."""
    found = assess(Point(network, rule, WORDS if rule == "etch" else STASH, target, activation="relu"))
    bill = found.bills[0]
    forward = [r for r in bill.rows if r.phase in ("forward", "rounding") and "matmul_dx" not in r.op]
    learning = [r for r in bill.rows if r not in forward]
    blocks: dict[str, list[Any]] = {}
    for row in learning:
        digits = re.findall(r"\d+", row.layer or "")
        blocks.setdefault(digits[0] if digits else "last", []).append(row)

    def energy(rows: list[Any]) -> float | None:
        band = bill.energy_of(rows)
        return None if band is None else band.central / 1e6

    return {
        "network": network, "rule": rule, "target": target, "training": found.peak_bytes,
        "inference": found.inference.peak_bytes, "forward_uj": energy(forward),
        "learning_uj": {k: energy(v) for k, v in blocks.items()},
    }  # fmt: skip


def variants() -> list[dict[str, Any]]:
    """Bytes of training and inference by the plan."""
    rows = []
    for network, named, options in VARIANTS:
        found = assess(Point(network, "etch", WORDS, TARGETS[0], options=options, activation="relu"))
        kept = {"training": found.peak_bytes, "inference": found.inference.peak_bytes}
        rows.append({"network": network, "variant": named} | kept)
    return rows


def boards() -> list[dict[str, Any]]:
    """Training and inference built for the Cortex-M4, by the symbols of the program."""
    rows = []
    for data, network, *heads in BOARDS:
        cases = [("etch", WORDS, {}), ("bp-stash", STASH, {})]
        cases[1:1] = [("etch", WORDS, {"limit": n}) for n in heads]
        for rule, precision, options in cases:
            with tempfile.TemporaryDirectory() as place:
                made = exported(
                    place, data, network, rule, precision=precision, steps=2, rule_options=options
                )
                found = on_board(made, "m4")
            named = f"{rule}, heads of {options['limit']}" if options else rule
            kept = {"memory": found.memory, "inference": found.inference_memory}
            rows.append({"network": network, "rule": named} | kept)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    default = Path(__file__).parent / "results" / "own_rule.json"
    parser.add_argument("--out", type=Path, default=default)
    args = parser.parse_args()
    points = [point(n, r, t) for n in NETWORKS for r in ("etch", "bp-stash") for t in TARGETS]
    record = {"points": points, "variants": variants(), "boards": boards(), "triggers": triggers()}
    print(json.dumps(record, indent=1))
    args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
