"""The user's own arrays: `x, y`, or `x_train, y_train, x_test, y_test`, by these or other names; no pickles.

They lie in an `.npz` file, or in a folder of `.npy` files with these names.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from insitu.data.dataset import Dataset, Split
from insitu.data.request import Request
from insitu.data.selection import SPLIT_SEED, TEST_FRACTION, head, split_labels, split_rows, spread
from insitu.data.validate import as_labels, check_finite, check_labels, check_lengths, check_rank
from insitu.errors import ConfigError, DataError, InsituWarning
from insitu.inputs import arrays, bounds

OPTIONS = ("task", "layout", "classes", "test_fraction", "split_seed")
LICENCE = "the user's own"
_SAVE = "Store them with numpy.savez(file, x=..., y=...) or with x_train, y_train, x_test, y_test."
_JOINT = ("x", "y")
_SPLITS = ("x_train", "y_train", "x_test", "y_test")
_HELD = ("x_val", "y_val")
_ALIASES = {"x": ("x", "X", "data"), "y": ("y", "Y", "labels")}
_PARTS = {"": ("",), "_train": ("_train",), "_test": ("_test",), "_val": ("_val", "_valid", "_validation")}
_LAYOUTS = ("auto", "nchw", "nhwc", "ncl", "nhw")
_LONG = 4  # a window is at least so many times as long as it has channels
_CHANNELS = (1, 3, 4)
# An index far above the number of samples is an identifier, not a class: it would make a giant output layer.
_PLAUSIBLE_CLASSES = 1000


def holds_arrays(root: Path) -> bool:
    """Whether a folder has an `.npy` file of samples or labels by a known name."""
    keys = tuple(file.stem for file in root.glob("*.npy"))
    return any(key in keys for names in _names().values() for key in names)


def _names() -> dict[str, list[str]]:
    """The keys that stand for x, y, x_train and so on."""
    return {
        what + part: [alias + end for alias in aliases for end in endings]
        for what, aliases in _ALIASES.items()
        for part, endings in _PARTS.items()
    }


def load_npz(path: Path, request: Request) -> Dataset:
    """Read, split and scale an `.npz` file, or a folder of `.npy` files.

    Integer y (N,) means classification, float y (N,) or (N, K) means regression; option `task`
    ("classification" or "regression") decides otherwise; y of texts is classes in alphabetical order. x: (N, F),
    (N, H, W) which becomes (N, 1, H, W), windows of real numbers (N, C, L) that are long for their channels, which
    become (N, C, 1, L), or (N, C, H, W); uint8 is scaled by 1/255 to [0, 1], other numbers are only converted to
    float32. uint8 images whose last axis is the channels are turned to (N, C, H, W); option `layout` ("nchw",
    "nhwc", "ncl" or "nhw") decides otherwise. `x, y` alone is split 80/20 (`test_fraction`, `split_seed`),
    stratified; `x_val, y_val` beside stored splits are validation samples. `classes` overrides the number of classes
    (largest + 1). x may be called X or data, y Y or labels.
    """
    request.allow_options(OPTIONS)
    name = str(path)
    called = _called(name, arrays.names(path, _SAVE))
    wanted: tuple[str, ...] = _SPLITS if any(key in called for key in (*_SPLITS, *_HELD)) else _JOINT
    wanted += _HELD if any(key in called for key in _HELD) else ()
    if wanted != _JOINT and (both := [called[key] for key in _JOINT if key in called]):
        raise DataError(
            f"data '{name}': holds splits and {' and '.join(both)} too. Keep the splits or x and y."
        )
    extra = ("class_names",) if "class_names" in called else ()
    stored = arrays.read(path, _SAVE, [called.get(key, key) for key in (*wanted, *extra)])
    found = {key: stored[called.get(key, key)] for key in (*wanted, *extra)}
    if request.options.get("task") != "regression":
        found |= of_texts(name, {key: found[key] for key in wanted if key.startswith("y")}, bool(extra))
    return of_arrays(name, found, request)


def of_arrays(name: str, found: dict[str, np.ndarray], request: Request) -> Dataset:
    """The data set of `x, y`, or of `x_train, y_train, x_test, y_test`, and `class_names` where there are some."""
    joint = "x" in found
    parts = _joint_parts(name, found, request) if joint else _stored_parts(name, found, request)
    (x_train, y_train), (x_test, y_test), *held = parts
    classes, class_names = _classes(name, [y for _, y in parts], found.get("class_names"), request)
    train_rows = (head if joint else spread)(len(y_train), request.limit_train)
    test_rows = (head if joint else spread)(len(y_test), request.limit_test)
    train = Split(x_train[train_rows], y_train[train_rows])
    test = Split(x_test[test_rows], y_test[test_rows])
    validation = Split(*held[0]) if held else None
    return Dataset(name, train, test, classes, class_names, train.x.shape[1:], name, LICENCE, validation)


def _called(name: str, keys: tuple[str, ...]) -> dict[str, str]:
    """The keys of a file by the names that they stand for.

    Raises:
        DataError: two stand for one.
    """
    found: dict[str, str] = {key: key for key in keys if key == "class_names"}
    for what, names in _names().items():
        there = [key for key in names if key in keys]
        if len(there) > 1:
            raise DataError(f"data '{name}': {' and '.join(there)} are both {what}. Keep one of them.")
        if there:
            found[what] = there[0]
    return found


def of_texts(name: str, labels: dict[str, np.ndarray], named: bool) -> dict[str, np.ndarray]:
    """Class indices of labels that are texts, and `class_names`; nothing where they are numbers.

    Raises:
        DataError: the test split has a class that the training split lacks, or the file has `class_names` too.
    """
    if not any(array.dtype.kind in "US" for array in labels.values()):
        return {}
    if named:
        raise DataError(f"data '{name}': labels are texts and class_names is stored too. Remove class_names.")
    texts = {key: array.astype(str) for key, array in labels.items()}
    names = np.unique(next(iter(texts.values())))
    if len(names) > _PLAUSIBLE_CLASSES:
        raise DataError(
            f"data '{name}': its labels are {len(names)} different texts, too many classes. Is it an identifier? Store "
            "the class of each sample."
        )
    found: dict[str, np.ndarray] = {"class_names": names}
    for key, array in texts.items():
        place = np.searchsorted(names, array).clip(max=len(names) - 1)
        if (unknown := names[place] != array).any():
            raise DataError(
                f"data '{name}': {key} has class {str(array[unknown][0])!r}, which the training split has not. "
                "Store samples of every class in the training split."
            )
        found[key] = place
    return found


def as_samples(name: str, where: str, raw: np.ndarray, layout: str = "auto") -> np.ndarray:
    """x as float32, channels first; see `load_npz` for the rules. Raises `DataError` for other types."""
    if raw.dtype.kind not in "biuf":
        raise DataError(f"data '{name}', {where}: x has type {raw.dtype}. Store numbers (uint8 or float32).")
    check_rank(name, where, raw)
    if raw.ndim == 3:
        raw = raw[:, :, None] if _windows(name, raw, layout) else raw[:, None]
    elif raw.ndim == 4 and (layout == "nhwc" or (layout == "auto" and _channels_last(raw))):
        raw = raw.transpose(0, 3, 1, 2)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, which check_finite reports
        x = np.ascontiguousarray(raw, dtype=np.float32)
    return x / np.float32(255.0) if raw.dtype == np.uint8 else x


def _windows(name: str, raw: np.ndarray, layout: str) -> bool:
    """(N, C, L), not (N, H, W): as the layout says, else real numbers whose last axis is long."""
    if layout != "auto":
        return layout == "ncl"
    if raw.dtype.kind != "f" or raw.shape[2] < _LONG * raw.shape[1]:
        return False
    warnings.warn(
        f"data '{name}': x of shape {raw.shape} is taken for windows of {raw.shape[1]} channels; for images set "
        "data_options.layout=nhw",
        InsituWarning,
        stacklevel=2,
    )
    return True


def _channels_last(raw: np.ndarray) -> bool:
    return raw.dtype == np.uint8 and raw.shape[3] in _CHANNELS and raw.shape[1] not in _CHANNELS


def _joint_parts(
    name: str, stored: dict[str, np.ndarray], request: Request
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    x, y = _pair(name, "whole file", stored["x"], stored["y"], request)
    fraction = request.fraction("test_fraction", TEST_FRACTION)
    seed = request.whole("split_seed", SPLIT_SEED, 0) or 0
    if y.ndim == 1:
        train, test = split_labels(name, y, fraction, seed)
    else:
        train, test = split_rows(name, len(y), fraction, seed)
    return (x[train], y[train]), (x[test], y[test])


def _stored_parts(
    name: str, stored: dict[str, np.ndarray], request: Request
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    for key in ("test_fraction", "split_seed"):
        if key in request.options:
            raise ConfigError(
                f"data '{name}' stores its own splits, so option '{key}' has no use. Remove it."
            )
    parts = []
    for part in ("train", "test", *(("val",) if "x_val" in stored else ())):
        parts.append(_pair(name, f"{part} split", stored[f"x_{part}"], stored[f"y_{part}"], request))
    if parts[0][1].ndim != parts[1][1].ndim:
        raise DataError(
            f"data '{name}': y_train is {stored['y_train'].dtype} but y_test is {stored['y_test'].dtype}. "
            "Store both as integers (classes) or both as floats (regression), or set option task."
        )
    return tuple(parts)


def _pair(
    name: str, where: str, raw_x: np.ndarray, raw_y: np.ndarray, request: Request
) -> tuple[np.ndarray, np.ndarray]:
    """x and y converted and checked before any selection, so that errors name the user's own row numbers."""
    check_lengths(name, where, raw_x, raw_y)
    layout = request.choice("layout", "auto", _LAYOUTS)
    x, y = as_samples(name, where, raw_x, layout), _targets(name, where, raw_y, request)
    check_finite(name, where, x, "x")
    if y.ndim == 2:
        check_finite(name, where, y, "y")
    return x, y


