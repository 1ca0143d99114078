"""A folder of images as a data set: `root/class/*.png`, or `root/train/class/*` and `root/test/class/*`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from insitu.data.dataset import Dataset, Split
from insitu.data.folders import is_folder
from insitu.data.request import Request
from insitu.data.selection import SPLIT_SEED, TEST_FRACTION, head, split_labels, spread
from insitu.errors import ConfigError, DataError
from insitu.inputs import bounds
from insitu.inputs.arrays import DAMAGE

OPTIONS = ("mode", "size", "test_fraction", "split_seed")
LICENCE = "the user's own"
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
_LAYOUT = "Use ROOT/CLASS/*.png, or ROOT/train/CLASS/*.png and ROOT/test/CLASS/*.png."
_GREY = ("1", "L", "LA")
_COLOUR = ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr")

Files = list[tuple[Path, int]]  # an image file and its class index


def load_folder(root: Path, request: Request) -> Dataset:
    """x float32 (N, C, H, W) in [0, 1], y int64 (N,); classes are the sub-folders in alphabetical order.

    Grey when every image that is read is grey, else RGB; option `mode` ("grey" or "rgb") decides otherwise.
    All images must have one size, or option `size` (pixels) makes them size x size. Without `train` and
    `test` folders the images are split 80/20 (`test_fraction`, `split_seed`), stratified.
    """
    request.allow_options(OPTIONS)
    mode = request.choice("mode", "auto", ("auto", "grey", "rgb"))
    size = request.whole("size", None, 1, bounds.PIXELS.value)
    class_names, train, test = _plan(root, request)
    images = [_read(path, mode, size) for path, _ in (*train, *test)]
    x_NCHW = _stack([path for path, _ in (*train, *test)], images)
    y_N = np.array([label for _, label in (*train, *test)], dtype=np.int64)
    return Dataset(
        name=str(root),
        train=Split(x_NCHW[: len(train)], y_N[: len(train)]),
        test=Split(x_NCHW[len(train) :], y_N[len(train) :]),
        classes=len(class_names),
        class_names=class_names,
        sample_shape=x_NCHW.shape[1:],
        source=str(root),
        licence=LICENCE,
    )


def _plan(root: Path, request: Request) -> tuple[tuple[str, ...], Files, Files]:
    """Class names, training files and test files, with the limits applied before anything is decoded."""
    fraction = request.fraction("test_fraction", TEST_FRACTION)
    seed = request.whole("split_seed", SPLIT_SEED, 0) or 0
    stored = [part for part in ("train", "test") if is_folder(root / part)]
    if stored and (held := [part for part in ("val", "valid", "validation") if is_folder(root / part)]):
        raise DataError(
            f"{root}: the images of {held[0]} would not be used. Move them into train and hold a share back with "
            "--set validation=0.1, or remove the folder."
        )
    if not stored:
        names = _class_folders(root)
        files = _list_files(root, names)
        train, test = split_labels(str(root), np.array([label for _, label in files]), fraction, seed)
        train = train[head(len(train), request.limit_train)]
        test = test[head(len(test), request.limit_test)]
        return names, [files[i] for i in train], [files[i] for i in test]
    if len(stored) == 1:
        other = "test" if stored == ["train"] else "train"
        raise DataError(f"{root}: has a folder {stored[0]} but no folder {other}. {_LAYOUT}")
    _refuse_split_options(root, request)
    names = _class_folders(root / "train")
    strangers = sorted(set(_class_folders(root / "test")) - set(names))
    if strangers:
        raise DataError(f"{root / 'test'}: class '{strangers[0]}' is not in {root / 'train'}. {_LAYOUT}")
    train_files = _list_files(root / "train", names)
    test_files = _list_files(root / "test", [n for n in names if is_folder(root / "test" / n)], names)
    return names, _spread(train_files, request.limit_train), _spread(test_files, request.limit_test)


def _spread(files: Files, limit: int | None) -> Files:
    return [files[i] for i in spread(len(files), limit)]


def _refuse_split_options(root: Path, request: Request) -> None:
    for key in ("test_fraction", "split_seed"):
        if key in request.options:
            raise ConfigError(
                f"data '{root}' has its own train and test, so option '{key}' has no use. Remove it."
            )


def _class_folders(root: Path) -> tuple[str, ...]:
    try:
        names = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise DataError(f"{root}: the folder cannot be listed ({error}). {_LAYOUT}") from error
    if not names:
        raise DataError(f"{root}: has no class folders. {_LAYOUT}")
    return tuple(names)


def _list_files(
    root: Path, present: tuple[str, ...] | list[str], names: tuple[str, ...] | None = None
) -> Files:
    """Image files of the class folders `present`; the class index is the position in `names`."""
    files: Files = []
    for name in present:
        paths = sorted(p for p in (root / name).iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        if not paths:
            raise DataError(
                f"{root / name}: holds no images ({', '.join(SUFFIXES)}). Add some or remove the folder."
            )
        label = (names or tuple(present)).index(name)
        files += [(path, label) for path in paths]
    return files


def _read(path: Path, mode: str, size: int | None) -> np.ndarray:
    """One image as uint8 (H, W) when grey, (H, W, 3) when in colour; turned as its EXIF orientation says."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            if max(opened.size) > bounds.PIXELS.value:
                raise ValueError(
                    f"{opened.width}x{opened.height} pixels, more than {bounds.PIXELS.value} a side"
                )
            image = ImageOps.exif_transpose(opened)  # as a viewer shows it
            if image.mode not in (*_GREY, *_COLOUR):
                raise ValueError(f"pixel type {image.mode}, not 8 bit")
            grey = mode == "grey" or (mode == "auto" and image.mode in _GREY)
            plain = image.convert("RGBA") if image.mode in ("P", "PA") and not grey else image
            plain = plain.convert("L" if grey else "RGB")
            if size is not None and plain.size != (size, size):
                plain = plain.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(plain)
    except (*DAMAGE, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: cannot be read as an image ({error}). Repair, convert or remove it."
        ) from error


def _stack(paths: list[Path], images: list[np.ndarray]) -> np.ndarray:
    """float32 (N, C, H, W) in [0, 1]; grey images are repeated to RGB when any image has colour."""
    rows, columns = images[0].shape[:2]
    channels = 3 if any(image.ndim == 3 for image in images) else 1
    x_NCHW = np.empty((len(images), channels, rows, columns), dtype=np.float32)
    for k, image in enumerate(images):
        if image.shape[:2] != (rows, columns):
            raise DataError(
                f"{paths[k]}: {image.shape[1]}x{image.shape[0]} pixels, but {paths[0]} has {columns}x{rows}. "
                "Make all images one size, or set option size."
            )
        x_NCHW[k] = image if image.ndim == 2 else image.transpose(2, 0, 1)
    x_NCHW /= np.float32(255.0)
    return x_NCHW
