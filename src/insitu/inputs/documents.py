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
from pathlib import Path
from typing import Any, NoReturn

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

Refusal = type[InsituError]

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


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = _resolvers()

    def ignore_aliases(self, data: Any) -> bool:
        return True


def read_text(path: Path, what: str, remedy: str, refusal: Refusal = ConfigError) -> str:
    """The text of a file.

    Args:
        what: what the file is, for the message: ``configuration``.
        remedy: what to do if it cannot be read.

    Raises:
        refusal: if it cannot be read, is no UTF-8, or has more than :data:`MAX_BYTES`.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise refusal(f"{what} {path} has more than {MAX_BYTES:,} bytes; {remedy}")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise refusal(f"{what} {path} cannot be read: {error.strerror or error}; {remedy}") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise refusal(f"{what} {path}, line {line}: is no text in UTF-8; {remedy}") from None


def parse_yaml(text: str, source: str, refusal: Refusal = ConfigError) -> Any:
    """Plain data of a YAML text: ``None``, booleans, numbers, texts, lists and dictionaries.

    Args:
        source: what messages begin with: ``configuration a.yaml``.
    """
    node = compose_yaml(text, source, refusal)
    if node is None:
        return None
    return _Loader("").construct_document(node)


def compose_yaml(text: str, source: str, refusal: Refusal = ConfigError) -> Node | None:
    """The checked nodes of a YAML text, with their lines; ``None`` if it is empty."""
    try:
        _bounded(text, source, refusal)
        node: Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        _refuse(refusal, source, _line(error.problem_mark), f"is no YAML: {error.problem}")
    except (yaml.YAMLError, UnicodeError) as error:
        _refuse(refusal, source, None, f"is no YAML: {' '.join(str(error).split())}")
    for each in _walk(node) if node is not None else ():
        _check(each, source, refusal)
    return node


def parse_json(text: str, source: str, refusal: Refusal = ConfigError) -> Any:
    """Plain data of a JSON text; ``NaN`` and ``Infinity`` are read, as Python writes them."""

    def whole(digits: str) -> int:
        if len(digits) > MAX_DIGITS:
            line = text.count("\n", 0, text.find(digits)) + 1
            _refuse(refusal, source, line, f"a whole number has {len(digits):,} digits")
        return int(digits)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
            _refuse(refusal, source, None, f"key {twice!r} is given twice")
        return found

    try:
        found = json.loads(text, parse_int=whole, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        _refuse(refusal, source, error.lineno, f"is no JSON: {error.msg}")
    except RecursionError:
        _refuse(refusal, source, None, f"is nested deeper than {MAX_DEPTH} levels")
    _check_data(found, source, refusal)
    return found


def dump_yaml(data: Any) -> str:
    """Plain data as YAML that :func:`parse_yaml` reads back as it was; keys in their order, no aliases."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False)
    return text


def _refuse(refusal: Refusal, source: str, line: int | None, reason: str) -> NoReturn:
    place = f"{source}, line {line}" if line is not None else source
    raise refusal(f"{place}: {reason}; correct it") from None


def _line(mark: Any) -> int | None:
    return mark.line + 1 if mark is not None else None


def _bounded(text: str, source: str, refusal: Refusal) -> None:
    """Refuses what must not even be composed: anchors, aliases, depth, several documents."""
    if len(text) > MAX_YAML:
        _refuse(refusal, source, None, f"has more than {MAX_YAML:,} characters")
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        if getattr(event, "anchor", None) is not None:
            reason = "has an anchor or an alias (& or *), which insitu does not follow: write the value out"
            _refuse(refusal, source, _line(event.start_mark), reason)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            _refuse(refusal, source, _line(event.start_mark), f"is nested deeper than {MAX_DEPTH} levels")
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1:
            _refuse(refusal, source, _line(event.start_mark), "holds a second document")


def _walk(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node, SequenceNode):
        for each in node.value:
            yield from _walk(each)
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            yield from _walk(key)
            yield from _walk(value)


def _check(node: Node, source: str, refusal: Refusal) -> None:
    """Tags of plain data alone, keys that are texts and unique, numbers and characters within bounds."""
    line = _line(node.start_mark)
    kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
    if kind not in _TAGS[type(node)] or (kind in _RESOLVERS and not _whole(kind).match(node.value)):
        _refuse(refusal, source, line, f"tag {node.tag!r} does not fit; leave out what begins with !")
    if isinstance(node, ScalarNode):
        if kind == "int" and len(node.value) > MAX_DIGITS:
            _refuse(refusal, source, line, f"a whole number has {len(node.value):,} digits")
        _check_characters(node.value, source, line, refusal)
    if isinstance(node, MappingNode):
        _check_keys(node, source, refusal)


def _check_keys(node: MappingNode, source: str, refusal: Refusal) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        line = _line(key.start_mark)
        if not isinstance(key, ScalarNode):
            _refuse(refusal, source, line, "a key is a list or a mapping, not a text")
        if key.value in seen:
            _refuse(refusal, source, line, f"key {key.value!r} is given twice")
        seen.add(key.value)


def _check_characters(text: str, source: str, line: int | None, refusal: Refusal) -> None:
    if _UNFIT.search(text):
        _refuse(refusal, source, line, f"{text[:40]!r} holds a character that no text in UTF-8 can hold")


def _check_data(data: Any, source: str, refusal: Refusal) -> None:
    """Depth and characters of what JSON gave."""
    stack = [(data, 1)]
    while stack:
        each, depth = stack.pop()
        if depth > MAX_DEPTH:
            _refuse(refusal, source, None, f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(each, str):
            _check_characters(each, source, None, refusal)
        elif isinstance(each, dict):
            stack += [(part, depth + 1) for pair in each.items() for part in pair]
        elif isinstance(each, list):
            stack += [(part, depth + 1) for part in each]
