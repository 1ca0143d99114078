"""`digits`: 1,797 handwritten 8x8 digits that ship inside the package."""

from __future__ import annotations

from importlib import resources

import numpy as np

from insitu.data.dataset import Dataset, Split
from insitu.data.request import Request
from insitu.data.selection import head, split_labels

NAME = "digits"
FILE = "optdigits_8x8.npz"
LICENCE = "CC BY 4.0"
_FULL_SCALE = 16.0  # the values count the inked pixels of a 4x4 block


def load_digits(request: Request) -> Dataset:
    """x float32 (N, 1, 8, 8) in [0, 1]; a fixed stratified split of 1,437 training and 360 test samples."""
    with (
        resources.files("insitu.data").joinpath("files", FILE).open("rb") as stream,
        np.load(stream, allow_pickle=False) as arrays,
    ):
        x_NHW, y_N = arrays["x"], arrays["y"].astype(np.int64)
    train, test = split_labels(NAME, y_N)
    train = train[head(len(train), request.limit_train)]
    test = test[head(len(test), request.limit_test)]
    return Dataset(
        name=NAME,
        train=_split(x_NHW, y_N, train),
        test=_split(x_NHW, y_N, test),
        classes=10,
        class_names=tuple("0123456789"),
        sample_shape=(1, 8, 8),
        source="embedded",
        licence=LICENCE,
    )


def _split(x_NHW: np.ndarray, y_N: np.ndarray, samples: np.ndarray) -> Split:
    x_NCHW = x_NHW[samples, None].astype(np.float32) / np.float32(_FULL_SCALE)
    return Split(x_NCHW, y_N[samples])
