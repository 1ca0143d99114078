"""An activation function is one entry of a table: those of the tree by tables, and one added from outside."""

from __future__ import annotations

from functools import partial
from math import exp, log1p, tanh

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from insitu.network.torch.capture import capture
from insitu.network.torch.module import to_module
from insitu.ops.activations import ACTIVATIONS, Activation, Bounded, Tabulated
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules import emit_step, make_rule
from insitu.step.ir import Level
from tests.helpers import autograd, batch, gradients, one_step
from tests.run.cases import Twin


def forward(x: Tensor, _slope: float, out: Tensor | None) -> Tensor:
    y = nn.functional.mish(x)
    return y if out is None else out.copy_(y)


def gate(d: Tensor, x: Tensor, _slope: float, out: Tensor | None) -> Tensor:
    e = torch.ops.aten.mish_backward(d, x)
    return e if out is None else out.copy_(e)


def value(x: float) -> float:
    return x * tanh(log1p(exp(x)))


def slope(x: float) -> float:
    t = tanh(log1p(exp(x)))
    return t + x * (1 - t * t) / (1 + exp(-x))


TABULATED = {
    "mish": nn.Mish,
    "relu6": nn.ReLU6,
    "clipped_relu": partial(nn.Hardtanh, 0.0, 2.7),
    "hardsigmoid": nn.Hardsigmoid,
    "hardswish": nn.Hardswish,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}
fns = pytest.mark.parametrize("fn", TABULATED)


@pytest.fixture(autouse=True)
def mish(monkeypatch: pytest.MonkeyPatch) -> None:
    how = Tabulated(value, slope, span=8.0, max_abs=None)
    monkeypatch.setitem(ACTIVATIONS, "mish", Activation("Mish", "input", forward, gate, how))


def module(fn: str) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), TABULATED[fn](), nn.Linear(5, 3))


@fns
def test_it_is_captured_and_is_a_module_again(fn: str) -> None:
    net = capture(module(fn), torch.zeros(2, 6))
    assert [x.attrs["fn"] for x in net.layers if x.kind == "activation"] == [fn]
    x = torch.randn(4, 6)
    torch.testing.assert_close(to_module(net)(x), module(fn)(x))


@fns
def test_a_step_of_back_propagation_equals_autograd(fn: str) -> None:
    net = capture(module(fn), torch.zeros(2, 6))
    x, y = batch(net, 4)
    wanted, _ = autograd(net, x, y)
    for name, found in gradients(one_step("bp", net, x, y), net).items():
        torch.testing.assert_close(found, wanted[name], rtol=1e-6, atol=1e-9)


@fns
def test_its_table_and_its_slopes_are_exact_to_the_format(fn: str) -> None:
    net = capture(module(fn), torch.zeros(2, 6))
    step = quantize(emit_step(make_rule("bp"), net, 4), make("edge-latent-free-8"), net.params)
    assert step.level is Level.INTEGER
    values, *slopes = (op for op in step.ops if op.kind == "lut")
    x, y = values.inputs[0], values.outputs[0]
    how = ACTIVATIONS[fn].on_integers(2.7)
    value, slope = how.value, how.slope
    reals = [n * x.unit for n in range(-128, 128)]
    made = np.array(values.attrs.table) * y.unit
    wanted = np.clip([value(r) for r in reals], y.format.least * y.unit, y.format.greatest * y.unit)
    assert np.abs(made - wanted).max() <= y.unit / 2
    if isinstance(how, Bounded):
        assert slopes == []
        return
    ((kept, s),) = ((op.inputs[0], op.outputs[0]) for op in slopes)
    assert kept is (x if ACTIVATIONS[fn].gate_from == "input" else y)
    reals = [n * kept.unit for n in range(kept.format.least, kept.format.greatest + 1)]
    assert np.abs(np.array(slopes[0].attrs.table) * s.unit - [slope(r) for r in reals]).max() <= s.unit / 2


@pytest.mark.parametrize("precision", ["edge-latent-free-8", "edge-latent-free-4"])
@pytest.mark.parametrize("high", [0.001, 0.3, 1, 1.102, 4, 7.9, 6, 1000])
def test_the_gate_of_a_clipped_relu_is_closed_where_its_table_is_at_the_ends(
    high: float, precision: str
) -> None:
    net = capture(nn.Sequential(nn.Linear(6, 5), nn.Hardtanh(0, high), nn.Linear(5, 3)), torch.zeros(2, 6))
    step = quantize(emit_step(make_rule("bp"), net, 4), make(precision), net.params)
    (values,) = (op for op in step.ops if op.kind == "lut")
    (gate,) = (op for op in step.ops if op.kind == "inside")
    assert (gate.attrs.low, gate.attrs.high) == (0, max(values.attrs.table))
    assert abs(gate.attrs.high * gate.inputs[1].unit - high) <= high / 2**3


@fns
def test_torch_and_the_integer_reference_agree_bit_for_bit(fn: str) -> None:
    net = capture(module(fn), torch.zeros(2, 6))
    step = quantize(emit_step(make_rule("bp"), net, 4), make("edge-latent-free-8"), net.params)
    run = Twin(net, [step], 4)
    run.advance(20)
    assert run.unequal() == []
    assert run.moved()
