"""Folders whose sub-folders are classes: `ROOT/CLASS/*`, or `ROOT/train/CLASS/*` and `ROOT/test/CLASS/*`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from insitu.data.dataset import Dataset, Split
from insitu.data.folders import is_folder
from insitu.data.request import Request
from insitu.data.selection import SPLIT_SEED, TEST_FRACTION, head, split_labels, spread
from insitu.errors import ConfigError, DataError

OPTIONS = ("test_fraction", "split_seed")
LICENCE = "the user's own"
HELD = ("val", "valid", "validation")
"""Names of a folder of validation samples beside train and test."""

Files = list[tuple[Path, int]]
"""Files and their class indices."""


@dataclass(frozen=True)
class Kind:
    """What lies in the folders.

    Attributes:
        what: its plural, in messages.
        suffixes: of its files, in lower case.
    """

    what: str
    suffixes: tuple[str, ...]

    @property
    def layout(self) -> str:
        """The remedy of messages."""
        any_file = f"*{self.suffixes[0]}"
        return f"Use ROOT/CLASS/{any_file}, or ROOT/train/CLASS/{any_file} and ROOT/test/CLASS/{any_file}."

    def lies_in(self, root: Path) -> bool:
        """Whether a folder below ``root``, or below its folder train, holds such a file."""
        tops = [root / "train"] if is_folder(root / "train") else [root]
        found = (file for top in tops for file in top.glob("*/*"))
        return any(file.suffix.lower() in self.suffixes for file in found)


@dataclass(frozen=True)
class Plan:
    """Class names and the files of each split; limits are applied before any file is decoded."""

    names: tuple[str, ...]
    train: Files
    test: Files
    validation: Files

    @property
    def files(self) -> Files:
        """All of them: training, then test, then validation."""
        return [*self.train, *self.test, *self.validation]

    def dataset(self, root: Path, x: np.ndarray) -> Dataset:
        """The data set of decoded ``files``."""
        y = np.array([label for _, label in self.files], dtype=np.int64)
        one, two = len(self.train), len(self.train) + len(self.test)
        return Dataset(
            name=str(root),
            train=Split(x[:one], y[:one]),
            test=Split(x[one:two], y[one:two]),
            classes=len(self.names),
            class_names=self.names,
            sample_shape=x.shape[1:],
            source=str(root),
            licence=LICENCE,
            validation=Split(x[two:], y[two:]) if self.validation else None,
        )


def plan(root: Path, kind: Kind, request: Request) -> Plan:
    """Which files are read, and for what. Classes are the folders in alphabetical order.

    Without folders train and test the files are split 80/20 (`test_fraction`, `split_seed`), stratified. A folder val,
    valid or validation beside them holds validation samples.
    """
    fraction = request.fraction("test_fraction", TEST_FRACTION)
    seed = request.whole("split_seed", SPLIT_SEED, 0) or 0
    stored, held = ([part for part in parts if is_folder(root / part)] for parts in (("train", "test"), HELD))
    if not stored:
        names = _class_folders(root, kind)
        files = _list_files(root, kind, names)
        train, test = split_labels(str(root), np.array([label for _, label in files]), fraction, seed)
        train = train[head(len(train), request.limit_train)]
        test = test[head(len(test), request.limit_test)]
        return Plan(names, [files[i] for i in train], [files[i] for i in test], [])
    if len(stored) == 1:
        other = "test" if stored == ["train"] else "train"
        rename = f"Rename {held[0]} to test, or use" if held and other == "test" else "Use"
        raise DataError(
            f"{root}: has a folder {stored[0]} but no folder {other}. {rename}{kind.layout.removeprefix('Use')}"
        )
    _refuse_split_options(root, request)
    if len(held) > 1:
        raise DataError(f"{root}: {' and '.join(held)} both hold validation samples. Keep one of them.")
    names = _class_folders(root / "train", kind)
    train_files = _list_files(root / "train", kind, names)
    test_files = _others(root / "test", kind, names)
    return Plan(
        names,
        _spread(train_files, request.limit_train),
        _spread(test_files, request.limit_test),
        _others(root / held[0], kind, names) if held else [],
    )


def _others(root: Path, kind: Kind, names: tuple[str, ...]) -> Files:
    """Files of the test or the validation folder, whose classes are among those of train."""
    strangers = sorted(set(_class_folders(root, kind)) - set(names))
    if strangers:
        raise DataError(f"{root}: class '{strangers[0]}' is not in {root.parent / 'train'}. {kind.layout}")
    return _list_files(root, kind, [n for n in names if is_folder(root / n)], names)


def _spread(files: Files, limit: int | None) -> Files:
    return [files[i] for i in spread(len(files), limit)]


def _refuse_split_options(root: Path, request: Request) -> None:
    for key in OPTIONS:
        if key in request.options:
            raise ConfigError(
                f"data '{root}' has its own train and test, so option '{key}' has no use. Remove it."
            )


def _class_folders(root: Path, kind: Kind) -> tuple[str, ...]:
    try:
        names = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise DataError(f"{root}: the folder cannot be listed ({error}). {kind.layout}") from error
    if not names:
        raise DataError(f"{root}: has no class folders. {kind.layout}")
    return tuple(names)


def _list_files(
    root: Path, kind: Kind, present: tuple[str, ...] | list[str], names: tuple[str, ...] | None = None
) -> Files:
    """Files of the class folders `present`; the class index is the position in `names`."""
    files: Files = []
    for name in present:
        paths = sorted(
            p for p in (root / name).iterdir() if p.suffix.lower() in kind.suffixes and p.is_file()
        )
        if not paths:
            raise DataError(
                f"{root / name}: holds no {kind.what} ({', '.join(kind.suffixes)}). Add some or remove the folder."
            )
        label = (names or tuple(present)).index(name)
        files += [(path, label) for path in paths]
    return files
