"""An activation function is one entry of a table: hard swish, added from outside."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from insitu.network.torch.capture import capture
from insitu.network.torch.module import to_module
from insitu.ops.activations import ACTIVATIONS, Activation, Tabulated
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules import emit_step, make_rule
from insitu.step.ir import Level
from tests.helpers import autograd, batch, gradients, one_step
from tests.run.cases import Twin


def forward(x: Tensor, _slope: float, out: Tensor | None) -> Tensor:
    y = nn.functional.hardswish(x)
    return y if out is None else out.copy_(y)


def gate(d: Tensor, x: Tensor, _slope: float, out: Tensor | None) -> Tensor:
    e = torch.ops.aten.hardswish_backward(d, x)
    return e if out is None else out.copy_(e)


def value(x: float) -> float:
    return x * min(max(x + 3.0, 0.0), 6.0) / 6.0


def slope(x: float) -> float:
    return 0.0 if x <= -3.0 else 1.0 if x >= 3.0 else x / 3.0 + 0.5


@pytest.fixture(autouse=True)
def hardswish(monkeypatch: pytest.MonkeyPatch) -> None:
    how = Tabulated(value, slope, span=8.0, max_abs=None)
    monkeypatch.setitem(ACTIVATIONS, "hardswish", Activation("Hardswish", "input", forward, gate, how))


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Hardswish(), nn.Linear(5, 3))


def test_it_is_captured_and_is_a_module_again() -> None:
    net = capture(module(), torch.zeros(2, 6))
    assert [x.attrs["fn"] for x in net.layers if x.kind == "activation"] == ["hardswish"]
    x = torch.randn(4, 6)
    torch.testing.assert_close(to_module(net)(x), module()(x))


def test_a_step_of_back_propagation_equals_autograd() -> None:
    net = capture(module(), torch.zeros(2, 6))
    x, y = batch(net, 4)
    wanted, _ = autograd(net, x, y)
    for name, found in gradients(one_step("bp", net, x, y), net).items():
        torch.testing.assert_close(found, wanted[name], rtol=1e-6, atol=1e-9)


def test_its_table_and_its_slopes_are_exact_to_the_format() -> None:
    net = capture(module(), torch.zeros(2, 6))
    step = quantize(emit_step(make_rule("bp"), net, 4), make("edge-latent-free-8"), net.params)
    assert step.level is Level.INTEGER
    values, slopes = (op for op in step.ops if op.kind == "lut")
    x, y, s = values.inputs[0], values.outputs[0], slopes.outputs[0]
    assert slopes.inputs[0] is x  # the derivative is read from the operand
    reals = [n * x.unit for n in range(-128, 128)]
    made = np.array(values.attrs.table) * y.unit
    wanted = np.clip([value(r) for r in reals], y.format.least * y.unit, y.format.greatest * y.unit)
    assert np.abs(made - wanted).max() <= y.unit / 2
    assert np.abs(np.array(slopes.attrs.table) * s.unit - [slope(r) for r in reals]).max() <= s.unit / 2


def test_torch_and_the_integer_reference_agree_bit_for_bit() -> None:
    net = capture(module(), torch.zeros(2, 6))
    step = quantize(emit_step(make_rule("bp"), net, 4), make("edge-latent-free-8"), net.params)
    run = Twin(net, [step], 4)
    run.advance(20)
    assert run.unequal() == []
    assert run.moved()
