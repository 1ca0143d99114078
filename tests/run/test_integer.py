"""The torch executor equals the integer reference, bit for bit: every rule that can, in every precision."""

from __future__ import annotations

from types import FunctionType, ModuleType

import numpy as np
import pytest
import torch

from insitu.errors import StepError
from insitu.numbers.lfsr import REGISTERS
from insitu.ops.common import saturates_to
from insitu.passes.precision import COMMON, NAMED
from insitu.passes.quantize import quantize
from insitu.rules import emit_step, make_rule
from insitu.rules.facts import integer_ready
from insitu.rules.protocol import RULES
from insitu.run import integer, integer_arithmetic, integer_elements, integer_products, integer_updates
from insitu.run.state import initial_state
from insitu.step.context import StepContext
from tests.part import crossed

from .cases import NETWORKS, OPTIONS, twin

READY = [name for name in RULES if integer_ready(make_rule(name, OPTIONS.get(name)))]
POLICIES = (*COMMON, *NAMED)
STEPS = 300
FEW = 40
SOME = 12
"""Steps of a LeNet-5; 300 steps of every one take ten minutes, and are equal too."""
LONG = ("edge-latent-free-8", "niti-int8")
"""Policies that take ``STEPS`` steps of the MLP; ``FEW`` of the others, which were equal for ``STEPS`` too."""

MORE = (
    "w1a8-free",
    "wta4-free",
    "wpo4a8",
    "edge-latent-free-8:hidden=8",
    "edge-latent-free-8:generator=lfsr",
    "edge-latent-free-8:generator=register",
    "edge-latent-free-4:word_order=channels-last",
    "edge-latent-free-4:hidden=4,update=threshold",
    "edge-latent-free-8:update=round-robin,slices=3,window=4",
    "edge-latent-free-8:update=error-feedback,group_size=5,residual_bits=8,threshold=5",
    "edge-latent-free-2:update=error-feedback,generator=lfsr",
    "edge-latent-free-8:update=error-feedback,group_size=1,residual_bits=2,threshold=4",
    "w1a8-free:update=error-feedback,threshold=4",
    "edge-latent-free-2:update=dst",
    "w1a8-free:update=bop,gamma=2,flip=40",
    "w8a8:master=f16",
    "edge-latent-free-8:rounding=stochastic,error_rounding=stochastic",
    "edge-latent-free-8:error_exponent=static,rounding=floor",
    "edge-latent-free-8:scales=general,feedback=1",
    "edge-latent-free-4:error_exponent=static,defer=3",
    "edge-latent-free-8:error_exponent=static,defer=5,update=threshold,error=3",
)


def test_the_rules_that_the_numbers_were_made_for_are_ready() -> None:
    local = {"pred", "lls", "mono-forward", "greedy", "dgl", "dbl", "forward-forward", "pepita"}
    wanted = {"bp", "bp-stash", "fa", "usf", "dfa", "sdfa", "drtp", "shallow"} | local
    assert wanted <= set(READY)


@pytest.mark.parametrize(("rule", "policy"), crossed(READY, POLICIES, 4))
def test_mlp_equals_the_reference(rule: str, policy: str) -> None:
    run = twin(rule, "mlp", policy)
    run.advance(STEPS if policy in LONG else FEW)
    assert run.unequal() == []
    assert run.moved()


@pytest.mark.parametrize(("rule", "policy"), crossed(READY, POLICIES, 4))
def test_lenet_equals_the_reference(rule: str, policy: str) -> None:
    run = twin(rule, "lenet", policy, batch=2)
    run.advance(FEW if policy == "edge-latent-free-8" else SOME)
    assert run.unequal() == []


