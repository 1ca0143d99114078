"""A run is of one network, data, program and version; whoever goes on from it looks at all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import insitu
from insitu.cli import main
from insitu.errors import CheckpointError, ConfigError
from insitu.experiment import identity as identities
from insitu.experiment.check import check
from insitu.experiment.compare import compare
from insitu.experiment.config import CompareConfig, RunConfig, parse
from insitu.experiment.export import export
from insitu.experiment.identity import fingerprint, identity
from insitu.experiment.resolve import Setup
from insitu.experiment.train import load_run, train
from insitu.inputs.foreign import imported
from insitu.report.load import load_results

NETWORK = """
from torch import nn
def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, 10))
"""


def config(folder: Path, **more: Any) -> RunConfig:
    raw = {
        **{
            "network": f"{folder / 'net.py'}:make",
            "rule": "dfa",
            "precision": "edge-latent-free-8",
            "epochs": 1,
        },
        **{"batch": 8, "limit_train": 80, "limit_test": 40, **more},
    }
    return parse(RunConfig, raw, "test")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NETWORK)
    return tmp_path


@pytest.fixture
def run(place: Path) -> Path:
    train(config(place), place / "r")
    return place / "r"


def edit(folder: Path) -> None:
    (folder / "net.py").write_text(NETWORK.replace("Tanh", "ReLU"))


CHANGED = "another version of its network file.*put back the files of that run"


def test_an_edited_network_is_refused_by_whoever_goes_on(place: Path, run: Path) -> None:
    assert export(run, place / "a") and load_run(run)[2].finished
    edit(place)
    with pytest.raises(CheckpointError, match=CHANGED):
        train(config(place), run, resume=True)
    with pytest.raises(CheckpointError, match=CHANGED):
        export(run, place / "b")
    with pytest.raises(CheckpointError, match=CHANGED):
        load_run(run)
    with pytest.raises(
        CheckpointError, match=r"trained with another version of .*pass its parameters\.npz alone"
    ):
        train(config(place, init_from=str(run)))
    assert train(config(place, init_from=str(run / "parameters.npz"))).params
    found = check(str(run), None, (), (), None, None)
    assert not found.clean and "another version of its network" in found.text()
    assert not (place / "b").exists()


def test_check_says_that_a_runs_files_are_as_they_were(tmp_path: Path, capsys: Any) -> None:
    train(config(tmp_path, network="mlp-64-12-10"), tmp_path / "r")
    assert (
        main(["check", str(tmp_path / "r")]) == 0
        and "its files are those of the run" in capsys.readouterr().out
    )


def test_results_of_two_versions_of_a_network_are_not_shown_as_one(place: Path) -> None:
    raw = config(place).model_dump(exclude={"network", "rule", "rule_options", "seed"})
    compared = parse(
        CompareConfig,
        {**raw, "networks": [f"{place / 'net.py'}:make"], "rules": [{"rule": "dfa"}], "seeds": 1},
        "test",
    )
    for name in "ab":
        compare(compared, place / name)
    assert len(load_results([place / "a", place / "b"])) == 2
    edit(place)
    compare(compared, place / "c")
    with pytest.raises(ConfigError, match=r"two versions of network .*net.py:make.*report them apart"):
        load_results([place / "a", place / "c"])


def test_other_data_and_another_version_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((60, 64), np.float32), rng.integers(0, 10, 60)
    y[:10] = range(10)
    for name in ("d.npz", "same.npz"):
        np.savez(place / name, x=x, y=y, class_names=np.arange(10))
    mine = config(place, data=str(place / "d.npz"), limit_train=None, limit_test=None)
    train(mine, place / "r")
    assert train(mine, place / "r", resume=True).samples
    with (
        monkeypatch.context() as patch,
        pytest.raises(CheckpointError, match=r"insitu .*; install that version"),
    ):
        patch.setattr(insitu, "__version__", "9.9")
        train(mine, place / "r", resume=True)
    x[3, 3] += 0.5
    np.savez(place / "d.npz", x=x, y=y, class_names=np.arange(10))
    with pytest.raises(CheckpointError, match="trained on other data; put back the data of that run"):
        train(mine, place / "r", resume=True)


def test_another_program_is_named(place: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "_of_program", lambda _: "other")
    with pytest.raises(
        CheckpointError, match=r"is of another program .*, or start the run anew in another folder"
    ):
        export(run, place / "b")


def test_an_older_file_without_identity_is_refused() -> None:
    with pytest.raises(CheckpointError, match="does not say what run it is of"):
        identities.compare("abc", {"program": "x"}, "checkpoint c")


def test_modules_beside_the_network_belong_to_it(tmp_path: Path) -> None:
    files = {
        "net.py": "import torch\nfrom parts import block\nfrom pack.deep import thing\n",
        "parts.py": "def block():\n    import later\n",
        "later.py": "",
        "pack/__init__.py": "from . import side\n",
        "pack/deep.py": "from .. import parts\n",
        "pack/side.py": "",
        "other.py": "",
        "torch_like.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {str(p.relative_to(tmp_path)) for p in imported(f"{tmp_path}/net.py:make")}
    assert found == {"net.py", "parts.py", "later.py", "pack/__init__.py", "pack/deep.py", "pack/side.py"}
    mine = config(tmp_path)
    before = fingerprint(mine)
    (tmp_path / "later.py").write_text("x = 1\n")
    assert fingerprint(mine) != before
    assert imported("mlp-64-10") == imported("none.py:make") == []


def test_the_engine_and_where_data_lie_are_no_part(place: Path) -> None:
    (place / "net.py").write_text(NETWORK)
    moved = config(place, engine="c", checkpoint_steps=3)
    assert identity(Setup.of(config(place))) == identity(Setup.of(moved))
