"""Memory, triggers and energy of etch beside back-propagation with a one-bit stash.

    python benchmarks/own_rule.py [--out benchmarks/results/own_rule.json]

Bytes are of the plan, and on the Cortex-M4 of the build. Accuracies after every epoch, and the share of the samples
that triggered each block, are those of `insitu reproduce own-rule-energy` and `own-rule-energy-hinge`, as docs/results
has them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from boards import exported
from insitu.backends.c.firmware import on_board
from insitu.experiment import recipes
from insitu.experiment import to_accuracy as reached
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.impact import assess
from insitu.hardware.stability import claim
from insitu.hardware.target import find

WORDS = "edge-latent-free-8:error_exponent=static,headroom=1,activation_headroom=1"
STASH = "edge-latent-free-8:activation_headroom=2"
NETWORK = "mlp-784-500-500-10"
NETWORKS = (NETWORK, "lenet5", "resnet8")
TARGETS = ("stm32l4r5", "accelerator-22nm")
BOARDS = (("digits", "mlp-64-32-10", 2048), ("digits", "cnn-8-16", 64), ("mnist", "lenet5", 512, 256))
"""Data, network, and features of smaller heads, of which the last hidden block has none (shared)."""
RECIPES = ("own-rule-fashion-conv", "own-rule-cifar")
"""Of which the networks that etch trained are built: inference adds the scores of the heads that vote."""
STUDIES = Path(__file__).resolve().parents[1] / "docs" / "results"
STUDY, HINGE = (STUDIES / f"{name}.json" for name in ("own-rule-energy", "own-rule-energy-hinge"))
ETCH, BASE = "etch 8-bit", "bp-stash 8-bit"
ACCURACIES = (0.975, 0.98, 0.983)
VARIANTS = tuple(
    (net, f"8 bits, shared, heads of {n}", (("limit", n), ("shared", True)))
    for net in NETWORKS[1:]
    for n in (1024, 512, 256)
)
"""Network, what it is called, and options of etch."""


def epochs() -> list[dict[str, Any]]:
    """Share of the samples that triggered each block of etch in each epoch, mean over the seeds."""
    curves = next(row.curves for row in reached.load(STUDY).rows if row.label == ETCH)
    found = []
    for epoch, several in enumerate(zip(*(c.triggered or () for c in curves), strict=True), 1):
        shares = {name: round(fmean(s[name] for s in several), 4) for name in several[0]}
        found.append({"epochs": epoch, "triggered": shares})
    return found


def point(network: str, rule: str, target: str, triggers: tuple[float, ...] = ()) -> dict[str, Any]:
    """Bytes of training and inference, and energy of a sample and of inference, in uJ."""
    precision = WORDS if rule == "etch" else STASH
    found = assess(DesignPoint(network, rule, precision, target, activation="relu", triggers=triggers))
    energy, inference = found.energy, found.inference.energy
    return {
        "network": network, "rule": rule, "target": target, "triggers": list(triggers),
        "training": found.peak_bytes, "inference": found.inference.peak_bytes,
        "energy_uj": None if energy is None else energy.central / 1e6,
        "inference_uj": None if inference is None else inference.central / 1e6,
        "problem": found.problem,
    }  # fmt: skip


def to_accuracy() -> list[dict[str, Any]]:
    """Energy of whole runs up to an accuracy, and over that of BP with a one-bit stash: central, and the 5th and 95th
    percentile over the cost table's bands."""
    return [row for accuracy in ACCURACIES for target in TARGETS for row in _to(accuracy, target)]


def _to(accuracy: float, target: str) -> Iterator[dict[str, Any]]:
    found, uses = [], {}
    for study in map(reached.load, (STUDY, HINGE)):
        rows = {row.label: row for row in study.rows}
        for w in reached.to_accuracy(study, NETWORK, accuracy, [target]):
            asked = reached.point_of(rows[w.label], target, reached.options_of(study, rows[w.label]))
            impact = assess(replace(asked, triggers=tuple(w.triggers.items())))
            uses[w.label] = {use: n * (w.samples or 0) for use, n in impact.uses.items()}
            found.append(w)
    base = next(w.energy_pj for w in found if w.label == BASE)
    for w in found:
        energy, known = w.energy_pj, w.energy_pj is not None and base is not None
        spread = claim(w.label, BASE, uses, find(target)).ratio if known else None
        yield {
            "accuracy": accuracy, "target": target, "label": w.label, "samples": w.samples,
            "reached": list(w.reached), "triggers": dict(w.triggers),
            "energy_uj": energy.central / 1e6 if energy else None,
            "ratio": energy.central / base.central if energy and base else None,
            "ratio_band": [spread[0], spread[2]] if spread else None,
        }  # fmt: skip


def variants() -> list[dict[str, Any]]:
    """Bytes of training and inference by the plan."""
    rows = []
    for network, named, options in VARIANTS:
        found = assess(DesignPoint(network, "etch", WORDS, TARGETS[0], options=options, activation="relu"))
        kept = {"training": found.peak_bytes, "inference": found.inference.peak_bytes}
        rows.append({"network": network, "variant": named} | kept)
    return rows


def boards() -> list[dict[str, Any]]:
    """Training and inference built for the Cortex-M4, by the symbols of the program."""
    rows = []
    for data, network, *heads in BOARDS:
        cases = [("etch", WORDS, {}), ("bp-stash", STASH, {})]
        cases[1:1] = [("etch", WORDS, {"limit": n, "shared": True}) for n in heads]
        for rule, precision, options in cases:
            with tempfile.TemporaryDirectory() as place:
                made = exported(
                    place, data, network, rule, precision=precision, steps=2, rule_options=options
                )
                found = on_board(made, "m4")
            named = f"{rule}, shared, heads of {options['limit']}" if options else rule
            kept = {"memory": found.memory, "inference": found.inference_memory}
            rows.append({"network": network, "rule": named} | kept)
    for config in (recipes.find(name).config() for name in RECIPES):
        for spec in config.rules[:2]:
            with tempfile.TemporaryDirectory() as place:
                made = exported(
                    place,
                    config.data,
                    config.networks[0],
                    spec.rule,
                    precision=spec.precision or config.precision,
                    steps=1,
                    rule_options=spec.options,
                )
                found = on_board(made, "m4")
            kept = {"memory": found.memory, "inference": found.inference_memory}
            rows.append({"network": config.networks[0], "rule": f"{spec.name}, of the table above"} | kept)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    default = Path(__file__).parent / "results" / "own_rule.json"
    parser.add_argument("--out", type=Path, default=default)
    args = parser.parse_args()
    points = [point(n, r, t) for n in NETWORKS for r in ("etch", "bp-stash") for t in TARGETS]
    by_epoch = epochs()
    points += [point(NETWORK, "etch", t, tuple(e["triggered"].values())) for e in by_epoch for t in TARGETS]
    record = {
        "points": points, "variants": variants(), "boards": boards(), "epochs": by_epoch, "to_accuracy": to_accuracy(),
    }  # fmt: skip
    print(json.dumps(record, indent=1))
    args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
