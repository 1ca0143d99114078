"""Every rule at every precision: which points there are, what is refused, and how a grid goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from insitu.cli import main
from insitu.cli.grid import _of_comparison
from insitu.cli.recipe import recipe_config
from insitu.errors import CheckpointError, ConfigError, NetworkError
from insitu.experiment import grid as module
from insitu.experiment import recipes
from insitu.experiment.config import RuleSpec, RunConfig, dump, load, parse
from insitu.experiment.grid import Bits, GridConfig, GridResults, Point, grid
from insitu.experiment.identity import fingerprint
from insitu.experiment.record import Curve
from insitu.experiment.resolve import Setup
from insitu.experiment.train import Outcome, train


def config(**more: Any) -> GridConfig:
    """Small; float32 alone, unless other bits are asked for."""
    raw = {
        "network": "mlp-64-16-10",
        "rules": [{"rule": "bp"}, {"rule": "dfa"}],
        "weight_bits": ["32"],
        "act_bits": ["8"],
        "epochs": 1,
        "seeds": 2,
        "limit_train": 100,
        "limit_test": 50,
        **more,
    }
    return parse(GridConfig, raw, "test")


def texts(**more: Any) -> list[str]:
    return [bits.text for bits in config(**more).columns]


def files(out: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in (out / "points").iterdir()}


def test_weight_bits_within_regimes_within_activation_bits() -> None:
    assert texts(weight_bits=["1", "t"], act_bits=["8", "1"]) == [
        *("w1a8", "wta8", "w1a8-free", "wta8-free"),
        *("w1a1", "wta1", "w1a1-free", "wta1-free"),
    ]


def test_32_bits_have_no_regime_and_come_once_and_last() -> None:
    assert texts() == ["float32"]
    assert texts(weight_bits=["32", "8", "2", "4+3"], act_bits=["4"]) == [
        *("w8a4", "w2a4:weight=2", "w8a4-free", "w2a4-free:weight=2", "w4a4-free:hidden=3", "float32")
    ]
    assert config().columns == (Bits("32", "32", None),)


def test_bits_may_be_numbers_as_yaml_has_them() -> None:
    assert config(weight_bits=[1, "t", 8], act_bits=[8]).weight_bits == ("1", "t", "8")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"weight_bits": ["9"]},
            r"weight_bits.0: weight bits are 1 to 8, t .* \(got '9'\); correct",
        ),
        ({"act_bits": ["8", "t"]}, r"act_bits.1: input should be '1', '2'.* or '8' \(got 't'\)"),
        ({"regimes": ["free"]}, r"regimes.0: input should be 'latent' or 'latent-free' \(got 'free'\)"),
        ({"weight_bits": []}, "weight_bits: tuple should have at least 1 item"),
        ({"weight_bits": ["8", "1", "8"]}, "weight_bits has '8' twice; name each once"),
        ({"rules": [{"rule": "bp"}] * 2}, "rules has 'bp' twice; name each once"),
        ({"precision": "float32"}, "key 'precision' is unknown"),
        ({"seeds": 0}, "seeds: input should be greater"),
    ],
)
def test_what_cannot_be_a_grid_is_named(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        config(**change)


def test_a_configuration_comes_back_from_its_file(tmp_path: Path) -> None:
    made = config(weight_bits=["t", "32"])
    (tmp_path / "grid.yaml").write_text(dump(made))
    assert load(GridConfig, tmp_path / "grid.yaml") == made


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_is_a_grid_too(name: str) -> None:
    compared = recipes.find(name).config()
    made = recipe_config(GridConfig, name, None, {}, [], _of_comparison)
    assert (made.network, made.rules) == (compared.networks[0], compared.rules)
    assert made.optimizer == compared.optimizer


def test_a_point_is_the_run_that_the_recipe_of_its_rule_has() -> None:
    spec = RuleSpec(rule="dfa", lr=0.5, epochs_factor=2, label="x", options={"scale": "mean"})
    run = config(epochs=3).run(spec, Bits("32", "32", None), 7)
    assert (run.rule, run.rule_options, run.seed, run.epochs) == ("dfa", {"scale": "mean"}, 7, 6)
    assert (run.precision, run.optimizer.lr, run.network) == ("float32", 0.5, "mlp-64-16-10")


def test_every_combination_is_one_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without training: 2 rules, 12 precisions and float32, 2 seeds."""
    trained: list[RunConfig] = []

    def instead(run: RunConfig, data: Any = None) -> Outcome:
        trained.append(run)
        curve = Curve(seed=run.seed, samples=[1], train_loss=[1.0], test_loss=[1.0], test_accuracy=[0.5])
        return Outcome(run, curve, 1.0, 1, False, {})

    monkeypatch.setattr(module, "train", instead)
    monkeypatch.setattr(Setup, "of", lambda run, data: None)
    asked = config(weight_bits=["1", "t", "8", "32"], act_bits=["8", "4"])
    made = grid(asked)
    assert [(row.label, row.precision) for row in made.rows] == [
        (rule, bits.text) for rule in ("bp", "dfa") for bits in asked.columns
    ]
    assert {(run.rule, run.precision, run.seed) for run in trained} == {
        (row.rule, row.precision, seed) for row in made.rows for seed in row.seeds
    }
    points = [id for row in made.rows for id in row.points]
    assert len(set(points)) == len(points) == len(trained) == 52
    assert made.rows[3].command is not None and "--set precision=w1a8-free" in made.rows[3].command


