"""``insitu train``: one network, one rule, one run folder."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
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
    Kind,
    Out,
    PrecisionName,
    Quiet,
    RateOrAuto,
    Resume,
    Seed,
    Sets,
    Trust,
    console,
    emit,
    folder_for,
    path_text,
)
from insitu.cli.recipe import from_file
from insitu.cli.trust import ask, names_network
from insitu.errors import ConfigError, InsituWarning

if TYPE_CHECKING:
    from rich.console import Console

    from insitu.experiment.auto_rate import Trial
    from insitu.experiment.config import RunConfig
    from insitu.experiment.exits import Exits

AUTO = "auto"


def train(
    config: Annotated[Path | None, typer.Argument(help="A config.yaml, for example a run folder's.")] = None,
    data: DataName = None,
    network: Annotated[
        str | None,
        typer.Option(help="A name of 'insitu list networks', file.py:function, model.onnx or a run folder."),
    ] = None,
    rule: Annotated[str | None, typer.Option(help="A name of 'insitu list rules'.")] = None,
    epochs: Epochs = None,
    batch: Batch = None,
    lr: RateOrAuto = None,
    optimizer: Kind = None,
    seed: Seed = None,
    precision: PrecisionName = None,
    init_from: Annotated[
        str | None, typer.Option(help="Run folder or .npz whose parameters the network starts from.")
    ] = None,
    start: Annotated[str | None, typer.Option(hidden=True)] = None,
    engine: EngineName = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    resume: Resume = False,
    trust: Trust = False,
    out: Out = None,
    confusion: Annotated[
        bool, typer.Option("--confusion", help="Also print which classes were taken for which.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Trains one network with one rule and keeps a run folder.

    Example: insitu train --data mnist --network mlp-784-1000-10 --rule drtp --epochs 10 --out runs/a
    """
    from insitu.experiment.config import RunConfig

    flags = {
        "data": data,
        "network": network,
        "rule": rule,
        "epochs": epochs,
        "batch": batch,
        "optimizer__lr": _rate(lr),
        "optimizer__kind": optimizer,
        "seed": seed,
        "precision": precision,
        "init_from": init_from if start is None else _former_start(start, init_from),
        "engine": engine,
        "data_dir": path_text(data_dir),
    }
    if resume:
        asked = any(value is not None for value in flags.values()) or bool(sets)
        config, out = _resumed(config, out, asked)
    checked = from_file(RunConfig, config, flags, sets, trust=trust)
    named = config is None or network is not None or names_network(sets)
    ask([checked.network], f"configuration {config}", named=named, trust=trust)
    if lr == AUTO and not (resume and out and (out / "config.yaml").exists()):
        checked = _with_best_rate(checked, console(quiet=quiet))
    with folder_for(out, f"{checked.rule}-{checked.data}", resume=resume) as folder:
        outcome = _with_progress(checked, folder, resume, console(quiet=quiet))
        _plot(folder, checked, outcome)
        if as_json:
            emit((folder / "result.json").read_text(encoding="utf-8"))
        else:
            score = _score(outcome.test_accuracy, outcome.test_loss)
            more = f" ({outcome.metrics.summary})" if outcome.metrics else ""
            emit(f"{score}{more} after {outcome.samples} training samples; run folder {folder}")
            if confusion and outcome.metrics:
                emit(outcome.metrics.table.rstrip())
            _tell_start(outcome)
            for line in _exits(outcome.exits):
                emit(line)


def _rate(text: str | None) -> float | None:
    """A rate that was given as a number."""
    if text in (None, AUTO):
        return None
    try:
        return float(text or "")
    except ValueError:
        raise ConfigError(f"--lr {text!r} is no learning rate; use a number, or auto") from None


def _with_best_rate(config: RunConfig, console: Console) -> RunConfig:
    """The configuration with the rate of a short sweep."""
    from insitu.experiment.auto_rate import best, trials

    def note(trial: Trial) -> None:
        known = trial.score > -float("inf")
        shown = f"{100 * trial.score:.1f} %" if trial.score > 0 else f"loss {-trial.score:.4g}"
        console.print(f"lr {trial.lr:g}: {shown if known else 'diverged'} on held-back samples", markup=False)

    lr = best(trials(config, note))
    console.print(f"--lr auto: {lr:g}, the best of one epoch on held-back training samples", markup=False)
    return config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"lr": lr})})


