"""The main job: rows that follow from the program and the runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from insitu.errors import CheckpointError, ConfigError, NetworkError
from insitu.experiment import recipes
from insitu.experiment.compare import compare
from insitu.experiment.config import CompareConfig, RuleSpec, parse
from insitu.experiment.record import Results, Spread
from insitu.experiment.train import train
from insitu.rules import RULES


def config(**more: Any) -> CompareConfig:
    raw = {
        "networks": ["mlp-64-32-32-10"],
        "rules": [
            {"rule": "bp"},
            {"rule": "bp-checkpoint", "options": {"segments": 2}, "label": "bp-checkpoint"},
            {"rule": "dfa"},
            {"rule": "drtp"},
        ],
        "epochs": 2,
        "seeds": 2,
        "limit_train": 200,
        "limit_test": 80,
        **more,
    }
    return parse(CompareConfig, raw, "test")


@pytest.fixture(scope="module")
def results() -> Results:
    return compare(config())


def test_a_row_per_network_and_rule(results: Results) -> None:
    assert [r.label for r in results.rows] == ["bp", "bp-checkpoint", "dfa", "drtp"]
    for row in results.rows:
        assert row.seeds == [1, 2] and len(row.curves) == 2
        assert row.test_accuracy is not None and len(row.test_accuracy.values) == 2
        roles = row.peak_bytes.model_dump()
        assert roles.pop("total") == sum(roles.values())
        assert max(m.bytes.total for m in row.timeline) == row.peak_bytes.total
        assert row.eager_bytes.total >= row.peak_bytes.total >= row.inference_bytes


def test_ratios(results: Results) -> None:
    rows = {r.label: r for r in results.rows}
    assert rows["bp"].bytes_to_bp == rows["bp"].macs_to_bp == 1
    assert rows["bp-checkpoint"].test_accuracy == rows["bp"].test_accuracy
    assert rows["bp-checkpoint"].macs_per_sample.forward > rows["bp"].macs_per_sample.forward
    dense = 64 * 32 + 32 * 32 + 32 * 10
    assert rows["bp"].macs_per_sample.forward == rows["bp"].inference_macs == dense
    assert rows["bp"].macs_per_sample.error == dense - 64 * 32
    assert rows["dfa"].macs_per_sample.feedback == 10 * (32 + 32)
    assert rows["drtp"].macs_per_sample.feedback == 0


def test_results_round_trip_and_folders(tmp_path: Path) -> None:
    out = tmp_path / "c"
    written = compare(config(seeds=1), out)
    assert Results.model_validate_json((out / "results.json").read_text()) == written
    assert sorted(p.name for p in (out / "runs").iterdir()) == [
        "0-bp-checkpoint-s1",
        "0-bp-s1",
        "0-dfa-s1",
        "0-drtp-s1",
    ]
    before = (out / "results.json").read_bytes()
    with pytest.raises(CheckpointError, match="already holds a comparison; pass --resume"):
        compare(config(seeds=1), out)
    assert (out / "results.json").read_bytes() == before
    again = compare(config(seeds=1), out, resume=True)
    assert [r.curves for r in again.rows] == [r.curves for r in written.rows]


def test_a_row_is_what_train_gives(results: Results) -> None:
    spec = config()
    run = train(spec.run("mlp-64-32-32-10", spec.rules[2], 2))
    assert results.rows[2].curves[1] == run.curve


def test_parallel_runs_are_the_same_runs() -> None:
    small = config(rules=[{"rule": "bp"}, {"rule": "drtp"}])
    one, two = compare(small), compare(small, jobs=2)
    assert [r.curves for r in one.rows] == [r.curves for r in two.rows]


def test_one_bad_rule_refuses_all_before_training(tmp_path: Path) -> None:
    bad = config(
        rules=[{"rule": "bp"}, {"rule": "drtp"}], networks=["mlp-64-8-64"], target="input", loss="mse"
    )
    with pytest.raises(NetworkError, match="drtp cannot train"):
        compare(bad, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_regression_rows_have_no_accuracy() -> None:
    found = compare(config(rules=[{"rule": "dfa"}], networks=["mlp-64-8-64"], target="input", loss="mse"))
    assert found.rows[0].test_accuracy is None and found.rows[0].test_loss is not None


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_is_valid(name: str) -> None:
    recipe = recipes.find(name)
    for short in (False, True):
        checked = recipe.config(short=short)
        labels = [spec.name for spec in checked.rules]
        assert len(set(labels)) == len(labels)
        assert set(recipe.published) <= set(labels)


def test_the_recipe_of_every_rule_has_every_rule() -> None:
    assert {spec.rule for spec in recipes.find("digits").config().rules} == set(RULES) - {
        "bp-reversible"
    }  # of networks of couplings


def test_a_name_that_recipes_go_on_from_is_all_of_them() -> None:
    assert {"own-rule-mnist", "own-rule-cifar"} <= set(recipes.group("own-rule"))
    assert recipes.group("own-rule-mnist") == ("own-rule-mnist",)
    assert recipes.group("nothing") == ()


def test_a_row_is_trained_by_torch_where_it_is_in_floats_or_says_so() -> None:
    shared = config(engine="c", precision="edge-latent-free-8")
    float32 = RuleSpec(rule="bp", precision="float32")
    torch = RuleSpec(rule="bp", engine="torch")
    engines = [shared.run("mlp-64-8-10", spec, 1).engine for spec in (RuleSpec(rule="bp"), float32, torch)]
    assert engines == ["c", "torch", "torch"]


def test_a_rule_may_have_its_own_batch_and_a_rate_for_each_network() -> None:
    shared = config(networks=["mlp-64-8-10", "mlp-64-16-10"], batch=1)
    spec = RuleSpec(rule="bp", batch=32, lr=0.1, rates={"mlp-64-16-10": 0.3})
    runs = [shared.run(network, spec, 1) for network in shared.networks]
    assert [run.batch for run in runs] == [32, 32] and [run.optimizer.lr for run in runs] == [0.1, 0.3]
    assert shared.run("mlp-64-8-10", RuleSpec(rule="dfa"), 1).batch == 1
    with pytest.raises(ConfigError, match=r"rules.0.rates.mlp-64-8-10"):
        config(rules=[{"rule": "bp", "rates": {"mlp-64-8-10": -1}}])


def test_a_row_says_what_guessing_would_score_and_whether_it_does_more(results: Results) -> None:
    row = results.rows[0]
    assert row.tested == 80 and row.majority is not None and 0.1 <= row.majority < 0.2
    spread = row.test_accuracy
    assert spread is not None
    above = row.majority + 2.0 * (row.majority * (1 - row.majority) / 80) ** 0.5

    def warning(accuracy: float, **more: Any) -> str:
        return row.model_copy(update={"test_accuracy": Spread.of([accuracy]), **more}).warning

    assert warning(row.majority) == "chance" and warning(above) == ""
    assert warning(row.majority, tested=80_000) == "chance" and warning(0.25, tested=80_000) == ""
    assert warning(0.9, diverged=1) == warning(0.9, test_loss=Spread.of([7.7e18])) == "diverged"
    assert warning(0.1, majority=None) == ""  # of an older version


def test_a_rule_may_have_network_options_of_its_own() -> None:
    shared = config(network_options={"activation": "tanh", "dropout": 0.1})
    spec = RuleSpec(rule="bp-stash", network_options={"activation": "relu"})
    assert shared.run("mlp-64-8-10", spec, 1).network_options == {"activation": "relu", "dropout": 0.1}
    assert shared.run("mlp-64-8-10", RuleSpec(rule="bp"), 1).network_options == shared.network_options


def test_unknown_recipe() -> None:
    with pytest.raises(ConfigError, match="recipe 'nope' is unknown; use one of"):
        recipes.find("nope")


def test_verdicts() -> None:
    recipe = recipes.find("drtp-mnist-fc").model_copy(
        update={
            "published": {
                "bp": recipes.Published(error=0.0, accept=100.0),
                "dfa": recipes.Published(error=0.0, accept=1e-9),
                "drtp": recipes.Published(error=1.0),
            }
        }
    )
    found = compare(config(seeds=1))
    verdicts = {r["rule"]: r["verdict"] for r in recipes.reproduction(recipe, found)}
    assert verdicts == {"bp": "within", "bp-checkpoint": "reported", "dfa": "outside", "drtp": "reported"}
    table = recipes.reproduction_markdown(recipe, found)
    assert table.count("\n") == 6 and "| outside |" in table


def test_short_reproduction_on_real_data(real_data: Path) -> None:
    """The stored recipe, shortened: that every rule learns, not the figures."""
    recipe = recipes.find("drtp-mnist-fc")
    few = {"limit_train": 5000, "limit_test": 1000}
    found = compare(recipe.config(short=True, data_dir=str(real_data)).model_copy(update=few))
    error = {r["rule"]: r["error"] for r in recipes.reproduction(recipe, found)}
    assert all(e < 45 for e in error.values()), error  # chance: 90


@pytest.mark.parametrize("change", [{"rules": [{"rule": "bp"}] * 2}, {"networks": ["mlp-64-10"] * 2}])
def test_nothing_is_compared_with_itself(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="have one name; give each rule a label"):
        config(**change)


def test_a_refused_resume_leaves_the_comparison_as_it_was(tmp_path: Path) -> None:
    compare(config(seeds=1), tmp_path)
    before = (tmp_path / "compare.yaml").read_bytes()
    with pytest.raises(CheckpointError, match="another configuration"):
        compare(config(seeds=1, epochs=3), tmp_path, resume=True)
    assert (tmp_path / "compare.yaml").read_bytes() == before


@pytest.mark.parametrize("text", ["def make(:", "def make(): raise KeyError('x')", "import nothing_here"])
def test_a_users_file_that_fails_is_named(text: str, tmp_path: Path) -> None:
    source = tmp_path / "net.py"
    source.write_text(text)
    with pytest.raises(ConfigError, match=r"net\.py:make.*correct"):
        compare(config(networks=[f"{source}:make"]))
