"""The command line. Nothing heavy is imported before a verb needs it: ``insitu --help`` does not load torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from insitu import __version__
from insitu.errors import CheckpointError, ConfigError, InsituError

if TYPE_CHECKING:
    from rich.console import Console

    from insitu.experiment.config import CompareConfig, RunConfig

app = typer.Typer(
    name="insitu",
    help="Training of quantized networks on the device itself: learning rules without back-propagation's memory.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
data_app = typer.Typer(help="Data sets: what there is, and fetching it.", no_args_is_help=True)
show_app = typer.Typer(help="Prints what a network and a rule become.", no_args_is_help=True)
list_app = typer.Typer(help="Names: rules, networks, data, recipes.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(show_app, name="show")
app.add_typer(list_app, name="list")

_USAGE_ERROR = typer.BadParameter.__bases__[0]  # click's, or that of the copy of click inside newer typer

Json = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout; logs on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder (or file) for what is written.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where data sets lie; else INSITU_DATA, else the user's cache."),
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="Any other field, as path=value: optimizer.momentum=0.9")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the folder's run stopped.")]
Epochs = Annotated[int | None, typer.Option("--epochs")]
Batch = Annotated[
    int | None, typer.Option("--batch", help="Samples per training step; 1 is on-line learning.")
]
Rate = Annotated[float | None, typer.Option("--lr", help="Initial learning rate.")]
Kind = Annotated[str | None, typer.Option("--optimizer", help="sgd, momentum, nesterov, adam or sign.")]
DataName = Annotated[
    str | None, typer.Option("--data", help="A data set's name, an .npz or a folder of images.")
]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        _emit(__version__)
        raise typer.Exit


def _console(*, quiet: bool = False, to_stderr: bool = True) -> Console:
    from rich.console import Console

    return Console(stderr=to_stderr, quiet=quiet, highlight=False)


def _emit(text: str) -> None:
    """The result of a verb: plain text on stdout."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def _free(stem: str) -> Path:
    """The first of runs/stem-1, runs/stem-2, ... that does not exist."""
    n = 1
    while (Path("runs") / f"{stem}-{n}").exists():
        n += 1
    return Path("runs") / f"{stem}-{n}"


# --- train -------------------------------------------------------------------------------------------------


def _run_config(path: Path | None, flags: dict[str, Any], sets: list[str] | None) -> RunConfig:
    from insitu.experiment.config import RunConfig, load, parse
    from insitu.experiment.overrides import apply_flags, apply_sets

    raw = load(RunConfig, path).model_dump(mode="json", exclude_unset=True) if path else {}
    return parse(
        RunConfig, apply_sets(apply_flags(raw, **flags), sets or []), str(path or "the command line")
    )


def _epoch_line(event: dict[str, Any]) -> str:
    accuracy = event.get("test_accuracy")
    score = (
        f"test accuracy {100 * accuracy:.2f} %" if accuracy is not None else f"test loss {event['test_loss']}"
    )
    loss = event["train_loss"]
    shown = "diverged" if loss is None else f"{loss:.4f}"
    return f"epoch {event['epoch']:>3}  training loss {shown}  {score}  {event['seconds']:.1f} s"


def _train_with_progress(config: RunConfig, out: Path, resume: bool, console: Console) -> Any:
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


