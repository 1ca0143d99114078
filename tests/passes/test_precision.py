"""Precision policies: names, changes, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.errors import ConfigError, InsituWarning
from insitu.numbers.formats import B1, T2, Fixed, PowerOfTwo
from insitu.ops.updates import Dst, ErrorFeedback, Threshold
from insitu.passes.precision import COMMON, NAMED, describe, kind, make, named


@pytest.mark.parametrize(
    "name", [*COMMON, *NAMED, "w3a5", "wta4-free", "w1a8-latent", "wpo4a8", "w16a8-free"]
)
def test_names_give_policies_of_that_name(name: str) -> None:
    policy = named(name)
    assert policy is not None
    assert str(policy) == name


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_floats_quantize_nothing(name: str) -> None:
    assert make(name) is None


def test_bits_and_regime_follow_from_the_name() -> None:
    free, latent = named("w4a5-free"), named("w4a5")
    assert free is not None and latent is not None
    assert (free.weight, free.activation, free.latent) == ("4", "5", False)
    assert latent.latent and latent.master == "f32"
    ternary = named("w2a4")
    assert ternary is not None and kind(ternary.weight) is T2


@pytest.mark.parametrize(
    ("token", "fmt"),
    [("8", Fixed(True, 7, 0)), ("1", B1), ("t", T2), ("po4", PowerOfTwo(4)), ("32", Fixed(True, 31, 0))],
)
def test_tokens(token: str, fmt: object) -> None:
    assert kind(token) == fmt


def test_a_text_and_a_mapping_say_the_same() -> None:
    text = make("edge-latent-free-8:hidden=4,update=threshold,kappa=2.5,saturate=true")
    mapping = make(
        {"base": "edge-latent-free-8", "hidden": 4, "update": "threshold", "kappa": 2.5, "saturate": True}
    )
    assert text == mapping
    assert text is not None
    assert (text.hidden, text.update, text.others, text.saturate) == (4, Threshold(), (Dst(2.5),), True)
    assert text.name == "edge-latent-free-8:hidden=4,update=threshold,kappa=2.5,saturate=True"


def test_layers_override() -> None:
    policy = make(
        {"base": "edge-latent-free-4", "layers": {"fc1": {"weight": "8"}, "fc*": {"activation": "6"}}}
    )
    assert policy is not None
    assert (policy.at("fc1").weight, policy.at("fc1").activation) == (
        "8",
        "8",
    )  # the first pattern that fits counts
    assert (policy.at("fc2").weight, policy.at("fc2").activation) == ("4", "6")
    assert policy.at(None).weight == "4"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("w8a9", "precision 'w8a9' is unknown; did you mean 'w8a8'"),
        ("w33a8", "precision 'w33a8' is unknown"),
        ("w32a8", "keeps half of the network in float32.*use float32"),
        ("edge-latent-free-8:hiden=2", "has no field 'hiden'; did you mean 'hidden'"),
        ("edge-latent-free-8:hidden", "'hidden' is no field=value"),
        ("edge-latent-free-8:hidden=25", "hidden=25 is out of range; use 0 to 24"),
        ("edge-latent-free-8:hidden=two", "hidden='two' is no whole number"),
        ("nitro:saturate=maybe", "saturate='maybe' is neither true nor false"),
        ("edge-latent-free-8:kappa=nan", "kappa='nan' is not finite"),
        ("edge-latent-free-8:hidden=2,hidden=3", "hidden is given twice"),
        ("edge-latent-free-8:hidden=2,", "no field=value"),
        ({"layers": {"fc1": {}}}, "changes nothing"),
        ({"hidden": True}, "hidden=True is no whole number"),
        ({"layers": {"fc1": 8}}, "layers=.* should be a valid dictionary"),
        ("edge-latent-free-8:weight=33", "weight='33' is no number format"),
        ("edge-latent-free-8:weight=s0.7x", "is no number format; use 1 to 32"),
        ("edge-latent-free-8:activation=t", "activation='t' must be a number of bits"),
        ("edge-latent-free-8:error=1", "error='1' must be a number of bits; use 2 to 24"),
        ("edge-latent-free-8:update=adam", "update='adam' is unknown; use one of stochastic"),
        ("edge-latent-free-8:update=niti,per_channel=true", "update 'niti' has no scale per channel"),
        ("edge-latent-free-8:update=bop", "flips binary weights; use weight: '1'"),
        ("edge-latent-free-8:update=niti,defer=4", "defer=4 is not for update 'niti'; use defer: 1"),
        ("w4a8:defer=4", "defer=4 is not for a latent copy"),
        ("w4a8:generator=register", "generator=register is for stored words"),
        ("edge-latent-free-8:generator=register,defer=2", "use generator=lfsr"),
        ("edge-latent-free-8:generator=register,update=niti", "use generator=lfsr"),
        ("edge-latent-free-8:word_order=rows", "word_order"),
        ("edge-latent-free-8:rounding=up", "rounding='up' is unknown; use one of half-up, floor, stochastic"),
        ("float32:hidden=2", "a float has no fields to change"),
        ({"layers": {"fc1": {"error": "8"}}}, "layers.*'error' is unknown; use one of weight"),
    ],
)
def test_refusals(given: str | dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(given)


@pytest.mark.parametrize("word", ["False", "false", "no", "NO", "off", "0"])
def test_words_for_false_are_false(word: str) -> None:
    policy = make(f"nitro:saturate={word}")
    assert policy is not None and policy.saturate is False
    assert make({"base": "nitro", "saturate": word}) == policy


TOKENS = st.sampled_from(["2", "4", "8"])
CHANGES = {
    "weight": st.sampled_from(["1", "t", "8", "po4", "16"]),
    "activation": TOKENS,
    "head": st.none() | TOKENS,
    "hidden": st.integers(0, 24),
    "kappa": st.floats(1e-9, 1e9),
    "decay": st.none() | st.integers(1, 30),
    "rounding": st.sampled_from(["half-up", "floor", "stochastic"]),
    "saturate": st.booleans(),
    "per_channel": st.booleans(),
    "layers": st.dictionaries(
        st.sampled_from(["fc1", "fc*", "block.[a,b]*", "conv?"]),
        st.fixed_dictionaries({}, optional={"weight": TOKENS, "hidden": st.integers(0, 8)}),
    ),
}


@settings(deadline=None)  # a busy machine
@given(st.sampled_from(sorted(NAMED)), st.fixed_dictionaries({}, optional=CHANGES))
def test_what_a_policy_prints_is_the_policy(base: str, changes: dict[str, Any]) -> None:
    try:
        policy = make({"base": base, **changes})
    except ConfigError:
        return  # not every combination is a policy
    shown = {key: value for key, value in changes.items() if key != "layers"}
    again = make(str(policy))
    assert again is not None and policy is not None
    assert {key: again.as_dict()[key] for key in shown} == shown
    assert again == policy


def test_every_named_policy_is_described() -> None:
    rows = {row["name"]: row for row in describe()}
    assert set(rows) == {"float32", "float64", *COMMON, *NAMED}
    assert all(row["what"] for row in rows.values())


def test_names_of_version_0_1_are_read_and_told() -> None:
    new = "edge-latent-free-8:update=error-feedback,group_size=1,residual_bits=2,threshold=4"
    with pytest.warns(
        InsituWarning, match="update=carry is now update=error-feedback.*band is now threshold"
    ):
        old = make("edge-latent-free-8:update=carry,carry=1,remainder=2,band=4")
    assert old == make(new) and str(old) == new
    with pytest.warns(InsituWarning, match="update=rotating is now update=round-robin"):
        assert make("edge-latent-free-8:update=rotating,slices=3") == make(
            "edge-latent-free-8:update=round-robin,slices=3"
        )
    with pytest.warns(InsituWarning, match="gather is now defer"):
        deferred = make("edge-latent-free-4:error_exponent=static,gather=8")
    assert deferred is not None and deferred.defer == 8


def test_stored_policies_of_version_0_1_are_read_in_silence(recwarn: pytest.WarningsRecorder) -> None:
    old = {
        "base": "edge-latent-free-8",
        "layers": {"conv1": {"update": "carry", "remainder": 8}},
        "gather": 1,
    }
    policy = make(old)
    assert policy is not None and policy.at("conv1").update == ErrorFeedback(residual_bits=8)
    assert not recwarn.list
    with pytest.raises(ConfigError, match="'carry' and 'group_size' are one field"):
        make({"base": "edge-latent-free-8", "group_size": 1, "carry": 9})