def _targets(name: str, where: str, raw: np.ndarray, request: Request) -> np.ndarray:
    """int64 (N,) for classification, float32 (N, K) for regression."""
    task = request.choice("task", "auto", ("auto", "classification", "regression"))
    if task == "classification" or (task == "auto" and raw.dtype.kind != "f"):
        labels = as_labels(name, where, raw)
        if labels.min() < 0:
            check_labels(name, where, labels, int(labels.max()) + 1)
        return labels
    if raw.dtype.kind not in "biuf" or raw.ndim > 2:
        raise DataError(
            f"data '{name}', {where}: regression targets of type {raw.dtype} and shape {raw.shape}. "
            "Store floats as (N,) or (N, K)."
        )
    with np.errstate(over="ignore"):
        return raw.reshape(len(raw), -1).astype(np.float32)


def _classes(
    name: str, labels: list[np.ndarray], names: np.ndarray | None, request: Request
) -> tuple[int | None, tuple[str, ...]]:
    """The number of classes (option, else `class_names`, else largest training label + 1) and their names."""
    y_train, y_test = labels[:2]
    if y_train.ndim == 2:
        return None, ()
    largest = int(y_train.max())
    classes = request.whole("classes", None, 1, bounds.CLASSES.value)
    if classes is None and names is not None:
        classes = names.size
    if classes is None:
        classes = largest + 1
        if classes > max(_PLAUSIBLE_CLASSES, len(y_train) + len(y_test)):
            raise DataError(
                f"data '{name}': the largest label is {largest}, too many classes for "
                f"{len(y_train) + len(y_test)} samples. Number the classes from 0, or set option classes."
            )
    for where, of_split in zip(("train split", "test split", "validation split"), labels):
        check_labels(name, where, of_split, classes)
    if names is not None and names.size == classes:
        return classes, tuple(str(n) for n in names.ravel())
    return classes, tuple(str(n) for n in range(classes))
