"""``insitu export``: a run as a project for another world; so far C."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from insitu.cli.options import DataDir, Json, Quiet, console, emit, path_text
from insitu.inputs import bounds

if TYPE_CHECKING:
    from insitu.experiment.export import Exported, OnBoard

export_app = typer.Typer(help="Writes a run as a project that proves its own bits.", no_args_is_help=True)


@export_app.command("c")
def export_c(
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
    board: Annotated[
        str | None, typer.Option(help="Boards to build for, comma-separated: m0, m3, m4, m7, m33, m55.")
    ] = None,
    run_it: Annotated[
        bool, typer.Option("--run", help="With --board: run the self-test in the emulator.")
    ] = False,
    optimize: Annotated[
        str, typer.Option(help="Options of the boards' compiler; '-Os -DINSITU_SMALL': the smallest code.")
    ] = "-O2",
    data_dir: DataDir = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Writes a C99 project: no malloc, an arena of the planned size, the weights in their bits, a self-test.

    Example: insitu export c runs/a -o build/a --board mps2-an386 --run
    """
    from insitu.cli.recipe import words
    from insitu.experiment.export import export, on_board

    found = export(run, out, batch=batch, steps=steps, data_dir=path_text(data_dir))
    measured = [on_board(found, name, optimize=optimize, run=run_it) for name in words(board) or []]
    if as_json:
        plain = {"folder": str(out), "planned": found.planned, "boards": [m.plain() for m in measured]}
        emit(json.dumps(plain, indent=1))
        return
    emit(_text(found, measured))
    if not quiet:
        console().print(
            f"project {out}: 'make test' in it proves the bits again", markup=False, soft_wrap=True
        )


def _text(found: Exported, measured: list[OnBoard]) -> str:
    planned = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in found.planned.items())
    lines = [f"{found.program.name}: bytes planned: {planned}"]
    for m in measured:
        lines.append("")
        lines += m.lines()
    return "\n".join(lines) + "\n"
