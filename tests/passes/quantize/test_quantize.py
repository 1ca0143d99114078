"""The quantize pass: formats, bytes, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from insitu.errors import StepError
from insitu.network import zoo
from insitu.network.builder import inference_step
from insitu.network.graph import Network
from insitu.numbers.formats import Fixed, Float, Quantized
from insitu.ops.optimizers import Optimizer
from insitu.passes import lower, plan
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.passes.quantize.units import GROWTH
from insitu.rules import emit_step, make_rule
from insitu.run.state import initial_state, real_value
from insitu.step.ir import Op, Role, Step, Value

NET = zoo.build("mlp-20-16-8-4", activation="relu")


def quantized(
    rule: str = "bp",
    policy: str | dict[str, Any] = "edge-latent-free-8",
    net: Network = NET,
    batch: int = 4,
    **options: Any,
) -> Step:
    found = make(policy)
    assert found is not None
    return quantize(emit_step(make_rule(rule), net, batch, **options), found, net.params)


def values(step: Step) -> dict[str, Value]:
    made = [v for op in step.ops for v in op.outputs]
    return {v.name: v for v in (*step.inputs, *step.residents, *made)}


def ops(step: Step, kind: str) -> list[Op]:
    return [op for op in step.ops if op.kind == kind]


def test_every_array_has_the_bits_of_its_role() -> None:
    step = quantized()
    named = values(step)
    assert named["x"].format.bits == 8
    assert named["fc1.weight"].format.bits == 8
    assert named["fc1.bias"].format.bits == 16
    assert named["fc1"].format.bits == 8
    assert named["fc3"].format.bits == 12
    assert named["error"].format.bits == 8
    assert not any(isinstance(v.format, Float) for v in named.values())


def test_relu_is_the_saturation_of_an_unsigned_format() -> None:
    step = quantized()
    assert ops(step, "activate") == []
    assert str(values(step)["fc1"].format).startswith("u")


def test_a_sum_has_the_bits_that_its_widest_value_takes() -> None:
    step = quantized()
    total = values(step)["fc1.sum"].format
    bias = values(step)["fc1.bias"]
    shift = ops(step, "matmul")[0].attrs.bias_shift
    assert isinstance(bias.format, Quantized)
    bound = 20 * 255 * 128 + (bias.format.max_abs << shift)
    assert total.bits == bound.bit_length() + 1


def test_first_integers_reach_every_unit() -> None:
    """A weight's unit leaves the headroom that the policy asks for."""
    for bits, headroom in ((8, 2), (8, 0), (4, 2)):
        weight = values(quantized(policy=f"edge-latent-free-8:weight={bits},headroom={headroom}"))[
            "fc1.weight"
        ]
        assert weight.unit is not None
        largest = float(np.abs(NET.params["fc1.weight"]).max())
        grown = largest * 2.0 ** min(headroom, bits - 2)
        assert grown <= weight.unit * 2 ** (bits - 1) < 2 * grown


def test_memory_is_of_packed_bits() -> None:
    net = zoo.build("mlp-64-32-10", activation="relu")
    real = plan(lower(emit_step(make_rule("drtp"), net, 1))).by_role[Role.WEIGHT]
    assert real == 4 * (64 * 32 + 32 + 320 + 10)
    for bits in (2, 4, 8):
        step = lower(quantized("drtp", f"edge-latent-free-8:weight={bits}", net, 1))
        assert plan(step).by_role[Role.WEIGHT] == (64 * 32 + 320) * bits // 8 + 2 * 42


def test_hidden_bits_are_stored_and_not_read() -> None:
    step = quantized(policy="edge-latent-free-4:hidden=3")
    assert values(step)["fc1.weight"].format.bits == 7
    (first, *_) = ops(step, "matmul")
    assert first.attrs.read.format.bits == 4
    assert first.attrs.read.shift == 3


def test_a_latent_policy_keeps_real_weights() -> None:
    step = quantized(policy="w4a8")
    weight = values(step)["fc1.weight"]
    assert isinstance(weight.format, Float)
    assert ops(step, "matmul")[0].attrs.read.format.bits == 4


