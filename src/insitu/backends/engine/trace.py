"""The golden trace of a program: what a host does, in words of the memories, and what it must find.

    write MEMORY ADDRESS COUNT WORD...      memories are 0 A, 1 W, 2 microcode, 3 the table; words are hexadecimal
    run ENTRY LABEL CYCLES                  a program, and the cycles that it takes
    expect MEMORY ADDRESS COUNT WORD...     what is read after it

It is recorded from the executor of microcode, whose residents are compared with the integer reference's at every step.
The engine in hardware and its SystemC model replay it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.backends.engine import isa, registers
from insitu.backends.engine.host import Host
from insitu.backends.engine.image import Image
from insitu.backends.engine.machine import Machine
from insitu.errors import StepError

MEMORIES = {"a": 0, "w": 1, "code": 2, "table": 3}
"""As a trace and a host port number them."""


def golden(image: Image, learn: bool = True) -> list[str]:
    """Lines of the golden trace of an image: its program's training steps, if it learns, and a forward pass.

    Raises:
        StepError: the executor and the integer reference differ.
    """
    program = image.program
    recorder = Recorder(Machine(image.build))
    host = Host(image, recorder)
    for t in range(len(program.golden.states) if learn else 0):
        x, label = program.batches[t]
        host.learn(x, label, t % len(program.steps), program.context(t).lr, program.t + t)
        _compare(host.state, program.golden.states[t], t)
        for place in image.residents.values():
            recorder.expect("w" if place.weights else "a", place.start, place.form.size)
    host.infer(program.batches[0][0][:1])
    place = image.entries[-1].output[1]
    recorder.expect("a", place.start, place.form.size)
    return recorder.lines


def _compare(found: Any, expected: Any, t: int) -> None:
    wrong = [n for n in found if n in expected and not np.array_equal(found[n], expected[n])]
    if wrong:
        raise StepError(
            f"after step {t} of the trace {', '.join(wrong)} is not the reference's; please report it"
        )


class Recorder:
    """An executor whose host's doings are written down, in whole words."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.lines, self.flags = machine, list[str](), 0
        machine.states = isa.RESET_STATES  # as a reset leaves them

    def read(self, memory: str, address: int, count: int) -> npt.NDArray[Any]:
        return self.machine.read(memory, address, count)

    def write(self, memory: str, address: int, data: npt.NDArray[Any]) -> None:
        self.machine.write(memory, address, np.asarray(data).astype(getattr(self.machine, memory).dtype))
        if len(data):
            self.lines.append(f"write {self._words(memory, address, len(data))}")

    def run(self, start: int, label: int) -> int:
        cycles = self.machine.run(start, label)
        self.flags = self.machine.flags
        self.lines.append(f"run {start} {label} {cycles}")
        return cycles

    @property
    def states(self) -> tuple[int, int]:
        return self.machine.states

    @states.setter
    def states(self, states: tuple[int, int]) -> None:
        """By a program in place of the first instructions, which are put back."""
        words = registers.program(self.states, states)
        kept = self.machine.code[: len(words)].copy()
        self.write("code", 0, np.array(words))
        self.run(0, 0)
        self.write("code", 0, kept)

    def expect(self, memory: str, address: int, count: int) -> None:
        self.lines.append(f"expect {self._words(memory, address, count)}")

    def _words(self, memory: str, address: int, count: int) -> str:
        """Memory, address, count and words that hold so many elements."""
        found = getattr(self.machine, memory)
        if memory == "a":
            lanes = self.machine.build.lanes
            first, end = address // lanes, -(-(address + count) // lanes)
            address, count, found = first, end - first, found.reshape(-1, lanes)
        part = found[address : address + count]
        return f"{MEMORIES[memory]} {address} {count} {' '.join(map(_hex, part))}"


def _hex(word: Any) -> str:
    """A word of the host port, hexadecimal: a number, or bytes with the first lowest."""
    if np.ndim(word) == 0:
        return f"{int(word):x}"
    return (np.asarray(word).astype(np.int64) & 255).astype(np.uint8).tobytes()[::-1].hex()
