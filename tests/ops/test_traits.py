"""What records declare of their ops is true: levels, loop nests, and what depends on the others of a batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from insitu.errors import StepError
from insitu.network import zoo
from insitu.network.builder import inference_step
from insitu.ops.loops import loops
from insitu.passes import lower
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.passes.quantize.walk import LOWER
from insitu.rules import RULES, emit_step, make_rule
from insitu.run import integer
from insitu.run.state import initial_state
from insitu.step.context import StepContext
from insitu.step.ir import OPS, Level, Step, Trait

MONITORS = {"monitor", "monitor_goodness"}  # of integer scores, for learning curves


def test_an_op_on_integers_has_its_meaning_on_the_reference_page() -> None:
    declared = {kind for kind, r in OPS.items() if Level.INTEGER in r.level}
    assert declared - MONITORS == set(integer.FUNCTIONS)


def test_what_the_quantizer_takes_is_an_op_on_reals() -> None:
    assert all(Level.REAL in OPS[kind].level for kind in LOWER)


def test_a_fused_op_is_made_of_an_op_that_exists() -> None:
    fused = {kind: r.fuses for kind, r in OPS.items() if r.fuses}
    assert set(fused.values()) <= set(OPS)
    for kind, gradient in fused.items():
        assert Level.FUSED in OPS[kind].level and Trait.MOVES in OPS[kind].traits
        assert OPS[kind].loops is OPS[gradient].loops


def quantized(rule: str) -> Step:
    net = zoo.build("cnn-4-8")
    return quantize(emit_step(make_rule(rule), net, 2), make("edge-latent-free-8"), net.params)


def test_a_quantized_step_is_one_on_integers_and_stays_so() -> None:
    step = quantized("bp")
    assert step.level is Level.INTEGER
    assert lower(step).level is Level.INTEGER


def test_an_op_on_reals_alone_is_refused_in_a_quantized_step() -> None:
    step = emit_step(make_rule("bp"), zoo.build("mlp-6-5-4"), 2)
    with pytest.raises(StepError, match=r"xent_error.*computes on reals, in a step that is quantized"):
        replace(step, level=Level.INTEGER).verify()


@pytest.mark.parametrize("rule", [name for name in RULES if name not in ("hebbian", "hsic")])
def test_the_macs_of_an_op_are_those_of_its_nest(rule: str) -> None:
    step = lower(emit_step(make_rule(rule), zoo.build("cnn-4-8"), 2))
    nests = [(op, nest) for op in step.ops if (nest := loops(op)) is not None]
    assert nests
    for op, nest in nests:
        made = op.record.counts(op)
        assert nest.macs == made.macs[op.phase]
        if nest.form == "forward":
            assert nest.macs == nest.made.elements * nest.terms


def test_samples_that_no_op_mixes_can_be_inferred_one_by_one() -> None:
    """The declaration is used to divide a batch among threads."""
    net = zoo.build("cnn-4-8")
    step, single = (lower(quantize(inference_step(net, n), make("w8a8"), net.params)) for n in (3, 1))
    assert not any(op.record.mixes_samples(op) for op in step.ops)
    x = np.random.default_rng(0).integers(0, 200, (3, *net.input_shape))
    one_by_one = [scores(single, net.params, x[i : i + 1])[0] for i in range(3)]
    np.testing.assert_array_equal(scores(step, net.params, x), one_by_one)


def test_an_exponent_of_the_whole_batch_mixes_its_samples() -> None:
    net = zoo.build("cnn-4-8")
    step = lower(quantize(inference_step(net, 3), make("niti-int8"), net.params))
    assert {op.kind for op in step.ops if op.record.mixes_samples(op)} == {"exponent"}


def scores(step: Step, params: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    return integer.run(step, initial_state(step, params, 0), x, None, StepContext())[0]