@pytest.mark.parametrize(
    ("update", "state_bits"),
    [
        ("stochastic", 0),
        ("bop,gamma=2", 16 * (20 * 16 + 16 * 8 + 8 * 4)),
        ("error-feedback,group_size=9,residual_bits=12", 12 * (16 * 3 + 8 * 2 + 4)),
        ("round-robin,slices=4", 8 * (4 * 20 + 2 * 16 + 8)),
    ],
)
def test_the_state_of_an_update_is_counted(update: str, state_bits: int) -> None:
    weight = "1" if update.startswith("bop") else "8"
    step = quantized(policy=f"edge-latent-free-8:weight={weight},update={update}")
    assert 8 * sum(v.bytes for v in step.residents if v.role == Role.STATE) == state_bits


def test_deferring_keeps_errors_and_inputs_of_dense_layers() -> None:
    step = quantized(policy="edge-latent-free-8:error_exponent=static,defer=4")
    kept = [v.bytes for v in step.residents if v.role == Role.STATE]
    assert sum(kept) == 4 * 4 * (16 + 20 + 8 + 16 + 4 + 8) + 3


def test_deferred_errors_need_one_exponent() -> None:
    with pytest.raises(StepError, match=r"defers 4 steps.*use error_exponent: static, or defer: 1"):
        quantized(policy="edge-latent-free-8:defer=4")


def test_errors_take_a_run_time_exponent_unless_the_policy_is_static() -> None:
    assert ops(quantized(), "exponent")
    static = quantized(policy="edge-latent-free-8:error_exponent=static")
    assert not ops(static, "exponent")


def test_fused_sums_are_not_stored() -> None:
    step = lower(quantized("drtp"))
    assert ops(step, "requant") == []
    assert all(op.outputs[0].format.bits <= 12 for op in ops(step, "matmul"))


def test_a_layer_may_differ() -> None:
    step = quantized(policy={"base": "edge-latent-free-4", "layers": {"fc3": {"weight": "8"}}})
    assert (values(step)["fc1.weight"].format.bits, values(step)["fc3.weight"].format.bits) == (4, 8)


def test_a_scale_per_channel_keeps_small_channels() -> None:
    """Rounding a channel of an eighth of the size costs an eighth of the error, not all of it."""
    small = NET.params["fc1.weight"].copy()
    small[::2] /= 8
    net = replace(NET, params={**NET.params, "fc1.weight": small})
    errors = []
    for text in ("edge-latent-free-4:headroom=0", "edge-latent-free-4:headroom=0,per_channel=true"):
        step = quantized(policy=text, net=net)
        weight = values(step)["fc1.weight"]
        first = initial_state(step, net.params, 1)["fc1.weight"]
        errors.append(np.abs(real_value(weight, torch.from_numpy(first)) - small)[::2].max())
    assert errors[1] < errors[0] / 3


def test_signed_samples_may_have_a_zero_point() -> None:
    policy = make("edge-latent-free-8:scales=general")
    assert policy is not None
    step = quantize(inference_step(NET, 2), policy, NET.params, {"x": (-0.5, 3.5)})
    (x,) = step.inputs
    assert str(x.format) == "u8.0"
    assert x.unit == pytest.approx(4 / 255)
    assert x.zero == 32
    assert ops(step, "offset")[0].attrs.by == 32


def test_measured_ranges_choose_the_binary_point() -> None:
    policy = make("edge-latent-free-8:activation_headroom=0")
    assert policy is not None
    for high, text in ((1.9, "u1.7"), (2.1, "u2.6"), (100.0, "u7.1")):
        step = quantize(inference_step(NET, 2), policy, NET.params, {"relu1": (0.0, high)})
        assert str(values(step)["fc1"].format) == text


