"""What a run starts from: all that learning trained there, and a word about what has no use or is not there."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insitu.errors import CheckpointError, ConfigError, InsituError, InsituWarning, NetworkError
from insitu.experiment.config import RunConfig, parse
from insitu.experiment.pretrained import parameters
from insitu.experiment.train import train


def config(**more: Any) -> RunConfig:
    raw = {
        **{
            "network": "mlp-64-12-12-10",
            "rule": "etch",
            "rule_options": {"vote": 1},
            "epochs": 1,
            "batch": 8,
        },
        **{"limit_train": 200, "limit_test": 100, **more},
    }
    return parse(RunConfig, raw, "test")


@pytest.mark.parametrize("precision", ["float32", "edge-latent-free-8", "w8a8"])
def test_heads_are_carried_over(tmp_path: Path, precision: str) -> None:
    mine = config(precision=precision, epochs=2)
    first = train(mine, tmp_path / "a")
    assert {
        "fc1.head.weight",
        "fc2.head.weight",
    } <= first.heads.keys() and not first.heads.keys() & first.params.keys()
    with np.load(tmp_path / "a" / "heads.npz") as stored:
        assert {n: a.tobytes() for n, a in stored.items()} == {n: a.tobytes() for n, a in first.heads.items()}
    again = train(mine.model_copy(update={"init_from": str(tmp_path / "a")}), tmp_path / "b")
    assert again.before is not None
    assert abs(again.before[mine.precision_name] - first.test_accuracy) <= (
        0.0 if precision == "float32" else 0.1
    )


def test_a_start_of_the_parameters_alone_begins_heads_anew_and_says_so(tmp_path: Path) -> None:
    train(config(), tmp_path / "a")
    alone = config(init_from=str(tmp_path / "a" / "parameters.npz"))
    with pytest.warns(
        InsituWarning, match=r"fc1\.head\.bias, fc1\.head\.weight.* is not there and begins as in a new"
    ):
        train(alone)
    with pytest.warns(InsituWarning, match=r"fc1\.head\.weight.* is not used, as the rule has no such part"):
        train(config(rule="bp", rule_options={}, init_from=str(tmp_path / "a")))


def test_a_head_of_another_shape_is_refused(tmp_path: Path) -> None:
    train(config(), tmp_path / "a")
    with np.load(tmp_path / "a" / "heads.npz") as stored:
        arrays = dict(stored)
    arrays["fc1.head.weight"] = np.zeros((3, 3))
    np.savez(tmp_path / "a" / "heads.npz", **arrays)
    with pytest.raises(
        NetworkError, match=r"'fc1.head.weight' of shape \[3, 3\], and rule .* needs \[10, 12\]"
    ):
        train(config(init_from=str(tmp_path / "a")))


def saved(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("fc1.weight.npy", content)
    return stream.getvalue()


GOOD = saved(**{"fc1.weight": np.zeros((16, 64), np.float32)})
DAMAGED = {
    "empty": b"",
    "cut": GOOD[:300],
    "flipped": GOOD[:300] + bytes([GOOD[300] ^ 255]) + GOOD[301:],
    "text": b"abc",
    "no array": zipped(b"abc"),
    "cut array": zipped(GOOD[40:90]),
    "pickle": saved(**{"fc1.weight": np.array([{}], object)}),
    "text array": saved(**{"fc1.weight": np.array(["a"])}),
    "complex": saved(**{"fc1.weight": np.zeros(3, complex)}),
    "dates": saved(**{"fc1.weight": np.zeros(3, "M8[s]")}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "p.npz").write_bytes(DAMAGED[name])
    with pytest.raises(ConfigError, match=r"Give a finished run folder|give arrays of numbers"):
        parameters(str(tmp_path / "p.npz"))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    for place in ("none.npz", "r"):
        with pytest.raises(ConfigError, match=r"there is no .*; give a finished run folder"):
            parameters(str(tmp_path / place))


def test_a_damaged_result_of_the_run_is_refused(tmp_path: Path) -> None:
    train(config(), tmp_path / "a")
    for content in (b"", b"\xff", b"[1]", b'{"identity": 3}', b"[" * 100_000):
        (tmp_path / "a" / "result.json").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"result\.json.*; pass .*parameters\.npz alone"):
            train(config(init_from=str(tmp_path / "a")))
    (tmp_path / "a" / "result.json").unlink()
    assert train(config(init_from=str(tmp_path / "a"))).samples


def test_values_that_are_not_finite_are_named(tmp_path: Path) -> None:
    train(config(), tmp_path / "a")
    with np.load(tmp_path / "a" / "heads.npz") as stored:
        arrays = dict(stored)
    arrays["fc2.head.bias"][0] = np.nan
    np.savez(tmp_path / "a" / "heads.npz", **arrays)
    with pytest.raises(InsituError, match=r"'fc2\.head\.bias' holds values that are not finite"):
        train(config(init_from=str(tmp_path / "a")))
