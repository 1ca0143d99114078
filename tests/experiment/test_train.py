"""Run folders: complete, resumable at any moment, and never overwritten."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from insitu.errors import CheckpointError, ConfigError, DataError, NetworkError
from insitu.experiment.config import RunConfig, load, parse
from insitu.experiment.resolve import Setup
from insitu.experiment.train import load_run, train


def config(**more: Any) -> RunConfig:
    raw = {"network": "mlp-64-20-10", "epochs": 3, "limit_train": 300, "limit_test": 100, **more}
    return parse(RunConfig, raw, "test")


def test_run_folder_is_complete(tmp_path: Path) -> None:
    outcome = train(config(alignment=True, rule="dfa"), tmp_path / "run")
    files = {p.name for p in (tmp_path / "run").iterdir()}
    assert files == {
        "config.yaml",
        "events.jsonl",
        "step.txt",
        "env.json",
        "checkpoint.pt",
        "result.json",
    } | {"parameters.npz"}
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert [e["epoch"] for e in events] == [1, 2, 3]
    assert 0 < events[-1]["alignment"]["fc1.weight"] < 180
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["test_accuracy"] == outcome.test_accuracy
    assert "matmul_dw_update" in (tmp_path / "run" / "step.txt").read_text()


def test_the_written_configuration_repeats_the_run(tmp_path: Path) -> None:
    first = train(config(rule="drtp"), tmp_path / "a")
    again = train(load(RunConfig, tmp_path / "a" / "config.yaml"), tmp_path / "b")
    assert first.curve == again.curve
    assert all(np.array_equal(first.params[k], again.params[k]) for k in first.params)


def test_a_used_folder_is_not_overwritten(tmp_path: Path) -> None:
    train(config(), tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(CheckpointError, match="already holds a run; pass --resume"):
        train(config(epochs=5), tmp_path)
    with pytest.raises(CheckpointError, match="belongs to another configuration"):
        train(config(epochs=5), tmp_path, resume=True)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_run_without_checkpoint_yet_takes_no_other_configuration(tmp_path: Path) -> None:
    train(config(), tmp_path)
    for name in ("checkpoint.pt", "result.json"):
        (tmp_path / name).unlink()
    before = (tmp_path / "config.yaml").read_bytes()
    with pytest.raises(CheckpointError, match="belongs to another configuration"):
        train(config(epochs=5), tmp_path, resume=True)
    assert (tmp_path / "config.yaml").read_bytes() == before
    assert len(train(config(), tmp_path, resume=True).curve.samples) == 3


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    first = train(config(), tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    again = train(config(), tmp_path, resume=True)
    assert again.curve == first.curve
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_killed_between_an_epochs_last_checkpoint_and_its_evaluation(tmp_path: Path) -> None:
    """The evaluation's line is on disk, the checkpoint behind it is not: it must not be there twice after resuming."""
    from insitu.run import checkpoint

    saved: list[bytes] = []
    original = checkpoint.save

    def spy(path: Path, *rest: Any) -> None:
        original(path, *rest)
        saved.append(path.read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", spy)
        whole = train(config(batch=100, checkpoint_steps=3), tmp_path)
    assert len(saved) == 6  # behind the third step of each epoch, and behind each evaluation
    (tmp_path / "checkpoint.pt").write_bytes(saved[2])
    again = train(config(batch=100, checkpoint_steps=3), tmp_path, resume=True)
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [e["epoch"] for e in events if e["kind"] == "eval"] == [1, 2, 3]
    assert again.curve == whole.curve


def test_a_corrupt_checkpoint_is_refused_and_kept(tmp_path: Path) -> None:
    train(config(), tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"garbage")
    with pytest.raises(CheckpointError, match="damaged"):
        train(config(), tmp_path, resume=True)
    assert (tmp_path / "result.json").exists()


SLOW = ["--network", "cnn-8-16", "--epochs", "3", "--rule", "dfa", "--set", "checkpoint_steps=3"]
SLOW += ["--set", "augment.pad=1", "--batch", "16", "--set", "threads=1"]


def insitu(*words: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "insitu.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **more,
    )


def test_sigkill_at_any_moment_then_resume_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = insitu("train", *SLOW, "--out", str(tmp_path / "whole"))
    assert whole.wait(timeout=120) == 0, whole.communicate()
    run = tmp_path / "killed"
    rng = np.random.default_rng(int(os.environ.get("INSITU_KILL_SEED", "5")))
    kills = 0
    for attempt in range(40):
        process = insitu("train", *SLOW, "--out", str(run), *(["--resume"] if run.exists() else []))
        deadline = time.monotonic() + 60
        progressed = (run / "checkpoint.pt").stat().st_mtime_ns if (run / "checkpoint.pt").exists() else 0
        while process.poll() is None and time.monotonic() < deadline:
            now = (run / "checkpoint.pt").stat().st_mtime_ns if (run / "checkpoint.pt").exists() else 0
            if now != progressed and kills < 3:
                time.sleep(float(rng.uniform(0, 0.15)))
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
        code = process.wait(timeout=60)
        if code == 0:
            break
        assert code == -signal.SIGKILL, process.communicate()
        kills += 1
        assert not list(run.glob("result.json")) or attempt > 0
    assert kills >= 2
    a, b = (load_run(tmp_path / name) for name in ("whole", "killed"))
    assert a[1].keys() == b[1].keys()
    assert all(torch.equal(a[1][k], b[1][k]) for k in a[1])
    lines = [
        [json.loads(x) for x in (tmp_path / n / "events.jsonl").read_text().splitlines()]
        for n in ("whole", "killed")
    ]
    rows = [
        [{k: v for k, v in e.items() if k != "seconds"} for e in found if e["kind"] == "eval"]
        for found in lines
    ]
    assert rows[0] == rows[1]


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    (
        {"network": "mlp-64-20-11"},
        NetworkError,
        "has 11 outputs, data 'digits' needs 10; choose a network with 10",
    ),
    (
        {"network": "mlp-65-20-10"},
        NetworkError,
        r"takes inputs of shape \[65\], data 'digits' has \[1, 8, 8\]",
    ),
    ({"network": "mlp-64-x-10"}, ConfigError, "mlp-64-x-10"),
    ({"rule": "backprop"}, ConfigError, "rule 'backprop' is unknown"),
    ({"data": "no-such-set"}, ConfigError, "no-such-set"),
    (
        {"batch": 301},
        DataError,
        "batch 301 is larger than the 300 training samples of 'digits'; use --batch 300",
    ),
    ({"network_options": {"activaton": "relu"}}, ConfigError, "network option 'activaton' is unknown"),
    ({"target": "input"}, ConfigError, "use --set loss=mse"),
    ({"validation": 0.9999}, DataError, "leaves 0 to train on; choose a share"),
    ({"validation": 0.0001}, DataError, "leaves 300 to train on; choose a share"),
    ({"network": "net.py:make"}, ConfigError, "there is no file net.py"),
    (
        {"network": "net.py:make", "network_options": {"init": "zeros", "dropout": 0.1}},
        ConfigError,
        "network option 'dropout' is for networks of the zoo, and net.py:make has layers of its own",
    ),
    (
        {"rule": "drtp", "target": "input", "loss": "mse", "network": "mlp-64-8-64"},
        NetworkError,
        "use dfa or sdfa",
    ),
]


