"""Conformance rows of the ops of forward-only rules: rows of a batch, and labels inside the samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from insitu.numbers import prng

from .harness import SEED, Operand, Row, T


def labels(batch: int, classes: int) -> Operand:
    """Class indices as the executor passes them."""
    kind = torch.uint8 if classes <= 256 else torch.int32
    return lambda g, _made: torch.randint(0, classes, (batch,), generator=g).to(kind)


def overlaid(x: torch.Tensor, codes: list[list[float]]) -> torch.Tensor:
    """Row by row: a copy of sample r mod B with a code written over its first elements."""
    rows = []
    for r, code in enumerate(codes):
        row = x[r % len(x)].flatten().tolist()
        row[: len(code)] = code
        rows.append(torch.tensor(row, dtype=x.dtype).view(x.shape[1:]))
    return torch.stack(rows)


def one_hot(c: int, classes: int) -> list[float]:
    return [float(i == c) for i in range(classes)]


def each(x: torch.Tensor, classes: int) -> torch.Tensor:
    parts = [overlaid(x[i : i + 1], [one_hot(c, classes) for c in range(classes)]) for i in range(len(x))]
    return torch.cat(parts)


KEY = prng.key(SEED, "s", T)
"""Of the stream that the rows below draw from."""


def words(rows: int, key: int) -> list[int]:
    return [int(w) for w in prng.words(key, np.arange(rows, dtype=np.uint64))]


def wrong(y: torch.Tensor, classes: int, key: int = KEY) -> torch.Tensor:
    """The words choose among the other classes, in order from the label on."""
    found = []
    for label, word in zip(y.tolist(), words(len(y), key), strict=True):
        others = [(label + k) % classes for k in range(1, classes)]
        found.append(others[word * len(others) // 2**32])
    return torch.tensor(found)


def drawn(z: torch.Tensor, y: torch.Tensor, key: int = KEY) -> torch.Tensor:
    """Walks along the probabilities of the other classes until they reach the word."""
    found = []
    for scores, label, word in zip(z, y.tolist(), words(len(y), key), strict=True):
        others = [c for c in range(z.shape[1]) if c != label]
        p = torch.softmax(scores[others], 0).tolist()
        reached, choice = 0.0, others[-1]
        for c, part in zip(others, p, strict=True):
            reached += part
            if reached > (word >> 8) / 2**24:
                choice = c
                break
        found.append(choice)
    return torch.tensor(found)


def goodness_error(g: torch.Tensor, theta: float, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Error and loss by autograd."""
    with torch.enable_grad():
        g = g.detach().requires_grad_()
        good, bad = g.chunk(2)
        loss = scale * (F.softplus(theta - good).sum() + F.softplus(bad - theta).sum())
        return torch.autograd.grad(loss, g)[0], loss.detach()


def products(x: torch.Tensor, first: int, by: float) -> torch.Tensor:
    rows = x.flatten(1)
    return by * rows[:first] @ rows[first:].T


def products_dx(d: torch.Tensor, x: torch.Tensor, by: float) -> torch.Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(products(x, len(d), by), x, d)[0]


def products_work(d: torch.Tensor, x: torch.Tensor) -> Any:
    rows = x.flatten(1)
    return d @ rows[len(d) :], d.T @ rows[: len(d)]


SHAPES: dict[str, tuple[int, ...]] = {"2d": (4, 12), "4d": (4, 2, 3, 2)}
LOSS = {"theta": 2.0, "scale": 0.3}


def shaped(tag: str) -> list[Row]:
    """The rows that both samples and maps have."""
    shape = SHAPES[tag]
    return [
        Row("concat_rows", tag, (shape, (2, *shape[1:])), lambda a, b: torch.cat([a, b])),
        Row("slice_rows", f"{tag}-first", (shape,), lambda x: x[:3], {"start": 0, "count": 3}),
        Row("slice_rows", f"{tag}-last", (shape,), lambda x: x[3:], {"start": 3, "count": 1}),
        Row("row_squares", f"{tag}-sum", (shape,), lambda x: x.flatten(1).square().sum(1), {"by": 1.0}, (0,)),
        Row(
            "row_squares", f"{tag}-mean", (shape,), lambda x: (x**2).flatten(1).mean(1), {"by": 1 / 12}, (0,)
        ),
        Row(
            "row_scale",
            tag,
            (shape, (4,)),
            lambda x, d: (0.3 * d * x.flatten(1).T).T.view(shape),
            {"by": 0.3},
        ),
        Row("sub", tag, (shape, shape), torch.sub),
        Row(
            "row_products",
            tag,
            (shape,),
            lambda x: products(x, 3, 0.5),
            {"first": 3, "by": 0.5},
            (0,),
            flops=lambda x: products(x, 3, 0.5),
        ),
        Row(
            "row_products_dx",
            tag,
            ((3, 1), shape),
            lambda d, x: products_dx(d, x, 0.5),
            {"by": 0.5},
            flops=products_work,
        ),
        Row("overlay_each", tag, (shape,), lambda x: each(x, 3), {"classes": 3}),
        Row("overlay_even", tag, (shape,), lambda x: overlaid(x, [[1 / 3] * 3] * 4), {"classes": 3}),
        *(
            Row(
                "overlay",
                f"{tag}-{rows}",
                (shape, labels(rows, 5)),
                lambda x, y: overlaid(x, [one_hot(int(c), 5) for c in y]),
                {"classes": 5},
            )
            for rows in (4, 8)
        ),
    ]


FORWARD_ROWS = [
    *(row for tag in SHAPES for row in shaped(tag)),
    Row("concat_rows", "labels", (labels(4, 10), labels(4, 10)), lambda a, b: torch.cat([a, b])),
    Row("goodness_error", "", ((8,),), lambda g: goodness_error(g, **LOSS), LOSS | {"with_loss": True}),
    Row(
        "goodness_error", "bare", ((8,),), lambda g: goodness_error(g, **LOSS)[0], LOSS | {"with_loss": False}
    ),
    *(
        Row(
            "wrong_labels",
            f"{classes}",
            (labels(50, classes),),
            lambda y, classes=classes: wrong(y, classes),
            {"classes": classes, "stream": "s"},
        )
        for classes in (2, 5, 300)
    ),
    *(
        Row("draw_wrong_labels", f"{classes}", ((50, classes), labels(50, classes)), drawn, {"stream": "s"})
        for classes in (2, 5, 300)
    ),
]
