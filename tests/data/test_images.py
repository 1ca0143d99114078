"""Folders of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from insitu.data import load
from insitu.errors import ConfigError, DataError


def paint(path: Path, value: object, size: tuple[int, int] = (4, 3), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def fill(root: Path, classes: str = "ab", count: int = 5, mode: str = "L") -> Path:
    for k, name in enumerate(classes):
        for i in range(count):
            value = 50 * k + i
            paint(root / name / f"{i}.png", value if mode == "L" else (value, 0, 255), mode=mode)
    return root


def test_a_folder_of_classes_is_split(tmp_path):
    root = fill(tmp_path / "set")
    (root / "a" / "notes.txt").write_text("not an image")
    (root / ".hidden").mkdir()
    data = load(str(root))
    assert (len(data.train), len(data.test)) == (8, 2)
    assert data.class_names == ("a", "b") and data.sample_shape == (1, 3, 4)
    assert sorted(data.test.y.tolist()) == [0, 1]
    for split in (data.train, data.test):
        values = np.round(split.x[:, 0, 0, 0] * 255)
        assert (values // 50).tolist() == split.y.tolist()
    few = load(str(root), limit_train=3, options={"test_fraction": 0.5})
    assert (len(few.train), len(few.test)) == (3, 5)


def test_stored_splits_and_colour(tmp_path):
    fill(tmp_path / "train", "abc", 2, "RGB")
    fill(tmp_path / "test", "bc", 1, "RGB")
    data = load(str(tmp_path))
    assert data.sample_shape == (3, 3, 4)
    assert data.train.y.tolist() == [0, 0, 1, 1, 2, 2] and data.test.y.tolist() == [1, 2]
    assert data.train.x[3, :, 0, 0].tolist() == [np.float32(51 / 255), 0.0, 1.0]
    assert load(str(tmp_path), options={"mode": "grey"}).sample_shape == (1, 3, 4)
    assert load(str(tmp_path), limit_train=3).train.y.tolist() == [0, 1, 2]
    with pytest.raises(ConfigError, match=r"option 'test_fraction' has no use"):
        load(str(tmp_path), options={"test_fraction": 0.5})


def test_grey_and_transparent_images_join_colour_ones(tmp_path):
    fill(tmp_path, "ab", 3)
    paint(tmp_path / "a" / "clear.png", (9, 8, 7, 0), mode="RGBA")
    paint(tmp_path / "b" / "palette.png", 1, mode="P")
    assert load(str(tmp_path)).sample_shape == (3, 3, 4)


def test_sizes_must_agree_or_be_set(tmp_path):
    fill(tmp_path)
    paint(tmp_path / "b" / "big.png", 0, size=(9, 9))
    with pytest.raises(
        DataError, match=r"\dx\d pixels, but .*\.png has \dx\d\..*--set data_options\.size=32"
    ):
        load(str(tmp_path))
    assert load(str(tmp_path), options={"size": "6"}).sample_shape == (1, 6, 6)


def test_bad_images(tmp_path):
    fill(tmp_path)
    bad = tmp_path / "a" / "bad.png"
    noise = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    Image.fromarray(noise).save(bad)
    for content in (b"", b"no image", bad.read_bytes()[:600]):
        bad.write_bytes(content)
        with pytest.raises(DataError, match=r"bad\.png: cannot be read as an image .*Repair"):
            load(str(tmp_path))
    paint(bad, 1000, mode="I;16")
    with pytest.raises(DataError, match=r"pixel type I;16, not 8 bit"):
        load(str(tmp_path))


@pytest.mark.parametrize("held", ["val", "valid", "validation"])
def test_a_folder_of_validation_images_is_a_split_of_its_own(tmp_path, held):
    fill(tmp_path / "train")
    for i in range(3):
        paint(tmp_path / held / "b" / f"{i}.png", 100 + i)
    with pytest.raises(
        DataError, match=rf"has a folder train but no folder test. Rename {held} to test, or use ROOT"
    ):
        load(str(tmp_path))
    fill(tmp_path / "test")
    data = load(str(tmp_path), limit_train=4)
    assert (len(data.train), len(data.test), data.validation.y.tolist()) == (4, 10, [1, 1, 1])
    assert np.round(data.validation.x[:, 0, 0, 0] * 255).tolist() == [100, 101, 102]
    fill(tmp_path / ("val" if held != "val" else "valid"))
    with pytest.raises(DataError, match=r"both hold validation samples\. Keep one of them"):
        load(str(tmp_path))


def test_bad_folders(tmp_path):
    with pytest.raises(DataError, match=r"has no class folders\. Use ROOT/CLASS"):
        load(str(tmp_path))
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match=r"a: holds no images \(\.png"):
        load(str(tmp_path))
    fill(tmp_path / "train")
    with pytest.raises(DataError, match=r"has a folder train but no folder test"):
        load(str(tmp_path))
    fill(tmp_path / "test", "abz")
    with pytest.raises(DataError, match=r"class 'z' is not in .*train"):
        load(str(tmp_path))
    with pytest.raises(ConfigError, match=r"mode='cmyk': choose one of auto, grey, rgb"):
        load(str(tmp_path), options={"mode": "cmyk"})


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_as_its_exif_tag_says(tmp_path: Path, orientation: int) -> None:
    fill(tmp_path / "set")
    for path in sorted((tmp_path / "set").rglob("*.png")):
        image = Image.new("L", (16, 8), 0)
        image.paste(255, (0, 0, 8, 4))  # the stored corner above left is white
        tag = image.getexif()
        tag[0x0112] = orientation
        image.save(path.with_suffix(".jpg"), exif=tag, quality=95)
        path.unlink()
    data = load(str(tmp_path / "set"))
    turned = orientation > 4
    assert data.sample_shape == ((1, 16, 8) if turned else (1, 8, 16))
    corners = data.train.x[0, 0][[0, 0, -1, -1], [0, -1, 0, -1]] > 0.5
    white = {1: 0, 2: 1, 3: 3, 4: 2, 5: 0, 6: 1, 7: 3, 8: 2}[orientation]
    assert corners.tolist() == [i == white for i in range(4)]


@pytest.mark.parametrize("size", [0, 4097, 1_000_000, "9" * 5000, True])
def test_a_size_out_of_range_is_refused(tmp_path: Path, size: object) -> None:
    with pytest.raises(ConfigError, match="give a whole number from 1 to 4096"):
        load(str(fill(tmp_path / "set")), options={"size": size})


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    root = fill(tmp_path / "set")
    Image.new("1", (60_000, 10)).save(root / "a" / "0.png")
    with pytest.raises(DataError, match="60000x10 pixels, more than 4096 a side"):
        load(str(root))
