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

_SIDE = 28
# gzip first: that is what a fetch puts there, so a fetch also cures a damaged plain copy
FILES = tuple(
    (f"{part}-{kind}-ubyte.gz", f"{part}-{kind}-ubyte")
    for part in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)


@dataclass(frozen=True)
class Family:
    """One data set in MNIST's format."""

    name: str
    layout: Layout
    class_names: tuple[str, ...]
    licence: str


MNIST = Family("mnist", Layout("MNIST/raw", FILES), tuple("0123456789"), "CC BY-SA 3.0")
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
)


def load_mnist(family: Family, root: Path, request: Request) -> Dataset:
    """x float32 (N, 1, 28, 28) in [0, 1], y int64 (N,); a limit keeps the first samples of the file."""
    request.allow_options(())
    return Dataset(
        name=family.name,
        train=_read_part(family, root, 0, request.limit_train),
        test=_read_part(family, root, 2, request.limit_test),
        classes=10,
        class_names=family.class_names,
        sample_shape=(1, _SIDE, _SIDE),
        source=str(root / family.layout.folder),
        licence=family.licence,
    )


def _read_part(family: Family, root: Path, index: int, limit: int | None) -> Split:
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
    rows = head(len(y_N), limit)
    x_NCHW = x_NHW[rows, None].astype(np.float32)
    x_NCHW /= np.float32(255.0)
    return Split(x_NCHW, y_N[rows].astype(np.int64))


def _path(family: Family, root: Path, index: int) -> Path:
    path = family.layout.pick(root, index)
    if path is None:
        raise DataError(
            f"{root / family.layout.folder}: {family.layout.files[index][0]} is gone. "
            f"Run 'insitu data fetch {family.name}'."
        )
    return path
