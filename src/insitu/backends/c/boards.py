"""Emulated Cortex-M boards: builds freestanding C programs for them, runs them, counts their instructions.

A program is C99 with ``int main(void)``; ``semihost.h`` lets it print. It stands on nothing but the compiler: the
start-up code, the linker script and the four functions that GCC calls by itself are under ``runtime/boards``::

    elf = build([Path("main.c")], include=[], board="m4", out=Path("build"))
    run(elf, "m4").exit_code      # what main returned
    sizes(elf).text               # bytes
    count(elf, "m4")["total"]     # instructions retired: the same number in every run

Floating point is done in software on every board, so that its bits are the same on all. Instructions are counted, not
cycles: QEMU models no pipeline. RISC-V is out of scope: its toolchain is 1.2 GB, and the generated C is the same.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from insitu.errors import ConfigError

RUNTIME = Path(__file__).parent / "runtime"
STARTUP = RUNTIME / "boards" / "startup.c"
SCRIPT = RUNTIME / "boards" / "board.ld.in"
PLUGIN = RUNTIME / "plugin" / "counts.c"

PREFIX = "arm-none-eabi-"
EMULATOR = "qemu-system-arm"
PACKAGES = {EMULATOR: "qemu-system-arm", "gcc": "gcc and libc6-dev"}
"""The Debian package of a tool; every other tool is the ARM compiler's."""

OTHER = "(other)"
"""The key of instructions outside every function of `count`."""

_FLAGS = (
    *(
        "-std=c99",
        "-ffreestanding",
        "-nostdlib",
        "-ffunction-sections",
        "-fdata-sections",
        "-ffp-contract=off",
    ),
    *("-fstack-usage", "-Wall", "-Wextra", "-Wconversion", "-pedantic"),
)
_PLUGIN_FLAGS = (
    *("-std=c99", "-O2", "-shared", "-fPIC", "-fvisibility=hidden"),
    *("-Wall", "-Wextra", "-pedantic"),
)
_FAULT = "insitu-fault:"


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

    @property
    def flags(self) -> tuple[str, ...]:
        """What the compiler is told about the core."""
        dsp = ("-DINSITU_DSP",) if self.dsp else ()
        return (f"-mcpu={self.core}", "-mthumb", "-mfloat-abi=soft", "-masm-syntax-unified", *dsp)


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
            "m55", "mps3-an547", "cortex-m55", Memory(0x0, 512 << 10), Memory(0x20000000, 512 << 10), 16 << 10
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


@dataclass(frozen=True)
class Result:
    """What a run ended with: 0 to 254, or 255 for a status that does not fit, and all that was printed."""

    exit_code: int
    output: str


@dataclass(frozen=True)
class _Symbol:
    name: str
    kind: str
    section: str
    start: int
    size: int


def find(name: str) -> Board:
    """The board of a name: ours (``m4``), the core's (``cortex-m4``) or QEMU's machine (``mps2-an386``)."""
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
    gcc = _tool(PREFIX + "gcc")
    out.mkdir(parents=True, exist_ok=True)
    folders = [f"-I{x}" for x in (*include, STARTUP.parent)]
    plain = [gcc, *_FLAGS, *target.flags, *folders]
    theirs = [*plain, *optimize.split(), *(f"-D{x}" for x in defines)]
    # GCC would make a call of memset out of the loop that is memset.
    ours = [*plain, "-O2", "-fno-tree-loop-distribute-patterns"]
    objects = [out / f"{i:03d}-{x.stem}.o" for i, x in enumerate((*sources, STARTUP))]
    commands = [
        [*(ours if source is STARTUP else theirs), "-c", str(source), "-o", str(to)]
        for source, to in zip((*sources, STARTUP), objects, strict=True)
    ]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        warnings = "".join(pool.map(lambda x: _checked(x, f"board {target.name}"), commands))
    elf = Elf(out / "program.elf", target, tuple(x.with_suffix(".su") for x in objects), warnings)
    said = _link(elf, [gcc, *target.flags, "-nostdlib", "-Wl,--gc-sections", *map(str, objects), "-lgcc"])
    return replace(elf, warnings=warnings + said)


def sizes(elf: Elf) -> Sizes:
    """Bytes of the sections, of each function and of each function's stack frame."""
    at = {name: size for name, size, _ in _sections(elf.path)}
    bytes_of: Counter[str] = Counter()
    for first, after, name in _ranges(_functions(elf.path)):
        bytes_of[name] += after - first
    functions = dict(bytes_of.most_common())
    frames = {name: size for name, size in _frames(elf.usage).items() if name in functions}
    return Sizes(
        at[".text"], at[".rodata"], at[".data"], at[".bss"], at[".stack"], functions=functions, frames=frames
    )


def symbol_sizes(elf: Elf) -> dict[str, int]:
    """Bytes of every named function and object of a program."""
    return {symbol.name: symbol.size for symbol in _symbols(elf.path)}


