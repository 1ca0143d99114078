"""Placement of transients in the arena, on programs whose best layout is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

import insitu.ops  # noqa: F401  (fills OPS)
from insitu.network import zoo
from insitu.numbers.formats import F32
from insitu.passes import VIEWS, lower, plan
from insitu.rules import emit_step, make_rule
from insitu.step.builder import Builder
from insitu.step.ir import Init, Phase, Role, Step
from insitu.step.liveness import peak_bytes

FORWARD = {"role": Role.ACTIVATION, "phase": Phase.FORWARD}


def chain(length: int) -> Step:
    """x (32 bytes) scaled again and again."""
    b = Builder("chain", 2, F32)
    value = b.input("x", (2, 4), Role.ACTIVATION)
    b.resident("w", (3, 3), Role.WEIGHT, Init("zeros"))
    for i in range(length):
        value = b.emit1("scale", value, by=2.0, name=f"h{i}", **FORWARD)
    b.output(value)
    return b.finish()


def test_two_buffers_take_turns() -> None:
    layout = plan(chain(5))
    assert layout.arena_bytes == 64
    assert layout.resident_bytes == 36
    assert layout.peak_bytes == 100
    assert sorted(layout.offsets.values()) == [0, 0, 0, 32, 32, 32]


def test_in_place_needs_one_buffer_more_than_the_input() -> None:
    layout = plan(lower(chain(5)))
    assert layout.arena_bytes == 64
    assert set(layout.offsets) == {"x", "h0"}


def test_roles_sum_to_the_peak() -> None:
    layout = plan(chain(5))
    assert {role: n for role, n in layout.by_role.items() if n} == {Role.ACTIVATION: 64, Role.WEIGHT: 36}
    assert sum(layout.by_role.values()) == layout.peak_bytes


def test_alignment_rounds_offsets_up() -> None:
    b = Builder("odd", 1, F32)
    x = b.input("x", (1, 3), Role.ACTIVATION)  # 12 bytes
    y = b.emit1("scale", x, by=2.0, **FORWARD)
    b.output(b.emit1("add", x, y, **FORWARD))
    assert sorted(plan(b.finish()).offsets.values()) == [0, 12, 24]
    aligned = plan(b.finish(), align=16)
    assert sorted(aligned.offsets.values()) == [0, 16, 32]
    assert aligned.arena_bytes == 44
    assert aligned.by_role[Role.SCRATCH] == 8  # the gaps


def test_an_input_that_nobody_reads_has_no_place() -> None:
    step = chain(2)
    b = Builder("more", 2, F32)
    more = b.input("label", (2,), Role.LABEL)
    assert "label" not in plan(replace(step, inputs=(*step.inputs, more))).offsets


def test_an_empty_step() -> None:
    layout = plan(Builder("empty", 1, F32).finish())
    assert (layout.peak_bytes, layout.offsets) == (0, {})


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("rule", ["bp", "bp-checkpoint", "drtp"])
@pytest.mark.parametrize("name", ["lenet5", "resnet8", "ds-cnn"])
def test_real_networks_lose_little_to_fragmentation(name: str, rule: str, view: str) -> None:
    step = lower(emit_step(make_rule(rule), zoo.build(name), 2), view)
    assert peak_bytes(step) <= plan(step).peak_bytes <= 1.02 * peak_bytes(step)
