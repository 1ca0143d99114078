"""Corrupted images: what each kind does, and that a data set is the same at every load."""

from __future__ import annotations

import numpy as np
import pytest

from insitu.data import cifar, describe, load
from insitu.data.corrupt import KINDS, SEVERITY, Stream
from insitu.errors import ConfigError

from .conftest import write_mnist
from .test_cifar import BATCH, write

RANDOM = np.random.default_rng(0).random((3, 2, 9, 8), dtype=np.float32)


def corrupted(kind: str, severity: int = SEVERITY, name: str = "digits", **more):
    return load(name, options={"corruption": kind, "severity": severity}, **more)


def apply(kind: str, x: np.ndarray, strength: float) -> np.ndarray:
    return KINDS[kind].apply(x, strength, Stream(1))


@pytest.mark.parametrize("kind", KINDS)
def test_digits_stay_images_and_grow_worse_with_severity(kind):
    clean = load("digits")
    change = []
    for severity in range(1, 6):
        data, again = corrupted(kind, severity), corrupted(kind, severity)
        for split, other, sound in (
            (data.train, again.train, clean.train),
            (data.test, again.test, clean.test),
        ):
            assert split.x.dtype == np.float32 and split.x.shape == sound.x.shape
            assert split.x.min() >= 0 and split.x.max() <= 1
            assert np.array_equal(split.x, other.x) and np.array_equal(split.y, sound.y)
            assert not np.array_equal(split.x, sound.x)
        change.append(np.abs(data.test.x - clean.test.x).mean())
    assert change == sorted(change) and change[0] < 0.8 * change[4]


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_gives_the_first_of_the_same_images(kind):
    whole, few = corrupted(kind), corrupted(kind, limit_train=1001, limit_test=3)
    assert np.array_equal(few.train.x, whole.train.x[:1001]) and np.array_equal(few.test.x, whole.test.x[:3])


def test_noise_has_the_asked_deviation_and_is_pinned():
    grey = np.full((200, 1, 28, 28), 0.5, np.float32)
    added = apply("noise", grey, 0.1) - grey
    assert added.mean() == pytest.approx(0, abs=1e-3) and added.std() == pytest.approx(0.1, rel=0.01)
    assert np.abs(added).max() < 0.5 and (np.abs(added) < 0.1).mean() == pytest.approx(0.68, abs=0.01)
    sums = (
        added[0, 0, 0, :4] * 10 * np.sqrt(8 * (256**2 - 1) / 12)
    )  # whole numbers: sums of bytes less their mean
    assert np.round(sums, 1).tolist() == [187, 186, 130, 493]
    assert np.array_equal(apply("noise", grey[:3], 0.1), apply("noise", grey, 0.1)[:3])


def test_the_splits_have_noise_of_their_own(tmp_path):
    write_mnist(tmp_path)  # image k of both splits is the same
    data = corrupted("noise", 1, "mnist", data_dir=tmp_path)
    assert all(not np.array_equal(a, b) for a, b in zip(data.train.x, data.test.x))


def test_blur_keeps_grey_and_spreads_a_dot():
    np.testing.assert_allclose(apply("blur", np.full((1, 1, 8, 8), 0.3, np.float32), 0.1), 0.3, rtol=1e-6)
    dot = np.zeros((1, 1, 21, 21), np.float32)
    dot[0, 0, 10, 10] = 1
    spread = apply("blur", dot, 2 / 21)[0, 0].astype(np.float64)
    assert (
        spread.sum() == pytest.approx(1) and np.allclose(spread, spread.T) and spread.argmax() == 10 * 21 + 10
    )
    assert (spread.sum(0) @ (np.arange(21) - 10) ** 2) == pytest.approx(4, rel=0.05)


def test_contrast_and_brightness_and_invert():
    low = apply("contrast", RANDOM, 0.5)
    np.testing.assert_allclose(low.mean(axis=(2, 3)), RANDOM.mean(axis=(2, 3)), rtol=1e-5)
    np.testing.assert_allclose(low.std(axis=(2, 3)), RANDOM.std(axis=(2, 3)) / 2, rtol=1e-5)
    np.testing.assert_allclose(apply("brightness", RANDOM, 0.25), RANDOM + 0.25, rtol=1e-6)
    np.testing.assert_allclose(apply("invert", RANDOM, 1.0), 1 - RANDOM, atol=1e-6)


def test_rotate():
    square = RANDOM[:, :, :8]
    np.testing.assert_allclose(apply("rotate", RANDOM, 0.0), RANDOM, atol=1e-6)
    np.testing.assert_allclose(apply("rotate", square, 90.0), np.rot90(square, axes=(2, 3)), atol=1e-6)
    np.testing.assert_allclose(apply("rotate", RANDOM, 180.0), RANDOM[:, :, ::-1, ::-1], atol=1e-6)
    white = apply("rotate", np.ones((1, 1, 28, 28), np.float32), 45.0)[0, 0]
    assert white[0, 0] == 0 and white[14, 14] == pytest.approx(1) and white.max() < 1 + 1e-6


def test_none_changes_nothing_and_a_severity_has_a_default():
    assert np.array_equal(load("digits", options={"corruption": "none"}).train.x, load("digits").train.x)
    alone = load("digits", options={"corruption": "blur"})
    assert np.array_equal(alone.train.x, corrupted("blur", SEVERITY).train.x)
    assert np.array_equal(corrupted("blur", "2").train.x, corrupted("blur", 2).train.x)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_small_images_are_corrupted_after_they_were_made_small(tmp_path, name):
    for folder in ("MNIST/raw", "FashionMNIST/raw"):
        write_mnist(tmp_path, folder)
    options = {"size": 8, "corruption": "brightness", "severity": 4}
    data = load(name, data_dir=tmp_path, options=options)
    assert data.test.x.shape == (20, 1, 8, 8)
    np.testing.assert_allclose(data.test.x[3], 3 / 255 + 0.2, rtol=1e-5)


def test_cifar10_is_corrupted_in_pixels_and_standardised_again(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "BATCH_SIZE", BATCH)
    write(tmp_path, "binary")
    mean, deviation = np.array(cifar.MEAN)[:, None, None], np.array(cifar.DEVIATION)[:, None, None]
    clean = load("cifar10", data_dir=tmp_path).test.x * deviation + mean
    negative = corrupted("invert", 5, "cifar10", data_dir=tmp_path).test.x * deviation + mean
    np.testing.assert_allclose(clean + negative, 1, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"corruption": "fog"},
            r"option corruption='fog': choose one of none, noise, blur, contrast, bright",
        ),
        ({"corruption": "noise", "severity": 6}, r"severity=6: give a whole number from 1 to 5"),
        ({"corruption": "noise", "severity": 0}, r"severity=0: give a whole number from 1 to 5"),
        ({"corruption": "noise", "severity": "high"}, r"severity='high': give a whole number from 1 to 5"),
        (
            {"severity": 2},
            r"'severity' has no use without a corruption\. Remove it, or set .*one of noise, blur",
        ),
    ],
)
def test_what_is_refused(options, reason):
    with pytest.raises(ConfigError, match=r"data 'digits'.*" + reason):
        load("digits", options=options)


def test_only_images_have_corruptions():
    found = {row["name"]: row["options"] for row in describe()}
    assert [name for name, options in found.items() if "corruption" in options] == [
        *("digits", "mnist", "fashion-mnist", "cifar10")
    ]
    assert found["mnist"] == ["size", "corruption", "severity"] and found["spar-watch"] == ["subject", "role"]
