"""`spar-watch`: windows of a watch's sensors."""

from __future__ import annotations

import numpy as np
import pytest

from insitu.data import load
from insitu.errors import ConfigError, DataError


def series(**change) -> dict[str, np.ndarray]:
    """Three wearers with one series each: 300, 128 and 127 rows; channel 0 counts the rows."""
    lengths = np.array([300, 128, 127])
    x = np.zeros((lengths.sum(), 6), np.float32)
    x[:, 0] = np.arange(len(x))
    sound = {
        "x": x,
        "offsets": np.concatenate([[0], lengths.cumsum()]),
        "label": np.array([1, 0, 1], np.uint8),
        "subject": np.array([1, 10, 3], np.uint8),
        "side": np.array([0, 1, 0], np.uint8),
        "class_names": np.array(["A", "B"]),
    }
    return {**sound, **change}


def save(root, arrays) -> None:
    (root / "spar_watch").mkdir(exist_ok=True)
    np.savez(root / "spar_watch/spar_watch_50hz.npz", **arrays)


def test_windows_overlap_by_half_and_never_cross_series(tmp_path):
    save(tmp_path, series())
    data = load("spar-watch", data_dir=tmp_path)
    assert data.train.x.shape == (3, 6, 1, 128) and data.test.x.shape == (1, 6, 1, 128)
    assert data.train.y.tolist() == [1, 1, 1] and data.test.y.tolist() == [0]
    rows = np.stack([np.arange(s, s + 128) for s in (0, 64, 128)])
    expected = (np.arange(300, 428) - rows.mean()) / rows.std()
    np.testing.assert_allclose(data.train.x[:, 0, 0], (rows - rows.mean()) / rows.std(), atol=1e-5)
    np.testing.assert_allclose(data.test.x[0, 0, 0], expected, rtol=1e-5)
    assert np.all(data.train.x[:, 1:] == 0.0)  # constant channels stay finite


def test_the_real_data(real_data):
    data = load("spar-watch", data_dir=real_data)
    assert len(data.train) + len(data.test) == 3605
    assert data.sample_shape == (6, 1, 128) and data.classes == 7
    np.testing.assert_allclose(data.train.x.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.x.std(axis=(0, 2, 3)), 1, atol=1e-5)
    everyone = [{"subject": str(subject)} for subject in range(1, 11)]
    sizes = [len(load("spar-watch", data_dir=real_data, options=one).test) for one in everyone]
    assert sum(sizes) == 3605 and (min(sizes), max(sizes)) == (226, 433)
    few = load("spar-watch", data_dir=real_data, limit_train=100, limit_test=50)
    assert len(few.train) == 100 and set(few.test.y) == set(range(7))
    assert any(np.array_equal(few.train.x[1], x) for x in data.train.x)


@pytest.mark.parametrize("subject", [0, 11, "x", 1.5, True])
def test_a_bad_subject(tmp_path, subject):
    save(tmp_path, series())
    with pytest.raises(ConfigError, match=r"'spar-watch', subject=.*: give a whole number from 1 to 10"):
        load("spar-watch", data_dir=tmp_path, options={"subject": subject})


BAD = series()["x"].copy()
BAD[17, 3] = np.nan


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x": BAD}, r"recording: 1 of 555 samples hold NaN or inf in x, first at sample 17"),
        ({"offsets": np.array([0, 300, 428, 600])}, r"do not fit together"),
        ({"offsets": np.array([0, 400, 300, 555])}, r"do not fit together"),
        ({"offsets": np.array(3)}, r"do not fit together"),
        ({"label": np.array([1, 0])}, r"do not fit together"),
        ({"label": np.array([1, 0, 2])}, None),
        ({"label": np.array([7, 0, 1])}, r"label 7 at sample 0 is outside the 2 classes"),
        ({"subject": np.array([10, 10, 10])}, r"subject 10 leaves one split empty"),
        ({"x": series()["x"].astype(str)}, r"do not fit together"),
        ({"side": np.array([0, 1, 2])}, r"label, subject and side do not fit together"),
        ({"side": np.array([0, 1])}, r"do not fit together"),
    ],
)
def test_bad_recordings(tmp_path, change, reason):
    save(tmp_path, series(**change))
    if reason is None:  # the series is too short for a window, so its label is never used
        load("spar-watch", data_dir=tmp_path)
        return
    with pytest.raises(DataError, match=reason):
        load("spar-watch", data_dir=tmp_path)


