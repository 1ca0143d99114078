"""``insitu device``: an exported network on a device, from the host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from insitu.cli.options import Batch, DataDir, Json, OutFile, Quiet, Trust, deliver, path_text
from insitu.cli.trust import ask_of
from insitu.errors import ConfigError

if TYPE_CHECKING:
    from insitu.device.ports import Port
    from insitu.experiment.on_device import Done, Session

device_app = typer.Typer(
    help="An exported network on a device: it learns, is evaluated, and its state is saved and loaded.\n\n"
    "Example: insitu device --port /dev/ttyACM0 learn runs/a --samples 500",
    no_args_is_help=True,
)
Run = Annotated[Path, typer.Argument(help="The run (or configuration) whose export the device runs.")]
Samples = Annotated[int | None, typer.Option("--samples", min=1, help="How many; default: all.")]


@device_app.callback()
def group(
    context: typer.Context,
    port: Annotated[
        str | None,
        typer.Option("--port", help="/dev/ttyACM0, tcp:HOST:PORT, or exec:PROGRAM on stdin and stdout."),
    ] = None,
    baud: Annotated[int, typer.Option("--baud", min=1, help="Bits a second, of serial ports.")] = 115200,
) -> None:
    context.obj = (port, baud)


@contextmanager
def _port(context: typer.Context) -> Iterator[Port]:
    from insitu.device.ports import open_port

    name, baud = context.obj
    if name is None:
        raise ConfigError("device: no port; write insitu device --port /dev/ttyACM0 before the verb")
    port = open_port(name, baud)
    try:
        yield port
    finally:
        port.close()


@contextmanager
def _session(
    context: typer.Context, run: Path, batch: int | None, data_dir: Path | None, trust: bool
) -> Iterator[Session]:
    from insitu.experiment.on_device import Session

    ask_of(run, trust)
    with _port(context) as port:
        yield Session(port, run, batch, path_text(data_dir))


def _said(done: Done, verb: str, as_json: bool) -> str:
    if as_json:
        return json.dumps(asdict(done))
    accuracy = "" if done.accuracy is None else f", accuracy {done.accuracy:.4f}"
    cycles = "not available" if done.cycles is None else f"{done.cycles:,.0f}"
    return (
        f"{verb} {done.samples:,} samples{accuracy}; training steps done: {done.step:,}; cycles per sample: {cycles}; "
        f"requests sent again: {done.repeated}"
    )


@device_app.command()
def learn(
    context: typer.Context,
    run: Run,
    samples: Samples = None,
    batch: Batch = None,
    data_dir: DataDir = None,
    trust: Trust = False,
    as_json: Json = False,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Learns training samples in their order, from where the device's step count stands.

    Example: insitu device learn runs/a --samples 500 (behind --port)
    """
    with _session(context, run, batch, data_dir, trust) as session:
        deliver(_said(session.learn(samples), "learned", as_json), out=out, quiet=quiet)


@device_app.command()
def evaluate(
    context: typer.Context,
    run: Run,
    samples: Samples = None,
    batch: Batch = None,
    data_dir: DataDir = None,
    trust: Trust = False,
    as_json: Json = False,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """The accuracy on test samples.

    Example: insitu device evaluate runs/a (behind --port)
    """
    with _session(context, run, batch, data_dir, trust) as session:
        deliver(_said(session.evaluate(samples), "evaluated", as_json), out=out, quiet=quiet)


@device_app.command()
def infer(
    context: typer.Context,
    run: Run,
    samples: Samples = None,
    batch: Batch = None,
    data_dir: DataDir = None,
    trust: Trust = False,
    as_json: Json = False,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """The classes of test samples.

    Example: insitu device infer runs/a --samples 10 (behind --port)
    """
    with _session(context, run, batch, data_dir, trust) as session:
        found = [answer.class_index for answer in session.infer(samples)]
    deliver(json.dumps({"classes": found}) if as_json else " ".join(map(str, found)), out=out, quiet=quiet)


@device_app.command()
def save(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where to.")],
    as_json: Json = False,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Saves the device's state to a file: the two slots that insitu_state_load of the export reads.

    Example: insitu device save state.bin (behind --port)
    """
    from insitu.device.device import Device
    from insitu.run.files import write_atomic

    with _port(context) as port:
        data = Device(port).saved()
    write_atomic(file, data)
    said = {"file": str(file), "bytes": len(data)}
    deliver(json.dumps(said) if as_json else f"saved {len(data):,} bytes to {file}", out=out, quiet=quiet)


@device_app.command()
def load(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A saved state.")],
    as_json: Json = False,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Gives the device a state that was saved, by insitu device save or by insitu_state_save.

    Example: insitu device load state.bin (behind --port)
    """
    from insitu.device.device import Device

    data = file.read_bytes()
    with _port(context) as port:
        Device(port).load(data)
    said = {"file": str(file), "bytes": len(data)}
    deliver(json.dumps(said) if as_json else f"loaded {file}", out=out, quiet=quiet)