def run(elf: Elf, board: Board | str, timeout: float = 60.0) -> Result:
    """Runs a program to the end of its main.

    Raises:
        ConfigError: it did not end within `timeout` seconds, or faulted; with what it had printed.
    """
    return _emulate(elf, board if isinstance(board, Board) else find(board), timeout)


def count(elf: Elf, board: Board | str, timeout: float = 60.0) -> dict[str, int]:
    """Instructions that a run retires: per function (without what it calls), `OTHER` if any, and ``total``.

    Start and end are in it, as ``insitu_start`` (it copies .data and clears .bss) and ``insitu_exit``. An instruction
    that its condition switches off counts. Functions of one name (static ones of two files) are added up.

    Raises:
        ConfigError: as `run`; or QEMU is not version 7, of which the plugin is.
    """
    return measure(elf, board, timeout)[1]


def measure(elf: Elf, board: Board | str, timeout: float = 60.0) -> tuple[Result, dict[str, int]]:
    """`run` and `count` in one run."""
    target = board if isinstance(board, Board) else find(board)
    plugin = _plugin()
    ranges = _ranges(_functions(elf.path))
    with tempfile.TemporaryDirectory(prefix="insitu-") as folder:
        inputs, outputs = Path(folder) / "ranges", Path(folder) / "counts"
        inputs.write_text("".join(f"{first:x} {after:x}\n" for first, after, _ in ranges))
        option = ",".join((_comma(plugin), f"ranges={_comma(inputs)}", f"out={_comma(outputs)}"))
        result = _emulate(elf, target, timeout, "-plugin", option)
        if not outputs.is_file():
            raise ConfigError(f"board {target.name}: the plugin counted nothing: {_tail(result.output)}")
        values = [int(x) for x in outputs.read_text().split()]
    counts: Counter[str] = Counter()
    for name, value in zip([*(x[2] for x in ranges), OTHER], values, strict=True):
        if value:
            counts[name] += value
    if "total" in counts:
        raise ConfigError(f"{elf.path.name} has a function named total, as the sum is; give it another name")
    return result, {**counts, "total": sum(values)}


# --- tools -----------------------------------------------------------------------------------------------------


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        package = PACKAGES.get(name, "gcc-arm-none-eabi")
        raise ConfigError(
            f"{name} was not found, which programs for the emulated boards need. "
            f"Install the Debian package {package}, or run scripts/setup-system.sh as root."
        )
    return path


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}  # messages are read
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        check=False,
    )


def _checked(command: Sequence[str], what: str) -> str:
    """What the command printed."""
    done = _run(command)
    if done.returncode:
        raise _refuse(done.stdout, what)
    return done.stdout


def _refuse(output: str, what: str) -> ConfigError:
    lines = [x for x in output.splitlines() if "error:" in x.lower() or "undefined reference" in x]
    reason = lines[0] if lines else _tail(output)
    return ConfigError(f"{what}: the program cannot be built: {reason}. Correct the source that it names.")


def _tail(output: str, lines: int = 3) -> str:
    return " | ".join(x for x in output.splitlines()[-lines:] if x) or "nothing was printed"


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
    done = _run(command)
    if not done.returncode:
        return done.stdout
    if "overflowed by" not in done.stdout:
        raise _refuse(done.stdout, f"board {board.name}")
    # Once more, to see how much too large it is.
    again = _run([*command, "-Wl,--noinhibit-exec", "-Wl,--no-check-sections"])
    error = _overflow(elf) if elf.path.is_file() else _refuse(again.stdout, f"board {board.name}")
    elf.path.unlink(missing_ok=True)
    raise error


def _overflow(elf: Elf) -> ConfigError:
    board = elf.board
    at = {name: (size, start) for name, size, start in _sections(elf.path)}
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
    found = sorted((x for x in _symbols(path) if x.section in sections), key=lambda x: (-x.size, x.name))
    return ", ".join(f"{x.name} {x.size:,}" for x in found[:4])


# --- what is in a program ----------------------------------------------------------------------------------------


