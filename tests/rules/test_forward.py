"""Forward-forward: the emitted gradient is autograd's of each block's goodness; prediction tries every label."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from insitu.errors import ConfigError, NetworkError
from insitu.network.graph import Network
from insitu.numbers import prng
from insitu.numbers.formats import F64
from insitu.ops.optimizers import Optimizer
from insitu.passes import lower
from insitu.rules import emit_inference, emit_step, make_rule
from insitu.run.state import extend_state
from insitu.run.torch_exec import TorchExecutor
from tests.helpers import batch, gradients, largest_difference, one_step, small
from tests.ops.rows_forward import drawn, each, one_hot, overlaid, wrong

from .blocks import Blocks, Tensors, with_changed

SEED = 1
"""Of the run, in :func:`tests.helpers.one_step`."""

NETWORKS = ["mlp-20-15-12-5", "lenet5", "cnn-8-16", "resnet8"]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"goodness": "mean"},
    {"goodness": "mean", "theta": 1.5, "predict": "readout"},
    {"theta": 0.2},
    {"negatives": "hard"},
    {"negatives": "hard", "predict": "readout"},
]


def normal(h: torch.Tensor) -> torch.Tensor:
    """Every row over its root mean square."""
    rms = (h.flatten(1).square().mean(1) + 1e-8).sqrt()
    return h / rms.view(-1, *(1,) * (h.dim() - 1))


def goodness(h: torch.Tensor, kind: str) -> torch.Tensor:
    squares = h.flatten(1).square()
    return squares.mean(1) if kind == "mean" else squares.sum(1)


def unlabelled(blocks: Blocks, x: torch.Tensor) -> torch.Tensor:
    """Scores of the last block in a pass with 1/C in place of the label."""
    net = blocks.net
    h = normal(overlaid(x, [[1 / net.outputs] * net.outputs] * len(x)))
    for block in net.blocks[:-1]:
        h = normal(blocks.run(block, h)[1].detach())
    return blocks.run(net.blocks[-1], h)[1]


def reference(
    net: Network, x: torch.Tensor, y: torch.Tensor, options: dict[str, Any], t: int = 0
) -> tuple[Tensors, torch.Tensor]:
    """Gradients of every block's own loss, and the loss that the step returns."""
    kind = options.get("goodness", "sum")
    blocks, key = Blocks(net), prng.key(SEED, "wrong_labels", t)
    found: Tensors = {}
    readout = "predict" in options or "negatives" in options
    if readout:
        scores = unlabelled(blocks, x)
        loss = F.cross_entropy(scores, y)
        found |= blocks.gradients(net.blocks[-1], loss)
    hard = options.get("negatives") == "hard"
    other = drawn(scores.detach(), y, key) if hard else wrong(y, net.outputs, key)
    codes = [one_hot(int(c), net.outputs) for c in torch.cat([y, other])]
    h = normal(overlaid(x, codes))
    total = torch.zeros((), dtype=torch.float64)
    for block in net.blocks[:-1]:
        a, end = blocks.run(block, h)
        bounded = block.activation.attrs.get("fn") == "tanh"
        theta = options.get("theta", 0.5 if bounded else {"sum": 1.0, "mean": 2.0}[kind])
        theta *= a[0].numel() if kind == "sum" else 1
        good, bad = goodness(a, kind).chunk(2)
        local = (F.softplus(theta - good) + F.softplus(bad - theta)).mean()
        total = total + local.detach()
        found |= blocks.gradients(block, local)
        h = normal(end.detach())
    return found, loss if options.get("predict") == "readout" else total


