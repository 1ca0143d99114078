"""Shifts and mirror images."""

from __future__ import annotations

import numpy as np
import pytest

from insitu.data import Augment, flip, pad_crop
from insitu.errors import ConfigError, DataError


def batch(n: int = 64) -> np.ndarray:
    return np.arange(1, n * 2 * 5 * 4 + 1, dtype=np.float32).reshape(n, 2, 5, 4)


def test_each_image_is_shifted_as_a_whole_and_filled_with_zero():
    x = batch()
    y = pad_crop(x, 2, np.random.default_rng(0))
    assert y.shape == x.shape and y.dtype == x.dtype
    seen = set()
    for before, after in zip(x, y):
        padded = np.pad(before, ((0, 0), (2, 2), (2, 2)))
        fits = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if np.array_equal(padded[:, i : i + 5, j : j + 4], after)
        ]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) > 15
    assert {i for i, _ in seen} == {j for _, j in seen} == set(range(5))


def test_about_half_are_mirrored_left_to_right():
    x = batch(400)
    y = flip(x, np.random.default_rng(0))
    mirrored = [np.array_equal(after, before[..., ::-1]) for before, after in zip(x, y)]
    kept = [np.array_equal(after, before) for before, after in zip(x, y)]
    assert all(m != k for m, k in zip(mirrored, kept))
    assert 160 < sum(mirrored) < 240


def test_augment_depends_only_on_the_generator_and_leaves_its_input_alone():
    x = batch()
    before = x.copy()
    augment = Augment(pad=1, flip=True)
    first = augment(x, np.random.default_rng(7))
    assert np.array_equal(first, augment(x, np.random.default_rng(7)))
    assert not np.array_equal(first, augment(x, np.random.default_rng(8)))
    assert np.array_equal(x, before)
    first[:] = 0
    assert np.array_equal(x, before)


def test_nothing_to_do_draws_nothing():
    rng = np.random.default_rng(1)
    state = rng.bit_generator.state
    assert np.array_equal(Augment()(batch(), rng), batch())
    assert rng.bit_generator.state == state


@pytest.mark.parametrize("pad", [-1, 1.5, True])
def test_a_bad_pad(pad):
    with pytest.raises(ConfigError, match=r"pad=.*whole number"):
        Augment(pad=pad)


def test_features_cannot_be_shifted():
    with pytest.raises(DataError, match=r"shape \(3, 4\).*turn it off"):
        Augment(pad=1)(np.zeros((3, 4), np.float32), np.random.default_rng(0))
    with pytest.raises(ConfigError, match="pad=-1"):
        pad_crop(batch(), -1, np.random.default_rng(0))
