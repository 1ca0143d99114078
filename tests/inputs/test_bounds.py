"""Numbers that no field can hold are refused before anything is allocated."""

from __future__ import annotations

from typing import Any

import pytest

from insitu.errors import ConfigError
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.impact import assess
from insitu.inputs import bounds
from insitu.passes.precision import make
from insitu.rules.protocol import make_rule


@pytest.mark.parametrize("bound", [b for b in vars(bounds).values() if isinstance(b, bounds.Most)])
def test_a_bound_holds_and_says_why(bound: bounds.Most) -> None:
    assert bound.check(bound.value) == bound.value
    with pytest.raises(ValueError, match=f"is more than {bound.value:,}: .+"):
        bound.check(bound.value + 1)
    if bound.least is not None:
        assert bound.check(bound.least) == bound.least
        with pytest.raises(ValueError, match="is less than"):
            bound.check(bound.least / 2)


@pytest.mark.parametrize(
    ("rule", "options", "reason"),
    [
        ("greedy", {"width": 999_999_999_999}, "is more than 1,048,576"),
        ("greedy", {"k": 100_000}, "use 64 or less: each level is a layer"),
        ("etch", {"limit": 10**20}, "is more than 1,048,576"),
        ("etch", {"margin": 1e300}, "leave the range of float32"),
        ("hsic", {"sigma": 1e-300}, "is less than 1e-30"),
        ("hsic", {"sigma": float("inf")}, "is not finite"),
        ("dbl", {"period": "9999999999999"}, "is more than 1,048,576"),
        ("etch", {"gate": "maybe"}, "is neither true nor false"),
        ("etch", {"vote": True}, "is no whole number"),
    ],
)
def test_options_of_rules(rule: str, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        make_rule(rule, options)


def test_a_head_that_no_memory_holds() -> None:
    with pytest.raises(
        ConfigError, match=r"head at conv1: .* parameters is more .*, or smaller options of the rule"
    ):
        assess(DesignPoint("cnn-8-8", "greedy", options={"width": 100_000, "k": 3}))


def test_weights_of_a_rule_that_no_memory_holds() -> None:
    heads = {"width": 5_400, "k": 3}
    with pytest.raises(ConfigError, match=r"its weights and states are .* is more than 1,073,741,824"):
        assess(DesignPoint("cnn-8-8-8-8", "dgl", optimizer="adam", options=heads))


@pytest.mark.parametrize("kappa", ["-1", "0", "1e300"])
def test_kappa(kappa: str) -> None:
    with pytest.raises(ConfigError, match=r"kappa=.* is out of range"):
        make(f"edge-latent-free-8:update=dst,kappa={kappa}")


@pytest.mark.parametrize("text", ["edge-latent-free-8:base=nitro", "nitro:name=mine"])
def test_a_base_is_named_once(text: str) -> None:
    with pytest.raises(ConfigError, match="the base is in front of the colon"):
        make(text)
