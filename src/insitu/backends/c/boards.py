"""Cortex-M and RISC-V boards: builds freestanding C programs; :mod:`insitu.backends.c.emulator` runs and counts them.

A program is C99 with ``int main(void)``; ``semihost.h`` lets it print. It stands on nothing but the compiler: the
start-up code, the linker script and the four functions that GCC calls by itself are under ``runtime/boards``::

    elf = build([Path("main.c")], include=[], board="m4", out=Path("build"))
    run(elf, "m4").exit_code      # what main returned
    sizes(elf).text               # bytes
    count(elf, "m4")["total"]     # instructions retired: the same number in every run

Floating point is done in software on every board, so that its bits are the same on all. Instructions are counted, not
cycles: QEMU models no pipeline.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from insitu.backends.c.toolchain import (
    ARM,
    RISCV,
    Architecture,
    calls_of,
    compiled,
    frames_of,
    functions_of,
    ranges_of,
    refuse,
    run_tool,
    sections_of,
    symbols_of,
    tool,
)
from insitu.errors import ConfigError

RUNTIME = Path(__file__).parent / "runtime"
STARTUP = RUNTIME / "boards" / "startup.c"
SCRIPT = RUNTIME / "boards" / "board.ld.in"

_FLAGS = (
    *(
        "-std=c99",
        "-ffreestanding",
        "-nostdlib",
        "-ffunction-sections",
        "-fdata-sections",
        "-ffp-contract=off",
    ),
    *("-fstack-usage", "-fcallgraph-info=su", "-Wall", "-Wextra", "-Wconversion", "-Wvla", "-pedantic"),
)


@dataclass(frozen=True)
class Memory:
    """`size` bytes from address `origin`."""

    origin: int
    size: int


@dataclass(frozen=True)
class Board:
    """A board that QEMU emulates; `stack` bytes of `data` are the stack, lowest of all."""

    name: str
    machine: str
    core: str
    code: Memory
    data: Memory
    stack: int
    dsp: bool = True
    """Has the DSP extension, so that programs are compiled with INSITU_DSP."""
    architecture: Architecture = ARM
    helium: bool = False
    """Has Helium on integers, so that programs are compiled with INSITU_HELIUM."""

    @property
    def forms(self) -> tuple[str, ...]:
        """The macros of the forms of kernels that the core runs."""
        return ("INSITU_DSP",) * self.dsp + ("INSITU_HELIUM",) * self.helium

    @property
    def flags(self) -> tuple[str, ...]:
        """What the compiler is told about the core."""
        if self.architecture is RISCV:
            # Small data would be found by a register of its own, which start-up would have to set.
            return ("-march=rv32imc", "-mabi=ilp32", "-msmall-data-limit=0")
        forms = [f"-D{form}" for form in self.forms]
        # The compiler has Helium with softfp alone; without the unit, floating point is software's there too.
        core = (
            (f"-mcpu={self.core}+nofp", "-mfloat-abi=softfp")
            if self.helium
            else (f"-mcpu={self.core}", "-mfloat-abi=soft")
        )
        return (*core, "-mthumb", "-masm-syntax-unified", *forms)


def _mps2(name: str, machine: str, core: str, dsp: bool = True) -> Board:
    return Board(name, machine, core, Memory(0x0, 4 << 20), Memory(0x20000000, 4 << 20), 16 << 10, dsp)


BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        Board(
            "m0",
            "microbit",
            "cortex-m0",
            Memory(0x0, 256 << 10),
            Memory(0x20000000, 16 << 10),
            2 << 10,
            False,
        ),
        _mps2("m3", "mps2-an385", "cortex-m3", dsp=False),
        _mps2("m4", "mps2-an386", "cortex-m4"),
        _mps2("m7", "mps2-an500", "cortex-m7"),
        Board(
            "m33",
            "mps2-an505",
            "cortex-m33",
            Memory(0x10000000, 4 << 20),
            Memory(0x38000000, 4 << 20),
            16 << 10,
        ),
        Board(
            "m55",
            "mps3-an547",
            "cortex-m55",
            Memory(0x0, 512 << 10),
            Memory(0x20000000, 512 << 10),
            16 << 10,
            helium=True,
        ),
        Board(  # it starts behind the header of a signed image
            "rv32imc",
            "opentitan",
            "ibex",
            Memory(0x20000400, (1 << 20) - 0x400),
            Memory(0x10000000, 128 << 10),
            8 << 10,
            dsp=False,
            architecture=RISCV,
        ),
    )
}


@dataclass(frozen=True)
class Elf:
    """A program built for a board. `warnings` is what compiler and linker said, empty if nothing."""

    path: Path
    board: Board
    usage: tuple[Path, ...]
    """GCC's files of stack frames."""
    warnings: str = ""


@dataclass(frozen=True)
class Sizes:
    """Bytes of a program. The code memory holds text, rodata and data, the data memory stack, data and bss."""

    text: int
    rodata: int
    data: int
    bss: int
    stack: int
    """Reserved for the stack, not what is used of it."""
    functions: dict[str, int]
    """Of text, per function, the largest first; a few bytes of text are vectors and padding."""
    frames: dict[str, int | None]
    """A function's largest frame on the stack, without what it calls; None if not bounded; none of libgcc's."""


def find(name: str) -> Board:
    """The board of a name: ours (``m4``), the core's (``cortex-m4``, ``ibex``) or QEMU's machine (``mps2-an386``)."""
    known = {key: x for x in BOARDS.values() for key in (x.name, x.core, x.machine)}
    board = known.get(name.lower())
    if board:
        return board
    near = get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {near[0]!r}? Use" if near else "use"
    raise ConfigError(f"board {name!r} is not known; {hint} {', '.join(BOARDS)}")


