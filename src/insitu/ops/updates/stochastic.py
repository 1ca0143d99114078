"""Stochastic rounding of the step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from insitu.ops.quant import EXACT
from insitu.ops.updates.base import BoundUpdate, WeightUpdate

if TYPE_CHECKING:
    from insitu.ops.updates.executor import Words


@dataclass(frozen=True)
class Stochastic(WeightUpdate):
    """Stochastic rounding: w ← sat(w - ⌊x + u⌋), u uniform in [0, 1).

    x is rounded up with the probability of its fraction, so the mean change is x.
    """

    name: ClassVar[str] = "stochastic"
    summary: ClassVar[str] = "rounded up with the chance of its size"
    random: ClassVar[bool] = True
    zero_grad_is_noop: ClassVar[bool] = True
    moves_vectors: ClassVar[bool] = True
    supports_channels: ClassVar[bool] = True
    supports_deferral: ClassVar[bool] = True
    c_rounding: ClassVar[str] = "INSITU_STOCHASTIC"

    def change(self, b: BoundUpdate, w: Any, g: Any, k: int, words: Words, rows: Any) -> Any:
        return stochastic(g, k, words, rows)

    def move_dense(
        self, b: BoundUpdate, w: Any, d: Any, x: Any, k: int, words: Words, max_abs: int, scratch: list[Any]
    ) -> bool:
        if k <= 0 or max_abs + (2 << k) > EXACT:
            return False
        r, c = words.fractions(k)
        if d.shape[0] <= FEW:
            _sparsely(b, w, d, x, k, r, c)
        else:
            _by_rows(b, w, d, x, k, r, c, scratch)
        return True


WIDE = 1 << 18
"""Elements of a gradient that are made at a time where the product is the larger part of the work: products of few rows
are slow.
"""

FEW = 4
"""Samples up to which many errors and inputs are zero for all of them."""


def stochastic(g: Any, k: int, words: Words, rows: Any) -> Any:
    """g · 2**-k, rounded up with the probability of the fraction; g is overwritten."""
    if k <= 0:
        return g.mul_(2.0**-k)
    k = min(k, 32)
    if k > 20:
        g = g.double()
    flat = g.view(g.shape[0], -1) if words.rest else g
    return flat.add_(words.high(rows, k)).mul_(2.0**-k).floor_().view(g.shape)


def _sparsely(b: BoundUpdate, w: Any, d: Any, x: Any, k: int, r: Any, c: Any) -> None:
    """Only rows with an error and columns with an input: where the gradient is zero, rounding adds nothing."""
    rows, columns = d.any(0).nonzero().view(-1), x.any(0).nonzero().view(-1)
    if 2 * rows.numel() * columns.numel() > w.numel():
        _by_rows(b, w, d, x, k, r, c, [])
    elif rows.numel() and columns.numel():
        part = w[rows[:, None], columns]
        _by_rows(b, part, d[:, rows], x[:, columns], k, r[rows], c[columns], [], len(rows))
        w[rows[:, None], columns] = part


def _by_rows(
    b: BoundUpdate, w: Any, d: Any, x: Any, k: int, r: Any, c: Any, scratch: list[Any], step: int = 0
) -> None:
    """Four sweeps over the weights, ``step`` rows at a time.

    The product is added to the random fractions, which are made as floats 1 + a · 2**-k by their bits; a sample more,
    -1 times 1, takes the 1 off again. Every number on the way is a multiple of 2**-k, at most 2**(24 - k): exact.
    """
    import torch

    step = step or max(1, WIDE // w.shape[1])
    dt = torch.cat((d * 2.0**-k, d.new_full((1, d.shape[1]), -1.0))).t()
    more = torch.cat((x, x.new_ones((1, x.shape[1]))))
    if not scratch:
        scratch.append(torch.empty((min(step, w.shape[0]), w.shape[1]), dtype=torch.int32, device=w.device))
    for i in range(0, w.shape[0], step):
        rows = slice(i, min(i + step, w.shape[0]))
        part = scratch[0][: rows.stop - rows.start]
        change = torch.bitwise_xor(r[rows], c, out=part).view(torch.float32).addmm_(dt[rows], more).floor_()
        w[rows].sub_(change, alpha=b.stride).clamp_(b.format.least, b.format.greatest)
