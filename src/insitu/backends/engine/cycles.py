"""The closed form of cycles: exact for the machine and the hardware, since nothing depends on data but branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

from insitu.backends.engine import isa
from insitu.backends.engine.build import Build
from insitu.backends.engine.isa import Prologue
from insitu.backends.engine.nest import Accesses, Nest, Registers

PROLOGUE = {
    Prologue.NONE: 0,
    Prologue.BIASES: 2,
    Prologue.BIAS: 2,
    Prologue.VECTOR: 1,
    Prologue.MASK: 1,
    Prologue.WEIGHTS: 1,
}
"""Cycles before each round."""


@dataclass(frozen=True)
class Timing:
    """Cycles of what is not an issue of a nest.

    Attributes:
        start: from the start signal to the first instruction.
        instruction: any other than GO.
        taken: more of a branch that is taken.
        go: from GO to the first issue or prologue.
        drain: from the last issue to the next instruction.
        serial: more of a nest whose results pass the serial shifter (dot or wide).
        reload: between the last issue of a round and the random words of the next.
        softmax, softmax_score: of a SOFTMAX, and more for each class.
    """

    start: int = 3
    instruction: int = 1
    taken: int = 2
    go: int = 1
    drain: int = 7
    serial: int = 2
    reload: int = 4
    softmax: int = 1
    softmax_score: int = 24


TIMING = Timing()


def of(nest: Nest, lanes: int, timing: Timing = TIMING) -> int:
    """Cycles of a nest, GO included."""
    words = nest.loads * lanes + (nest.loads - 1) * timing.reload if nest.loads else 0
    prologues = nest.rounds * PROLOGUE[Prologue(nest.ctl["prologue"])]
    return timing.go + nest.issues + prologues + timing.drain + timing.serial * nest.serial + words


def softmax(count: int, timing: Timing = TIMING) -> int:
    """Cycles of a SOFTMAX of so many classes."""
    return timing.softmax + count * timing.softmax_score


def dma(count: int, width: int) -> int:
    """Cycles in which bytes come over a bus of so many bytes: an address, the transfer, the memory's latency of one
    cycle, and the transfer to the engine's port of the same width."""
    return 2 + 2 * ceil(count / width)


@dataclass
class Walk:
    """Goes over instructions as an engine does, without data: what registers hold, and what each instruction takes."""

    build: Build
    timing: Timing = TIMING
    registers: Registers = field(default_factory=Registers)

    def instruction(self, word: int) -> int:
        """Cycles of an instruction; of a branch, where it falls through."""
        register, level, fields = isa.decode(word)
        self.registers.put(register, level, fields)
        if register.name == "GO":
            return of(self.nest, self.build.lanes, self.timing)
        if register.name == "SOFTMAX":
            return softmax(self.nest.issues, self.timing)
        if register.name == "SEED" and self.build.generator == "lfsr":
            return self.timing.instruction + 1 + fields["skip"]
        return self.timing.instruction

    @property
    def nest(self) -> Nest:
        """What GO would run now."""
        return Nest(self.registers.values, self.build.address_bits)


@dataclass(frozen=True)
class Work:
    """What a run of microcode costs.

    Attributes:
        cycles: from the start signal to the end.
        instructions: words that are executed.
        accesses: of memories, and products.
    """

    cycles: int
    instructions: int
    accesses: Accesses


def work(words: Sequence[int], start: int, build: Build, fired: int = 0, timing: Timing = TIMING) -> Work:
    """The closed form of a program: what it costs where some triggers fire.

    Args:
        words: the microcode.
        start: address of its first instruction.
        fired: the flags of the triggers that fire.
    """
    walk, total, accesses, count, at = Walk(build, timing), timing.start, Accesses(), 0, start
    while True:
        word = words[at]
        register, _, fields = isa.decode(word)
        at, count, total = at + 1, count + 1, total + walk.instruction(word)
        if register.name == "END":
            return Work(total, count, accesses)
        if register.name == "BRZ" and not fired & fields["flags"]:
            at, total = fields["target"], total + timing.taken
        elif register.name == "GO":
            accesses += walk.nest.accesses
