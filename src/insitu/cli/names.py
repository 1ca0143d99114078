"""``insitu list``, ``show`` and ``data``: what there is, what a network and a rule become, fetching data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from insitu.cli.options import (
    Activation,
    Classes,
    DataDir,
    InputShape,
    Json,
    Norm,
    Options,
    OutFile,
    Pointed,
    PrecisionName,
    Quiet,
    Trust,
    asked,
    console,
    deliver,
    deliver_table,
    emit,
    norm_of,
    options_of,
    shape,
)
from insitu.errors import ConfigError, StepError
from insitu.inputs import bounds
from insitu.inputs.foreign import has_layers

if TYPE_CHECKING:
    from rich.console import Console

    from insitu.step.ir import Step

data_app = typer.Typer(help="Data sets: what there is, and fetching it.", no_args_is_help=True)
show_app = typer.Typer(help="Prints what a network and a rule become.", no_args_is_help=True)
list_app = typer.Typer(
    help="Names: rules, networks, data, precisions, targets, recipes.", no_args_is_help=True
)

FetchDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", "--out", "-o", help="Folder for the files; else INSITU_DATA, else the user's cache."
    ),
]


RULE = ("rule", "forward_only", "feedback", "min_batch", "conv", "integer", "year", "what", "paper")
NETWORK = ("name", "what", "input_shape", "parameters", "macs")
DATA = ("name", "what", "train", "test", "shape", "found")
TARGET = ("name", "clock_mhz", "ram_bytes", "store", "energy", "what")
RECIPE = ("name", "title", "source")
PRECISION = ("name", "weight", "activation", "regime", "update", "what")
"""Columns of the tables; ``--json`` has more."""


@list_app.command("rules")
def list_rules(out: OutFile = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """Learning rules.

    Example: insitu list rules
    """
    from insitu.rules.facts import describe

    deliver_table(describe(), RULE, as_json=as_json, out=out, quiet=quiet)


@list_app.command("networks")
def list_networks(out: OutFile = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """Networks of the zoo.

    Example: insitu list networks
    """
    from insitu.network import zoo

    deliver_table(zoo.describe(), NETWORK, as_json=as_json, out=out, quiet=quiet)


@list_app.command("data")
def list_data(
    data_dir: DataDir = None, out: OutFile = None, quiet: Quiet = False, as_json: Json = False
) -> None:
    """Data sets.

    Example: insitu list data
    """
    from insitu.data import describe

    deliver_table(describe(data_dir=data_dir), DATA, as_json=as_json, out=out, quiet=quiet)


@list_app.command("precisions")
def list_precisions(out: OutFile = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """Precision policies; any field of one can be changed (policy:field=value).

    Example: insitu list precisions
    """
    from insitu.passes.precision import describe

    deliver_table(describe(), PRECISION, as_json=as_json, out=out, quiet=quiet)


@list_app.command("targets")
def list_targets(out: OutFile = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """Hardware targets of cost and check; a .yaml file of your own serves too.

    Example: insitu list targets
    """
    from insitu.hardware.target import describe

    deliver_table(describe(), TARGET, as_json=as_json, out=out, quiet=quiet)


@list_app.command("recipes")
def list_recipes(out: OutFile = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """Recipes of compare and reproduce.

    Example: insitu list recipes
    """
    from insitu.experiment import recipes

    found = [(name, recipes.find(name)) for name in recipes.names()]
    rows = [{"name": name, "title": recipe.title, "source": recipe.source} for name, recipe in found]
    deliver_table(rows, RECIPE, as_json=as_json, out=out, quiet=quiet)


@show_app.command("step")
def show_step(
    network: Pointed,
    rule: Annotated[str | None, typer.Option(help="A learning rule; default: bp.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, max=bounds.BATCH.value, help="Default: 1.")] = None,
    eager: Annotated[bool, typer.Option("--eager/--fused", help="As emitted, or as executed.")] = False,
    optimizer: Annotated[str | None, typer.Option(help="Default: sgd.")] = None,
    loss: Annotated[str | None, typer.Option(help="Default: xent.")] = None,
    precision: PrecisionName = None,
    option: Options = None,
    activation: Activation = None,
    norm: Norm = None,
    phase: Annotated[int, typer.Option(min=0, help="Of a rule with a schedule.")] = 0,
    input: InputShape = None,
    classes: Classes = None,
    trust: Trust = False,
    out: OutFile = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Prints the training step of a rule, and its memory.

    Example: insitu show step lenet5 --rule etch --option limit=64 --activation relu --precision edge-latent-free-8
    """
    from insitu.experiment.design_program import program
    from insitu.passes import lower

    given = _given(rule, precision, option, loss, activation, norm, input, classes)
    point = asked(network, {**given, "batch": batch, "optimizer": optimizer}, trust=trust)
    steps = program(point).eager
    if phase >= len(steps):
        raise ConfigError(f"--phase {phase}: {point.rule} has phases 0 to {len(steps) - 1} on {network}")
    step = lower(steps[phase], "eager" if eager else "fused")
    deliver(_step_json(step) if as_json else _step_text(step), out=out, quiet=quiet)


