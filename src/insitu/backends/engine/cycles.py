"""The closed form of cycles: exact for the machine and the hardware, since nothing depends on data but branches."""

from __future__ import annotations

from dataclasses import dataclass

from insitu.backends.engine.isa import Prologue

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
    softmax: int = 4
    softmax_score: int = 14


TIMING = Timing()


def nest(
    issues: int, rounds: int, prologue: int, loads: int, lanes: int, serial: bool, timing: Timing = TIMING
) -> int:
    """Cycles of a nest, GO included.

    Args:
        issues, rounds: products of all bounds, and of those of the outer levels.
        prologue: its code.
        loads: how often the lanes draw random words; 0: never.
        serial: the nest has ``dot`` or ``wide``.
    """
    words = loads * lanes + (loads - 1) * timing.reload if loads else 0
    return (
        timing.go
        + issues
        + rounds * PROLOGUE[Prologue(prologue)]
        + timing.drain
        + timing.serial * serial
        + words
    )


def softmax(count: int, timing: Timing = TIMING) -> int:
    """Cycles of a SOFTMAX of so many classes."""
    return timing.softmax + count * timing.softmax_score
