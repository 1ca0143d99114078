"""The simulated engine as a host sees it (:class:`insitu.backends.engine.host.Device`)."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.backends.engine import registers
from insitu.backends.engine.build import Build
from insitu.backends.rtl.parameters import Parameters
from insitu.backends.rtl.sim import Simulation


def parameters(build: Build) -> Parameters:
    """The hardware of a build, with all its parts and room for the program that loads registers."""
    given = {f.name: getattr(build, f.name) for f in fields(Build)}
    return Parameters(**given | {"code_words": max(build.code_words, 2 * registers.BITS)})


class Hardware:
    """A simulated engine, or its netlist for a ``family`` of FPGAs.

    Addresses are bytes of A, words of W, instructions, entries of the table.

    Attributes:
        sim: the simulation.
        code: what its instruction memory holds: hardware does not let it be read.
    """

    def __init__(self, build: Build, family: str | None = None) -> None:
        self.sim = Simulation(parameters(build), family)
        self.code = np.zeros(self.sim.p.code_words, np.int64)

    @property
    def flags(self) -> int:
        return self.sim.fired

    @flags.setter
    def flags(self, value: int) -> None:
        """Hardware clears them when a program starts."""

    def write(self, memory: str, address: int, data: npt.NDArray[Any]) -> None:
        lanes = self.sim.p.lanes
        if memory == "a":
            first, bytes_ = address // lanes, np.asarray(data).astype(np.int64).ravel() & 255
            count = -(-(address % lanes + len(bytes_)) // lanes)
            if len(bytes_) != count * lanes:
                words = self.sim.read("a", first, count).ravel().astype(np.int64)
                words[address % lanes :][: len(bytes_)] = bytes_
                bytes_ = words
            self.sim.write("a", first, bytes_)
            return
        if memory == "code":
            self.code[address : address + len(data)] = data
        self.sim.write(memory, address, data)

    def read(self, memory: str, address: int, count: int) -> npt.NDArray[Any]:
        lanes = self.sim.p.lanes
        if memory == "w":
            return self.sim.read("w", address, count).view(np.int8)
        first, shift = divmod(address, lanes)
        found = self.sim.read("a", first, -(-(shift + count) // lanes)).ravel()
        return found[shift : shift + count]

    def run(self, start: int, label: int) -> int:
        return self.sim.run(start, label)

    @property
    def states(self) -> tuple[int, int]:
        return self.sim.random

    @states.setter
    def states(self, states: tuple[int, int]) -> None:
        """Loads the random registers, by a program in place of the first instructions, which are put back."""
        words = registers.program(self.sim.random, states)
        self.sim.write("code", 0, np.array(words))
        self.sim.run(0)
        self.sim.write("code", 0, self.code[: len(words)])
