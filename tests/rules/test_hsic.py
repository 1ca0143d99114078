"""The HSIC bottleneck: gradients of both objectives, centring, phases, votes, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from insitu.errors import ConfigError, NetworkError
from insitu.network.graph import Network
from insitu.network.torch.module import to_module
from insitu.numbers.formats import F64
from insitu.passes import lower
from insitu.rules import emit_inference, emit_step, make_rule
from insitu.rules.protocol import phases
from insitu.run.state import extend_state
from insitu.run.torch_exec import TorchExecutor
from insitu.step.ir import Role
from tests.helpers import batch, gradients, largest_difference, one_step, small

SIGMA, LAM, EPS = 1.5, 7.0, 1e-2


def kernel(a: torch.Tensor, sigma: float = SIGMA) -> torch.Tensor:
    a = a.flatten(1)
    distance = (a[:, None, :] - a[None, :, :]).square().sum(2)
    return torch.exp(-distance / (2 * sigma**2 * a.shape[1]))


def hsic(k: torch.Tensor, other: torch.Tensor, normalised: bool, one_sided: bool = False) -> torch.Tensor:
    m = len(k)
    h = torch.eye(m, dtype=k.dtype) - 1 / m
    a, b = (k @ h, other @ h) if one_sided else (h @ k @ h, h @ other @ h)
    if not normalised:
        return torch.trace(a @ b) / (m - 1) ** 2
    eye = EPS * m * torch.eye(m, dtype=k.dtype)
    return torch.trace(a @ torch.linalg.inv(a + eye) @ b @ torch.linalg.inv(b + eye))


def objective(
    z: torch.Tensor, x: torch.Tensor, y: torch.Tensor, classes: int, normalised: bool
) -> torch.Tensor:
    labels = F.one_hot(y, classes).to(x.dtype)
    kz = kernel(z)
    return hsic(kernel(x), kz, normalised) - LAM * hsic(kernel(labels), kz, normalised)


def options(normalised: bool, **more: Any) -> dict[str, Any]:
    return {"sigma": SIGMA, "lam": LAM, "epsilon": EPS, "normalised": normalised, **more}


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("name", ["mlp-20-15-12-5", "lenet5", "cnn-8-16", "resnet8"])
def test_gradient_is_that_of_the_objective(name: str, normalised: bool) -> None:
    net = small(name)
    x, y = batch(net, 6)
    module = to_module(net, dtype=torch.float64)
    module.train()
    parts, points = dict(module.named_modules()), {}
    for block in net.blocks[:-1]:
        parts[block.activation.name].register_forward_hook(
            lambda _m, _i, out, n=block.name: points.__setitem__(n, out)
        )
    module(x)
    parameters = dict(module.named_parameters())
    wanted: dict[str, torch.Tensor] = {}
    for block in net.blocks[:-1]:
        mine = [n for layer in block.layers for n in map(layer.param, layer.params) if n in parameters]
        loss = objective(points[block.name], x, y, net.outputs, normalised)
        found = torch.autograd.grad(loss, [parameters[n] for n in mine], retain_graph=True)
        wanted |= dict(zip(mine, found, strict=True))
    state = one_step(make_rule("hsic", options(normalised)), net, x, y)
    assert largest_difference(gradients(state, net), wanted) < 1e-9


@pytest.mark.parametrize("normalised", [True, False])
def test_one_sided_centring_gives_the_same_value(normalised: bool) -> None:
    x, y = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both, one = (hsic(kernel(x), kernel(y), normalised, side) for side in (False, True))
    torch.testing.assert_close(both, one, rtol=1e-9, atol=0.0)


def test_the_reported_loss_is_the_last_hidden_objective() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    module = to_module(net, dtype=torch.float64)
    h = module[:4](x) if isinstance(module, torch.nn.Sequential) else None
    for normalised in (True, False):
        step = lower(emit_step(make_rule("hsic", options(normalised)), net, 6, real=F64, with_loss=True))
        state = extend_state({}, step, net.params, 1, dtype=torch.float64)
        executor = TorchExecutor(step, state, dtype=torch.float64)
        (loss,) = executor.run(executor.convert(x, y))
        if h is None:
            parts = dict(module.named_modules())
            h = parts["tanh2"](parts["fc2"](parts["tanh1"](parts["fc1"](x))))
        want = objective(h, x, y, 5, normalised)
        torch.testing.assert_close(loss, want.detach(), rtol=1e-8, atol=0.0)


def test_the_second_phase_trains_the_last_block_on_frozen_features() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    rule = make_rule("hsic")
    assert phases(rule, net).count == 2
    ours = gradients(one_step(rule, net, x, y, phase=1), net)
    shallow = gradients(one_step("shallow", net, x, y), net)
    assert all(torch.equal(ours[n], shallow[n]) for n in shallow)


def test_rerun_passes_on_what_the_updated_block_computes() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    plain, again = (
        one_step(make_rule("hsic", options(False, rerun=r)), net, x, y, lr=50.0) for r in (False, True)
    )
    assert torch.equal(plain["fc1.weight"], again["fc1.weight"])
    assert not torch.allclose(plain["fc2.weight"], again["fc2.weight"], rtol=1e-6)
    params = dict(net.params) | {n: again[n].numpy() for n in ("fc1.weight", "fc1.bias")}
    moved = Network(net.name, net.input_shape, net.blocks, params)
    second = one_step(make_rule("hsic", options(False)), moved, x, y, lr=50.0)
    torch.testing.assert_close(second["fc2.weight"], again["fc2.weight"], rtol=1e-6, atol=1e-9)


def test_unformatted_outputs_stand_for_the_classes_that_vote_for_them() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 30)
    rule = make_rule("hsic", options(True, readout="unformatted"))
    state = one_step(rule, net, x, y, lr=0.0)
    assert float(state["votes"].sum()) == 30
    step = lower(emit_inference(rule, net, 30, real=F64))
    executor = TorchExecutor(
        step, extend_state(state, step, net.params, 1, dtype=torch.float64), dtype=torch.float64
    )
    (scores,) = executor.run(executor.convert(x))
    z = F.relu(to_module(net, dtype=torch.float64)(x)).argmax(1)
    best = torch.stack([torch.bincount(y[z == c], minlength=5) for c in range(5)]).argmax(1)
    assert torch.equal(scores.argmax(1), best[z])
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(30, dtype=torch.float64))


@pytest.mark.parametrize("normalised", [True, False])
def test_only_the_inverses_are_calls(normalised: bool) -> None:
    step = emit_step(make_rule("hsic", {"normalised": normalised}), small("cnn-8-16"), 8)
    calls = [op for op in step.ops if op.kind.startswith("call")]
    assert len(calls) == (4 if normalised else 0)  # input, label and two hidden blocks
    assert all(op.attrs.macs == 8**3 and "hsic.py" in str(op.where) for op in calls)


def test_batch_matrices_are_heads() -> None:
    step = emit_step(make_rule("hsic"), small("mlp-20-15-12-5"), 8)
    square = [v for op in step.ops for v in op.outputs if v.shape == (8, 8)]
    assert square and {v.role for v in square} == {Role.HEAD, Role.ERROR}


def test_later_layers_do_not_matter() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    params = {n: v * (-3.0 if n == "fc2.weight" else 1.0) for n, v in net.params.items()}
    other = Network(net.name, net.input_shape, net.blocks, params)
    before, after = (gradients(one_step("hsic", n, x, y), n)["fc1.weight"] for n in (net, other))
    assert torch.equal(before, after)


def test_refusals() -> None:
    with pytest.raises(NetworkError, match=r"no signal at batch 1; use a batch .* or rule pred"):
        emit_step(make_rule("hsic"), small("lenet5"), 1)
    with pytest.raises(NetworkError, match=r"rule hsic cannot train .* use dfa"):
        emit_step(make_rule("hsic"), small("autoencoder"), 2, loss="mse", targets=True)
    with pytest.raises(NetworkError, match="nothing to depend on with 1 class"):
        emit_step(make_rule("hsic"), small("mlp-20-5-1"), 2)
    with pytest.raises(ConfigError, match="rule hsic has sigma=0; use more than 0"):
        make_rule("hsic", {"sigma": 0.0})
