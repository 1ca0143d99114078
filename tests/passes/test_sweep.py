"""Dead-code elimination: what stays, and what goes with whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from insitu.network import zoo
from insitu.network.builder import Builder
from insitu.passes.sweep import sweep
from insitu.rules import RULES, make_rule
from insitu.step.ir import Step

NET = zoo.build("mlp-8-6-5-3", activation="relu")


def emitted(rule: str, learn: str = "fc", **options: bool) -> Step:
    """The step as the rule writes it, where only layers of such names learn."""
    frozen = frozenset(n for n in NET.params if not n.startswith(learn))
    b = Builder(replace(NET, frozen=frozen), 2, **options)
    make_rule(rule).emit(b.net, b)
    return b.finish()


def written(step: Step) -> set[str]:
    return {v.name for op in step.ops for v in op.written}


@pytest.mark.parametrize("rule", RULES)
def test_nothing_is_dead_where_all_parameters_are_kept(rule: str) -> None:
    step = emitted(rule)
    swept = sweep(step, set(NET.params))
    assert str(swept) == str(step)


def test_a_head_goes_with_the_block_that_it_teaches() -> None:
    before = emitted("pred", "fc2")
    swept = sweep(before, set(NET.params))
    assert {"fc1.head.weight", "fc2.head.weight"} <= written(before)
    assert written(swept) == {"fc2.weight", "fc2.bias", "fc2.head.weight", "fc2.head.bias"}
    names = {v.name for v in swept.residents}
    assert "fc1.weight" in names and not {"fc1.head.weight", "fc3.weight"} & names


def test_what_is_read_outside_of_the_step_stays() -> None:
    swept = sweep(emitted("pred", "fc3"), {*NET.params, "fc1.head.weight"})
    assert written(swept) == {"fc3.weight", "fc3.bias", "fc1.head.weight", "fc1.head.bias"}


def test_the_loss_stays_and_what_it_reads() -> None:
    swept = sweep(emitted("bp", "none", with_loss=True), set(NET.params))
    assert len(swept.outputs) == 1 and not written(swept)
    assert [op.kind for op in swept.ops if op.kind.startswith("matmul")] == ["matmul"] * 3
    assert {v.name for v in swept.inputs} == {"x", "label"}
