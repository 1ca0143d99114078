"""The user's own `.csv` files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from insitu.data import load
from insitu.errors import ConfigError, DataError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.csv"


def written(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_a_row_is_a_sample_and_texts_are_classes(path):
    rows = [f"{n},{-n / 2},{'walk' if n % 2 else 'sit'}" for n in range(20)]
    data = load(written(path, "ax, ay ,class", *rows))
    assert (len(data.train), len(data.test)) == (16, 4) and data.sample_shape == (2,)
    assert data.class_names == ("sit", "walk")
    for split in (data.train, data.test):
        assert np.array_equal(split.y, split.x[:, 0].astype(int) % 2)
        assert np.array_equal(split.x[:, 1], -split.x[:, 0] / 2)


def test_a_label_column_by_name_of_whole_numbers_or_targets(path):
    name = written(path, "kind,a,b", *(f"{n % 3},{n},0" for n in range(12)))
    data = load(name, options={"label": "kind"})
    assert data.classes == 3 and data.sample_shape == (2,)
    real = load(name, options={"label": "a", "task": "regression"})
    assert real.classes is None and real.outputs == 1 and sorted(real.train.y.ravel())[0] >= 0


def test_windows_are_of_one_label_and_keep_their_columns_as_channels(path):
    kinds = ["a"] * 7 + ["b"] * 9 + ["a"] * 4
    name = written(path, "t,u,label", *(f"{n},{10 * n},{kind}" for n, kind in enumerate(kinds)))
    data = load(name, options={"window": 3})
    assert data.sample_shape == (2, 1, 3)
    every = np.concatenate([data.train.x, data.test.x])
    assert sorted(every[:, 0, 0, 0].tolist()) == [0, 3, 7, 10, 13, 16]  # none over a change of the label
    assert np.array_equal(every[:, 1], 10 * every[:, 0]) and np.array_equal(
        np.diff(every[:, 0, 0]), np.ones((6, 2))
    )
    labels = np.concatenate([data.train.y, data.test.y])
    assert [data.class_names[n] for n in labels[np.argsort(every[:, 0, 0, 0])]] == [
        "a",
        "a",
        "b",
        "b",
        "b",
        "a",
    ]
    assert len(load(name, options={"window": 3, "step": 4}).train) + 1 < 6


GOOD = ["a,label", *(f"{n},{n % 2}" for n in range(10))]


@pytest.mark.parametrize(("lines", "options", "reason"), [
    ([], {}, r"holds no rows under a line of names"),
    (["a,label"], {}, r"holds no rows"),
    (["a,a,label", "1,2,3"], {}, r"line 1: column 'a' has no name of its own"),
    (["a,,label", "1,2,3"], {}, r"line 1: column '' has no name"),
    ([*GOOD[:3], "7"], {}, r"line 4: 1 cells for 2 columns"),
    ([*GOOD[:3], "seven,1"], {}, r"line 4, column 'a': 'seven' is no finite number"),
    ([*GOOD[:3], "nan,1"], {}, r"line 4, column 'a': 'nan'"),
    ([*GOOD[:3], "1e39,1"], {}, r"line 4, column 'a': '1e39'"),
    ([*GOOD[:3], '"7,1'], {}, r"not a readable \.csv file"),
    (["a,b", "1,2", "3,4"], {}, r"says no label column, or several\. Set data_options\.label to one of a, b"),
    (["label", "1", "0"], {}, r"beside a feature"),
    (GOOD, {"label": "z"}, r"has no column 'z'"),
    (GOOD, {"window": 4}, r"no 4 rows after another have one label"),
    (GOOD, {"window": 4, "step": 2}, r"step 2 is less than window 4"),
    (GOOD, {"window": 0}, r"whole number from 1"),
    (["a,label", "1,x", "2,y"], {"task": "regression"}, r"line 2, column 'label': 'x' is no finite number"),
    (["a,label", "1,2", "2,nan"], {"task": "regression"}, r"line 3, column 'label': 'nan'"),
    ([*GOOD[:3], "7,"], {}, r"line 4, column 'label': no label"),
    ([*GOOD[:3], "1_000,1"], {}, r"line 4, column 'a': '1_000' is no finite number"),
    (["a,label", *(f"{n},id{n}" for n in range(1200))], {}, r"1200 different texts, too many classes"),
    (GOOD, {"delimiter": ";"}, r"has no option 'delimiter'"),
])  # fmt: skip
def test_bad_tables(path, lines, options, reason):
    with pytest.raises((DataError, ConfigError), match=reason) as caught:
        load(written(path, *lines), options=options)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_no_text(path):
    path.write_bytes(b"\xff\xfe\x00a,b")
    with pytest.raises(DataError, match=r"not a readable \.csv file"):
        load(str(path))


def test_a_line_break_in_quotes_is_part_of_a_text(path):
    data = load(written(path, "a,label", *(f'{n},"p\nq"' if n % 2 else f"{n},r" for n in range(10))))
    assert data.class_names == ("p\nq", "r")
