"""Error feedback: what rounding leaves of a step is added to the next one."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from insitu.errors import ConfigError
from insitu.numbers.formats import Fixed
from insitu.ops.updates.base import BoundUpdate, CValue, WeightUpdate, option
from insitu.step.ir import Format, Shape

if TYPE_CHECKING:
    from insitu.ops.updates.executor import Words

LARGEST_GROUP = 64
"""Weights that can share a residual: a block of columns of the C kernels on a microcontroller."""


@dataclass(frozen=True)
class ErrorFeedback(WeightUpdate):
    """Error feedback with a residual r per group of weights.

    For the weights of a group, one after the other, with their steps x:

        t = x + r
        n = 0 if -h <= t < h, else the integer nearest to 0 for which -h <= t - n < h,    h = threshold / 8
        w ← sat(w - n)
        r ← t - n                  the residual for the next weight of the group

    At the end of the group, r is kept in ``residual_bits`` bits for the next training step; where a step starts, random
    bits stand for the low bits that were not kept.

    Attributes:
        group_size: number of weights that share one residual: neighbouring inputs of a dense row; a part of a
            convolution's kernel that divides it, else the least number of whole kernels that has as many weights. With
            1 each weight has its own.
        residual_bits: bits of a residual, all below a weight's step (above threshold 4, one of them is a sign).
        threshold: a weight moves where t reaches ± threshold / 8 of a step: from 4 (rounding to nearest) to 8 (rounding
            towards zero).
    """

    name: ClassVar[str] = "error-feedback"
    summary: ClassVar[str] = (
        "kept as the residual r of a group of weights: t = x + r; the change is 0 if \\|t\\| < `threshold` / 8, "
        "else the smallest integer n with \\|t - n\\| < `threshold` / 8; then r = t - n "
        "([why](own-rule.md#error-feedback-convolutions))"
    )
    state_summary: ClassVar[str] = (
        "`residual_bits` bits per group of `group_size` weights (at least 3 or 4 where `threshold` is 5 to 7)"
    )
    random: ClassVar[bool] = True
    zero_grad_is_noop: ClassVar[bool] = True
    kernel: ClassVar[str] = "error_feedback"
    c_hooks: ClassVar[tuple[str, ...]] = ("row", "change", "sums")
    c_struct: ClassVar[str] = "uint8_t group_size, fraction_bits, threshold;"

    group_size: int = option(9, 1, 32)
    residual_bits: int = option(16, 2, 16)
    threshold: int = option(8, 4, 8)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.residual_bits < (least := {5: 4, 6: 3, 7: 4}.get(self.threshold, 2)):
            raise ConfigError(
                f"precision: {self.residual_bits} residual bits cannot hold a threshold of {self.threshold} eighths, "
                f"and weights would move without a gradient; use residual_bits: {least} or more, or threshold: 4 or 8"
            )

    def for_weight(self, shape: Shape) -> FittedErrorFeedback:
        kernel = prod(shape[2:])
        size = self.group_size
        size = size if kernel % size == 0 else -(-size // kernel) * kernel
        if size > LARGEST_GROUP:
            raise ConfigError(
                f"a group of {size} weights (whole kernels of {kernel}) shares a residual, {LARGEST_GROUP} at most "
                "can; use update: stochastic, or a smaller group_size"
            )
        return FittedErrorFeedback(size, self.residual_bits, self.threshold)

    @property
    def fraction_bits(self) -> int:
        """Bits of a residual below a weight's step: within ± 1/2 of a step all of them."""
        return self.residual_bits - (self.threshold > 4)

    def groups(self, shape: Shape) -> int:
        """Groups of a row, each with a residual; the last one may be shorter."""
        return -(-prod(shape[1:]) // self.group_size)

    def states(self, shape: Shape) -> tuple[tuple[str, Shape, Format], ...]:
        return (("residual", (shape[0], self.groups(shape)), Fixed(True, self.residual_bits - 1, 0)),)

    def words_drawn(self, shape: Shape) -> int:
        return shape[0] + (self.groups(shape) if len(shape) > 1 else 0)

    def printed(self) -> str:
        return f" group_size={self.group_size} residual_bits={self.residual_bits} threshold={self.threshold}"

    def move(
        self, b: BoundUpdate, rt: Any, w: Any, g: Any, e: int, words: Words, rows: Any, state: Any
    ) -> None:
        import torch

        flat = w.reshape(w.shape[0], -1).long()
        drawn = torch.from_numpy(words.words).to(w.device)
        shared = drawn[: words.count, None] ^ drawn[words.count :][:: self.group_size]
        residual = state[0].long()
        step_groups(self, b, min(b.shift(rt.lr, e), 32), flat, g.reshape(flat.shape).long(), residual, shared)
        w.copy_(flat.view(w.shape))
        state[0].copy_(residual)

    def c_fields(self, b: BoundUpdate) -> dict[str, CValue]:
        sizes = {
            "group_size": self.group_size,
            "fraction_bits": self.fraction_bits,
            "threshold": self.threshold,
        }
        return {name: f"{n}u" for name, n in sizes.items()}

    def column_group(self) -> int:
        return self.group_size


@dataclass(frozen=True)
class FittedErrorFeedback(ErrorFeedback):
    """The same, its groups fitted to a weight: whole kernels may be more than what a policy can ask for."""

    group_size: int = option(9, 1, LARGEST_GROUP)


def step_groups(o: ErrorFeedback, b: BoundUpdate, k: int, w: Any, g: Any, residual: Any, words: Any) -> None:
    """Moves weights by their steps g · 2**-k, in units of 2**-s of a step; torch tensors of int64.

    Args:
        k: the shift, at most 32.
        w, g: weights, which change in place, and gradient, [rows, columns].
        residual: [rows, groups], changes in place.
        words: a random 32-bit word per group, [rows, groups].
    """
    s = max(k, o.fraction_bits)
    low, half = s - o.fraction_bits, (o.threshold << s) // 8
    t = (residual << low) + (words >> (32 - low))
    for j in range(o.group_size):
        part, x = w[:, j :: o.group_size], g[:, j :: o.group_size] << (s - k)
        within = t[:, : x.shape[1]]  # the last group of a row may be shorter
        within += x
        step = (((within - half) >> s) + 1).clip(min=0) - (((-half - 1 - within) >> s) + 1).clip(min=0)
        within -= step << s
        part[:] = (part - b.stride * step).clip(b.format.least, b.format.greatest)
    residual[:] = t >> low