@app.command()
def train(
    config: Annotated[Path | None, typer.Argument(help="A config.yaml, for example a run folder's.")] = None,
    data: DataName = None,
    network: Annotated[
        str | None, typer.Option(help="A name of 'insitu list networks', or file.py:function.")
    ] = None,
    rule: Annotated[str | None, typer.Option(help="A name of 'insitu list rules'.")] = None,
    epochs: Epochs = None,
    batch: Batch = None,
    lr: Rate = None,
    optimizer: Kind = None,
    seed: Annotated[int | None, typer.Option()] = None,
    precision: Annotated[str | None, typer.Option(help="float32 or float64.")] = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    resume: Resume = False,
    out: Out = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Trains one network with one rule and keeps a run folder.

    Example: insitu train --data mnist --network mlp-784-1000-10 --rule drtp --epochs 10 --out runs/a
    """
    flags = {
        "data": data,
        "network": network,
        "rule": rule,
        "epochs": epochs,
        "batch": batch,
        "optimizer__lr": lr,
        "optimizer__kind": optimizer,
        "seed": seed,
        "precision": precision,
        "data_dir": str(data_dir) if data_dir else None,
    }
    checked = _run_config(config, flags, sets)
    if resume and out is None:
        if config is None:
            raise ConfigError("--resume needs the run: pass its folder with --out, or its config.yaml")
        out = config.parent
    folder = out or _free(f"{checked.rule}-{checked.data}".replace("/", "_"))
    if resume and config is None and (folder / "config.yaml").exists():
        checked = _run_config(folder / "config.yaml", flags, sets)
    console = _console(quiet=quiet)
    outcome = _train_with_progress(checked, folder, resume, console)
    _plot_run(folder, checked, outcome)
    if as_json:
        _emit((folder / "result.json").read_text(encoding="utf-8"))
    else:
        accuracy = outcome.test_accuracy
        score = (
            f"test accuracy {100 * accuracy:.2f} %"
            if accuracy is not None
            else f"test loss {outcome.test_loss}"
        )
        _emit(f"{score} after {outcome.samples} training samples; run folder {folder}")


def _plot_run(folder: Path, config: RunConfig, outcome: Any) -> None:
    from insitu.experiment.compare import step_cost
    from insitu.experiment.setup import Setup
    from insitu.report.plots import save_curves, save_memory

    save_curves([outcome.curve], folder / "curves.png")
    save_memory(step_cost(Setup.of(config)).timeline, folder / "memory.png")


# --- compare and reproduce ---------------------------------------------------------------------------------


def _compare_config(
    recipe: str, rules: str | None, flags: dict[str, Any], sets: list[str] | None
) -> CompareConfig:
    from insitu.experiment import recipes
    from insitu.experiment.config import CompareConfig, load, parse
    from insitu.experiment.overrides import apply_flags, apply_sets

    path = Path(recipe)
    if path.suffix in (".yaml", ".yml"):
        raw = load(CompareConfig, path).model_dump(mode="json", exclude_unset=True)
    else:
        raw = dict(recipes.find(recipe).compare)
    if rules:
        raw["rules"] = _pick_rules(rules, raw.get("rules", []), keep_rates=flags["optimizer__kind"] is None)
    return parse(CompareConfig, apply_sets(apply_flags(raw, **flags), sets or []), f"recipe {recipe}")


def _pick_rules(names: str, known: list[dict[str, Any]], *, keep_rates: bool) -> list[dict[str, Any]]:
    """Rules by name; one that the recipe has keeps the recipe's options, and its rate unless the optimizer changes."""
    specs = {spec.get("label") or spec["rule"]: spec for spec in known}
    picked = []
    for name in (n.strip() for n in names.split(",")):
        spec = dict(specs.get(name, {"rule": name}))
        if not keep_rates:
            spec.pop("lr", None)
        picked.append(spec)
    return picked


def _compare_progress(console: Console) -> Callable[[dict[str, Any]], None]:
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


def _run_compare(
    config: CompareConfig, out: Path, *, resume: bool, jobs: int, console: Console, as_json: bool
) -> Any:
    from insitu.experiment.compare import compare as run
    from insitu.report.page import write_report
    from insitu.report.plots import save_overview
    from insitu.report.tables import print_comparison

    command = "insitu " + " ".join(sys.argv[1:])
    results = run(config, out, resume=resume, jobs=jobs, command=command, on_event=_compare_progress(console))
    page = write_report(results, out / "report.html")
    save_overview(results, out / "overview.png")
    if as_json:
        _emit(results.model_dump_json(indent=1))
    else:
        print_comparison(results, _console(to_stderr=False))
        _emit(f"results {out / 'results.json'}\nreport  {page.resolve()}")
    return results


@app.command()
def compare(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name or a .yaml file; flags override it.")
    ] = "digits",
    data: DataName = None,
    network: Annotated[
        str | None, typer.Option("--network", help="One or more networks, comma-separated.")
    ] = None,
    rules: Annotated[str | None, typer.Option("--rules", help="Rules, comma-separated.")] = None,
    epochs: Epochs = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="Runs per rule.")] = None,
    batch: Batch = None,
    lr: Rate = None,
    optimizer: Kind = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Runs at a time, one thread each.")] = 1,
    resume: Resume = False,
    out: Out = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Trains the same networks with every rule and several seeds: table, results.json and report.html.

    Example: insitu compare --data mnist --network mlp-784-1000-10 --rules bp,dfa,drtp --epochs 1 --seeds 3
    """
    flags = {
        "data": data,
        "networks": [n.strip() for n in network.split(",")] if network else None,
        "epochs": epochs,
        "seeds": seeds,
        "batch": batch,
        "optimizer__lr": lr,
        "optimizer__kind": optimizer,
        "data_dir": str(data_dir) if data_dir else None,
    }
    config = _compare_config(recipe, rules, flags, sets)
    folder = out or _free(f"compare-{config.data}".replace("/", "_"))
    console = _console(quiet=quiet)
    _run_compare(config, folder, resume=resume, jobs=jobs, console=console, as_json=as_json)


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="A recipe of 'insitu list recipes'.")],
    short: Annotated[
        bool, typer.Option("--short", help="A few minutes instead of the full schedule.")
    ] = False,
    seeds: Annotated[int | None, typer.Option("--seeds", help="Runs per rule.")] = None,
    epochs: Epochs = None,
    data_dir: DataDir = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Runs at a time, one thread each.")] = 1,
    resume: Resume = False,
    out: Out = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Runs a recipe and sets our figures beside the published ones.

    Example: insitu reproduce drtp-mnist-fc --short
    """
    from insitu.experiment import recipes
    from insitu.run.files import write_atomic

    recipe = recipes.find(name)
    place = str(data_dir) if data_dir else None
    config = recipe.config(short=short, data_dir=place, seeds=seeds, epochs=epochs)
    folder = out or _free(f"reproduce-{name}")
    console = _console(quiet=quiet)
    results = _run_compare(config, folder, resume=resume, jobs=jobs, console=console, as_json=as_json)
    table = recipes.reproduction_markdown(recipe, results)
    write_atomic(folder / "reproduction.md", table)
    write_atomic(folder / "reproduction.json", json.dumps(recipes.reproduction(recipe, results), indent=1))
    if not as_json:
        _emit(table)