def test_ids_are_stable_and_differ() -> None:
    plans = module._plan(config(seeds=3), module.load_data(config()))
    ids = [job.id for plan in plans for job in plan.jobs]
    assert len(set(ids)) == len(ids) == 6
    moved = config(seeds=3, data_dir="/elsewhere")
    assert ids == [
        fingerprint(moved.run(spec, bits, seed))
        for spec in moved.rules
        for bits in moved.columns
        for seed in (1, 2, 3)
    ]


def test_rows_are_what_train_gives(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    made = grid(config(), tmp_path / "g", on_event=events.append)
    assert GridResults.model_validate_json((tmp_path / "g" / "results.json").read_text()) == made
    assert [(row.label, row.precision, row.regime) for row in made.rows] == [
        ("bp", "float32", None),
        ("dfa", "float32", None),
    ]
    row = made.rows[1]
    run = train(config().run(RuleSpec(rule="dfa"), Bits("32", "32", None), 2))
    assert row.curves[1] == run.curve and row.seeds == [1, 2] and row.diverged == 0
    assert row.test_accuracy is not None and row.test_accuracy.values[1] == run.test_accuracy
    assert row.command is not None and "--rule dfa" in row.command and "--seed 1" in row.command
    points = {p.id: p for p in map(Point.model_validate_json, files(tmp_path / "g").values())}
    assert set(points) == {id for row in made.rows for id in row.points} and len(points) == 4
    assert [points[id].curve for id in row.points] == row.curves
    assert [event["done"] for event in events] == [1, 2, 3, 4] and {e["of"] for e in events} == {4}


def test_processes_train_the_same_points() -> None:
    one, two = grid(config()), grid(config(), jobs=2)
    assert [row.curves for row in one.rows] == [row.curves for row in two.rows]
    assert [row.points for row in one.rows] == [row.points for row in two.rows]


def test_resume_trains_only_what_is_missing(tmp_path: Path) -> None:
    out, done = tmp_path / "g", []

    def interrupt(event: dict[str, Any]) -> None:
        done.append(event)
        if len(done) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grid(config(), out, on_event=interrupt)
    before = files(out)
    assert len(before) == 3 and not (out / "results.json").exists()
    with pytest.raises(CheckpointError, match="already holds a grid; pass --resume to go on with it"):
        grid(config(), out)
    events: list[dict[str, Any]] = []
    resumed = grid(config(), out, resume=True, on_event=events.append)
    assert [(e["done"], e["of"], e["rule"], e["seed"]) for e in events] == [(4, 4, "dfa", 2)]
    assert {id: raw for id, raw in files(out).items() if id in before} == before
    assert [row.curves for row in resumed.rows] == [row.curves for row in grid(config()).rows]
    events.clear()
    again = grid(config(), out, resume=True, on_event=events.append)
    assert events == [] and again.rows == resumed.rows


def test_a_grid_goes_on_only_as_itself(tmp_path: Path) -> None:
    grid(config(seeds=1), tmp_path)
    before = (tmp_path / "grid.yaml").read_bytes()
    with pytest.raises(
        CheckpointError, match=r"grid of another configuration; resume with its own grid\.yaml"
    ):
        grid(config(seeds=2), tmp_path, resume=True)
    assert (tmp_path / "grid.yaml").read_bytes() == before
    grid(config(seeds=1, checkpoint_steps=5), tmp_path, resume=True)


@pytest.mark.parametrize("text", ["{", '{"id": "other"}'])
def test_a_damaged_point_is_named(text: str, tmp_path: Path) -> None:
    grid(config(seeds=1), tmp_path)
    point = min((tmp_path / "points").iterdir())
    point.write_text(text)
    with pytest.raises(CheckpointError, match=rf"{point.name} is damaged.*; remove it"):
        grid(config(seeds=1), tmp_path, resume=True)
    point.unlink()
    grid(config(seeds=1), tmp_path, resume=True)


def test_a_folder_of_something_else_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    for resume in (False, True):
        with pytest.raises(CheckpointError, match=r"holds the results\.json of something else; pass another"):
            grid(config(seeds=1), tmp_path, resume=resume)
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_a_refused_rule_is_a_row_with_its_reason(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    asked = config(
        rules=[{"rule": "drtp"}, {"rule": "dfa"}], network="mlp-64-8-64", target="input", loss="mse", seeds=1
    )
    made = grid(asked, tmp_path / "g", on_event=events.append)
    drtp, dfa = made.rows
    assert drtp.refused is not None and "drtp cannot train" in drtp.refused
    assert drtp.points == [] and drtp.test_loss is None and drtp.command is None
    assert dfa.refused is None and dfa.test_loss is not None and dfa.test_accuracy is None
    assert [event["kind"] for event in events] == ["refused", "run"]
    assert grid(asked, tmp_path / "g", resume=True).rows == made.rows


def test_a_refused_precision_is_a_row_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever refuses it before the first step."""
    of = Setup.of

    def picky(run: Any, data: Any = None) -> Setup:
        if (run.rule, run.seed) == ("dfa", 1):
            raise NetworkError("rule dfa cannot do this; use another")
        return of(run, data)

    monkeypatch.setattr(Setup, "of", picky)
    bp, dfa = grid(config()).rows
    assert dfa.refused == "rule dfa cannot do this; use another" and dfa.points == []
    assert bp.refused is None and len(bp.points) == 2


def test_a_grid_without_a_point_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no point .* can be trained; bp at float32: .*mlp-65-10"):
        grid(config(network="mlp-65-10"), tmp_path / "g")
    with pytest.raises(ConfigError, match="rule 'nope' is unknown"):
        grid(config(rules=[{"rule": "bp"}, {"rule": "nope"}]), tmp_path / "g")
    with pytest.raises(ConfigError, match="rules 'bp' and 'again' are the same runs; drop one"):
        grid(config(rules=[{"rule": "bp"}, {"rule": "bp", "label": "again"}]), tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_a_diverged_run_counts_and_is_marked() -> None:
    made = grid(config(rules=[{"rule": "bp", "lr": 1e6}], loss="mse", seeds=1, batch=4))
    (row,) = made.rows
    assert row.diverged == 1 and len(row.points) == 1 and row.test_accuracy is not None


TINY = ["--set", "limit_train=100", "--set", "limit_test=50", "--network", "mlp-64-16-10", "--epochs", "1"]
FLOAT = ["--weight-bits", "32", "--seeds", "1"]


def test_the_verb_writes_table_picture_and_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "g"
    words = ["grid", *TINY, *FLOAT, "--rules", "bp, dfa", "--out", str(out)]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "float32" in captured.out and str(out / "heat.png") in captured.out
    assert captured.err.count("seed 1") == 2
    assert {"grid.yaml", "grid.md", "heat.png", "results.json", "points"} == {p.name for p in out.iterdir()}
    assert "| dfa | float32 |" in (out / "grid.md").read_text(encoding="utf-8")
    assert main(words) == 2
    assert "already holds a grid; pass --resume" in capsys.readouterr().err
    assert main(["grid", "--resume", "--out", str(out), "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert [row["label"] for row in json.loads(captured.out)["rows"]] == ["bp", "dfa"] and captured.err == ""
    assert main(["grid", "--resume", "--out", str(out), "--epochs", "2"]) == 2
    assert "another configuration" in capsys.readouterr().err


def test_rules_keep_the_rates_of_the_recipe() -> None:
    made = recipe_config(
        GridConfig, "digits", ["hsic", "bp"], {"optimizer__lr": 0.1}, ["epochs=2"], _of_comparison
    )
    assert [(spec.name, spec.lr) for spec in made.rules] == [("hsic", 0.03), ("bp", None)]
    assert made.optimizer.lr == 0.1 and made.epochs == 2


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("--weight-bits", "8,9", "weight_bits.1: weight bits are 1 to 8"),
        ("--regimes", "lazy", "regimes.0: input should be 'latent' or 'latent-free'"),
        ("--act-bits", "t", "act_bits.0: input should be '1'"),
        ("--set", "precision=float64", "key 'precision' is unknown"),
        ("--cluster", "nobody", "is no address of a scheduler"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    flag: str, value: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if flag == "--cluster":
        pytest.importorskip("distributed", reason="needs distributed: pip install -e '.[dev]'")
    assert main(["grid", *TINY, *FLOAT, flag, value, "--out", str(tmp_path / "g")]) == 2
    error = capsys.readouterr().err
    assert reason in error and error.startswith("insitu: ") and error.count("\n") == 1
    assert not (tmp_path / "g").exists()
