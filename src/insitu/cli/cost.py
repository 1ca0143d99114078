"""``insitu cost`` and ``insitu check``: what learning takes on hardware, and what a target would refuse. No torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from insitu.cli.options import (
    Activation,
    Classes,
    InputShape,
    Jobs,
    Json,
    Norm,
    Options,
    Out,
    OutFile,
    Pointed,
    Quiet,
    Trust,
    asked,
    console,
    deliver,
    emit,
    norm_of,
    options_of,
    shape,
)
from insitu.cli.trust import ask_of
from insitu.errors import ConfigError
from insitu.inputs import bounds

if TYPE_CHECKING:
    from insitu.experiment.design_point import DesignPoint, Shares
    from insitu.experiment.impact import Impact
    from insitu.hardware.stability import Claim

Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target", help="Targets of 'insitu list targets' or .yaml files, comma-separated or repeated."
    ),
]
Precisions = Annotated[
    list[str] | None,
    typer.Option(
        "--precision", help="A policy of 'insitu list precisions', or policy:field=value; may be repeated."
    ),
]
Rules = Annotated[str | None, typer.Option("--rule", help="Learning rules, comma-separated.")]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch", min=1, max=bounds.BATCH.value, help="Samples per step; default: 1, on-line learning."
    ),
]


def cost(
    network: Pointed,
    rule: Rules = None,
    precision: Precisions = None,
    target: Targets = None,
    batch: BatchSize = None,
    norm: Norm = None,
    option: Options = None,
    optimizer: Annotated[str | None, typer.Option(help="Default: sgd.")] = None,
    loss: Annotated[str | None, typer.Option(help="Default: xent.")] = None,
    activation: Activation = None,
    triggers: Annotated[
        str | None,
        typer.Option(
            "--triggers",
            help="Shares of the samples that trigger a rule such as etch, 0 to 1, comma-separated: one for all, "
            "one per trigger in the order of the layers, or by name (output=0.1). Default: 1, the worst case.",
        ),
    ] = None,
    input: InputShape = None,
    classes: Classes = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="The rows behind the figures, and their sources.")
    ] = False,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="All rules x precisions x targets, or those that are given.")
    ] = False,
    results: Annotated[
        Path | None, typer.Option("--results", help="results.json of a comparison: energy to an accuracy.")
    ] = None,
    accuracy: Annotated[
        float | None,
        typer.Option("--accuracy", min=0, max=1, help="With --results: the accuracy to reach, a fraction."),
    ] = None,
    jobs: Jobs = 1,
    trust: Trust = False,
    out: Out = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """What a training step costs on a target: memory, operations, traffic, energy, time, area, lifetime.

    One rule, precision and target: the bill. Several: a line each, and whether their ranking survives the uncertainty
    of the cost table. --out writes bill.json and memory.png, or sweep.csv and sweep.png.

    Example: insitu cost mlp-784-1000-10 --rule drtp --precision edge-latent-free-8 --target stm32l4r5
    """
    from insitu.experiment.design_program import ask_names, with_triggers

    given = {"batch": batch, "norm": norm_of(norm), "optimizer": optimizer, "loss": loss}
    given |= {"activation": activation, "input_shape": shape(input), "classes": classes}
    points = _points(asked(network, given, trust=trust), rule, precision, target, option, sweep=sweep)
    if results is not None and triggers is not None:
        raise ConfigError("--results takes the shares that its runs have counted; leave out --triggers")
    if results is not None:
        where = sorted({p.target for p in points})
        _to_accuracy(results, accuracy, where, points[0].network, out, as_json, quiet)
        return
    ask_names(points)
    if triggers is not None:
        points = with_triggers(points, _shares(triggers))
    if len(points) == 1 and not sweep:
        _one(points[0], explain, out, as_json, quiet)
    else:
        _many(points, jobs, out, as_json, quiet, claims=not sweep)


def _points(
    base: DesignPoint, rule: str | None, precision: list[str] | None, target: list[str] | None,
    option: list[str] | None, *, sweep: bool,
) -> list[DesignPoint]:  # fmt: skip
    from insitu.cli.recipe import words
    from insitu.hardware.target import names
    from insitu.passes.precision import NAMED
    from insitu.rules import RULES

    targets = _split(target) or (list(names()) if sweep else [base.target])
    precisions = _split(precision) or (["float32", *NAMED] if sweep else [base.precision])
    rules = words(rule) or (list(RULES) if sweep else [base.rule])
    options = options_of(option)
    return [
        replace(
            base, rule=r, precision=p, target=t, options=options or (base.options if r == base.rule else ())
        )
        for r, p, t in product(rules, precisions, targets)
    ]


def _split(given: list[str] | None) -> list[str]:
    """Repeated and comma-separated values; a policy with fields of its own is one value."""
    found: list[str] = []
    for text in given or ():
        found += [text] if ":" in text else [word.strip() for word in text.split(",")]
    return found


def _shares(text: str) -> Shares:
    from insitu.inputs.values import pairs, read

    if "=" in text:
        named = pairs(text, "--triggers")
        return tuple((name, read(value, float, f"--triggers {name}")) for name, value in named.items())
    return tuple(read(word, float, "--triggers") for word in text.split(","))


def _one(point: DesignPoint, explain: bool, out: Path | None, as_json: bool, quiet: bool) -> None:
    from insitu.experiment.impact import assess, references
    from insitu.experiment.impact_table import plain
    from insitu.report.bill import explain_text, summary_text

    found = assess(point)
    others = references(point)
    if as_json:
        emit(json.dumps(plain(found, others), indent=1))
    else:
        emit(summary_text(found, others))
        if explain:
            emit("\n" + explain_text(found.bill))
    if out is not None:
        _write_one(found, others, out, quiet)


def _write_one(found: Impact, others: dict[str, Impact], out: Path, quiet: bool) -> None:
    from insitu.experiment.impact_table import plain
    from insitu.report.impact import save_memory_views
    from insitu.run.files import make_folder, write_atomic

    make_folder(out)
    write_atomic(out / "bill.json", json.dumps(plain(found, others), indent=1) + "\n")
    beside = next((others[name] for name in others if name != found.point.name), None)
    save_memory_views([found, *([beside] if beside is not None else [])], out / "memory.png")
    console(quiet=quiet).print(f"written to {out / 'bill.json'} and memory.png", markup=False, soft_wrap=True)


def _many(
    points: Sequence[DesignPoint], jobs: int, out: Path | None, as_json: bool, quiet: bool, *, claims: bool
) -> None:
    from insitu.experiment.impact_table import sweep
    from insitu.report.bill import points_text
    from insitu.report.impact import save_sweep, sweep_csv
    from insitu.run.files import make_folder, write_atomic

    rows = sweep(points, jobs)
    found = _claims(points) if claims else []
    if as_json:
        emit(json.dumps({"points": rows, "claims": [c.plain() for c in found]}, indent=1))
    elif out is None or claims:
        emit(points_text(rows, found))
    if out is not None:
        make_folder(out)
        write_atomic(out / "sweep.csv", sweep_csv(rows))
        save_sweep(rows, out / "sweep.png")
        refused = sum(row["refused"] is not None for row in rows)
        note = f"{len(rows)} points, {refused} refused: {out / 'sweep.csv'}, sweep.png"
        console(quiet=quiet).print(note, markup=False, soft_wrap=True)


def _claims(points: Sequence[DesignPoint]) -> list[Claim]:
    """How stable the ranking by energy is, within each target."""
    from insitu.errors import InsituError
    from insitu.experiment.impact import assess
    from insitu.hardware.stability import ranking
    from insitu.hardware.target import find

    uses: dict[str, dict[str, dict[tuple[str, ...], float]]] = {}
    for point in points:
        try:
            uses.setdefault(point.target, {})[f"{point.name} {point.precision}"] = assess(point).uses
        except InsituError:
            continue
    return [claim for target, mine in uses.items() for claim in ranking(mine, find(target))]


def _to_accuracy(
    path: Path,
    accuracy: float | None,
    targets: list[str],
    network: str,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    from insitu.experiment.to_accuracy import load, to_accuracy
    from insitu.report.bill import to_accuracy_text
    from insitu.run.files import make_folder, write_atomic

    if accuracy is None:
        raise ConfigError(
            "--results needs --accuracy, the fraction of test samples to get right, such as 0.95"
        )
    found = to_accuracy(load(path), network, accuracy, targets)
    text = json.dumps([row.plain() for row in found], indent=1)
    emit(text if as_json else to_accuracy_text(found, accuracy))
    if out is not None:
        make_folder(out)
        write_atomic(out / "to_accuracy.json", text + "\n")
        console(quiet=quiet).print(f"written to {out / 'to_accuracy.json'}", markup=False, soft_wrap=True)


def check(
    what: Pointed,
    rule: Rules = None,
    precision: Precisions = None,
    target: Targets = None,
    backend: Annotated[str | None, typer.Option(help="What is to be generated: 'c' or 'integer'.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, max=bounds.BATCH.value)] = None,
    input: InputShape = None,
    classes: Classes = None,
    trust: Trust = False,
    out: OutFile = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Before training: what a target or a backend would refuse, with layer and remedy; then the exit code is 1.

    Example: insitu check mlp-784-1000-10 --rule bp --precision w8a8 --target stm32l4r5 --backend c
    """
    from insitu.cli.recipe import words
    from insitu.experiment.check import check as run

    ask_of(Path(what), trust)
    found = run(what, words(rule), _split(precision), _split(target), backend, batch, shape(input), classes)
    text = (
        json.dumps([item.plain() for item in found.items], indent=1) if as_json else found.text(quiet=quiet)
    )
    if text or out is not None:
        deliver(text, out=out, quiet=quiet)
    if not found.clean:
        raise typer.Exit(1)
