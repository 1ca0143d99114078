"""Names, paths, folders, and the embedded digits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from insitu.data import describe, load, names
from insitu.errors import ConfigError, DataError

from .conftest import write_mnist


def test_names():
    assert names() == ("digits", "mnist", "fashion-mnist", "cifar10", "spar-watch", "spoken-digits")


def test_digits_are_embedded_and_their_split_is_fixed():
    data = load("digits")
    assert data.train.x.shape == (1437, 1, 8, 8) and data.test.x.shape == (360, 1, 8, 8)
    assert data.train.x.dtype == np.float32 and data.train.y.dtype == np.int64
    assert (data.train.x.min(), data.train.x.max()) == (0.0, 1.0)
    counts = np.bincount(data.train.y) + np.bincount(data.test.y)
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert set(np.bincount(data.test.y)) <= {35, 36, 37}
    assert data.test.y[:10].tolist() == [1, 0, 2, 6, 6, 4, 8, 5, 7, 1]
    assert data.source == "embedded" and data.outputs == 10
    few = load("digits", limit_train=100, limit_test=5)
    assert np.array_equal(few.train.x, data.train.x[:100]) and len(few.test) == 5
    assert set(few.train.y) == set(range(10))


def test_the_embedded_file_is_the_shared_one(real_data):
    from insitu.data import embedded

    ours = Path(embedded.__file__).parent / "files" / embedded.FILE
    assert ours.read_bytes() == (real_data / "optdigits" / embedded.FILE).read_bytes()


def test_folders_are_searched_in_order(tmp_path, monkeypatch, lone_environment):
    for k, root in enumerate((tmp_path / "arg", tmp_path / "env", lone_environment)):
        write_mnist(root, train=k + 1, test=1)
    monkeypatch.setenv("INSITU_DATA", str(tmp_path / "env"))
    assert len(load("mnist", data_dir=tmp_path / "arg").train) == 1
    assert len(load("mnist").train) == 2
    (tmp_path / "empty").mkdir()
    assert len(load("mnist", data_dir=tmp_path / "empty").train) == 2
    monkeypatch.delenv("INSITU_DATA")
    assert len(load("mnist").train) == 3


def test_missing_data_name_the_folders_and_the_remedy(tmp_path, monkeypatch, lone_environment):
    monkeypatch.setenv("INSITU_DATA", str(tmp_path / "env"))
    (write_mnist(tmp_path) / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError) as caught:
        load("mnist", data_dir=tmp_path)
    assert str(caught.value) == (
        f"data 'mnist' was not found. Looked in: {tmp_path}/MNIST/raw (lacks t10k-labels-idx1-ubyte.gz); "
        f"{tmp_path}/env/MNIST/raw (no such folder); {lone_environment}/MNIST/raw (no such folder). "
        "Run 'insitu data fetch mnist', or set INSITU_DATA or --data-dir to the folder that holds it."
    )
    with pytest.raises(DataError, match=r"cifar-10-batches-bin \(no such folder\).*data fetch cifar10"):
        load("cifar10")
    with pytest.raises(DataError, match=r"'spar-watch' was not found.*Put spar_watch_50hz\.npz"):
        load("spar-watch")
    with pytest.raises(DataError, match=r"data folder .*nowhere: no such folder\. Correct --data-dir"):
        load("mnist", data_dir=tmp_path / "nowhere")


def test_without_xdg_the_cache_is_in_the_home(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    write_mnist(tmp_path / ".cache/insitu")
    assert load("mnist").source == str(tmp_path / ".cache/insitu/MNIST/raw")


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("MNIST", ConfigError, r"data 'MNIST' is not known\. Did you mean 'mnist'\? Choose one of"),
        ("wine", ConfigError, r"data 'wine' is not known\. Choose one of .*or a path to an \.npz"),
        ("", ConfigError, r"data '' is not known"),
        ("no/such/folder", DataError, r"no/such/folder: no such file or folder\. Correct the path"),
        ("none.npz", DataError, r"none\.npz: no such file or folder"),
    ],
)
def test_unknown_names(tmp_path, monkeypatch, name, kind, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=reason):
        load(name)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("1,2")
    with pytest.raises(
        DataError, match=r"table\.tsv: neither an \.npz nor a \.csv file, nor a folder\. Convert it"
    ):
        load(str(path))


@pytest.mark.parametrize("limit", [0, -3, 1.5, "many", True])
def test_bad_limits(limit):
    with pytest.raises(ConfigError, match=r"data 'digits', limit_train=.*: give a whole number"):
        load("digits", limit_train=limit)
    with pytest.raises(ConfigError, match=r"limit_test="):
        load("digits", limit_test=limit)


def test_describe_is_ready_for_json(tmp_path):
    write_mnist(tmp_path)
    rows = {row["name"]: row for row in describe(data_dir=tmp_path)}
    assert tuple(rows) == names()
    assert rows["digits"]["found"] == "embedded"
    assert rows["mnist"]["found"] == str(tmp_path / "MNIST/raw")
    assert rows["cifar10"]["found"] is None and rows["cifar10"]["shape"] == [3, 32, 32]
    assert json.loads(json.dumps(list(rows.values())))[0]["train"] == 1437
    assert [row["found"] for row in describe()][1:] == [None] * 5


def test_the_described_counts_are_true(real_data):
    for row in describe(data_dir=real_data):
        if row["name"] in ("digits", "mnist", "spar-watch"):
            data = load(row["name"], data_dir=real_data)
            assert (len(data.train), len(data.test)) == (row["train"], row["test"])
            assert list(data.sample_shape) == row["shape"] and data.classes == row["classes"]


def test_neither_torch_nor_pillow_is_imported():
    code = "import sys, insitu.data; sys.exit(bool({'torch', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
