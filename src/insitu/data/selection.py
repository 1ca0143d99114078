"""Which samples go where: seeded stratified splits and limits.

The order comes from the raw stream of PCG64, which NumPy keeps the same in every version, so that a split
made today is the split of every later release.
"""

from __future__ import annotations

import math

import numpy as np

from insitu.errors import DataError

SPLIT_SEED = 1
TEST_FRACTION = 0.2


def shuffled(count: int, seed: int) -> np.ndarray:
    """A permutation of 0..count-1, int64 (count,), the same in every NumPy version."""
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")


def head(count: int, limit: int | None) -> np.ndarray:
    """The first `limit` of `count` indices (all for None): for sets whose own order is already mixed."""
    return np.arange(count if limit is None else min(limit, count))


def spread(count: int, limit: int | None) -> np.ndarray:
    """`limit` evenly spaced indices of `count` (all for None): for sets that may be sorted."""
    keep = count if limit is None else min(limit, count)
    return np.arange(keep) * count // max(keep, 1)


def split_labels(
    name: str, y: np.ndarray, fraction: float = TEST_FRACTION, seed: int = SPLIT_SEED
) -> tuple[np.ndarray, np.ndarray]:
    """Stratified (train, test) indices for class indices y (N,); both are in a mixed order.

    The test part has ceil(fraction * N) samples, shared out by largest remainder. A class with two samples
    or more is in both parts, a class with one is in the training part only. Raises `DataError` when no test
    sample is left.
    """
    order = shuffled(len(y), seed)
    classes, counts = np.unique(y, return_counts=True)
    is_test = np.zeros(len(y), dtype=bool)
    for label, quota in zip(classes, _test_quotas(counts, _test_count(fraction, len(y)))):
        is_test[order[y[order] == label][:quota]] = True
    return _both_parts(name, order, is_test)


def split_rows(
    name: str, count: int, fraction: float = TEST_FRACTION, seed: int = SPLIT_SEED
) -> tuple[np.ndarray, np.ndarray]:
    """Random (train, test) indices for `count` samples without classes (regression)."""
    order = shuffled(count, seed)
    is_test = np.zeros(count, dtype=bool)
    is_test[order[: min(_test_count(fraction, count), count - 1)]] = True
    return _both_parts(name, order, is_test)


def _test_count(fraction: float, count: int) -> int:
    return math.ceil(round(fraction * count, 6))  # rounded first, so that 0.1 * 30 is 3 and not 4


def _test_quotas(counts: np.ndarray, total: int) -> np.ndarray:
    """Test samples of each class, by largest remainder, within 1..n-1."""
    exact: np.ndarray = counts * total / counts.sum()
    quotas = np.floor(exact).astype(np.int64)
    largest = np.argsort(quotas - exact, kind="stable")[: total - int(quotas.sum())]
    quotas[largest] += 1
    bounded: np.ndarray = np.minimum(np.maximum(quotas, 1), counts - 1)
    return bounded


def _both_parts(name: str, order: np.ndarray, is_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not is_test.any():
        raise DataError(
            f"data '{name}': {len(order)} samples are too few to split into training and test. "
            "Give at least two samples of a class, or store the splits separately."
        )
    return order[~is_test[order]], order[is_test[order]]
