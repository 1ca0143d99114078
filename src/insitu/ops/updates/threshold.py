"""Rounding of the step to nearest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from insitu.ops.updates.base import BoundUpdate, WeightUpdate, rounded

if TYPE_CHECKING:
    from insitu.ops.updates.executor import Words


@dataclass(frozen=True)
class Threshold(WeightUpdate):
    """Rounding to nearest: w ← sat(w - ⌊x + 1/2⌋).

    A step of less than half a unit of the word is lost, so the policy gives the word ``hidden`` low bits, which the
    forward pass does not read.
    """

    name: ClassVar[str] = "threshold"
    summary: ClassVar[str] = (
        "rounded to nearest; of use with `hidden` low bits, which the forward pass does not read"
    )
    state_summary: ClassVar[str] = "the hidden bits, in the word"
    zero_grad_is_noop: ClassVar[bool] = True
    moves_vectors: ClassVar[bool] = True
    supports_channels: ClassVar[bool] = True
    supports_deferral: ClassVar[bool] = True
    c_rounding: ClassVar[str] = "INSITU_HALF_UP"

    def change(self, b: BoundUpdate, w: Any, g: Any, k: int, words: Words, rows: Any) -> Any:
        return rounded(g, k)
