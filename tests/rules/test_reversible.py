"""BP without stored activations: the numbers of bp bit for bit, at a memory that couplings do not add to."""

from __future__ import annotations

import shutil
from itertools import product

import numpy as np
import pytest
import torch

from insitu.errors import StepError
from insitu.network import zoo
from insitu.network.graph import Network
from insitu.network.layers import Describe
from insitu.network.zoo.builder import Options, Sketch
from insitu.numbers.formats import Fixed
from insitu.ops.coupling import Coupling
from insitu.passes import lower, plan
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules.protocol import emit_step, make_rule
from insitu.run.initial import initial_state
from insitu.run.integer import run
from insitu.run.integer_elements import couple
from insitu.run.state import extend_state
from insitu.run.torch_exec import TorchExecutor
from insitu.step.context import StepContext
from insitu.step.ir import Op, Phase, Role, Step
from tests.backends.programs import pair
from tests.run.cases import SEED, samples

POLICY = "edge-latent-free-8:error_exponent=static"


def net(name: str = "rev-4x3-6x2", size: int = 8) -> Network:
    return zoo.build(name, input_shape=(1, size, size), classes=4)


def step(rule: str, network: Network, policy: str = POLICY) -> Step:
    found = make(policy)
    assert found is not None
    return lower(quantize(emit_step(make_rule(rule), network, 1), found, network.params))


def trained(
    rule: str, network: Network, policy: str, count: int = 6, scale: float = 1.0
) -> dict[str, np.ndarray]:
    """Integers of all residents after some steps."""
    made = step(rule, network, policy)
    state = {name: np.array(a) for name, a in initial_state(made, network.params, SEED).items()}
    for t in range(count):
        x, y = samples(network, 1, t)
        fmt = made.inputs[0].format
        words = np.clip(np.rint(scale * x / made.inputs[0].unit), fmt.least, fmt.greatest).astype(np.int64)
        run(made, state, words, y, StepContext(0.1, SEED, t))
    return state


@pytest.mark.parametrize(
    "policy", [POLICY, "edge-latent-free-4:error_exponent=static", "edge-latent-free-8", "w8a4-free"]
)
def test_in_integers_it_learns_what_bp_learns(policy: str) -> None:
    mine, theirs = (trained(rule, net(), policy) for rule in ("bp-reversible", "bp"))
    assert mine.keys() == theirs.keys()
    assert all((mine[name] == theirs[name]).all() for name in mine)
    start = initial_state(step("bp", net(), policy), net().params, SEED)
    assert any((mine[name] != start[name]).any() for name in mine)


def test_sums_that_wrap_around_are_undone_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights so large that streams leave the range of their format."""
    large = net()
    large = Network(large.name, large.input_shape, large.blocks, {n: 30 * v for n, v in large.params.items()})
    wrapped = []

    def watched(op: Op, context: StepContext, a: np.ndarray, f: np.ndarray) -> np.ndarray:
        made = couple(op, context, a, f)
        wrapped.append((made != (a - f if op.attrs.minus else a + f)).any())
        return made

    monkeypatch.setitem(__import__("insitu.run.integer", fromlist=["FUNCTIONS"]).FUNCTIONS, "couple", watched)
    mine, theirs = (trained(rule, large, POLICY) for rule in ("bp-reversible", "bp"))
    assert any(wrapped)
    assert all((mine[name] == theirs[name]).all() for name in mine)


@pytest.mark.parametrize("bits", [2, 5])
def test_minus_undoes_every_sum(bits: int) -> None:
    fmt = Fixed(True, bits, 0)
    for a, f in product(range(fmt.least, fmt.greatest + 1), repeat=2):
        y = a
        for minus in (False, True):
            op = Op("couple", (), (), Coupling(format=fmt, minus=minus), Phase.FORWARD)
            y = int(couple(op, StepContext(0.0, 0, 0), np.array(y), np.array(f)))
            assert fmt.least <= y <= fmt.greatest
        assert y == a


def test_in_floats_it_differs_by_rounding_alone() -> None:
    network, found = net(), {}
    for rule in ("bp", "bp-reversible"):
        made = lower(emit_step(make_rule(rule), network, 3))
        state = extend_state({}, made, network.params, SEED, dtype=torch.float64)
        executor = TorchExecutor(made, state, dtype=torch.float64)
        for t in range(3):
            executor.run(executor.convert(*map(torch.from_numpy, samples(network, 3, t))), lr=0.1, t=t)
        found[rule] = state
    for name, value in found["bp"].items():
        assert torch.allclose(value, found["bp-reversible"][name], rtol=1e-9, atol=1e-12), name


def test_couplings_add_no_activations() -> None:
    """All bytes but those of weights: the same for 6 couplings and for 12; bp keeps a map for each."""

    def beside_weights(rule: str, count: int) -> int:
        by_role = plan(step(rule, net(f"rev-4x{count}", 16))).by_role
        return sum(n for role, n in by_role.items() if role != Role.WEIGHT)

    assert beside_weights("bp-reversible", 6) == beside_weights("bp-reversible", 12)
    assert beside_weights("bp", 12) - beside_weights("bp", 8) == 4 * 4 * 16 * 16


def test_it_takes_one_more_forward_pass_through_the_couplings() -> None:
    network = net("rev-4x5", 8)
    more = sum(step("bp-reversible", network).counts().macs.values()) - sum(
        step("bp", network).counts().macs.values()
    )
    assert more == 5 * 4 * 4 * 9 * 8 * 8


def test_networks_without_couplings_have_the_step_of_bp() -> None:
    plain = zoo.build("cnn-4-6", input_shape=(1, 8, 8), classes=4)
    mine, theirs = (
        str(emit_step(make_rule(rule), plain, 1)).splitlines()[1:] for rule in ("bp-reversible", "bp")
    )
    assert [line.rsplit("#", 1)[0] for line in mine] == [line.rsplit("#", 1)[0] for line in theirs]


def coupled(reads_both: bool) -> Network:
    """Two couplings; the second one's change may come from what the first one has replaced."""
    s = Sketch("own", (1, 6, 6), Options(classes=3, activation="relu", batch_norm=False, dropout=0.0))
    one = s.conv(2, 3, padding=1)
    s.act()
    other = s.conv(2, 3, padding=1)
    s.act()
    third = s.couple(one, s.conv(2, 3, padding=1))
    s.goto(one if reads_both else third)
    s.act()
    s.couple(other, s.conv(2, 3, padding=1))
    s.act()
    s.logits()
    return s.network()


@pytest.mark.parametrize("reads_both", [False, True])
def test_couplings_of_another_order_are_made_again_from_what_lies_below(reads_both: bool) -> None:
    mine, theirs = (trained(rule, coupled(reads_both), POLICY, 3) for rule in ("bp-reversible", "bp"))
    assert all((mine[name] == theirs[name]).all() for name in mine)


def test_what_cannot_be_made_again_is_not_quantized() -> None:
    with pytest.raises(StepError, match="rounded at random cannot be made again"):
        step("bp-reversible", net(), "edge-latent-free-8:rounding=stochastic")
    d = Describe("own", (1, 6, 6))
    d.conv(2, 3, padding=1)
    positive = d.activation("relu")
    d.couple(positive, d.conv(2, 3, padding=1))
    d.flatten()
    d.dense(3)
    with pytest.raises(StepError, match="its first operand has no sign"):
        step("bp", d.network())


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")
def test_c_is_bit_equal() -> None:
    both = pair("bp-reversible", net(), POLICY)
    assert next(both.learn(10), None) is None
    mine, theirs = both.scores()
    assert (mine == theirs).all()