@pytest.mark.parametrize(("change", "error", "message"), REFUSED, ids=[str(r[0]) for r in REFUSED])
def test_refused_before_anything_is_written(
    change: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        train(config(**change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_users_module_is_captured_trained_and_given_back(tmp_path: Path) -> None:
    source = tmp_path / "mynet.py"
    source.write_text(
        "import torch\n"
        "def make():\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 20), torch.nn.Tanh(),\n"
        "                               torch.nn.Linear(20, 10))\n"
    )
    run = config(network=f"{source}:make", optimizer={"lr": 0.5})
    outcome = train(run)
    net = Setup.of(run).net
    namespace: dict[str, Any] = {}
    exec(source.read_text(), namespace)
    module = namespace["make"]()
    net.load_into(module, outcome.params)
    data = Setup.of(run).data.test
    with torch.no_grad():
        right = (module(torch.from_numpy(data.x)).argmax(1).numpy() == data.y).mean()
    assert right == pytest.approx(outcome.test_accuracy)
    assert right > 0.5


def test_images_are_augmented_before_an_mlp_flattens_them() -> None:
    plain, moved = (train(config(epochs=1, augment={"pad": pad})) for pad in (0, 1))
    assert moved.curve.train_loss != plain.curve.train_loss


def test_autoencoder_learns_to_reconstruct() -> None:
    outcome = train(
        config(network="mlp-64-16-64", target="input", loss="mse", optimizer={"kind": "adam", "lr": 0.003})
    )
    assert outcome.test_accuracy is None
    losses = outcome.curve.test_loss
    assert losses[-1] is not None and losses[0] is not None and losses[-1] < 0.8 * losses[0]


def test_zero_initial_weights_stop_bp_but_not_dfa_with_tanh() -> None:
    """Nøkland's trap: with zero weights BP has no error below the last layer, DFA has."""
    options = {"network_options": {"init": "zeros"}, "optimizer": {"lr": 0.5}, "epochs": 1}
    trained = {r: train(config(rule=r, **options)).params["fc1.weight"] for r in ("bp", "dfa")}
    first = {r: np.abs(w).max() for r, w in trained.items()}
    assert first["dfa"] > 0.01 and first["bp"] == 0.0


def test_double_precision_is_followed_throughout(tmp_path: Path) -> None:
    train(config(precision="float64"), tmp_path)
    _, state, _ = load_run(tmp_path)
    assert {t.dtype for t in state.values()} == {torch.float64}
    weights = state["fc1.weight"]
    assert not torch.equal(weights, weights.float().double())  # more digits than single precision holds


@pytest.mark.parametrize("changed", ["network", "data"])
def test_a_changed_file_is_noticed(tmp_path: Path, changed: str) -> None:
    module, data = tmp_path / "net.py", tmp_path / "data.npz"
    module.write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))\n"
    )
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.random((40, 8), np.float32), "y_train": np.arange(40) % 3}
    np.savez(data, **arrays, x_test=arrays["x_train"][:9], y_test=arrays["y_train"][:9])
    more = {"network": f"{module}:make", "data": str(data), "limit_train": None, "limit_test": None}
    train(config(**more), tmp_path / "run")
    train(config(**more), tmp_path / "run", resume=True)
    if changed == "network":
        module.write_text(module.read_text().replace("Tanh", "ReLU"))
    else:
        np.savez(data, **arrays, x_test=arrays["x_train"][:6], y_test=arrays["y_train"][:6])
    told = "is of another version of its network" if changed == "network" else "was trained on other data"
    with pytest.raises(CheckpointError, match=told):
        train(config(**more), tmp_path / "run", resume=True)


def test_stored_validation_samples_are_used_and_training_samples_kept(tmp_path: Path) -> None:
    """Accuracy on them is that of their own labels: right ones, and then wrong ones."""
    rng = np.random.default_rng(1)
    y = np.arange(80) % 2
    x = (y[:, None] + 0.1 * rng.normal(size=(80, 4))).astype(np.float32)
    splits = {"x_train": x, "y_train": y, "x_test": x[:10], "y_test": y[:10], "x_val": x[:20]}
    for wrong in (0, 1):
        path = tmp_path / f"{wrong}.npz"
        np.savez(path, **splits, y_val=np.abs(y[:20] - wrong))
        seen: list[dict[str, Any]] = []
        run = config(
            data=str(path),
            network="mlp-4-8-2",
            epochs=3,
            limit_train=None,
            validation=0.5,
            early_stop={"patience": 9},
        )
        outcome = train(run, on_event=seen.append)
        last = [event for event in seen if "validation_accuracy" in event][-1]
        assert last["validation_accuracy"] == 1 - wrong and outcome.samples == 240


def test_early_stop_without_validation_samples_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"early_stop needs validation samples.*--set validation=0\.1"):
        train(config(early_stop={"patience": 2}))
