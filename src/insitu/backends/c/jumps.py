"""Jumps over the calls that wait for a trigger: what makes a silent sample cost no more than a forward pass.

A kernel that is a trigger returns for how many samples of the batch it fires. Consecutive calls that wait for the same
triggers are one block behind ``if``. State and random words are those of a step that runs them: no such call moves
anything without an error, and random words follow from the step count, not from how many were drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from insitu.step.ir import Op, Step
from insitu.step.triggers import jumps, triggers_of


@dataclass
class Blocks:
    """The lines of a step, block after block.

    Attributes:
        step: whose calls are added, op by op.
        counted: a call of the host behind every trigger, with the number of samples that it fires for.
        lines: what was written.
        waits: the triggers of the open block; empty outside of one.
    """

    step: Step
    counted: bool = False
    lines: list[str] = field(default_factory=list)
    waits: frozenset[Op] = frozenset()

    def __post_init__(self) -> None:
        self.numbers = {op: k for k, op in enumerate(triggers_of(self.step).values())}
        self.jumps = jumps(self.step)

    def add(self, op: Op, comment: str, calls: Iterable[str]) -> None:
        """The calls of the next op."""
        self._enter(self.jumps.get(op, frozenset()))
        self.lines.append(f"    /* {comment} */")
        if op not in self.numbers:
            self.lines += [f"    {{ {call}; }}" for call in calls]
            return
        k = self.numbers[op]
        (call,) = calls
        self.lines += [f"    uint32_t fired_{k};", f"    {{ fired_{k} = {call}; }}", f"    (void)fired_{k};"]
        if self.counted:
            self.lines.append(f"    insitu_host_fired(net, {k}u, fired_{k});")

    def end(self) -> list[str]:
        """All lines, the last block closed."""
        self._enter(frozenset())
        return self.lines

    def _enter(self, waits: frozenset[Op]) -> None:
        """Closes the open block and opens one, where the next calls wait for other triggers."""
        if waits == self.waits:
            return
        if self.waits:
            self.lines.append("    }")
        if waits:
            fired = " || ".join(f"fired_{k} != 0u" for k in sorted(self.numbers[op] for op in waits))
            self.lines.append(f"    if ({fired}) {{")
        self.waits = waits
