"""Learning that waits for a trigger: which ops are silent without one, and what a bill makes of a share of samples."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from insitu.errors import ConfigError
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.design_program import network, program
from insitu.experiment.impact import Impact, assess
from insitu.hardware.bill import Bill, Row
from insitu.hardware.work import PHASES
from insitu.rules import RULES
from insitu.run.state import State, extend_state
from insitu.run.torch_exec import TorchExecutor
from insitu.step.ir import OPS, Phase, Role, Step
from insitu.step.triggers import silences, triggers_of
from tests.conformance.test_memory import inputs_for
from tests.helpers import serves

MLP, CNN = "mlp-20-15-12-5", "cnn-8-16"
EDGE = "edge-latent-free-8:error_exponent=static"
CORE, ARRAY = "stm32l4r5", "accelerator-22nm"
PRECISIONS = ("float32", EDGE, "edge-latent-free-4:error_exponent=static,defer=4")


@cache
def step_of(
    net: str, rule: str, precision: str = "float32", activation: str = "relu", **options: Any
) -> Step:
    return program(DesignPoint(net, rule, precision, "", activation=activation, **options)).steps[0]


def costed(
    *shares: float, net: str = MLP, target: str = CORE, precision: str = EDGE, batch: int = 1
) -> Impact:
    return assess(DesignPoint(net, "etch", precision, target, batch, activation="relu", triggers=shares))


def central(bill: Bill, rows: list[Row] | None = None) -> float:
    band = bill.energy_of(bill.rows if rows is None else rows)
    assert band is not None
    return band.central


# --- which ops -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("net", [MLP, CNN])
def test_the_silent_ops_of_etch_are_its_learning_ops(net: str, precision: str, activation: str) -> None:
    step = step_of(net, "etch", precision, activation)
    waits = triggers_of(step)
    slopes = {op for op in step.ops if op.kind == "lut"}  # of the activation, which do not read an error
    learning = {op for op in step.ops if op.phase is not Phase.FORWARD} - set(waits.values()) - slopes
    silent = silences(step)
    assert set(silent) == learning and len(waits) == 3
    assert {v for op in silent for v in op.written} >= {
        v for v in step.residents if v.role in (Role.WEIGHT, Role.HEAD)
    }
    layers = {name.removesuffix(".head"): op for name, op in waits.items()}
    for op, of in silent.items():  # each block waits for its own
        block = (op.written[0].name if op.written else op.where.layer or "").split(".")[0]
        if block in layers:
            assert of == {layers[block]}, str(op.where)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("net", [MLP, CNN])
def test_silent_ops_really_do_nothing(
    net: str, precision: str, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an error every silent op gives zeros and leaves its parameters."""
    step = step_of(net, "etch", precision, activation)
    for op in triggers_of(step).values():
        quiet = replace(OPS[op.kind], torch=lambda op, rt: lambda z, *_: torch.zeros_like(z))
        monkeypatch.setitem(OPS, op.kind, quiet)
    graph = network(net, "keep", activation)
    state: State = {}
    extend_state(state, step, graph.params, 1)
    before = {name: tensor.clone() for name, tensor in state.items()}
    shown = replace(step, outputs=tuple(v for op in silences(step) for v in op.outputs))
    executor = TorchExecutor(shown, state)
    outputs = executor.run(inputs_for(executor, graph, 1), lr=0.1)
    assert outputs and not any(out.any() for out in outputs)
    assert all(torch.equal(state[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("rule", [r for r in RULES if r != "etch"])
def test_rules_that_learn_from_every_sample_have_none(rule: str) -> None:
    batch = 2
    if not serves(rule, network(MLP, "keep", "relu")):
        pytest.skip("another network")
    for step in program(DesignPoint(MLP, rule, target="", batch=batch, activation="relu")).steps:
        assert not triggers_of(step) and not silences(step)


def test_a_hinge_loss_makes_back_propagation_wait() -> None:
    for precision in ("float32", EDGE):
        step = step_of(MLP, "bp", precision, loss="hinge")
        assert list(triggers_of(step)) == ["output"]
        assert {v.name for op in silences(step) for v in op.written} == {
            v.name for v in step.residents if v.role is Role.WEIGHT
        }


def test_what_moves_without_a_gradient_is_not_silent() -> None:
    for optimizer in ("momentum", "adam"):
        step = step_of(MLP, "bp", loss="hinge", optimizer=optimizer)
        assert silences(step) and not any(op.written for op in silences(step))
    rotating = step_of(MLP, "etch", "edge-latent-free-8:error_exponent=static,update=round-robin")
    moved = {v.name for op in silences(rotating) for v in op.written}
    assert moved and not any(name.endswith("weight") for name in moved)  # biases move by themselves


def test_a_sum_with_another_error_is_not_silent() -> None:
    """predsim adds the errors of two losses, of which only one can be silent."""
    step = step_of(MLP, "predsim", loss="hinge", batch=4)
    silent = silences(step)
    sums = [
        op for op in step.ops if op.kind in ("add", "axpy", "scaled_add") and op.phase is not Phase.FORWARD
    ]
    assert sums and silent and not set(sums) & set(silent)


# --- the bill ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [CORE, ARRAY])
@pytest.mark.parametrize("net", [MLP, CNN])
def test_share_0_leaves_the_forward_pass_and_the_triggers(net: str, target: str) -> None:
    none, every = costed(0.0, net=net, target=target), costed(net=net, target=target)
    step = every.program.steps[0]
    stay = [row for row in every.bill.rows if step.ops[row.index] not in silences(step)]
    assert {row.op for row in stay if row.phase not in ("forward", "rounding")} == {"violated"}
    assert central(none.bill) == pytest.approx(central(every.bill, stay))
    assert none.macs == sum(sum(row.macs.values()) for row in stay)
    assert none.bill.macs == {"forward": none.macs}
    assert none.most_writes == 0 and every.most_writes == 1 and none.lifetime_samples is None
    assert none.peak_bytes == every.peak_bytes


def test_share_1_is_the_bill_without_shares() -> None:
    for target in (CORE, ARRAY):
        assert costed(1.0, target=target).bill == costed(1.0, 1.0, 1.0, target=target).bill
        assert costed(1.0, target=target).bill == costed(target=target).bill
        assert all(row.share == 1 for row in costed(target=target).bill.rows)


@pytest.mark.parametrize("target", [CORE, ARRAY, "accelerator-22nm-mram"])
def test_energy_cycles_and_traffic_grow_with_the_share(target: str) -> None:
    found = [costed(share, target=target) for share in (0.0, 0.05, 0.3, 1.0)]

    def grows(values: list[float]) -> bool:
        return values == sorted(values) and values[0] < values[-1]

    assert grows([central(i.bill) for i in found]) and grows([i.macs for i in found])
    assert grows([i.cycles.central for i in found if i.cycles is not None])
    assert grows([i.bits("ram" if target == CORE else "sram") for i in found])
    assert [i.most_writes for i in found] == [0.0, 0.05, 0.3, 1.0]


def test_each_block_has_its_own_share() -> None:
    every, mixed = costed().bill, costed(0.5, 0.25, 0.125).bill
    assert mixed.triggers == {"fc1.head": 0.5, "fc2.head": 0.25, "output": 0.125}
    assert mixed.writes_per_weight["fc1.weight"] == mixed.writes_per_weight["fc1.head.weight"] == 0.5
    assert mixed.writes_per_weight["fc2.weight"] == 0.25 and mixed.writes_per_weight["fc3.bias"] == 0.125
    for row, whole in zip(mixed.rows, every.rows, strict=True):
        assert row.macs == {k: n * row.share for k, n in whole.macs.items()}
        assert row.phase in PHASES and row.share in (1.0, 0.5, 0.25, 0.125)


def test_a_batch_is_silent_only_as_a_whole() -> None:
    """At most the sum over its samples."""
    assert {row.share for row in costed(0.1, batch=4).bill.rows} == {1.0, 0.4}
    assert {row.share for row in costed(0.5, batch=4).bill.rows} == {1.0}
    assert costed(0.1, batch=4).most_writes == 0.1 and costed(0.5, batch=4).most_writes == 0.25


@pytest.mark.parametrize("target", [CORE, ARRAY])
def test_deferred_weights_move_once_in_so_many_triggers(target: str) -> None:
    once, deferred = (
        costed(
            0.5,
            net="mlp-784-100-10",
            target=target,
            precision=f"edge-latent-free-4:error_exponent=static{more}",
        )
        for more in ("", ",defer=8")
    )
    name = "fc1.weight"
    assert once.bill.writes_per_weight[name] == 0.5 and deferred.bill.writes_per_weight[name] == 0.5 / 8
    bits = 784 * 100 * 4
    kept = 784 * 8 + 100 * 8 + 4

    def written(found: Impact) -> float:
        level = "ram" if target == CORE else "sram"
        return sum(
            r.writes.get(level, 0)
            for r in found.bill.rows
            if r.layer == "fc1" and r.op.startswith("matmul_dw")
        )

    assert written(once) == pytest.approx(bits * 0.5)
    assert written(deferred) == pytest.approx(0.5 * (bits / 8 + kept), rel=0.01)
    assert once.macs == pytest.approx(deferred.macs)
    assert central(deferred.bill) < central(once.bill)


@pytest.mark.parametrize(
    ("shares", "part"),
    [
        ((0.1, 0.2), "2 trigger shares for etch-.*are 3: fc1.head, fc2.head, output; give one for all"),
        ((0.1, 0.2, 0.3, 0.4), "4 trigger shares"),
        ((1.5,), "trigger share 1.5 is no share"),
        ((0.1, -0.1, 0.1), "trigger share -0.1 is no share"),
        ((float("nan"),), "trigger share nan"),
    ],
)
def test_shares_that_do_not_fit_are_refused(shares: tuple[float, ...], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        costed(*shares)


def test_a_rule_without_triggers_takes_no_shares() -> None:
    with pytest.raises(
        ConfigError, match=r"1 trigger share for bp-.*none, every sample is learned from; give no shares"
    ):
        assess(DesignPoint(MLP, triggers=(0.1,)))
