"""`mnist`, `fashion-mnist` and the idx format."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from insitu.data import load
from insitu.data.idx import read_idx
from insitu.data.mnist import shrink
from insitu.errors import ConfigError, DataError

from .conftest import idx_bytes, write_mnist


@pytest.mark.parametrize(
    ("name", "mean", "deviation", "train_head", "test_head", "train_counts", "test_counts"),
    [
        (
            "mnist",
            0.1307,
            0.3081,
            [5, 0, 4, 1, 9, 2, 1, 3, 1, 4],
            [7, 2, 1, 0, 4, 1, 4, 9, 5, 9],
            [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
            [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        ),
        (
            "fashion-mnist",
            0.2860,
            0.3530,
            [9, 0, 0, 3, 0, 2, 7, 2, 5, 5],
            [9, 2, 1, 1, 6, 1, 4, 6, 5, 7],
            [6000] * 10,
            [1000] * 10,
        ),
    ],
)
def test_the_real_data(real_data, name, mean, deviation, train_head, test_head, train_counts, test_counts):
    data = load(name, data_dir=real_data)
    assert data.train.x.shape == (60_000, 1, 28, 28) and data.train.x.dtype == np.float32
    assert data.test.x.shape == (10_000, 1, 28, 28) and data.test.y.dtype == np.int64
    assert (data.train.x.min(), data.train.x.max()) == (0.0, 1.0)
    assert data.train.x.mean(dtype=np.float64) == pytest.approx(mean, abs=5e-5)
    assert data.train.x.std(dtype=np.float64) == pytest.approx(deviation, abs=5e-5)
    assert data.train.y[:10].tolist() == train_head and data.test.y[:10].tolist() == test_head
    assert np.bincount(data.train.y).tolist() == train_counts
    assert np.bincount(data.test.y).tolist() == test_counts


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw")])
@pytest.mark.parametrize("zipped", [True, False])
def test_both_wrappers_are_read_and_limited(tmp_path, name, folder, zipped):
    raw = write_mnist(tmp_path, folder, zipped)
    data = load(name, data_dir=tmp_path, limit_train=3)
    assert data.train.x[:, 0, 0, 0].tolist() == [0.0, np.float32(1 / 255), np.float32(2 / 255)]
    assert len(data.test) == 20 and data.classes == 10 and len(data.class_names) == 10
    assert data.source == str(raw)


def test_gzip_goes_before_a_plain_copy_so_that_a_fetch_cures(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "MNIST/raw/train-images-idx3-ubyte").write_bytes(b"damaged")
    assert len(load("mnist", data_dir=tmp_path).train) == 30


def spoil(content: bytes) -> dict[str, tuple[bytes, str]]:
    small = idx_bytes(np.zeros((30, 8, 8)))
    other = idx_bytes(np.zeros((29, 28, 28)))
    giant = content[:4] + b"\xff" * 12 + content[16:]
    zipped = gzip.compress(content)
    return {
        "cut gzip": (zipped[:-40], r"truncated or damaged"),
        "spoilt gzip": (zipped[:10] + b"\x07" + zipped[11:], r"truncated or damaged"),
        "spoilt checksum": (zipped[:-8] + bytes(8), r"truncated or damaged"),
        "empty": (b"", r"starts with nothing instead of 00000803"),
        "labels": (idx_bytes(np.zeros(30)), r"starts with 00000801 instead of 00000803"),
        "cut header": (content[:10], r"truncated in the idx header"),
        "cut": (content[:-1], r"shape \(30, 28, 28\) needs 23520 bytes, the file holds 23519"),
        "too long": (content + b"x", r"needs 23520 bytes, the file holds more"),
        "giant": (giant, r"not plausible"),
        "small images": (small, r"images of \(8, 8\) instead of 28x28"),
        "one image less": (other, r"train split: x holds 29 samples but y holds 30"),
    }


@pytest.mark.parametrize("case", spoil(b"12345678901234567890" * 10))
def test_damaged_images(tmp_path, case):
    path = write_mnist(tmp_path) / "train-images-idx3-ubyte.gz"
    content, reason = spoil(gzip.decompress(path.read_bytes()))[case]
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        load("mnist", data_dir=tmp_path)
    text = str(caught.value)
    assert "\n" not in text
    assert "one image less" in case or (str(path) in text and text.endswith("Run 'insitu data fetch mnist'."))


def test_labels_out_of_range_and_options(tmp_path):
    raw = write_mnist(tmp_path)
    (raw / "t10k-labels-idx1-ubyte.gz").write_bytes(idx_bytes(np.full(20, 11)))
    with pytest.raises(DataError, match=r"'mnist', test split: label 11 at sample 0 is outside"):
        load("mnist", data_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"'mnist' has no option 'subject'\. Options are: size, corr"):
        load("mnist", data_dir=tmp_path, options={"subject": 1})


def test_a_file_that_is_gone(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read.*Fetch it"):
        read_idx(tmp_path / "none", 1, "Fetch it.")


def blot(top: int, left: int, height: int, width: int) -> np.ndarray:
    image = np.zeros((28, 28), np.uint8)
    image[top : top + height, left : left + width] = 255
    return image


@pytest.mark.parametrize(("top", "left"), [(4, 4), (0, 0), (8, 8), (1, 7)])
def test_a_digit_is_found_where_its_centre_of_mass_put_it(top, left):
    full, tall = shrink(np.stack([blot(top, left, 20, 20), blot(top, left + 8, 20, 4)]), 20)
    assert full.dtype == np.float32 and np.all(full == 1.0)
    assert np.allclose(tall, [0, 0, 0, 0.8, 0.8, 0, 0, 0])  # 4 pixels are 1.6 cells of 2.5, in the middle


def test_a_small_cell_is_the_mean_of_its_area():
    image = np.random.default_rng(0).integers(1, 256, (1, 28, 28), dtype=np.uint8)
    small = shrink(image, 28)[0]
    corner = image[0, :4, :4] * np.outer([1, 1, 1, 0.5], [1, 1, 1, 0.5]) / 255
    assert small[0, 0] == pytest.approx(corner.sum() / 3.5**2, rel=1e-6)
    assert small.mean() == pytest.approx(image.mean() / 255, rel=1e-6)
    assert not shrink(np.zeros((2, 28, 28), np.uint8), 20).any()


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw")])
@pytest.mark.parametrize("size", [8, "8"])
def test_size_8(tmp_path, name, folder, size):
    write_mnist(tmp_path, folder)
    data = load(name, data_dir=tmp_path, limit_test=4, options={"size": size})
    assert data.sample_shape == (1, 8, 8) and data.test.x.shape == (4, 1, 8, 8)
    assert data.train.x[3, 0].tolist() == [[np.float32(3 / 255)] * 8] * 8
    assert load(name, data_dir=tmp_path, options={"size": 28}).sample_shape == (1, 28, 28)


@pytest.mark.parametrize("size", [16, "small", 8.0, True])
def test_a_bad_size(tmp_path, size):
    write_mnist(tmp_path)
    with pytest.raises(ConfigError, match=r"data 'mnist', option size=.*: choose one of 28, 8\."):
        load("mnist", data_dir=tmp_path, options={"size": size})


def test_small_digits_fill_their_box_as_the_embedded_ones_do(real_data):
    small, digits = load("mnist", data_dir=real_data, options={"size": 8}).train, load("digits").train
    assert (small.x.min(), small.x.max()) == (0.0, 1.0)
    for x in (small.x, digits.x):
        rows = x.mean(axis=(0, 1, 3))
        assert rows.min() > 0.75 * rows.max()  # ink from the top row to the bottom row
    assert abs(small.x.mean() - digits.x.mean()) < 0.06
    whole = load("mnist", data_dir=real_data, limit_train=1000).train.x
    ink = small.x[:1000].sum(axis=(1, 2, 3)) * 2.5**2
    np.testing.assert_allclose(ink, whole.sum(axis=(1, 2, 3)), rtol=1e-5)  # none is lost


def test_small_clothing_keeps_the_whole_picture(real_data):
    options = {"size": 8}
    small = load("fashion-mnist", data_dir=real_data, limit_train=1000, limit_test=1, options=options).train.x
    whole = load("fashion-mnist", data_dir=real_data, limit_train=1000, limit_test=1).train.x
    np.testing.assert_allclose(small.mean(axis=(1, 2, 3)), whole.mean(axis=(1, 2, 3)), rtol=1e-5)
