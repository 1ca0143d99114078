"""`cifar10` in its three layouts, and the unpickler that runs nothing."""

from __future__ import annotations

import hashlib
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

from insitu.data import cifar, load
from insitu.data.mirrors import REMOTES
from insitu.data.pickles import read_pickled_batch
from insitu.errors import DataError

BATCH = 20


def make_batches() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return {
        name: (rng.integers(0, 256, (BATCH, 3072), dtype=np.uint8), rng.integers(0, 10, BATCH))
        for name in (*cifar.TRAIN_BATCHES, cifar.TEST_BATCH)
    }


def python2_pickle(images: np.ndarray, labels: np.ndarray) -> bytes:
    """The opcodes of Python 2's protocol 2, in which the published files are written."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def integer(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little", signed=True)

    raw = images.tobytes()
    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + integer(0) + integer(1) + b"tR"
    dtype += b"(" + integer(3) + text(b"|") + b"NNN" + integer(-1) + integer(-1) + integer(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
    array += integer(0) + b"\x85" + text(b"b") + b"tR"
    shape = integer(images.shape[0]) + integer(images.shape[1]) + b"\x86"
    array += b"(" + integer(1) + shape + dtype + b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    listed = b"](" + b"".join(integer(int(k)) for k in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + b"u."


def write(root: Path, layout: str) -> None:
    folder = root / {"binary": "cifar-10-batches-bin"}.get(layout, "cifar-10-batches-py")
    folder.mkdir()
    for name, (images, labels) in make_batches().items():
        if layout == "binary":
            records = np.concatenate([labels[:, None].astype(np.uint8), images], axis=1)
            (folder / f"{name}.bin").write_bytes(records.tobytes())
        elif layout == "python 2":
            (folder / name).write_bytes(python2_pickle(images, labels))
        else:
            (folder / name).write_bytes(pickle.dumps({"data": images, "labels": labels.tolist()}, protocol=3))


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(cifar, "BATCH_SIZE", BATCH)


@pytest.mark.parametrize("layout", ["binary", "python 2", "python 3"])
def test_the_layouts_agree(tmp_path, small, layout):
    write(tmp_path, layout)
    data = load("cifar10", data_dir=tmp_path, limit_train=50)
    batches = list(make_batches().values())
    images = np.concatenate([b[0] for b in batches[:3]])[:50].reshape(-1, 3, 32, 32)
    mean, deviation = np.array(cifar.MEAN)[:, None, None], np.array(cifar.DEVIATION)[:, None, None]
    assert data.train.x.dtype == np.float32
    np.testing.assert_allclose(data.train.x, (images / 255.0 - mean) / deviation, rtol=1e-6, atol=1e-7)
    assert data.train.y.tolist() == np.concatenate([b[1] for b in batches[:3]])[:50].tolist()
    assert data.test.y.tolist() == batches[5][1].tolist()
    assert data.class_names[6] == "frog"


def test_a_limit_reads_only_the_batches_it_needs(tmp_path, small):
    write(tmp_path, "binary")
    (tmp_path / "cifar-10-batches-bin/data_batch_2.bin").write_bytes(b"damaged")
    assert len(load("cifar10", data_dir=tmp_path, limit_train=BATCH).train) == BATCH
    with pytest.raises(DataError, match=r"data_batch_2\.bin: 7 bytes instead of 61460.*data fetch cifar10"):
        load("cifar10", data_dir=tmp_path, limit_train=BATCH + 1)


def test_a_binary_label_out_of_range(tmp_path, small):
    write(tmp_path, "binary")
    path = tmp_path / "cifar-10-batches-bin/test_batch.bin"
    path.write_bytes(b"\x0a" + path.read_bytes()[1:])
    with pytest.raises(DataError, match=r"test_batch has the label 10, outside 0\.\.9"):
        load("cifar10", data_dir=tmp_path)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_cannot_run_anything(tmp_path, small):
    write(tmp_path, "python 3")
    path = tmp_path / "cifar-10-batches-py/data_batch_1"
    path.write_bytes(pickle.dumps({"data": Bomb(tmp_path / "bang"), "labels": []}))
    with pytest.raises(DataError, match=r"data_batch_1: .*it asks for \S+, which is not permitted.*fetch"):
        load("cifar10", data_dir=tmp_path)
    assert not (tmp_path / "bang").exists()
    for asked in (b"os\nsystem", b"builtins\neval", b"numpy\nload", b"numpy\ndtype.newbyteorder"):
        path.write_bytes(b"c" + asked + b"\n(tR.")
        with pytest.raises(DataError, match="not permitted"):
            read_pickled_batch(path, "Fetch it.")


NO_ARRAY = "not a uint8 array of shape"
IMAGES, LABELS = make_batches()["test_batch"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pickle.dumps([1, 2]), "does not hold a dictionary"),
        (pickle.dumps({"data": 1}), "'data' is not an array"),
        (pickle.dumps({"labels": [1]}), "it has no 'data'"),
        (pickle.dumps({"data": IMAGES}, protocol=3), "it has no 'labels'"),
        (pickle.dumps({"data": IMAGES.astype(np.int64), "labels": []}, protocol=3), NO_ARRAY),
        (pickle.dumps({"data": IMAGES[:, :100], "labels": []}, protocol=3), NO_ARRAY),
        (pickle.dumps({"data": np.asfortranarray(IMAGES), "labels": []}, protocol=3), NO_ARRAY),
        (pickle.dumps({"data": IMAGES, "labels": [1, 10]}, protocol=3), r"not a list of classes 0\.\.9"),
        (python2_pickle(IMAGES, LABELS)[:-100], "not a CIFAR-10 python batch"),
        (python2_pickle(IMAGES, LABELS).replace(b"U\x02u1", b"U\x02O8"), NO_ARRAY),
        (b"", "not a CIFAR-10 python batch"),
        (b"r\xff\xff\xff\xff.", "not a CIFAR-10 python batch"),
    ],
)
def test_pickles_that_are_no_batch(tmp_path, content, reason):
    path = tmp_path / "data_batch_1"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason + r".* Fetch it\."):
        read_pickled_batch(path, "Fetch it.")


def test_the_handmade_python_2_pickle_is_well_formed():
    assert "numpy.core.multiarray _reconstruct" in {
        arg for op, arg, _ in pickletools.genops(python2_pickle(IMAGES, LABELS)) if op.name == "GLOBAL"
    }


@pytest.mark.parametrize("batch", ["data_batch_1", "test_batch"])
def test_the_webp_grids_hold_the_original_bytes(real_data, batch):
    images, labels = cifar.read_batch(cifar.WEBP, real_data / "cifar10", batch)
    records = np.concatenate([labels[:, None].astype(np.uint8), images.reshape(-1, 3072)], axis=1)
    members = {name: digest for name, digest, _ in REMOTES["cifar10"].files[0].members}
    assert hashlib.sha256(records.tobytes()).hexdigest() == members[f"{batch}.bin"]


def test_the_real_data(real_data):
    data = load("cifar10", data_dir=real_data, limit_train=10_000, limit_test=100)
    assert data.train.x.shape == (10_000, 3, 32, 32)
    assert data.train.y[:5].tolist() == [6, 9, 9, 4, 1] and data.test.y[:5].tolist() == [3, 8, 8, 0, 6]
    assert np.bincount(data.train.y).tolist() == [1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981]
    restored = np.round((data.train.x[0, :, 0, 0] * cifar.DEVIATION + cifar.MEAN) * 255)
    red = np.round((data.train.x[0, 0, 0, :3] * cifar.DEVIATION[0] + cifar.MEAN[0]) * 255)
    assert restored[0] == 59 and red.tolist() == [59, 43, 50]
    assert np.abs(data.train.x.mean(axis=(0, 2, 3))).max() < 0.02
    assert np.abs(data.train.x.std(axis=(0, 2, 3)) - 1).max() < 0.02


def test_a_damaged_grid(tmp_path, real_data):
    folder = tmp_path / "cifar10"
    folder.mkdir()
    for path in (real_data / "cifar10").iterdir():
        (folder / path.name).symlink_to(path)
    grid = folder / "data_batch_1.webp"
    whole = grid.read_bytes()
    grid.unlink()
    grid.write_bytes(whole[:100_000])
    with pytest.raises(DataError, match=r"data_batch_1\.webp: cannot be decoded.*insitu data fetch cifar10"):
        load("cifar10", data_dir=tmp_path, limit_train=1)
    from PIL import Image

    Image.new("RGB", (64, 64)).save(grid, lossless=True)
    with pytest.raises(DataError, match=r"shape \(64, 64, 3\) instead of a 100x100 grid"):
        load("cifar10", data_dir=tmp_path, limit_train=1)
