"""C computes the bits of the integer reference: every integer-ready rule, precision and op that is exported."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from insitu.backends.c.host import self_test
from insitu.backends.c.project import Source
from insitu.errors import ConfigError
from insitu.network import zoo
from insitu.network.graph import Network
from insitu.rules import RULES
from insitu.rules.facts import integer_ready
from insitu.rules.protocol import make_rule
from tests.backends.programs import pair, program
from tests.part import crossed
from tests.run.cases import NETWORKS, OPTIONS
from tests.run.test_integer import MORE, POLICIES

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")

READY = [name for name in RULES if integer_ready(make_rule(name, OPTIONS.get(name)))]
STEPS = 60
"""In CI; ``benchmarks/conformance.py`` takes 100 of every rule, policy and network."""


@pytest.mark.parametrize(("rule", "policy"), crossed(READY, POLICIES, 4))
def test_mlp_equals_the_reference(rule: str, policy: str) -> None:
    both = pair(rule, "mlp", policy, batch=2)
    assert next(both.learn(STEPS), None) is None
    mine, theirs = both.scores()
    assert np.array_equal(mine, theirs)


CONV_POLICIES = (
    "edge-latent-free-8",
    "edge-latent-free-2",
    "edge-latent-free-4:update=error-feedback",
    "edge-latent-free-8:update=error-feedback,group_size=1,residual_bits=2,threshold=4",
    "w4a8",
    "nitro",
)
"""In CI; niti-int8, edge-latent-free-4, w2a4 and w8a8 were equal on both networks too."""


@pytest.mark.parametrize(("rule", "policy"), crossed(READY, CONV_POLICIES, 4))
def test_convolutions_equal_the_reference(rule: str, policy: str) -> None:
    both = pair(rule, "lenet", policy, batch=1)
    assert next(both.learn(12), None) is None
    mine, theirs = both.scores(2)
    assert np.array_equal(mine, theirs)


@pytest.mark.parametrize(
    "policy", ["edge-latent-free-8", "edge-latent-free-4:update=error-feedback", "nitro"]
)
def test_errors_of_pooled_maps_equal_the_reference(policy: str) -> None:
    """Windows that leave a row and a column over; 8-bit errors and shorter ones, stored words and master copies; by
    the forms of this machine, and by the plain one, under the sanitizers."""
    net = zoo.build("cnn-4x2-6", input_shape=(3, 11, 9), classes=4, activation="relu")
    both = pair("etch", net, policy, batch=2, limit=64)
    assert any(op.kind == "gated_conv2d_dw_update" for op in both.program.steps[0].ops)
    batches = [(x, y) for _, x, y in (both.batch(),)] * 3
    assert self_test(replace(both.program, batches=tuple(batches))) == "self-test: all equal\n"
    assert next(both.learn(6), None) is None
    mine, theirs = both.scores()
    assert np.array_equal(mine, theirs)


@pytest.mark.parametrize(
    "policy", ["edge-latent-free-8", "edge-latent-free-4:error_exponent=static", "nitro"]
)
def test_heads_on_sketches_equal_the_reference(policy: str) -> None:
    net = zoo.build("cnn-4-6", input_shape=(3, 10, 8), classes=4, activation="relu")
    both = pair("etch", net, policy, batch=2, sketch=20)
    assert {"sketch", "unsketch"} <= {op.kind for op in both.program.steps[0].ops}
    assert next(both.learn(6), None) is None


REGISTER = "edge-latent-free-8:error_exponent=static,generator=register,word_order=channels-last"


@pytest.mark.parametrize(
    ("rule", "network", "batch", "steps"),
    [("etch", "mlp", 2, 60), ("etch", "lenet", 1, 12), ("pred", "lenet", 1, 6), ("bp", "separable", 1, 3)],
)
def test_registers_that_run_on_equal_the_reference(rule: str, network: str, batch: int, steps: int) -> None:
    both = pair(rule, network, REGISTER, batch=batch, lr=0.02)
    columns = {op.attrs.optimizer.columns for op in both.program.steps[0].ops if op.written}
    assert (columns == {()}) is (network == "mlp")
    assert next(both.learn(steps), None) is None
    mine, theirs = both.scores(2)
    assert np.array_equal(mine, theirs)


def test_a_silent_sample_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sample, learned until its margins are passed: the registers stand still from then on, in both."""
    both = pair("etch", "mlp", REGISTER, lr=0.05)
    one, states = both.batch(), []
    monkeypatch.setattr(both, "batch", lambda: one)
    for _ in range(40):
        assert next(both.learn(1), None) is None
        states.append(both.plain["random.registers"].tolist())
    assert states[0] != states[1] and states[-1] == states[-2]


SEPARABLE = [rule for rule in READY if rule not in ("pepita", "mempepita")]
"""These two refuse blocks of two weighted layers."""


@pytest.mark.parametrize(("rule", "policy"), crossed(SEPARABLE, CONV_POLICIES, 6))
def test_separable_convolutions_equal_the_reference(rule: str, policy: str) -> None:
    both = pair(rule, "separable", policy, batch=1)
    assert next(both.learn(4), None) is None
    mine, theirs = both.scores(2)
    assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("rule", ["bp", "bp-stash", "drtp", "pred", "dfa"])
@pytest.mark.parametrize("network", ["rms", "resnet", "spread", "mlp-tanh"])
def test_norms_residual_sums_and_channels_equal_the_reference(network: str, rule: str) -> None:
    if (network, rule) == ("mlp-tanh", "bp-stash"):
        pytest.skip("bp-stash needs relu")
    policy = "edge-latent-free-8:per_channel=true" if network == "spread" else "edge-latent-free-8"
    both = pair(rule, network, policy, batch=2)
    assert next(both.learn(4 if network == "resnet" else 10), None) is None
    mine, theirs = both.scores(2)
    assert np.array_equal(mine, theirs)


