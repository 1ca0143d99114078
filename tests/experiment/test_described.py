"""A run folder names its network in every verb that takes one."""

import json

import pytest

from insitu.cli import main
from insitu.errors import ConfigError
from insitu.experiment.described import networks_of, point_of

NETWORK = """import torch.nn as nn


def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("described")
    flags = ["--data", "digits", "--network", "cnn-8-16", "--set", "network_options.activation=relu"]
    how = ["--rule", "etch", "--batch", "4", "--set", "rule_options.limit=16", "--set", "limit_train=32"]
    assert main(["train", *flags, *how, "--epochs", "1", "--out", str(folder / "run"), "--quiet"]) == 0
    return folder / "run"


def test_a_run_is_its_network_rule_batch_and_shape(run):
    point = point_of(str(run))
    assert (point.network, point.rule, point.batch) == ("cnn-8-16", "etch", 4)
    assert (
        point.input_shape == (1, 8, 8) and point.activation == "relu" and dict(point.options) == {"limit": 16}
    )


def test_cost_and_show_take_what_the_run_was_and_flags_take_its_place(run, capsys):
    said = ["cnn-8-16", "--input", "1x8x8", "--classes", "10", "--activation", "relu"]
    assert main(["cost", str(run), "--json"]) == 0
    billed = json.loads(capsys.readouterr().out)
    assert main(["cost", *said, "--rule", "etch", "--option", "limit=16", "--batch", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == billed
    assert main(["show", "step", str(run), "--rule", "bp", "--batch", "1", "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert main(["show", "step", *said, "--rule", "bp"]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("verb", ["train", "compare", "grid"])
def test_verbs_that_train_take_a_run_as_a_network(run, verb, tmp_path):
    rule = ["--rule", "bp"] if verb == "train" else ["--rules", "bp", "--seeds", "1"]
    given = ["--network", str(run), "--data", "digits", "--epochs", "1", "--set", "limit_train=32", "--quiet"]
    more = ["--weight-bits", "8"] if verb == "grid" else []
    out = tmp_path / "out"
    assert main([verb, *rule, *given, *more, "--out", str(out)]) == 0
    kept = next(out.glob("*.yaml")).read_text()
    assert "cnn-8-16" in kept and "activation: relu" in kept and str(run) not in kept


def test_networks_of_runs_with_unlike_options_are_refused(run):
    assert networks_of([str(run)]) == (["cnn-8-16"], {"activation": "relu"})
    with pytest.raises(ConfigError, match="one run folder at a time"):
        networks_of([str(run), "cnn-8-16"])


def test_a_folder_without_a_run_is_refused_and_a_name_beside_a_folder_is_a_network(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"has no config\.yaml"):
        point_of(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lenet5").mkdir()
    assert point_of("lenet5").network == "lenet5"


def test_a_run_from_elsewhere_does_not_run_its_network_file(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "nets.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    given = ["--network", "nets.py:small", "--data", "digits", "--set", "limit_train=32", "--epochs", "1"]
    assert main(["train", *given, "--out", "mine", "--quiet"]) == 0
    (tmp_path / "nets.py").write_text(NETWORK + "\n")  # no longer what was named
    capsys.readouterr()
    for words in (
        ["cost", "mine"],
        ["show", "step", "mine"],
        ["train", "--network", "mine", "--data", "digits"],
    ):
        assert main(words) == 2 and "--trust" in capsys.readouterr().err
    assert main(["cost", "mine", "--trust", "--quiet"]) == 0


def test_a_start_says_what_it_was_worth_and_warns_where_learning_made_it_worse(run, tmp_path, capsys):
    same = ["--network", str(run), "--init-from", str(run), "--data", "digits", "--set", "limit_train=320"]
    assert main(["train", *same, "--epochs", "3", "--quiet", "--out", str(tmp_path / "good")]) == 0
    again = ["--network", str(run), "--init-from", str(tmp_path / "good"), "--data", "digits"]
    few = [
        "--set",
        "limit_train=32",
        "--epochs",
        "1",
        "--lr",
        "50",
        "--quiet",
        "--out",
        str(tmp_path / "bad"),
    ]
    capsys.readouterr()
    assert main(["train", *again, *few]) == 0
    told = capsys.readouterr()
    assert "before learning: " in told.out
    assert "learning made the network worse; try --lr auto, or --lr 5" in told.err