@pytest.mark.parametrize(
    ("policy", "fresh", "doublings"),
    [
        ("edge-latent-free-8", True, GROWTH),
        ("edge-latent-free-8:headroom=1", True, GROWTH),
        ("edge-latent-free-8", False, 2),
        ("edge-latent-free-8:headroom=1", False, 1),
        ("edge-latent-free-8:activation=4", True, 1),  # 3 of 4 bits are left
        ("edge-latent-free-8:activation=2", True, 0),
        ("edge-latent-free-8:activation=4", False, 0),
        ("edge-latent-free-8:activation_headroom=3", True, 3),
        ("edge-latent-free-8:activation_headroom=3", False, 3),
    ],
)
def test_activations_of_first_weights_have_room_to_grow(policy: str, fresh: bool, doublings: int) -> None:
    """A range of 1 becomes one of 2**doublings."""
    found = make(policy)
    assert found is not None
    step = quantize(inference_step(NET, 2), found, NET.params, {"relu1": (0.0, 1.0)}, fresh=fresh)
    made = values(step)["fc1"]
    assert made.format.greatest * made.unit == pytest.approx(2**doublings, rel=0.51 if doublings else 0.3)
    assert made.unit == 2.0 ** (doublings - made.format.bits)


def test_outputs_and_targets_of_a_squared_error_share_a_unit() -> None:
    emitted = emit_step(make_rule("bp"), NET, 2, loss="mse", targets=True)
    policy = make("edge-latent-free-8:output=8")
    assert policy is not None
    for high, unit in ((0.9, 2.0**-7), (3.0, 2.0**-5)):
        step = quantize(emitted, policy, NET.params, {"label": (-0.5, high)})
        label = next(v for v in step.inputs if v.name == "label")
        difference = ops(step, "sub")[0]
        assert label.unit == difference.inputs[0].unit == unit and str(label.format).startswith("s")
        assert difference.inputs[1] is label
        forward = quantize(inference_step(NET, 2), policy, NET.params, {"label": (-0.5, high)})
        assert forward.outputs[0].unit == unit


def test_targets_of_independent_sigmoids_are_as_fine_as_their_errors() -> None:
    emitted = emit_step(make_rule("bp"), NET, 2, loss="bce", targets=True)
    policy = make("edge-latent-free-8:error=6")
    assert policy is not None
    label = next(v for v in quantize(emitted, policy, NET.params).inputs if v.name == "label")
    assert label.unit == 2.0**-5 and label.format.least == 0 and label.format.greatest >= 32


REFUSED = [
    (
        "bp",
        "edge-latent-free-8:accumulator=16",
        NET,
        {},
        r"fc1.*sums reach ±\d+, \d+ bits with sign, but the accumulator",
    ),
    (
        "bp",
        "edge-latent-free-8",
        NET,
        {"optimizer": Optimizer("adam")},
        "optimizer adam needs more per weight.*use sgd",
    ),
    (
        "bp",
        "edge-latent-free-8",
        NET,
        {"optimizer": Optimizer("sgd", weight_decay=0.1)},
        "weight decay needs more per weight",
    ),
    (
        "bp",
        "edge-latent-free-8:hidden=24,weight=9",
        NET,
        {},
        "a stored word of 33 bits is too wide; use hidden: 23",
    ),
    ("bp", "wpo4a8-free", NET, {}, "not evenly spaced; use a -latent precision"),
    (
        "bp",
        "edge-latent-free-8",
        zoo.build("cnn-4-6", batch_norm=True),
        {},
        "bn_stats at .*fold it into the weights",
    ),
    ("frsf", "edge-latent-free-8", NET, {}, "feedback of random magnitudes.*use usf or fa"),
    ("sim", "edge-latent-free-8", NET, {}, "centred unit rows.*use pred"),
]


@pytest.mark.parametrize(("rule", "policy", "net", "options", "message"), REFUSED)
def test_refusals(rule: str, policy: Any, net: Network, options: dict[str, Any], message: str) -> None:
    with pytest.raises(StepError, match=message):
        quantized(rule, policy, net, **options)


def test_an_accumulator_that_is_too_narrow_may_saturate() -> None:
    step = quantized(policy="edge-latent-free-8:accumulator=16,saturate=true")
    first = ops(step, "matmul")[0]
    assert first.attrs.limit
    assert isinstance(first.attrs.format, Fixed) and first.attrs.format.bits == 16
