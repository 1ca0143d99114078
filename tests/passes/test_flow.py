"""The list of passes, and the two views of a program."""

from __future__ import annotations

from insitu.network import zoo
from insitu.passes import FLOW, lower
from insitu.rules import emit_step, make_rule


def test_the_fused_view_is_what_the_listed_passes_make_one_after_another() -> None:
    step = emit_step(make_rule("bp"), zoo.build("cnn-4-8"), 3)
    wanted = str(lower(step))
    for apply in FLOW:
        step = apply(step)
    assert str(step) == wanted


def test_the_eager_view_is_the_step_itself() -> None:
    step = emit_step(make_rule("bp"), zoo.build("mlp-6-4-2"), 3)
    assert lower(step, "eager") is step
