"""The tools that programs for boards are made with: calling them, and what nm, readelf and GCC say of a program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from insitu.backends.c.cache import kept
from insitu.errors import ConfigError


@dataclass(frozen=True)
class Architecture:
    """The tools of one kind of processor.

    Attributes:
        prefix: of the compiler and its companions.
        emulator: QEMU's program.
        package, emulator_package: Debian's.
        number: of the architecture in the header of an ELF file.
        pushed: a list of registers that an instruction takes the stack for.
        taken: an instruction that takes the stack; its groups are the bytes.
        call: an instruction that goes to another function, its last group.
    """

    prefix: str
    emulator: str
    package: str
    emulator_package: str
    number: int
    pushed: re.Pattern[str] | None
    taken: re.Pattern[str]
    call: re.Pattern[str]

    @property
    def gcc(self) -> str:
        return self.prefix + "gcc"


ARM = Architecture(
    prefix="arm-none-eabi-",
    emulator="qemu-system-arm",
    package="gcc-arm-none-eabi",
    emulator_package="qemu-system-arm",
    number=40,
    pushed=re.compile(r"\b(?:push|stmdb(?:\.w)?\s+sp!,)\s*\{([^}]*)\}"),
    taken=re.compile(r"\bsub(?:\.w|w)?\s+sp,(?: sp,)? #(\d+)|\[sp, #-(\d+)\]!"),
    call=re.compile(r"\sb(?:l|lx|\.n|\.w)?\s+[0-9a-f]+ <(\w+)>"),
)
RISCV = Architecture(
    prefix="riscv64-unknown-elf-",
    emulator="qemu-system-riscv32",
    package="gcc-riscv64-unknown-elf",
    emulator_package="qemu-system-misc",
    number=243,
    pushed=None,
    taken=re.compile(r"\baddi?\s+sp,sp,-(\d+)()"),
    call=re.compile(r"\s(?:jal|j)\s+(?:ra,)?[0-9a-f]+ <(\w+)>"),
)
ARCHITECTURES = (ARM, RISCV)


def architecture_of(elf: Path) -> Architecture:
    """For whose processor a program is built, by its header."""
    with elf.open("rb") as stream:
        number = int.from_bytes(stream.read(20)[18:20], "little")
    return next(a for a in ARCHITECTURES if a.number == number)


PACKAGES = {"gcc": "gcc and libc6-dev"} | {
    a.prefix + name: a.package for a in ARCHITECTURES for name in ("gcc", "nm", "size", "objdump")
}
PACKAGES |= {a.emulator: a.emulator_package for a in ARCHITECTURES}
"""The Debian package of a tool."""


@dataclass(frozen=True)
class Symbol:
    name: str
    kind: str
    section: str
    start: int
    size: int


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise ConfigError(
            f"{name} was not found, which programs for the emulated boards need. "
            f"Install the Debian package {PACKAGES[name]}, or run scripts/setup-system.sh as root."
        )
    return path


def run_tool(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
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


def checked(command: Sequence[str], what: str) -> str:
    """What the command printed."""
    done = run_tool(command)
    if done.returncode:
        raise refuse(done.stdout, what)
    return done.stdout


def refuse(output: str, what: str) -> ConfigError:
    lines = [x for x in output.splitlines() if "error:" in x.lower() or "undefined reference" in x]
    reason = lines[0] if lines else tail(output)
    return ConfigError(f"{what}: the program cannot be built: {reason}. Correct the source that it names.")


def tail(output: str, lines: int = 3) -> str:
    return " | ".join(x for x in output.splitlines()[-lines:] if x) or "nothing was printed"


# --- objects ---------------------------------------------------------------------------

_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def compiled(command: Sequence[str], source: Path, folders: Sequence[Path], what: str) -> tuple[Path, str]:
    """The object file of a source, and what the compiler said; kept by content, so that a kernel is compiled once.

    GCC's files of stack frames and calls (``.su``, ``.ci``) lie beside it.

    Args:
        command: the compiler and its options.
        folders: of headers.
    """
    parts = (*command, str(Path(command[0]).stat().st_mtime_ns), source.name, *_texts(source, folders))

    def make(path: Path) -> None:
        include = [f"-I{x}" for x in folders]
        said = checked([*command, *include, "-c", str(source), "-o", str(path)], what)
        path.with_suffix(".txt").write_text(said, encoding="utf-8")

    path = kept("object", ".o", chr(0).join(parts).encode(), make, beside=(".txt", ".su", ".ci"))
    return path, path.with_suffix(".txt").read_text(encoding="utf-8")


def _texts(source: Path, folders: Sequence[Path]) -> list[str]:
    """The text of a source and of the headers that it includes."""
    texts, todo, seen = [], [source], {source}
    while todo:
        path = todo.pop()
        texts.append(path.read_text(encoding="utf-8"))
        for name in _INCLUDE.findall(texts[-1]):
            found = next((x / name for x in (path.parent, *folders) if (x / name).is_file()), None)
            if found is not None and found not in seen:
                seen.add(found)
                todo.append(found)
    return texts


# --- what is in a program ------------------------------------------------------------


def _said(elf: Path, name: str, *options: str) -> str:
    """What a tool of a program's architecture says of it."""
    return checked([tool(architecture_of(elf).prefix + name), *options, str(elf)], str(elf))


