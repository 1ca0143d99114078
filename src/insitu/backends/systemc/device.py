"""The SystemC model as a host sees it (:class:`insitu.backends.engine.host.Device`): a process behind a pipe."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.backends.c.cache import kept
from insitu.backends.engine import bus
from insitu.backends.engine.build import Build
from insitu.backends.systemc import headers
from insitu.errors import ConfigError, StepError

RUNTIME = Path(__file__).parent / "runtime"
STANDARD = "-std=c++17"
"""The one that Debian's library was built with; another one does not link."""
COMPILE = (STANDARD, "-O3", "-march=native")
HEADER = Path("/usr/include/systemc")
OK = 1
"""What TLM answers to a good access."""
MEMORIES: dict[str, tuple[str, np.dtype[Any]]] = {
    "a": ("A", np.dtype("u1")),
    "w": ("W", np.dtype("i1")),
    "code": ("CODE", np.dtype("<u8")),
    "table": ("TABLE", np.dtype("<u2")),
}
"""By a host's name: the window, and an element of it."""

Bytes = npt.NDArray[np.uint8]


def missing() -> str | None:
    """What the model needs and this machine lacks, with the remedy."""
    if shutil.which("g++") is None:
        return "g++ is not installed; install the Debian package g++"
    if not HEADER.exists():
        return "SystemC is not installed; install the Debian package libsystemc-dev"
    return None


def sources() -> dict[str, str]:
    """All C++ files of the model by name, written headers included."""
    fixed = {path.name: path.read_text() for path in sorted(RUNTIME.glob("*.?pp"))}
    return fixed | {
        "isa.hpp": headers.instruction_set(),
        "map.hpp": headers.map_of_the_bus(),
        "insitu_engine.h": headers.c_header(),
    }


@lru_cache(maxsize=4)
def built(name: str, *options: str) -> Path:
    """A program of the model, compiled once by content.

    Raises:
        ConfigError: SystemC or a compiler is missing, or it does not compile.
    """
    if (reason := missing()) is not None:
        raise ConfigError(f"the SystemC model cannot be built: {reason}")
    files = sources()
    key = "\0".join([name, *options, *COMPILE, _machine(), *files, *files.values()]).encode()
    path = kept("systemc", ".exe", key, lambda target: _compile(name, files, options, target))
    path.chmod(0o700)
    return path


