"""A weight update from outside: stochastic rounding whose steps are clipped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from insitu.ops.updates import BoundUpdate, WeightUpdate, register
from insitu.ops.updates.base import CValue, option
from insitu.ops.updates.stochastic import stochastic
from insitu.run.integer_arithmetic import shift_right
from insitu.run.integer_updates import step_shift, subtract, weight_words


@register
@dataclass(frozen=True)
class Clipped(WeightUpdate):
    """Clipped steps: w ← sat(w - clip(⌊x + u⌋, ± most)), u uniform in [0, 1).

    Attributes:
        most: the largest change of a weight at a step, in units of its word.
    """

    name: ClassVar[str] = "clipped"
    summary: ClassVar[str] = (
        "rounded up with the chance of its size, after which the step is clipped to ± `most`"
    )
    random: ClassVar[bool] = True
    zero_grad_is_noop: ClassVar[bool] = True
    kernel: ClassVar[str] = "clipped"
    c_hooks: ClassVar[tuple[str, ...]] = ("change",)
    c_struct: ClassVar[str] = "uint8_t most;"
    c_source: ClassVar[Path | None] = Path(__file__).with_name("update_clipped.c")

    most: int = option(1, 1, 127)

    def change(self, b: BoundUpdate, w: Any, g: Any, k: int, words: Any, rows: Any) -> Any:
        return stochastic(g, k, words, rows).clamp_(-self.most, self.most)

    def integer(self, b: BoundUpdate, context: Any, w: Any, g: Any, e: int, state: Any) -> None:
        x = shift_right(g, step_shift(b, context.lr, e), "stochastic", weight_words(b, context, g.shape))
        subtract(b, w, np.clip(x, -self.most, self.most))

    def c_fields(self, b: BoundUpdate) -> dict[str, CValue]:
        return {"most": f"{self.most}u"}
