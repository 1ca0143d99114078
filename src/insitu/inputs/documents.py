"""YAML and JSON from outside: one loader, with bounds, for every file and option that insitu reads.

Refused, with the line where it can be told: text that is not UTF-8, more than :data:`MAX_BYTES` (YAML:
:data:`MAX_YAML`), nesting deeper than :data:`MAX_DEPTH`, anchors and aliases (1 KB of them can stand for gigabytes), a
key given twice, tags other than those of plain data, whole numbers of more than :data:`MAX_DIGITS` digits, and
characters that no UTF-8 text can hold.

Scalars of YAML are those of its version 1.1 without its traps: ``1e-3`` is a number, ``1:30``, ``010`` and dates are
texts.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from insitu.errors import ConfigError, InsituError

MAX_BYTES = 1 << 26
"""Of a file, 64 MiB: the results of a large grid take a few."""
MAX_YAML = 1 << 20
"""Characters of a YAML text: people write them, the longest of insitu has 10,000; 1 MiB takes a second."""
MAX_DEPTH = 64
"""Levels of nesting: insitu's own documents have less than ten."""
MAX_DIGITS = 20
"""Of a whole number: 64 bits."""


@dataclass(frozen=True)
class Source:
    """What a document is, for messages: ``configuration a.yaml, line 3: is no YAML: ...; correct the file``."""

    name: str
    remedy: str = "correct it"
    refusal: type[InsituError] = ConfigError

    def refuse(self, reason: str, line: int | None = None) -> InsituError:
        """The refusal of this document."""
        place = self.name if line is None else f"{self.name}, line {line}"
        return self.refusal(f"{place}: {reason}; {self.remedy}")


_TAGS = {ScalarNode: ("null", "bool", "int", "float", "str"), SequenceNode: ("seq",), MappingNode: ("map",)}
_UNFIT = re.compile("[\0\ud800-\udfff]")
_RESOLVERS = {
    "bool": (r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
}


def _whole(name: str) -> re.Pattern[str]:
    return re.compile(f"(?:{_RESOLVERS[name][0]})\\Z")


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for name, (_, first) in _RESOLVERS.items():
        for character in first:
            found.setdefault(character, []).append((f"tag:yaml.org,2002:{name}", _whole(name)))
    return found


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    yaml_implicit_resolvers = _resolvers()


class _Text(StringIO):
    """A text whose marks have a name."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = _resolvers()

    def ignore_aliases(self, data: Any) -> bool:
        return True


def read_text(path: Path, source: Source) -> str:
    """The text of a file, a byte order mark left out.

    Raises:
        InsituError: the source's refusal, if the file cannot be read, is no UTF-8, or has more than
            :data:`MAX_BYTES`.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise source.refuse(f"cannot be read: {error.strerror or error}") from None
    if len(raw) > MAX_BYTES:
        raise source.refuse(f"has more than {MAX_BYTES:,} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise source.refuse("is no text in UTF-8", raw.count(b"\n", 0, error.start) + 1) from None


def parse_yaml(text: str, source: Source) -> Any:
    """Plain data of a YAML text: ``None``, booleans, numbers, texts, lists and dictionaries.

    Raises:
        InsituError: the source's refusal.
    """
    node = compose_yaml(text, source)
    if node is None:
        return None
    return _Loader("").construct_document(node)


def compose_yaml(text: str, source: Source) -> Node | None:
    """The checked nodes of a YAML text, with their lines; ``None`` if it is empty."""
    try:
        _bounded(text, source)
        node: Node | None = yaml.compose(_Text(text, source.name), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise source.refuse(f"is no YAML: {error.problem}", _line(error.problem_mark)) from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise source.refuse(f"is no YAML: {' '.join(str(error).split())}") from None
    for each in _walk(node) if node is not None else ():
        _check(each, source)
    return node


def parse_json(text: str, source: Source) -> Any:
    """Plain data of a JSON text; ``NaN`` and ``Infinity`` are read, as Python writes them."""

    def whole(digits: str) -> int:
        if len(digits) > MAX_DIGITS:
            line = text.count("\n", 0, text.find(digits)) + 1
            raise source.refuse(f"a whole number has {len(digits):,} digits", line)
        return int(digits)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
            raise source.refuse(f"key {twice!r} is written twice")
        return found

    try:
        found = json.loads(text, parse_int=whole, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise source.refuse(f"is no JSON: {error.msg}", error.lineno) from None
    except RecursionError:
        raise source.refuse(f"is nested deeper than {MAX_DEPTH} levels") from None
    _check_data(found, source)
    return found


def dump_yaml(data: Any, *, unicode: bool = False) -> str:
    """Plain data as YAML that :func:`parse_yaml` reads back as it was; keys in their order, no aliases."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=unicode)
    return text


def _line(mark: Any) -> int | None:
    return mark.line + 1 if mark is not None else None


def _bounded(text: str, source: Source) -> None:
    """Refuses what must not even be composed: anchors, aliases, depth, several documents."""
    if len(text) > MAX_YAML:
        raise source.refuse(f"has more than {MAX_YAML:,} characters")
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        if getattr(event, "anchor", None) is not None:
            reason = "has an anchor or an alias (& or *), which insitu does not follow: write the value out"
            raise source.refuse(reason, _line(event.start_mark))
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise source.refuse(f"is nested deeper than {MAX_DEPTH} levels", _line(event.start_mark))
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1:
            raise source.refuse("holds a second document", _line(event.start_mark))


def _walk(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node, SequenceNode):
        for each in node.value:
            yield from _walk(each)
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            yield from _walk(key)
            yield from _walk(value)


def _check(node: Node, source: Source) -> None:
    """Tags of plain data alone, keys that are texts and unique, numbers and characters within bounds."""
    line = _line(node.start_mark)
    kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
    if kind not in _TAGS[type(node)] or (kind in _RESOLVERS and not _whole(kind).match(node.value)):
        raise source.refuse(f"tag {node.tag!r} does not fit; leave out what begins with !", line)
    if isinstance(node, ScalarNode):
        if kind == "int" and len(node.value) > MAX_DIGITS:
            raise source.refuse(f"a whole number has {len(node.value):,} digits", line)
        _check_characters(node.value, source, line)
    if isinstance(node, MappingNode):
        _check_keys(node, source)


def _check_keys(node: MappingNode, source: Source) -> None:
    seen: dict[str, int | None] = {}
    for key, _ in node.value:
        line = _line(key.start_mark)
        if not isinstance(key, ScalarNode):
            raise source.refuse("a key is a list or a mapping, not a text", line)
        if key.value in seen:
            raise source.refuse(f"key {key.value!r} is written twice, first in line {seen[key.value]}", line)
        seen[key.value] = line


def _check_characters(text: str, source: Source, line: int | None) -> None:
    if _UNFIT.search(text):
        raise source.refuse(f"{text[:40]!r} holds a character that no text in UTF-8 can hold", line)


def _check_data(data: Any, source: Source) -> None:
    """Depth and characters of what JSON gave."""
    stack = [(data, 1)]
    while stack:
        each, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise source.refuse(f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(each, str):
            _check_characters(each, source, None)
        elif isinstance(each, dict):
            stack += [(part, depth + 1) for pair in each.items() for part in pair]
        elif isinstance(each, list):
            stack += [(part, depth + 1) for part in each]
