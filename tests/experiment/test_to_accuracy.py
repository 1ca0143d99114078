"""A whole run: samples to an accuracy times what a sample costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from insitu.errors import CheckpointError, ConfigError
from insitu.experiment.compare import compare
from insitu.experiment.config import CompareConfig, RunConfig, parse
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.design_program import program
from insitu.experiment.impact import assess
from insitu.experiment.program import executable
from insitu.experiment.record import Curve, Results, Row
from insitu.experiment.resolve import Setup
from insitu.experiment.to_accuracy import (
    CostToAccuracy,
    load,
    options_of,
    point_of,
    samples_to,
    shares_to,
    to_accuracy,
)
from insitu.hardware.bill import Band
from tests.report import factory

NET = "mlp-64-32-10"


def curve(accuracies: Sequence[float | None], seed: int = 1) -> Curve:
    """An evaluation every 100 samples."""
    samples = [100 * (i + 1) for i in range(len(accuracies))]
    losses: list[float | None] = [1.0] * len(samples)
    return Curve(
        seed=seed, samples=samples, train_loss=losses, test_loss=losses, test_accuracy=list(accuracies)
    )


FAST, SLOW, NEVER = [0.5, 0.9, 0.95], [0.2, 0.4, 0.9], [0.2, 0.4, 0.6]


def row(rule: str, *curves: Sequence[float | None], **more: object) -> Row:
    made = factory.row(rule, NET, 0)
    given = {"curves": [curve(c, seed) for seed, c in enumerate(curves)], "batch": 4, **more}
    return made.model_copy(update=given)


def results(*rows: Row, **config: object) -> Results:
    made = factory.results(rules=["bp"], layers=(4, 4))
    return made.model_copy(update={"rows": list(rows), "config": made.config | config})


def energy(rule: str, target: str = "stm32l4r5") -> Band:
    found = assess(DesignPoint(NET, rule, "float32", target, 4)).energy
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("curves", "samples", "reached"),
    [
        ([FAST, SLOW], 250, (2, 2)),
        ([FAST], 200, (1, 1)),
        ([FAST, NEVER], None, (1, 2)),
        ([NEVER, NEVER], None, (0, 2)),
        ([[0.9, 0.1, 0.95]], 100, (1, 1)),  # the first time counts
        ([[None, 0.9]], 200, (1, 1)),  # before the first evaluation there is none
        ([[None, None]], None, (0, 1)),
        ([], None, (0, 0)),
    ],
)
def test_samples_to_an_accuracy(
    curves: list[list[float | None]], samples: float | None, reached: tuple[int, int]
) -> None:
    assert samples_to([curve(c) for c in curves], 0.9) == (samples, reached)


def test_energy_is_that_of_all_samples() -> None:
    """Cheaper samples, but more of them; the line that costs least comes first."""
    found = to_accuracy(results(row("bp", FAST, FAST), row("drtp", SLOW, SLOW)), NET, 0.9, ["stm32l4r5"])
    assert [w.label for w in found] == ["bp", "drtp"]
    for w, samples in zip(found, (200, 300)):
        assert w.samples == samples and w.reached == (2, 2) and w.refused is None
        assert w.sample_pj == energy(w.label) and w.energy_pj == energy(w.label).times(samples)
    bp, drtp = found
    assert bp.to_bp == 1.0
    assert drtp.to_bp == pytest.approx(300 * energy("drtp").central / (200 * energy("bp").central))
    assert bp.seconds is not None and drtp.seconds is not None
    seconds = assess(DesignPoint(NET, "bp", "float32", batch=4)).seconds
    assert seconds is not None and bp.seconds == pytest.approx(200 * seconds.central)


def counted(accuracies: Sequence[float | None], *shares: float) -> Curve:
    """One whose first layer triggered for these shares of the samples, and its output for half of them."""
    triggered = [{"fc1.head": share, "output": share / 2} for share in shares]
    return curve(accuracies).model_copy(update={"triggered": triggered})


def test_shares_of_triggers_are_those_up_to_the_accuracy() -> None:
    fast, slow = counted(FAST, 0.8, 0.4, 0.1), counted(SLOW, 0.9, 0.6, 0.3)
    assert dict(shares_to([fast], 0.9)) == pytest.approx({"fc1.head": 0.6, "output": 0.3})
    assert shares_to([fast], 0.5) == (("fc1.head", 0.8), ("output", 0.4))
    both = {"fc1.head": 3.0 / 5, "output": 1.5 / 5}  # 200 and 300 samples
    assert dict(shares_to([fast, slow], 0.9)) == pytest.approx(both)
    to_the_end = shares_to([counted(NEVER, 0.9, 0.6, 0.3)], 0.9)
    assert dict(to_the_end) == pytest.approx({"fc1.head": 0.6, "output": 0.3})
    assert shares_to([fast, curve(FAST)], 0.9) == () == shares_to([curve(FAST)], 0.9)


def test_energy_takes_the_shares_that_were_counted() -> None:
    """Each epoch at its own share; the bill is linear in it at batch 1."""
    etch = row("etch", batch=1, curves=[counted(FAST, 0.8, 0.4, 0.1)])
    worst = etch.model_copy(update={"label": "worst", "curves": [curve(FAST)]})
    found = {w.label: w for w in to_accuracy(results(etch, worst), NET, 0.9, ["stm32l4r5"])}
    parts = [assess(DesignPoint(NET, "etch", triggers=(s, s / 2))).energy for s in (0.8, 0.4)]
    expected = [100 * band.central for band in parts if band is not None]
    measured = found["etch"].energy_pj
    assert measured is not None and measured.central == pytest.approx(sum(expected))
    assert found["etch"].triggers == pytest.approx({"fc1.head": 0.6, "output": 0.3})
    every = assess(DesignPoint(NET, "etch")).energy
    assert every is not None and found["worst"].energy_pj == every.times(200)
    assert found["worst"].triggers == {"fc1.head": 1.0, "output": 1.0}


def test_shares_land_at_the_trigger_of_their_name() -> None:
    """In whatever order a file holds them; names of other triggers are refused."""
    turned = curve(FAST).model_copy(update={"triggered": [{"output": 0.1, "fc1.head": 0.9}] * 3})
    other = curve(FAST).model_copy(update={"triggered": [{"output": 0.1, "fc2.head": 0.9}] * 3})
    etch = row("etch", batch=1, curves=[turned])
    wrong = etch.model_copy(update={"label": "wrong", "curves": [other]})
    found = {w.label: w for w in to_accuracy(results(etch, wrong), NET, 0.9, ["stm32l4r5"])}
    assert found["etch"].triggers == pytest.approx({"fc1.head": 0.9, "output": 0.1})
    assert "are of output, fc2.head, but the triggers are fc1.head, output" in str(found["wrong"].refused)


def test_a_network_is_billed_at_the_shape_of_its_data() -> None:
    """Results of an older insitu do not say it: they are billed where the counts agree, and refused elsewhere."""
    conv = row("bp", FAST).model_copy(
        update={"network": "cnn-4", "batch": 1, "input_shape": (1, 28, 28), "outputs": 7}
    )
    at = assess(DesignPoint("cnn-4", input_shape=(1, 28, 28), classes=7))
    default = assess(DesignPoint("cnn-4"))
    older = conv.model_copy(update={"label": "old", "input_shape": None, "outputs": None})
    rows = [
        conv,
        older.model_copy(update={"inference_macs": at.inference_macs}),
        older.model_copy(update={"label": "same", "inference_macs": default.inference_macs}),
    ]
    found = {w.label: w for w in to_accuracy(results(*rows), "cnn-4", 0.9, ["stm32l4r5"])}
    assert found["bp"].sample_pj == at.energy and found["same"].sample_pj == default.energy
    assert at.inference_macs != default.inference_macs
    assert "do not say of what shape the samples of cnn-4 were" in str(found["old"].refused)


def test_the_loss_that_makes_a_trigger_is_that_of_the_runs() -> None:
    bp = row("bp", batch=1, curves=[curve(FAST).model_copy(update={"triggered": [{"output": 0.5}] * 3})])
    (found,) = to_accuracy(results(bp, loss="hinge"), NET, 0.9, ["stm32l4r5"])
    assert found.triggers == {"output": 0.5} and found.refused is None


def test_who_never_gets_there_has_no_energy_and_comes_last() -> None:
    found = to_accuracy(
        results(row("drtp", NEVER, FAST), row("bp", SLOW, SLOW), row("shallow", FAST, FAST)),
        NET,
        0.9,
        ["stm32l4r5"],
    )
    assert [w.label for w in found] == ["shallow", "bp", "drtp"]
    last = found[-1]
    assert (last.samples, last.energy_pj, last.seconds, last.to_bp) == (None,) * 4
    assert last.reached == (1, 2) and last.sample_pj == energy("drtp")


def test_without_bp_there_is_no_ratio_to_it() -> None:
    alone = to_accuracy(results(row("drtp", FAST)), NET, 0.9, ["stm32l4r5"])
    assert alone[0].to_bp is None and alone[0].energy_pj is not None
    never = to_accuracy(results(row("drtp", FAST), row("bp", NEVER)), NET, 0.9, ["stm32l4r5"])
    assert [w.to_bp for w in never] == [None, None]


def test_targets_and_precisions_are_compared_with_their_own_bp() -> None:
    edge = {"precision": "edge-latent-free-8"}
    rows = [row(rule, FAST, **more) for rule in ("bp", "drtp") for more in ({}, edge)]  # type: ignore[arg-type]
    found = to_accuracy(results(*rows), NET, 0.9, ["stm32l4r5", "accelerator-22nm"])
    assert len(found) == 8 and [w.target for w in found] == ["accelerator-22nm"] * 4 + ["stm32l4r5"] * 4
    for w in found:
        (base,) = (
            b
            for b in found
            if (b.label, b.precision, b.target) == ("bp", w.precision, w.target) and b.energy_pj
        )
        assert w.energy_pj is not None and base.energy_pj is not None
        assert w.to_bp == pytest.approx(w.energy_pj.central / base.energy_pj.central)
    for target in ("stm32l4r5", "accelerator-22nm"):
        central = [w.energy_pj.central for w in found if w.target == target and w.energy_pj]
        assert central == sorted(central) and len(central) == 4


def test_an_unknown_energy_stays_unknown() -> None:
    found = to_accuracy(results(row("bp", SLOW), row("drtp", FAST)), NET, 0.9, ["desktop"])
    assert [w.label for w in found] == ["drtp", "bp"]  # by samples
    assert all(w.energy_pj is None and w.to_bp is None and w.samples and w.seconds for w in found)


def test_a_refused_row_says_why_and_does_not_come_first() -> None:
    rows = (row("hsic", FAST, precision="edge-latent-free-8"), row("bp", SLOW))
    found = to_accuracy(results(*rows), NET, 0.9, ["stm32l4r5"])
    assert [w.label for w in found] == ["bp", "hsic"]
    assert "label_gram" in str(found[1].refused) and found[1].energy_pj is None
    assert json.loads(json.dumps([w.plain() for w in found]))[1]["sample_pj"] is None


def test_what_does_not_fit_is_marked() -> None:
    big = row("bp", FAST).model_copy(update={"network": "mlp-784-1000-10"})
    (found,) = to_accuracy(results(big), "mlp-784-1000-10", 0.9, ["stm32l4r5"])
    assert "has 655,360 of RAM" in str(found.refused)


def test_the_point_of_a_row_is_what_was_trained() -> None:
    made = row("dfa", FAST, rule_options={"feedback": "shared"}, optimizer="momentum")
    shared = results(made, network_options={"norm": "rms", "activation": "relu", "dropout": 0.1})
    options = options_of(shared, made)
    assert options == {"norm": "rms", "activation": "relu", "dropout": 0.1}
    assert options_of(results(made), made) == {}
    assert point_of(made, "gap9", options) == DesignPoint(
        NET,
        "dfa",
        "float32",
        "gap9",
        4,
        "rms",
        (("feedback", "shared"),),
        "momentum",
        "xent",
        "relu",
        dropout=0.1,
    )
    own = {"rule": "bp-stash", "network_options": {"activation": "relu"}}
    stash = row("bp-stash", FAST)
    mixed = results(stash, rules=[own, {"rule": "bp"}], network_options={"activation": "tanh"})
    assert options_of(mixed, stash) == {"activation": "relu"}
    assert options_of(mixed, row("bp", FAST)) == {"activation": "tanh"}
    of_file = stash.model_copy(update={"network": "net.py:make"})
    assert options_of(mixed, of_file) == {}  # its layers are its own


@pytest.mark.parametrize("options", [{"batch_norm": True}, {"dropout": 0.5}, {"batch_norm": "yes"}])
def test_a_run_and_the_bill_of_its_results_are_of_one_network(options: dict[str, Any]) -> None:
    """The producer is a comparison, the consumers are ``cost --results`` and ``check``."""
    shared = {"data": "digits", "limit_train": 32, "limit_test": 32, "batch": 4, "epochs": 1}
    config = parse(
        CompareConfig,
        {**shared, "networks": [NET], "rules": [{"rule": "bp"}], "seeds": 1, "network_options": options},
        "test",
    )
    made = compare(config)
    (ran,) = made.rows
    billed = program(point_of(ran, "", options_of(made, ran)))
    trained = Setup.of(config.run(NET, config.rules[0], config.first_seed)).program
    assert [str(step) for step in billed.steps] == [str(step) for step in trained.steps]
    assert billed.peak_bytes == ran.peak_bytes.total != program(point_of(ran, "", {})).peak_bytes


def test_names_must_be_known() -> None:
    with pytest.raises(ConfigError, match=f"no network 'lenet5'; they hold {NET}"):
        to_accuracy(results(row("bp", FAST)), "lenet5", 0.9, ["stm32l4r5"])
    with pytest.raises(ConfigError, match="did you mean 'stm32l4r5'"):
        to_accuracy(results(row("bp", FAST)), NET, 0.9, ["stm32l4r6"])


def test_load(tmp_path: Path) -> None:
    made = results(row("bp", FAST))
    (tmp_path / "results.json").write_text(made.model_dump_json())
    assert load(tmp_path) == load(tmp_path / "results.json") == made
    with pytest.raises(CheckpointError, match=r"none\.json: cannot be read"):
        load(tmp_path / "none.json")
    reason = r"bad\.json is no results file: .*run 'insitu compare'"
    for text, said in (("{}", reason), ("[", r"bad\.json, line 1: is no JSON"), ('{"rows": 3}', reason)):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(CheckpointError, match=said):
            load(tmp_path / "bad.json")


def test_results_of_something_else_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"of no comparison: config\.weight_bits does not fit"):
        to_accuracy(results(row("bp", FAST), weight_bits=["1"]), NET, 0.9, ["stm32l4r5"])


def test_an_empty_line_is_plain() -> None:
    values = CostToAccuracy("bp", "float32", "desktop", None, (0, 3)).plain()
    assert values["energy_pj"] is None and values["reached"] == (0, 3)


def test_the_triggers_that_a_run_counts_are_those_of_its_bill() -> None:
    """The producer is the trainer, the consumer the cost model: each names the triggers by itself."""
    shared = {"data": "digits", "limit_train": 32, "limit_test": 32, "batch": 4, "epochs": 1, "seeds": 1}
    rules = [{"rule": "etch"}]
    given = {**shared, "networks": [NET], "rules": rules, "precision": "edge-latent-free-8"}
    made = compare(parse(CompareConfig, given, "test"))
    (ran,) = made.rows
    shares = dict(shares_to(ran.curves, 1.0))
    (priced,) = to_accuracy(made, NET, 1.0, ["stm32l4r5"])
    assert len(shares) == 2 and max(shares.values()) > 0
    assert priced.refused is None and priced.triggers == pytest.approx(shares)


def test_what_is_calibrated_is_what_is_trained_exported_and_kept() -> None:
    """The producer is the calibration, the consumers are the trainer and an export: equal steps."""
    given = {"data": "digits", "limit_train": 32, "limit_test": 32, "batch": 4, "network": NET}
    setup = Setup.of(parse(RunConfig, {**given, "precision": "edge-latent-free-8"}, "test"))
    assert setup.ranges
    exported = executable(setup, 4)
    assert [str(step) for step in exported.steps] == [str(step) for step in setup.program.steps]
