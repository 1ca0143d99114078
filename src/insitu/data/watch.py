"""`spar-watch`: shoulder exercises seen by a smart watch, split by its wearers.

Each of the ten wearers did each of the seven exercises once with the left arm and once with the right: two
series, in which gravity along the watch's x axis has opposite signs.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from insitu.data.dataset import Dataset, Split
from insitu.data.folders import Layout
from insitu.data.request import Request
from insitu.data.selection import spread
from insitu.data.validate import check_finite
from insitu.errors import DataError
from insitu.inputs import arrays as archives

NAME = "spar-watch"
FILE = "spar_watch_50hz.npz"
LAYOUT = Layout("spar_watch", ((FILE,),))
LICENCE = "BSD-3-Clause"
SUBJECTS = 10
WINDOW = 128  # samples at 50 Hz: 2.56 s
STRIDE = 64
GAP = 2 * WINDOW // STRIDE - 1  # windows left out, so that 128 samples lie between those before and after
OPTIONS = ("subject", "role")
ROLES = ("pretrain", "personal", "personal-later")
_TRAIN, _TEST, _LEFT_OUT = 0, 1, 2
REMEDY = f"Put {FILE} into the folder spar_watch of --data-dir or INSITU_DATA (no mirror has it)."
_KEYS = ("x", "offsets", "label", "subject", "side", "class_names")


def load_watch(root: Path, request: Request) -> Dataset:
    """x float32 (N, 6, 1, 128): ax ay az wx wy wz, standardised with the statistics of the other nine wearers.

    Windows of 128 samples with 50 % overlap never cross two series; y is the exercise of the series. Windows
    keep the order of the file; a limit takes evenly spaced ones, after the statistics were taken.

    Option `subject` (1..10, default 10) is the held-out wearer. Option `role` says who trains:
    - `pretrain` (default): the other nine; the held-out wearer is the test split.
    - `personal`: the held-out wearer is both splits, in whole series: the left arm trains, the right arm
      tests. An exercise seen on one arm only is cut in time, as in `personal-later`.
    - `personal-later`: the held-out wearer is both splits, and both arms are in both: the first half of each
      series trains, the second half tests, and 128 samples between them are left out.
    `personal` is the harder one, for what is learnt on one arm has to hold on the other.
    """
    held_out = request.whole("subject", SUBJECTS, 1, SUBJECTS)
    role = request.choice("role", ROLES[0], ROLES)
    path = root / LAYOUT.folder / FILE
    arrays = archives.read(path, REMEDY, _KEYS)
    _check(path, arrays)
    check_finite(NAME, "recording", arrays["x"], "x")
    x_NCHW, series_N = _windows(arrays["x"].astype(np.float32), arrays["offsets"])
    y_N = arrays["label"].astype(np.int64)[series_N]
    is_test = arrays["subject"][series_N] == held_out
    train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    if not len(train) or not len(test):
        raise DataError(f"{path}: subject {held_out} leaves one split empty. {REMEDY}")
    mean, deviation = _statistics(x_NCHW[train])
    if role != "pretrain":
        part_N = _parts(path, series_N[test], y_N[test], arrays["side"][series_N[test]], role == "personal")
        train, test = test[part_N == _TRAIN], test[part_N == _TEST]
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
        and arrays["label"].shape == arrays["subject"].shape == arrays["side"].shape == (series,)
        and offsets[0] == 0
        and offsets[-1] == len(x)
        and bool((np.diff(offsets.astype(np.int64)) >= 0).all())
        and bool(np.isin(arrays["side"], (0, 1)).all())
    )
    if not sound:
        raise DataError(f"{path}: x, offsets, label, subject and side do not fit together. {REMEDY}")


def _windows(x_TC: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All windows (N, C, 1, 128) of the series offsets[i]:offsets[i+1], and the series of each (N,)."""
    starts = [np.arange(a, b - WINDOW + 1, STRIDE) for a, b in itertools.pairwise(offsets)]
    series_N = np.repeat(np.arange(len(starts)), [len(s) for s in starts])
    rows_NT = np.concatenate(starts).astype(np.int64)[:, None] + np.arange(WINDOW)
    return np.ascontiguousarray(x_TC[rows_NT].transpose(0, 2, 1)[:, :, None]), series_N


def _parts(path: Path, series_N: np.ndarray, y_N: np.ndarray, side_N: np.ndarray, whole: bool) -> np.ndarray:
    """What becomes of each window of one wearer, int64 (N,): `_TRAIN`, `_TEST` or `_LEFT_OUT`.

    whole: keep the series of an exercise whole where both arms did it. Raises `DataError` for a series that is
    to be cut and has no window on one side of the gap.
    """
    part_N = np.where(side_N == 0, _TRAIN, _TEST)
    for series in np.unique(series_N):
        windows = np.flatnonzero(series_N == series)
        arms = np.unique(side_N[y_N == y_N[windows[0]]])
        if whole and len(arms) == 2:
            continue
        if len(windows) < GAP + 2:
            raise DataError(
                f"{path}: series {series} has {len(windows)} windows, too few to train and test on; it takes "
                f"{GAP + 2}. {REMEDY}"
            )
        half = (len(windows) - GAP + 1) // 2
        part_N[windows] = _LEFT_OUT
        part_N[windows[:half]], part_N[windows[half + GAP :]] = _TRAIN, _TEST
    return part_N


def _statistics(x_NCHW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each channel, float32 (C, 1, 1); a constant channel keeps the deviation 1."""
    wide = x_NCHW.astype(np.float64)
    mean, deviation = wide.mean(axis=(0, 2, 3)), wide.std(axis=(0, 2, 3))
    deviation[deviation == 0.0] = 1.0
    return mean.astype(np.float32)[:, None, None], deviation.astype(np.float32)[:, None, None]
