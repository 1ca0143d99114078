"""The figures of docs/critical-analysis.md: what the rules save, against which baseline, where, and where not.

    python benchmarks/critical_analysis.py [--out benchmarks/results/critical_analysis.json] [--jobs 2]
    python scripts/render_docs.py

Costs the rules of the seven papers on four networks and four targets at several precisions and batches, tests each
energy claim over the bands of the cost tables, and takes the energy to an accuracy from the stored comparison
docs/results/critical-analysis.json (`insitu reproduce critical-analysis`). Draws docs/figures/critical-analysis.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from insitu.errors import InsituError
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.impact import BASELINES, Impact, assess
from insitu.experiment.impact_table import summary_of
from insitu.experiment.record import Results
from insitu.experiment.to_accuracy import to_accuracy
from insitu.experiment.workers import completed, workers
from insitu.hardware.stability import claim
from insitu.hardware.target import find

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "docs" / "results" / "critical-analysis.json"
FIGURE = ROOT / "docs" / "figures" / "critical-analysis.png"

NETWORKS = ("mlp-784-256-128-10", "lenet5", "ds-cnn", "resnet8")
TARGETS = ("stm32l4r5", "gap9", "accelerator-22nm", "accelerator-22nm-rram")
PAPERS = ("fa", "dfa", "drtp", "hsic", "pred", "predsim", "greedy", "dgl", "dbl")
REGENERATED = (("feedback", "regenerated"),)
Spec = tuple[str, tuple[tuple[str, str], ...]]
SPECS: tuple[Spec, ...] = (
    *((rule, ()) for rule in (*BASELINES, *PAPERS, "mono-forward", "shallow")),
    ("dfa", REGENERATED),
    ("drtp", REGENERATED),
)
"""Baselines, the papers' rules, a newer forward-only rule, the read-out, and feedback that is made, not stored."""

SETTINGS = (
    ("float32", 1),
    ("float32", 32),
    ("w8a8", 1),
    ("edge-latent-free-8", 1),
    ("edge-latent-free-8", 32),
    ("edge-latent-free-4", 1),
    ("edge-latent-free-2", 1),
)
ACCURACIES = {"mlp-784-256-128-10": 0.82, "cnn-8-16": 0.82}
"""To be reached on Fashion-MNIST."""

HEADLINE = ("edge-latent-free-8", 1)
"""The setting of an edge device that learns on-line; claims are tested there."""

Row = dict[str, Any]


def point(network: str, spec: Spec, precision: str, batch: int, target: str) -> DesignPoint:
    rule, options = spec
    return DesignPoint(network, rule, precision, target, batch, options=options, activation="relu")


def points() -> list[DesignPoint]:
    """Everything that is costed; the targets of a program together."""
    every = product(NETWORKS, SETTINGS, SPECS, TARGETS)
    return [point(network, spec, *setting, target) for network, setting, spec, target in every]


KEPT = (
    "peak_bytes",
    "bytes_to_inference",
    "macs_to_inference",
    "energy_pj",
    "energy_to_inference",
    "store_bits",
)


def costed(group: list[DesignPoint]) -> list[Row]:
    """Rows of points that share a program, with the energy by phase and the claims against the baselines."""
    return [one(p) for p in group]


def one(p: DesignPoint) -> Row:
    place = {"precision": p.precision, "batch": p.batch, "target": p.target}
    named = {"network": p.network, "rule": p.name, **place}
    try:
        found = assess(p)
    except InsituError as error:
        return {**named, "refused": str(error), "peak_bytes": None}
    row = summary_of(found)
    kept = {**named, **{key: rounded(row[key]) for key in KEPT}}
    if (p.precision, p.batch) == HEADLINE:
        kept["phases"] = phases(found)
        kept["claims"] = dict(claims(found)) if p.rule not in BASELINES else {}
    return kept


def rounded(value: float | None) -> float | None:
    """Six digits; bytes are whole."""
    return value if value is None or isinstance(value, int) else float(f"{value:.6g}")


def phases(found: Impact) -> dict[str, float | None]:
    """Central energy by phase, pJ per sample; of a rule with phases in time the mean."""
    total: dict[str, float | None] = {}
    for bill in found.bills:
        for name, band in bill.energy_by(lambda row: row.phase).items():
            so_far = total.get(name, 0.0)
            known = band is not None and so_far is not None
            total[name] = so_far + band.central / len(found.bills) if known else None
    return {name: rounded(value) for name, value in total.items()}


