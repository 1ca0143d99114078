"""`mnist` and `fashion-mnist`: idx files in torchvision's layout, gzip or plain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from insitu.data.dataset import Dataset, Split
from insitu.data.folders import Layout
from insitu.data.idx import read_idx
from insitu.data.request import Request
from insitu.data.selection import head
from insitu.data.validate import check_labels, check_lengths
from insitu.errors import DataError

OPTIONS = ("size",)
_SIDE = 28
_SMALL = 8
# gzip first: that is what a fetch puts there, so a fetch also cures a damaged plain copy
FILES = tuple(
    (f"{part}-{kind}-ubyte.gz", f"{part}-{kind}-ubyte")
    for part in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)


@dataclass(frozen=True)
class Family:
    """One data set in MNIST's format.

    box: side of the square in which the pictures were normalised; a smaller size keeps this square only.
    """

    name: str
    layout: Layout
    class_names: tuple[str, ...]
    licence: str
    box: int


MNIST = Family("mnist", Layout("MNIST/raw", FILES), tuple("0123456789"), "CC BY-SA 3.0", box=20)
FASHION = Family(
    "fashion-mnist",
    Layout("FashionMNIST/raw", FILES),
    (
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    "MIT",
    box=28,
)


def load_mnist(family: Family, root: Path, request: Request) -> Dataset:
    """x float32 (N, 1, 28, 28) in [0, 1], y int64 (N,); a limit keeps the first samples of the file.

    Option `size` (28 by default, or 8) gives x (N, 1, 8, 8), made by `shrink` to look like `digits`.
    """
    side = int(request.choice("size", str(_SIDE), (str(_SIDE), str(_SMALL))))
    return Dataset(
        name=family.name,
        train=_read_part(family, root, 0, request.limit_train, side),
        test=_read_part(family, root, 2, request.limit_test, side),
        classes=10,
        class_names=family.class_names,
        sample_shape=(1, side, side),
        source=str(root / family.layout.folder),
        licence=family.licence,
    )


def shrink(x_NHW: np.ndarray, box: int) -> np.ndarray:
    """Images uint8 (N, 28, 28) as float32 (N, 8, 8) in [0, 1]: area means of the square that holds the picture.

    MNIST scales a digit into 20x20 pixels and then moves its centre of mass to the middle of 28x28, while
    `digits` fill their box from the top row to the bottom row. So the 20x20 square is found again around the
    middle of what is inked: no ink is lost, and the digit fills the 8x8 box. Clothing fills its 28x28 already.
    """
    inked = np.greater(x_NHW, 0)
    rows, columns = _square(inked.any(axis=2), box), _square(inked.any(axis=1), box)
    square = x_NHW[np.arange(len(x_NHW))[:, None, None], rows[:, :, None], columns[:, None, :]]
    halves = square.repeat(2, axis=1).repeat(2, axis=2)
    cell = 2 * box // _SMALL  # halves of pixels: a cell is 2.5 or 3.5 pixels wide
    sums = halves.reshape(-1, _SMALL, cell, _SMALL, cell).sum(axis=(2, 4), dtype=np.uint32)
    return np.asarray(sums / (255.0 * cell * cell), dtype=np.float32)


def _square(inked_NP: np.ndarray, box: int) -> np.ndarray:
    """The `box` positions (N, box) around the middle of the inked ones; the whole axis counts when none is."""
    side = inked_NP.shape[1]
    middle = (inked_NP.argmax(axis=1) + side - inked_NP[:, ::-1].argmax(axis=1)) // 2
    first: np.ndarray = np.clip(middle - box // 2, 0, side - box)
    return first[:, None] + np.arange(box)


def _read_part(family: Family, root: Path, index: int, limit: int | None, side: int) -> Split:
    remedy = f"Run 'insitu data fetch {family.name}'."
    x_NHW = read_idx(_path(family, root, index), 3, remedy)
    y_N = read_idx(_path(family, root, index + 1), 1, remedy)
    where = "train split" if index == 0 else "test split"
    if x_NHW.shape[1:] != (_SIDE, _SIDE):
        raise DataError(
            f"{_path(family, root, index)}: images of {x_NHW.shape[1:]} instead of {_SIDE}x{_SIDE} "
            f"pixels. {remedy}"
        )
    check_lengths(family.name, where, x_NHW, y_N)
    check_labels(family.name, where, y_N, 10)
    samples = head(len(y_N), limit)
    labels = y_N[samples].astype(np.int64)
    if side == _SMALL:
        return Split(shrink(x_NHW[samples], family.box)[:, None], labels)
    x_NCHW = x_NHW[samples, None].astype(np.float32)
    x_NCHW /= np.float32(255.0)
    return Split(x_NCHW, labels)


def _path(family: Family, root: Path, index: int) -> Path:
    path = family.layout.pick(root, index)
    if path is None:
        raise DataError(
            f"{root / family.layout.folder}: {family.layout.files[index][0]} is gone. "
            f"Run 'insitu data fetch {family.name}'."
        )
    return path
