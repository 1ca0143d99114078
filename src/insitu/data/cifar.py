"""`cifar10` in any of three layouts: binary batches, python batches, or lossless WebP grids."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from insitu.data.dataset import Dataset, Split
from insitu.data.folders import Layout
from insitu.data.pickles import read_pickled_batch
from insitu.data.request import Request
from insitu.errors import DataError
from insitu.inputs import arrays as archives

NAME = "cifar10"
LICENCE = "none stated by the authors (cite Krizhevsky, 2009)"
CLASS_NAMES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
TRAIN_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))
TEST_BATCH = "test_batch"
BATCH_SIZE = 10_000
REMEDY = f"Run 'insitu data fetch {NAME}'."

# Published statistics of the training images in [0, 1], red, green, blue.
MEAN = (0.49139968, 0.48215841, 0.44653091)
DEVIATION = (0.24703223, 0.24348513, 0.26158784)

_BATCHES = (*TRAIN_BATCHES, TEST_BATCH)
BINARY = Layout("cifar-10-batches-bin", tuple((f"{batch}.bin",) for batch in _BATCHES))
PYTHON = Layout("cifar-10-batches-py", tuple((batch,) for batch in _BATCHES))
WEBP = Layout("cifar10", (*((f"{batch}.webp",) for batch in _BATCHES), ("labels.npz",)))
LAYOUTS = (BINARY, PYTHON, WEBP)
_IMAGE_BYTES = 3 * 32 * 32
_GRID = 100  # the WebP grids have 100 x 100 images

Batch = tuple[np.ndarray, np.ndarray]  # images uint8 (N, 3, 32, 32), labels (N,)


def load_cifar10(layout: Layout, root: Path, request: Request) -> Dataset:
    """x float32 (N, 3, 32, 32), standardised per channel with `MEAN` and `DEVIATION`; y int64 (N,).

    A limit keeps the first images, and only the batches they are in are read.
    """
    folder = root / layout.folder
    wanted = -(-(request.limit_train or BATCH_SIZE * len(TRAIN_BATCHES)) // BATCH_SIZE)
    batches = (*TRAIN_BATCHES[:wanted], TEST_BATCH)
    with ThreadPoolExecutor(min(len(batches), os.cpu_count() or 1)) as pool:
        *train, test = pool.map(lambda batch: read_batch(layout, folder, batch), batches)
    return Dataset(
        name=NAME,
        train=_join(train, request.limit_train),
        test=_join([test], request.limit_test),
        classes=10,
        class_names=CLASS_NAMES,
        sample_shape=(3, 32, 32),
        source=str(folder),
        licence=LICENCE,
    )


def read_batch(layout: Layout, folder: Path, batch: str) -> Batch:
    """One batch as images uint8 (10000, 3, 32, 32) and labels (10000,), in the original order."""
    images, labels = _READERS[layout.folder](folder, batch)
    if len(images) != BATCH_SIZE or len(labels) != BATCH_SIZE:
        raise DataError(
            f"{folder}: {batch} has {len(images)} images and {len(labels)} labels instead of "
            f"{BATCH_SIZE}. {REMEDY}"
        )
    if labels.max() >= 10:
        raise DataError(f"{folder}: {batch} has the label {labels.max()}, outside 0..9. {REMEDY}")
    return images, labels


def _read_binary(folder: Path, batch: str) -> Batch:
    path = folder / f"{batch}.bin"
    try:
        content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}). {REMEDY}") from error
    if content.size != BATCH_SIZE * (1 + _IMAGE_BYTES):
        raise DataError(
            f"{path}: {content.size} bytes instead of {BATCH_SIZE * (1 + _IMAGE_BYTES)}, truncated or "
            f"damaged. {REMEDY}"
        )
    records = content.reshape(BATCH_SIZE, 1 + _IMAGE_BYTES)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def _read_python(folder: Path, batch: str) -> Batch:
    images, labels = read_pickled_batch(folder / batch, REMEDY)
    return images.reshape(-1, 3, 32, 32), labels


def _read_webp(folder: Path, batch: str) -> Batch:
    stored = archives.read(folder / "labels.npz", REMEDY, ("train", "test"))
    start = 0 if batch == TEST_BATCH else TRAIN_BATCHES.index(batch) * BATCH_SIZE
    labels = stored["test" if batch == TEST_BATCH else "train"][start : start + BATCH_SIZE]
    grid = _decode(folder / f"{batch}.webp")
    tiles = grid.reshape(_GRID, 32, _GRID, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
    return tiles.transpose(0, 3, 1, 2), labels


def _decode(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            grid = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: cannot be decoded, truncated or damaged ({error}). {REMEDY}") from error
    if grid.shape != (_GRID * 32, _GRID * 32, 3):
        raise DataError(
            f"{path}: shape {grid.shape} instead of a {_GRID}x{_GRID} grid of 32x32 images. {REMEDY}"
        )
    return grid


def _join(batches: list[Batch], limit: int | None) -> Split:
    """Standardise into one array; a table of the 256 values of each channel keeps the memory at one copy."""
    total = BATCH_SIZE * len(batches)
    count = total if limit is None else min(limit, total)
    x_NCHW = np.empty((count, 3, 32, 32), dtype=np.float32)
    levels = np.arange(256) / 255.0
    for k, (images, _) in enumerate(batches):
        samples = x_NCHW[k * BATCH_SIZE : (k + 1) * BATCH_SIZE]
        for c in range(3):
            table = ((levels - MEAN[c]) / DEVIATION[c]).astype(np.float32)
            samples[:, c] = table[images[: len(samples), c]]
    y_N = np.concatenate([labels for _, labels in batches])[:count].astype(np.int64)
    return Split(x_NCHW, y_N)


_READERS: dict[str, Callable[[Path, str], Batch]] = {
    BINARY.folder: _read_binary,
    PYTHON.folder: _read_python,
    WEBP.folder: _read_webp,
}
