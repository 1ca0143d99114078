"""The user's own `.npz` files."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from insitu.data import load
from insitu.errors import ConfigError, DataError, InsituWarning


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("must-not-exist"),))


def save(path: Path, **arrays) -> str:
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.npz"


def test_x_and_y_are_split_and_scaled(path):
    x = np.arange(50 * 6).reshape(50, 2, 3).astype(np.uint8)
    data = load(save(path, x=x, y=np.arange(50) % 5))
    assert (len(data.train), len(data.test)) == (40, 10)
    assert np.bincount(data.test.y).tolist() == [2] * 5
    assert data.sample_shape == (1, 2, 3) and data.train.x.shape == (40, 1, 2, 3)
    assert data.train.x.dtype == np.float32 and data.train.x.max() <= 1.0
    first = np.flatnonzero((x.reshape(50, -1) == np.round(data.train.x[0].ravel() * 255)).all(axis=1))
    assert data.train.y[0] == first[0] % 5
    assert data.classes == 5 and data.class_names == ("0", "1", "2", "3", "4")
    assert data.name == data.source == str(path)
    again = load(str(path), limit_train=7, limit_test=3)
    assert np.array_equal(again.train.x, data.train.x[:7])
    assert np.array_equal(again.test.y, data.test.y[:3])
    other = load(str(path), options={"split_seed": "4", "test_fraction": "0.5"})
    assert len(other.test) == 25


def test_stored_splits_are_kept_and_limits_are_spread(path):
    x = np.arange(20, dtype=np.float64).reshape(10, 2)
    y = np.repeat([0, 1], 5)
    names = np.array(["cat", "dog"])
    data = load(
        save(path, x_train=x, y_train=y, x_test=x[::2], y_test=y[::2], class_names=names), limit_train=4
    )
    assert data.train.x.tolist() == x[[0, 2, 5, 7]].tolist()
    assert data.train.y.tolist() == [0, 0, 1, 1]
    assert data.test.x.tolist() == x[::2].tolist()
    assert data.class_names == ("cat", "dog")
    with pytest.raises(ConfigError, match=r"own splits, so option 'split_seed' has no use"):
        load(str(path), options={"split_seed": 3})


def test_colour_images_with_the_channels_last_are_turned(path):
    x = np.random.default_rng(0).integers(0, 256, (10, 6, 5, 3), dtype=np.uint8)
    y = np.arange(10) % 2
    data = load(save(path, x_train=x, y_train=y, x_test=x, y_test=y))
    assert np.array_equal(np.round(data.train.x * 255).transpose(0, 2, 3, 1), x)
    kept = load(str(path), options={"layout": "nchw"})
    assert kept.sample_shape == (6, 5, 3)


def test_floats_are_regression_unless_told_otherwise(path):
    x = np.zeros((10, 3), np.float32)
    data = load(save(path, x=x, y=np.arange(10) % 2 * 1.0))
    assert data.classes is None and data.class_names == () and data.outputs == 1
    assert data.train.y.shape == (8, 1) and data.train.y.dtype == np.float32
    assert load(str(path), options={"task": "classification"}).classes == 2
    assert load(save(path, x=x, y=np.zeros((10, 4)))).outputs == 4
    assert load(save(path, x=x, y=np.arange(10)), options={"task": "regression"}).train.y.dtype == np.float32


def test_stored_validation_samples_are_a_split_of_their_own(path):
    splits = {"x_train": X, "y_train": Y, "x_test": X[:4], "y_test": Y[:4]}
    for ending in ("val", "valid", "validation"):
        data = load(save(path, **splits, **{f"x_{ending}": X[2:5] + 1, f"y_{ending}": Y[2:5]}))
        assert np.array_equal(data.validation.x, X[2:5] + 1) and np.array_equal(data.validation.y, Y[2:5])
    assert load(save(path, **splits)).digest != data.digest
    with pytest.raises(DataError, match=r"lacks y_val; it holds"):
        load(save(path, **splits, x_val=X))
    with pytest.raises(DataError, match=r"lacks x_train, y_train, x_test, y_test; it holds"):
        load(save(path, x_val=X, y_val=Y))
    with pytest.raises(DataError, match=r"validation split: label 7 .* is outside the 2 classes"):
        load(save(path, **splits, x_val=X[:1], y_val=np.array([7])))


def test_a_folder_of_npy_files_is_read_as_an_archive_is(tmp_path):
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "notes.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"lacks y; it holds X, notes"):
        load(str(tmp_path))
    np.save(tmp_path / "labels.npy", Y)
    whole = load(str(tmp_path))
    assert whole.digest == load(save(tmp_path / "same.npz", X=X, labels=Y)).digest
    assert load(str(tmp_path / "X.npy")).digest == whole.digest  # one of the pair
    (tmp_path / "X.npy").write_bytes(b"damage")
    with pytest.raises(DataError, match=r"array 'X' (holds pickled|cannot be read)"):
        load(str(tmp_path))


@pytest.mark.parametrize("x", ["x", "X", "data"])
@pytest.mark.parametrize("y", ["y", "Y", "labels"])
def test_other_names_of_samples_and_labels(path, x, y):
    data = load(save(path, **{f"{x}_train": X, f"{y}_train": Y, f"{x}_test": X[:4], f"{y}_test": Y[:4]}))
    assert data.classes == 2 and (len(data.train), len(data.test)) == (10, 4)
    assert len(load(save(path, **{x: X, y: Y})).train) == 8


@pytest.mark.parametrize("kind", ["U", "S"])
def test_labels_of_texts_are_classes_in_alphabetical_order(path, kind):
    texts = np.array(["walk", "lie", "sit"] * 4).astype(kind)
    data = load(
        save(path, x_train=np.zeros((12, 3)), y_train=texts, x_test=np.zeros((3, 3)), y_test=texts[1:4])
    )
    assert data.class_names == ("lie", "sit", "walk") and data.classes == 3
    assert data.train.y[:3].tolist() == [2, 0, 1] and data.test.y.tolist() == [0, 1, 2]


def test_windows_keep_their_channels_and_images_stay_images(path):
    x, y = np.random.default_rng(0).random((10, 3, 40)), np.arange(10) % 2
    with pytest.warns(InsituWarning, match=r"windows of 3 channels; for images set data_options.layout=nhw"):
        data = load(save(path, x=x, y=y))
    assert data.sample_shape == (3, 1, 40)
    assert load(str(path), options={"layout": "nhw"}).sample_shape == (1, 3, 40)
    assert load(str(path), options={"layout": "ncl"}).sample_shape == (3, 1, 40)
    assert load(save(path, x=x[:, :, :8], y=y)).sample_shape == (1, 3, 8)  # not long
    assert load(save(path, x=(x * 255).astype(np.uint8), y=y)).sample_shape == (1, 3, 40)  # pixels
    assert load(str(path), options={"layout": "ncl"}).sample_shape == (3, 1, 40)


X = np.zeros((10, 3), np.float32)
Y = np.arange(10) % 2
TEXTS = np.array(["a", "b"])
BAD_X = X.copy()
BAD_X[7, 1] = np.nan


@pytest.mark.parametrize(
    ("arrays", "options", "reason"),
    [
        ({"x": X, "target": Y}, {}, r"lacks y; it holds x, target\. Store them with numpy\.savez"),
        ({"x": X, "data": X, "y": Y}, {}, r"x and data are both x\. Keep one of them"),
        ({"x_train": X, "X_train": X, "y_train": Y}, {}, r"x_train and X_train are both x_train"),
        (
            {"x": X, "y": Y, "x_train": X, "y_train": Y, "x_test": X, "y_test": Y},
            {},
            r"holds splits and x and y too\. Keep the splits or x and y",
        ),
        ({"x_train": X, "y_train": Y}, {}, r"lacks x_test, y_test; it holds x_train, y_train"),
        ({}, {}, r"lacks x, y; it holds nothing"),
        ({"x": BAD_X, "y": Y}, {}, r"whole file: 1 of 10 samples hold NaN or inf in x, first at sample 7"),
        ({"x": X.astype(np.float64) + 1e300, "y": Y}, {}, r"10 of 10 samples hold NaN or inf"),
        ({"x": X, "y": np.full(10, np.inf)}, {}, r"10 of 10 samples hold NaN or inf in y"),
        ({"x": X, "y": Y[:9]}, {}, r"x holds 10 samples but y holds 9"),
        ({"x": X[:0], "y": Y[:0]}, {}, r"0 samples"),
        ({"x": X[:, 0], "y": Y}, {}, r"x has rank 1 \(shape \(10,\)\)"),
        ({"x": X[:, :, None, None, None], "y": Y}, {}, r"x has rank 5"),
        ({"x": X, "y": Y - 1}, {}, r"label -1 at sample 0 is negative"),
        ({"x": X, "y": Y * 0.5}, {"task": "classification"}, r"label 0\.5 at sample 1 is not a whole number"),
        ({"x": X, "y": Y}, {"classes": 1}, r"label 1 at sample \d is outside the 1 classes"),
        ({"x": X, "y": Y * 10**6}, {}, r"the largest label is 1000000, too many classes for 10 samples"),
        ({"x": X.astype(str), "y": Y}, {}, r"x has type <U"),
        (
            {"x": X, "y": Y.astype(str), "class_names": TEXTS},
            {},
            r"class_names is stored too\. Remove class_names",
        ),
        (
            {"x_train": X, "y_train": Y.astype(str), "x_test": X, "y_test": (Y + 1).astype(str)},
            {},
            r"y_test has class '2', which the training split has not",
        ),
        ({"x": X, "y": Y.astype(str)}, {"task": "regression"}, r"regression targets of type <U"),
        ({"x": X[:1], "y": Y[:1]}, {}, r"1 samples are too few to split"),
        (
            {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1},
            {},
            r"test split: label 2 at sample 1 is outside",
        ),
        (
            {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y * 1.0},
            {},
            r"y_train is int64 but y_test is float64",
        ),
        (
            {"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y},
            {},
            r"a sample has shape \(2,\), not \(3,\)",
        ),
    ],
)
def test_bad_contents(path, arrays, options, reason):
    with pytest.raises(DataError, match=reason) as caught:
        load(save(path, **arrays), options=options)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_pickled_arrays_are_refused_and_nothing_in_them_runs(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    save(path, x=np.array([Bomb(), Bomb()], dtype=object), y=Y[:2])
    with pytest.raises(DataError, match=r"array 'x' holds pickled Python objects, which are never"):
        load(str(path))
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"not a readable \.npz file"):
        load(str(path))
    assert not Path("must-not-exist").exists()


def test_damaged_files(path):
    save(path, x=X, y=Y)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(DataError, match=r"mine\.npz: not a readable \.npz file"):
        load(str(path))
    path.write_bytes(whole.replace(b"\x93NUMPY", b"\x93NUMPX"))
    with pytest.raises(DataError, match=r"array 'x'"):
        load(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"text")
        archive.writestr("y", b"text")
    with pytest.raises(DataError, match=r"'x' is not a NumPy array"):
        load(str(path))


def test_a_claim_of_a_giant_array_is_refused(path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", head.getvalue())
        archive.writestr("y.npy", head.getvalue())
    with pytest.raises(DataError, match=r"array 'x' cannot be read"):
        load(str(path))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"colour": 1}, r"no option 'colour'\. Options are: task, layout"),
        ({"task": "guess"}, r"task='guess': choose one of auto, classification, regression"),
        ({"layout": "hwc"}, r"layout='hwc': choose one of"),
        ({"test_fraction": 1.0}, r"test_fraction=1\.0: give a number between 0 and 1"),
        ({"test_fraction": "half"}, r"test_fraction='half'"),
        ({"classes": 0}, r"classes=0: give a whole number from 1 to 65536"),
        ({"split_seed": -1}, r"split_seed=-1"),
    ],
)
def test_bad_options(path, options, reason):
    with pytest.raises(ConfigError, match=reason):
        load(save(path, x=X, y=Y), options=options)