@pytest.mark.parametrize(("rule", "policy"), crossed(("bp", "drtp", "pred"), MORE, 3))
def test_other_policies_equal_the_reference(rule: str, policy: str) -> None:
    if policy == "w8a8:master=f16":
        with pytest.raises(ConfigError, match="use master f32"):
            pair(rule, "mlp", policy)
        return
    both = pair(rule, "mlp", policy, batch=2)
    assert next(both.learn(40), None) is None


@pytest.mark.parametrize("policy", ["edge-latent-free-8", "edge-latent-free-8:rounding=stochastic"])
def test_threads_share_the_samples_and_not_the_memory(policy: str) -> None:
    both = pair("pred", "mlp", policy, batch=2)
    first = both.engine.state.copy()
    assert next(both.learn(5), None) is None
    assert not np.array_equal(both.engine.state, first)
    x = np.random.default_rng(1).integers(0, 256, (7, both.engine.sizes["sample_bytes"]), np.uint8)
    alone = both.engine.infer(x)
    assert len(set(map(tuple, alone[1]))) > 1
    for count, threads in ((7, 2), (7, 7), (1, 2), (0, 2)):
        for mine, theirs in zip(both.engine.infer(x[:count], threads), alone, strict=True):
            assert np.array_equal(mine, theirs[:count])
    assert next(both.learn(5), None) is None


@pytest.mark.parametrize("policy", ["niti-int8", "edge-latent-free-8", "edge-latent-free-8:update=niti"])
@pytest.mark.parametrize("rule", ["bp", "drtp"])
def test_a_matrix_of_one_column_is_no_vector(rule: str, policy: str) -> None:
    """Its random words are those of its rows and of its column."""
    both = pair(rule, zoo.build("mlp-12-1-9-4", activation="relu"), policy, batch=2)
    assert next(both.learn(60), None) is None


@pytest.mark.parametrize(
    "policy", ["edge-latent-free-8", "niti-int8", "edge-latent-free-4:error_exponent=static"]
)
@pytest.mark.parametrize(
    "options",
    [
        {"relative": 0.5},
        {"violators": "all"},
        {"violators": "one"},
        {"head": "fixed", "relative": 0.1},
        {"gate": False, "vote": 1},
    ],
)
def test_variants_of_etch_equal_the_reference(options: dict[str, object], policy: str) -> None:
    both = pair("etch", "mlp", policy, **options)
    assert next(both.learn(40), None) is None
    mine, theirs = both.scores()
    assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("bits", [11, 12, 14])
@pytest.mark.parametrize(("rule", "network"), [("bp", "mlp"), ("pred", "mlp"), ("drtp", "lenet")])
def test_sums_that_saturate_equal_the_reference(rule: str, network: str, bits: int) -> None:
    both = pair(rule, network, f"edge-latent-free-8:saturate=true,accumulator={bits}", batch=2)
    assert next(both.learn(12), None) is None
    mine, theirs = both.scores()
    assert np.array_equal(mine, theirs)


def part_frozen(network: str, pattern: str) -> Network:
    """A network with frozen parameters: of the first layers, of every second one, or the weights of the last."""
    net = NETWORKS[network]
    layers = [x for x in net.layers if x.params]
    chosen = {"prefix": layers[:-2], "every second": layers[::2], "last": layers[-1:]}[pattern]
    suffixes = ("weight",) if pattern == "last" else ("weight", "bias")
    return replace(net, frozen=frozenset(x.param(s) for x in chosen for s in suffixes))


@pytest.mark.parametrize(
    ("rule", "network", "pattern", "policy"),
    [
        ("bp", "resnet", "prefix", "edge-latent-free-8"),
        ("bp", "resnet", "every second", "w8a8"),
        ("bp-stash", "lenet", "last", "edge-latent-free-8"),
        ("dfa", "mlp", "every second", "edge-latent-free-8"),
        ("drtp", "lenet", "prefix", "w8a8"),
        ("pred", "mlp", "last", "w8a8"),
        ("etch", "lenet", "every second", "edge-latent-free-8"),
    ],
)
def test_frozen_layers_equal_the_reference_and_stay(
    rule: str, network: str, pattern: str, policy: str
) -> None:
    net = part_frozen(network, pattern)
    both = pair(rule, net, policy, batch=2)
    assert next(both.learn(12), None) is None
    mine, theirs = both.scores(2)
    assert np.array_equal(mine, theirs)
    for name in net.frozen & both.plain.keys():
        assert np.array_equal(both.plain[name], both.program.initial_state[name])
    moved = set(net.trainable) & both.plain.keys()
    assert any(not np.array_equal(both.plain[n], both.program.initial_state[n]) for n in moved)


@pytest.mark.parametrize("policy", ["w8a8", "edge-latent-free-8", "edge-latent-free-8:update=error-feedback"])
def test_a_rate_of_zero_equals_the_reference(policy: str) -> None:
    both = pair("drtp", "mlp", policy, lr=0.0)
    assert next(both.learn(20), None) is None
    trained = {name for name in both.net.params if name in both.program.written}
    assert trained and all(np.array_equal(both.plain[n], both.program.initial_state[n]) for n in trained)


def test_phases_with_unlike_inputs_are_refused() -> None:
    one, two = (program("drtp", "mlp", "edge-latent-free-8", batch)[1] for batch in (1, 2))
    with pytest.raises(ConfigError, match=r"phase 1 takes %x as 2x12 .* earlier one as 1x12"):
        Source(replace(one, steps=(*one.steps, *two.steps)))
