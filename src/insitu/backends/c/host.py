"""The C program as an engine on this machine: compiled once by content, called through ctypes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, pairwise, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.backends.c import updates
from insitu.backends.c.cache import kept
from insitu.backends.c.emit import base_shift
from insitu.backends.c.memory import Memory
from insitu.backends.c.project import Source, generated, tested
from insitu.backends.c.templates import RUNTIME
from insitu.errors import ConfigError
from insitu.ops.updates import BoundUpdate, MasterUpdate
from insitu.run.program import Program
from insitu.step.triggers import triggers_of

WARNINGS = (
    *("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wvla", "-pedantic"),
    *("-Werror", "-ffp-contract=off"),
)
FAST = ("-O3", "-fPIC")
SANITIZED = ("-O1", "-g", "-fPIC", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
AVX2 = ("-mavx2", "-DINSITU_AVX2")
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-DINSITU_AVX512")
VNNI = ("-mavx512vnni", "-mavx512vbmi", "-DINSITU_VNNI")
LEVELS = (
    (AVX2, {"avx2"}),
    (AVX512, {"avx512f", "avx512bw", "avx512vl"}),
    (VNNI, {"avx512_vnni", "avx512vbmi"}),
)
"""Flags, each beside those before it, and what they need, as Linux names it."""

STATUS = {
    -3: "a label is no class of the network",
    -4: "it has no such phase",
    -5: "the learning rate is too large",
}
"""What a training step may be refused for (``insitu_net.h``)."""

SIZES = (
    "arena",
    "state",
    "batch_bytes",
    "label_bytes",
    "sample_bytes",
    "classes",
    "updates",
    "phases",
    "batch",
)


@lru_cache(maxsize=1)
def compiler() -> str:
    """The host's C compiler.

    Raises:
        ConfigError: there is none.
    """
    for name in filter(None, (os.environ.get("CC"), "gcc", "cc", "clang")):
        if shutil.which(name):
            return name
    raise ConfigError(
        "the C engine needs a C compiler, and none was found; install the package gcc, or set CC"
    )


@lru_cache(maxsize=1)
def features() -> tuple[str, ...]:
    """Flags of what this processor has beyond the baseline."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ()
    known = set(text.split())
    levels = takewhile(lambda level: known >= level[1], LEVELS)
    return tuple(chain.from_iterable(flags for flags, _ in levels))


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        line = next((text for text in done.stderr.splitlines() if "error" in text), done.stderr.strip())
        full = "No space left" in done.stderr
        remedy = "free space, or set TMPDIR" if full else "report it with the network and the rule"
        raise ConfigError(f"{command[0]} refused the generated C: {line}; {remedy}")


def kernels(flags: Sequence[str]) -> Path:
    """All kernels as a static library, with their forms for this machine and those of updates from outside."""
    sources = [
        *sorted((RUNTIME / "kernels").glob("*.[ch]")),
        *sorted(path for path in (RUNTIME / "host").glob("*.[ch]") if path.stem != "host"),
        *updates.sources(),
        RUNTIME / "insitu_kernels.h",
    ]
    header = updates.header(updates.known())
    key = b"\0".join(path.read_bytes() for path in sources) + repr((compiler(), header, *flags)).encode()

    def make(path: Path) -> None:
        folder = path.parent
        (folder / "insitu_updates.h").write_text(header, encoding="utf-8")
        shutil.copy(RUNTIME / "insitu_kernels.h", folder)
        (folder / "kernels").mkdir()
        objects = []
        for source in sources[:-1]:
            shutil.copy(source, folder / "kernels")
        for source in sorted((folder / "kernels").glob("*.c")):
            objects.append(str(folder / f"{source.stem}.o"))
            _run([compiler(), *WARNINGS, *flags, "-I", str(folder), "-c", str(source), "-o", objects[-1]])
        _run(["ar", "rcs", str(path), *objects])

    return kept("kernels", ".a", key, make)


def _of_all_kernels() -> dict[str, str]:
    """What a program is compiled with beside :func:`kernels`: the list of all updates."""
    return {"insitu_updates.h": updates.header(updates.known())}


def _compile(texts: Mapping[str, str], folder: Path, flags: Sequence[str], archive: Path, out: Path) -> None:
    """Compiles the C files of ``texts`` with the kernels into a program or a library."""
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    sources = [str(folder / name) for name in texts if name.endswith(".c")]
    _run([compiler(), *WARNINGS, *flags, "-I", str(folder), *sources, str(archive), "-o", str(out)])