def test_missing_keys(tmp_path):
    arrays = series()
    del arrays["subject"]
    save(tmp_path, arrays)
    with pytest.raises(
        DataError, match=r"lacks subject; it holds x, offsets, label, side, class_names\. Put"
    ):
        load("spar-watch", data_dir=tmp_path)


def wearers(lengths: list[int], labels: list[int], sides: list[int]) -> dict[str, np.ndarray]:
    """Wearer 1 with one series of zeros and ones, then the series of wearer 10; channel 0 counts the rows."""
    total = np.array([128, *lengths])
    x = np.zeros((total.sum(), 6), np.float32)
    x[:, 0] = np.arange(len(x))
    x[:128] = np.arange(128)[:, None] % 2
    return {
        "x": x,
        "offsets": np.concatenate([[0], total.cumsum()]),
        "label": np.array([0, *labels], np.uint8),
        "subject": np.array([1, *[10] * len(lengths)], np.uint8),
        "side": np.array([0, *sides], np.uint8),
        "class_names": np.array(["A", "B"]),
    }


def first_rows(root, role: str) -> tuple[list[int], list[int]]:
    """The first row of each window of both splits; wearer 1 has the mean and the deviation 1/2."""
    data = load("spar-watch", data_dir=root, options={"role": role})
    return tuple(
        np.round(s.x[:, 0, 0, 0] * 0.5 + 0.5 - 128).astype(int).tolist() for s in (data.train, data.test)
    )


def test_personal_trains_on_the_left_arm_and_tests_on_the_right(tmp_path):
    save(tmp_path, wearers([192, 128, 192, 128], [1, 0, 0, 1], [1, 0, 1, 0]))
    assert first_rows(tmp_path, "personal") == ([192, 512], [0, 64, 320, 384])


@pytest.mark.parametrize("side", [0, 1])
def test_an_exercise_of_one_arm_is_cut_in_time(tmp_path, side):
    save(tmp_path, wearers([128, 512, 128], [0, 1, 0], [0, side, 1]))
    train, test = first_rows(tmp_path, "personal")
    assert (train, test) == ([0, 128, 192], [448, 512, 640])
    assert test[0] - (train[-1] + 128) == 128  # one window of rows is between them


def test_personal_later_cuts_every_series(tmp_path):
    save(tmp_path, wearers([384, 448], [0, 0], [0, 1]))
    assert first_rows(tmp_path, "personal-later") == ([0, 384, 448], [256, 704])


def test_a_series_too_short_to_be_cut(tmp_path):
    save(tmp_path, wearers([383, 448], [0, 0], [0, 1]))
    with pytest.raises(
        DataError, match=r"series 1 has 4 windows, too few to train and test on; it takes 5\. Put"
    ):
        first_rows(tmp_path, "personal-later")


def test_an_unknown_role(tmp_path):
    save(tmp_path, series())
    with pytest.raises(
        ConfigError, match=r"option role='own': choose one of pretrain, personal, personal-later"
    ):
        load("spar-watch", data_dir=tmp_path, options={"role": "own"})


@pytest.mark.parametrize("subject", range(1, 11))
def test_the_real_wearers(real_data, subject):
    before = load("spar-watch", data_dir=real_data, options={"subject": subject})
    known = {
        x.tobytes(): k for k, x in enumerate(before.test.x)
    }  # the same statistics: equal to the last bit
    for role in ("personal", "personal-later"):
        data = load("spar-watch", data_dir=real_data, options={"subject": subject, "role": role})
        train, test = ([known[x.tobytes()] for x in split.x] for split in (data.train, data.test))
        assert train == sorted(train) and test == sorted(test) and not set(train) & set(test)
        assert set(data.train.y) == set(data.test.y) == set(range(7))
        left_out = len(before.test) - len(train) - len(test)
        assert left_out == (0 if role == "personal" else 14 * 3)
