"""NITRO's integer SGD: steps and weight decay truncated towards zero (Pirillo et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from insitu.ops.updates.base import BoundUpdate, CValue, WeightUpdate, option
from insitu.step.ir import Shape

if TYPE_CHECKING:
    from insitu.ops.updates.executor import Words


@dataclass(frozen=True)
class IntegerSgd(WeightUpdate):
    """Truncation: w ← sat(w - trunc(x) - trunc(w · 2**-decay)), trunc towards zero.

    Attributes:
        decay: a weight loses w · 2**-decay at a step; ``None``: nothing. Biases do not decay.
    """

    name: ClassVar[str] = "integer-sgd"
    summary: ClassVar[str] = "dropped, and a decay by 2^-decay (NITRO-D)"
    moves_vectors: ClassVar[bool] = True
    kernel: ClassVar[str] = "integer_sgd"
    c_hooks: ClassVar[tuple[str, ...]] = ("change",)
    c_struct: ClassVar[str] = "int8_t decay;"

    decay: int | None = option(None, 1, 30)

    def for_weight(self, shape: Shape) -> IntegerSgd:
        return self if len(shape) > 1 else replace(self, decay=None)

    def printed(self) -> str:
        return f" decay={self.decay}" if self.decay else ""

    def change(self, b: BoundUpdate, w: Any, g: Any, k: int, words: Words, rows: Any) -> Any:
        x = (g.double() * 2.0**-k).trunc_()
        return x if self.decay is None else x + (w.double() * 2.0**-self.decay).trunc_()

    def c_fields(self, b: BoundUpdate) -> dict[str, CValue]:
        return {"decay": "-1" if self.decay is None else str(self.decay)}
