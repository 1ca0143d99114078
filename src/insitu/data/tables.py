"""The user's own tables: `.csv` files of a sample a row, or of rows over time that are cut into windows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from insitu.data.dataset import Dataset
from insitu.data.npz import of_arrays, of_texts
from insitu.data.request import Request
from insitu.errors import ConfigError, DataError
from insitu.inputs import bounds

OPTIONS = ("label", "window", "step", "task", "classes", "test_fraction", "split_seed")
MAX_BYTES = 1 << 28
"""Of a file, 256 MiB: convert a larger one to .npz."""
LABELS = ("label", "labels", "class", "y", "target")
"""Columns that are taken for the label where none is named."""


def load_csv(path: Path, request: Request) -> Dataset:
    """Reads, cuts and splits a table.

    The first line names the columns. Column `label` (option; else the one called label, labels, class, y or target) is
    what is predicted: whole numbers and texts are classes, with option `task=regression` numbers are targets. The
    others are features (N, F). With option `window`, so many rows one after the other with one label are a sample
    (N, C, 1, window), the next of which begins `step` rows later (the window's length by default, and at least).

    Raises:
        DataError: with file, line and column.
    """
    request.allow_options(OPTIONS)
    name = str(path)
    names, rows, lines = _read(path)
    label = _label(name, names, request)
    texts = [row.pop(label) for row in rows]
    if "" in texts:
        line = lines[texts.index("")]
        raise DataError(
            f"{name}, line {line}, column {names[label]!r}: no label. Fill the cell, or remove the line."
        )
    x = _numbers(name, rows, lines, [n for i, n in enumerate(names) if i != label])
    if request.options.get("task") == "regression":
        _numbers(name, [[text] for text in texts], lines, [names[label]])
    window = request.whole("window", 1, 1, bounds.FEATURES.value) or 1
    step = request.whole("step", window, 1) or window
    if step < window:
        raise ConfigError(
            f"data '{name}': step {step} is less than window {window}, so that samples of both splits would overlap. "
            "Use a step of at least the window."
        )
    if window > 1:
        starts = list(_starts(texts, window, step))
        if not starts:
            raise DataError(
                f"data '{name}': no {window} rows after another have one label. Use a shorter window."
            )
        x = np.stack([x[at : at + window].T[:, None] for at in starts])
        texts = [texts[at] for at in starts]
    return of_arrays(name, {"x": x} | _targets(name, texts, request), request)


def _read(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Names of the columns, cells of the rows, and the lines of these."""
    if path.stat().st_size > MAX_BYTES:
        raise DataError(
            f"{path}: more than {MAX_BYTES >> 20} MiB. Convert it with numpy.savez(file, x=..., y=...)."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        found = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: not a readable .csv file ({error}). Store commas, UTF-8 and a line of names."
        ) from None
    if len(found) < 2:
        raise DataError(f"{path}: holds no rows under a line of names. Store one line for each sample.")
    (_, names), *rows = found
    twice = [n for i, n in enumerate(names) if n in names[:i] or not n]
    if twice:
        raise DataError(
            f"{path}, line 1: column {twice[0]!r} has no name of its own. Name every column once."
        )
    for line, row in rows:
        if len(row) != len(names):
            raise DataError(
                f"{path}, line {line}: {len(row)} cells for {len(names)} columns. Repair the line."
            )
    return names, [row for _, row in rows], [line for line, _ in rows]


def _label(name: str, names: Sequence[str], request: Request) -> int:
    """The number of the label's column."""
    asked = request.options.get("label")
    there = [n for n in ([str(asked)] if asked is not None else LABELS) if n in names]
    if len(there) != 1 or len(names) < 2:
        why = f"has no column {asked!r}" if asked is not None else "says no label column, or several"
        shown = ", ".join(names[:12])
        raise ConfigError(f"data '{name}' {why}. Set data_options.label to one of {shown}, beside a feature.")
    return list(names).index(there[0])


def _numbers(name: str, rows: list[list[str]], lines: list[int], names: list[str]) -> np.ndarray:
    """The features as float32, [rows, columns]."""
    found = np.empty((len(rows), len(names)), np.float32)
    for n, (row, line) in enumerate(zip(rows, lines)):
        for i, cell in enumerate(row):
            value = _number(cell)
            if value is None or abs(value) > float(np.finfo(np.float32).max):
                raise DataError(
                    f"{name}, line {line}, column {names[i]!r}: {cell[:40]!r} is no finite number. Repair the cell, or "
                    "remove the column."
                )
            found[n, i] = value
    return found


def _number(cell: str) -> float | None:
    """A finite number as tables write it: Python's own 1_000, nan and inf are none."""
    try:
        value = float(cell.replace("_", "?"))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _starts(texts: Sequence[str], window: int, step: int) -> Iterator[int]:
    """First rows of windows whose rows have one label."""
    first = 0
    for n in range(1, len(texts) + 1):
        if n == len(texts) or texts[n] != texts[first]:
            yield from range(first, n - window + 1, step)
            first = n


def _targets(name: str, texts: list[str], request: Request) -> dict[str, np.ndarray]:
    """`y`, and `class_names` where labels are texts."""
    task = request.choice("task", "auto", ("auto", "classification", "regression"))
    numbers = [_number(text) for text in texts]
    if task == "regression":
        return {"y": np.array(numbers, np.float64)}
    whole = [n for n in numbers if n is not None and abs(n) < 2**31 and n == int(n)]
    if len(whole) == len(texts):
        return {"y": np.array([int(n) for n in whole], np.int64)}
    return of_texts(name, {"y": np.array(texts)}, named=False)
