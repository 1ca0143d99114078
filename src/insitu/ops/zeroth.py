"""Moves of weights along a random direction of ±1 that is made anew each time from (stream, training step).

One random bit a weight: weight i takes bit i mod 32 of word ⌊i/32⌋, 1 for +1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from insitu.numbers import prng
from insitu.ops.common import Run, Streamed, TorchContext, require
from insitu.ops.updates.executor import TILE
from insitu.step.attrs import Attrs, attributes
from insitu.step.ir import Counts, Inferred, Op, OpRecord, Value, register

if TYPE_CHECKING:
    from torch import Tensor

BITS = 32
"""Weights per random word."""


@attributes
class Perturb(Streamed):
    """
    Attributes:
        by: length of the move along the direction.
    """

    by: float


@attributes
class PerturbUpdate(Streamed):
    """
    Attributes:
        epsilon: distance of the two points whose losses are compared.
    """

    epsilon: float


def _move(op: Op[Streamed], rt: TorchContext, w: Tensor, by: float) -> None:
    """w ← w + by · z, a tile at a time: z is never whole."""
    import torch

    key, flat = prng.key(rt.seed, op.attrs.stream, rt.t), w.view(-1)
    shifts = torch.arange(BITS, device=w.device)
    for start in range(0, flat.numel(), TILE):
        part = flat[start : start + TILE]
        first = start // BITS
        index = torch.arange(first, first + _words(part.numel()), device=w.device)
        bits = prng.words(key, index)[:, None] >> shifts & 1
        part.add_(bits.view(-1)[: part.numel()].to(w.dtype).mul_(2).sub_(1), alpha=by)


def _words(weights: int) -> int:
    return -(-weights // BITS)


def _counts(op: Op) -> Counts:
    size = op.inputs[0].size
    return Counts(other={op.phase: size}, random=_words(size))


def _perturb_torch(op: Op[Perturb], rt: TorchContext) -> Run:
    return lambda w: _move(op, rt, w, op.attrs.by)


register(
    OpRecord(
        kind="perturb",
        doc="w ← w + by · z, z = ±1 of (stream, training step), never stored",
        attrs=Perturb,
        infer=lambda _inputs, _attrs: [],
        torch=_perturb_torch,
        counts=_counts,
        writes=lambda _n, _attrs: (0,),
    )
)


def _update_infer(inputs: Sequence[Value], _attrs: Attrs) -> Inferred:
    _w, up, down = inputs
    require(up.shape == down.shape == (), f"losses must be scalars, got {up.shape} and {down.shape}")
    return []


def _update_torch(op: Op[PerturbUpdate], rt: TorchContext) -> Run:
    epsilon = op.attrs.epsilon

    def update(w: Tensor, up: Tensor, down: Tensor) -> None:
        _move(op, rt, w, epsilon - rt.lr * float(up - down) / (2.0 * epsilon))

    return update


register(
    OpRecord(
        kind="perturb_update",
        doc="from θ - εz: w ← w + (ε - lr (L⁺ - L⁻) / 2ε) z: back to θ and the update in one pass",
        attrs=PerturbUpdate,
        infer=_update_infer,
        torch=_update_torch,
        counts=_counts,
        writes=lambda _n, _attrs: (0,),
    )
)
