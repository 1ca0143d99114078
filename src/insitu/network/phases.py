"""Which step of a rule runs when: a rule with a schedule over time has one step per phase of the training.

(A phase of the training is a stretch of steps; :class:`insitu.step.ir.Phase` is the part of one step that an operation
belongs to.)
"""

from __future__ import annotations

from dataclasses import dataclass

from insitu.numbers import prng


@dataclass(frozen=True)
class Phases:
    """The schedule of a rule on a network.

    Attributes:
        count: number of phases.
        period: training steps that a phase lasts before the next has its turn, over and over; ``None``: every phase
            once, each for an equal share of the run's samples and with a learning rate schedule of its own.
        drawn: with a period: the next phase is drawn from the bit-defined generator, not in turn.
        starts: per phase the block whose input the step takes as its own; the outputs of the blocks before, which do
            not change any more, come from a cache. Empty: every step takes the samples.
    """

    count: int = 1
    period: int | None = None
    drawn: bool = False
    starts: tuple[int, ...] = ()

    def at(self, step: int, progress: float, seed: int) -> int:
        """The phase of a training step; ``progress`` is the share of the run's samples seen, in [0, 1)."""
        if self.period is None:
            return min(int(progress * self.count), self.count - 1)
        turn = step // self.period
        if not self.drawn:
            return turn % self.count
        return int(prng.words(prng.key(seed, "phases", turn), 0)) % self.count

    def within(self, progress: float) -> float:
        """Progress inside the phase, which a learning rate schedule follows."""
        return progress if self.period is not None else (progress * self.count) % 1.0

    def start(self, phase: int) -> int:
        """The block whose input is the step's input."""
        return self.starts[phase] if self.starts else 0


ONE = Phases()
"""The schedule of a rule that does the same at every step."""