def scores(net: Network, x: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    """What the rule's inference step gives, with the network's first parameters."""
    step = lower(emit_inference(make_rule("forward-forward", options), net, len(x), real=F64))
    state = extend_state({}, step, net.params, SEED, dtype=torch.float64)
    executor = TorchExecutor(step, state, seed=SEED, dtype=torch.float64)
    (found,) = executor.run(executor.convert(x))
    return found


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_is_that_of_the_goodness_loss(name: str, options: dict[str, Any]) -> None:
    net = small(name)
    x, y = batch(net, 6)
    state = one_step(make_rule("forward-forward", options), net, x, y, t=5)
    want, _ = reference(net, x, y, options, t=5)
    assert largest_difference(gradients(state, net), want) < 1e-9


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_step_returns_one_loss(options: dict[str, Any]) -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    step = lower(emit_step(make_rule("forward-forward", options), net, 6, with_loss=True, real=F64))
    state = extend_state({}, step, net.params, SEED, dtype=torch.float64)
    executor = TorchExecutor(step, state, seed=SEED, dtype=torch.float64)
    (loss,) = executor.run(executor.convert(x, y))
    assert loss == pytest.approx(float(reference(net, x, y, options)[1].detach()), rel=1e-12)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("name", ["mlp-20-15-12-5", "mlp-20-15-5", "lenet5"])
def test_the_label_with_the_largest_goodness_is_predicted(name: str, first: bool) -> None:
    """A pass per label; the first block counts only where asked for or alone."""
    net = small(name)
    x, _ = batch(net, 3)
    blocks = Blocks(net, training=False)
    h = normal(each(x, net.outputs))
    total = torch.zeros(len(h), dtype=torch.float64)
    for k, block in enumerate(net.blocks[:-1]):
        a, end = blocks.run(block, h)
        if k or first or len(net.blocks) == 2:
            total += goodness(a.detach(), "sum")
        h = normal(end.detach())
    found = scores(net, x, {"first_block": first})
    assert torch.allclose(found, total.view(3, net.outputs), rtol=1e-9)
    assert not torch.allclose(found[:, :1], found, rtol=1e-6)


def test_the_read_out_predicts_in_one_pass_without_a_label() -> None:
    net = small("lenet5")
    x, _ = batch(net, 3)
    want = unlabelled(Blocks(net, training=False), x)
    assert torch.allclose(scores(net, x, {"predict": "readout"}), want, rtol=1e-9)


def test_later_blocks_do_not_matter() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    other = with_changed(net, "fc2.weight", "fc3.weight")
    before, after = (gradients(one_step("forward-forward", n, x, y), n)["fc1.weight"] for n in (net, other))
    assert torch.equal(before, after)


def test_the_classifier_is_no_part_of_the_step_unless_it_is_asked_for() -> None:
    net = small("mlp-20-15-12-5")
    names = {v.name for v in emit_step(make_rule("forward-forward"), net, 4).residents}
    assert not any(name.startswith("fc3") for name in names)
    for options in ({"predict": "readout"}, {"negatives": "hard"}):
        names = {v.name for v in emit_step(make_rule("forward-forward", options), net, 4).residents}
        assert "fc3.weight" in names


def test_wrong_labels_change_from_step_to_step() -> None:
    net = small("mlp-20-15-12-5")
    x, y = batch(net, 6)
    first, second, again = (
        gradients(one_step("forward-forward", net, x, y, t=t), net)["fc1.weight"] for t in (0, 1, 0)
    )
    assert torch.equal(first, again) and not torch.equal(first, second)


@pytest.mark.parametrize("options", [{}, {"negatives": "hard", "predict": "readout"}], ids=str)
def test_it_learns_clusters(options: dict[str, Any]) -> None:
    """Four clusters of points in 12 dimensions, of which the first 4 are noise that the label replaces."""
    net = small("mlp-12-32-32-4", activation="relu")
    g = torch.Generator().manual_seed(3)
    y = torch.randint(0, 4, (200,), generator=g)
    x = torch.randn(4, 12, generator=g)[y] + 0.3 * torch.randn(200, 12, generator=g)
    rule = make_rule("forward-forward", options)
    step = lower(emit_step(rule, net, 200, optimizer=Optimizer("adam")))
    infer = lower(emit_inference(rule, net, 200))
    state = extend_state({}, step, net.params, SEED)
    state = extend_state(state, infer, net.params, SEED)
    train, predict = TorchExecutor(step, state, seed=SEED), TorchExecutor(infer, state, seed=SEED)

    def right() -> float:
        (found,) = predict.run(predict.convert(x))
        return float((found.argmax(1) == y).float().mean())

    before = right()
    for t in range(150):
        train.run(train.convert(x, y), lr=0.01, t=t)
    assert before < 0.7 and right() > 0.9


def test_refusals() -> None:
    rule = make_rule("forward-forward")
    with pytest.raises(NetworkError, match=r"cannot train .* use dfa"):
        emit_step(rule, small("autoencoder"), 2, loss="mse", targets=True)
    with pytest.raises(NetworkError, match="needs a hidden block, but mlp-20-5 has none; use bp"):
        emit_step(rule, small("mlp-20-5"), 2)
    with pytest.raises(NetworkError, match=r"writes 8 classes over .* a sample of 6"):
        emit_step(rule, small("mlp-6-10-8"), 2)
    with pytest.raises(NetworkError, match="outputs of ±1 have one goodness"):
        emit_step(rule, small("mlp-20-15-5", activation="sign"), 2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"theta": -1.0}, "use more than 0"),
        ({"goodness": "max"}, "'sum' or 'mean'"),
        ({"negatives": "easy"}, "'random' or 'hard'"),
        ({"predict": "head"}, "'goodness' or 'readout'"),
    ],
)
def test_options_are_checked(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_rule("forward-forward", options)
