"""Reading results files back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from insitu.errors import ConfigError
from insitu.experiment.record import Results
from insitu.inputs.documents import Source, parse_json, read_text

NAME = "results.json"
VERSION = get_args(Results.model_fields["version"].annotation)[0]


def load_results(paths: Iterable[Path]) -> list[Results]:
    """Comparisons from files, or from folders that hold a ``results.json``.

    Raises:
        ConfigError: for a path that is missing, damaged, or of another version; or if there is no path.
    """
    found = [_load(Path(path)) for path in paths]
    if not found:
        raise ConfigError(f"no results were given; pass files or folders that hold a {NAME}")
    _ask_same(found)
    return found


def _ask_same(results: list[Results]) -> None:
    """Refuses rows that name the same network and data, and are of different ones."""
    seen: dict[tuple[str, str], str] = {}
    for row in (row for one in results for row in one.rows):
        for part, name in (("network", row.network), ("data", row.data)):
            now = (row.identity or {}).get(part)
            if now is not None and seen.setdefault((part, name), now) != now:
                raise ConfigError(
                    f"the results are of two versions of {part} {name!r}, which changed between the comparisons; "
                    "repeat one of them, or report them apart"
                )


def _load(path: Path) -> Results:
    file = path / NAME if path.is_dir() else path
    raw = _read(file)
    version = raw.get("version") if isinstance(raw, dict) else None
    if version != VERSION:
        raise ConfigError(
            f"results {file} have version {version!r}, this insitu reads version {VERSION}; "
            "repeat the comparison or use the insitu that wrote them"
        )
    other = {"grid": "a grid's, whose table and heat map lie", "adapt": "an adaptation's, whose page lies"}
    if raw.get("kind") in other:
        raise ConfigError(f"results {file} are {other[raw['kind']]} beside it; give a comparison's")
    try:
        return Results.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"results {file} are damaged at {place}: {first['msg']}; repeat the comparison"
        ) from None


def _read(file: Path) -> Any:
    remedy = f"pass a file, or a folder with a {NAME} as 'insitu compare --out' writes it"
    source = Source(f"results {file}", remedy)
    return parse_json(read_text(file, source), source)
