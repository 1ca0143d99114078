"""The builder: names, residents, refusals that name the layer and the rule's line."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

import insitu.ops  # noqa: F401  (fills OPS)
from insitu.errors import StepError
from insitu.network.builder import Builder as NetworkBuilder
from insitu.network.graph import Network
from insitu.network.layers import Describe
from insitu.numbers.formats import F32, Fixed
from insitu.rules import emit_inference, emit_step, make_rule
from insitu.step.builder import Builder
from insitu.step.ir import OPS, Init, OpRecord, Phase, Role, Value, register

FORWARD = {"role": Role.ACTIVATION, "phase": Phase.FORWARD}


def builder() -> tuple[Builder, Value]:
    b = Builder("test", 2, F32)
    return b, b.input("x", (2, 3), Role.ACTIVATION)


def test_names_are_made_unique() -> None:
    b, x = builder()
    names = [b.emit1("scale", x, by=2.0, name="h", **FORWARD).name for _ in range(3)]
    assert names == ["h", "h.2", "h.3"]


def test_a_name_that_looks_numbered_is_not_taken_twice() -> None:
    b, x = builder()
    names = [b.emit1("scale", x, by=2.0, name=name, **FORWARD).name for name in ("h.2", "h", "h")]
    assert names == ["h.2", "h", "h.3"]


def test_names_without_a_stem_come_from_layer_and_kind() -> None:
    b, x = builder()
    with b.at("fc1"):
        inside = b.emit1("scale", x, by=2.0, **FORWARD)
    outside = b.emit1("scale", x, by=2.0, **FORWARD)
    assert (inside.name, outside.name) == ("fc1.scale", "scale.scale")


def test_several_outputs_are_numbered() -> None:
    b = Builder("test", 1, F32)
    x = b.input("x", (1, 1, 4, 4), Role.ACTIVATION)
    window = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    y, index = b.emit("max_pool", x, name="pool", **window, **FORWARD)
    assert (y.name, index.name) == ("pool", "pool.1")
    assert (y.format, index.format) == (F32, Fixed(False, 8, 0))


def test_a_layer_ends_with_its_block() -> None:
    b, x = builder()
    with b.at("outer"):
        with b.at("inner"):
            inner = b.emit1("scale", x, by=2.0, **FORWARD)
        outer = b.emit1("scale", x, by=2.0, **FORWARD)
        with pytest.raises(RuntimeError), b.at("broken"):
            raise RuntimeError
        after = b.emit1("scale", x, by=2.0, **FORWARD)
    layers = [v.where.layer for v in (inner, outer, after, b.emit1("scale", x, by=2.0, **FORWARD))]
    assert layers == ["inner", "outer", "outer", None]


def test_the_same_resident_is_one_value() -> None:
    b, _ = builder()
    init = Init("param", "w")
    w = b.resident("w", (4, 3), Role.WEIGHT, init)
    assert b.resident("w", (4, 3), Role.WEIGHT, init) is w
    assert w.resident
    with pytest.raises(StepError, match=re.escape("resident %w has shape (4, 3), asked for again as (4, 4)")):
        b.resident("w", (4, 4), Role.WEIGHT, init)


def test_unknown_op() -> None:
    b, x = builder()
    with pytest.raises(StepError, match="op kind 'matmull' is unknown; known: activate, add,"):
        b.emit("matmull", x, **FORWARD)


@pytest.mark.parametrize("batch", [0, -1])
def test_empty_batch(batch: int) -> None:
    with pytest.raises(StepError, match=f"step test has a batch of {batch}; use at least 1"):
        Builder("test", batch, F32)


def test_a_kind_is_defined_once() -> None:
    record: OpRecord = OPS["scale"]
    with pytest.raises(ValueError, match="op kind 'scale' is defined twice"):
        register(replace(record))


def test_sum_of_errors() -> None:
    b, x = builder()
    parts = [b.emit1("scale", x, by=float(i), **FORWARD) for i in range(3)]
    total = b.add_cotangents(parts)
    assert [op.kind for op in b.ops[3:]] == ["add", "add"]
    assert b.ops[-1].outputs == (total,)
    assert b.add_cotangents(parts[:1]) is parts[0]


def test_refusal_names_operands_layer_and_line() -> None:
    b, x = builder()
    w = b.resident("w", (4, 5), Role.WEIGHT, Init("zeros"))
    with b.at("fc1"), pytest.raises(StepError) as refused:
        b.emit("matmul", x, w, **FORWARD)
    pattern = r"matmul\(%x \[2, 3\], %w \[4, 5\]\) at fc1 test_builder\.py:\d+: dense needs x \[B,I\]"
    assert re.match(pattern, str(refused.value))


def test_refusal_in_a_rule_names_the_rules_line() -> None:
    d = Describe("net", (1, 4, 4))
    d.conv(2, 4, name="conv")
    d.batch_norm(name="norm")
    d.dense(2, name="fc")
    with pytest.raises(StepError) as refused:
        emit_step(make_rule("bp"), d.network(), 1)
    assert re.search(r" at norm rules/backprop\.py:\d+: batch norm needs more than one", str(refused.value))


def test_ops_of_a_rule_carry_layer_and_line() -> None:
    d = Describe("net", (3,))
    d.dense(4, name="fc1")
    d.activation("tanh", name="act")
    d.dense(2, name="fc2")
    step = emit_step(make_rule("fa"), d.network(), 2)
    for op in step.ops:
        assert op.where.layer in {"fc1", "act", "fc2", "output"}
        assert re.fullmatch(r"rules/(alignment|backprop)\.py:\d+", str(op.where.source))


def test_a_rule_of_the_user_is_named_too() -> None:
    class Mine:
        name = "mine"

        def emit(self, net: Network, b: NetworkBuilder) -> None:
            b.forward(net.blocks[0], b.x)

    d = Describe("net", (3,))
    d.dense(4, name="fc1")
    b = NetworkBuilder(d.network(), 2)
    Mine().emit(b.net, b)
    assert re.fullmatch(r"fc1 test_builder\.py:\d+", str(b.ops[0].where))


def test_a_step_that_no_rule_emits_names_no_line_of_its_caller() -> None:
    d = Describe("net", (3,))
    d.dense(2, name="fc")
    for where in (op.where for op in emit_inference(make_rule("bp"), d.network(), 1).ops):
        assert where.layer == "fc" and where.source is None
