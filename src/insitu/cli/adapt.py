"""``insitu adapt``: a pretrained network meets a stream of another domain."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from insitu.cli.options import (
    DataDir,
    DataName,
    EngineName,
    Jobs,
    Json,
    Out,
    PrecisionName,
    Quiet,
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
from insitu.cli.recipe import of_runs, words
from insitu.cli.trust import ask, names_network

if TYPE_CHECKING:
    from rich.console import Console

    from insitu.experiment.adapt.config import AdaptConfig


def adapt(
    scenario: Annotated[
        str,
        typer.Argument(
            help="rotated, corrupted, new-class, new-writer, new-wearer or new-speaker; or a .yaml file."
        ),
    ] = "rotated",
    regime: Annotated[
        str | None,
        typer.Option(
            "--regime",
            help="single: one change; drift: it grows along the stream; continual: several domains in turn.",
        ),
    ] = None,
    rules: Annotated[
        str | None,
        typer.Option(
            "--rules",
            help="Rules, comma-separated; baselines: frozen, last-layer, biases. Default: seven rows.",
        ),
    ] = None,
    data: DataName = None,
    network: Annotated[
        str | None, typer.Option("--network", help="Default: the scenario's own; or a run folder.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--start", help="A run folder, .pt or .npz in place of pretraining on the old domain."),
    ] = None,
    replay: Annotated[
        int | None,
        typer.Option(
            "--replay",
            min=0,
            help="Samples of a replay buffer (reservoir); one of them is learned behind each of the stream.",
        ),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(
            "--every", min=1, help="Samples between evaluations; default: a twentieth of the stream."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Samples of the stream at most.")
    ] = None,
    choose: Annotated[
        str | None,
        typer.Option(
            "--choose", help="Held-back samples that choose a rate: of both domains, or of the new."
        ),
    ] = None,
    seeds: Seeds = None,
    precision: PrecisionName = None,
    engine: EngineName = None,
    target: TargetName = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    trust: Trust = False,
    jobs: Jobs = 1,
    resume: Resume = False,
    out: Out = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """A pretrained network learns on from a stream of another domain, sample by sample, in the integers of a device:
    accuracy on the new domain and on the old one, bytes, writes and energy. Table, results.json and report.html.

    Every rule has as many learning rates to choose from, on samples that are held back; test samples choose nothing.

    Example: insitu adapt corrupted --regime continual --rules frozen,biases,bp,etch --replay 50 --seeds 3
    """
    flags = {
        "regime": regime,
        "data": data,
        "network": network,
        "start": start,
        "replay": replay,
        "every": every,
        "limit": limit,
        "choose": choose,
        "seeds": seeds,
        "precision": precision,
        "engine": engine,
        "hardware": target,
        "data_dir": path_text(data_dir),
    }
    config = _config(scenario, words(rules), flags, sets, trust=trust)
    with folder_for(out, f"adapt-{config.scenario}", resume=resume) as folder:
        _run(config, folder, resume=resume, jobs=jobs, console=console(quiet=quiet), as_json=as_json)


def _config(
    scenario: str, rules: list[str] | None, flags: dict[str, Any], sets: list[str] | None, *, trust: bool
) -> AdaptConfig:
    """The checked configuration; a rule that the defaults (or the file) have keeps their options."""
    from insitu.experiment.adapt.config import AdaptConfig
    from insitu.experiment.config import load, parse
    from insitu.experiment.overrides import apply_flags, apply_sets

    path = Path(scenario)
    is_file = path.suffix in (".yaml", ".yml")
    base = load(AdaptConfig, path) if is_file else AdaptConfig()
    given = {} if is_file else {"scenario": scenario}
    if rules:
        known = {spec.name: spec.model_dump(mode="json", exclude_unset=True) for spec in base.rules}
        given["rules"] = [known.get(name, {"rule": name}) for name in rules]
    raw = base.model_dump(mode="json", exclude_unset=True) | given
    flags = of_runs(flags, trust=trust) if flags.get("network") else flags
    config = parse(AdaptConfig, apply_sets(apply_flags(raw, **flags), sets or []), f"scenario {scenario}")
    named = flags.get("network") or names_network(sets)
    ask([config.network or ""], f"scenario {scenario}", named=bool(named), trust=trust)
    return config


def _run(config: AdaptConfig, out: Path, *, resume: bool, jobs: int, console: Console, as_json: bool) -> None:
    """Runs it, writes its page and prints its table."""
    from insitu.cli.options import console as made
    from insitu.experiment.adapt.adapt import adapt as run
    from insitu.report.adapt import print_adaptation, write_page

    command = "insitu " + " ".join(sys.argv[1:])
    results = run(config, out, resume=resume, jobs=jobs, command=command, on_event=_progress(console))
    page = write_page(results, out / "report.html")
    if as_json:
        emit(results.model_dump_json(indent=1))
        return
    print_adaptation(results, made(to_stderr=False))
    emit(f"results {out / 'results.json'}\nreport  {page.resolve()}")


def _progress(console: Console) -> Callable[[dict[str, Any]], None]:
    """Prints a line per rule."""

    def note(event: dict[str, Any]) -> None:
        row, place = event["row"], f"[{event['done']:>2}/{event['of']}]"
        console.print(
            f"{place} {row.label:<12} new {100 * row.new.mean:5.1f} %  old {100 * row.old.mean:5.1f} %"
            f"  {row.seconds:.1f} s",
            markup=False,
        )

    return note
