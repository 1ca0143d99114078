"""Discrete state transitions of GXNOR-Net (Deng et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from math import tanh
from typing import TYPE_CHECKING, Any, ClassVar

from insitu.errors import ConfigError
from insitu.ops.updates.base import BoundUpdate, CValue, WeightUpdate, option

if TYPE_CHECKING:
    from insitu.ops.updates.executor import Words

JUMPS = 64
"""Entries of the table of transition probabilities."""

MOST_KAPPA = 1e6
"""From far below on every fraction moves a weight."""


@dataclass(frozen=True)
class Dst(WeightUpdate):
    """Discrete state transition: w ← sat(w - sign(x) (⌊|x|⌋ + j)), j = 1 with probability tanh(κ · fraction of |x|).

    Attributes:
        kappa: κ of the probability.
    """

    name: ClassVar[str] = "dst"
    summary: ClassVar[str] = (
        "one more step with the chance tanh(κ · fraction) (GXNOR's transitions, here without Adam)"
    )
    random: ClassVar[bool] = True
    supports_channels: ClassVar[bool] = True
    kernel: ClassVar[str] = "dst"
    c_hooks: ClassVar[tuple[str, ...]] = ("change",)
    c_struct: ClassVar[str] = "const uint32_t *probabilities;"

    kappa: float = option(3.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.kappa <= MOST_KAPPA:
            raise ConfigError(
                f"update dst: kappa={self.kappa:g} is out of range; use more than 0, to {MOST_KAPPA:g}"
            )

    def printed(self) -> str:
        return f" kappa={self.kappa:g}"

    def probabilities(self) -> tuple[int, ...]:
        """Of one more step, in units of 2**-16, by the high bits of the fraction."""
        return tuple(round(65536 * tanh(self.kappa * (i + 0.5) / JUMPS)) for i in range(JUMPS))

    def change(self, b: BoundUpdate, w: Any, g: Any, k: int, words: Words, rows: Any) -> Any:
        import torch

        size = g.double().abs() * 2.0 ** -max(k, -20)
        table = torch.tensor(self.probabilities(), dtype=torch.int32)
        part = ((size - size.floor()) * JUMPS).floor_().long()
        more = words.high(rows, 16).view(g.shape) < table[part]
        return torch.sign(g) * (size.floor() + more)

    def c_fields(self, b: BoundUpdate) -> dict[str, CValue]:
        return {"probabilities": ("uint32_t", self.probabilities())}
