"""From the step that a rule emitted to the program that is executed and costed: a visible list of passes.

A pass is a function from a step to a step that computes the same; every one verifies what it returns. To see what
one of them does, apply the passes before it and print the step::

    for apply in FLOW:
        step = apply(step)
        print(apply.__name__, step, sep="\\n")
"""

from __future__ import annotations

from collections.abc import Callable

from insitu.errors import StepError
from insitu.passes.fuse import (
    drop_positions,
    fuse_requant,
    fuse_updates,
    gate_before_unpool,
    gate_into_updates,
    in_place,
    unpool_into_gate,
)
from insitu.passes.order import candidates
from insitu.step.ir import Step
from insitu.step.liveness import peak_bytes

Pass = Callable[[Step], Step]

VIEWS = ("fused", "eager")


def least_memory(step: Step) -> Step:
    """Of a few orders, each with outputs in place of operands that die, the one with the least peak."""
    return min(map(in_place, candidates(step)), key=peak_bytes)


FLOW: tuple[Pass, ...] = (
    fuse_requant,
    fuse_updates,
    gate_before_unpool,
    unpool_into_gate,
    gate_into_updates,
    drop_positions,
    least_memory,
)
"""The passes of the fused view, in order."""


def lower(step: Step, view: str = "fused", *, order: Pass = least_memory) -> Step:
    """The program that is executed and costed.

    ``eager`` is the step as the rule emitted it. ``fused`` is what :data:`FLOW` makes of it: gradients are applied as
    they are made, outputs work in place, and the best of a few orders is taken.

    Args:
        order: the last pass of the fused view; :func:`insitu.passes.fuse.in_place` keeps the order of emission.

    Raises:
        StepError: for an unknown view.
    """
    if view not in VIEWS:
        raise StepError(f"view {view!r} is unknown; use one of {', '.join(VIEWS)}")
    for apply in (*FLOW[:-1], order) if view == "fused" else ():
        step = apply(step)
    return step