def _machine() -> str:
    """The compiler, and what it takes this machine's processor for."""
    words = ["g++", "-march=native", "-x", "c++", "-E", "-v", "/dev/null"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stderr


def _compile(name: str, files: dict[str, str], options: tuple[str, ...], target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for file, text in files.items():
            (Path(folder) / file).write_text(text)
        words = ["g++", *COMPILE, *options, f"{name}.cpp", "-o", str(target), "-lsystemc"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"g++ failed: {done.stderr[-600:]}")


class Refused(StepError):
    """A bus that does not answer OK.

    Attributes:
        status: what TLM answered, such as -2 for an address; 0: the platform itself refused.
    """

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


class Platform:
    """A process with engines, a memory and a bus, whose host is this object.

    Args:
        engines: how many.
        quantum: nanoseconds by which the host runs ahead.
        direct: it uses the direct memory interface.
    """

    MEMORY = 0x1000_0000
    ENGINES = 0x2000_0000
    """Where they lie on the bus; each engine has :data:`insitu.backends.engine.bus.SIZE` bytes."""

    BYTE_ENABLES, STREAMING, IGNORED, DEBUG = 1, 2, 4, 8
    """Flags of odd accesses."""

    def __init__(
        self, engines: int = 1, quantum: float = 10_000, direct: bool = True, program: Path | None = None
    ):
        words = [str(program or built("pipe")), str(engines), repr(float(quantum))]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        self._ask("d", int(direct), b"")

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
            self._process.wait(timeout=60)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self.close()

    # --- the bus ---------------------------------------------------------------------------------------------------

    def write(self, address: int, data: bytes, flags: int = 0) -> None:
        """Bytes to an address of the bus.

        Raises:
            Refused: the answer is not OK.
        """
        self._checked(self._ask("w", address, data, flags), f"a write of {len(data)} bytes at {address:#x}")

    def read(self, address: int, count: int, flags: int = 0) -> bytes:
        """So many bytes from an address.

        Raises:
            Refused: the answer is not OK.
        """
        self._send("r", flags, address, count)
        status = self._status()
        data = self._take(count)
        self._checked(status, f"a read of {count} bytes at {address:#x}")
        return data

    def set(self, name: str, value: int, engine: int = 0) -> None:
        """A register of an engine."""
        self.write(self.register(name, engine), struct.pack("<I", value & 0xFFFFFFFF))

    def get(self, name: str, engine: int = 0) -> int:
        (value,) = struct.unpack("<I", self.read(self.register(name, engine), 4))
        return int(value)

    def register(self, name: str, engine: int = 0) -> int:
        """Its address on the bus."""
        return self.ENGINES + engine * bus.SIZE + bus.BY_NAME[name].address

    def window(self, name: str, engine: int = 0) -> int:
        """Address of a memory of an engine on the bus."""
        return self.ENGINES + engine * bus.SIZE + bus.WINDOWS[name][0]

    # --- beside the bus --------------------------------------------------------------------------------------------

    def configure(self, build: Build, engine: int = 0) -> None:
        """Makes an engine of a build, with empty memories."""
        sizes = build.a_words * build.lanes, build.w_words, build.code_words
        bits = build.lanes, build.fraction, build.address_bits, build.operand_bits, build.weight_bits
        self._checked(self._ask("c", engine, struct.pack("<8I", *bits, *sizes)), "an engine")

    def load(self, program: str, engine: int = 0) -> None:
        """The text of a program, as at elaboration."""
        self._checked(self._ask("l", engine, program.encode()), "a program")

    def wait(self, engine: int = 0) -> None:
        """For the interrupt of an engine, which is cleared."""
        self._checked(self._ask("i", engine, b""), "a wait")

    @property
    def picoseconds(self) -> int:
        """The host's time."""
        self._checked(self._ask("n", 0, b""), "a look at the time")
        return int.from_bytes(self._take(8), "little")

    def failure(self, engine: int = 0) -> str:
        """Why the last command failed; empty: it did not."""
        try:
            self._checked(self._ask("f", engine, b""), "")
        except Refused as refused:
            return str(refused)
        return ""

    def command(self, *names: str, engine: int = 0) -> None:
        """Runs a command to its end.

        Raises:
            StepError: it failed.
        """
        self.set("IRQ", 2, engine)
        self.set("CTRL", sum(bus.COMMANDS[name][0] for name in names), engine)
        self.wait(engine)
        if self.get("STATUS", engine) & 2:
            raise StepError(self.failure(engine))

    # --- the pipe --------------------------------------------------------------------------------------------------

    def _send(self, what: str, flags: int, address: int, length: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(struct.pack("<cBIII", what.encode(), flags, address, length, 0))

    def _ask(self, what: str, address: int, data: bytes, flags: int = 0) -> int:
        self._send(what, flags, address, len(data))
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        return self._status()

    def _status(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.flush()
        return int.from_bytes(self._take(1), "little", signed=True)

    def _take(self, count: int) -> bytes:
        assert self._process.stdout is not None
        found = self._process.stdout.read(count)
        if len(found) < count:
            raise StepError("the SystemC model has ended; please report it with what was run")
        return found

    def _checked(self, status: int, what: str) -> None:
        if status == 0:
            said = self._take(int.from_bytes(self._take(4), "little")).decode(errors="replace")
            raise Refused(0, said)
        if status != OK:
            raise Refused(status, f"{what}: the bus answers {status}")


class Model:
    """An engine of a platform.

    Attributes:
        platform: the process that it lives in.
    """

    def __init__(self, build: Build, platform: Platform | None = None, engine: int = 0) -> None:
        self.platform, self.engine, self.build = platform or Platform(), engine, build
        self.platform.configure(build, engine)

    @property
    def flags(self) -> int:
        return self.platform.get("FLAGS", self.engine)

    @flags.setter
    def flags(self, value: int) -> None:
        """A run clears them when it starts."""

    def write(self, memory: str, address: int, data: npt.NDArray[Any]) -> None:
        window, kind = MEMORIES[memory]
        elements = np.asarray(data).astype(np.int64).astype(kind)
        if elements.size:
            at = self.platform.window(window, self.engine) + address * self._bytes(memory)
            self.platform.write(at, elements.tobytes())

    def read(self, memory: str, address: int, count: int) -> npt.NDArray[Any]:
        window, kind = MEMORIES[memory]
        each = self._bytes(memory)
        data = self.platform.read(self.platform.window(window, self.engine) + address * each, count * each)
        found = np.frombuffer(data, kind).reshape(count, -1)
        return found if memory == "w" else found.ravel()

    def _bytes(self, memory: str) -> int:
        """Of what an address of a memory numbers."""
        return self.build.lanes if memory == "w" else MEMORIES[memory][1].itemsize

    def run(self, start: int, label: int) -> int:
        p = self.platform
        p.set("ENTRY", start, self.engine)
        p.set("LABEL", label, self.engine)
        p.command("RUN", engine=self.engine)
        return p.get("CYCLES", self.engine) | p.get("CYCLES_HIGH", self.engine) << 32

    @property
    def states(self) -> tuple[int, int]:
        p = self.platform
        return p.get("RANDOM_LANES", self.engine), p.get("RANDOM_SCALARS", self.engine)

    @states.setter
    def states(self, states: tuple[int, int]) -> None:
        for name, state in zip(("RANDOM_LANES", "RANDOM_SCALARS"), states):
            self.platform.set(name, state, self.engine)
