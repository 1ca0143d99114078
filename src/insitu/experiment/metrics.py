"""What an accuracy or a loss hides: which classes are taken for which, what guessing would score, what is detected."""

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


class Detection(Record):
    """How well the error of a reconstruction tells anomalous test samples from normal ones.

    Attributes:
        auc: the chance that an anomalous sample has the larger error of two, ties counted half; ``None`` where all test
            samples are of one kind.
        normal, anomalous: test samples of each kind.
    """

    auc: float | None
    normal: int
    anomalous: int

    @staticmethod
    def of(anomalous: npt.NDArray[Any], error: npt.NDArray[Any]) -> Detection:
        """Args: which samples are anomalous, and the error of each, [N]."""
        low, high = np.sort(error[~anomalous]), error[anomalous]
        if not len(low) or not len(high):
            return Detection(auc=None, normal=len(low), anomalous=len(high))
        below = sum(int(np.searchsorted(low, high, side).sum()) for side in ("left", "right"))
        return Detection(auc=below / (2 * len(low) * len(high)), normal=len(low), anomalous=len(high))

    @property
    def summary(self) -> str:
        """In a few words, beside a loss."""
        if self.auc is None:
            return "all test samples are of one kind"
        return f"area under the ROC curve {self.auc:.4f}, {self.normal} normal and {self.anomalous} anomalous samples"

    @property
    def table(self) -> str:
        """For readers."""
        return f"{self.summary}\n"


class Tags(Record):
    """Of labels that do not exclude each other.

    Attributes:
        f1: of each label 2 TP / (2 TP + FP + FN); ``None`` of one that is neither set nor found.
        macro, micro: the mean of those that there are, and F1 of all decisions together.
    """

    f1: list[float | None]
    macro: float | None
    micro: float | None

    @staticmethod
    def of(true: npt.NDArray[Any], found: npt.NDArray[Any]) -> Tags:
        """Args: targets (set from 0.5 on) and decisions, [N,K]."""
        true, found = true >= 0.5, found.astype(bool)
        hits, marks = (true & found).sum(0), true.sum(0) + found.sum(0)
        f1 = [float(2 * hit / n) if n else None for hit, n in zip(hits, marks)]
        there = [value for value in f1 if value is not None]
        both = int(marks.sum())
        return Tags(
            f1=f1,
            macro=sum(there) / len(there) if there else None,
            micro=float(2 * hits.sum() / both) if both else None,
        )

    @property
    def summary(self) -> str:
        """In a few words, beside a loss."""
        return (
            "no label is set or found"
            if self.micro is None
            else f"F1 {self.micro:.4f}, macro {self.macro:.4f}"
        )

    @property
    def table(self) -> str:
        """For readers: a row for each label."""
        rows = [f"{i:>5}  {'–' if f1 is None else format(f1, '.4f')}" for i, f1 in enumerate(self.f1)]
        return "\n".join(["label  F1", *rows]) + "\n"