def _tell_start(outcome: Any) -> None:
    """What a pretrained network was worth before, and a warning where learning made it worse."""
    known = {name: value for name, value in (outcome.before or {}).items() if value is not None}
    if not known:
        return
    emit("before learning: " + ", ".join(f"{100 * value:.2f} % in {name}" for name, value in known.items()))
    start, end = list(known.values())[-1], outcome.test_accuracy
    if end is None or end < start:
        warnings.warn(
            f"learning made the network worse; try --lr auto, or --lr {outcome.config.optimizer.lr / 10:g}",
            InsituWarning,
            stacklevel=2,
        )


def _former_start(start: str, init_from: str | None) -> str:
    """The value of ``--start``, the name that ``--init-from`` had in version 0.1."""
    if init_from is not None:
        raise ConfigError("--start and --init-from are one option; keep --init-from")
    warnings.warn(
        "--start is now --init-from; the old name is read for one release", InsituWarning, stacklevel=2
    )
    return start


def _resumed(config: Path | None, out: Path | None, asked: bool) -> tuple[Path | None, Path]:
    """Config and folder of the run that goes on, one found from the other; ``asked``: flags say what to train."""
    if out is None:
        if config is None:
            raise ConfigError("--resume needs the run: pass its folder with --out, or its config.yaml")
        return config, config.parent
    if config is None and (out / "config.yaml").exists():
        config = out / "config.yaml"
    if config is None and not asked:
        raise ConfigError(
            f"folder {out} holds no run with a config.yaml to go on with; check the path of --out"
        )
    return config, out


def _with_progress(config: RunConfig, out: Path, resume: bool, console: Console) -> Any:
    """Trains; a bar on a terminal, else a line per epoch."""
    from insitu.experiment.train import train as run

    if not console.is_terminal:
        return run(config, out, resume=resume, on_event=lambda e: _print_epoch(console, e))
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"{config.rule} on {config.data}", total=config.epochs, note="")

        def on_event(event: dict[str, Any]) -> None:
            if event["kind"] == "eval":
                bar.update(task, completed=event["epoch"], note=_epoch_line(event))

        return run(config, out, resume=resume, on_event=on_event)


def _print_epoch(console: Console, event: dict[str, Any]) -> None:
    if event["kind"] == "eval":
        console.print(_epoch_line(event))


def _epoch_line(event: dict[str, Any]) -> str:
    loss, score = event["train_loss"], _score(event.get("test_accuracy"), event["test_loss"])
    shown = f"training loss {loss:.4f}  " if loss is not None else "diverged  " if event["diverged"] else ""
    return f"epoch {event['epoch']:>3}  {shown}{score}  {event['seconds']:.1f} s"


def _score(accuracy: float | None, loss: float | None) -> str:
    if accuracy is not None:
        return f"test accuracy {100 * accuracy:.2f} %"
    return "no score" if loss is None else f"test loss {loss:#.4g}"


def _exits(exits: Exits | None) -> Iterator[str]:
    """What the heads are worth as exits, a line for each choice of thresholds."""
    if exits is None:
        return
    distinct = {tuple(point.thresholds): point for point in reversed(exits.points)}
    for point in reversed(distinct.values()):
        left = ", ".join(f"{100 * share:.0f} % at {name}" for name, share in zip(exits.names, point.shares))
        yield (
            f"exits that cost {100 * point.loss:g} % of validation accuracy: test accuracy "
            f"{100 * point.test_accuracy:.2f} %, {point.macs / exits.inference_macs:.2f} of inference's MACs ({left})"
        )


def _plot(folder: Path, config: RunConfig, outcome: Any) -> None:
    from insitu.experiment.compare import step_cost
    from insitu.experiment.resolve import Setup
    from insitu.report.plots import save_curves, save_memory

    save_curves([outcome.curve], folder / "curves.png")
    save_memory(step_cost(Setup.of(config)).timeline, folder / "memory.png")
