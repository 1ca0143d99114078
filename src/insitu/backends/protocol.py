"""What a backend is, and where the known ones are found: the only door between a program and a world it runs in.

A backend is asked three things: what it refuses in a step, to write a program as a project, and for an engine that runs
it. Everything above this package (experiments, reports, the command line) knows backends by name alone.

A package of yours adds one by an entry point, a script by :func:`register`::

    [project.entry-points."insitu.backends"]
    mine = "my_package:Mine"        # a class or a function that returns the backend
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from insitu.errors import ConfigError

if TYPE_CHECKING:
    from insitu.hardware.mapped import Mapped
    from insitu.hardware.target import Engine as EngineTarget
    from insitu.run.engine import Engine
    from insitu.run.program import Program
    from insitu.step.ir import Op, Step, Value

GROUP = "insitu.backends"
"""Of entry points."""

BUILTIN = {
    "c": "insitu.backends.c.backend:C",
    "microcode": "insitu.backends.engine.backend:Microcode",
    "onnx": "insitu.backends.onnx.backend:Onnx",
    "rtl": "insitu.backends.rtl.backend:Rtl",
    "systemc": "insitu.backends.systemc.backend:SystemC",
}
"""Backends of this package: a folder and a line here; nothing is imported before it is asked for."""


@dataclass(frozen=True)
class NoOptions:
    """Of a backend whose export has no options."""


@dataclass(frozen=True)
class Written:
    """A written project.

    Attributes:
        folder: where it is.
        text: what to tell a reader about it.
        facts: the same as plain values, for JSON.
        note: what to do with it next; may be empty.
    """

    folder: Path
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


class Backend(Protocol):
    """One world that programs run in. A subclass takes over what it has no answer to.

    Attributes:
        name: as ``insitu export NAME``, ``--engine NAME`` and ``insitu check --backend NAME`` say it.
        options: a frozen dataclass of what only this backend's export can be asked for. Each field becomes an option of
            the command line; its metadata may hold ``help`` and ``flag``.
        runs: it has an engine. Engines of backends compute integers.
        precision: the policy that it is made for, where a reader names none.
    """

    name: str
    options: type = NoOptions
    runs: bool = False
    precision: str = "edge-latent-free-8"

    def missing(self) -> str | None:
        """What its engine needs and this machine lacks, with the remedy; ``None``: nothing."""
        return None

    def refuse(self, step: Step) -> list[str]:
        """Why a lowered step cannot run there: a reason each, with op, place and remedy. Nothing is compiled."""
        return []

    def steps(self, options: Any) -> int:
        """Training steps whose samples a project with these options needs at least."""
        return 0

    def early(self, options: Any) -> float | None:
        """The accuracy that heads as exits may cost in a project with these options; ``None``: it has no exits."""
        return None

    def write(self, program: Program, folder: Path, options: Any) -> Written:
        """Writes the program as a project; ``program.golden`` is what it can check itself against.

        Raises:
            ConfigError: the folder holds something else, or an option does not fit.
        """
        raise ConfigError(f"backend {self.name} writes no project; it has an engine: --engine {self.name}")

    def engine(self, program: Program) -> Engine | None:
        """What runs the program, for batches of its size; ``None``: this backend only writes."""
        return None

    def identity(self, program: Program) -> int | None:
        """The number by which a device of this backend names its program; ``None``: it has none."""
        return None

    def mapped(self, program: Program, target: EngineTarget) -> Sequence[Mapped]:
        """What each training step and inference take on a target that is an engine of this backend.

        Raises:
            ConfigError: it runs no such engine, or has no form for an op; names op, layer and remedy.
        """
        raise ConfigError(f"backend {self.name} knows no cycles of {target.name}; use another target")

    def listing(self, program: Program, lanes: int, words: bool) -> str:
        """The program as this backend's machine code, for readers (``insitu show``).

        Args:
            lanes: products of a cycle.
            words: every instruction, not only what belongs together.

        Raises:
            ConfigError: it has none.
        """
        raise ConfigError(f"backend {self.name} has no machine code of its own; use insitu show step")


_registered: dict[str, Backend] = {}


def register(backend: Backend) -> None:
    """Adds a backend to this process (and to no other: use an entry point for runs on several processes)."""
    _registered[backend.name] = backend


@lru_cache(maxsize=1)
def _makers() -> dict[str, Callable[[], Callable[[], Backend]]]:
    """By name, what loads the class of a backend."""

    def builtin(where: str) -> Callable[[], Callable[[], Backend]]:
        module, _, name = where.partition(":")
        return lambda: getattr(import_module(module), name)

    found = {entry.name: entry.load for entry in entry_points(group=GROUP)}
    return found | {name: builtin(where) for name, where in BUILTIN.items()}


def names() -> list[str]:
    """All known backends."""
    return sorted({*_makers(), *_registered})


def find(name: str) -> Backend:
    """A backend by name.

    Raises:
        ConfigError: it is unknown.
    """
    if name in _registered:
        return _registered[name]
    if name not in _makers():
        raise ConfigError(f"backend {name!r} is unknown; use one of {', '.join(names())}")
    return _makers()[name]()()


def check_folder(folder: Path, mark: str) -> None:
    """Refuses to write a project among files of something else.

    Args:
        mark: how the name of a file ends by which a folder is known as such a project.

    Raises:
        ConfigError: there are other files.
    """
    from insitu.run import lock

    there = {path.name for path in folder.iterdir()} - {lock.NAME} if folder.exists() else set()
    if there and not any(name.endswith(mark) for name in there):
        raise ConfigError(f"{folder} holds other files than such a project; pass an empty folder with -o")


def on_reals(step: Step) -> tuple[Op, Value] | None:
    """The first op of a step that works on reals, and the real value; a real copy of a weight is none."""
    from insitu.numbers.formats import Float

    for op in step.ops:
        for value in (*op.inputs, *op.outputs):
            if isinstance(value.format, Float) and not value.resident:
                return op, value
    return None
