"""Updates against torch.optim over several steps, and fused updates against the gradient and its update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import insitu.ops  # noqa: F401  (fills OPS)
from insitu.errors import ConfigError
from insitu.numbers.formats import F64
from insitu.ops.optimizers import KINDS, Optimizer
from insitu.ops.updates import executor as updates
from insitu.passes.fuse import fuse_updates
from insitu.run.torch_exec import TorchExecutor
from insitu.step.builder import Builder
from insitu.step.ir import OPS, Init, Phase, Role, Step, Value

STEPS, LR = 5, 0.05
FUSED = sorted(record.fuses for record in OPS.values() if record.fuses)


class SignDescent(torch.optim.Optimizer):
    """w ← w - lr (sign(g) + decay · w), which torch.optim lacks."""

    def __init__(self, params: Any, lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for w in group["params"]:
                w -= group["lr"] * (w.grad.sign() + group["weight_decay"] * w)


Make = Callable[[list[torch.Tensor], float], torch.optim.Optimizer]
"""``(parameters, weight decay) -> torch's optimizer``."""

TORCH: dict[str, Make] = {
    "sgd": lambda p, decay: torch.optim.SGD(p, LR, weight_decay=decay),
    "momentum": lambda p, decay: torch.optim.SGD(p, LR, momentum=0.8, weight_decay=decay),
    "nesterov": lambda p, decay: torch.optim.SGD(p, LR, momentum=0.8, weight_decay=decay, nesterov=True),
    "adam": lambda p, decay: torch.optim.Adam(p, LR, betas=(0.8, 0.95), eps=1e-6, weight_decay=decay),
    "sign": lambda p, decay: SignDescent(p, LR, decay),
}


def optimizer(kind: str, decay: float) -> Optimizer:
    return Optimizer(kind, momentum=0.8, weight_decay=decay, beta1=0.8, beta2=0.95, eps=1e-6)


def test_every_kind_has_a_reference() -> None:
    assert set(TORCH) == set(KINDS)


def learn(b: Builder, o: Optimizer, shape: tuple[int, ...], gradient: Value) -> Value:
    """Emits the update of ``w`` with the optimizer's state."""
    w = b.resident("w", shape, Role.WEIGHT, Init("zeros"))
    states = [b.resident(f"w.{s}", shape, Role.STATE, Init("zeros")) for s in o.states]
    b.emit("update", w, gradient, *states, optimizer=o, role=Role.WEIGHT, phase=Phase.UPDATE)
    return w


def zero_state(step: Step, w: torch.Tensor) -> dict[str, torch.Tensor]:
    state = {v.name: torch.zeros(v.shape, dtype=torch.float64) for v in step.residents}
    return state | {"w": w.clone()}


@pytest.mark.parametrize("decay", [0.0, 0.03])
@pytest.mark.parametrize("kind", KINDS)
def test_update_equals_torch_optim(kind: str, decay: float) -> None:
    b = Builder("update", 1, F64)
    learn(b, optimizer(kind, decay), (4, 3), b.input("g", (4, 3), Role.SCRATCH))
    step = b.finish()
    w = torch.randn(4, 3, dtype=torch.float64)
    reference = w.clone().requires_grad_()
    theirs = TORCH[kind]([reference], decay)
    executor = TorchExecutor(step, zero_state(step, w), dtype=torch.float64)
    for t in range(STEPS):
        g = torch.randn(4, 3, dtype=torch.float64)
        reference.grad = g.clone()
        theirs.step()
        executor.run([g], lr=LR, t=t)
        torch.testing.assert_close(executor.state["w"], reference.detach(), rtol=1e-12, atol=1e-13)
    assert not torch.equal(executor.state["w"], w)


