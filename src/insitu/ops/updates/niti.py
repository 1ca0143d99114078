"""NITI's update: the step has a fixed number of bits (Wang et al., TPDS 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from insitu.ops.updates.base import BoundUpdate, CValue, WeightUpdate, option
from insitu.ops.updates.stochastic import stochastic

if TYPE_CHECKING:
    from insitu.ops.updates.executor import Words


@dataclass(frozen=True)
class Niti(WeightUpdate):
    """Steps of a fixed width: w ← sat(w - ⌊g · 2**-k + u⌋), k = bitlen(max |g|) - step_bits, u uniform in [0, 1).

    The learning rate and the scale of the gradient do not matter.

    Attributes:
        step_bits: bits of the largest step of a tensor.
    """

    name: ClassVar[str] = "niti"
    summary: ClassVar[str] = (
        "the largest gradient of the tensor keeps `step_bits` bits, whatever its scale (NITI)"
    )
    state_summary: ClassVar[str] = "the whole gradient for a moment"
    random: ClassVar[bool] = True
    needs_full_gradient: ClassVar[bool] = True
    c_rounding: ClassVar[str] = "INSITU_STOCHASTIC"
    kernel: ClassVar[str] = "niti"
    c_hooks: ClassVar[tuple[str, ...]] = ("tensor",)
    c_struct: ClassVar[str] = "uint8_t step_bits;"

    step_bits: int = option(2, 1, 8)

    def printed(self) -> str:
        return f" bits={self.step_bits}"

    def change(self, b: BoundUpdate, w: Any, g: Any, k: int, words: Words, rows: Any) -> Any:
        import torch

        k = int(torch.frexp(g.abs().max())[1]) - self.step_bits + (b.stride - 1)
        return stochastic(g, k, words, rows)

    def c_fields(self, b: BoundUpdate) -> dict[str, CValue]:
        return {"step_bits": f"{self.step_bits}u"}
