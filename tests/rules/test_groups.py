"""Groups of blocks of `etch`: from a head behind every block to back-propagation over one-bit activations."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from insitu.errors import ConfigError, NetworkError
from insitu.network import zoo
from insitu.network.builder import Builder
from insitu.network.graph import Network
from insitu.passes import lower, plan
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules.etch import Etch
from insitu.rules.protocol import emit_exits, emit_step, make_rule
from insitu.step.ir import Role, Step
from insitu.step.triggers import triggers_of
from tests.backends.programs import pair

POLICY = "edge-latent-free-8:error_exponent=static"


def net(activation: str = "relu") -> Network:
    return zoo.build("cnn-4x2-6x2", input_shape=(1, 16, 16), classes=4, activation=activation)


def step(**options: Any) -> Step:
    return emit_step(make_rule("etch", {"limit": 64} | options), net(), 1)


def text(step: Step) -> list[str]:
    return [line.rsplit("#", 1)[0] for line in str(step).splitlines()[1:]]


def test_a_group_of_one_is_the_rule_without_groups() -> None:
    assert text(step(group=1)) == text(step())


@pytest.mark.parametrize("group", [5, 9])
def test_a_group_of_all_is_bp_over_one_bit_activations_with_this_error(
    group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same program, op by op."""
    mine, rule = step(group=group), Etch()
    monkeypatch.setattr(Builder, "output_error", lambda b, z: rule._error(b, z, b.ops, output=True))
    assert text(mine) == text(emit_step(make_rule("bp-stash"), net(), 1))


def test_each_group_has_one_trigger_and_one_exit() -> None:
    for group, count in ((1, 5), (2, 3), (3, 2), (4, 2), (5, 1)):
        assert len(triggers_of(step(group=group))) == count
        exits = emit_exits(make_rule("etch", {"limit": 64, "group": group}), net(), 1)
        assert (len(exits.outputs) if exits is not None else 1) == count


def test_fewer_heads_take_fewer_bytes() -> None:
    found = make(POLICY)
    assert found is not None
    sizes = [
        plan(lower(quantize(step(group=group), found, net().params))).by_role[Role.HEAD]
        for group in (1, 2, 5)
    ]
    assert sizes[0] > sizes[1] > sizes[2] == 0


def test_what_groups_cannot_hold_is_refused() -> None:
    with pytest.raises(
        NetworkError, match=r"rule etch cannot train .* one bit does not hold the derivative of tanh"
    ):
        emit_step(make_rule("etch", {"group": 2}), net("tanh"), 1)
    assert emit_step(make_rule("etch"), net("tanh"), 1)
    for options in ({"group": 0}, {"group": 2, "shared": True}):
        with pytest.raises(ConfigError, match="use 1 or more, and more than 1 without shared"):
            make_rule("etch", options)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")
def test_c_is_bit_equal() -> None:
    both = pair("etch", net(), POLICY, group=2, limit=64, vote=1)
    assert next(both.learn(8), None) is None
    mine, theirs = both.scores()
    assert (mine == theirs).all()