def library(
    program: Program, flags: Sequence[str] | None = None
) -> tuple[Path, list[BoundUpdate | MasterUpdate]]:
    """The program as a shared library, and its updates in order."""
    flags = (*FAST, *features()) if flags is None else tuple(flags)
    source = Source(program, counted=True)
    host = {path.name: path.read_text(encoding="utf-8") for path in (RUNTIME / "host").glob("host.*")}
    texts = generated(source) | host | _of_all_kernels()
    texts["insitu_net.c"] = '#include "host.h"\n' + texts["insitu_net.c"]
    texts["host.c"] = f"#define INSITU_TRIGGERS {max(_triggers(program), 1)}u\n" + texts["host.c"]
    archive = kernels(flags)
    key = repr((sorted(texts.items()), archive.name)).encode()

    def make(path: Path) -> None:
        _compile(texts, path.parent, (*flags, "-shared"), archive, path)

    return kept("program", ".so", key, make), source.constants.moves


def _triggers(program: Program) -> int:
    """The largest number of triggers of a step."""
    return max(len(triggers_of(step)) for step in program.steps)


def self_test(program: Program, flags: Sequence[str] = SANITIZED) -> str:
    """Compiles the self-test of a program and runs it; what it printed, with what a sanitizer said.

    Raises:
        ConfigError: the compiler refused or warned.
    """
    with tempfile.TemporaryDirectory() as place:
        binary = Path(place) / "self-test"
        _compile(tested(Source(program)) | _of_all_kernels(), Path(place), flags, kernels(flags), binary)
        done = subprocess.run([binary], capture_output=True, text=True)
    return done.stdout + done.stderr


@dataclass
class Engine:
    """A running program.

    Args:
        program: what to run.
        flags: of the compiler; ``None``: fast, with what this processor has.
    """

    program: Program
    flags: Sequence[str] | None = None

    def __post_init__(self) -> None:
        path, self.moves = library(self.program, self.flags)
        self.c = ctypes.CDLL(str(path))
        self.c.insitu_host_new.restype = ctypes.c_void_p
        self.c.insitu_host_copy.restype = ctypes.c_void_p
        self.c.insitu_host_state.restype = ctypes.POINTER(ctypes.c_uint8)
        self.c.insitu_host_triggers.restype = ctypes.POINTER(ctypes.c_uint32)
        self.host = ctypes.c_void_p(self.c.insitu_host_new())
        self.set_clock(self.program.lr, 0)

    def __del__(self) -> None:
        if getattr(self, "host", None):
            self.c.insitu_host_free(self.host)

    @cached_property
    def memory(self) -> Memory:
        """Where the program's arrays lie."""
        return Memory(self.program)

    @cached_property
    def sizes(self) -> dict[str, int]:
        return {name: int(self.c.insitu_host_size(i)) for i, name in enumerate(SIZES)}

    @property
    def state(self) -> npt.NDArray[np.uint8]:
        """The bytes that learning changes; a view."""
        pointer = self.c.insitu_host_state(self.host)
        return (
            np.ctypeslib.as_array(pointer, (self.sizes["state"],))
            if self.sizes["state"]
            else np.empty(0, np.uint8)
        )

    @cached_property
    def fired(self) -> npt.NDArray[np.uint32]:
        """Samples that each trigger of a step has fired for since it was cleared; a view."""
        count = _triggers(self.program)
        pointer = self.c.insitu_host_triggers(self.host)
        return np.ctypeslib.as_array(pointer, (count,)) if count else np.empty(0, np.uint32)

    def set_clock(self, lr: float, t: int) -> None:
        """The learning rate and the number of training steps done."""
        count = self.sizes["updates"]
        shift = (ctypes.c_int8 * count)(*(base_shift(o, lr) for o in self.moves))
        self.c.insitu_host_clock(self.host, self.program.seed & 0xFFFFFFFF, t, ctypes.c_float(lr), shift)

    def learn(self, x: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8], phase: int = 0) -> None:
        """Training steps over packed batches [steps, bytes].

        Raises:
            ConfigError: C refused one, as a label is no class.
        """
        status = self.c.insitu_host_learn(self.host, phase, _pointer(x), _pointer(label), len(x))
        if status:
            raise ConfigError(f"the C program refused a training step: {STATUS.get(status, status)}")

    def infer(
        self, x: npt.NDArray[np.uint8], threads: int = 1
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32]]:
        """Classes and scores of packed samples [samples, bytes]; by several threads, with the same bits."""
        classes = np.empty(len(x), np.uint32)
        scores = np.empty((len(x), self.sizes["classes"]), np.int32)

        def part(host: ctypes.c_void_p, rows: slice) -> None:
            found = (_pointer(classes[rows]), _pointer(scores[rows]))
            self.c.insitu_host_infer(host, _pointer(x[rows]), len(x[rows]), *found)

        bounds = [len(x) * i // threads for i in range(threads + 1)]
        rows = [slice(*pair) for pair in pairwise(bounds)]
        copies = [ctypes.c_void_p(self.c.insitu_host_copy(self.host)) for _ in rows[1:]]
        try:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(part, (self.host, *copies), rows))
        finally:
            for host in copies:
                self.c.insitu_host_free(host)
        return classes, scores


def _pointer(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)
