"""Nothing of a step is lost on its way to the bill: operations, random words, and every value that is moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest

from insitu.errors import StepError
from insitu.experiment.design_program import network
from insitu.hardware.cost import cost
from insitu.hardware.target import find
from insitu.hardware.work import PHASES, Work, macs_by_phase, works
from insitu.network import zoo
from insitu.network.builder import inference_step
from insitu.network.graph import Network
from insitu.ops import conv
from insitu.passes import lower, plan
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules import RULES, emit_phases, make_rule
from insitu.step.ir import Op, Phase, Step, Value
from tests.conformance.test_macs import cases, counted
from tests.helpers import serves, small

POLICIES = ("float32", "edge-latent-free-8", "w4a8", "niti-int8")
EVERY_RULE = ("mlp-20-15-12-5", "cnn-8-16")
FEW = {
    "lenet5": ("bp", "bp-checkpoint", "shallow", "dfa", "predsim"),
    "ds-cnn": ("bp", "drtp", "mono-forward"),
    "resnet8": ("bp", "bp-checkpoint", "dfa"),
    "mobilenet-v1-0.25": ("bp",),
}


@cache
def net_for(name: str, rule: str) -> Network:
    """With its batch norms folded, and ReLUs where the one-bit stash needs them."""
    norms = any(x.kind == "batch_norm" for x in network(name, "keep").layers)
    return network(name, "fold" if norms else "keep", "relu" if rule == "bp-stash" else None)


@cache
def programs(name: str, rule: str) -> tuple[tuple[str, str, Step], ...]:
    """Every lowered step: (policy, view, step); policies that cannot hold the rule are left out."""
    net = net_for(name, rule)
    found = []
    for name_of_policy in POLICIES:
        policy = make(name_of_policy)
        emitted = emit_phases(make_rule(rule), net, 2)
        try:
            steps = emitted if policy is None else [quantize(s, policy, net.params) for s in emitted]
        except StepError:
            continue
        found += [(name_of_policy, view, lower(s, view)) for s in steps for view in ("fused", "eager")]
    return tuple(found)


def served() -> list[tuple[str, str]]:
    every = [(name, rule) for name in EVERY_RULE for rule in RULES]
    every += [(name, rule) for name, rules in FEW.items() for rule in rules]
    return [(name, rule) for name, rule in every if serves(rule, net_for(name, rule))]


CASES = served()
table = pytest.mark.parametrize(("name", "rule"), CASES)


def test_the_table_covers_every_rule_and_policy() -> None:
    assert {rule for _, rule in CASES} == set(RULES)
    assert {policy for policy, _, _ in programs("cnn-8-16", "bp")} == set(POLICIES)
    assert all(programs(*case) for case in CASES)


@table
def test_operations_are_those_of_the_step(name: str, rule: str) -> None:
    for policy, view, step in programs(name, rule):
        parts = [part for op in step.ops for part in works(op)]
        counts = step.counts()
        found = {k: n for k, n in macs_by_phase(parts).items() if n}
        assert found == {p.value: n for p, n in counts.macs.items() if n}, (policy, view)
        assert sum(p.amount for p in parts if p.kind == "random") == counts.random, (policy, view)
        ends = sum(p.other for p in parts if p.phase == "rounding" and not p.reads)
        assert sum(p.other for p in parts) - ends == sum(counts.other.values()), (policy, view)
        assert {p.phase for p in parts} <= set(PHASES)


@table
def test_the_nest_of_a_product_has_the_ops_macs(name: str, rule: str) -> None:
    for _, _, step in programs(name, rule):
        for op in step.ops:
            nests = [part for part in works(op) if part.product is not None]
            own = {p: n for p, n in op.record.counts(op).macs.items() if p is not Phase.UPDATE}
            assert len(nests) <= 1
            for part in nests:
                assert part.product is not None
                assert part.macs == part.amount == part.product.macs == sum(own.values()), str(op.kind)


def moved(parts: list[Work], *, reads: bool) -> Iterator[tuple[Value, int]]:
    """What the parts of an op read or write, and how many elements of each."""
    for part in parts:
        yield from part.reads if reads else part.writes
        product = part.product
        if product is None:
            continue
        sides = (product.stationary, product.streamed) if reads else (product.made,)
        yield from ((x.value, x.elements) for x in sides if x.value is not None)
        if reads and product.added and product.made.value is not None:
            yield product.made.value, product.made.elements


def whole_or_rows(op: Op, value: Value) -> bool:
    """All ops read all of an operand, but those that pick rows or columns of it, or read it in two halves."""
    partial = op.kind in ("select_rows", "project", "row_products")
    return not partial or value is not op.inputs[0 if op.kind != "project" else 1]


@table
def test_every_value_of_an_op_is_in_its_work(name: str, rule: str) -> None:
    for policy, view, step in programs(name, rule):
        for op in step.ops:
            parts, where = works(op), (op.kind, str(op.where), policy, view)
            if op.record.alias:
                assert not parts, where
                continue
            assert parts, where
            read, written = dict(moved(parts, reads=True)), dict(moved(parts, reads=False))
            assert set(op.inputs) <= set(read), where
            assert set(written) == {*op.outputs, *op.written}, where
            assert all(read[v] == v.size for v in op.inputs if whole_or_rows(op, v)), where
            assert all(n == v.size for v, n in written.items()), where


@table
def test_no_value_is_written_twice_by_an_op(name: str, rule: str) -> None:
    for policy, view, step in programs(name, rule):
        for op in step.ops:
            times = Counter(v for v, _ in moved(works(op), reads=False))
            assert all(n == 1 for n in times.values()), (op.kind, policy, view)


def test_what_a_product_reads_beside_its_operands_is_read() -> None:
    """Biases, the magnitudes of a sign view and run-time exponents; they are as wide as they are stored."""
    biased = next(op for _, _, s in programs("cnn-8-16", "bp") for op in s.ops if op.kind == "conv2d")
    assert works(biased)[0].reads == ((biased.inputs[2], biased.inputs[2].size),)
    signed = [op for _, _, s in programs("cnn-8-16", "frsf") for op in s.ops if op.kind == "conv2d_dx"]
    assert all((op.inputs[2], op.inputs[2].size) in works(op)[0].reads for op in signed) and signed
    fused = [
        op
        for _, view, s in programs("mlp-20-15-12-5", "bp")
        for op in s.ops
        if op.kind == "matmul_dw_update" and view == "fused" and op.attrs.exponents
    ]
    assert fused and all((op.inputs[2], 1) in works(op)[0].reads for op in fused)


def test_a_picked_row_costs_its_own_elements() -> None:
    step = next(s for p, v, s in programs("mlp-20-15-12-5", "drtp") if (p, v) == ("float32", "fused"))
    picks = [op for op in step.ops if op.kind == "select_rows"]
    assert len(picks) == 2
    for op in picks:
        read = dict(works(op)[0].reads)
        assert read[op.inputs[0]] == op.outputs[0].size < op.inputs[0].size
        assert read[op.inputs[1]] == 2  # one label a sample


def test_deferred_steps_cost_their_share() -> None:
    """An execution keeps its error and its input; the weights move once in so many, by the operands of them all."""
    net, found = net_for("mlp-20-15-12-5", "bp"), []
    for defer in (1, 4):
        policy = make(f"edge-latent-free-8:error_exponent=static,defer={defer}")
        assert policy is not None
        (emitted,) = emit_phases(make_rule("bp"), net, 2)
        step = lower(quantize(emitted, policy, net.params))
        (op,) = (
            op for op in step.ops if op.kind.startswith("matmul_dw_") and op.written[0].name == "fc1.weight"
        )
        found.append((op, works(op)))
    (plain, once), (deferred, (kept, *moves)) = found
    d, x = deferred.inputs[:2]
    assert kept.every == 1 and [n for _, n in kept.writes] == [d.size, x.size, 1]
    assert [n for _, n in kept.reads] == [d.size, x.size, 1] and kept.phase == "gradient"
    assert [w.every for w in once] == [1] * 3 and [w.every for w in moves] == [4] * 3
    assert macs_by_phase(once) == macs_by_phase(moves)
    weight = plain.written[0].size
    for (product, update, words), products in ((once, 1), (moves, 4)):
        assert product.product is not None and product.product.added
        assert product.product.made.elements == update.amount == weight
        assert product.macs == products * once[0].macs and words.amount == sum(plain.inputs[2].shape)
    (all_d, n), (all_x, m) = ((v, v.size) for v in deferred.inputs[3:5])
    assert moves[0].product is not None and (n, m) == (4 * d.size, 4 * x.size)
    assert (moves[0].product.stationary.value, moves[0].product.streamed.value) == (all_d, all_x)


TORCH = cases(["mlp-20-15-12-5", "cnn-8-16"])


@pytest.mark.parametrize(("rule", "name"), TORCH)
def test_the_bill_has_the_macs_that_torch_counts(
    rule: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conv, "DIRECT_MACS", -1)  # FlopCounterMode has no formula for the direct kernels
    net = small(name)
    for step in emit_phases(make_rule(rule), net, 2):
        macs = cost(step, plan(step), find("stm32l4r5")).macs
        macs.pop("update", 0)  # PyTorch counts no scaled additions,
        inverses = sum(op.attrs.macs for op in step.ops if op.kind == "call")  # and no inverses
        assert sum(macs.values()) - inverses == counted(step, net)


@pytest.mark.parametrize("name", ["lenet5", "ds-cnn", "mobilenet-v1-0.25", "autoencoder"])
def test_the_bill_of_inference_has_the_macs_of_the_layers(name: str) -> None:
    net = small(name)
    step = lower(inference_step(net, 3))
    assert sum(cost(step, plan(step), find("accelerator-22nm")).macs.values()) == 3 * zoo.macs(net.layers)


def test_refused_policies_are_refused_by_the_rule() -> None:
    """The table leaves out nothing that could be quantized."""
    net = net_for("mlp-20-15-12-5", "hsic")
    policy = make("edge-latent-free-8")
    assert policy is not None
    with pytest.raises(StepError, match="label_gram"):
        quantize(emit_phases(make_rule("hsic"), net, 2)[0], policy, net.params)
    assert {policy for policy, _, _ in programs("mlp-20-15-12-5", "hsic")} == {"float32"}
