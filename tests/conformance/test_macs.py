"""Our multiply-accumulates are those that PyTorch counts: zoo × rules."""

from __future__ import annotations

import pytest
from torch.utils.flop_counter import FlopCounterMode

from insitu.network import zoo
from insitu.network.builder import inference_step
from insitu.ops import conv
from insitu.passes import lower
from insitu.rules import RULES, emit_phases, emit_step, make_rule
from insitu.run.state import extend_state
from insitu.run.torch_exec import TorchExecutor
from insitu.step.ir import Phase, Step
from tests.helpers import batch, serves, small

NETWORKS = ["mlp-20-15-12-5", "lenet5", "cnn-8-16", "drtp-conv-mnist", "vgg8b", "resnet8", "resnet20"]


def cases(names: list[str]) -> list[tuple[str, str]]:
    """The rules that take each network."""
    return [(rule, name) for name in names for net in [small(name)] for rule in RULES if serves(rule, net)]


def counted(step: Step, net: object, *, labels: bool = True) -> int:
    """MACs of the step as FlopCounterMode sees them (two FLOPs each)."""
    executor = TorchExecutor(step, extend_state({}, step, net.params, 1), seed=1)  # type: ignore[attr-defined]
    x, y = batch(net, step.batch)  # type: ignore[arg-type]
    inputs = executor.convert(x, y if labels else None)
    with FlopCounterMode(display=False) as counter:
        executor.run(inputs, lr=0.0)
    return counter.get_total_flops() // 2


@pytest.fixture(autouse=True)
def counted_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlopCounterMode has no formula for torch's direct convolutions: use the general ones."""
    monkeypatch.setattr(conv, "DIRECT_MACS", -1)


@pytest.mark.parametrize(("rule", "name"), cases(NETWORKS))
def test_training_step(rule: str, name: str) -> None:
    """The eager view: FlopCounterMode misses products that add into their output, as fused updates do."""
    net = small(name)
    for step in emit_phases(make_rule(rule), net, 2):
        macs = dict(step.counts().macs)
        macs.pop(Phase.UPDATE, 0)  # a scaled addition, which PyTorch does not count
        inverses = sum(op.attrs.macs for op in step.ops if op.kind == "call")  # PyTorch counts none
        assert sum(macs.values()) - inverses == counted(step, net)


@pytest.mark.parametrize(("rule", "name"), cases(["mlp-20-15-12-5", "lenet5", "resnet8"]))
def test_fusion_moves_no_count(rule: str, name: str) -> None:
    net = small(name)
    for step in emit_phases(make_rule(rule), net, 2):
        assert lower(step).counts().macs == step.counts().macs


@pytest.mark.parametrize("name", [*NETWORKS, "ds-cnn", "mobilenet-v1-0.25", "autoencoder"])
def test_inference(name: str) -> None:
    net = small(name)
    step = lower(inference_step(net, 1))
    assert sum(step.counts().macs.values()) == counted(step, net, labels=False)
    assert sum(step.counts().macs.values()) == zoo.macs(net.layers)


@pytest.mark.parametrize("name", ["ds-cnn", "mobilenet-v1-0.25"])
def test_depthwise_weight_gradients_cost_what_the_forward_pass_does(name: str) -> None:
    """FlopCounterMode ignores the groups of a weight gradient, so these networks are checked by the identity."""
    net = small(name)
    macs = emit_step(make_rule("bp"), net, 2).counts().macs
    first = next(x for x in net.layers if x.kind == "conv2d")
    assert macs[Phase.GRADIENT] == macs[Phase.FORWARD]
    assert macs[Phase.ERROR] == macs[Phase.FORWARD] - 2 * zoo.macs([first])
