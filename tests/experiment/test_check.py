"""Before training: refusals with place and remedy; and budgets of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from insitu.errors import ConfigError, NetworkError
from insitu.experiment.check import Found, check
from insitu.experiment.compare import compare
from insitu.experiment.config import CompareConfig, RunConfig, dump, parse
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.design_program import program
from insitu.experiment.record import Results

EDGE = "edge-latent-free-8"
SMALL = "mlp-64-32-10"


def found(what: str, **more: Any) -> Found:
    given = {"rules": None, "precisions": [], "targets": [], "backend": None, "batch": None, **more}
    return check(what, **given)


def test_nothing_to_object() -> None:
    made = found(SMALL, targets=["stm32l4r5", "accelerator-22nm"], precisions=[EDGE], backend="c", batch=4)
    assert made.clean and len(made.items) == 4  # per target: the backend, and the memory
    assert [i.note for i in made.items if "form for c" in i.note] == ["every op has a form for c"] * 2
    peak = program(DesignPoint(SMALL, "bp", EDGE, "", 4)).peak_bytes
    assert f"{peak:,} of 655,360 bytes" in made.text() and f"{peak:,} of 262,144 bytes" in made.text()
    assert made.text().count("ok ") == 4 and made.text(quiet=True) == ""


def test_a_memory_that_is_too_small_names_the_layer_and_a_rule_that_fits() -> None:
    """ResNet-8 in float32 at batch 2: 1.55 MB by BP, 1.13 MB with checkpoints."""
    made = found("resnet8", targets=["stm32h7a3"], batch=2)
    (item,) = made.items
    assert not made.clean and item.refused is not None
    for part in (
        "1,553,578 bytes",
        "stm32h7a3 has 1,212,416 of RAM",
        "conv2d of conv9",
        "rule bp-checkpoint fits",
    ):
        assert part in item.refused, item.refused
    assert f"refused  bp, float32, stm32h7a3: {item.refused}" in made.text(quiet=True)


def test_where_no_baseline_fits_other_remedies_are_named() -> None:
    (item,) = found("mlp-784-1000-10", targets=["stm32l4r5"]).items
    assert "the peak is at matmul_dx of fc2; use fewer bits" in str(item.refused)
    (item,) = found("mlp-784-1000-10", targets=["accelerator-22nm-sram"]).items
    assert "no store behind them; use a smaller batch" in str(item.refused)


def test_of_phases_the_highest_is_looked_at() -> None:
    """The first greedy phase is the highest with what rests, though not by itself."""
    made = program(DesignPoint("mlp-64-32-32-10", "greedy", "float32", "", 4))
    assert made.highest == 0 and max(x.peak_bytes for x in made.layouts) < made.peak_bytes
    (item,) = found("mlp-64-32-32-10", rules=["greedy"], batch=4).items
    assert item.note == f"{made.peak_bytes:,} bytes at the peak of a step"


@pytest.mark.parametrize(
    ("rule", "precision", "said"),
    [
        ("bp", "float32", "conv2d at conv1"),
        ("bp", "float32", "precision float32 keeps x in f32; use a precision without reals"),
        ("hsic", "float32", "label_gram at labels"),
        ("hsic", "float32", "use another rule"),
        ("lls", "float32", "works on reals"),
    ],
)
@pytest.mark.parametrize("backend", ["c", "integer"])
def test_real_operations_have_no_backend(rule: str, precision: str, said: str, backend: str) -> None:
    made = found("lenet5", rules=[rule], precisions=[precision], backend=backend, batch=2)
    assert not made.clean and said in str(made.items[0].refused)
    assert made.items[1].refused is None  # memory is another question


def test_a_precision_that_cannot_hold_a_rule() -> None:
    made = found("lenet5", rules=["bp", "hsic"], precisions=[EDGE], backend="c", batch=2)
    assert [i.refused is None for i in made.items] == [True, True, False]
    assert "label_gram at labels" in str(made.items[2].refused)
    assert made.items[2].plain()["rule"] == "hsic"


@pytest.mark.parametrize(
    ("what", "more", "said"),
    [
        (SMALL, {"backend": "rust"}, "backend 'rust' is unknown; use one of c, .*integer"),
        ("lenet6", {}, "did you mean lenet5"),
        (SMALL, {"rules": ["drpt"]}, "did you mean 'drtp'"),
        (SMALL, {"precisions": ["w8a"]}, "precision 'w8a' is unknown"),
        (SMALL, {"targets": ["stm32l4r6"]}, "did you mean 'stm32l4r5'"),
        ("none.yaml", {}, "none.yaml"),
    ],
)
def test_mistakes_are_no_findings(what: str, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        found(what, **more)


@pytest.mark.parametrize("folder", [False, True])
def test_a_configuration_and_a_run_folder(folder: bool, tmp_path: Path) -> None:
    config = parse(
        RunConfig,
        {
            "network": "mlp-64-32-32-10",
            "rule": "dfa",
            "rule_options": {"feedback": "shared"},
            "batch": 5,
            "precision": EDGE,
            "optimizer": {"kind": "sgd"},
            "network_options": {"activation": "relu"},
        },
        "test",
    )
    (tmp_path / "config.yaml").write_text(dump(config))
    made = found(str(tmp_path if folder else tmp_path / "config.yaml"), targets=["stm32l4r5"])
    (item,) = made.items
    assert (item.rule, item.precision) == ("dfa[feedback=shared]", EDGE) and made.clean
    point = DesignPoint(
        "mlp-64-32-32-10", "dfa", EDGE, "", 5, options=(("feedback", "shared"),), activation="relu"
    )
    assert f"{program(point).peak_bytes:,} of 655,360" in item.note
    other = found(str(tmp_path), rules=["bp"], batch=1)
    assert other.items[0].rule == "bp"  # without the options of the other rule


def test_a_configuration_is_looked_at_in_the_shape_of_its_data(tmp_path: Path) -> None:
    config = parse(RunConfig, {"network": "cnn-4", "data": "digits", "batch": 2}, "test")
    (tmp_path / "config.yaml").write_text(dump(config))
    (item,) = found(str(tmp_path)).items
    at = DesignPoint("cnn-4", target="", batch=2, input_shape=(1, 8, 8), classes=10)
    assert f"{program(at).peak_bytes:,} bytes" in item.note


def test_options_of_a_network_are_looked_at(tmp_path: Path) -> None:
    options: dict[str, Any] = {"batch_norm": True, "dropout": 0.25}
    shape: dict[str, Any] = {"input_shape": (1, 8, 8), "classes": 10}
    seen = {}
    for name, given in {"with": options, "without": {}}.items():
        raw = {"network": "cnn-4-4", "data": "digits", "batch": 8, "network_options": given}
        (tmp_path / f"{name}.yaml").write_text(dump(parse(RunConfig, raw, "test")))
        (item,) = found(str(tmp_path / f"{name}.yaml")).items
        seen[name] = program(DesignPoint("cnn-4-4", target="", batch=8, **shape, **given)).peak_bytes
        assert f"{seen[name]:,} bytes" in item.note
    assert seen["with"] > seen["without"]


# --- budgets of a comparison ---------------------------------------------------------------------------------


def config(**more: Any) -> CompareConfig:
    raw = {
        "networks": ["mlp-64-32-32-10"],
        "rules": [{"rule": "bp"}, {"rule": "bp-checkpoint"}, {"rule": "drtp"}],
        "epochs": 1,
        "seeds": 1,
        "limit_train": 64,
        "limit_test": 32,
        "batch": 8,
        **more,
    }
    return parse(CompareConfig, raw, "test")


def peak(rule: str) -> int:
    return program(DesignPoint("mlp-64-32-32-10", rule, "float32", "", 8)).peak_bytes


def test_a_rule_over_the_bytes_does_not_train() -> None:
    limit = peak("bp") - 1
    assert peak("drtp") > limit and peak("shallow") <= limit
    rules = [{"rule": "bp"}, {"rule": "shallow"}]
    events: list[dict[str, Any]] = []
    made = compare(config(rules=rules, max_bytes=limit), on_event=events.append)
    assert [r.label for r in made.rows] == ["shallow"] and [e["rule"] for e in events] == ["shallow"]
    (rejected,) = made.rejected
    assert (rejected.rule, rejected.network) == ("bp", "mlp-64-32-32-10")
    assert rejected.reason == f"takes {limit + 1:,} bytes, more than {limit:,}"
    assert (
        made.rows[0].bytes_to_bp is not None and made.rows[0].bytes_to_bp < 1
    )  # of the BP that did not train
    assert made.rows[0].hardware is None
    assert Results.model_validate_json(made.model_dump_json()) == made


def test_all_over_budget_trains_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"every rule is over budget: bp: takes .*; drtp: takes .*raise --max"
    ):
        compare(config(max_bytes=1), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_rule_over_the_energy_does_not_train() -> None:
    made = compare(config(hardware="accelerator-22nm", rules=[{"rule": "bp"}, {"rule": "shallow"}]))
    bp, shallow = (r.hardware for r in made.rows)
    assert (
        bp is not None and bp.energy_pj is not None and shallow is not None and shallow.energy_pj is not None
    )
    assert bp.energy_to_bp == 1 and shallow.energy_to_bp == shallow.energy_pj[1] / bp.energy_pj[1] < 1
    assert bp.run_energy_uj == pytest.approx(1e-6 * made.rows[0].samples * bp.energy_pj[1])
    assert bp.peak_bytes == made.rows[0].peak_bytes.total and bp.problem is None
    between = (bp.energy_pj[1] + shallow.energy_pj[1]) / 2e6
    fewer = compare(
        config(
            hardware="accelerator-22nm",
            rules=[{"rule": "bp"}, {"rule": "shallow"}],
            max_energy_uj=between,
        )
    )
    assert [r.label for r in fewer.rows] == ["shallow"]
    assert f"µJ a sample on accelerator-22nm, more than {between:g}" in fewer.rejected[0].reason
    assert fewer.rows[0].hardware == shallow


def test_an_unknown_energy_is_no_low_energy() -> None:
    with pytest.raises(ConfigError, match="its energy on desktop is unknown"):
        compare(config(hardware="desktop", max_energy_uj=1e9))
    row = compare(config(hardware="desktop", rules=[{"rule": "bp"}])).rows[0]
    assert row.hardware is not None and row.hardware.energy_pj is None and row.hardware.run_energy_uj is None
    assert row.hardware.seconds is not None and row.hardware.energy_to_bp is None


def test_an_energy_needs_a_target() -> None:
    with pytest.raises(ConfigError, match="max_energy_uj needs hardware, such as --target"):
        config(max_energy_uj=1.0)


def test_a_target_that_cannot_hold_a_rule_rejects_it(tmp_path: Path) -> None:
    """Of a core's RAM, and of an array without a store."""
    rules = [{"rule": "bp"}, {"rule": "shallow"}]
    wide = {"networks": ["mlp-64-512-512-10"], "rules": rules, "batch": 64}
    bp, shallow = (
        program(DesignPoint("mlp-64-512-512-10", r["rule"], "float32", "", 64)).peak_bytes for r in rules
    )
    assert shallow < bp
    for base, key in (("stm32l4r5", "ram"), ("accelerator-22nm-sram", "sram")):
        target = target_of(tmp_path / f"{key}.yaml", base, key, (bp + shallow) // 2)
        made = compare(config(**wide, hardware=target))
        assert [r.label for r in made.rows] == ["shallow"]
        assert f"takes {bp:,} bytes" in made.rejected[0].reason


def target_of(path: Path, base: str, key: str, size: int) -> str:
    """A user's target with so much memory."""
    entry = f"{{value: {size}, unit: bytes, source: mine, confidence: exact}}"
    path.write_text(
        f"base: {base}\nname: mine\nsources: {{mine: ours}}\nmemory: {{{key}: {{bytes: {entry}}}}}\n"
    )
    return str(path)


def test_a_rule_that_cannot_serve_still_refuses_the_comparison() -> None:
    with pytest.raises(NetworkError, match="drtp cannot train"):
        compare(config(networks=["mlp-64-8-64"], target="input", loss="mse", max_bytes=1))
    with pytest.raises(ConfigError, match="did you mean 'stm32l4r5'"):
        compare(config(hardware="stm32l4r6"))
