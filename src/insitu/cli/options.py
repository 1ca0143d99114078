"""What the verbs share: options with the same name and meaning everywhere, and the ways of giving a result.

Every verb has ``--json``, ``--quiet`` and ``--out``: the result goes to stdout, or to the file or folder of
``--out``; progress and notes go to stderr, unless ``--quiet``.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from insitu.cli.trust import ask_of
from insitu.errors import ConfigError
from insitu.inputs import bounds

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from insitu.experiment.design_point import DesignPoint

Pointed = Annotated[
    str,
    typer.Argument(
        help="A network of the zoo, file.py:function, model.onnx, a run folder, or a .yaml configuration."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout; logs on stderr.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress or notes: the result and errors only.")
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder for what is written.")]
OutFile = Annotated[
    Path | None, typer.Option("--out", "-o", help="File for what would be printed, text or JSON.")
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where data sets lie; else INSITU_DATA, else the user's cache."),
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="Any other field, as path=value: optimizer.momentum=0.9")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the folder's run stopped.")]
Epochs = Annotated[int | None, typer.Option("--epochs")]
Seeds = Annotated[int | None, typer.Option("--seeds", help="Runs per rule.")]
Jobs = Annotated[
    int, typer.Option("--jobs", min=1, max=bounds.JOBS.value, help="Runs at a time, one thread each.")
]
Batch = Annotated[
    int | None, typer.Option("--batch", help="Samples per training step; 1 is on-line learning.")
]
Seed = Annotated[int | None, typer.Option("--seed")]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine", help="torch, or a backend such as c: compiled, the same bits faster, in integers."
    ),
]
TargetName = Annotated[
    str | None, typer.Option("--target", help="Hardware to cost the steps on: 'insitu list targets'.")
]
MaxBytes = Annotated[int | None, typer.Option("--max-bytes", help="Rules with a higher peak do not train.")]
MaxEnergy = Annotated[
    float | None,
    typer.Option("--max-energy-uj", help="Nor do those with more energy a sample on the target."),
]
Rate = Annotated[float | None, typer.Option("--lr", help="Initial learning rate.")]
RateOrAuto = Annotated[
    str | None,
    typer.Option(
        "--lr",
        help="Initial learning rate; auto: the best of a short sweep on training samples that are held back.",
    ),
]
PrecisionName = Annotated[
    str | None,
    typer.Option(
        "--precision", help="A policy of 'insitu list precisions', or policy:field=value,field=value."
    ),
]
Kind = Annotated[str | None, typer.Option("--optimizer", help="sgd, momentum, nesterov, adam or sign.")]
Activation = Annotated[str | None, typer.Option(help="Of all hidden layers; default: the network's own.")]
Norm = Annotated[
    str | None,
    typer.Option(
        help="Batch norms: keep, fold or rms. Default: keep them where rule and precision can, else fold."
    ),
]
Options = Annotated[
    list[str] | None, typer.Option("--option", help="An option of the rule, as name=value; may be repeated.")
]
NORMS = ("keep", "fold", "rms")
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Run the network file (file.py:function) that the configuration names."),
]
InputShape = Annotated[
    str | None,
    typer.Option(
        "--input",
        help="Shape of a sample, 1x28x28, 3x128 (a sequence) or 64; default: the network's own. Not of an mlp, which "
        "names it.",
    ),
]
Classes = Annotated[
    int | None,
    typer.Option("--classes", min=1, max=bounds.CLASSES.value, help="Outputs; default: the network's own."),
]
DataName = Annotated[
    str | None, typer.Option("--data", help="A data set's name, an .npz or .csv file, or a folder of images.")
]


def console(*, quiet: bool = False, to_stderr: bool = True) -> Console:
    from rich.console import Console

    return Console(stderr=to_stderr, quiet=quiet, highlight=False)


def emit(text: str) -> None:
    """A result on stdout, as plain text."""
    sys.stdout.write(_ended(text))


def deliver(text: str, *, out: Path | None, quiet: bool) -> None:
    """A result on stdout, or else in the file of ``--out``, with a note about it.

    Raises:
        ConfigError: ``out`` is there and is no file.
        CheckpointError: it cannot be written.
    """
    from insitu.run.files import write_atomic

    if out is None:
        emit(text)
        return
    if out.exists() and not out.is_file():
        raise ConfigError(f"--out {out} is no file; pass the path of a file")
    write_atomic(out, _ended(text))
    console(quiet=quiet).print(f"written to {out}", markup=False, soft_wrap=True)


def deliver_table(
    rows: list[dict[str, Any]], columns: Sequence[str], *, as_json: bool, out: Path | None, quiet: bool
) -> None:
    """The same for rows: as JSON with everything, or as a table of these columns."""
    if as_json:
        deliver(json.dumps(rows, indent=1, default=str), out=out, quiet=quiet)
    elif out is None:
        console(to_stderr=False).print(_table(rows, columns))
    else:
        deliver(_plain(_table(rows, columns)), out=out, quiet=quiet)


def _table(rows: list[dict[str, Any]], columns: Sequence[str]) -> Table:
    """The first column, which is a name, is never folded."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column.replace("_", " "), no_wrap=i == 0, overflow="fold")
    for row in rows:
        table.add_row(*[_cell(row[column]) for column in columns])
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if value > 9999 else str(value)
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    return str(value)


