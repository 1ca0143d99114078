"""The command line. Nothing heavy is imported before a verb needs it: ``insitu --help`` does not load torch.

The verbs are in :mod:`train <insitu.cli.train>`, :mod:`compare <insitu.cli.compare>` (with ``reproduce`` and
``report``), :mod:`adapt <insitu.cli.adapt>`, :mod:`grid <insitu.cli.grid>`, :mod:`search <insitu.cli.search>`,
:mod:`cost <insitu.cli.cost>` (with ``check``) and
:mod:`names <insitu.cli.names>` (``list``, ``show`` and ``data``);
here they become one program with exit codes: 0, 1 for a fault of insitu's own, 2 for a refused request, 130 when
interrupted.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from insitu import __version__
from insitu.cli import adapt, compare, cost, device, export, grid, names, search, train
from insitu.cli.options import emit
from insitu.errors import CheckpointError, InsituError, InsituWarning

__all__ = ["app", "main"]

REFUSED = 2
INTERRUPTED = 130
_USAGE_ERROR = typer.BadParameter.__bases__[0]  # click's, or that of the copy of click inside newer typer

app = typer.Typer(
    name="insitu",
    help="Training of quantized networks on the device itself: learning rules without back-propagation's memory.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        emit(__version__)
        raise typer.Exit


app.command()(train.train)
app.command()(compare.compare)
app.command()(adapt.adapt)
app.command()(compare.reproduce)
app.command()(grid.grid)
app.command()(search.search)
app.command()(cost.cost)
app.command()(cost.check)
app.command()(compare.report)
app.add_typer(export.export_app, name="export")
app.add_typer(device.device_app, name="device")
app.add_typer(names.data_app, name="data")
app.add_typer(names.show_app, name="show")
app.add_typer(names.list_app, name="list")


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns (and, as a script, exits with) 0, 1, 2 or 130."""
    _any_code_page()
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [w for w in words if w != "--debug"] or ["--help"]
    with warnings.catch_warnings():
        warnings.showwarning = _noted
        code = _dispatch(words, debug)
    if argv is None:
        sys.exit(code)
    return code


def _any_code_page() -> None:
    """A stream that cannot hold a character (a Windows code page, ASCII) gets a replacement in its place; one that is
    closed takes nothing."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
        elif stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def _dispatch(words: list[str], debug: bool) -> int:
    try:
        result = app(args=words, prog_name="insitu", standalone_mode=False)
        sys.stdout.flush()
        return _stopped() if result == INTERRUPTED else result if isinstance(result, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return _stopped()
    except (InsituError, _USAGE_ERROR, OSError) as error:
        if debug:
            raise
        return _refused(_message(error))


def _noted(message: Warning | str, category: type[Warning], *place: Any) -> None:
    """A warning of insitu's own as one line, any other as Python shows it."""
    own = issubclass(category, InsituWarning)
    text = f"insitu: note: {message}\n" if own else warnings.formatwarning(message, category, *place[:2])
    sys.stderr.write(text)


def _message(error: BaseException) -> str:
    """One line for an error that a request can cause."""
    if isinstance(error, OSError):
        place = f"{error.filename} " if error.filename else ""
        return str(CheckpointError(f"{place}cannot be used: {error.strerror or error}; check path and space"))
    if isinstance(error, InsituError):
        return str(error)
    return f"{error.format_message()} See 'insitu VERB --help'."  # type: ignore[attr-defined]


def _refused(message: str) -> int:
    sys.stderr.write(f"insitu: {message}\n")
    return REFUSED


def _stopped() -> int:
    sys.stderr.write("insitu: interrupted; --resume goes on from the last checkpoint\n")
    return INTERRUPTED
