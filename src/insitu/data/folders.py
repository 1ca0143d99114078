"""Where data sets are looked for: --data-dir, then INSITU_DATA, then the user's cache folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from insitu.errors import DataError

ENV_DATA = "INSITU_DATA"


@dataclass(frozen=True)
class Layout:
    """A folder below a root and the files it must hold; each entry lists alternative names."""

    folder: str
    files: tuple[tuple[str, ...], ...]

    def pick(self, root: Path, index: int) -> Path | None:
        """The first existing alternative of file `index`, or None."""
        for name in self.files[index]:
            path = root / self.folder / name
            if is_file(path):
                return path
        return None

    def lacking(self, root: Path) -> list[str]:
        """Names of the files that are not there."""
        return [names[0] for i, names in enumerate(self.files) if self.pick(root, i) is None]


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/insitu`, or `~/.cache/insitu`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "insitu"


def roots(data_dir: Path | None = None) -> list[Path]:
    """The folders to look in, best first. Raises `DataError` when an explicit `data_dir` is no folder."""
    found = []
    if data_dir is not None:
        if not is_folder(Path(data_dir)):
            raise DataError(
                f"data folder {data_dir}: no such folder. Correct --data-dir, or create the folder."
            )
        found.append(Path(data_dir))
    if os.environ.get(ENV_DATA):
        found.append(Path(os.environ[ENV_DATA]).expanduser())
    return [*found, cache_folder()]


def download_root(data_dir: Path | None = None) -> Path:
    """The folder that downloads go to: the first of --data-dir, INSITU_DATA and the cache that is set."""
    if data_dir is not None:
        return Path(data_dir)
    return Path(os.environ[ENV_DATA]).expanduser() if os.environ.get(ENV_DATA) else cache_folder()


def locate(layouts: Sequence[Layout], places: Sequence[Path]) -> tuple[Layout, Path] | None:
    """The first complete (layout, root); roots are tried in order, and the layouts in order within each."""
    for root in places:
        for layout in layouts:
            if not layout.lacking(root):
                return layout, root
    return None


def find(name: str, layouts: Sequence[Layout], data_dir: Path | None, remedy: str) -> tuple[Layout, Path]:
    """Like `locate`, but raises a `DataError` that names the folders looked in and ends with `remedy`."""
    places = roots(data_dir)
    found = locate(layouts, places)
    if found is None:
        seen = "; ".join(_account(layout, root) for root in places for layout in _worth_naming(layouts, root))
        raise DataError(f"data '{name}' was not found. Looked in: {seen}. {remedy}")
    return found


def _worth_naming(layouts: Sequence[Layout], root: Path) -> Sequence[Layout]:
    """Layouts to name for a root: those whose folder is there, else the first one."""
    return [layout for layout in layouts if is_folder(root / layout.folder)] or layouts[:1]


def _account(layout: Layout, root: Path) -> str:
    folder = root / layout.folder
    if not is_folder(folder):
        return f"{folder} (no such folder)"
    return f"{folder} (lacks {', '.join(layout.lacking(root))})"


def is_folder(path: Path) -> bool:
    """True for a folder that can be seen; False also when access is denied."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """True for a file that can be seen; False also when access is denied."""
    try:
        return path.is_file()
    except OSError:
        return False
