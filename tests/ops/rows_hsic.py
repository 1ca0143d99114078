"""Conformance rows of kernel matrices, votes and calls."""

from __future__ import annotations

from typing import Any

import torch

from insitu.step.builder import Builder
from insitu.step.ir import Phase, Role, Value

from .harness import Row

WIDTH = 7.0


def gram(generator: torch.Generator, _made: list[torch.Tensor]) -> torch.Tensor:
    x = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    return x @ x.T


def gaussian(g: torch.Tensor) -> torch.Tensor:
    norms = g.diagonal()
    return torch.exp(-(norms[:, None] + norms[None, :] - 2 * g) / WIDTH)


def gaussian_error(d: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """By autograd through the distances; the kernel's own values stand for its derivative."""
    distance = -WIDTH * torch.log(kernel)
    g = torch.zeros_like(kernel).requires_grad_()
    with torch.enable_grad():
        norms = g.diagonal()
        moved = torch.exp(-(distance + norms[:, None] + norms[None, :] - 2 * g) / WIDTH)
        return torch.autograd.grad(moved, g, d)[0]


def centred(k: torch.Tensor) -> torch.Tensor:
    h = torch.eye(len(k), dtype=k.dtype) - 1 / len(k)
    return h @ k @ h


def classes(generator: torch.Generator, _made: list[torch.Tensor]) -> torch.Tensor:
    return torch.randint(0, 5, (6,), generator=generator).to(torch.uint8)


def positive(*shape: int) -> Any:
    return lambda g, _made: torch.rand(shape, generator=g, dtype=torch.float64) + 0.2


def voted(z: torch.Tensor, label: torch.Tensor, votes: torch.Tensor) -> torch.Tensor:
    after = 0.5 * votes
    for row, y in zip(z.argmax(1), label, strict=True):
        after[row, int(y)] += 1
    return after


def elected(z: torch.Tensor, votes: torch.Tensor) -> torch.Tensor:
    share = votes + 0.2
    return torch.log(share / share.sum(1, keepdim=True))[z.argmax(1)]


def softened(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x) @ y


def emit_call(b: Builder, values: list[Value]) -> Any:
    return b.call(
        "soft", softened, *values, shapes=[(3, 5)], macs=60, role=Role.ACTIVATION, phase=Phase.FORWARD
    )


def softened_vjp(d: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    t = torch.tanh(x)
    return (d @ y.T) * (1 - t * t), t.T @ d


def emit_call_dx(vjp: Any) -> Any:
    def emit(b: Builder, values: list[Value]) -> Any:
        d, x, y = values
        style = {"role": Role.ACTIVATION, "phase": Phase.FORWARD}
        b.call("soft", softened, x, y, shapes=[(3, 5)], macs=60, vjp=vjp, **style)
        return b.adjoint(b.ops[-1], [d], [0, 1])

    return emit


def softened_errors(d: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return softened_vjp(d, x, y)


KERNELS: list[Row] = [
    Row("gaussian", "", (gram,), gaussian, {"width": WIDTH}, needs=(0,)),
    Row(
        "gaussian_dx",
        "",
        ((4, 4), lambda g, made: gaussian(gram(g, made))),
        gaussian_error,
        {"width": WIDTH},
    ),
    Row("centre", "", ((5, 5),), centred, needs=(0,)),
    Row("inner", "", ((4, 5), (4, 5)), lambda a, b: (a * b).sum()),
    Row("vote", "", ((6, 5), classes, positive(5, 5)), voted, {"decay": 0.5}, resident=(2,)),
    Row("elect", "", ((6, 5), positive(5, 5)), elected),
    Row("call", "", ((3, 4), (4, 5)), softened, needs=(0, 1), emit=emit_call),
    Row("call_dx", "autograd", ((3, 5), (3, 4), (4, 5)), softened_errors, emit=emit_call_dx(None)),
    Row("call_dx", "vjp", ((3, 5), (3, 4), (4, 5)), softened_errors, emit=emit_call_dx(softened_vjp)),
]
