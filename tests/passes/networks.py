"""Random small networks: chains of dense, convolution, activation, pool, norm, dropout and residual."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import strategies as st

from insitu.network.graph import Network
from insitu.network.layers import Describe
from insitu.ops.activations import ACTIVATIONS
from insitu.ops.optimizers import Optimizer
from insitu.rules import emit_step, make_rule
from insitu.run.state import extend_state
from insitu.run.torch_exec import TorchExecutor
from insitu.step.ir import Step

FUNCTIONS = tuple(ACTIVATIONS)
OPTIMIZERS = (
    Optimizer("sgd"),
    Optimizer("sgd", weight_decay=0.01),
    Optimizer("momentum", weight_decay=0.01),
    Optimizer("nesterov"),
)
"""Linear in the gradient: Adam and sign descent turn the rounding noise of a zero gradient into a step."""

RULES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("bp", {}),
    ("bp-checkpoint", {}),
    ("bp-checkpoint", {"segments": 1}),
    ("fa", {}),
    ("fa", {"feedback": "regenerated"}),
    ("dfa", {}),
    ("dfa", {"feedback": "shared", "point": "before_pool"}),
    ("dfa", {"feedback": "regenerated"}),
    ("drtp", {}),
    ("drtp", {"feedback": "regenerated", "point": "after_pool"}),
    ("drtp", {"feedback": "shared"}),
)


@dataclass(frozen=True)
class Case:
    """A network, the layers it was drawn with (for the failure report), and how it is trained."""

    net: Network
    layers: tuple[str, ...]
    rule: str
    options: dict[str, Any] = field(hash=False)
    optimizer: Optimizer
    loss: str
    batch: int

    def __repr__(self) -> str:
        how = f"{self.rule} {self.options} {self.optimizer} {self.loss} batch={self.batch}"
        return f"{self.net.input_shape} {' '.join(self.layers)} | {how}"

    def step(self) -> Step:
        return emit_step(
            make_rule(self.rule, self.options),
            self.net,
            self.batch,
            optimizer=self.optimizer,
            loss=self.loss,
            with_loss=True,
        )

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(self.batch)
        x = torch.randn(self.batch, *self.net.input_shape, generator=generator)
        return x, torch.randint(0, self.net.outputs, (self.batch,), generator=generator)


def executor(case: Case, step: Step, dtype: torch.dtype = torch.float64) -> TorchExecutor:
    state = extend_state({}, step, case.net.params, 11, dtype=dtype)
    return TorchExecutor(step, state, seed=11, dtype=dtype)


def trained(case: Case, step: Step, steps: int = 2) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    """Residents and the last step's outputs after a few steps in float64."""
    made = executor(case, step)
    outputs: list[torch.Tensor] = []
    for t in range(steps):
        outputs = made.run(made.convert(*case.inputs()), lr=0.05, t=t)
    return made.state, outputs


def largest(state: dict[str, torch.Tensor]) -> float:
    return max(tensor.abs().max().item() for tensor in state.values())


