"""From a name to the bill: what is executed, what it is measured against, and many points at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import insitu
from insitu.errors import ConfigError, InsituError, StepError
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.design_program import ask_names, program
from insitu.experiment.impact import BASELINES, Impact, assess, cost, references, refusal, timelines
from insitu.experiment.impact_table import COLUMNS, plain, summary, summary_of, sweep
from insitu.hardware.bill import Band
from insitu.passes import plan

EDGE = "edge-latent-free-8"
SMALL = "mlp-64-32-10"


def central(band: Band | None) -> float:
    assert band is not None
    return band.central


# --- what is executed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "rule", "precision", "asked", "found"),
    [
        ("resnet8", "bp", "float32", None, "keep"),
        ("resnet8", "bp", "float32", "fold", "fold"),
        ("resnet8", "bp", "float32", "rms", "rms"),
        ("resnet8", "bp", EDGE, None, "fold"),  # integers have no batch norm,
        ("resnet8", "bp", EDGE, "rms", "rms"),
        ("ds-cnn", "bp-stash", "float32", None, "fold"),  # nor have its signs
        ("lenet5", "bp", EDGE, None, "keep"),
    ],
)
def test_batch_norms_are_kept_where_rule_and_precision_can(
    network: str, rule: str, precision: str, asked: str | None, found: str
) -> None:
    made = program(DesignPoint(network, rule, precision, "", 2, asked))
    kinds = {op.kind for op in made.steps[0].ops}
    assert made.norm == found
    assert ("bn_apply" in kinds) == (found == "keep" and network != "lenet5")
    assert bool(kinds & {"rms_norm", "norm_exponent"}) == (found == "rms")


@pytest.mark.parametrize(
    ("point", "said"),
    [
        (DesignPoint("resnet8", "bp", EDGE, norm="keep"), "batch norm has no integer form"),
        (DesignPoint("resnet8", "pepita", "float32"), "pepita cannot train block"),
        (DesignPoint("lenet5", "hsic", EDGE, batch=2), "label_gram"),
    ],
)
def test_what_is_asked_for_is_refused_where_it_cannot_be(point: DesignPoint, said: str) -> None:
    with pytest.raises(InsituError, match=said):
        assess(point)
    assert said in str(refusal(point)) and said in summary(point)["refused"]
    assert summary(point)["peak_bytes"] is None


@pytest.mark.parametrize(("rule", "count"), [("greedy", 3), ("dbl", 2), ("dgl", 1)])
def test_phases_have_a_bill_each_and_their_means(rule: str, count: int) -> None:
    found = assess(DesignPoint("mlp-64-32-32-10", rule, EDGE, batch=4))
    made = found.program
    assert len(found.bills) == len(made.steps) == len(made.idle) == count
    peaks = [plan(s).peak_bytes + sum(r.values()) for s, r in zip(made.steps, made.idle)]
    assert made.peaks == peaks and found.peak_bytes == max(peaks)
    assert found.bill is found.bills[peaks.index(max(peaks))]
    mean = sum(central(b.energy) for b in found.bills) / count
    assert central(found.energy) == pytest.approx(mean)
    assert central(found.cycles) == pytest.approx(sum(central(b.cycles) for b in found.bills) / count)
    assert found.macs == pytest.approx(sum(sum(b.macs.values()) for b in found.bills) / count / 4)
    priced = found.bill.priced(found.uses)
    assert central(priced) == pytest.approx(mean)


def test_a_greedy_phase_keeps_the_weights_of_the_others() -> None:
    made = program(DesignPoint("mlp-64-32-32-10", "greedy", "float32", "", 4))
    assert any(sum(rest.values()) for rest in made.idle[:-1]) and not sum(made.idle[-1].values())
    weights = 4 * (64 * 32 + 32 + 32 * 32 + 32 + 32 * 10 + 10)
    for layout, rest in zip(made.layouts, made.idle):
        assert (
            sum(n for r, n in (*layout.by_role.items(), *rest.items()) if r.value == "weight") >= weights - 1
        )


def test_the_memory_picture_is_that_of_the_highest_phase() -> None:
    found = assess(DesignPoint("mlp-64-32-32-10", "greedy", "float32", batch=4))
    fused, eager = timelines(found)
    assert max(m.bytes.total for m in fused) == found.peak_bytes <= max(m.bytes.total for m in eager)


def test_an_autoencoder_reconstructs_and_options_reach_the_rule() -> None:
    inputs = program(DesignPoint("autoencoder", "bp", "float32", "", 1)).steps[0].inputs
    assert [v.shape for v in inputs] == [(1, 640), (1, 640)]
    few = assess(DesignPoint("mlp-64-32-32-32-32-10", "bp-checkpoint", options=(("segments", 2),)))
    assert few.point.name == "bp-checkpoint[segments=2]"
    whole = assess(DesignPoint("mlp-64-32-32-32-32-10", "bp"))
    assert few.macs > whole.macs and DesignPoint(SMALL).name == "bp"
    momentum = assess(DesignPoint(SMALL, optimizer="momentum"))
    assert momentum.peak_bytes > assess(DesignPoint(SMALL)).peak_bytes


# --- against what --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "precision", "known"),
    [
        ("lenet5", EDGE, {"bp", "bp-checkpoint"}),
        ("autoencoder", "float32", set(BASELINES)),
        ("ds-cnn", EDGE, set(BASELINES)),
    ],
)
def test_references_are_the_baselines_that_take_the_network(
    network: str, precision: str, known: set[str]
) -> None:
    point = DesignPoint(network, "drtp", precision, options=(("feedback", "stored"),), batch=2)
    found = references(point)
    assert set(found) == known
    for rule, other in found.items():
        assert other.point == replace(point, rule=rule, options=())


def test_problems() -> None:
    assert refusal(DesignPoint("lenet5")) is None
    assert "has 655,360 of RAM" in str(refusal(DesignPoint("mlp-784-1000-10")))
    assert "no store behind them" in str(
        refusal(DesignPoint("mlp-784-1000-10", target="accelerator-22nm-sram"))
    )
    assert "1,310,720" in str(refusal(DesignPoint("mlp-784-1000-10", target="accelerator-22nm-mram")))
    with pytest.raises(StepError, match="no store behind them"):
        assess(DesignPoint("mlp-784-1000-10", target="accelerator-22nm-sram"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": "lenet6"}, "did you mean lenet5"),
        ({"rule": "drpt"}, "did you mean 'drtp'"),
        ({"precision": "w8a"}, "precision 'w8a' is unknown"),
        ({"target": "stm32l4r6"}, "did you mean 'stm32l4r5'"),
        ({"optimizer": "sdg"}, "optimizer 'sdg' is unknown"),
        ({"activation": "rellu"}, "did you mean relu"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_assessed(change: dict[str, str], said: str) -> None:
    points = [DesignPoint(SMALL), replace(DesignPoint(SMALL), **change)]  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=said):
        ask_names(points)
    ask_names(points[:1])


# --- many points ---------------------------------------------------------------------------------------------

POINTS = [
    DesignPoint(SMALL, rule, precision, target, 2)
    for rule in ("bp", "drtp", "hsic")
    for precision in ("float32", EDGE)
    for target in ("stm32l4r5", "desktop", "accelerator-22nm-sram")
]


def test_a_sweep_is_its_points_one_by_one() -> None:
    rows = sweep(POINTS)
    assert rows == [summary(p) for p in POINTS]
    assert all(tuple(row) == COLUMNS for row in rows)
    refused = [r for r in rows if r["refused"]]
    assert {(r["rule"], r["precision"]) for r in refused} == {("hsic", EDGE)} and len(refused) == 3


def test_a_sweep_of_two_jobs_is_the_same_sweep() -> None:
    some = POINTS[:2] + POINTS[-2:]
    assert sweep(some, jobs=2) == sweep(some)


def test_unknown_stays_unknown_in_a_row() -> None:
    row = summary(DesignPoint(SMALL, target="desktop"))
    for column in ("energy_pj", "energy_pj_low", "inference_energy_pj", "energy_to_inference", "store_bits"):
        assert row[column] is None, column
    assert row["cycles"] > 0 and row["seconds"] > 0
    array = summary(DesignPoint(SMALL, target="accelerator-22nm"))
    assert array["store_bits"] == 0 and array["area_um2"] > 0  # known to be none


def test_ratios_of_a_row() -> None:
    found = assess(DesignPoint(SMALL, "bp", EDGE, batch=4))
    row = summary_of(found)
    assert row["bytes_to_inference"] == found.peak_bytes / found.inference.peak_bytes > 1
    assert row["macs_to_inference"] == pytest.approx(found.macs / (64 * 32 + 32 * 10))
    assert row["energy_to_inference"] == central(found.energy) / central(found.inference.energy) > 1
    assert row["writes_per_weight"] == 0.25 and row["lifetime_samples"] is None


def test_plain_values_are_json_and_hold_the_baselines() -> None:
    found = assess(DesignPoint("mlp-64-32-32-10", "greedy", "float32", "accelerator-22nm-rram"))
    values: dict[str, Any] = plain(found, references(found.point))
    assert json.loads(json.dumps(values)) == values
    assert len(values["bills"]) == 3 and set(values["references"]) == {"bp", "bp-checkpoint"}
    assert values["lifetime_samples"] == central(found.lifetime_samples)


def test_a_weight_rests_while_other_phases_learn() -> None:
    """Energy, time and writes are of one training sample of the whole schedule: a block learns from a third of them."""
    found = assess(DesignPoint("mlp-64-32-32-10", "greedy", "float32", "accelerator-22nm-rram"))
    assert [max(b.writes_per_weight.values()) for b in found.bills] == [1, 1, 1]
    of_bp = assess(replace(found.point, rule="bp"))
    assert of_bp.most_writes == 1 and found.most_writes == pytest.approx(1 / 3)
    assert central(found.lifetime_samples) == pytest.approx(3 * central(of_bp.lifetime_samples))


def test_the_python_api() -> None:
    found = insitu.cost(SMALL, rule="drtp", target="accelerator-22nm")
    assert isinstance(found, Impact) and found.point == DesignPoint(SMALL, "drtp", target="accelerator-22nm")
    assert summary_of(found) == summary_of(cost(SMALL, rule="drtp", target="accelerator-22nm"))


def test_phases_have_triggers_of_their_own() -> None:
    """One share for all of them, or one of each in the order of the phases."""
    point = DesignPoint("mlp-64-32-16-10", "greedy", loss="hinge")
    worst = assess(point)
    names = list(worst.triggers)
    assert len(worst.bills) > 1 and len(names) >= len(worst.bills) and names[0].startswith("0:")
    assert set(assess(replace(point, triggers=(0.5,))).triggers.values()) == {0.5}
    shares = tuple(1 / (k + 2) for k in range(len(names)))
    found = assess(replace(point, triggers=shares))
    assert tuple(found.triggers.values()) == shares
    by_name = dict(reversed(list(zip(names, shares))))
    assert assess(replace(point, triggers=tuple(by_name.items()))).triggers == found.triggers
    assert found.macs < worst.macs and found.peak_bytes == worst.peak_bytes


@pytest.mark.parametrize("given", [0.5, (True,), ((1, 2),), "x", None, ((("a",), 0.5),)])
def test_triggers_that_are_no_shares_are_refused(given: object) -> None:
    with pytest.raises(ConfigError, match="are no shares of the samples"):
        cost(SMALL, rule="etch", triggers=given)


@pytest.mark.parametrize("given", [(1.5,), (float("nan"),), {"output": -1.0, "fc1.head": 0.0}])
def test_shares_outside_of_0_to_1_are_refused(given: object) -> None:
    with pytest.raises(ConfigError, match="is no share of the samples"):
        cost("mlp-64-12-10", rule="etch", triggers=given)


def test_triggers_by_name_and_in_order_are_the_same() -> None:
    named = cost("mlp-64-12-10", rule="etch", triggers={"output": 0.25, "fc1.head": 0.5})
    assert named.triggers == cost("mlp-64-12-10", rule="etch", triggers=[0.5, 0.25]).triggers
    assert named.triggers == {"fc1.head": 0.5, "output": 0.25}


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, 10**9])
def test_a_batch_out_of_range_is_refused(batch: object) -> None:
    with pytest.raises(ConfigError, match="is out of range; use 1 to 1,048,576"):
        cost(SMALL, batch=batch)


OWN = """from torch import nn

def make():
    return nn.Sequential(nn.Linear(64, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 10))
"""


def test_a_network_of_ones_own_file_is_costed_as_it_is_now(tmp_path: Path) -> None:
    for hidden in (12, 14):
        (tmp_path / "net.py").write_text(OWN.replace("HIDDEN", str(hidden)))
        found = cost(f"{tmp_path / 'net.py'}:make", rule="drtp")
        assert found.inference_macs == 64 * hidden + hidden * 10


def test_the_shape_of_a_sample_is_asked_for_and_fits() -> None:
    small, large = (cost("cnn-4", input_shape=(1, n, n), classes=3) for n in (8, 28))
    assert small.inference_macs < large.inference_macs
    with pytest.raises(ConfigError, match="takes 64 inputs, a sample of 1x28x28 has 784"):
        cost("mlp-64-12-10", input_shape=(1, 28, 28))
