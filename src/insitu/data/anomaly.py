"""Normal samples and anomalies: some classes of a data set are normal, and a network trains on these alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from insitu.data.dataset import Dataset, Split
from insitu.data.selection import spread
from insitu.errors import ConfigError

OPTION = "normal"
NORMAL = 0
"""The class of normal samples; anomalous ones are of class 1."""
NORMAL_NAME = "normal"


def one_class(data: Dataset, normal: Any, limit_train: int | None) -> Dataset:
    """The data set with normal and anomalous samples for classes.

    Args:
        normal: a class, or several (a list, or a text with commas), by number or name.
        limit_train: training samples that are kept, evenly spaced.

    Returns:
        Training and validation samples that are all normal; the test split has both kinds.

    Raises:
        ConfigError: for targets that are no classes, an unknown class, or none that is anomalous.
    """
    if data.classes is None:
        raise ConfigError(
            f"data '{data.name}', option normal: its targets are no classes. Leave the option out."
        )
    wanted = (
        normal.split(",") if isinstance(normal, str) else normal if isinstance(normal, Sequence) else [normal]
    )
    chosen = {_class(data, str(one).strip()) for one in wanted}
    if len(chosen) == data.classes:
        raise ConfigError(f"data '{data.name}', option normal: all classes are normal. Leave one out.")

    def kept(split: Split) -> Split:
        x = split.x[np.isin(split.y, list(chosen))]
        return Split(x, np.zeros(len(x), np.int64))

    train = kept(data.train)
    rows = spread(len(train), limit_train)
    return replace(
        data,
        train=Split(train.x[rows], train.y[rows]),
        test=Split(data.test.x, (~np.isin(data.test.y, list(chosen))).astype(np.int64)),
        validation=kept(data.validation) if data.validation is not None else None,
        classes=2,
        class_names=(NORMAL_NAME, "anomalous"),
    )


def _class(data: Dataset, one: str) -> int:
    """A class by its name or number."""
    if one in data.class_names:
        return data.class_names.index(one)
    if one.isdecimal() and int(one) < (data.classes or 0):
        return int(one)
    known = ", ".join(data.class_names[:12])
    raise ConfigError(
        f"data '{data.name}', option normal: no class {one!r}. Choose of {known}, or by number."
    )
