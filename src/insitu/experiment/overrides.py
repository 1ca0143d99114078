"""Command-line words over a configuration: ``optimizer.kind=adam`` and the like."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from insitu.errors import ConfigError
from insitu.inputs.values import plain


def assign(raw: dict[str, Any], path: str, value: Any) -> None:
    """Sets a dotted path in nested dictionaries."""
    *parents, last = path.split(".")
    for part in parents:
        nested = raw.setdefault(part, {})
        if not isinstance(nested, dict):
            raise ConfigError(f"--set {path}: {part!r} holds no keys; check the path")
        raw = nested
    raw[last] = value


def apply_sets(raw: dict[str, Any], sets: Iterable[str]) -> dict[str, Any]:
    """Applies ``path=value`` words (values in YAML notation) and returns ``raw``.

    Raises:
        ConfigError: for a word without ``=`` or a value that is no YAML.
    """
    for word in sets:
        path, equals, text = word.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set {word!r} is no path=value; write for example --set optimizer.kind=adam")
        assign(raw, path.strip(), plain(text, f"--set {path.strip()}"))
    return raw


def apply_flags(raw: dict[str, Any], **flags: Any) -> dict[str, Any]:
    """Applies the flags that were given (``None``: not given); double underscores stand for dots."""
    for path, value in flags.items():
        if value is not None:
            assign(raw, path.replace("__", "."), value)
    return raw
