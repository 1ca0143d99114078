"""Microcode of steps: what the executor makes of it is the integer reference's, every resident after every step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from insitu.backends.engine import isa
from insitu.backends.engine.build import PRECISION
from insitu.backends.engine.image import assemble, fitted
from insitu.errors import ConfigError
from insitu.network.layers import Describe
from insitu.network.torch.capture import capture
from tests.backends.engine.pairs import KEYS, Pair, made, pair
from tests.backends.programs import program

MLP = "mlp-64-32-10"
RULES = (
    *("etch", "drtp", "pred", "bp-stash", "bp", "bp-checkpoint", "shallow", "fa", "dfa"),
    *("greedy", "dgl", "dbl", "mono-forward"),
)


@pytest.mark.parametrize("rule", RULES)
def test_rules_on_a_dense_network(rule):
    both = pair(rule, MLP)
    assert list(both.learn(24 if rule == "etch" else 8)) == []
    got, expected = both.scores()
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("lanes", [4, 16, 32])
@pytest.mark.parametrize("rule", ["etch", "bp"])
def test_any_number_of_lanes(rule, lanes):
    both = pair(rule, MLP, lanes)
    assert list(both.learn(4)) == []
    got, expected = both.scores()
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("rule", ["etch", "bp"])
def test_words_of_four_bits(rule):
    both = pair(rule, MLP, policy=PRECISION.replace("free-8", "free-4"))
    assert both.image.build.weight_bits == 4
    assert list(both.learn(4)) == []


@pytest.mark.parametrize("rule", ["etch", "pred"])
def test_keys_from_the_host_instead_of_registers_that_run_on(rule):
    both = pair(rule, MLP, policy=KEYS)
    assert list(both.learn(4)) == []


CONVOLUTIONS = [
    *((rule, "cnn-8-16", 8) for rule in RULES),
    *((rule, "lenet5", 8) for rule in ("etch", "bp-stash")),
    *(("etch", "cnn-8-16", lanes) for lanes in (4, 16, 32)),
]


@pytest.mark.parametrize(("rule", "name", "lanes"), CONVOLUTIONS)
def test_convolutions(rule, name, lanes):
    both = pair(rule, name, lanes)
    assert list(both.learn(2)) == []
    got, expected = both.scores()
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("factor", [2, (1, 2)])
def test_a_map_of_copies(factor):
    d = Describe("larger", (1, 8, 8))
    for more in (d.upsample, None):
        d.conv(8, 3, padding=1)
        d.activation("relu")
        d.avg_pool(2)
        if more:
            more(factor)
    d.dense(10)
    both = Pair(fitted(program("bp", d.network(1), PRECISION, lr=0.01)[1], 8))
    assert list(both.learn(3)) == []
    got, expected = both.scores()
    assert np.array_equal(got, expected)


@pytest.mark.parametrize(("name", "lr"), [(MLP, 0.1), ("cnn-8-16", 0.05), ("lenet5", 0.05)])
def test_a_stash_learns_at_high_rates(name, lr):
    both = pair("bp-stash", name, lr=lr)
    assert list(both.learn(2)) == []


def test_a_large_network():
    assert list(pair("etch", "mlp-784-128-10").learn(1)) == []


def test_another_rate_is_another_shift():
    both = pair("etch", MLP, lr=0.1)
    assert list(both.learn(2)) == []
    both.host.learn(*both.sample()[1:], 0, 0.01, 2)
    small = both.host.image.words
    assert not np.array_equal(small, both.image.words)


def test_silent_samples_take_the_branches():
    both = pair("etch", MLP)
    weight = both.image.residents["fc1.head.bias"]
    biases = np.full(10, -30000)
    biases[3] = 30000
    for name in ("fc1.head.bias", "fc2.bias"):
        both.state[name][:] = biases
    both.host.load(both.state)
    assert weight.form.count == 10
    before = both.host.state
    phase, x, _ = both.sample()
    both.host.learn(x, np.array([3]), phase, 0.01, 0)
    silent = both.host.cycles
    assert both.machine.flags == 0
    assert all(np.array_equal(before[k], v) for k, v in both.host.state.items())
    both.host.learn(x, np.array([4]), phase, 0.01, 0)
    assert both.machine.flags == 3 and both.host.cycles > 2 * silent


@pytest.mark.parametrize(("rule", "name"), [("pred", MLP), ("etch", "cnn-8-16"), ("bp-stash", "lenet5")])
def test_nothing_is_written_outside_of_what_is_planned(rule, name):
    both = pair(rule, name)
    a, w = both.machine.a.copy(), both.machine.w.copy()
    list(both.learn(2))
    image = both.image
    assert np.array_equal(a[image.a_bytes :], both.machine.a[image.a_bytes :])
    assert np.array_equal(w[image.w_words :], both.machine.w[image.w_words :])
    assert np.array_equal(
        a[image.constants_start : image.a_bytes], both.machine.a[image.constants_start : image.a_bytes]
    )


def test_the_second_step_of_a_key_is_another():
    both = pair("bp", MLP, policy=KEYS)
    keys = {stream for _, stream in both.image.code.keys}
    assert keys >= {"fc1.weight.update", "fc2.weight.update"}
    list(both.learn(1))
    first = both.machine.code.copy()
    list(both.learn(1))
    changed = np.flatnonzero(first != both.machine.code)
    assert {isa.decode(int(first[i]))[0].name for i in changed} == {"KEYLO", "KEYHI"}


REFUSED = {
    ("usf", MLP): r"matmul_dx at fc2 .* through a view .*: use another rule",
    ("sdfa", MLP): r"sign at .* has no microcode; use a ReLU network",
    ("pepita", MLP): r"requant at input .* has no microcode",
    ("lls", MLP): r"norm_exponent at .* has no microcode",
    ("forward-forward", MLP): r"wrong_labels at .* has no microcode",
}


@pytest.mark.parametrize(("rule", "name"), REFUSED)
def test_what_has_no_microcode_is_refused_by_name(rule, name):
    with pytest.raises(ConfigError, match=REFUSED[rule, name]):
        fitted(made(rule, name))


def test_a_shift_out_of_range_is_refused_with_layer_and_remedy():
    with pytest.raises(
        ConfigError,
        match=r"matmul_dw_update at fc2 .* shifts by 0 bits; .* 1 to 20 .*: use another learning rate",
    ):
        fitted(made("bp-stash", MLP, lr=1.0))


def test_memories_that_are_too_small_are_refused():
    image = fitted(made("etch", MLP))
    with pytest.raises(ConfigError, match="needs 336 words of weights; the engine has 128"):
        assemble(image.program, replace(image.build, w_words=128))


def test_padding_stays_zero_where_no_gate_clears_errors():
    layers = [nn.Linear(20, 18), nn.ReLU(), nn.Linear(18, 18), nn.Linear(18, 24), nn.Linear(24, 10)]
    net = capture(nn.Sequential(*layers), torch.zeros(1, 20), "linear")
    both = Pair(fitted(program("bp", net, PRECISION, lr=0.3)[1]))
    assert list(both.learn(3)) == []
    for place in both.image.residents.values():
        if place.weights:
            words = both.machine.read("w", place.start, place.form.size)
            assert np.array_equal(place.form.pack(place.form.unpack(words)), words)