@show_app.command("microcode")
def show_microcode(
    network: Pointed,
    rule: Annotated[str | None, typer.Option(help="A learning rule; default: etch.")] = None,
    lanes: Annotated[int, typer.Option(help="Products of a cycle: 4, 8, 16 or 32.")] = 8,
    lr: Annotated[float, typer.Option(help="Learning rate: the shifts of updates follow from it.")] = 0.01,
    words: Annotated[bool, typer.Option("--words", help="Every instruction as well.")] = False,
    precision: PrecisionName = None,
    option: Options = None,
    loss: Annotated[str | None, typer.Option(help="Default: xent.")] = None,
    activation: Annotated[str | None, typer.Option(help="Of all hidden layers; default: relu.")] = None,
    norm: Norm = None,
    input: InputShape = None,
    classes: Classes = None,
    trust: Trust = False,
    out: OutFile = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Prints what the learning engine (FPGA) does in a training step, nest by nest, with its cycles.

    Example: insitu show microcode mlp-64-32-10 --rule etch
    """
    from insitu.backends.protocol import find
    from insitu.experiment.described import configuration
    from insitu.experiment.design_program import program

    backend = find("microcode")
    if configuration(network) is None:
        rule, precision = rule or "etch", precision or backend.precision
        activation = activation or ("relu" if not has_layers(network) else None)
    given = _given(rule, precision, option, loss, activation, norm, input, classes)
    point = asked(network, {**given, "batch": 1}, trust=trust)
    text = backend.listing(replace(program(point), lr=lr), lanes, words)
    told = {"network": network, "rule": point.rule, "lanes": lanes, "lr": lr, "precision": point.precision}
    shown = json.dumps(told | {"lines": text.splitlines()}, indent=1)
    deliver(shown if as_json else text, out=out, quiet=quiet)


def _given(
    rule: str | None, precision: str | None, option: list[str] | None, loss: str | None, activation: str | None,
    norm: str | None, input: str | None, classes: int | None,
) -> dict[str, Any]:  # fmt: skip
    """What the flags of a step say, as fields of a design point."""
    options = options_of(option) or None
    given = {"rule": rule, "precision": precision, "options": options, "loss": loss, "activation": activation}
    return given | {"norm": norm_of(norm), "input_shape": shape(input), "classes": classes}


def _memory(step: Step) -> tuple[int, dict[str, int]]:
    """Bytes at the peak, in all and by role."""
    from insitu.passes import plan

    layout = plan(step)
    return layout.peak_bytes, {role.value: n for role, n in layout.by_role.items() if n}


@show_app.command("rule")
def show_rule(
    rule: Annotated[str, typer.Argument(help="A learning rule.")],
    batch: Annotated[int, typer.Option(min=1, max=bounds.BATCH.value)] = 32,
    out: OutFile = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Prints what a rule is: its equation and options, what it needs, and what its step keeps alive.

    Example: insitu show rule drtp
    """
    from insitu.rules.facts import explain

    found = explain(rule, batch)
    deliver(json.dumps(found, indent=1) if as_json else _rule_text(found), out=out, quiet=quiet)


def _rule_text(found: dict[str, Any]) -> str:
    def shown(value: Any) -> str:
        return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)

    facts = ("forward_only", "feedback", "min_batch", "conv", "integer")
    options = ", ".join(f"{k}={v}" for k, v in found["options"].items())
    kept = ", ".join(found["alive"]) or "nothing"
    by_role = ", ".join(f"{role} {n:,}" for role, n in found["bytes"].items())
    where = f"{found['network']}, batch {found['batch']}"
    lines = [
        f"{found['rule']}: {found['text']}",
        "",
        f"paper    {found['paper']}",
        f"options  {options or 'none'}",
        f"needs    {', '.join(k.replace('_', ' ') + ' ' + shown(found[k]) for k in facts)}",
        f"keeps    after the forward pass of {where}: {kept}",
        f"bytes    at the peak of that step: {by_role}",
    ]
    return "\n".join(lines) + "\n"


def _step_json(step: Step) -> str:
    peak, roles = _memory(step)
    found = {"step": str(step), "peak_bytes": peak, "by_role": roles}
    return json.dumps(found | _program_of(step), indent=1)


def _program_of(step: Step) -> dict[str, Any]:
    """The step as data; for one that holds a Python function, why there is none."""
    from insitu.step.serial import to_dict

    try:
        return {"program": to_dict(step)}
    except StepError as error:
        return {"program": None, "refused": str(error)}


def _step_text(step: Step) -> str:
    peak, roles = _memory(step)
    parts = ", ".join(f"{role} {n}" for role, n in roles.items())
    return f"{step}peak {peak} bytes: {parts}\n"


@data_app.command("list")
def data_list(
    data_dir: DataDir = None, out: OutFile = None, quiet: Quiet = False, as_json: Json = False
) -> None:
    """Data sets and where they were found.

    Example: insitu data list
    """
    list_data(data_dir, out, quiet, as_json)


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="mnist, fashion-mnist or cifar10.")],
    data_dir: FetchDir = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Downloads a data set from its public mirrors, checked by SHA-256; prints the paths of its files.

    Example: insitu data fetch mnist
    """
    from insitu.data import fetch

    paths = [str(p) for p in fetch(name, data_dir=data_dir, progress=_progress(console(quiet=quiet)))]
    emit(json.dumps(paths) if as_json else "\n".join(paths))


def _progress(console: Console) -> Callable[[str, int, int | None], None]:
    """Prints a line per file, when its download starts."""
    seen: set[str] = set()

    def note(file: str, _done: int, total: int | None) -> None:
        if file not in seen:
            seen.add(file)
            console.print(f"fetching {file}" + (f" ({total} bytes)" if total else ""), markup=False)

    return note