def build(
    sources: Sequence[Path],
    include: Iterable[Path],
    board: Board | str,
    out: Path,
    defines: Iterable[str] = (),
    optimize: str = "-O2",
) -> Elf:
    """Compiles and links a program into the folder `out`.

    Args:
        include: folders of headers; that of ``semihost.h`` is among them always.
        defines: ``NAME`` or ``NAME=value``.
        optimize: options of the compiler, blanks between them.

    Raises:
        ConfigError: a tool is missing, a source does not compile, or the program does not fit into the board.
    """
    target = board if isinstance(board, Board) else find(board)
    gcc = tool(target.architecture.gcc)
    out.mkdir(parents=True, exist_ok=True)
    folders = [*include, STARTUP.parent]
    plain = [gcc, *_FLAGS, *target.flags]
    theirs = [*plain, *optimize.split(), *(f"-D{x}" for x in defines)]
    # GCC would make a call of memset out of the loop that is memset.
    ours = [*plain, "-O2", "-fno-tree-loop-distribute-patterns"]

    def made(source: Path) -> tuple[Path, str]:
        command = ours if source is STARTUP else theirs
        return compiled(command, source, folders, f"board {target.name}")

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        objects, said = zip(*pool.map(made, (*sources, STARTUP)), strict=True)
    warnings = "".join(said)
    elf = Elf(out / "program.elf", target, tuple(x.with_suffix(".su") for x in objects), warnings)
    linked = _link(elf, [gcc, *target.flags, "-nostdlib", "-Wl,--gc-sections", *map(str, objects), "-lgcc"])
    return replace(elf, warnings=warnings + linked)


def sizes(elf: Elf) -> Sizes:
    """Bytes of the sections, of each function and of each function's stack frame."""
    at = {name: size for name, size, _ in sections_of(elf.path)}
    bytes_of: Counter[str] = Counter()
    for first, after, name in ranges_of(functions_of(elf.path)):
        bytes_of[name] += after - first
    functions = dict(bytes_of.most_common())
    frames = {name: size for name, size in frames_of(elf.usage).items() if name in functions}
    return Sizes(
        at[".text"], at[".rodata"], at[".data"], at[".bss"], at[".stack"], functions=functions, frames=frames
    )


def symbol_sizes(elf: Elf) -> dict[str, int]:
    """Bytes of every named function and object of a program."""
    return {symbol.name: symbol.size for symbol in symbols_of(elf.path)}


def stack_of(elf: Elf, roots: Iterable[str]) -> int | None:
    """Worst-case stack of the given entry points in bytes, callees included.

    Without what an interrupt pushes. ``None``: not bounded, or none of them is in the program.
    """
    calls = calls_of((x.with_suffix(".ci") for x in elf.usage), elf.path)
    linked = {x.name for x in symbols_of(elf.path)}
    depths = [calls.depth(name) for name in roots if name in linked]
    known = [x for x in depths if x is not None]
    return max(known) if known and len(known) == len(depths) else None


# --- link ------------------------------------------------------------------------------------------------------


def _link(elf: Elf, command: list[str]) -> str:
    """What the linker said."""
    board, script = elf.board, elf.path.with_name("board.ld")
    text = SCRIPT.read_text(encoding="utf-8")
    for key, value in (
        ("CODE_ORIGIN", board.code.origin),
        ("CODE_SIZE", board.code.size),
        ("DATA_ORIGIN", board.data.origin),
        ("DATA_SIZE", board.data.size),
        ("STACK", board.stack),
    ):
        text = text.replace(f"@{key}@", hex(value))
    script.write_text(text, encoding="utf-8")
    command = [*command, "-T", str(script), "-o", str(elf.path)]
    done = run_tool(command)
    if not done.returncode:
        return done.stdout
    if "overflowed by" not in done.stdout:
        raise refuse(done.stdout, f"board {board.name}")
    # Once more, to see how much too large it is.
    again = run_tool([*command, "-Wl,--noinhibit-exec", "-Wl,--no-check-sections"])
    error = _overflow(elf) if elf.path.is_file() else refuse(again.stdout, f"board {board.name}")
    elf.path.unlink(missing_ok=True)
    raise error


def _overflow(elf: Elf) -> ConfigError:
    board = elf.board
    at = {name: (size, start) for name, size, start in sections_of(elf.path)}
    data = at[".bss"][0] + at[".bss"][1] - board.data.origin
    code = at[".rodata"][0] + at[".rodata"][1] - board.code.origin + at[".data"][0]
    parts = []
    if data > board.data.size:
        parts.append(
            f"{data:,} bytes of data memory (stack {board.stack:,} of it) where it has {board.data.size:,}; "
            f"the largest: {_largest(elf.path, '.data', '.bss')}"
        )
    if code > board.code.size:
        parts.append(
            f"{code:,} bytes of code memory where it has {board.code.size:,}; "
            f"the largest: {_largest(elf.path, '.text', '.rodata', '.data')}"
        )
    return ConfigError(
        f"board {board.name} ({board.machine}): the program needs {' and '.join(parts)}. "
        "Take a smaller network or batch, or a board with more memory."
    )


def _largest(path: Path, *sections: str) -> str:
    found = sorted((x for x in symbols_of(path) if x.section in sections), key=lambda x: (-x.size, x.name))
    return ", ".join(f"{x.name} {x.size:,}" for x in found[:4])
