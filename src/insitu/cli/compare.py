"""``insitu compare``, ``reproduce`` and ``report``: many runs, their table and page."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from insitu.cli.options import (
    Batch,
    DataDir,
    DataName,
    Epochs,
    Jobs,
    Json,
    Kind,
    MaxBytes,
    MaxEnergy,
    Out,
    PrecisionName,
    Quiet,
    Rate,
    Resume,
    Seeds,
    Sets,
    TargetName,
    Trust,
    console,
    emit,
    folder_for,
    path_text,
)
from insitu.cli.recipe import recipe_config, words

if TYPE_CHECKING:
    from rich.console import Console

    from insitu.experiment.config import CompareConfig, RunConfig
    from insitu.experiment.recipes import Recipe


DEFAULT, EVERY_RULE = "device", "digits"
"""The recipe of a comparison that names none, and that of every rule."""


def compare(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name or a .yaml file; flags override it.")
    ] = DEFAULT,
    data: DataName = None,
    network: Annotated[
        str | None, typer.Option("--network", help="One or more networks, comma-separated.")
    ] = None,
    rules: Annotated[
        str | None,
        typer.Option(
            "--rules", help="Rules, comma-separated; all: every rule, in float32 unless a recipe is given."
        ),
    ] = None,
    epochs: Epochs = None,
    seeds: Seeds = None,
    batch: Batch = None,
    lr: Rate = None,
    optimizer: Kind = None,
    precision: PrecisionName = None,
    target: TargetName = None,
    max_bytes: MaxBytes = None,
    max_energy_uj: MaxEnergy = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    trust: Trust = False,
    jobs: Jobs = 1,
    resume: Resume = False,
    out: Out = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Trains the same networks with several rules and seeds: table, results.json, pictures and report.html.

    Without a recipe: what learning costs over inference in the integers of a device, on embedded data.

    Example: insitu compare --data mnist --network mlp-784-1000-10 --rules bp,dfa,drtp --epochs 1 --seeds 3
    """
    from insitu.experiment.config import CompareConfig

    flags = {
        "data": data,
        "networks": words(network),
        "epochs": epochs,
        "seeds": seeds,
        "batch": batch,
        "optimizer__lr": lr,
        "optimizer__kind": optimizer,
        "precision": precision,
        "hardware": target,
        "max_bytes": max_bytes,
        "max_energy_uj": max_energy_uj,
        "data_dir": path_text(data_dir),
    }
    recipe, chosen = _of_all(recipe, words(rules))
    config = recipe_config(CompareConfig, recipe, chosen, flags, sets, trust=trust)
    if recipe == DEFAULT:
        config = _without_compiler(config, console(quiet=quiet))
    with folder_for(out, f"compare-{config.data}", resume=resume) as folder:
        _run(config, folder, resume=resume, jobs=jobs, console=console(quiet=quiet), as_json=as_json)


def _of_all(recipe: str, rules: list[str] | None) -> tuple[str, list[str] | None]:
    """The recipe and the rules that ``--rules all`` stands for."""
    if rules != ["all"]:
        return recipe, rules
    if recipe == DEFAULT:
        return EVERY_RULE, None
    from insitu.rules import RULES

    return recipe, list(RULES)


def _without_compiler(config: CompareConfig, console: Console) -> CompareConfig:
    """The comparison in a form that is quick enough without a C engine, if there is none."""
    from insitu.backends.protocol import find
    from insitu.experiment.config import TORCH

    if config.engine == TORCH or (reason := find(config.engine).missing()) is None:
        return config
    console.print(f"{reason}: one epoch of one seed by the slow reference instead", markup=False)
    return config.model_copy(update={"engine": TORCH, "epochs": 1, "seeds": 1})