def test_a_silent_sample_draws_no_words_from_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same sample, learned until their margins are passed: both registers stand still from then on."""
    run = twin("etch", "mlp", "edge-latent-free-8:generator=register", batch=1)
    first, states = run.sample(), []
    monkeypatch.setattr(run, "sample", lambda: first)
    for _ in range(40):
        run.advance(1, lr=0.05)
        assert run.unequal() == []
        states.append(run.plain[REGISTERS].tolist())
    assert states[0] != states[1] and states[-1] == states[-2]


@pytest.mark.parametrize("policy", ["edge-latent-free-8", "edge-latent-free-4:update=error-feedback", "w4a8"])
@pytest.mark.parametrize("rule", ["etch", "pred"])
def test_errors_of_pooled_maps_equal_the_reference(rule: str, policy: str) -> None:
    """Heads on averages: the updates of kernels and biases read the pooled error and the gate."""
    run = twin(rule, "lenet", policy, batch=2, limit=64)
    kinds = [op.kind for op in run.lowered[0].ops]
    assert kinds.count("gated_conv2d_dw_update") == 2 and "unpool_gate" not in kinds
    run.advance(SOME)
    assert run.unequal() == []
    assert run.moved()


@pytest.mark.parametrize(("rule", "policy"), crossed(("bp", "dfa", "drtp", "pred"), MORE, 2))
def test_other_policies_equal_the_reference(rule: str, policy: str) -> None:
    run = twin(rule, "mlp-tanh", policy)
    run.advance(FEW, lr=0.5)
    assert run.unequal() == []
    assert run.moved()


@pytest.mark.parametrize("policy", MORE)
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_bits_of_activations_equal_the_reference(policy: str, scale: float) -> None:
    """A bit may stand for what is no power of two: it is a unit."""
    run = twin("bp-stash", "mlp", policy, scale=scale)
    run.advance(FEW, lr=0.5)
    assert run.unequal() == []
    assert run.moved()


@pytest.mark.parametrize(
    "policy",
    [
        "edge-latent-free-8:per_channel=true",
        "edge-latent-free-4:per_channel=true,hidden=3,update=threshold",
        "edge-latent-free-4:per_channel=true,update=dst",
        "w4a8:per_channel=true",
    ],
)
@pytest.mark.parametrize("rule", ["bp", "bp-stash", "usf", "pred"])
def test_scales_per_channel_equal_the_reference(rule: str, policy: str) -> None:
    run = twin(rule, "spread", policy)
    assert len(set(run.steps[0].ops[0].attrs.read.channels)) > 2
    run.advance(FEW, lr=0.5)
    assert run.unequal() == []
    assert run.moved()


@pytest.mark.parametrize("network", ["rms", "resnet"])
@pytest.mark.parametrize("rule", ["bp", "bp-stash", "dfa", "pred"])
def test_norms_and_residual_sums_equal_the_reference(rule: str, network: str) -> None:
    run = twin(rule, network, "edge-latent-free-8", batch=2)
    run.advance(3)
    assert run.unequal() == []
    assert run.moved()


@pytest.mark.parametrize("bits", [12, 14])
@pytest.mark.parametrize("name", ["edge-latent-free-8", "w8a8"])
@pytest.mark.parametrize("network", ["mlp", "lenet"])
@pytest.mark.parametrize("rule", ["bp", "bp-stash", "dfa", "pred"])
def test_sums_that_saturate_equal_the_reference(rule: str, network: str, name: str, bits: int) -> None:
    run = twin(rule, network, f"{name}:accumulator={bits},saturate=true")
    assert any(saturates_to(op.attrs) for op in run.steps[0].ops)
    run.advance(FEW if network == "mlp" else SOME, lr=0.3)
    assert run.unequal() == []
    assert run.moved()


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_any_batch_equals_the_reference(batch: int) -> None:
    run = twin("bp", "lenet", "edge-latent-free-8", batch=batch)
    run.advance(4)
    assert run.unequal() == []


@pytest.mark.parametrize("rule", ["bp", "pred"])
def test_the_number_of_threads_changes_no_bit(rule: str) -> None:
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            run = twin(rule, "lenet", "edge-latent-free-8", batch=16)
            run.advance(5)
            found.append({name: tensor.clone() for name, tensor in run.torch.items()})
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_the_reference_refuses_what_leaves_its_format() -> None:
    """A sum that is wider than the step says must not pass unseen."""
    run = twin("bp", "mlp", "edge-latent-free-8")
    too_large = np.full((4, 12), 10_000)
    with pytest.raises(StepError, match=r"matmul at fc1.*does not hold"):
        integer.run(run.steps[0], run.plain, too_large, np.zeros(4, np.int64), StepContext(0.1, 1, 0))


def test_the_reference_has_no_curves() -> None:
    net = NETWORKS["mlp"]
    run = twin("bp", "mlp", "edge-latent-free-8")
    policy = NAMED["edge-latent-free-8"]
    step = quantize(emit_step(make_rule("bp"), net, 4, with_loss=True), policy, net.params)
    with pytest.raises(StepError, match=r"monitor at output.*without its loss"):
        integer.run(
            step, run.plain, np.zeros((4, 12), np.int64), np.zeros(4, np.int64), StepContext(0.1, 1, 0)
        )


def test_first_integers_are_those_of_the_formats() -> None:
    run = twin("bp", "mlp", "edge-latent-free-8")
    (step,) = run.steps
    for value in step.residents:
        assert value.unit is not None
        real = run.net.params[value.name]
        first = initial_state(step, run.net.params, 1)[value.name]
        assert np.abs(first * value.unit - real).max() <= value.unit / 2


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_zeros_in_samples_and_errors_change_no_bit(batch: int) -> None:
    """Few samples: rows and columns without a gradient are left out, which must not show."""
    run = twin("bp", "mlp", "edge-latent-free-8", batch=batch)
    sample = run.sample
    holes = np.random.default_rng(3).random((run.batch, *run.net.input_shape)) < 0.7

    def sparse() -> tuple[np.ndarray, np.ndarray]:
        x, y = sample()
        return np.where(holes, 0.0, x).astype(np.float32), y

    run.sample = sparse  # type: ignore[method-assign]
    run.advance(STEPS, lr=0.3)
    assert run.unequal() == []
    assert run.moved()


NO_RATE = (
    "w8a8",
    "edge-latent-free-8",
    "edge-latent-free-8:update=threshold",
    "edge-latent-free-8:update=integer-sgd",
    "edge-latent-free-8:update=round-robin",
    "edge-latent-free-4:error_exponent=static,defer=3",
)


@pytest.mark.parametrize("policy", NO_RATE)
def test_a_rate_of_zero_moves_no_weight(policy: str) -> None:
    run = twin("bp", "mlp", policy)
    run.advance(SOME, lr=0.0)
    assert run.unequal() == []
    assert not {name for name in run.moved() if name in run.net.params}


@pytest.mark.parametrize("update", ["8:update=bop,weight=1", "8:update=error-feedback", "2:update=dst"])
def test_a_rate_of_zero_is_the_least_rate_where_a_method_has_more_than_a_step(update: str) -> None:
    """A state that goes on, or jumps of a least probability."""
    policy = f"edge-latent-free-{update}"
    run, least = twin("bp", "mlp", policy), twin("bp", "mlp", policy)
    for one, rate in ((run, 0.0), (least, 1e-30)):
        one.advance(FEW, lr=0.3)
        one.advance(SOME, lr=rate)
        assert one.unequal() == []
    assert all(np.array_equal(run.plain[n], least.plain[n]) for n in run.plain)


@pytest.mark.parametrize(
    "page", [integer, integer_arithmetic, integer_elements, integer_products, integer_updates]
)
def test_the_reference_calls_nothing_of_what_it_checks(page: ModuleType) -> None:
    """Classes that hold what an op is told, and formats, are shared; functions of ops and of the executor are not."""
    lent = [f.__module__ for f in vars(page).values() if isinstance(f, FunctionType)]
    assert lent and not [
        name for name in lent if name.startswith(("insitu.ops", "insitu.run.torch", "insitu.passes"))
    ]
