"""Dropout masks and fresh signs: repeated where they must be, different where they must be."""

from __future__ import annotations

import pytest
import torch

from insitu.numbers.formats import F64
from insitu.run.torch_exec import TorchExecutor
from insitu.step.builder import Builder
from insitu.step.ir import Phase, Role, Step

FORWARD = {"role": Role.ACTIVATION, "phase": Phase.FORWARD}


def dropout_step(p: float, size: int, stream: str = "s") -> Step:
    """Dropout and its adjoint."""
    b = Builder("dropout", 1, F64)
    x = b.input("x", (1, size), Role.ACTIVATION)
    d = b.input("d", (1, size), Role.ERROR)
    y = b.emit1("dropout", x, p=p, stream=stream, **FORWARD)
    b.output(y, b.adjoint(b.ops[-1], [d], [0])[0])
    return b.finish()


def masks(step: Step, *, seed: int = 1, t: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Which elements pass, forward and backward."""
    ones = [torch.ones(v.shape, dtype=torch.float64) for v in step.inputs]
    y, e = TorchExecutor(step, {}, seed=seed, dtype=torch.float64).run(ones, t=t)
    return y, e


def test_the_adjoint_regenerates_the_mask() -> None:
    y, e = masks(dropout_step(0.3, 500), t=4)
    assert torch.equal(y, e)
    assert y.unique().tolist() == [0.0, pytest.approx(1 / 0.7)]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.75])
def test_keep_rate(p: float) -> None:
    n = 40_000
    y, _ = masks(dropout_step(p, n))
    kept = (y != 0).double().mean().item()
    assert abs(kept - (1 - p)) < 4 * (p * (1 - p) / n) ** 0.5


def test_rate_zero_keeps_everything() -> None:
    y, _ = masks(dropout_step(0.0, 1000))
    assert torch.equal(y, torch.ones_like(y))


def test_masks_differ_by_step_seed_and_stream_only() -> None:
    step = dropout_step(0.5, 1000)
    first, again = masks(step)[0], masks(step)[0]
    assert torch.equal(first, again)
    for other in (masks(step, t=1)[0], masks(step, seed=2)[0], masks(dropout_step(0.5, 1000, "r"))[0]):
        agreement = ((first != 0) == (other != 0)).double().mean().item()
        assert 0.4 < agreement < 0.6  # half by chance; the standard deviation is 0.016


def test_fresh_signs_change_with_the_step_and_fixed_matrices_do_not() -> None:
    b = Builder("views", 1, F64)
    d = b.input("d", (1, 4), Role.ERROR)
    w = b.input("w", (4, 6), Role.WEIGHT)
    fresh = b.emit1("matmul_dx", d, w, view="sign-fresh", scale=0.5, stream="f", **FORWARD)
    fixed = b.emit1("random_project", d, columns=6, stream="f", bound=0.5, **FORWARD)
    b.output(fresh, fixed)
    executor = TorchExecutor(b.finish(), {}, seed=3, dtype=torch.float64)
    given = [torch.ones(1, 4, dtype=torch.float64), torch.ones(4, 6, dtype=torch.float64)]
    (fresh0, fixed0), (fresh1, fixed1) = executor.run(given, t=0), executor.run(given, t=1)
    assert not torch.equal(fresh0, fresh1)
    assert torch.equal(fixed0, fixed1)