def reproduce(
    name: Annotated[
        str,
        typer.Argument(help="A recipe of 'insitu list recipes', or what the names of several begin with."),
    ],
    short: Annotated[
        bool, typer.Option("--short", help="A few minutes instead of the full schedule.")
    ] = False,
    seeds: Seeds = None,
    epochs: Epochs = None,
    data_dir: DataDir = None,
    jobs: Jobs = 1,
    resume: Resume = False,
    out: Out = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Runs a recipe and sets our figures beside the published ones.

    Example: insitu reproduce drtp-mnist-fc --short
    """
    from insitu.experiment import recipes

    found = {one: recipes.find(one) for one in recipes.group(name) or (name,)}
    with folder_for(out, f"reproduce-{name}", resume=resume) as root:
        for one, recipe in found.items():
            folder = root / one if len(found) > 1 else root
            config = recipe.config(short=short, data_dir=path_text(data_dir), seeds=seeds, epochs=epochs)
            first = recipe.first_run(data_dir=path_text(data_dir))
            if first is not None:
                config = config.model_copy(update={"init_from": str(_pretrained(first, folder / "pretrain"))})
            results = _run(
                config, folder, resume=resume, jobs=jobs, console=console(quiet=quiet), as_json=as_json
            )
            table = _reproduction(folder, recipe, results)
            if not as_json:
                emit(table)


def _reproduction(folder: Path, recipe: Recipe, results: Any) -> str:
    """Writes the figures beside the published ones; their table."""
    from insitu.experiment import recipes
    from insitu.run.files import write_atomic

    table = recipes.reproduction_markdown(recipe, results)
    write_atomic(folder / "reproduction.md", table)
    write_atomic(folder / "reproduction.json", json.dumps(recipes.reproduction(recipe, results), indent=1))
    return table


def _pretrained(config: RunConfig, folder: Path) -> Path:
    """The folder of the run that a recipe starts from, trained unless it is there."""
    from insitu.experiment.train import train

    if not (folder / "parameters.npz").exists():
        train(config, folder, resume=(folder / "config.yaml").exists())
    return folder


def report(
    runs: Annotated[list[Path], typer.Argument(help="results.json files, or folders that hold one.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("report.html"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Makes the page of one or more comparisons.

    Example: insitu report runs/* -o page.html
    """
    from insitu.report.page import load_results, write_report

    page = write_report(load_results(runs), out)
    if as_json:
        emit(json.dumps({"report": str(page)}))
    elif not quiet:
        emit(f"report {page.resolve()}")


def _run(
    config: CompareConfig, out: Path, *, resume: bool, jobs: int, console: Console, as_json: bool
) -> Any:
    """Runs a comparison, writes its page and prints its table."""
    from insitu.experiment.compare import compare as run
    from insitu.report.measure import energy_cost
    from insitu.report.page import write_report
    from insitu.report.plots import save_overview

    command = "insitu " + " ".join(sys.argv[1:])
    results = run(config, out, resume=resume, jobs=jobs, command=command, on_event=_progress(console))
    page = write_report(results, out / "report.html")
    save_overview(results, out / "overview.png")
    if any(row.hardware and row.hardware.energy_pj for row in results.rows):
        save_overview(results, out / "energy.png", energy_cost)
    if as_json:
        emit(results.model_dump_json(indent=1))
    else:
        _print_table(results)
        emit(f"results {out / 'results.json'}\nreport  {page.resolve()}")
    return results


def _print_table(results: Any) -> None:
    from insitu.report.tables import print_comparison

    print_comparison(results, console(to_stderr=False))
    for item in results.rejected:
        emit(f"over budget, not trained: {item.rule} on {item.network}: {item.reason}")


def _progress(console: Console) -> Callable[[dict[str, Any]], None]:
    """Prints a line per run."""

    def note(event: dict[str, Any]) -> None:
        accuracy = event["test_accuracy"]
        score = f"{100 * accuracy:6.2f} %" if accuracy is not None else f"loss {event['test_loss']}"
        place = f"[{event['done']:>3}/{event['of']}]"
        console.print(
            f"{place} {event['network']:<20} {event['rule']:<18} seed {event['seed']}  {score}"
            f"  {event['seconds']:.1f} s",
            markup=False,
        )

    return note