def _sections(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and address."""
    lines = _checked([_tool(PREFIX + "size"), "-A", "-d", str(path)], str(path)).splitlines()
    rows = [x.split() for x in lines if x.startswith(".")]
    return [(name, int(size), int(start)) for name, size, start in rows]


def _symbols(path: Path) -> list[_Symbol]:
    """Functions (kind FUNC) and variables (OBJECT); size 0 is unknown, as of a part of libgcc."""
    lines = _checked([_tool(PREFIX + "nm"), "-f", "sysv", str(path)], str(path)).splitlines()
    rows = [[x.strip() for x in line.split("|")] for line in lines]
    return [
        _Symbol(x[0], x[3], x[6], int(x[1], 16), int(x[4] or "0", 16))
        for x in rows
        if len(x) == 7 and x[3] in ("FUNC", "OBJECT")
    ]


def _functions(path: Path) -> list[_Symbol]:
    """One for each address, ascending: the longest, and of equal ones the first by name.

    One without a size reaches to the next or the end, unless a sized one holds its address.
    """
    found = [replace(x, start=x.start & ~1) for x in _symbols(path) if x.kind == "FUNC"]
    found.sort(key=lambda x: x.name, reverse=True)
    at = {x.start: x for x in sorted(found, key=lambda x: x.size)}
    sized = [x for x in at.values() if x.size]
    starts = sorted(at)
    end = next(start + size for name, size, start in _sections(path) if name == ".text")
    for start, after in pairwise([*starts, end]):
        if not any(x.start <= start < x.start + x.size for x in sized):
            at[start] = replace(at[start], size=after - start)
    return [at[x] for x in starts if at[x].size]


def _ranges(functions: Sequence[_Symbol]) -> list[tuple[int, int, str]]:
    """Ascending ranges that do not overlap; where functions do (libgcc), the one that starts last has the address."""
    edges = sorted({y for x in functions for y in (x.start, x.start + x.size)})
    found = []
    for first, after in pairwise(edges):
        inside = [x for x in functions if x.start <= first < x.start + x.size]
        if inside:
            found.append((first, after, inside[-1].name))
    return found


def _frames(usage: Iterable[Path]) -> dict[str, int | None]:
    """From lines ``main.c:3:5:main<tab>24<tab>static``."""
    frames: dict[str, int | None] = {}
    for path in usage:
        for line in path.read_text(encoding="utf-8").splitlines():
            place, size, how = line.split("\t")
            name = place.rsplit(":", 1)[1]
            before = frames.get(name, 0)
            frames[name] = None if before is None or how == "dynamic" else max(before, int(size))
    return frames


# --- emulation -------------------------------------------------------------------------------------------------


def _emulate(elf: Elf, board: Board, timeout: float, *options: str) -> Result:
    command = [
        _tool(EMULATOR), "-M", board.machine, "-nographic", "-monitor", "none", "-serial", "none",
        "-semihosting-config", "enable=on,target=native", "-kernel", str(elf.path), *options,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = _tail((error.stdout or b"").decode(errors="replace"))
        raise ConfigError(
            f"board {board.name}: {elf.path.name} did not end within {timeout:g} s; the last it printed: {said}. "
            "Give it more time, or look for a loop without end."
        ) from None
    output = done.stdout.decode(errors="replace")
    _check_end(board, elf, done.returncode, output)
    return Result(done.returncode, output)


def _check_end(board: Board, elf: Elf, status: int, output: str) -> None:
    own = [x for x in output.splitlines() if re.match(r"qemu(-system-arm)?: (?!warning)", x)]
    if _FAULT in output:
        before, reason = output.rsplit(_FAULT, 1)
        raise _fault(board, elf, before, reason.strip())
    if status < 0 or own:
        reason = own[0] if own else f"the emulator ended by signal {-status}"
        raise ConfigError(
            f"board {board.name}: {elf.path.name} did not run: {reason}. See that it is made for the board."
        )


def _fault(board: Board, elf: Elf, printed: str, reason: str) -> ConfigError:
    remedy = f"Look the address up in {PREFIX}objdump -d {elf.path}."
    if "stack" in reason:
        remedy = f"It has {elf.board.stack:,} bytes; give the board more (Board.stack)."
    at = re.search(r"pc 0x([0-9a-f]+)", reason)
    where = [x.name for x in _functions(elf.path) if at and x.start <= int(at[1], 16) < x.start + x.size]
    inside = f" in {where[-1]}" if where else ""
    return ConfigError(
        f"board {board.name}: {elf.path.name} faulted: {reason}{inside}; "
        f"the last it printed: {_tail(printed)}. {remedy}"
    )


# --- plugin ------------------------------------------------------------------------------------------------------


def _comma(path: Path) -> str:
    return str(path).replace(",", ",,")  # as QEMU writes a comma in a value


@cache
def _plugin() -> Path:
    """The plugin, built if it is not yet in the user's cache, or in a temporary folder where that cannot be written."""
    said = _checked([_tool(EMULATOR), "--version"], EMULATOR).splitlines()[0]
    if not re.search(r"version 7\.", said):
        raise ConfigError(
            f"instructions are counted with QEMU 7 only, whose plugin interface is version 1: this is {said!r}. "
            "Install qemu-system-arm of Debian 12; programs run on other versions, uncounted."
        )
    key = sha256(PLUGIN.read_bytes() + platform.machine().encode()).hexdigest()[:16]
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "insitu" / "plugin"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _compile_plugin(folder / f"counts-{key}.so")
    except OSError:
        return _compile_plugin(Path(tempfile.mkdtemp(prefix="insitu-plugin-")) / f"counts-{key}.so")


def _compile_plugin(to: Path) -> Path:
    if to.is_file():
        return to
    with tempfile.TemporaryDirectory(dir=to.parent) as folder:
        made = Path(folder) / to.name
        _checked([_tool("gcc"), *_PLUGIN_FLAGS, str(PLUGIN), "-o", str(made)], "the plugin that counts")
        made.replace(to)
    return to
