"""Bop: binary weights flip by an average of their gradient (Helwegen et al., NeurIPS 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from insitu.numbers.formats import B1, AnyFormat, Fixed
from insitu.ops.updates.base import BoundUpdate, CValue, WeightUpdate, option
from insitu.step.ir import Format, Shape

if TYPE_CHECKING:
    from insitu.ops.updates.executor import Words

AVERAGE = Fixed(True, 15, 0)
"""Format of the average."""


@dataclass(frozen=True)
class Bop(WeightUpdate):
    """Flips of binary weights by a moving average m of the gradient, x in 8 more bits, rounded to nearest:

        m ← sat(m + (x - m) · 2**-gamma)
        w ← -w where m has w's sign and |m| >= flip

    Attributes:
        gamma: the average moves by 2**-gamma of the difference.
        flip: least |m| that flips a weight, in units of the gradient's rounding step.
    """

    name: ClassVar[str] = "bop"
    summary: ClassVar[str] = "flips a binary weight when the average gradient is large and of its sign (Bop)"
    state_summary: ClassVar[str] = "16 bits per weight"
    kernel: ClassVar[str] = "bop"
    c_hooks: ClassVar[tuple[str, ...]] = ("begin", "change", "sums")
    c_struct: ClassVar[str] = "uint8_t gamma; int32_t flip;"

    gamma: int = option(6, 1, 14)
    flip: int = option(8, 1, 1 << 14)

    def refuse_weights(self, weights: AnyFormat) -> str | None:
        return None if weights == B1 else "update 'bop' flips binary weights; use weight: '1'"

    def states(self, shape: Shape) -> tuple[tuple[str, Shape, Format], ...]:
        return (("average", shape, AVERAGE),)

    def printed(self) -> str:
        return f" gamma={self.gamma} flip={self.flip}"

    def move(
        self, b: BoundUpdate, rt: Any, w: Any, g: Any, e: int, words: Words, rows: Any, state: Any
    ) -> None:
        (m,) = state
        k = b.shift(rt.lr, e) - 8
        x = (g.double() * 2.0 ** -min(k, 62)).add_(0.5).floor_() if k > 0 else g.double() * 2.0**-k
        x = x.clamp_(AVERAGE.least, AVERAGE.greatest) - m
        m.add_((x * 2.0**-self.gamma).add_(0.5).floor_().to(m.dtype)).clamp_(AVERAGE.least, AVERAGE.greatest)
        flip = (m * w >= self.flip).to(w.dtype)
        w.mul_(1 - 2 * flip)

    def c_fields(self, b: BoundUpdate) -> dict[str, CValue]:
        return {"gamma": f"{self.gamma}u", "flip": str(self.flip)}
