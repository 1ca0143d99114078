"""What an accuracy hides: which classes are taken for which, and what guessing would score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.experiment.record import Record

MOST_IN_CONFUSION = 100
"""Classes of which the confusion matrix is kept; of more, the recalls alone."""


class Metrics(Record):
    """Of the test samples after the last epoch; shares are fractions.

    Attributes:
        classes: their names, or numbers.
        confusion: rows are the true classes, columns those that were found; ``None`` for more than 100 classes.
        recall: of each class the share that was found; ``None`` of a class without a test sample.
        balanced_accuracy: the mean of the recalls that there are.
        majority: share of the most frequent class: what guessing it would score.
    """

    classes: list[str]
    confusion: list[list[int]] | None
    recall: list[float | None]
    balanced_accuracy: float
    majority: float

    @staticmethod
    def of(true: npt.NDArray[Any], found: npt.NDArray[Any], names: Sequence[str], count: int) -> Metrics:
        """Metrics of labels and predictions.

        Args:
            true, found: classes of the same samples, [N], at least one.
            names: of the classes; may be empty.
            count: of classes.
        """
        table = np.zeros((count, count), np.int64)
        np.add.at(table, (true, found), 1)
        sizes = table.sum(1)
        recall = [float(right / n) if n else None for right, n in zip(np.diag(table), sizes)]
        there = [r for r in recall if r is not None]
        return Metrics(
            classes=list(names) or [str(n) for n in range(count)],
            confusion=table.tolist() if count <= MOST_IN_CONFUSION else None,
            recall=recall,
            balanced_accuracy=sum(there) / len(there),
            majority=float(sizes.max() / sizes.sum()),
        )

    @property
    def summary(self) -> str:
        """In a few words, beside an accuracy."""
        return f"balanced {100 * self.balanced_accuracy:.2f} %, the most frequent class {100 * self.majority:.2f} %"

    @property
    def table(self) -> str:
        """The confusion matrix for readers: a row for each true class, with its recall."""
        if self.confusion is None:
            return (
                f"{len(self.classes)} classes are too many for a table; result.json has the recall of each\n"
            )
        cells = [[str(n) if n else "." for n in row] for row in self.confusion]
        shares = ["–" if r is None else f"{100 * r:.1f} %" for r in self.recall]
        width = max(len(text) for row in [self.classes, *cells] for text in row)
        side = max(len("true"), *(len(name) for name in self.classes))
        lines = [f"{'true':{side}}  {' '.join(f'{name:>{width}}' for name in self.classes)}   recall"]
        for name, row, share in zip(self.classes, cells, shares):
            lines.append(f"{name:{side}}  {' '.join(f'{cell:>{width}}' for cell in row)}  {share:>7}")
        return "\n".join(lines) + "\n"