def assert_same(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    """Equal to 1e-10 of each array's largest element, or 1e-13 of the largest of all.

    The second bound is for parameters that stay zero but for rounding: a bias in front of a batch norm.
    """
    assert set(got) == set(want)
    floor = 1e-3 * largest(want)
    for name, expected in want.items():
        assert bool(torch.isfinite(expected).all()), name
        scale = max(expected.abs().max().item(), floor)
        assert (got[name] - expected).abs().max().item() <= 1e-10 * scale, name


def _dense(draw: st.DrawFn, d: Describe) -> str:
    width, bias = draw(st.integers(1, 6)), draw(st.booleans())
    d.dense(width, bias=bias)
    return f"dense{width}{'b' if bias else ''}"


def _conv(draw: st.DrawFn, d: Describe) -> str:
    kernel = draw(st.sampled_from([k for k in (1, 2, 3) if k <= min(d.shape[1:])]))
    groups = draw(st.sampled_from(sorted({1, d.shape[0]})))
    channels = groups * draw(st.integers(1, 2))
    stride, padding = draw(st.integers(1, 2)), draw(st.integers(0, kernel - 1))
    bias = draw(st.booleans())
    d.conv(channels, kernel, stride=stride, padding=padding, groups=groups, bias=bias)
    return f"conv{channels}k{kernel}s{stride}p{padding}g{groups}{'b' if bias else ''}"


def _activation(draw: st.DrawFn, d: Describe) -> str:
    fn = draw(st.sampled_from(FUNCTIONS))
    d.activation(fn, **ACTIVATIONS[fn].options)
    return fn


def _norm(draw: st.DrawFn, d: Describe) -> str:
    kind = draw(st.sampled_from(["bn", "bn-plain", "rms"]))
    if kind == "rms":
        d.rms_norm()
    else:
        d.batch_norm(affine=kind == "bn")
    return kind


def _pool(draw: st.DrawFn, d: Describe) -> str:
    kind = draw(st.sampled_from(["max_pool", "avg_pool"]))
    kernel = draw(st.sampled_from([k for k in (1, 2, 3) if k <= min(d.shape[1:])]))
    stride, padding = draw(st.integers(1, kernel)), draw(st.integers(0, kernel // 2))
    getattr(d, kind)(kernel, stride, padding)
    return f"{kind}{kernel}s{stride}p{padding}"


def _dropout(draw: st.DrawFn, d: Describe) -> str:
    channels = len(d.shape) == 3 and draw(st.booleans())
    d.dropout(0.25, channels=channels)
    return f"dropout{'2d' if channels else ''}"


def _upsample(draw: st.DrawFn, d: Describe) -> str:
    rows, columns = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    d.upsample((rows, columns))
    return f"upsample{rows}x{columns}"


def _residual(draw: st.DrawFn, d: Describe) -> str:
    """x + f(x), with a norm or an activation inside and an activation on either branch."""
    start, shape = d.here, d.shape
    inner = [_weighted_like(d, shape)]
    inner += [draw(st.sampled_from([_norm, _activation]))(draw, d) for _ in range(draw(st.integers(0, 2)))]
    if draw(st.booleans()):
        inner.append(_weighted_like(d, shape))
    d.add(d.here, start) if draw(st.booleans()) else d.add(start, d.here)
    return f"residual({' '.join(inner)})"


def _weighted_like(d: Describe, shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        d.dense(shape[0])
    else:
        d.conv(shape[0], 3, padding=1)
    return "same"


@st.composite
def networks(draw: st.DrawFn) -> tuple[Network, tuple[str, ...]]:
    """A network of up to seven drawn layers and a last dense one; a vector or an image comes in."""
    image = draw(st.booleans())
    shape = (draw(st.integers(1, 3)), 6, draw(st.integers(5, 6))) if image else (draw(st.integers(2, 6)),)
    d = Describe("drawn", shape)
    drawn = []
    for _ in range(draw(st.integers(1, 7))):
        kinds = [_dense, _activation, _norm, _dropout]
        if len(d.shape) == 3:
            kinds = [_conv, _conv, _activation, _activation, _norm, _dropout, _pool, _pool]
            kinds += [_upsample] * (max(d.shape[1:]) < 8)
        if d.layers:
            kinds.append(_residual)
        drawn.append(draw(st.sampled_from(kinds))(draw, d))
    classes = draw(st.integers(2, 4))
    d.dense(classes)
    return d.network(seed=3), (*drawn, f"dense{classes}")


@st.composite
def cases(draw: st.DrawFn) -> Case:
    net, layers = draw(networks())
    rule, options = draw(st.sampled_from(RULES))
    if options.get("segments"):
        options = {"segments": draw(st.integers(1, len(net.blocks)))}
    if options.get("feedback") == "shared" and len(net.blocks) == 1:
        options = {}
    return Case(
        net,
        layers,
        rule,
        options,
        draw(st.sampled_from(OPTIMIZERS)),
        draw(st.sampled_from(["xent", "bce", "mse", "hinge"])),
        draw(st.integers(2, 4)),
    )
