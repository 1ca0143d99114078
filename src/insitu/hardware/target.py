"""Hardware targets: what a cycle, an access and a square micrometre cost, with the source and the band of every number.

A target is a YAML file, one of :func:`names` or the user's own. Two kinds: a ``processor`` has cycles per unit of work
and an energy per cycle (or per unit of work), an ``array`` has processing elements, an SRAM, a store and energies per
operation. Every number is an :class:`Entry`; ``null`` is unknown, never zero. ``base: <target>`` takes over everything
that a file does not write itself (an entry is replaced whole).

Every refusal names file, line, key, reason and remedy in one line::

    mine.yaml:12: energy.add.unit: 'pJ/bit' is the wrong unit; write pJ
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from insitu.errors import ConfigError
from insitu.hardware.schema import (
    CONFIDENCES,
    DATAFLOWS,
    DIMS,
    KINDS,
    Area,
    Array,
    ArrayEnergy,
    Cycles,
    Engine,
    Entry,
    Fabric,
    Known,
    Pes,
    Processor,
    ProcessorEnergy,
    Slot,
    Store,
    Target,
    Unit,
    schema_of,
)
from insitu.inputs.documents import Source, compose_yaml, read_text

FOLDER = Path(__file__).parent / "targets"
_T = TypeVar("_T")


class TargetError(ConfigError):
    """A target file that was refused, at a line."""


def _refuse(node: Node, key: str, reason: str, remedy: str) -> TargetError:
    where = f"{Path(node.start_mark.name).name}:{node.start_mark.line + 1}"
    return TargetError(f"{where}: {key}: {reason}; {remedy}")


def _near(word: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(word, known, n=1)
    hint = f"did you mean {near[0]!r}? Use" if near else "use"
    return f"{hint} {', '.join(known)}"


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == "tag:yaml.org,2002:null"


Pairs = dict[str, tuple[Node, Node]]


def _pairs(node: Node, key: str) -> Pairs:
    """Key and value nodes of a mapping."""
    if not isinstance(node, MappingNode):
        raise _refuse(node, key or "file", "is no mapping", "write keys and values")
    return {str(k.value): (k, v) for k, v in node.value}


def _join(above: str, name: str) -> str:
    return f"{above}.{name}" if above else name


def _known(pairs: Pairs, key: str, allowed: tuple[str, ...]) -> None:
    for name, (node, _) in pairs.items():
        if name not in allowed:
            raise _refuse(node, _join(key, name), "is no key here", _near(name, allowed))


def _scalar(node: Node, key: str) -> str:
    if not isinstance(node, ScalarNode) or _is_null(node) or not node.value.strip():
        raise _refuse(node, key, "must be a text", "write one")
    return " ".join(str(node.value).split())


def _number(node: Node, key: str, positive: bool = False) -> float:
    plain = isinstance(node, ScalarNode) and not node.style  # quoted: a text
    try:
        value = float(node.value) if plain else None
    except (TypeError, ValueError):
        value = None
    if value is None:
        raise _refuse(node, key, f"{node.value!r} is no number" if plain else "is no number", "write one")
    if not isfinite(value):
        raise _refuse(
            node, key, f"{node.value} is not finite", "write null for the whole entry where unknown"
        )
    if value < 0:
        raise _refuse(node, key, f"{node.value} is negative", "write a magnitude")
    if positive and value == 0:
        raise _refuse(node, key, "must not be 0", "write its size, or null where it may be unknown")
    return value


ENTRY = ("value", "low", "high", "unit", "source", "confidence", "node", "vdd")


def _entry(node: Node, key: str, expected: Unit, sources: Mapping[str, str]) -> Entry:
    if not isinstance(node, MappingNode):
        raise _refuse(
            node, key, "a bare number has no source", "write {value, low, high, unit, source, confidence}"
        )
    pairs = _pairs(node, key)
    _known(pairs, key, ENTRY)
    for name in ("value", "unit", "source", "confidence"):
        if name not in pairs:
            raise _refuse(node, key, f"{name} is missing", f"add {name}")
    at = {name: value for name, (_, value) in pairs.items()}
    unit, source = _scalar(at["unit"], f"{key}.unit"), _scalar(at["source"], f"{key}.source")
    if unit != expected.name:
        raise _refuse(at["unit"], f"{key}.unit", f"{unit!r} is the wrong unit", f"write {expected.name}")
    if source not in sources:
        raise _refuse(
            at["source"], f"{key}.source", f"{source!r} is not listed", _near(source, tuple(sources))
        )
    confidence = _choice(at["confidence"], f"{key}.confidence", CONFIDENCES)
    low, value, high = _band(node, at, key, expected.positive, confidence)
    process = (
        _number(at[n], f"{key}.{n}", True) if n in at and not _is_null(at[n]) else None
        for n in ("node", "vdd")
    )
    return Entry(value, low, high, unit, source, confidence, key, *process)


def _band(
    node: Node, at: Mapping[str, Node], key: str, positive: bool, confidence: str
) -> tuple[float, float, float]:
    value = _number(at["value"], f"{key}.value", positive)
    found = [value, value]
    for i, name in enumerate(("low", "high")):
        if name in at:
            found[i] = _number(at[name], f"{key}.{name}", positive)
        elif confidence != "exact":
            raise _refuse(node, key, f"{name} is missing", f"add the band, as the confidence is {confidence}")
    low, high = found
    if not low <= value <= high:
        raise _refuse(
            node, key, f"{low:g} <= {value:g} <= {high:g} does not hold", "correct value, low or high"
        )
    return low, value, high


def _choice(node: Node, key: str, allowed: tuple[str, ...]) -> str:
    text = _scalar(node, key)
    if text not in allowed:
        raise _refuse(node, key, f"{text!r} is unknown", _near(text, allowed))
    return text


def _loops(node: Node, key: str) -> tuple[str, ...]:
    if not isinstance(node, SequenceNode) or not node.value:
        raise _refuse(node, key, "must be a list of loops", f"write some of {', '.join(DIMS)}")
    found = tuple(_choice(item, key, DIMS) for item in node.value)
    if len(set(found)) < len(found):
        raise _refuse(node, key, "has a loop twice", "remove one")
    return found


def _read(slot: Slot, node: Node, key: str, sources: Mapping[str, str]) -> Any:
    """What a key holds."""
    if _is_null(node) and slot.null:
        return None
    if _is_null(node):
        raise _refuse(node, key, "must be known", "write it")
    if slot.type is Entry:
        return _entry(node, key, slot.marks[0], sources)
    if slot.type is str:
        return _choice(node, key, slot.marks[0].allowed) if slot.marks else _scalar(node, key)
    if slot.type == tuple[str, ...]:
        return _loops(node, key)
    return _build(slot.type, node, key, sources)


def _build(kind: type[_T], node: Node, key: str, sources: Mapping[str, str], **given: Any) -> _T:
    pairs, schema = _pairs(node, key), schema_of(kind)
    extra = ("kind", "base", "sources") if not key else ()
    _known(pairs, key, (*(slot.name for slot in schema), *extra))
    for slot in schema:
        name = _join(key, slot.name)
        if slot.name in pairs:
            given[slot.name] = _read(slot, pairs[slot.name][1], name, sources)
        elif not slot.optional:
            unknown = ", null where unknown" if slot.null else ""
            raise _refuse(node, name, "is missing", f"add it{unknown}")
    return kind(**given)


class _File(Source):
    """A target file, with the place in front: ``mine.yaml:12: file: is no YAML``."""

    def refuse(self, reason: str, line: int | None = None) -> TargetError:
        return TargetError(f"{Path(self.name).name}:{line or 1}: file: {reason}; {self.remedy}")


def _compose(path: Path) -> Node:
    """The nodes of a file."""
    file = _File(str(path), "pass a .yaml file that can be read")
    node = compose_yaml(read_text(path, file), file)
    if node is None:
        raise TargetError(f"{path.name}:1: file: is empty; start with 'base: stm32l4r5' or another target")
    return node


def _resolved(path: Path, above: tuple[Path, ...] = ()) -> Node:
    """The nodes of a file, what its base has included."""
    node = _compose(path)
    pairs = _pairs(node, "")
    if "base" not in pairs:
        return node
    at = pairs["base"][1]
    base = _scalar(at, "base")
    found = _path(base, at, path.parent)
    if found in (*above, path):
        raise _refuse(at, "base", f"{base!r} leads back to this file", "remove one of them")
    if "name" not in pairs:
        raise _refuse(pairs["base"][0], "name", "is missing", "add one of its own")
    under = _resolved(found, (*above, path))
    kinds = [_pairs(n, "").get("kind", (at, at))[1].value for n in (under, node)]
    if "kind" in pairs and kinds[0] != kinds[1]:
        raise _refuse(
            pairs["kind"][0], "kind", f"{base} is of kind {kinds[0]}", "remove kind, or take another base"
        )
    return _merged(under, node)


def _path(name: str, node: Node, folder: Path) -> Path:
    if name.endswith((".yaml", ".yml")):
        return folder / name
    if name not in names():
        raise _refuse(node, "base", f"{name!r} is no target", _near(name, names()))
    return FOLDER / f"{name}.yaml"


def _merged(base: Node, node: Node) -> Node:
    """``node`` over ``base``: mappings key by key, entries and everything else whole."""
    if not (isinstance(base, MappingNode) and isinstance(node, MappingNode)):
        return node
    if any(k.value == "value" for k, _ in node.value):
        return node
    old, new = _pairs(base, ""), _pairs(node, "")
    both = {name: (k, _merged(old[name][1], v) if name in old else v) for name, (k, v) in new.items()}
    pairs = [*(pair for name, pair in old.items() if name not in both), *both.values()]
    return MappingNode(node.tag, pairs, node.start_mark, node.end_mark)


def _sources(node: Node) -> dict[str, str]:
    pairs = _pairs(node, "sources")
    return {name: _scalar(value, f"sources.{name}") for name, (_, value) in pairs.items()}


def _target(path: Path) -> Known:
    node = _resolved(path)
    pairs = _pairs(node, "")
    for name in ("kind", "sources"):
        if name not in pairs:
            raise _refuse(node, name, "is missing", "add it, or take over a target's with base")
    kind = _choice(pairs["kind"][1], "kind", tuple(KINDS))
    sources = _sources(pairs["sources"][1])
    target: Known = _build(KINDS[kind], node, "", sources)
    target = replace(target, path=path, sources=sources)
    _consistent(target, pairs)
    return target


def _consistent(target: Known, pairs: Pairs) -> None:
    """What no key alone can violate."""
    if isinstance(target, Array):
        pe, at = target.array, pairs["array"][0]
        both = sorted(set(pe.row_dims) & set(pe.column_dims))
        if both:
            raise _refuse(at, "array", f"{', '.join(both)} is along rows and columns", "remove it from one")
    elif isinstance(target, Processor) and target.energy is not None:
        known = [f.name for f in fields(target.energy) if getattr(target.energy, f.name) is not None]
        if "cycle" in known and len(known) > 1:
            at = pairs["energy"][0]
            remedy = "keep the energy of a cycle, or those of work"
            raise _refuse(at, "energy", f"cycle and {known[1]} would count twice", remedy)


# --- the catalogue ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """Names of the built-in targets, sorted."""
    return tuple(sorted(p.stem for p in FOLDER.glob("*.yaml")))


@lru_cache(maxsize=64)
def _cached(path: Path, changed: int) -> Known:
    return _target(path)


def load(path: str | Path) -> Known:
    """The target in a file; read once, and again when the file changes (its base is not watched).

    Raises:
        TargetError: for anything but a target, with the line.
    """
    path = Path(path)
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise TargetError(
            f"target {str(path)!r} cannot be read: {error.strerror}; pass a .yaml file"
        ) from None
    return _cached(path, changed)


def find(name: str | Path) -> Known:
    """A built-in target by name, or the user's by the path of a ``.yaml`` file; of an engine with other numbers too:
    ``engine-systemc:lanes=16,dma=64,clock=100``.

    Raises:
        ConfigError: for an unknown name, or a number that no engine has.
        TargetError: for a file that is no target.
    """
    text, changed, changes = str(name).partition(":")
    if text in names():
        found = load(FOLDER / f"{text}.yaml")
        return _changed(found, changes) if changed else found
    if str(name).endswith((".yaml", ".yml")):
        return load(name)
    raise ConfigError(f"target {text!r} is unknown; {_near(text, names())}, or the path of a .yaml file")


CHANGES: dict[str, tuple[float, ...]] = {"lanes": (4, 8, 16, 32), "dma": (8, 16, 32, 64, 128), "clock": ()}
"""What of an engine a name may change, and to what; any positive number where nothing is listed."""


def _changed(target: Known, changes: str) -> Known:
    """An engine with other numbers."""
    found, name = target, f"{target.name}:{changes}"
    for change in changes.split(","):
        key, _, text = change.partition("=")
        entry = getattr(found, key, None) if key in CHANGES else None
        if not isinstance(found, Engine) or not isinstance(entry, Entry):
            given = [k for k in CHANGES if isinstance(getattr(found, k, None), Entry)]
            known = f"{', '.join(given)} can" if isinstance(found, Engine) else "only those of an engine can"
            raise ConfigError(f"target {name}: {key!r} of {target.name} cannot be changed by name; {known}")
        found = replace(found, **{key: _other(entry, key, text, name)})  # type: ignore[arg-type]
    return replace(found, name=name, what=f"{target.what}, with {changes}")


def _other(entry: Entry, key: str, text: str, name: str) -> Entry:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    known = CHANGES[key]
    if not isfinite(value) or value <= 0 or (known and value not in known):
        remedy = (
            f"one of {', '.join(f'{n:g}' for n in known)}" if known else f"a positive number of {entry.unit}"
        )
        raise ConfigError(f"target {name}: {key} is {text!r}; use {remedy}")
    return replace(entry, value=value, low=value, high=value)


def describe() -> list[dict[str, Any]]:
    """A row per built-in target; ``store`` and ``energy`` are what is known of them."""
    return [_row(find(name)) for name in names()]


def _row(target: Known) -> dict[str, Any]:
    if isinstance(target, Array):
        ram, store = target.memory.sram.bytes.count, target.memory.store
        kept = store.technology if store else None
    else:
        flash = isinstance(target, Processor) and target.memory.flash
        ram, kept = target.memory.ram.bytes.count, "flash" if flash else None
    return {
        "name": target.name,
        "kind": target.kind,
        "what": target.what,
        "clock_mhz": target.clock.value,
        "ram_bytes": ram,
        "store": kept,
        "energy": any(e.id.startswith("energy.") for e in target.entries().values()),
    }


__all__ = [
    "DATAFLOWS",
    "DIMS",
    "Area",
    "Array",
    "ArrayEnergy",
    "Cycles",
    "Engine",
    "Entry",
    "Fabric",
    "Known",
    "Pes",
    "Processor",
    "ProcessorEnergy",
    "Store",
    "Target",
    "TargetError",
    "describe",
    "find",
    "load",
    "names",
]
