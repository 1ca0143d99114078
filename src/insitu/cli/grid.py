"""``insitu grid``: every rule at every precision, with a table and a heat map."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from insitu.cli.options import (
    Batch,
    DataDir,
    DataName,
    Epochs,
    Jobs,
    Json,
    Out,
    Quiet,
    Rate,
    Resume,
    Seeds,
    Sets,
    Trust,
    console,
    emit,
    folder_for,
    path_text,
)
from insitu.cli.recipe import recipe_config, words

if TYPE_CHECKING:
    from rich.console import Console


def grid(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A recipe's name or a grid.yaml; flags override it. Without one: digits, or the grid resumed.",
            show_default=False,
        ),
    ] = None,
    data: DataName = None,
    network: Annotated[str | None, typer.Option("--network", help="One network.")] = None,
    rules: Annotated[str | None, typer.Option("--rules", help="Rules, comma-separated.")] = None,
    weight_bits: Annotated[
        str | None,
        typer.Option(
            "--weight-bits", help="Out of 1 to 8, t (ternary), 16, 4+4 (read + hidden bits) and 32."
        ),
    ] = None,
    regimes: Annotated[str | None, typer.Option("--regimes", help="Out of latent and latent-free.")] = None,
    act_bits: Annotated[str | None, typer.Option("--act-bits", help="Out of 1 to 8.")] = None,
    epochs: Epochs = None,
    seeds: Seeds = None,
    batch: Batch = None,
    lr: Rate = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    trust: Trust = False,
    jobs: Jobs = 1,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", help="A dask scheduler, whose workers do the runs: tcp://host:8786."),
    ] = None,
    resume: Resume = False,
    out: Out = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Trains a network with every rule at every precision: table, heat map and results.json.

    Example: insitu grid --network mlp-64-64-10 --rules dfa,pred --weight-bits 1,t,2,4,8,32 --jobs 2 --out runs/g
    """
    from insitu.experiment.grid import GridConfig
    from insitu.experiment.grid import grid as run
    from insitu.report.heat import grid_markdown, print_grid, save_heat
    from insitu.run.files import write_atomic

    flags = {
        "data": data,
        "network": network,
        "weight_bits": words(weight_bits),
        "regimes": words(regimes),
        "act_bits": words(act_bits),
        "epochs": epochs,
        "seeds": seeds,
        "batch": batch,
        "optimizer__lr": lr,
        "data_dir": path_text(data_dir),
    }
    stored = out / "grid.yaml" if resume and out and (out / "grid.yaml").exists() else "digits"
    config = recipe_config(
        GridConfig, recipe or str(stored), words(rules), flags, sets, _of_comparison, trust=trust
    )
    with folder_for(out, f"grid-{config.data}", resume=resume) as folder:
        results = run(
            config,
            folder,
            resume=resume,
            jobs=jobs,
            cluster=cluster,
            command="insitu " + " ".join(sys.argv[1:]),
            on_event=_progress(console(quiet=quiet)),
        )
        write_atomic(folder / "grid.md", grid_markdown(results))
        heat = save_heat(results, folder / "heat.png")
        if as_json:
            emit(results.model_dump_json(indent=1))
        else:
            print_grid(results, console(to_stderr=False))
            emit(f"results  {folder / 'results.json'}\nheat map {heat}")


def _of_comparison(compare: dict[str, Any]) -> dict[str, Any]:
    """The grid of a recipe: its first network, its rules with their options and rates, its training."""
    others = ("networks", "precision", "hardware", "max_bytes", "max_energy_uj")
    kept = {key: value for key, value in compare.items() if key not in others}
    return kept | {"network": compare["networks"][0]}


def _progress(console: Console) -> Callable[[dict[str, Any]], None]:
    """Prints a line per run, and per refused cell."""

    def note(event: dict[str, Any]) -> None:
        place = f"{event['rule']:<18} {event['precision']:<12}"
        if event["kind"] == "refused":
            console.print(f"refused   {place} {event['reason']}", markup=False, soft_wrap=True)
            return
        accuracy = event["test_accuracy"]
        score = f"{100 * accuracy:6.2f} %" if accuracy is not None else f"loss {event['test_loss']}"
        end = "  diverged" if event["diverged"] else ""
        console.print(
            f"[{event['done']:>3}/{event['of']}] {place} seed {event['seed']}  {score}"
            f"  {event['seconds']:.1f} s{end}",
            markup=False,
        )

    return note
