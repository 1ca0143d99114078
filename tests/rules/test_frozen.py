"""A frozen parameter costs its forward pass: in every rule, whatever part of the network is frozen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from insitu.errors import NetworkError
from insitu.network import zoo
from insitu.network.builder import inference_step
from insitu.network.graph import Layer, Network
from insitu.network.torch.module import to_module
from insitu.network.zoo.builder import Describe
from insitu.passes import lower
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules import RULES, emit_phases, make_rule
from insitu.rules.protocol import phases
from insitu.step.ir import Phase, Step
from insitu.step.liveness import peak_bytes
from tests.helpers import batch, one_step, serves
from tests.part import part

BATCH = 2


def mlp() -> Network:
    d = Describe("mlp", (20,))
    for n in (16, 12, 10):
        d.dense(n)
        d.activation("relu")
    d.dense(4)
    return d.network(seed=1)


def cnn() -> Network:
    d = Describe("cnn", (1, 8, 8))
    d.conv(8, 3, padding=1)
    d.activation("relu")
    d.max_pool(2)
    d.conv(8, 3, padding=1)
    d.activation("relu")
    d.flatten()
    d.dense(12)
    d.activation("relu")
    d.dense(4)
    return d.network(seed=1)


def residual() -> Network:
    d = Describe("residual", (3, 8, 8))
    d.conv(8, 3, padding=1)
    d.activation("relu")
    start = d.here
    d.conv(8, 3, padding=1)
    d.activation("relu")
    d.conv(8, 3, padding=1)
    d.add(start, d.here)
    d.activation("relu")
    d.avg_pool(2)
    d.flatten()
    d.dense(12)
    d.activation("relu")
    d.dense(4)
    return d.network(seed=1)


def norms() -> Network:
    d = Describe("norms", (3, 8, 8))
    for _ in range(2):
        d.conv(8, 3, padding=1, bias=False)
        d.batch_norm()
        d.activation("relu")
        d.max_pool(2)
    d.flatten()
    d.dense(4)
    return d.network(seed=1)


NETWORKS = {f.__name__: cache(f) for f in (mlp, cnn, residual, norms)}


def weighted(net: Network) -> list[Layer]:
    return [x for x in net.layers if x.params]


def names(layers: list[Layer]) -> set[str]:
    return {x.param(s) for x in layers for s in x.params if not s.startswith("running_")}


PATTERNS = {
    "first": lambda net: names(weighted(net)[:1]),
    "all but the last": lambda net: names(weighted(net)[:-1]),
    "last": lambda net: names(weighted(net)[-1:]),
    "all but the first": lambda net: names(weighted(net)[1:]),
    "middle": lambda net: names(weighted(net)[1:-1]),
    "every second": lambda net: names(weighted(net)[::2]),
    "weights": lambda net: {n for n in net.trainable if n.endswith("weight")},
    "biases": lambda net: {n for n in net.trainable if n.endswith("bias")},
    "norms": lambda net: names([x for x in net.layers if x.kind == "batch_norm"]),
}
"""Names of the frozen parameters of a network."""


def frozen(name: str, pattern: str) -> Network:
    net = NETWORKS[name]()
    return replace(net, frozen=frozenset(PATTERNS[pattern](net)))


def macs(step: Step) -> int:
    return sum(step.counts().macs.values())


def costs(rule: str, net: Network) -> tuple[int, int, int, int]:
    """Bytes, residents, multiply-accumulates of the dearest step of a rule, and of all its steps."""
    steps = [lower(step) for step in emit_phases(make_rule(rule), net, BATCH)]
    residents = max(sum(v.bytes for v in step.residents) for step in steps)
    return max(map(peak_bytes, steps)), residents, max(map(macs, steps)), sum(map(macs, steps))


@cache
def usual_costs(rule: str, name: str) -> tuple[int, int, int, int]:
    return costs(rule, NETWORKS[name]())


def refused(rule: str, net: Network) -> bool:
    """Does the rule refuse a network because all that it trains is frozen?"""
    try:
        emit_phases(make_rule(rule), net, BATCH)
    except NetworkError as error:
        assert "set requires_grad for" in str(error)
        return True
    return False


SOME = {
    "mlp": [p for p in PATTERNS if p != "norms"],
    "cnn": ["all but the last", "middle"],
    "residual": ["last", "every second"],
    "norms": ["norms", "all but the last"],
}
"""Patterns by network."""


def cases(rules: Iterable[str] = RULES) -> list[tuple[str, str, str]]:
    return [(r, n, p) for n, found in SOME.items() for p in found for r in rules if serves(r, NETWORKS[n]())]


@pytest.mark.parametrize(("rule", "name", "pattern"), part(cases(), 3))
def test_a_step_costs_no_more_and_leaves_what_is_frozen(rule: str, name: str, pattern: str) -> None:
    net, made = frozen(name, pattern), make_rule(rule)
    if refused(rule, net):
        assert rule in ("shallow", "forward-forward", "softhebb")
        return
    usual, now = usual_costs(rule, name), costs(rule, net)
    assert all(b <= a for a, b in zip(usual[1:], now[1:]))
    assert (
        now[0] <= usual[0] * 1.01
    )  # orders are a choice of few: that of another program may be a little worse
    x, y = batch(net, BATCH)
    for phase in range(phases(made, net).count):
        state = one_step(made, net, x, y, lr=0.1, phase=phase)
        assert all(
            torch.equal(state[n], torch.as_tensor(net.params[n]).double()) for n in net.frozen & state.keys()
        )


OF_ONE_PHASE = [r for r in RULES if r not in ("greedy", "hsic", "mezo")]
"""Rules that do the same at every step to every block, whatever else learns: MeZO moves all weights at once."""


@pytest.mark.parametrize(
    ("rule", "name", "pattern"), part([c for c in cases(OF_ONE_PHASE) if c[1] != "norms"], 3)
)
def test_the_others_learn_what_they_would_in_the_whole_network(rule: str, name: str, pattern: str) -> None:
    net, whole = frozen(name, pattern), NETWORKS[name]()
    if refused(rule, net):
        return
    x, y = batch(net, BATCH)
    moved = one_step(rule, whole, x, y, lr=0.1)  # heads that start at zero teach nothing at first
    heads = {n: t for n, t in moved.items() if n not in net.params}
    mine, theirs = (one_step(rule, n, x, y, lr=0.1, residents=heads) for n in (net, whole))
    for parameter in set(net.trainable) & mine.keys():
        assert torch.allclose(mine[parameter], theirs[parameter], rtol=1e-9, atol=1e-12), parameter


def counted(net: Network) -> int:
    """Multiply-accumulates of a pass forth and back as PyTorch counts them."""
    module = to_module(net)
    for parameter, tensor in module.named_parameters():
        tensor.requires_grad_(parameter not in net.frozen)
    x, y = batch(net, BATCH)
    with FlopCounterMode(display=False) as counter:
        torch.nn.functional.cross_entropy(module(x.float()), y).backward()
    return counter.get_total_flops() // 2


BACKPROP = {"bp": {}, "bp-stash": {}, "bp-checkpoint": {"segments": 1}}


@pytest.mark.parametrize("rule", BACKPROP)
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", NETWORKS)
def test_backprop_multiplies_as_often_as_pytorch(rule: str, name: str, pattern: str) -> None:
    net = frozen(name, pattern)
    if not serves(rule, net):
        pytest.skip("one bit does not hold the derivative of a batch norm")
    (step,) = emit_phases(make_rule(rule, BACKPROP[rule]), net, BATCH)
    found = dict(lower(step).counts().macs)
    found.pop(Phase.UPDATE, 0)  # a scaled addition, which PyTorch does not count
    assert sum(found.values()) == counted(net)


def test_recomputation_begins_behind_the_frozen_layers() -> None:
    net = frozen("mlp", "first")
    (step,) = emit_phases(make_rule("bp-checkpoint", {"segments": 2}), net, BATCH)
    assert sum(op.kind == "matmul" and op.where.layer == "0" for op in step.ops) == 1
    assert sum(op.kind == "matmul" and op.where.layer == "2" for op in step.ops) == 2


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ("fa", {}),
        ("frsf", {}),
        ("dfa", {}),
        ("sdfa", {"feedback": "shared"}),
        ("drtp", {}),
        ("drtp", {"feedback": "shared"}),
        ("drtp", {"feedback": "regenerated"}),
        ("etch", {"head": "fixed"}),
        ("lls", {}),
        ("pred-bpf", {}),
        ("mono-forward", {}),
        ("dgl", {}),
        ("dbl", {}),
        ("sigprop", {}),
        ("pepita", {"output": "second"}),
    ],
)
def test_a_linear_probe_needs_neither_feedback_nor_heads(rule: str, options: dict[str, str]) -> None:
    """All but the last layer frozen: the step is that of ``shallow``, but for PEPITA's second pass."""
    net = frozen("cnn", "all but the last")
    (probe,) = emit_phases(make_rule("shallow"), net, BATCH)
    for step in emit_phases(make_rule(rule, options), net, BATCH):
        extra = {v.name for v in step.residents} - {v.name for v in probe.residents}
        assert extra == ({"input.feedback"} if rule == "pepita" else set())
        assert rule == "pepita" or step.counts() == probe.counts()


