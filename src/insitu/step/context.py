"""What a step is executed with beside its operands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class StepContext:
    """What changes from step to step: read by updates (``lr``, ``t``) and random ops (``seed``, ``t``).

    Attributes:
        lr: learning rate.
        seed: of the run.
        t: training steps done before.
    """

    lr: float = 0.0
    seed: int = 0
    t: int = 0
