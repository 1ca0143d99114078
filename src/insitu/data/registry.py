"""Every data set is a row of one table: what it is, where it may lie, how it is read."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from insitu.data import anomaly, cifar, corrupt, embedded, images, mnist, sounds, speech, watch
from insitu.data.corrupt import Corruption, Pixels
from insitu.data.dataset import Dataset
from insitu.data.folders import Layout, find, is_file, is_folder, locate, roots
from insitu.data.npz import holds_arrays, load_npz
from insitu.data.request import Request
from insitu.data.tables import load_csv
from insitu.data.validate import check_dataset
from insitu.errors import ConfigError, DataError

_PATHS = "or a path to an .npz or .csv file or a folder of images, recordings or .npy files"


@dataclass(frozen=True)
class Entry:
    """One row: train and test are sample counts, size_bytes is the size of the published files.

    options: all that the row takes, those of `corrupt` included. pixels: how values become pixels, for images.
    """

    name: str
    what: str
    train: int
    test: int
    shape: tuple[int, ...]
    classes: int
    size_bytes: int
    licence: str
    layouts: tuple[Layout, ...]  # none: embedded in the package
    read: Callable[[Layout, Path, Request], Dataset]
    remedy: str = ""
    options: tuple[str, ...] = ()
    pixels: Pixels = corrupt.UNIT


def _fetchable(name: str) -> str:
    return f"Run 'insitu data fetch {name}', or set INSITU_DATA or --data-dir to the folder that holds it."


_NOWHERE = Layout("", ())
_ENTRIES = (
    Entry(
        name=embedded.NAME,
        what="8x8 handwritten digits, inside the package",
        train=1_437,
        test=360,
        shape=(1, 8, 8),
        classes=10,
        size_bytes=45_374,
        licence=embedded.LICENCE,
        layouts=(),
        read=lambda layout, root, request: embedded.load_digits(request),
        options=corrupt.OPTIONS,
    ),
    Entry(
        name=mnist.MNIST.name,
        what="28x28 handwritten digits",
        train=60_000,
        test=10_000,
        shape=(1, 28, 28),
        classes=10,
        size_bytes=11_594_722,
        licence=mnist.MNIST.licence,
        layouts=(mnist.MNIST.layout,),
        read=lambda layout, root, request: mnist.load_mnist(mnist.MNIST, root, request),
        remedy=_fetchable(mnist.MNIST.name),
        options=(*mnist.OPTIONS, *corrupt.OPTIONS),
    ),
    Entry(
        name=mnist.FASHION.name,
        what="28x28 pictures of clothing",
        train=60_000,
        test=10_000,
        shape=(1, 28, 28),
        classes=10,
        size_bytes=30_878_645,
        licence=mnist.FASHION.licence,
        layouts=(mnist.FASHION.layout,),
        read=lambda layout, root, request: mnist.load_mnist(mnist.FASHION, root, request),
        remedy=_fetchable(mnist.FASHION.name),
        options=(*mnist.OPTIONS, *corrupt.OPTIONS),
    ),
    Entry(
        name=cifar.NAME,
        what="32x32 colour photographs of animals and vehicles",
        train=50_000,
        test=10_000,
        shape=(3, 32, 32),
        classes=10,
        size_bytes=170_052_171,
        licence=cifar.LICENCE,
        layouts=cifar.LAYOUTS,
        read=cifar.load_cifar10,
        remedy=_fetchable(cifar.NAME),
        options=corrupt.OPTIONS,
        pixels=Pixels(cifar.MEAN, cifar.DEVIATION),
    ),
    Entry(
        name=watch.NAME,
        what="windows of a watch's accelerometer and gyroscope, 7 shoulder exercises; the test wearer is new",
        train=3_205,
        test=400,
        shape=(6, 1, watch.WINDOW),
        classes=7,
        size_bytes=5_361_280,
        licence=watch.LICENCE,
        layouts=(watch.LAYOUT,),
        read=lambda layout, root, request: watch.load_watch(root, request),
        remedy=watch.REMEDY,
        options=watch.OPTIONS,
    ),
    Entry(
        name=speech.NAME,
        what="spoken digits of six speakers, 32 frames of 20 log-mel bands; a speaker can be left out",
        train=2_700,
        test=300,
        shape=(1, 32, 20),
        classes=10,
        size_bytes=15_404_946,
        licence=speech.LICENCE,
        layouts=(speech.LAYOUT,),
        read=lambda layout, root, request: speech.load_speech(root, request),
        remedy=speech.REMEDY,
        options=speech.OPTIONS,
    ),
)
_BY_NAME = {entry.name: entry for entry in _ENTRIES}


def names() -> tuple[str, ...]:
    """The names that `load` knows besides paths."""
    return tuple(_BY_NAME)


def describe(*, data_dir: Path | None = None) -> list[dict[str, Any]]:
    """One dictionary a data set, ready for JSON; `found` is where it lies ("embedded", a folder) or None."""
    places = roots(data_dir)
    return [
        {
            "name": entry.name,
            "what": entry.what,
            "train": entry.train,
            "test": entry.test,
            "shape": list(entry.shape),
            "classes": entry.classes,
            "size_bytes": entry.size_bytes,
            "licence": entry.licence,
            "options": list(entry.options),
            "found": _where(entry, places),
        }
        for entry in _ENTRIES
    ]


def load(
    name: str,
    *,
    data_dir: Path | None = None,
    limit_train: int | None = None,
    limit_test: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Dataset:
    """Read, check and return a data set.

    name: one of `names()`, or a path: an `.npz` or `.csv` file, a folder of images, recordings or `.npy` files.
    data_dir: looked in first, before INSITU_DATA and the user's cache folder; not used for paths and
    `digits`.
    limit_train, limit_test: at most so many samples (>= 1). Sets in a mixed order give their first samples;
        sets that may be sorted (`spar-watch`, stored splits of a user) give evenly spaced ones.
    options: of all, `normal` (classes): the network trains on their samples alone, and the others are anomalies, see
        `anomaly.one_class`. `corruption` (a name of `corrupt.KINDS`) and `severity` (1..5) for digits, mnist,
        fashion-mnist and cifar10; `size` (28 or 8) for mnist and fashion-mnist. Of the others see `watch.load_watch`,
        `speech.load_speech`, and of paths `npz.load_npz`, `tables.load_csv`, `images.load_images`,
        `sounds.load_sounds`.

    Raises `ConfigError` for a name, limit or option that cannot be used, `DataError` for missing or bad data.
    """
    given = dict(options or {})
    if (normal := given.pop(anomaly.OPTION, None)) is not None:
        Request(str(name), limit_train)  # checks the limit, which counts the samples that are kept
        whole = load(name, data_dir=data_dir, limit_test=limit_test, options=given)
        return check_dataset(anomaly.one_class(whole, normal, limit_train))
    request = Request(str(name), limit_train, limit_test, given)
    entry = _BY_NAME.get(request.name)
    if entry is None:
        return check_dataset(_load_path(request))
    request.allow_options(entry.options)
    corruption = Corruption.of(request)
    layout, root = _NOWHERE, Path()
    if entry.layouts:
        layout, root = find(entry.name, entry.layouts, data_dir, entry.remedy)
    data = entry.read(layout, root, request)
    if corruption is not None:
        corruption.apply(data, entry.pixels)
    return check_dataset(data)


def unknown(name: str) -> ConfigError:
    """The error for a name that is in no table, with the nearest known name."""
    near = difflib.get_close_matches(name.lower(), _BY_NAME, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return ConfigError(f"data '{name}' is not known. {hint}Choose one of {', '.join(_BY_NAME)}, {_PATHS}.")


def _load_path(request: Request) -> Dataset:
    path = Path(request.name).expanduser()
    if request.name and is_folder(path):
        return _load_folder(path, request)
    if is_file(path):
        if path.suffix.lower() == ".npz":
            return load_npz(path, request)
        if path.suffix.lower() == ".csv":
            return load_csv(path, request)
        if path.suffix.lower() == ".npy" and holds_arrays(path.parent):
            return load_npz(path.parent, request)
        raise DataError(
            f"{path}: neither an .npz nor a .csv file, nor a folder. Convert it with numpy.savez(file, x=..., y=...)."
        )
    if path.suffix or len(path.parts) > 1 or request.name.startswith(("~", ".")):
        raise DataError(
            f"{path}: no such file or folder. Correct the path, or choose one of {', '.join(_BY_NAME)}."
        )
    raise unknown(request.name)


def _load_folder(path: Path, request: Request) -> Dataset:
    if holds_arrays(path):
        return load_npz(path, request)
    if sounds.KIND.lies_in(path):
        if images.KIND.lies_in(path):
            raise DataError(f"{path}: holds images and recordings. Keep one of them in a folder of its own.")
        return sounds.load_sounds(path, request)
    return images.load_images(path, request)


def _where(entry: Entry, places: list[Path]) -> str | None:
    if not entry.layouts:
        return "embedded"
    found = locate(entry.layouts, places)
    return str(found[1] / found[0].folder) if found else None
