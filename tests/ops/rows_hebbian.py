"""Conformance rows of competition, moves along random directions, and rows of unit length."""

from __future__ import annotations

import numpy as np
import torch

from insitu.numbers import prng

from .harness import LR, SEED, Row, T

TEMPERATURE, BY, EPSILON = 0.7, 0.25, 0.125


def compete(u: torch.Tensor) -> torch.Tensor:
    e = torch.exp(u / TEMPERATURE)
    return e / e.sum(1, keepdim=True)


def against(u: torch.Tensor) -> torch.Tensor:
    y = compete(u)
    largest = u == u.amax(1, keepdim=True)
    return torch.where(largest, y, -y)


def products(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return BY * (a * b).transpose(0, 1).flatten(1).sum(1)


def direction(shape: torch.Size) -> torch.Tensor:
    """Bit i mod 32 of word i // 32, one by one."""
    words = prng.words(prng.key(SEED, "z", T), np.arange(shape.numel() // 32 + 1, dtype=np.uint64))
    signs = [1.0 if int(words[i // 32]) >> i % 32 & 1 else -1.0 for i in range(shape.numel())]
    return torch.tensor(signs, dtype=torch.float64).view(shape)


def moved(w: torch.Tensor) -> torch.Tensor:
    return w + BY * direction(w.shape)


def updated(w: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    slope = (up - down) / (2 * EPSILON)
    return w + (EPSILON - LR * slope) * direction(w.shape)


def unit(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    norm = x.norm(dim=1)
    return x / (norm + 1e-8)[:, None], norm


def scaled(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    return torch.einsum("bc...,c->bc...", x, s)


def shrunk(w: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    return torch.stack([row - LR * factor * row for row, factor in zip(w, d)])


HEBBIAN: list[Row] = [
    *(
        Row("compete", f"{tag}-{name}", (shape,), function, {"temperature": TEMPERATURE, "anti": anti})
        for tag, shape in {"2d": (4, 6), "4d": (2, 5, 3, 4)}.items()
        for name, anti, function in (("soft", False, compete), ("anti", True, against))
    ),
    Row("channel_products", "2d", ((4, 6), (4, 6)), products, {"by": BY}),
    Row("channel_products", "4d", ((2, 5, 3, 4), (2, 5, 3, 4)), products, {"by": BY}),
    Row("perturb", "", ((5, 7),), moved, {"stream": "z", "by": BY}, resident=(0,)),
    Row(
        "perturb_update",
        "",
        ((5, 7), (), ()),
        updated,
        {"stream": "z", "epsilon": EPSILON},
        resident=(0,),
    ),
    Row("perturb", "tiles", ((300, 111),), moved, {"stream": "z", "by": BY}, resident=(0,)),
    *(
        Row("channel_scale", tag, (shape, (6,)), scaled, needs=(0, 1))
        for tag, shape in {"2d": (4, 6), "4d": (2, 6, 3, 4)}.items()
    ),
    *(
        Row("shrink_rows", tag, (shape, (5,)), shrunk, resident=(0,))
        for tag, shape in {"dense": (5, 7), "conv": (5, 2, 3, 3)}.items()
    ),
    Row("unit_rows", "no-centre", ((4, 6),), unit, {"centre": False}, needs=(0,)),
]