def _plain(table: Table) -> str:
    """A table as text without colours, as wide as the console."""
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, highlight=False).print(table)
    return text.getvalue()


def _ended(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


@contextmanager
def folder_for(out: Path | None, stem: str, *, resume: bool) -> Iterator[Path]:
    """Where results go: a folder that no other process writes into meanwhile.

    Raises:
        ConfigError: there is nothing to go on with.
        CheckpointError: another process has the folder.
    """
    from insitu.run.files import drop_empty, made_folders
    from insitu.run.lock import held

    if resume and out is None:
        raise ConfigError("--resume needs the folder to go on with: pass it with --out")
    made = [] if out else made_folders(Path("runs"))
    folder = out or free_folder(stem)
    try:
        with held(folder):
            yield folder
    finally:
        drop_empty([] if out else [folder, *made])  # refused before anything was written


def free_folder(stem: str) -> Path:
    """The first of runs/stem-1, runs/stem-2, ... that was not there; it is now, so that nobody else takes it."""
    from insitu.run.files import refuse

    n = 1
    while True:
        path = Path("runs") / f"{stem.replace('/', '_')}-{n}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            n += 1
        except OSError as error:
            raise refuse(path, error) from None
        else:
            return path


def norm_of(given: str | None) -> str | None:
    """``--norm``, checked."""
    if given is not None and given not in NORMS:
        raise ConfigError(f"--norm {given!r} is unknown; use one of {', '.join(NORMS)}")
    return given


def asked(what: str, given: dict[str, Any], *, trust: bool) -> DesignPoint:
    """The design point of a network, a run folder or a configuration, with the flags that were given.

    The options of a run's rule are not those of another rule.

    Raises:
        ConfigError: a configuration from elsewhere names a network file, and nobody has trusted it.
    """
    from insitu.experiment.described import point_of

    ask_of(Path(what), trust)
    base, fields = point_of(what), {name: value for name, value in given.items() if value is not None}
    if fields.get("rule", base.rule) != base.rule:
        fields = {"options": (), **fields}
    return replace(base, **fields)


def options_of(given: list[str] | None) -> tuple[tuple[str, Any], ...]:
    """Every ``--option name=value`` as a pair.

    Raises:
        ConfigError: for one without a value.
    """
    from insitu.inputs.values import plain

    found = []
    for text in given or ():
        name, sign, value = text.partition("=")
        if not sign:
            raise ConfigError(f"--option {text!r} has no value; write name=value")
        found.append((name, plain(value, f"--option {name}")))
    return tuple(found)


def shape(text: str | None) -> tuple[int, ...] | None:
    """The shape of a sample from ``1x28x28``, ``64``, or ``3x128``: a sequence of 3 channels is a map of height 1.

    Raises:
        ConfigError: if it is none.
    """
    if text is None:
        return None
    found = tuple(
        int(word) if word.isascii() and word.isdigit() and len(word) < 10 else 0 for word in text.split("x")
    )
    if len(found) not in (1, 2, 3) or min(found) < 1 or prod(found) > bounds.FEATURES.value:
        raise ConfigError(
            f"--input {text!r} is no shape of a sample; write 64 (features), 3x128 (a sequence of 3 channels) or "
            "1x28x28 (an image)"
        )
    return found if len(found) != 2 else (found[0], 1, found[1])


def path_text(path: Path | None) -> str | None:
    """A path as configurations keep it."""
    return str(path) if path else None