def sections_of(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and address."""
    lines = _said(path, "size", "-A", "-d").splitlines()
    rows = [x.split() for x in lines if x.startswith(".")]
    return [(name, int(size), int(start)) for name, size, start in rows]


def symbols_of(path: Path) -> list[Symbol]:
    """Functions (kind FUNC) and variables (OBJECT); size 0 is unknown, as of a part of libgcc."""
    lines = _said(path, "nm", "-f", "sysv").splitlines()
    rows = [[x.strip() for x in line.split("|")] for line in lines]
    return [
        Symbol(x[0], x[3], x[6], int(x[1], 16), int(x[4] or "0", 16))
        for x in rows
        if len(x) == 7 and x[3] in ("FUNC", "OBJECT")
    ]


def functions_of(path: Path) -> list[Symbol]:
    """One for each address, ascending: the longest, and of equal ones the first by name.

    One without a size reaches to the next or the end, unless a sized one holds its address.
    """
    found = [replace(x, start=x.start & ~1) for x in symbols_of(path) if x.kind == "FUNC"]
    found.sort(key=lambda x: x.name, reverse=True)
    at = {x.start: x for x in sorted(found, key=lambda x: x.size)}
    sized = [x for x in at.values() if x.size]
    starts = sorted(at)
    end = next(start + size for name, size, start in sections_of(path) if name == ".text")
    for start, after in pairwise([*starts, end]):
        if not any(x.start <= start < x.start + x.size for x in sized):
            at[start] = replace(at[start], size=after - start)
    return [at[x] for x in starts if at[x].size]


def ranges_of(functions: Sequence[Symbol]) -> list[tuple[int, int, str]]:
    """Ascending ranges that do not overlap; where functions do (libgcc), the one that starts last has the address."""
    edges = sorted({y for x in functions for y in (x.start, x.start + x.size)})
    found = []
    for first, after in pairwise(edges):
        inside = [x for x in functions if x.start <= first < x.start + x.size]
        if inside:
            found.append((first, after, inside[-1].name))
    return found


def frames_of(usage: Iterable[Path]) -> dict[str, int | None]:
    """From lines ``main.c:3:5:main<tab>24<tab>static``."""
    frames: dict[str, int | None] = {}
    for path in usage:
        for line in path.read_text(encoding="utf-8").splitlines():
            place, size, how = line.split("\t")
            name = place.rsplit(":", 1)[1]
            before = frames.get(name, 0)
            frames[name] = None if before is None or how == "dynamic" else max(before, int(size))
    return frames


# --- stack -----------------------------------------------------------------------------

_NODE = re.compile(r'^node: \{ title: "([^"]+)" label: "[^"]*\\n(\d+) bytes \(([^)]+)\)')
_EDGE = re.compile(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"')
_LABEL = re.compile(r"^[0-9a-f]+ <(\w+)>:$")


@dataclass(frozen=True)
class Calls:
    """The calls of a program.

    Attributes:
        frames: bytes of a function's own on the stack; ``None``: not bounded.
        calls: what a function calls.
    """

    frames: Mapping[str, int | None]
    calls: Mapping[str, set[str]]

    def depth(self, name: str, above: tuple[str, ...] = ()) -> int | None:
        """The most stack that a call takes; ``None``: not bounded, for a frame, a pointer or a recursion."""
        own = self.frames.get(name)
        if own is None or name in above:
            return None
        inner = [self.depth(x, (*above, name)) for x in self.calls.get(name, ())]
        known = [x for x in inner if x is not None]
        return None if len(known) < len(inner) else own + max(known, default=0)


def calls_of(graphs: Iterable[Path], elf: Path) -> Calls:
    """From GCC's call graphs (-fcallgraph-info=su), and for parts of libgcc from what they do."""
    frames: dict[str, int | None] = {}
    calls: dict[str, set[str]] = defaultdict(set)
    for line in (x for path in graphs for x in path.read_text(encoding="utf-8").splitlines()):
        if node := _NODE.match(line):
            frames[node[1]] = None if node[3] == "dynamic" else int(node[2])
        elif edge := _EDGE.match(line):
            calls[edge[1]].add(edge[2])
    name, known, of = "", frozenset(frames), architecture_of(elf)
    for line in _said(elf, "objdump", "-d").splitlines():
        if label := _LABEL.match(line):
            name = label[1]
        if not name or name in known:
            continue
        frames[name] = (frames.get(name) or 0) + _taken(of, line)
        call = of.call.search(line)
        if call and call[1] != name:
            calls[name].add(call[1])
    names: dict[int, list[str]] = defaultdict(list)
    for x in symbols_of(elf):
        names[x.start].append(x.name)
    for same in names.values():  # several names of one function
        for told in [x for x in same if x in frames]:
            for other in set(same) - set(frames):
                frames[other], calls[other] = frames[told], calls[told]
    return Calls(frames, calls)


def _taken(of: Architecture, line: str) -> int:
    """Bytes of the stack that an instruction takes."""
    pushed = of.pushed.search(line) if of.pushed is not None else None
    taken = of.taken.search(line)
    return 4 * _registers(pushed[1]) if pushed else int(taken[1] or taken[2]) if taken else 0


def _registers(text: str) -> int:
    """Of a list such as ``r4-r7, lr``."""
    count = 0
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        count += int(last[1:]) - int(first[1:]) + 1 if last else 1
    return count
