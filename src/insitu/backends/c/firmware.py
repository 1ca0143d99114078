"""A written project on a board: what its build takes, and what its self-test does in the emulator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from insitu.backends.c import emulator
from insitu.backends.c.boards import Elf, build, find, sizes, stack_of, symbol_sizes
from insitu.backends.c.project import Project, defines, renamed
from insitu.backends.c.templates import PREFIX


@dataclass(frozen=True)
class OnBoard:
    """What a build for a board, and its run in the emulator, gave.

    Attributes:
        text, rodata, data, bss: bytes of the program with its self-test, by section.
        memory: bytes of arena and state in ``bss``; ``planned``: the same by the plan.
        inference_memory: of a build without learning.
        network_text: bytes of code and constants of learning and inference, without self-test and initial state.
        stack: bytes that a training step or a forward pass takes at most, with all calls; ``None``: not bounded.
        equal: the self-test ended with all bits equal; ``None``: it was not run.
        per_step, per_inference: instructions, of one training step (forward pass included) and of one forward pass.
        kernels: instructions of the whole self-test by function, the most first.
    """

    board: str
    text: int
    rodata: int
    data: int
    bss: int
    memory: int
    planned: int
    inference_memory: int
    network_text: int
    stack: int | None
    equal: bool | None = None
    per_step: float | None = None
    per_inference: float | None = None
    macs_per_step: int = 0
    macs_per_inference: int = 0
    kernels: dict[str, int] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """One table."""
        ratio = self.memory / self.inference_memory
        found = [
            f"{self.board}: text {self.text:,}, rodata {self.rodata:,}, data {self.data:,}, bss {self.bss:,} bytes; "
            f"stack {'not bounded' if self.stack is None else f'{self.stack:,}'}",
            f"  arena and state {self.memory:,} bytes (planned {self.planned:,}), {ratio:.3f} of inference's",
            f"  code and constants of the network {self.network_text:,} bytes",
        ]
        if self.equal is None:
            return found
        found.append(f"  self-test: {'all bits equal' if self.equal else 'BITS DIFFER'}")
        if self.per_step is not None and self.per_inference is not None:
            found.append(
                f"  {self.per_step:,.0f} instructions a training step, {_per(self.per_step, self.macs_per_step)}"
            )
            words = _per(self.per_inference, self.macs_per_inference)
            found.append(f"  {self.per_inference:,.0f} instructions a forward pass, {words}")
        return found + [f"  {n:>14,}  {name}" for name, n in list(self.kernels.items())[:12]]


def _per(instructions: float, macs: int) -> str:
    return f"{instructions / macs:.2f} a MAC" if macs else "no MAC"


TEST = (
    "main",
    "wrong",
    "print",
    "golden_",
    "insitu_initial_state",
    "insitu_rom",
    "insitu_start",
    "insitu_exit",
    "vectors",
)
"""Beginnings of the names of what the self-test and the start-up bring, and of the weights in flash."""


ENTRIES = ("insitu_learn", "insitu_learn_phase", "insitu_infer")
"""What firmware calls."""

OUTSIDE = ("insitu_start", "insitu_exit", "insitu_init", "insitu_copy_bytes", "insitu_crc", "main", "print")
"""Functions whose instructions are those of start-up, initial state and self-test (the copies of a sample are few)."""


def _of_test(name: str) -> bool:
    return name.startswith(TEST)


def _blocks(symbols: Mapping[str, int]) -> int:
    """Bytes of arena and state in the program of the self-test."""
    return symbols.get("arena", 0) + symbols.get("state", 0)


def on_board(
    project: Project, name: str, *, optimize: str = "-O2", run: bool = False, timeout: float = 60.0
) -> OnBoard:
    """Builds a project for a board, and runs its self-test in the emulator.

    Args:
        optimize: options of the compiler; ``-Os -DINSITU_SMALL`` gives the smallest code, without the faster forms.
        timeout: seconds that a run in the emulator may take.

    Raises:
        ConfigError: a tool is missing, the board has too little memory (naming a rule that would fit), or the program
            does not end.
    """
    board, p, planned = find(name), project.program, project.planned
    elf, lone = (_built(project, name, optimize, learn) for learn in (True, False))
    size, symbols = sizes(elf), _plain(symbol_sizes(elf), project.name)
    built = OnBoard(
        board=board.name,
        text=size.text,
        rodata=size.rodata,
        data=size.data,
        bss=size.bss,
        memory=_blocks(symbols),
        planned=max(planned["training_arena"], planned["inference_arena"])
        + planned["workspace"]
        + planned["state"],
        inference_memory=_blocks(symbol_sizes(lone)),
        network_text=size.text + size.rodata - sum(n for name, n in symbols.items() if _of_test(name)),
        stack=stack_of(elf, [renamed(entry, project.name) for entry in ENTRIES]),
    )
    if not run:
        return built
    result, counts = emulator.measure(elf, board, timeout)
    forward = _inside(_plain(emulator.measure(lone, board, timeout)[1], project.name))
    counts = _plain(counts, project.name)
    steps, whole = len(p.batches), _inside(counts)
    counts.pop("total")
    return replace(
        built,
        equal=result.exit_code == 0,
        per_step=(whole - forward) / steps,
        per_inference=float(forward),
        macs_per_step=sum(p.steps[0].counts().macs.values()),
        macs_per_inference=sum(p.inference.counts().macs.values()),
        kernels=dict(sorted(counts.items(), key=lambda item: -item[1])),
    )


def equal(project: Project, name: str, *, optimize: str = "-O2") -> bool:
    """Does the self-test of a project end on a board with all bits equal? Nothing is counted."""
    return emulator.run(_built(project, name, optimize, learn=True), find(name)).exit_code == 0


def _plain(found: Mapping[str, int], name: str) -> dict[str, int]:
    """Numbers by symbol, as if the project had no name of its own."""
    return {re.sub(rf"^{name}_", f"{PREFIX}_", symbol): n for symbol, n in found.items()}


def _inside(counts: Mapping[str, int]) -> int:
    """Instructions of the network."""
    return counts["total"] - sum(counts.get(name, 0) for name in OUTSIDE)


def _built(project: Project, name: str, optimize: str, learn: bool) -> Elf:
    board = find(name)
    folder = project.folder
    sources = [*sorted(folder.glob("*.c")), *sorted((folder / "kernels").glob("*.c"))]
    flags = [
        "INSITU_BOARD",
        *defines(project.program),
        *board.forms,
        *([] if learn else ["INSITU_NO_LEARN"]),
    ]
    flags, optimize = [renamed(flag, project.name) for flag in flags], renamed(optimize, project.name)
    out = folder / "build" / (f"{name}" if learn else f"{name}-infer")
    return build(sources, [folder, folder / "kernels"], board, out, defines=flags, optimize=optimize)
