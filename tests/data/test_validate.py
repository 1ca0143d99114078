"""The checks that every data set passes."""

from __future__ import annotations

import numpy as np
import pytest

from insitu.data import Dataset, Split, check_dataset
from insitu.data import validate as validate_module
from insitu.data.validate import as_labels
from insitu.errors import DataError


def dataset(**change) -> Dataset:
    parts = {"x": np.zeros((6, 1, 2, 2), np.float32), "y": np.arange(6) % 3, "classes": 3, **change}
    sound = Split(np.zeros((6, 1, 2, 2), np.float32), np.arange(6) % 3)
    if parts["classes"] is None:
        sound = Split(sound.x, np.zeros((6, 2), np.float32))
    return Dataset("d", sound, Split(parts["x"], parts["y"]), parts["classes"], (), (1, 2, 2), "here", "none")


def test_a_sound_set_is_returned():
    data = dataset()
    assert check_dataset(data) is data
    assert data.outputs == 3
    assert len(data.train) == 6
    assert check_dataset(dataset(classes=None, y=np.zeros((6, 2), np.float32))).outputs == 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("chunk", [1, 1 << 22])
def test_nan_and_inf_are_counted(value, chunk, monkeypatch):
    monkeypatch.setattr(validate_module, "_CHUNK_VALUES", chunk)
    x = np.zeros((6, 1, 2, 2), np.float32)
    x[2, 0, 1, 1] = x[4, 0, 0, 0] = x[4, 0, 0, 1] = value
    with pytest.raises(
        DataError, match=r"'d', test split: 2 of 6 samples hold NaN or inf in x, first at sample 2\."
    ):
        check_dataset(dataset(x=x))


X = np.zeros((6, 1, 2, 2), np.float32)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"y": np.array([0, 1, 3, 0, 0, 5])},
            r"label 3 at sample 2 is outside the 3 classes 0\.\.2 \(2 of 6",
        ),
        ({"y": np.array([0, -1, 2, 0, 0, 0])}, r"label -1 at sample 1 is negative"),
        ({"y": np.arange(5) % 3}, r"x holds 6 samples but y holds 5"),
        ({"x": X[:0], "y": np.arange(0)}, r"0 samples\. Provide"),
        ({"x": X.reshape(6, 1, 2, 2, 1)}, r"x has rank 5"),
        ({"x": X[:, 0, 0, 0]}, r"x has rank 1"),
        ({"x": X[:, :, :0]}, r"empty axis"),
        ({"x": np.float32(1)}, r"x is a single value"),
        ({"x": np.zeros((6, 1, 3, 2), np.float32)}, r"a sample has shape \(1, 3, 2\), not \(1, 2, 2\)"),
        ({"classes": None, "y": np.zeros((6, 3), np.float32)}, r"targets have shape \(6, 3\)"),
        ({"classes": None, "y": np.full((6, 2), np.nan, np.float32)}, r"6 of 6 samples hold NaN or inf in y"),
    ],
)
def test_what_is_refused(change, reason):
    with pytest.raises(DataError, match=r"data 'd', test split: .*" + reason) as caught:
        check_dataset(dataset(**change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.float32, np.float64, np.uint64])
def test_whole_numbers_of_any_type_are_labels(kind):
    labels = as_labels("d", "train split", np.array([[0], [2]], dtype=kind))
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        (np.array([0.0, 1.5]), r"label 1\.5 at sample 1 is not a whole number"),
        (np.array([0.0, np.nan]), r"label nan at sample 1 is not a whole number"),
        (np.array([0.0, 1e30]), r"label \S+ at sample 1 is not a class index"),
        (np.array([0, 2**64 - 1], np.uint64), r"label \S+ at sample 1 is not a class index"),
        (np.array(["a", "b"]), r"labels have type <U1"),
        (np.zeros((2, 3), np.int64), r"labels have shape \(2, 3\)"),
    ],
)
def test_what_is_no_label(y, reason):
    with pytest.raises(DataError, match=r"data 'd', train split: " + reason):
        as_labels("d", "train split", y)
