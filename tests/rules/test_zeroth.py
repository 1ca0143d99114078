"""Zeroth order: the published update, its expectation, and inference's memory."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch
from torch.distributed._tools.mem_tracker import MemTracker

from insitu.errors import ConfigError
from insitu.network import zoo
from insitu.network.builder import inference_step
from insitu.network.graph import Network
from insitu.numbers import prng
from insitu.numbers.formats import F64
from insitu.ops.optimizers import Optimizer
from insitu.ops.updates.executor import TILE
from insitu.passes import lower, plan
from insitu.rules import emit_step, make_rule
from insitu.run.state import extend_state
from insitu.run.torch_exec import TorchExecutor
from tests.helpers import autograd, batch, gradients, one_step, small

EPSILON = 1e-4


def moved(net: Network, by: float, t: int) -> Network:
    params = {}
    for name, value in net.params.items():
        index = np.arange(value.size, dtype=np.uint64)
        words = prng.words(prng.key(1, f"{name}.direction", t), index // np.uint64(32))
        signs = np.where(words >> index % np.uint64(32) & np.uint64(1), 1.0, -1.0)
        params[name] = value.astype(np.float64) + by * signs.reshape(value.shape)
    return Network(net.name, net.input_shape, net.blocks, params)


def loss(net: Network, x: torch.Tensor, y: torch.Tensor) -> float:
    layers = [
        torch.from_numpy(net.params[f"fc{i}.{s}"]).double() for i in (1, 2, 3) for s in ("weight", "bias")
    ]
    h = x
    for i in range(0, 6, 2):
        h = h @ layers[i].T + layers[i + 1]
        h = h.tanh() if i < 4 else h
    return float(torch.nn.functional.cross_entropy(h, y))


def test_update_is_the_published_one() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    state = one_step(make_rule("mezo", {"epsilon": EPSILON}), net, x, y, t=5)
    slope = (loss(moved(net, EPSILON, 5), x, y) - loss(moved(net, -EPSILON, 5), x, y)) / (2 * EPSILON)
    after = moved(net, -slope, 5)
    for name, value in after.params.items():
        torch.testing.assert_close(state[name], torch.from_numpy(value), rtol=0.0, atol=1e-8)


def test_the_mean_over_directions_is_the_gradient() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    want, _ = autograd(net, x, y)
    rule = make_rule("mezo", {"epsilon": EPSILON})
    steps = 400
    total = {n: torch.zeros_like(g) for n, g in want.items()}
    for t in range(steps):
        for name, g in gradients(one_step(rule, net, x, y, t=t), net).items():
            total[name] += g / steps
    a, b = (torch.cat([d[n].flatten() for n in want]) for d in (total, want))
    # the estimate of n weights from k directions has a cosine of about sqrt(k / (k + n))
    expected = (steps / (steps + len(b))) ** 0.5
    assert float(a @ b / (a.norm() * b.norm())) > 0.85 * expected


@pytest.mark.parametrize("name", ["mlp-784-1000-10", "lenet5", "vgg8b-x0.25", "resnet8"])
@pytest.mark.parametrize("size", [2, 32])
def test_memory_is_that_of_inference(name: str, size: int) -> None:
    """Plus the samples, which the second pass reads again, the labels, two losses."""
    net = zoo.build(name, dropout=0.0)
    ours = plan(lower(emit_step(make_rule("mezo"), net, size)))
    inference = plan(lower(inference_step(net, size)))
    batch_norm = 8 * sum(s[0] for x in net.layers if x.kind == "batch_norm" for s in x.params.values())
    assert ours.resident_bytes == inference.resident_bytes
    few = size * 4 + 16 + batch_norm
    assert ours.arena_bytes <= inference.arena_bytes + 4 * size * prod(net.input_shape) + few


def test_the_executor_holds_no_direction() -> None:
    """Only weights, samples and labels: z is made a tile at a time."""
    net = zoo.build("mlp-784-1000-10")
    step = lower(emit_step(make_rule("mezo"), net, 8))
    executor = TorchExecutor(step, extend_state({}, step, net.params, 1), seed=1)
    inputs = executor.convert(*batch(net, 8))
    tracker = MemTracker()
    tracker.track_external(*executor.state.values(), *inputs)
    with tracker:
        executor.run(inputs, lr=0.01)
    seen = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    tile = 8 * TILE  # of a tile: a few arrays of 64-bit words and bits
    assert seen <= plan(step).peak_bytes + 6 * tile
    assert 4 * net.params["fc1.weight"].size > 6 * tile  # what one whole direction would take


@pytest.mark.parametrize("loss", ["xent", "bce", "mse", "hinge"])
def test_the_step_returns_the_mean_of_both_losses(loss: str) -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    rule = make_rule("mezo", {"epsilon": 1e-6})
    step = lower(emit_step(rule, net, 6, real=F64, loss=loss, with_loss=True))
    state = extend_state({}, step, net.params, 1, dtype=torch.float64)
    executor = TorchExecutor(step, state, seed=1, dtype=torch.float64)
    (found,) = executor.run(executor.convert(x, y), lr=0.0)
    bp = lower(emit_step(make_rule("bp"), net, 6, real=F64, loss=loss, with_loss=True))
    other = TorchExecutor(bp, extend_state({}, bp, net.params, 1, dtype=torch.float64), dtype=torch.float64)
    (want,) = other.run(other.convert(x, y), lr=0.0)
    torch.testing.assert_close(found, want, rtol=1e-8, atol=0.0)


def test_other_optimisers_are_refused() -> None:
    for optimizer in (Optimizer("adam"), Optimizer("sgd", weight_decay=0.1)):
        with pytest.raises(ConfigError, match="use sgd without weight decay"):
            emit_step(make_rule("mezo"), small("lenet5"), 2, optimizer=optimizer)
    with pytest.raises(ConfigError, match="rule mezo has epsilon=0"):
        make_rule("mezo", {"epsilon": 0.0})


def test_regression_is_served() -> None:
    net = small("autoencoder")
    x, y = batch(net, 4, targets=True)
    state = one_step("mezo", net, x, y, loss="mse", targets=True)
    assert all(bool(g.any()) for g in gradients(state, net).values())
