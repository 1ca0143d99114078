"""Checks that every data set passes before a network sees it.

Each function raises `DataError` with one line that names the data, the place (`where`: "train split", "whole
file"), the first bad sample and the remedy.
"""

from __future__ import annotations

import numpy as np

from insitu.data.dataset import Dataset, Split
from insitu.errors import DataError

_CHUNK_VALUES = (
    1 << 22
)  # finite checks work on about 4 M values at a time, so no mask of the whole set is made


def check_dataset(data: Dataset) -> Dataset:
    """Return `data` unchanged when its splits are sound; raise `DataError` otherwise."""
    splits = {"train split": data.train, "test split": data.test}
    for where, split in (splits | ({"validation split": data.validation} if data.validation else {})).items():
        check_lengths(data.name, where, split.x, split.y)
        check_rank(data.name, where, split.x)
        check_finite(data.name, where, split.x, "x")
        _check_targets(data, where, split)
        if split.x.shape[1:] != data.sample_shape:
            raise DataError(
                f"data '{data.name}', {where}: a sample has shape {split.x.shape[1:]}, not "
                f"{data.sample_shape}. "
                "Give both splits the same sample shape."
            )
    return data


def check_lengths(name: str, where: str, x: np.ndarray, y: np.ndarray) -> None:
    """Refuse scalars, splits without samples, and x and y of different length."""
    for key, array in (("x", x), ("y", y)):
        if array.ndim == 0:
            raise DataError(
                f"data '{name}', {where}: {key} is a single value. Store one row per sample, so "
                "shape (N, ...)."
            )
    if len(x) != len(y):
        raise DataError(
            f"data '{name}', {where}: x holds {len(x)} samples but y holds {len(y)}. "
            "Store one row of y for each row of x."
        )
    if len(x) == 0:
        raise DataError(f"data '{name}', {where}: 0 samples. Provide at least one.")


def check_rank(name: str, where: str, x: np.ndarray) -> None:
    """x must be (N, F), (N, C, L) or (N, C, H, W), with no empty axis."""
    if not 2 <= x.ndim <= 4:
        raise DataError(
            f"data '{name}', {where}: x has rank {x.ndim} (shape {x.shape}). "
            "Store features as (N, F) or images as (N, C, H, W)."
        )
    if x.size == 0:
        raise DataError(
            f"data '{name}', {where}: x has an empty axis (shape {x.shape}). Store at least one "
            "value a sample."
        )


def check_finite(name: str, where: str, values: np.ndarray, what: str) -> None:
    """Refuse NaN and inf; the message counts the samples and gives the first one's index."""
    step = max(1, _CHUNK_VALUES // max(1, values[0].size))
    bad = 0
    first = -1
    for start in range(0, len(values), step):
        rows = values[start : start + step]
        wrong = np.flatnonzero(~np.isfinite(rows).reshape(len(rows), -1).all(axis=1))
        if first < 0 and len(wrong):
            first = start + int(wrong[0])
        bad += len(wrong)
    if bad:
        raise DataError(
            f"data '{name}', {where}: {bad} of {len(values)} samples hold NaN or inf in {what}, "
            f"first at sample {first}. Remove or repair these samples."
        )


def as_labels(name: str, where: str, y: np.ndarray) -> np.ndarray:
    """Class indices as int64 (N,) from whole numbers of any type, shape (N,) or (N, 1)."""
    if y.dtype.kind not in "biuf":
        raise DataError(
            f"data '{name}', {where}: labels have type {y.dtype}. Store class indices as integers from 0."
        )
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(
            f"data '{name}', {where}: labels have shape {y.shape}. "
            "Store class indices as (N,), or float targets as (N, K) for regression."
        )
    if y.dtype.kind == "f":
        _refuse_first(name, where, ~np.isfinite(y) | (y != np.floor(y)), y, "is not a whole number")
        _refuse_first(name, where, np.abs(y) >= 2.0**31, y, "is not a class index")
    if y.dtype.kind == "u":
        _refuse_first(name, where, y > np.iinfo(np.int64).max, y, "is not a class index")
    return y.astype(np.int64)


def check_labels(name: str, where: str, y: np.ndarray, classes: int) -> None:
    """Class indices must lie in 0..classes-1."""
    _refuse_first(name, where, y < 0, y, "is negative")
    _refuse_first(name, where, y >= classes, y, f"is outside the {classes} classes 0..{classes - 1}")


def _refuse_first(name: str, where: str, bad: np.ndarray, y: np.ndarray, why: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        raise DataError(
            f"data '{name}', {where}: label {y[rows[0]]} at sample {rows[0]} {why} "
            f"({len(rows)} of {len(y)} labels). Store class indices as integers counted from 0."
        )


def _check_targets(data: Dataset, where: str, split: Split) -> None:
    if data.classes is not None:
        check_labels(data.name, where, split.y, data.classes)
        return
    if split.y.ndim != 2 or split.y.shape[1:] != data.train.y.shape[1:]:
        raise DataError(
            f"data '{data.name}', {where}: regression targets have shape {split.y.shape}, "
            f"training has {data.train.y.shape}. Store them as (N, K) with one K."
        )
    check_finite(data.name, where, split.y, "y")
