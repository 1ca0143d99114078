"""C as a backend: what it refuses, its projects, and its engine on this machine.

The rest of this folder is imported when it is needed: the options are known without it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from insitu.backends.c.forms import NAMES as FORMS
from insitu.backends.c.templates import PREFIX
from insitu.backends.protocol import Backend, Written, on_reals
from insitu.errors import ConfigError
from insitu.inputs import bounds

if TYPE_CHECKING:
    from insitu.backends.c.emit import Place
    from insitu.backends.c.engine import CompiledEngine
    from insitu.backends.c.firmware import OnBoard
    from insitu.backends.c.project import Project
    from insitu.run.program import Program
    from insitu.step.ir import Step


@dataclass(frozen=True)
class Options:
    """What an export to C can be asked for beside the project."""

    name: str = field(
        default=PREFIX,
        metadata={"help": "What symbols, macros and files begin with; several link into one firmware."},
    )
    board: str | None = field(
        default=None,
        metadata={"help": "Boards to build for, comma-separated: m0, m3, m4, m7, m33, m55, rv32imc."},
    )
    emulate: bool = field(
        default=False,
        metadata={"flag": "--run", "help": "With --board: run the self-test in the emulator."},
    )
    optimize: str = field(
        default="-O2",
        metadata={"help": "Options of the boards' compiler; '-Os -DINSITU_SMALL': the smallest code."},
    )
    trace: int = field(
        default=0,
        metadata={"help": "Training steps of which every array after every op is written, as .npz and .hex."},
    )

    early: float | None = field(
        default=None,
        metadata={
            "help": "Adds insitu_infer_early, with heads as exits that cost so much accuracy on validation data: 0.01."
        },
    )

    form: str = field(
        default="plain",
        metadata={"help": f"How the project is laid out: {', '.join(FORMS)}."},
    )

    def __post_init__(self) -> None:
        if self.form != "plain" and self.board is not None:
            raise ConfigError(
                f"--board builds the plain project, and --form {self.form} is laid out for another tool chain; export "
                "twice, to two folders"
            )
        if not 0 <= self.trace <= bounds.STEPS.value:
            raise ConfigError(
                f"a trace of {self.trace} steps is not possible; use 0 to {bounds.STEPS.value:,}"
            )

    @property
    def boards(self) -> list[str]:
        return [word for word in map(str.strip, (self.board or "").split(",")) if word]


class C(Backend):
    """A C99 project: no malloc, an arena of the planned size, the weights in their bits, a self-test."""

    name = "c"
    options = Options
    runs = True

    def missing(self) -> str | None:
        from insitu.backends.c.host import compiler

        try:
            compiler()
        except ConfigError as error:
            return str(error)
        return None

    def refuse(self, step: Step) -> list[str]:
        from insitu.backends.c.calls import calls
        from insitu.backends.c.emit import Constants, Emitter, Place

        if (found := on_reals(step)) is not None:
            op, value = found
            return [
                f"{op.kind} at {op.where} works on reals ({value.name} in {value.format}), and C has integers alone; "
                "train with an integer-ready rule in an integer precision, such as --precision edge-latent-free-8"
            ]
        anywhere: Mapping[str, Place] = defaultdict(lambda: Place("arena", 0))
        try:
            calls(Emitter(step, anywhere, Constants()))
        except ConfigError as error:
            return [str(error)]
        return []

    def steps(self, options: Options) -> int:
        return options.trace

    def early(self, options: Options) -> float | None:
        return options.early

    def write(self, program: Program, folder: Path, options: Options) -> Written:
        from insitu.backends.c.firmware import on_board
        from insitu.backends.c.project import write

        project = write(program, folder, options.name, options.trace, options.form)
        found = [on_board(project, b, optimize=options.optimize, run=options.emulate) for b in options.boards]
        facts = {"planned": project.planned, "boards": [board.plain() for board in found]}
        note = f"project {folder}: {_next(project)}"
        note += f"; {folder / 'spec.md'} says what it computes, bit by bit"
        return Written(folder, _text(project, found), facts, note)

    def identity(self, program: Program) -> int:
        from insitu.backends.c.project import Source

        return Source(program).identity

    def engine(self, program: Program) -> CompiledEngine:
        from insitu.backends.c.engine import CompiledEngine

        return CompiledEngine(program)


def _next(project: Project) -> str:
    """What to do with a written project."""
    if project.form == "plain":
        return "'make test' in it proves the bits again"
    return f"its README.md says how to take it into firmware{project.said and '; ' + project.said}"


SHOWN = 4
"""Changes of the learning rate that are printed."""


def _text(project: Project, boards: list[OnBoard]) -> str:
    planned = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in project.planned.items())
    p = project.program
    lines = [f"{p.name}: bytes planned: {planned}", f"goes on at step {p.t:,} with learning rate {p.lr:g}"]
    if p.later:
        changes = ", ".join(f"{rate:g} from step {t:,}" for t, rate in p.later[:SHOWN])
        more = f" and {len(p.later) - SHOWN} more" if len(p.later) > SHOWN else ""
        lines[-1] += f", by the schedule of the run {changes}{more}"
    for board in boards:
        lines += ["", *board.lines()]
    return "\n".join(lines) + "\n"
