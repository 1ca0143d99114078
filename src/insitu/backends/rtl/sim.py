"""The engine in simulation: Verilator's C++ behind ctypes, built once by content."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.backends.c.cache import kept
from insitu.backends.engine.isa import WORD_BITS
from insitu.backends.engine.trace import MEMORIES
from insitu.backends.rtl import tools
from insitu.backends.rtl.engine.top import Engine
from insitu.backends.rtl.parameters import Parameters
from insitu.errors import ConfigError, StepError

RUNTIME = Path(__file__).parent / "runtime"
VERILATE = (
    "--cc",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--noassert",
    "-Wno-fatal",
    "-Wno-lint",
)
COMPILE = ("-O2", "-fPIC", "-std=c++17")
LIMIT = 1 << 24
"""Cycles after which a program is taken to hang."""
Words = npt.NDArray[np.uint32]
Bytes = npt.NDArray[np.uint8]


def missing() -> str | None:
    """What a simulation needs and this machine lacks, with the remedy."""
    for program, package in (("verilator", "verilator"), ("g++", "g++")):
        if shutil.which(program) is None:
            return f"{program} is not installed; install the Debian package {package}"
    return tools.missing()


class Simulation:
    """An engine with its memories.

    Args:
        p: its parameters.
        family: of an FPGA, ``ice40``: the netlist that synthesis makes is simulated, cell by cell; else the source is.

    Raises:
        ConfigError: Verilator or a compiler is missing.
    """

    def __init__(self, p: Parameters, family: str | None = None) -> None:
        self.p = p
        self._library = _library(p, family)
        self._sim = ctypes.c_void_p(self._library.sim_new())
        self._host_words = _host_words(p)

    def __del__(self) -> None:
        if hasattr(self, "_sim"):
            self._library.sim_free(self._sim)

    # --- memories ----------------------------------------------------------------------------------------------

    def write_words(self, memory: str, address: int, words: Words) -> None:
        """Writes words ``[count, 32-bit parts]``."""
        full = np.zeros((len(words), self._host_words), np.uint32)
        full[:, : words.shape[1]] = words
        self._library.sim_write(
            self._sim, MEMORIES[memory], address, _pointer(full, ctypes.c_uint32), len(full)
        )

    def read_words(self, memory: str, address: int, count: int) -> Words:
        found = np.zeros((count, self._host_words), np.uint32)
        self._library.sim_read(self._sim, MEMORIES[memory], address, _pointer(found, ctypes.c_uint32), count)
        return found

    def write(self, memory: str, address: int, data: npt.NDArray[Any]) -> None:
        """Writes bytes to words of ``a`` or ``w`` (8 bits an element, whatever W keeps of them), or instructions to
        ``code``, from a word on."""
        if memory in ("code", "table"):
            words = np.asarray(data, np.uint64)
            self.write_words(memory, address, np.ascontiguousarray(words).view(np.uint32).reshape(-1, 2))
            return
        self.write_words(memory, address, self.packed(data))

    def packed(self, data: npt.NDArray[Any]) -> Words:
        """Bytes as words of the host port; a last word is filled up with 0."""
        flat = np.asarray(data).astype(np.int64).ravel() & 255
        rows = -(-len(flat) // self.p.lanes)
        full = np.zeros((rows, 4 * self._host_words), np.uint8)
        padded = np.pad(flat.astype(np.uint8), (0, rows * self.p.lanes - len(flat)))
        full[:, : self.p.lanes] = padded.reshape(rows, self.p.lanes)
        return full.view(np.uint32)

    def host_words(self, numbers: Sequence[int]) -> Words:
        """Whole words as 32-bit parts, low first."""
        parts = self._host_words
        return np.array([[n >> 32 * i & 0xFFFFFFFF for i in range(parts)] for n in numbers], np.uint32)

    def read(self, memory: str, address: int = 0, count: int | None = None) -> Bytes:
        """Bytes ``[count, P]`` of words of ``a`` or ``w``; all of them by default."""
        most = self.p.a_words if memory == "a" else self.p.w_words
        words = self.read_words(memory, address, most - address if count is None else count)
        return words.view(np.uint8).reshape(len(words), -1)[:, : self.p.lanes]

    # --- programs ----------------------------------------------------------------------------------------------

    def run(self, entry: int = 0, label: int = 0, limit: int = LIMIT) -> int:
        """Runs a program to its END; the cycles that it took.

        Raises:
            StepError: it does not end.
        """
        cycles = int(self._library.sim_run(self._sim, entry, label, limit))
        if cycles < 0:
            raise StepError(
                f"the program at {entry} has not ended after {limit:,} cycles; does it lack an END?"
            )
        return cycles

    def samples(
        self, entry: int, address: int, samples: npt.NDArray[Any], labels: Sequence[int] | npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.int64], Bytes, Bytes]:
        """Runs a program for each of some samples, which are written to a word address of A before.

        Returns:
            Of each sample: cycles, flags of triggers, class of the largest score.
        """
        count = len(samples)
        words = np.stack([self.packed(sample) for sample in samples])
        cycles, fired, best = np.zeros(count, np.int64), np.zeros(count, np.uint8), np.zeros(count, np.uint8)
        given = np.ascontiguousarray(labels, np.uint8)
        u8 = ctypes.c_uint8
        done = self._library.sim_samples(
            *(
                self._sim,
                entry,
                address,
                words.shape[1],
                _pointer(words, ctypes.c_uint32),
                _pointer(given, u8),
            ),
            *(count, LIMIT, _pointer(cycles, ctypes.c_int64), _pointer(fired, u8), _pointer(best, u8)),
        )
        if done < count:
            raise StepError(f"the program at {entry} has not ended after {LIMIT:,} cycles for sample {done}")
        return cycles, fired, best

    def interrupted(self, entry: int, label: int, cycles: int) -> None:
        """Starts a program and resets the engine in the middle of it: what a power cut leaves."""
        self._library.sim_run(self._sim, entry, label, cycles)
        self._library.sim_reset(self._sim)

    # --- what can be seen from outside --------------------------------------------------------------------------

    @property
    def fired(self) -> int:
        return int(self._library.sim_fired(self._sim))

    @property
    def best_class(self) -> int:
        return int(self._library.sim_best(self._sim))

    @property
    def random(self) -> tuple[int, int]:
        """States of both random registers."""
        first, second = (int(self._library.sim_register(self._sim, n)) for n in range(2))
        return first, second


def _host_words(p: Parameters) -> int:
    return -(-max(8 * p.lanes, WORD_BITS) // 32)


def _pointer(array: npt.NDArray[Any], kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))


# --- building ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _library(p: Parameters, family: str | None) -> ctypes.CDLL:
    """The compiled engine of these parameters."""
    if (reason := missing()) is not None:
        raise ConfigError(f"the engine cannot be simulated: {reason}")
    design = Engine(p)
    text = tools.rtlil(design, design.ports())
    source = (RUNTIME / "sim.cpp").read_text()
    given = defines(p)
    key = "\0".join((family or "", text, source, *given, *VERILATE, *COMPILE, _version())).encode()
    path = kept("rtl", ".so", key, lambda target: _build(text, family, source, given, target))
    library = ctypes.CDLL(str(path))
    library.sim_new.restype = ctypes.c_void_p
    library.sim_run.restype, library.sim_register.restype = ctypes.c_int64, ctypes.c_uint32
    library.sim_run.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
    return library


def defines(p: Parameters) -> tuple[str, ...]:
    """Of the C++ beside the simulated engine."""
    return f"-DHOST_WORDS={_host_words(p)}", *(["-DLEARN"] if p.learn else [])


def _build(text: str, family: str | None, source: str, given: Sequence[str], target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "engine.il").write_text(text)
        (here / "sim.cpp").write_text(source)
        if family is None:
            tools.verilog(here / "engine.il", here / "engine.v")
        else:
            tools.gates(here / "engine.il", here / "engine.v", family)
        where = ("--Mdir", str(here / "made"), "--prefix", "Vengine", "--top-module", tools.TOP)
        _command("verilator", *VERILATE, *where, str(here / "engine.v"))
        parts = sorted((here / "made").glob("*.cpp"))
        whole = here / "whole.cpp"  # in one: the headers take longer than the engine
        whole.write_text("".join(f'#include "{path}"\n' for path in (*parts, here / "sim.cpp")))
        include = _include()
        paths = (f"-I{here / 'made'}", f"-I{include}", f"-I{include / 'vltstd'}")
        made = ("-shared", "-o", str(target), str(whole), str(_runtime()), "-lpthread")
        options = COMPILE if family is None else (*COMPILE, "-O0")  # megabytes of single gates
        _command("g++", *options, *given, *paths, *made)


def _command(*words: str) -> str:
    """Runs a tool.

    Raises:
        ConfigError: it failed.
    """
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"{words[0]} failed: {done.stderr[-600:]}")
    return done.stdout


@lru_cache(maxsize=1)
def _version() -> str:
    return _command("verilator", "--version") + _command("g++", "--version").splitlines()[0]


@lru_cache(maxsize=1)
def _include() -> Path:
    return Path(_command("verilator", "--getenv", "VERILATOR_ROOT").strip()) / "include"


@lru_cache(maxsize=1)
def _runtime() -> Path:
    """Verilator's own runtime, compiled once."""

    def make(target: Path) -> None:
        sources = [str(_include() / name) for name in ("verilated.cpp", "verilated_threads.cpp")]
        paths = (f"-I{_include()}", f"-I{_include() / 'vltstd'}")
        _command("g++", *COMPILE, *paths, "-r", "-o", str(target), *sources)

    return kept("verilated", ".o", ("\0".join(COMPILE) + _version()).encode(), make)
