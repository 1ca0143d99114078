"""The closed form of cycles: exact for the machine and the hardware, since nothing depends on data but branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from insitu.backends.engine import isa
from insitu.backends.engine.build import Build
from insitu.backends.engine.isa import Prologue
from insitu.backends.engine.nest import Nest, Registers

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


@dataclass(frozen=True)
class Work:
    """What a run of microcode costs.

    Attributes:
        cycles: from the start signal to the end.
        issues: cycles in which the multipliers have operands.
        instructions: words that are executed.
    """

    cycles: int
    issues: int
    instructions: int


def work(words: Sequence[int], start: int, build: Build, fired: int = 0, timing: Timing = TIMING) -> Work:
    """The closed form of a program: what it costs where some triggers fire.

    Args:
        words: the microcode.
        start: address of its first instruction.
        fired: the flags of the triggers that fire.
    """
    registers = Registers()
    total, issues, count, at = timing.start, 0, 0, start
    while True:
        register, level, fields = isa.decode(int(words[at]))
        at, count, total = at + 1, count + 1, total + timing.instruction
        if register.name == "END":
            return Work(total, issues, count)
        if register.name == "BRZ" and not fired & fields["flags"]:
            at, total = fields["target"], total + timing.taken
        elif register.name == "GO":
            loops = Nest(registers.values, build.address_bits)
            total += of(loops, build.lanes, timing) - timing.instruction
            issues += loops.issues * (not loops.ctl["emit"])
        elif register.name == "SOFTMAX":
            total += softmax(Nest(registers.values, build.address_bits).issues, timing) - timing.instruction
        elif register.name == "SEED" and build.generator == "lfsr":
            total += 1 + fields["skip"]
        registers.put(register, level, fields)
