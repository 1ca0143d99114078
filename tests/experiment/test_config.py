"""Configurations: complete, checked, YAML and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from insitu.errors import ConfigError
from insitu.experiment.command import train_command
from insitu.experiment.config import (
    PRETRAINED_RATE,
    CompareConfig,
    RuleSpec,
    RunConfig,
    ScheduleConfig,
    dump,
    load,
    parse,
)
from insitu.experiment.overrides import apply_flags, apply_sets


def test_yaml_round_trip(tmp_path: Path) -> None:
    config = parse(
        RunConfig,
        {
            "rule": "drtp",
            "rule_options": {"scale": "mean"},
            "schedule": {"kind": "step", "milestones": [0.25]},
        },
        "x",
    )
    path = tmp_path / "config.yaml"
    path.write_text(dump(config))
    assert load(RunConfig, path) == config


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"epoch": 3}, "key 'epoch' is unknown; known keys: version"),
        ({"epochs": 0}, "epochs: input should be greater than or equal to 1 .got 0.; correct"),
        ({"batch": "many"}, "batch: input should be a valid integer"),
        ({"optimizer": {"kind": "adamw"}}, "optimizer.kind: input should be 'sgd', 'momentum'"),
        ({"optimizer": {"lr": -1}}, "optimizer.lr: input should be greater than 0"),
        ({"schedule": {"kind": "step", "milestones": [2]}}, "milestones are shares of the run"),
        ([], "is no configuration"),
        ({"epochs": True}, "epochs: is true or false"),
        ({"optimizer": {"lr": True}}, "optimizer.lr: is true or false"),
        ({"data": False}, "data: is true or false"),
        ({"optimizer": {"lr": float("inf")}}, "optimizer.lr: input should be a finite number"),
        ({"optimizer": {"lr": float("nan")}}, "optimizer.lr: input should be a finite number"),
        ({"optimizer": {"lr": 1e40}}, "optimizer.lr: is more than 1,000,000: such steps leave"),
        ({"optimizer": {"lr": 1e-40}}, "optimizer.lr: is less than 1e-30: such steps leave"),
        ({"threads": 10**22}, "threads: is more than 1,024: no machine"),
        ({"epochs": 10**9}, "epochs: is more than 1,000,000"),
        ({"batch": 10**9}, "batch: is more than 1,048,576"),
        ({"augment": {"pad": 10**22}}, "augment.pad: is more than 1,024"),
        ({"seed": 10**19}, "seed: is more than"),
    ],
)
def test_refusals_name_key_reason_and_remedy(raw: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(RunConfig, raw, "run.yaml")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory; check the path"):
        load(RunConfig, tmp_path / "none.yaml")
    bad = tmp_path / "bad.yaml"
    for text, reason in (
        ("a: [", "is no YAML"),
        ("epochs: 1\nepochs: 2", "line 2: key 'epochs' is written twice"),
    ):
        bad.write_text(text)
        with pytest.raises(ConfigError, match=reason):
            load(RunConfig, bad)


def test_a_bound_holds_for_words_of_the_command_line() -> None:
    raw = apply_sets({}, ["optimizer.lr=1e-1", "data=digits", "epochs=yes"])
    assert raw["optimizer"]["lr"] == 0.1
    with pytest.raises(ConfigError, match="epochs: is true or false"):
        parse(RunConfig, raw, "the command line")
    with pytest.raises(ConfigError, match=r"--set threads=.* a whole number has 23 digits"):
        apply_sets({}, ["threads=1" + "0" * 22])


@pytest.mark.parametrize(
    ("schedule", "at", "factor"),
    [
        (ScheduleConfig(), 0.9, 1.0),
        (ScheduleConfig(kind="cosine"), 0.0, 1.0),
        (ScheduleConfig(kind="cosine"), 0.5, 0.5),
        (ScheduleConfig(kind="cosine", final=0.2), 1.0, 0.2),
        (ScheduleConfig(kind="step"), 0.49, 1.0),
        (ScheduleConfig(kind="step"), 0.5, 0.1),
        (ScheduleConfig(kind="step", gamma=0.5), 0.8, 0.25),
    ],
)
def test_schedules(schedule: ScheduleConfig, at: float, factor: float) -> None:
    assert schedule.factor(at) == pytest.approx(factor)


def test_comparison_expands_to_runs() -> None:
    config = CompareConfig(
        rules=(RuleSpec(rule="bp"), RuleSpec(rule="drtp", lr=0.01, options={"scale": "mean"}))
    )
    run = config.run("mlp-64-20-10", config.rules[1], 7)
    assert (run.network, run.rule, run.seed, run.optimizer.lr) == ("mlp-64-20-10", "drtp", 7, 0.01)
    assert run.optimizer.kind == config.optimizer.kind
    assert config.rules[1].name == "drtp[scale=mean]"


def test_flags_and_sets_override() -> None:
    raw = apply_flags({"epochs": 3}, epochs=None, optimizer__lr=0.5)
    apply_sets(raw, ["optimizer.kind=adam", "schedule.milestones=[0.1, 0.2]", "rule_options.scale=mean"])
    config = parse(RunConfig, raw, "x")
    assert (config.epochs, config.optimizer.kind, config.optimizer.lr) == (3, "adam", 0.5)
    assert config.schedule.milestones == (0.1, 0.2)
    with pytest.raises(ConfigError, match="is no path=value"):
        apply_sets({}, ["epochs"])
    with pytest.raises(ConfigError, match="holds no keys"):
        apply_sets({"epochs": 3}, ["epochs.more=1"])


def test_the_command_repeats_the_run() -> None:
    import shlex

    from insitu.cli.recipe import from_file

    raw = {
        "data": "mnist",
        "rule": "drtp",
        "rule_options": {"scale": "mean"},
        "optimizer": {"kind": "adam", "lr": 0.0123456789, "eps": 1e-5, "weight_decay": 0.01},
        "schedule": {"kind": "step", "milestones": [0.25, 0.75]},
        "augment": {"flip": True},
        "network_options": {"activation": "tanh"},
        "validation": 0.1,
        "early_stop": {"patience": 3},
        "eval_batch": 123,
        "samples": 500,
    }
    config = parse(RunConfig, raw, "x")
    words = shlex.split(train_command(config))
    flags = {
        "--data": "data",
        "--network": "network",
        "--rule": "rule",
        "--epochs": "epochs",
        "--batch": "batch",
    }
    flags |= {"--seed": "seed", "--lr": "optimizer__lr"}
    given, sets = {}, []
    for flag, value in zip(words[2::2], words[3::2]):
        if flag == "--set":
            sets.append(value)
        else:
            given[flags[flag]] = value
    assert from_file(RunConfig, None, given, sets) == config


def test_a_pretrained_network_in_integers_has_a_gentle_rate() -> None:
    words = {"precision": "edge-latent-free-8", "init_from": "runs/a"}
    for more, lr in (
        (words, PRETRAINED_RATE),
        (words | {"optimizer": {"kind": "sgd"}}, PRETRAINED_RATE),
        (words | {"optimizer": {"lr": 0.05}}, 0.05),
        ({"init_from": "runs/a"}, 0.05),
        ({"precision": "edge-latent-free-8"}, 0.05),
    ):
        found = parse(RunConfig, more, "test")
        assert found.optimizer.lr == lr
        again = parse(RunConfig, yaml.safe_load(dump(found)), "test")
        assert again == found and again.optimizer.lr == lr
