"""`spar-watch`: shoulder exercises seen by a smart watch; the test split is a new wearer."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from insitu.data.dataset import Dataset, Split
from insitu.data.folders import Layout
from insitu.data.npz import read_arrays
from insitu.data.request import Request
from insitu.data.selection import spread
from insitu.data.validate import check_finite
from insitu.errors import DataError

NAME = "spar-watch"
FILE = "spar_watch_50hz.npz"
LAYOUT = Layout("spar_watch", ((FILE,),))
LICENCE = "BSD-3-Clause"
SUBJECTS = 10
WINDOW = 128  # samples at 50 Hz: 2.56 s
STRIDE = 64
REMEDY = f"Put {FILE} into the folder spar_watch of --data-dir or INSITU_DATA (no mirror has it)."
_KEYS = ("x", "offsets", "label", "subject", "class_names")


def load_watch(root: Path, request: Request) -> Dataset:
    """x float32 (N, 6, 1, 128): ax ay az wx wy wz, standardised with the training wearers' statistics.

    Windows of 128 samples with 50 % overlap never cross two series; y is the exercise of the series. Option
    `subject` (1..10, default 10) is the held-out wearer. Windows keep the order of recording; a limit takes
    evenly spaced ones, after the statistics were taken from all training windows.
    """
    request.allow_options(("subject",))
    held_out = request.whole("subject", SUBJECTS, 1, SUBJECTS)
    path = root / LAYOUT.folder / FILE
    arrays = read_arrays(path, _KEYS, REMEDY)
    _check(path, arrays)
    check_finite(NAME, "recording", arrays["x"], "x")
    x_NCHW, series_N = _windows(arrays["x"].astype(np.float32), arrays["offsets"])
    y_N = arrays["label"].astype(np.int64)[series_N]
    is_test = arrays["subject"][series_N] == held_out
    train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    if not len(train) or not len(test):
        raise DataError(f"{path}: subject {held_out} leaves one split empty. {REMEDY}")
    mean, deviation = _statistics(x_NCHW[train])
    train = train[spread(len(train), request.limit_train)]
    test = test[spread(len(test), request.limit_test)]
    return Dataset(
        name=NAME,
        train=Split((x_NCHW[train] - mean) / deviation, y_N[train]),
        test=Split((x_NCHW[test] - mean) / deviation, y_N[test]),
        classes=len(arrays["class_names"]),
        class_names=tuple(str(name) for name in arrays["class_names"]),
        sample_shape=x_NCHW.shape[1:],
        source=str(path),
        licence=LICENCE,
    )


def _check(path: Path, arrays: dict[str, np.ndarray]) -> None:
    x, offsets = arrays["x"], arrays["offsets"]
    series = len(offsets) - 1 if offsets.ndim == 1 else -1
    sound = (
        x.ndim == 2
        and x.dtype.kind == "f"
        and arrays["label"].dtype.kind in "iu"
        and series > 0
        and offsets.dtype.kind in "iu"
        and arrays["label"].shape == arrays["subject"].shape == (series,)
        and offsets[0] == 0
        and offsets[-1] == len(x)
        and bool((np.diff(offsets.astype(np.int64)) >= 0).all())
    )
    if not sound:
        raise DataError(f"{path}: x, offsets, label and subject do not fit together. {REMEDY}")


def _windows(x_TC: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All windows (N, C, 1, 128) of the series offsets[i]:offsets[i+1], and the series of each (N,)."""
    starts = [np.arange(a, b - WINDOW + 1, STRIDE) for a, b in itertools.pairwise(offsets)]
    series_N = np.repeat(np.arange(len(starts)), [len(s) for s in starts])
    rows_NT = np.concatenate(starts).astype(np.int64)[:, None] + np.arange(WINDOW)
    return np.ascontiguousarray(x_TC[rows_NT].transpose(0, 2, 1)[:, :, None]), series_N


def _statistics(x_NCHW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each channel, float32 (C, 1, 1); a constant channel keeps the deviation 1."""
    wide = x_NCHW.astype(np.float64)
    mean, deviation = wide.mean(axis=(0, 2, 3)), wide.std(axis=(0, 2, 3))
    deviation[deviation == 0.0] = 1.0
    return mean.astype(np.float32)[:, None, None], deviation.astype(np.float32)[:, None, None]