def test_a_shared_matrix_is_as_wide_as_the_widest_block_that_learns() -> None:
    net = frozen("mlp", "first")
    (step,) = emit_phases(make_rule("dfa", {"feedback": "shared"}), net, BATCH)
    assert next(v.shape for v in step.residents if v.name == "feedback") == (4, 12)


@pytest.mark.parametrize(("rule", "options"), [("greedy", {}), ("greedy", {"cache": True}), ("hsic", {})])
def test_phases_in_which_nothing_would_learn_are_left_out(rule: str, options: dict[str, bool]) -> None:
    made, net = make_rule(rule, options), frozen("mlp", "all but the last")
    found = phases(made, net)
    assert found.count == 1
    assert found.starts == ((3,) if options else ())
    (step,) = emit_phases(made, net, BATCH)
    assert {v.name for op in step.ops for v in op.written} == {"6.weight", "6.bias"}


def test_heads_that_predict_are_trained_on_frozen_blocks() -> None:
    net = frozen("mlp", "all but the last")
    for made, head in (
        (make_rule("greedy", {"predict": "head"}), "4.head"),
        (make_rule("etch", {"vote": 1}), "4.head"),
    ):
        written = {v.name for step in emit_phases(made, net, BATCH) for op in step.ops for v in op.written}
        assert f"{head}.weight" in written and "2.head.weight" not in written


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_mezo_runs_the_frozen_layers_once(name: str) -> None:
    net = frozen(name, "all but the last")
    (step,) = emit_phases(make_rule("mezo"), net, BATCH)
    forward = macs(lower(inference_step(net, BATCH)))
    last = zoo.macs([weighted(net)[-1]]) * BATCH
    assert sum(n for p, n in step.counts().macs.items() if p == Phase.FORWARD) == forward + last


@pytest.mark.parametrize("rule", RULES)
def test_a_network_without_a_parameter_that_learns_is_refused(rule: str) -> None:
    net = NETWORKS["mlp"]()
    made = make_rule(rule)
    with pytest.raises(NetworkError, match="all of its parameters are frozen; set requires_grad for one"):
        emit_phases(made, replace(net, frozen=frozenset(net.params)), BATCH)


@pytest.mark.parametrize("policy", ["w8a8", "edge-latent-free-8:hidden=8,update=threshold"])
def test_a_frozen_weight_is_stored_as_it_is_read(policy: str) -> None:
    net, made = frozen("mlp", "first"), make(policy)
    assert made is not None
    (step,) = emit_phases(make_rule("bp"), net, BATCH)
    bits = {v.name: v.format.bits for v in quantize(step, made, net.params).residents}
    assert bits["0.weight"] == 8 and bits["2.weight"] > 8
    assert bits["0.bias"] == 16