def gradient_of(b: Builder, kind: str, batch: int) -> tuple[Value, tuple[int, ...]]:
    """Emits a gradient op on inputs; returns the gradient and its shape."""
    scratch: dict[str, Any] = {"role": Role.SCRATCH, "phase": Phase.GRADIENT}
    if kind == "matmul_dw":
        d = b.input("d", (batch, 9), Role.ERROR)
        out = b.emit1(kind, d, b.input("x", (batch, 7), Role.ACTIVATION), **scratch)
    elif kind == "conv2d_dw":
        d = b.input("d", (batch, 6, 5, 5), Role.ERROR)
        x = b.input("x", (batch, 4, 5, 5), Role.ACTIVATION)
        geometry = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 2}
        out = b.emit1(kind, d, x, kernel=(6, 2, 3, 3), **geometry, **scratch)
    elif kind == "sum_to_channels":
        out = b.emit1(kind, b.input("d", (batch, 6, 3, 2), Role.ERROR), **scratch)
    else:
        d, x = (b.input(n, (batch, 6, 3, 2), Role.ERROR) for n in ("d", "x"))
        mean, var = (b.input(n, (6,), Role.ACTIVATION) for n in ("mean", "var"))
        out = b.emit1(kind, d, x, mean, var, eps=1e-5, **scratch)
    return out, out.shape


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("decay", [0.0, 0.03])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gradient", FUSED)
def test_fused_update_equals_gradient_and_update(
    gradient: str, kind: str, decay: float, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "TILE", 20)  # of a dense gradient of 9 rows of 7: 2 rows at a time, then 1
    b = Builder("update", batch, F64)
    g, shape = gradient_of(b, gradient, batch)
    learn(b, optimizer(kind, decay), shape, g)
    plain = b.finish()
    fused = fuse_updates(plain)
    assert [op.kind for op in fused.ops] == [f"{gradient}_update"]
    w = torch.randn(shape, dtype=torch.float64)
    executors = [TorchExecutor(step, zero_state(step, w), dtype=torch.float64) for step in (plain, fused)]
    for t in range(STEPS):
        given = [torch.randn(v.shape, dtype=torch.float64).abs() for v in plain.inputs]
        for executor in executors:
            executor.run([x.clone() for x in given], lr=LR, t=t)
    for name, expected in executors[0].state.items():
        scale = expected.abs().max().item()
        torch.testing.assert_close(executors[1].state[name], expected, rtol=1e-12, atol=1e-12 * scale)
    assert not torch.equal(executors[1].state["w"], w)


@pytest.mark.parametrize("gradient", FUSED)
def test_fused_counts_are_the_sum_of_both(gradient: str) -> None:
    b = Builder("update", 3, F64)
    g, shape = gradient_of(b, gradient, 3)
    learn(b, optimizer("adam", 0.0), shape, g)
    step = b.finish()
    assert fuse_updates(step).counts() == step.counts()


def test_these_gradients_have_a_fused_update() -> None:
    assert FUSED == ["bn_dgamma", "conv2d_dw", "matmul_dw", "sum_to_channels"]
    assert {f"{kind}_update" for kind in FUSED} <= set(OPS)


@pytest.mark.parametrize(
    ("kind", "macs"), [("sgd", 12), ("sign", 0), ("momentum", 24), ("nesterov", 36), ("adam", 48)]
)
def test_macs_of_an_update(kind: str, macs: int) -> None:
    b = Builder("update", 1, F64)
    learn(b, optimizer(kind, 0.0), (4, 3), b.input("g", (4, 3), Role.SCRATCH))
    assert b.finish().counts().macs == {Phase.UPDATE: macs}


REFUSED = [
    ({"kind": "rmsprop"}, "optimizer 'rmsprop' is unknown; use one of sgd, momentum"),
    ({"kind": "momentum", "momentum": 0.0}, "momentum=0; use more than 0 and less than 1, or 'sgd'"),
    ({"kind": "nesterov", "momentum": 0.0}, "momentum=0; use more than 0 and less than 1, or 'sgd'"),
    ({"kind": "momentum", "momentum": -0.5}, "momentum=-0.5"),
    ({"kind": "momentum", "momentum": 1.0}, "momentum=1"),
    ({"kind": "adam", "beta1": 1.0}, "beta1=1; use at least 0 and less than 1"),
    ({"kind": "adam", "beta1": -0.1}, "beta1=-0.1"),
    ({"kind": "adam", "beta2": 1.5}, "beta2=1.5"),
    ({"kind": "adam", "beta2": float("nan")}, "beta2=nan"),
    ({"kind": "adam", "eps": 0.0}, "eps=0; use more than 0"),
    ({"kind": "sgd", "weight_decay": -1e-4}, "weight_decay=-0.0001; use 0 or more"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Optimizer(**options)
    assert message in str(refused.value)


def test_momentum_is_not_read_by_the_others() -> None:
    assert Optimizer("sgd", momentum=0.0).states == ()


@pytest.mark.parametrize(
    ("o", "text"),
    [
        (Optimizer("sgd"), "sgd"),
        (Optimizer("momentum", momentum=0.8), "momentum:momentum=0.8"),
        (Optimizer("nesterov", weight_decay=0.01), "nesterov:momentum=0.9:decay=0.01"),
        (Optimizer("adam"), "adam:betas=0.9,0.999"),
    ],
)
def test_text_form(o: Optimizer, text: str) -> None:
    assert str(o) == text
