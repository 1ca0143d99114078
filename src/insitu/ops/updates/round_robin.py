"""Gradient accumulators for one slice of a matrix at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from insitu.numbers.formats import Fixed
from insitu.ops.updates.base import BoundUpdate, CValue, WeightUpdate, option
from insitu.ops.updates.stochastic import stochastic
from insitu.step.ir import Format, Shape

if TYPE_CHECKING:
    from insitu.ops.updates.executor import Words

SUM = Fixed(True, 7, 0)
"""Format of an accumulator."""


@dataclass(frozen=True)
class RoundRobin(WeightUpdate):
    """Accumulators a that serve the slices of a matrix's rows in turn, ``window`` training steps each.

    For the rows of the slice whose turn it is:

        a ← sat(a + ⌊x + u⌋)                     u uniform in [0, 1): stochastic rounding
        at the end of a window:   w ← sat(w - sign(a)) where |a| >= evidence,    then a ← 0

    Attributes:
        slices: parts that a layer's rows are divided into.
        window: training steps of a turn.
        evidence: least |a| that moves a weight, in units of the accumulated step.
    """

    name: ClassVar[str] = "round-robin"
    summary: ClassVar[str] = (
        "summed for `window` steps in a bank that moves from slice to slice of the rows; then steps of one"
    )
    state_summary: ClassVar[str] = "8 bits per weight of a slice"
    random: ClassVar[bool] = True
    kernel: ClassVar[str] = "round_robin"
    c_hooks: ClassVar[tuple[str, ...]] = ("begin", "change")
    c_struct: ClassVar[str] = "uint32_t slices, window; int32_t evidence;"

    slices: int = option(8, 1, 4096)
    window: int = option(64, 1, 1 << 20)
    evidence: int = option(2, 1, 127)

    def slice_rows(self, shape: Shape) -> int:
        """Rows of a slice."""
        return -(-shape[0] // self.slices)

    def rows(self, shape: Shape, t: int) -> slice:
        n = self.slice_rows(shape)
        first = (t // self.window) % -(-shape[0] // n) * n
        return slice(first, min(first + n, shape[0]))

    def states(self, shape: Shape) -> tuple[tuple[str, Shape, Format], ...]:
        return (("evidence", (self.slice_rows(shape), *shape[1:]), SUM),)

    def printed(self) -> str:
        return f" slices={self.slices} window={self.window} evidence={self.evidence}"

    def move(
        self, b: BoundUpdate, rt: Any, w: Any, g: Any, e: int, words: Words, rows: Any, state: Any
    ) -> None:
        (sums,) = state
        part = sums[: rows.stop - rows.start]
        x = stochastic(g, b.shift(rt.lr, e), words, rows)
        part.add_(x.to(part.dtype)).clamp_(SUM.least, SUM.greatest)
        if rt.t % self.window == self.window - 1:
            step = part.sign() * (part.abs() >= self.evidence) * b.stride
            w[rows] = (w[rows] - step).clamp_(b.format.least, b.format.greatest)
            sums.zero_()

    def c_fields(self, b: BoundUpdate) -> dict[str, CValue]:
        return {"slices": f"{self.slices}u", "window": f"{self.window}u", "evidence": str(self.evidence)}
