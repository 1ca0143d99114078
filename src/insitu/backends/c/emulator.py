"""Runs programs on QEMU's boards and counts the instructions that they retire, by a plugin of our own."""

from __future__ import annotations

import platform
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from insitu.backends.c.boards import RUNTIME, Board, Elf, find
from insitu.backends.c.cache import kept
from insitu.backends.c.toolchain import Architecture, checked, functions_of, ranges_of, tail, tool
from insitu.errors import ConfigError

PLUGIN = RUNTIME / "plugin" / "counts.c"
OTHER = "(other)"
"""The key of instructions outside every function of `count`."""

_PLUGIN_FLAGS = (
    *("-std=c99", "-O2", "-shared", "-fPIC", "-fvisibility=hidden"),
    *("-Wall", "-Wextra", "-pedantic"),
)
_FAULT = "insitu-fault:"


@dataclass(frozen=True)
class Result:
    """What a run ended with: 0 to 254, or 255 for a status that does not fit, and all that was printed."""

    exit_code: int
    output: str


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
    plugin = _plugin(target.architecture)
    ranges = ranges_of(functions_of(elf.path))
    with tempfile.TemporaryDirectory(prefix="insitu-") as folder:
        inputs, outputs = Path(folder) / "ranges", Path(folder) / "counts"
        inputs.write_text("".join(f"{first:x} {after:x}\n" for first, after, _ in ranges))
        option = ",".join((_comma(plugin), f"ranges={_comma(inputs)}", f"out={_comma(outputs)}"))
        result = _emulate(elf, target, timeout, "-plugin", option)
        if not outputs.is_file():
            raise ConfigError(f"board {target.name}: the plugin counted nothing: {tail(result.output)}")
        values = [int(x) for x in outputs.read_text().split()]
    counts: Counter[str] = Counter()
    for name, value in zip([*(x[2] for x in ranges), OTHER], values, strict=True):
        if value:
            counts[name] += value
    if "total" in counts:
        raise ConfigError(f"{elf.path.name} has a function named total, as the sum is; give it another name")
    return result, {**counts, "total": sum(values)}


def _emulate(elf: Elf, board: Board, timeout: float, *options: str) -> Result:
    command = [
        tool(board.architecture.emulator), "-M", board.machine, "-nographic", "-monitor", "none", "-serial", "none",
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
        said = tail((error.stdout or b"").decode(errors="replace"))
        raise ConfigError(
            f"board {board.name}: {elf.path.name} did not end within {timeout:g} s; the last it printed: {said}. "
            "Give it more time, or look for a loop without end."
        ) from None
    output = done.stdout.decode(errors="replace")
    _check_end(board, elf, done.returncode, output)
    return Result(done.returncode, output)


def _check_end(board: Board, elf: Elf, status: int, output: str) -> None:
    own = [x for x in output.splitlines() if re.match(r"qemu(-system-\w+)?: (?!warning)", x)]
    if _FAULT in output:
        before, reason = output.rsplit(_FAULT, 1)
        raise _fault(board, elf, before, reason.strip())
    if status < 0 or own:
        reason = own[0] if own else f"the emulator ended by signal {-status}"
        raise ConfigError(
            f"board {board.name}: {elf.path.name} did not run: {reason}. See that it is made for the board."
        )


def _fault(board: Board, elf: Elf, printed: str, reason: str) -> ConfigError:
    remedy = f"Look the address up in {board.architecture.prefix}objdump -d {elf.path}."
    if "stack" in reason:
        remedy = f"It has {elf.board.stack:,} bytes; give the board more (Board.stack)."
    at = re.search(r"pc 0x([0-9a-f]+)", reason)
    where = [x.name for x in functions_of(elf.path) if at and x.start <= int(at[1], 16) < x.start + x.size]
    inside = f" in {where[-1]}" if where else ""
    return ConfigError(
        f"board {board.name}: {elf.path.name} faulted: {reason}{inside}; "
        f"the last it printed: {tail(printed)}. {remedy}"
    )


# --- plugin --------------------------------------------------------------------------------


def _comma(path: Path) -> str:
    return str(path).replace(",", ",,")  # as QEMU writes a comma in a value


def _plugin(of: Architecture) -> Path:
    """The plugin, compiled once."""
    said = checked([tool(of.emulator), "--version"], of.emulator).splitlines()[0]
    if not re.search(r"version 7\.", said):
        raise ConfigError(
            f"instructions are counted with QEMU 7 only, whose plugin interface is version 1: this is {said!r}. "
            f"Install {of.emulator_package} of Debian 12; programs run on other versions, uncounted."
        )

    def make(path: Path) -> None:
        checked([tool("gcc"), *_PLUGIN_FLAGS, str(PLUGIN), "-o", str(path)], "the plugin that counts")

    return kept("counts", ".so", PLUGIN.read_bytes() + platform.machine().encode(), make)
