"""Python files of a user's own: loaded as if they were run from their folder, and never the end of insitu.

``file.py:function`` executes the file, what it imports, and the function, with the rights of whoever runs insitu.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from hashlib import sha256
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from insitu.errors import ConfigError, InsituError

NAME = "insitu_user_{}"
"""Of the module that a file becomes; its stem is put in."""

STORED = (".onnx", ".npz")
"""Endings of files that hold a network's layers and parameters."""

_KEPT = frozenset(sys.stdlib_module_names) | {"insitu", "torch", "numpy"}
"""Modules that a file of the same name beside a network does not take the place of."""


def is_file(name: str) -> bool:
    """Is a network named as ``file.py:function``?"""
    return ".py:" in name


def is_stored(name: str) -> bool:
    """Is a network named as a file of layers and parameters (.onnx, .npz), which runs no code?"""
    return not is_file(name) and Path(name).suffix.lower() in STORED


def has_layers(name: str) -> bool:
    """Does a network's name stand for layers of the user's own, to which no option of the zoo applies?"""
    return is_file(name) or is_stored(name)


def stamp(name: str) -> tuple[tuple[str, int, int], ...]:
    """What changes with the Python files in the folder of ``file.py:function`` and one below, or with a file of layers;
    else nothing."""
    if is_stored(name) and (stored := Path(name)).is_file():
        return ((name, stored.stat().st_mtime_ns, stored.stat().st_size),)
    if not is_file(name):
        return ()
    folder = parts(name)[0].parent
    files = sorted([*folder.glob("*.py"), *folder.glob("*/*.py")])
    return tuple((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in files)


def contents(spec: str) -> list[tuple[str, bytes]]:
    """Path and digest of the file of ``file.py:function`` and of the Python files beside it and one folder below."""
    return [(path, sha256(Path(path).read_bytes()).digest()) for path, _, _ in stamp(spec)]


def imported(spec: str) -> list[Path]:
    """What a network comes from: a file of layers, or that of ``file.py:function`` and what it imports from beside it.

    A run is a run of these; :func:`contents` asks for more, for a file may run what it does not import.
    """
    if is_stored(spec):
        return [Path(spec)] if Path(spec).is_file() else []
    path = Path(spec.rpartition(":")[0])
    if path.suffix != ".py" or not path.is_file():
        return []
    found, todo = [path], [path]
    while todo:
        for other in _imports(todo.pop(), path.parent):
            if other not in found:
                found.append(other)
                todo.append(other)
    return [path, *sorted(found[1:])]


def _imports(path: Path, root: Path) -> Iterator[Path]:
    """The files under ``root`` that a file imports, whether it comes to the import or not."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return  # loading it says what is wrong
    for node in ast.walk(tree):
        base, names = root, []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = path.parents[node.level - 1] if 0 < node.level <= len(path.parents) else root
            names = [node.module or "", *(f"{node.module or ''}.{alias.name}" for alias in node.names)]
        for name in names:
            yield from _modules(base, [part for part in name.split(".") if part])


def _modules(base: Path, parts: list[str]) -> Iterator[Path]:
    """The files of a dotted name, those of its packages among them."""
    for n in range(1, len(parts) + 1):
        place = base.joinpath(*parts[:n])
        yield from (x for x in (place.with_suffix(".py"), place / "__init__.py") if x.is_file())


def parts(spec: str) -> tuple[Path, str]:
    """File and function of ``file.py:function``.

    Raises:
        ConfigError: if there is no such file, or no name of a function.
    """
    text, _, function = spec.rpartition(":")
    path = Path(text)
    if not path.is_file():
        raise ConfigError(f"network {spec!r}: there is no file {path}; check the path before ':'")
    if not function.isidentifier():
        raise ConfigError(f"network {spec!r}: {function!r} is no name of a function; write file.py:function")
    return path.resolve(), function


@contextmanager
def loaded(spec: str) -> Iterator[Callable[[], Any]]:
    """The function of ``file.py:function``; inside the block its folder is first on the path, as for a script.

    What the file prints goes to stderr. Modules beside it that it imports are forgotten at the end: two projects may
    have modules of one name.

    Raises:
        ConfigError: however the file, or what happens inside the block, ends, if not by itself: ``SystemExit``,
            ``KeyboardInterrupt`` and the like too. Refusals of insitu's own pass.
    """
    path, function = parts(spec)
    with _beside(path.parent), redirect_stdout(sys.stderr):
        with _errors_of(spec, path, f"{path.name} does not run"):
            module = _module(path)
        found = getattr(module, function, None)
        if not callable(found):
            raise ConfigError(
                f"network {spec!r}: {path.name} has no function {function!r} that returns an nn.Module"
            )
        with _errors_of(spec, path, "the function failed"):
            yield found


def _module(path: Path) -> ModuleType:
    name = NAME.format(path.stem)
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    found.loader.exec_module(module)
    return module


@contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """A folder first on the path, its modules first among those of their names; all as before at the end.

    No bytecode is written or read for them: it is told apart by seconds and sizes alone.
    """
    before, written = list(sys.path), sys.dont_write_bytecode
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if _takes_place(name, folder)}
    there = set(sys.modules)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:], sys.dont_write_bytecode = before, written
        for name in sys.modules.keys() - there:
            if _inside(sys.modules[name], folder):
                del sys.modules[name]
        sys.modules.update(hidden)


def _takes_place(name: str, folder: Path) -> bool:
    """Would a module that is loaded stand for one of the folder?"""
    top = name.partition(".")[0]
    if top in _KEPT or top == "__main__":
        return False
    return (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file()


def _inside(module: ModuleType, folder: Path) -> bool:
    """Was a module loaded from the folder (and not from packages that are installed below it)?"""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return False
    path = Path(file)
    ours = path.is_relative_to(Path(__file__).parents[1])
    return path.is_relative_to(folder) and "site-packages" not in path.parts and not ours


@contextmanager
def _errors_of(spec: str, path: Path, what: str) -> Iterator[None]:
    """Turns every end of foreign code into a refusal that names the file, and its line where it is known."""
    try:
        yield
    except InsituError:
        raise
    except BaseException as error:
        line = _line(error.__traceback__, path)
        place = f" at {path.name}:{line}" if line else ""
        raise ConfigError(f"network {spec!r}: {what}{place}: {_said(error)}; correct the file") from error


def _line(trace: TracebackType | None, path: Path) -> int | None:
    """The innermost line of the file in a traceback."""
    found = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


def _said(error: BaseException) -> str:
    """Kind and first line of an exception, whose text may itself fail."""
    try:
        text = (str(error).splitlines() or [""])[0][:200]
    except BaseException:  # noqa: BLE001
        text = "(its text cannot be had)"
    return f"{type(error).__name__}: {text}"