def claims(found: Impact) -> Iterator[tuple[str, float | None]]:
    """Share of the draws in which the rule takes less energy than each baseline."""
    for rule in BASELINES:
        try:
            other = assess(replace(found.point, rule=rule, options=()))
        except InsituError:
            continue
        uses = {"rule": found.uses, "baseline": other.uses}
        yield rule, claim("rule", "baseline", uses, find(found.point.target)).share


def whole() -> list[Row]:
    """Energy to the accuracies, from the stored comparison; nothing where it has not been run."""
    if not STORED.exists():
        return []
    results = Results.model_validate_json(STORED.read_text(encoding="utf-8"))
    return [
        {"network": network, "accuracy": accuracy, **found.plain()}
        for network, accuracy in ACCURACIES.items()
        for found in to_accuracy(results, network, accuracy, TARGETS)
    ]


def measure(jobs: int) -> dict[str, Any]:
    every = points()
    size = len(TARGETS)
    groups = [every[i : i + size] for i in range(0, len(every), size)]
    rows: dict[int, list[Row]] = {}
    with workers(jobs) as pool:
        for k, found in completed(pool, costed, groups, torch=False):
            rows[k] = found
    flat = [row for k in range(len(groups)) for row in rows[k]]
    return {"command": "python benchmarks/critical_analysis.py", "rows": flat, "to_accuracy": whole()}


def draw(found: dict[str, Any], path: Path) -> None:
    """Energy against memory, both over inference, in the headline setting: a field per network, a target a colour."""
    from matplotlib import rc_context

    from insitu.report.palette import RULE_COLOURS
    from insitu.report.plots import STYLE, figure_of, write_figure

    rows = [
        r for r in found["rows"] if (r["precision"], r["batch"]) == HEADLINE and r["peak_bytes"] is not None
    ]
    with rc_context(STYLE):
        figure, axes = figure_of(2, rows=2)
        for ax, network in zip(axes, NETWORKS):
            for i, target in enumerate(TARGETS):
                mine = [r for r in rows if (r["network"], r["target"]) == (network, target)]
                at = [(r["bytes_to_inference"], r["energy_to_inference"]) for r in mine]
                ax.plot(*zip(*at), "osD^"[i], color=RULE_COLOURS[i][0], label=target, markersize=5)
                if i == 0:
                    named = list(zip(at, mine))
            ax.set(xscale="log", yscale="log", title=network)
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter("{x:g}")
            ax.tick_params(axis="both", which="minor", labelsize=7)
            label(ax, [(at, r["rule"].replace("[feedback=regenerated]", " r.")) for at, r in named])
            ax.set(xlabel="training bytes / inference bytes", ylabel="training energy / inference energy")
        axes[0].legend(frameon=False, fontsize=8)
        write_figure(figure, path)


def label(ax: Any, dots: list[tuple[tuple[float, float], str]]) -> None:
    """Names beside dots, as far as they do not cover each other."""
    taken: list[tuple[float, float]] = []
    for at, name in dots:
        x, y = ax.transAxes.inverted().transform(ax.transData.transform(at))
        if all(abs(x - a) > 0.13 or abs(y - b) > 0.035 for a, b in taken):
            taken.append((x, y))
            ax.annotate(name, at, xytext=(4, 3), textcoords="offset points", fontsize=7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "results" / "critical_analysis.json"
    )
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    found = measure(args.jobs)
    dumps = partial(json.dumps, separators=(",", ":"))
    lines = {part: ",\n".join(map(dumps, found[part])) for part in ("rows", "to_accuracy")}
    body = ",\n".join(f'"{part}": [\n{text}\n]' for part, text in lines.items())
    args.out.write_text(f'{{"command": "{found["command"]}",\n{body}}}\n', encoding="utf-8")
    draw(found, FIGURE)
    refused = sum(r["peak_bytes"] is None for r in found["rows"])
    print(f"{len(found['rows'])} points, {refused} refused; {args.out}, {FIGURE}")


if __name__ == "__main__":
    main()
