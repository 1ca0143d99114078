"""Splits and limits."""

from __future__ import annotations

import numpy as np
import pytest

from insitu.data.selection import head, shuffled, split_labels, split_rows, spread
from insitu.errors import DataError


def test_the_shuffle_is_pinned():
    assert shuffled(8, 1).tolist() == [2, 4, 7, 5, 0, 6, 3, 1]
    assert sorted(shuffled(100, 3)) == list(range(100))


def test_a_split_is_stratified_complete_and_the_same_every_time():
    y = np.repeat([0, 1, 2], [50, 30, 7])
    train, test = split_labels("d", y)
    assert sorted([*train, *test]) == list(range(87))
    assert len(test) == 18  # ceil(0.2 * 87)
    assert np.bincount(y[test]).tolist() == [10, 6, 2]
    assert np.array_equal(split_labels("d", y)[0], train)
    assert not np.array_equal(split_labels("d", y, seed=2)[0], train)
    assert len(set(y[train[:15]])) > 1  # mixed, so that a limit is a fair sample


def test_a_class_of_two_is_in_both_parts_and_a_class_of_one_in_training():
    y = np.array([0] * 40 + [1, 1, 2])
    train, test = split_labels("d", y)
    assert np.bincount(y[train], minlength=3)[1:].tolist() == [1, 1]
    assert np.bincount(y[test], minlength=3)[1:].tolist() == [1, 0]


def test_a_fraction_is_not_pushed_up_by_rounding():
    assert len(split_rows("d", 30, 0.1)[1]) == 3


@pytest.mark.parametrize("split", [lambda: split_labels("d", np.arange(5)), lambda: split_rows("d", 1)])
def test_too_few_samples(split):
    with pytest.raises(DataError, match=r"data 'd': \d samples are too few to split .*store the splits"):
        split()


def test_limits():
    assert head(5, 3).tolist() == [0, 1, 2]
    assert head(2, 3).tolist() == [0, 1]
    assert spread(10, 4).tolist() == [0, 2, 5, 7]
    assert spread(3, None).tolist() == spread(3, 9).tolist() == [0, 1, 2]
