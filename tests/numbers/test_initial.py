"""The table of initial values, and that every kind of it can be a feedback matrix of integers in the policy's bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from insitu.errors import StepError
from insitu.network import zoo
from insitu.numbers.initial import KINDS, Kind, draw, kind_of
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules import emit_step, make_rule
from insitu.run.initial import initial_state
from insitu.step.ir import Init, Role, Step

NET = zoo.build("mlp-6-5-4")
DRAWN = [name for name, kind in KINDS.items() if kind.draw is not None]


@pytest.mark.parametrize("name", DRAWN)
def test_no_value_is_larger_than_the_table_says(name: str) -> None:
    init = Init(name, "stream", 0.25)
    values = draw(init, (3, 4), 7)
    assert values.shape == (3, 4) and values.dtype == np.float32
    largest = kind_of(init).max_abs(init)
    assert np.abs(values).max() <= (0.0 if largest is None else largest)


def test_square_waves_are_the_signs_of_sine_waves() -> None:
    sine, square = (draw(Init(name), (4, 9), 0) for name in ("sine", "square"))
    np.testing.assert_array_equal(square, np.where(sine >= 0, 1, -1))


def test_an_unknown_kind_is_refused_with_those_that_are_known() -> None:
    for ask in (lambda i: draw(i, (2, 2), 0), lambda i: integers(i, "8")):
        with pytest.raises(
            StepError, match=r"'hadamard' are unknown; use one of param, zeros, .*initial.KINDS"
        ):
            ask(Init("hadamard"))


def integers(init: Init, feedback: str) -> np.ndarray:
    """First values of the feedback matrix of DFA if it is initialised so, in a policy's integers."""
    step = emit_step(make_rule("dfa"), NET, 2)
    step = with_feedback(step, init)
    policy = replace(make("edge-latent-free-8"), feedback=feedback)
    lowered = quantize(step, policy, NET.params)
    (made,) = (v for v in lowered.residents if v.role == Role.FEEDBACK)
    return initial_state(lowered, NET.params, 3)[made.name]


def with_feedback(step: Step, init: Init) -> Step:
    (old,) = (v for v in step.residents if v.role == Role.FEEDBACK)
    new = replace(old, init=init)
    swap = {old: new}
    ops = tuple(replace(op, inputs=tuple(swap.get(v, v) for v in op.inputs)) for op in step.ops)
    return replace(step, residents=tuple(swap.get(v, v) for v in step.residents), ops=ops).verify()


@pytest.mark.parametrize("name", [n for n in DRAWN if n != "zeros"])
@pytest.mark.parametrize(("bits", "highest"), [("8", 127), ("4", 7), ("2", 1)])
def test_feedback_of_every_kind_has_the_bits_of_the_policy(name: str, bits: str, highest: int) -> None:
    values = integers(Init(name, "feedback", 0.5), bits)
    assert 0 < np.abs(values).max() <= highest + 1
    if name == "sine":  # all levels are used, so four bits are no eight
        assert np.abs(values).max() > highest // 2


def test_a_kind_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that needs another matrix adds one entry."""
    checks = Kind(
        lambda _init, shape, _seed: (np.indices(shape).sum(0) % 2 * 2.0 - 1.0).astype(np.float32), bits=1
    )
    monkeypatch.setitem(KINDS, "checkerboard", checks)
    np.testing.assert_array_equal(integers(Init("checkerboard"), "8")[0, :3], [-1, 1, -1])