@app.command()
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
    _emit(json.dumps({"report": str(page)}) if as_json else f"report {page.resolve()}")


# --- list, show, data --------------------------------------------------------------------------------------


def _table(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        _emit(json.dumps(rows, indent=1, default=str))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows[0] if rows else ():
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*["–" if v is None else str(v) for v in row.values()])
    _console(to_stderr=False).print(table)


@list_app.command("rules")
def list_rules(as_json: Json = False) -> None:
    """Learning rules.

    Example: insitu list rules
    """
    from insitu.rules.protocol import describe

    _table(describe(), as_json)


@list_app.command("networks")
def list_networks(as_json: Json = False) -> None:
    """Networks of the zoo.

    Example: insitu list networks
    """
    from insitu.network import zoo

    _table(zoo.describe(), as_json)


@list_app.command("data")
def list_data(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Data sets.

    Example: insitu list data
    """
    from insitu.data import describe

    _table(describe(data_dir=data_dir), as_json)


@list_app.command("recipes")
def list_recipes(as_json: Json = False) -> None:
    """Recipes of compare and reproduce.

    Example: insitu list recipes
    """
    from insitu.experiment import recipes

    rows = [{"name": n, "title": (r := recipes.find(n)).title, "source": r.source} for n in recipes.names()]
    _table(rows, as_json)


@show_app.command("step")
def show_step(
    network: Annotated[str, typer.Argument(help="A network of the zoo.")],
    rule: Annotated[str, typer.Option(help="A learning rule.")] = "bp",
    batch: Annotated[int, typer.Option(min=1)] = 1,
    eager: Annotated[bool, typer.Option("--eager/--fused", help="As emitted, or as executed.")] = False,
    optimizer: Annotated[str, typer.Option()] = "sgd",
    loss: Annotated[str, typer.Option()] = "xent",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Prints the training step of a rule, and its memory.

    Example: insitu show step mlp-784-1000-10 --rule drtp --eager
    """
    from insitu.network import zoo
    from insitu.ops.state import Optimizer
    from insitu.passes import lower, plan
    from insitu.rules.protocol import emit_step, make_rule
    from insitu.run.files import write_atomic

    net = zoo.build(network)
    step = emit_step(make_rule(rule), net, batch, optimizer=Optimizer(optimizer), loss=loss)
    step = lower(step, "eager" if eager else "fused")
    layout = plan(step)
    roles = {role.value: n for role, n in layout.by_role.items() if n}
    if as_json:
        _emit(json.dumps({"step": str(step), "peak_bytes": layout.peak_bytes, "by_role": roles}, indent=1))
        return
    parts = ", ".join(f"{role} {n}" for role, n in roles.items())
    text = f"{step}peak {layout.peak_bytes} bytes: {parts}\n"
    _emit(text) if out is None else write_atomic(out, text)


@data_app.command("list")
def data_list(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Data sets and where they were found.

    Example: insitu data list
    """
    list_data(data_dir, as_json)


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="mnist, fashion-mnist or cifar10.")],
    data_dir: DataDir = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Downloads a data set from its public mirrors, checked by SHA-256.

    Example: insitu data fetch mnist
    """
    from insitu.data import fetch

    console = _console(quiet=quiet)
    seen: set[str] = set()

    def progress(file: str, _done: int, total: int | None) -> None:
        if file not in seen:
            seen.add(file)
            console.print(f"fetching {file}" + (f" ({total} bytes)" if total else ""), markup=False)

    paths = fetch(name, data_dir=data_dir, progress=progress)
    _emit(json.dumps([str(p) for p in paths]) if as_json else "\n".join(map(str, paths)))


# --- entry -------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns (and, as a script, exits with) 0, 1, 2 or 130."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [w for w in words if w != "--debug"] or ["--help"]
    code = _dispatch(words, debug)
    if argv is None:
        sys.exit(code)
    return code


INTERRUPTED = 130


def _dispatch(words: list[str], debug: bool) -> int:
    try:
        result = app(args=words, prog_name="insitu", standalone_mode=False)
        return _stopped() if result == INTERRUPTED else result if isinstance(result, int) else 0
    except InsituError as error:
        if debug:
            raise
        return _refused(str(error))
    except _USAGE_ERROR as error:
        if debug:
            raise
        return _refused(f"{error.format_message()} See 'insitu VERB --help'.")  # type: ignore[attr-defined]
    except (KeyboardInterrupt, typer.Abort):
        return _stopped()
    except OSError as error:
        if debug:
            raise
        place = f"{error.filename} " if error.filename else ""
        return _refused(
            str(CheckpointError(f"{place}cannot be used: {error.strerror or error}; check path and space"))
        )


def _refused(message: str) -> int:
    sys.stderr.write(f"insitu: {message}\n")
    return 2


def _stopped() -> int:
    sys.stderr.write("insitu: interrupted; --resume goes on from the last checkpoint\n")
    return INTERRUPTED


if __name__ == "__main__":
    main()
