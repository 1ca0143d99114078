"""Moves of weights along a random direction of ±1 that is made anew each time from (stream, training step)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from insitu.numbers import prng
from insitu.ops.common import require
from insitu.step.ir import Counts, Inferred, Op, OpRecord, Value, register


def _direction(op: Op, rt: Any) -> Any:
    """z as a function of the step: the top bit of each word."""
    import torch

    w = op.inputs[0]
    index = torch.arange(w.size, device=rt.device)
    stream = op.attrs["stream"]

    def direction() -> Any:
        bits = prng.words(prng.key(rt.seed, stream, rt.t), index) >> 31
        return bits.to(rt.real).mul_(2).sub_(1).view(w.shape)

    return direction


def _counts(op: Op) -> Counts:
    size = op.inputs[0].size
    return Counts(other={op.phase: size}, random=size)


def _perturb_torch(op: Op, rt: Any) -> Any:
    direction, by = _direction(op, rt), op.attrs["by"]

    def perturb(w: Any) -> None:
        w.add_(direction(), alpha=by)

    return perturb


register(
    OpRecord(
        kind="perturb",
        doc="w ← w + by · z, z = ±1 of (stream, training step), never stored",
        infer=lambda _inputs, _attrs: [],
        torch=_perturb_torch,
        counts=_counts,
        writes=lambda _n: (0,),
    )
)


def _update_infer(inputs: Sequence[Value], _attrs: Any) -> Inferred:
    _w, up, down = inputs
    require(up.shape == down.shape == (), f"losses must be scalars, got {up.shape} and {down.shape}")
    return []


def _update_torch(op: Op, rt: Any) -> Any:
    direction, epsilon = _direction(op, rt), op.attrs["epsilon"]

    def update(w: Any, up: Any, down: Any) -> None:
        move = epsilon - rt.lr * float(up - down) / (2.0 * epsilon)
        w.add_(direction(), alpha=move)

    return update


register(
    OpRecord(
        kind="perturb_update",
        doc="from θ - εz: w ← w + (ε - lr (L⁺ - L⁻) / 2ε) z: back to θ and the update in one pass",
        infer=_update_infer,
        torch=_update_torch,
        counts=_counts,
        writes=lambda _n: (0,),
    )
)
