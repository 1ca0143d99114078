"""What a loaded data set is: two splits of arrays and the facts that a network needs.

Shape legend: N samples, C channels, H rows, W columns, F features, K regression targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and what is to be predicted from them.

    x: float32, (N, C, H, W) for images and windows, (N, F) for plain features; finite.
    y: int64 (N,) class indices 0..classes-1, or float32 (N, K) regression targets.
    """

    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split that have passed `insitu.data.validate.check_dataset`.

    classes: number of classes, or None for regression; class_names is empty for regression.
    sample_shape: shape of one sample, for example (1, 28, 28).
    source: where the values came from (a folder, a file, or "embedded").
    validation: samples that the user keeps for choices, or None: then a share of the training split serves.
    """

    name: str
    train: Split
    test: Split
    classes: int | None
    class_names: tuple[str, ...]
    sample_shape: tuple[int, ...]
    source: str
    licence: str
    validation: Split | None = None

    @cached_property
    def digest(self) -> str:
        """A hash of all samples and labels."""
        found = sha256()
        for split in (self.train, self.test, *([self.validation] if self.validation else [])):
            for array in (split.x, split.y):
                found.update(f"{array.dtype}{array.shape}".encode())
                found.update(np.ascontiguousarray(array))
        return found.hexdigest()[:32]

    @property
    def majority(self) -> float | None:
        """Share of the test samples that are of their most frequent class; ``None`` for regression."""
        if self.classes is None or not len(self.test):
            return None
        return float(np.bincount(self.test.y).max()) / len(self.test)

    @property
    def outputs(self) -> int:
        """Number of network outputs: the classes, or the K regression targets."""
        return self.classes if self.classes is not None else int(self.train.y.shape[1])
