"""Checkpointing as the memory baseline: never worth less than plain BP where it is chosen by the shapes."""

from __future__ import annotations

import pytest

from insitu.errors import ConfigError
from insitu.network import zoo
from insitu.passes import lower, plan
from insitu.rules import emit_step, make_rule


def arena(rule: str, name: str, **options: int) -> int:
    return plan(lower(emit_step(make_rule(rule, options), zoo.build(name), 8))).arena_bytes


DEEP = "mlp-" + "-".join(["128"] * 9) + "-10"


@pytest.mark.parametrize(
    "name", [DEEP, "mlp-784-1000-10", "cnn-8-16", "lenet5", "resnet8", "resnet20", "vgg8b-x0.25", "ds-cnn"]
)
def test_never_above_plain_bp(name: str) -> None:
    assert arena("bp-checkpoint", name) <= arena("bp", name)


@pytest.mark.parametrize("name", [DEEP, "resnet20", "mobilenet-v1-0.25"])
def test_deep_networks_gain(name: str) -> None:
    assert arena("bp-checkpoint", name) < 0.65 * arena("bp", name)


@pytest.mark.parametrize("segments", [-1, 6, 99])
def test_impossible_segments_are_refused(segments: int) -> None:
    with pytest.raises(ConfigError, match="has 5 blocks; use 0 to 5"):
        arena("bp-checkpoint", "lenet5", segments=segments)
