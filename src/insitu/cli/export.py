"""``insitu export BACKEND``: a run as a project for another world, one command for every registered backend."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer.core import TyperGroup

from insitu.cli.options import DataDir, Json, Quiet, Trust, console, emit, path_text
from insitu.cli.trust import ask_of
from insitu.inputs import bounds

if TYPE_CHECKING:
    from insitu.backends.protocol import Backend


class Backends(TyperGroup):
    """A command for each backend, made when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        from insitu.backends.protocol import names

        return names()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        from insitu.backends.protocol import find

        return _command(find(cmd_name)) if cmd_name in self.list_commands(ctx) else None


export_app = typer.Typer(
    cls=Backends, help="Writes a run as a project that proves its own bits.", no_args_is_help=True
)


@export_app.callback()
def _group() -> None:
    """Writes a run as a project that proves its own bits."""


def _command(backend: Backend) -> Any:
    """The command of a backend: what every export takes, and the options of this one."""
    what = (inspect.getdoc(type(backend)) or backend.name).splitlines()[0]
    app = typer.Typer(add_completion=False)
    example = f"insitu export {backend.name} runs/a -o build/a"
    app.command(backend.name, help=f"{what}\n\nExample: {example}")(_callback(backend))
    return typer.main.get_command(app)


def _callback(backend: Backend) -> Callable[..., None]:
    def run(**given: Any) -> None:
        own = {field.name: given.pop(field.name) for field in fields(backend.options)}
        _export(backend.name, options=own, **given)

    common = list(inspect.signature(_export, eval_str=True).parameters.values())[1:-1]
    run.__signature__ = inspect.Signature([*common, *_parameters(backend.options)])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in run.__signature__.parameters.values()}  # type: ignore[attr-defined]
    return run


def _parameters(options: type) -> Iterator[inspect.Parameter]:
    """The fields of a dataclass as options of the command line."""
    hints = get_type_hints(options)
    for field in fields(options):
        flags = [field.metadata["flag"]] if "flag" in field.metadata else []
        option = typer.Option(*flags, help=field.metadata.get("help"))
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        kind = inspect.Parameter.KEYWORD_ONLY
        yield inspect.Parameter(
            field.name, kind, default=default, annotation=Annotated[hints[field.name], option]
        )


def _export(
    backend: str,
    *,
    run: Annotated[
        Path, typer.Argument(help="A run folder in an integer precision, or a configuration (.yaml).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the project.")],
    batch: Annotated[
        int | None,
        typer.Option(min=1, max=bounds.BATCH.value, help="Samples per training step; default: the run's."),
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, max=bounds.STEPS.value, help="Training steps of the self-test.")
    ] = 8,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate to begin with; default: that of the run's last step.")
    ] = None,
    data_dir: DataDir = None,
    trust: Trust = False,
    quiet: Quiet = False,
    as_json: Json = False,
    options: dict[str, Any],
) -> None:
    from insitu.experiment.export import export

    ask_of(run, trust)
    found = export(
        run,
        out,
        backend,
        batch=batch,
        steps=steps,
        lr=lr,
        data_dir=path_text(data_dir),
        options=options,
    )
    if as_json:
        emit(json.dumps({"folder": str(found.folder), **found.facts}, indent=1))
        return
    emit(found.text)
    if found.note and not quiet:
        console().print(found.note, markup=False, soft_wrap=True)
