"""``insitu search``: what to train under a budget, with a picture and the command of each point on the front."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from insitu.cli.options import (
    Batch,
    DataDir,
    DataName,
    EngineName,
    Epochs,
    Json,
    MaxBytes,
    MaxEnergy,
    Out,
    PrecisionName,
    Quiet,
    Resume,
    Seed,
    Sets,
    TargetName,
    Trust,
    console,
    emit,
    folder_for,
    path_text,
)
from insitu.cli.recipe import from_file, words
from insitu.cli.trust import ask, names_network

if TYPE_CHECKING:
    from rich.console import Console


def search(
    config: Annotated[
        Path | None, typer.Argument(help="A search.yaml, for example a folder's; flags override it.")
    ] = None,
    data: DataName = None,
    network: Annotated[str | None, typer.Option("--network", help="One network.")] = None,
    target: TargetName = None,
    max_bytes: MaxBytes = None,
    max_energy_uj: MaxEnergy = None,
    rules: Annotated[
        str | None, typer.Option("--rules", help="Rules to choose from, comma-separated.")
    ] = None,
    weight_bits: Annotated[
        str | None, typer.Option("--weight-bits", help="Bits of hidden words: out of t, 2 to 8 and 16.")
    ] = None,
    residual_bits: Annotated[
        str | None, typer.Option("--residual-bits", help="Bits kept beside each word; 0: none.")
    ] = None,
    precision: PrecisionName = None,
    trials: Annotated[int | None, typer.Option("--trials", help="Candidates with a rate that train.")] = None,
    epochs: Epochs = None,
    batch: Batch = None,
    seed: Seed = None,
    engine: EngineName = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    trust: Trust = False,
    resume: Resume = False,
    out: Out = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Chooses rule, heads, words and learning rate under a budget: picture, front and its commands.

    What its plan puts over the budget does not train. Choices are made on a part of the training data; the test data
    are left to the commands that are printed.

    Example: insitu search --data digits --network cnn-8-16 --target stm32l4r5 --max-bytes 8000 --engine c
    """
    from insitu.experiment.search import search as run
    from insitu.experiment.search_space import SearchConfig
    from insitu.report.search import print_search, save_search

    flags = {
        "data": data,
        "network": network,
        "hardware": target,
        "max_bytes": max_bytes,
        "max_energy_uj": max_energy_uj,
        "rules": words(rules),
        "weight_bits": words(weight_bits),
        "residual_bits": words(residual_bits),
        "precision": precision,
        "trials": trials,
        "epochs": epochs,
        "batch": batch,
        "seed": seed,
        "engine": engine,
        "data_dir": path_text(data_dir),
    }
    stored = out / "search.yaml" if resume and out and (out / "search.yaml").exists() else None
    checked = from_file(SearchConfig, config or stored, flags, sets, trust=trust)
    named = config is None or network is not None or names_network(sets)
    ask([checked.network], f"configuration {config}", named=named, trust=trust)
    with folder_for(out, f"search-{checked.data}", resume=resume) as folder:
        command = "insitu " + " ".join(sys.argv[1:])
        progress = _progress(console(quiet=quiet))
        results = run(checked, folder, resume=resume, command=command, on_event=progress)
        picture = save_search(results, folder / "pareto.png")
        if as_json:
            emit(results.model_dump_json(indent=1))
        else:
            print_search(results, console(to_stderr=False))
            emit(f"results  {folder / 'results.json'}\npicture  {picture}")


def _progress(console: Console) -> Callable[[dict[str, Any]], None]:
    """Prints what the plan left, and a line per trial."""

    def note(event: dict[str, Any]) -> None:
        if event["kind"] == "planned":
            console.print(_planned(event["candidates"], event["refused"]), markup=False, soft_wrap=True)
            return
        end = f"  stopped after {len(event['score'])} epochs" if event["stopped"] else ""
        console.print(
            f"[{event['done']:>3}/{event['of']}] {event['name']:<34} {event['peak_bytes']:>9,} bytes  "
            f"rate {event['lr']:<10.4g} {_score(event['score'][-1])}{end}",
            markup=False,
            soft_wrap=True,
        )

    return note


def _planned(candidates: int, refused: dict[str, str]) -> str:
    shown = f"{candidates} candidates are within the budget"
    if not refused:
        return shown
    name, reason = next(iter(refused.items()))
    return f"{shown}, {len(refused)} are not: {name} {reason}; results.json has all"


def _score(value: float | None) -> str:
    """A share of right answers in per cent; of targets that are no classes the negative loss is the loss again."""
    if value is None:
        return "diverged"
    return f"{100 * value:6.2f} %" if value >= 0 else f"loss {-value:.4g}"
