"""Hardware targets: what a cycle, an access and a square micrometre cost, with the source and the band of every number.

A target is a YAML file, one of :func:`names` or the user's own. Two kinds: a ``processor`` has cycles per unit of work
and an energy per cycle (or per unit of work), an ``array`` has processing elements, an SRAM, a store and energies per
operation. Every number is an :class:`Entry`; ``null`` is unknown, never zero. ``base: <target>`` takes over everything
that a file does not write itself (an entry is replaced whole).

Every refusal names file, line, key, reason and remedy in one line::

    mine.yaml:12: energy.add.unit: 'pJ/bit' is the wrong unit; write pJ
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from math import isfinite
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_type_hints

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from insitu.errors import ConfigError

FOLDER = Path(__file__).parent / "targets"
CONFIDENCES = ("exact", "high", "medium", "low")
DIMS = ("B", "G", "K", "C", "OX", "OY", "FX", "FY")
"""Loops of a product: batch, groups, output and input channels, the plane of the output, the kernel."""
DATAFLOWS = ("weight-stationary", "output-stationary")

_T = TypeVar("_T")


class TargetError(ConfigError):
    """A target file that was refused, at a line."""


@dataclass(frozen=True)
class Entry:
    """A number with its band and where it comes from.

    Attributes:
        value: the central value, in ``unit``.
        low, high: the band; equal to ``value`` where exact.
        unit: as the schema asks for.
        source: key of :attr:`Target.sources`.
        confidence: ``exact`` (a definition or a size), ``high`` (measured on this device), ``medium`` (measured
            elsewhere or a published model), ``low`` (remembered or reasoned).
        id: dotted place in the target, ``energy.multiply``.
        node: nm, where it is a matter of process.
        vdd: volt, likewise.
    """

    value: float
    low: float
    high: float
    unit: str
    source: str
    confidence: str
    id: str
    node: float | None = None
    vdd: float | None = None

    @property
    def count(self) -> int:
        """The value of a size, as an integer."""
        return int(self.value)


# --- the schema: field names are YAML keys; a field with a default may be missing, one of ``| None`` may be null -----


@dataclass(frozen=True)
class Unit:
    """What an entry must be in; ``positive``: zero is refused."""

    name: str
    positive: bool = True


@dataclass(frozen=True)
class OneOf:
    """What a text may be."""

    allowed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Ram:
    """Working memory of a processor; its energy is in that of a cycle."""

    bytes: Annotated[Entry, Unit("bytes")]


@dataclass(frozen=True, kw_only=True)
class Flash:
    """Program memory of a processor: pJ/bit beyond the cycle's energy, and writes that a cell survives."""

    bytes: Annotated[Entry, Unit("bytes")]
    write: Annotated[Entry | None, Unit("pJ/bit", positive=False)]
    endurance: Annotated[Entry | None, Unit("writes")]
    read: Annotated[Entry | None, Unit("pJ/bit", positive=False)] = None


@dataclass(frozen=True, kw_only=True)
class ProcessorMemory:
    ram: Ram
    flash: Flash | None


@dataclass(frozen=True, kw_only=True)
class Cycles:
    """Cycles per unit of work of int8 kernels.

    Attributes:
        conv, depthwise, dense: per MAC; ``pointwise`` (1x1) and ``single`` (one input channel, no groups) are
            convolutions too, where known apart; else they cost what ``conv`` costs.
        elementwise: per operation.
        update: per weight, without random words.
        random: per 32-bit word of a counter-based generator.
        rounding: per requantized element.
        int16, float32: factors on products.
        float32_update: per weight.
        unpack: extra per MAC with words below 8 bits.
    """

    conv: Annotated[Entry | None, Unit("cycles/MAC")]
    depthwise: Annotated[Entry | None, Unit("cycles/MAC")]
    dense: Annotated[Entry | None, Unit("cycles/MAC")]
    elementwise: Annotated[Entry | None, Unit("cycles/op")]
    update: Annotated[Entry | None, Unit("cycles/weight")]
    random: Annotated[Entry | None, Unit("cycles/word")]
    rounding: Annotated[Entry | None, Unit("cycles/element")]
    int16: Annotated[Entry | None, Unit("1")]
    float32: Annotated[Entry | None, Unit("1")]
    unpack: Annotated[Entry | None, Unit("cycles/MAC", positive=False)]
    pointwise: Annotated[Entry | None, Unit("cycles/MAC")] = None
    single: Annotated[Entry | None, Unit("cycles/MAC")] = None
    float32_update: Annotated[Entry | None, Unit("cycles/weight")] = None


@dataclass(frozen=True, kw_only=True)
class ProcessorEnergy:
    """``cycle`` alone, or energies per unit of work."""

    cycle: Annotated[Entry | None, Unit("pJ/cycle", positive=False)] = None
    conv: Annotated[Entry | None, Unit("pJ/MAC", positive=False)] = None
    depthwise: Annotated[Entry | None, Unit("pJ/MAC", positive=False)] = None
    dense: Annotated[Entry | None, Unit("pJ/MAC", positive=False)] = None
    elementwise: Annotated[Entry | None, Unit("pJ/op", positive=False)] = None
    update: Annotated[Entry | None, Unit("pJ/weight", positive=False)] = None
    random: Annotated[Entry | None, Unit("pJ/word", positive=False)] = None
    rounding: Annotated[Entry | None, Unit("pJ/element", positive=False)] = None


@dataclass(frozen=True, kw_only=True)
class Blocking:
    """Register blocks of product kernels: one load of a weight serves ``positions``, one of an input ``outputs``."""

    outputs: Annotated[Entry, Unit("1")]
    positions: Annotated[Entry, Unit("1")]


@dataclass(frozen=True, kw_only=True)
class Pes:
    """Processing elements. ``row_dims``, ``column_dims``: loops that are unrolled along each side, first choice first;
    rows are summed over where weights are stationary."""

    rows: Annotated[Entry, Unit("1")]
    columns: Annotated[Entry, Unit("1")]
    dataflow: Annotated[str, OneOf(DATAFLOWS)]
    row_dims: tuple[str, ...]
    column_dims: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Sram:
    bytes: Annotated[Entry, Unit("bytes")]
    bandwidth: Annotated[Entry, Unit("bits/cycle")]
    read: Annotated[Entry | None, Unit("pJ/bit", positive=False)]
    write: Annotated[Entry | None, Unit("pJ/bit", positive=False)]


@dataclass(frozen=True, kw_only=True)
class Store:
    """Where weights and what does not fit the SRAM live."""

    technology: str
    bytes: Annotated[Entry, Unit("bytes")]
    bandwidth: Annotated[Entry, Unit("bits/cycle")]
    read: Annotated[Entry | None, Unit("pJ/bit", positive=False)]
    write: Annotated[Entry | None, Unit("pJ/bit", positive=False)]
    endurance: Annotated[Entry | None, Unit("writes")] = None


@dataclass(frozen=True, kw_only=True)
class ArrayMemory:
    """``store`` is ``None`` where everything must fit the SRAM."""

    sram: Sram
    store: Store | None


@dataclass(frozen=True, kw_only=True)
class ArrayEnergy:
    """Energies of an array.

    Attributes:
        multiply: pJ per 8x8 product; scales with the product of the widths.
        add: pJ per 32-bit addition; scales with the width.
        multiply_float32, add_float32: pJ.
        register_read, register_write: pJ/bit of the stationary operand's register.
        accumulator_read, accumulator_write: pJ/bit of a partial sum.
        random: pJ per 32-bit word.
        leakage: mW.
    """

    multiply: Annotated[Entry | None, Unit("pJ", positive=False)]
    add: Annotated[Entry | None, Unit("pJ", positive=False)]
    multiply_float32: Annotated[Entry | None, Unit("pJ", positive=False)]
    add_float32: Annotated[Entry | None, Unit("pJ", positive=False)]
    register_read: Annotated[Entry | None, Unit("pJ/bit", positive=False)]
    register_write: Annotated[Entry | None, Unit("pJ/bit", positive=False)]
    accumulator_read: Annotated[Entry | None, Unit("pJ/bit", positive=False)]
    accumulator_write: Annotated[Entry | None, Unit("pJ/bit", positive=False)]
    random: Annotated[Entry | None, Unit("pJ/word", positive=False)]
    leakage: Annotated[Entry | None, Unit("mW", positive=False)] = None


@dataclass(frozen=True, kw_only=True)
class Vector:
    """Lanes for everything but products: operations per cycle."""

    lanes: Annotated[Entry, Unit("1")]


@dataclass(frozen=True, kw_only=True)
class Area:
    """Square micrometres per 8x8 multiplier, 32-bit adder, register bit, SRAM bit, bit of the store."""

    multiply: Annotated[Entry | None, Unit("um2", positive=False)]
    add: Annotated[Entry | None, Unit("um2", positive=False)]
    register: Annotated[Entry | None, Unit("um2/bit", positive=False)]
    sram: Annotated[Entry | None, Unit("um2/bit", positive=False)]
    store: Annotated[Entry | None, Unit("um2/bit", positive=False)] = None


@dataclass(frozen=True, kw_only=True)
class Fabric:
    """What an FPGA has: blocks, the widest factor of a DSP, the bits of a block RAM, LUTs; and what a design takes."""

    dsp: Annotated[Entry, Unit("1")]
    dsp_bits: Annotated[Entry, Unit("bits")]
    bram: Annotated[Entry, Unit("1")]
    bram_bits: Annotated[Entry, Unit("bits")]
    lut: Annotated[Entry, Unit("1")]
    lut_per_add_bit: Annotated[Entry | None, Unit("LUT/bit", positive=False)]
    lut_per_lane: Annotated[Entry | None, Unit("LUT", positive=False)] = None
    lut_per_learning_lane: Annotated[Entry | None, Unit("LUT", positive=False)] = None
    lut_base: Annotated[Entry | None, Unit("LUT", positive=False)] = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """What both kinds share. ``path``: the file; ``sources``: what the keys in entries stand for."""

    kind: ClassVar[str]

    name: str
    what: str
    clock: Annotated[Entry, Unit("MHz")]
    path: Path = FOLDER
    sources: Mapping[str, str] = field(default_factory=dict)

    def entries(self) -> dict[str, Entry]:
        """Every known number by its dotted id, in the order of the schema."""
        return {e.id: e for e in _entries(self)}


@dataclass(frozen=True, kw_only=True)
class Processor(Target):
    """A core that runs kernels one after the other."""

    kind: ClassVar[str] = "processor"

    memory: ProcessorMemory
    cycles: Cycles
    energy: ProcessorEnergy | None
    blocking: Blocking
    area: Area | None


@dataclass(frozen=True, kw_only=True)
class Array(Target):
    """A spatial array of multipliers."""

    kind: ClassVar[str] = "array"

    array: Pes
    memory: ArrayMemory
    energy: ArrayEnergy | None
    vector: Vector
    area: Area | None
    fabric: Fabric | None = None


KINDS: dict[str, type[Processor] | type[Array]] = {"processor": Processor, "array": Array}


@dataclass(frozen=True)
class _Slot:
    """One key of a section: what type, how marked, and whether it may be null or missing."""

    name: str
    type: Any
    marks: tuple[Any, ...]
    null: bool
    optional: bool


def _schema(kind: Any) -> tuple[_Slot, ...]:
    if kind not in _SCHEMAS:
        hints = get_type_hints(kind, include_extras=True)
        _SCHEMAS[kind] = tuple(_slot(f, hints[f.name]) for f in fields(kind) if f.name not in GIVEN)
    return _SCHEMAS[kind]


_SCHEMAS: dict[Any, tuple[_Slot, ...]] = {}


def _slot(f: Field[Any], hint: Any) -> _Slot:
    marks = getattr(hint, "__metadata__", ())
    bare = hint.__origin__ if marks else hint
    kinds = [t for t in get_args(bare) if t is not NoneType] if isinstance(bare, UnionType) else [bare]
    return _Slot(f.name, kinds[0], marks, isinstance(bare, UnionType), f.default is not MISSING)


GIVEN = ("path", "sources")
"""Fields of a target that are no keys of the schema."""


def _entries(section: Any) -> Iterator[Entry]:
    for slot in _schema(type(section)):
        value = getattr(section, slot.name)
        if isinstance(value, Entry):
            yield value
        elif is_dataclass(value):
            yield from _entries(value)


# --- reading ---------------------------------------------------------------------------------------------------------


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


def _unique(node: Node, key: str, above: tuple[int, ...] = ()) -> None:
    """Refuses a key that is written twice, and a node that holds itself."""
    if id(node) in above:
        raise _refuse(node, key, "refers to itself", "remove the alias")
    if isinstance(node, MappingNode):
        seen: dict[str, Node] = {}
        for k, v in node.value:
            name = _join(key, str(k.value))
            if k.value in seen:
                line = seen[k.value].start_mark.line + 1
                raise _refuse(k, name, f"is written twice, first in line {line}", "remove one")
            seen[k.value] = k
            _unique(v, name, (*above, id(node)))
    elif isinstance(node, SequenceNode):
        for item in node.value:
            _unique(item, key, (*above, id(node)))


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


def _read(slot: _Slot, node: Node, key: str, sources: Mapping[str, str]) -> Any:
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
    pairs, schema = _pairs(node, key), _schema(kind)
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


def _compose(path: Path) -> Node:
    """The nodes of a file."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        with path.open(encoding="utf-8") as stream:
            node = yaml.compose(stream, Loader=loader)
    except OSError as error:
        raise TargetError(
            f"target {str(path)!r} cannot be read: {error.strerror}; pass a .yaml file"
        ) from None
    except UnicodeDecodeError:
        raise TargetError(f"target {str(path)!r} is no text in UTF-8; pass a .yaml file") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise TargetError(
            f"{path.name}:{line}: file: is no YAML ({error.problem}); correct the line"
        ) from None
    except yaml.YAMLError as error:
        raise TargetError(
            f"{path.name}:1: file: is no YAML ({' '.join(str(error).split())}); correct it"
        ) from None
    if node is None:
        raise TargetError(f"{path.name}:1: file: is empty; start with 'base: stm32l4r5' or another target")
    _unique(node, "")
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


def _target(path: Path) -> Processor | Array:
    node = _resolved(path)
    pairs = _pairs(node, "")
    for name in ("kind", "sources"):
        if name not in pairs:
            raise _refuse(node, name, "is missing", "add it, or take over a target's with base")
    kind = _choice(pairs["kind"][1], "kind", tuple(KINDS))
    sources = _sources(pairs["sources"][1])
    target: Processor | Array = _build(KINDS[kind], node, "", sources)
    target = replace(target, path=path, sources=sources)
    _consistent(target, pairs)
    return target


def _consistent(target: Processor | Array, pairs: Pairs) -> None:
    """What no key alone can violate."""
    if isinstance(target, Array):
        pe, at = target.array, pairs["array"][0]
        both = sorted(set(pe.row_dims) & set(pe.column_dims))
        if both:
            raise _refuse(at, "array", f"{', '.join(both)} is along rows and columns", "remove it from one")
    elif target.energy is not None:
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
def _cached(path: Path, changed: int) -> Processor | Array:
    return _target(path)


def load(path: str | Path) -> Processor | Array:
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


def find(name: str | Path) -> Processor | Array:
    """A built-in target by name, or the user's by the path of a ``.yaml`` file.

    Raises:
        ConfigError: for an unknown name.
        TargetError: for a file that is no target.
    """
    text = str(name)
    if text in names():
        return load(FOLDER / f"{text}.yaml")
    if text.endswith((".yaml", ".yml")):
        return load(text)
    raise ConfigError(f"target {text!r} is unknown; {_near(text, names())}, or the path of a .yaml file")


def describe() -> list[dict[str, Any]]:
    """A row per built-in target; ``store`` and ``energy`` are what is known of them."""
    return [_row(find(name)) for name in names()]


def _row(target: Processor | Array) -> dict[str, Any]:
    if isinstance(target, Array):
        ram, store = target.memory.sram.bytes.count, target.memory.store
        kept = store.technology if store else None
    else:
        ram, kept = target.memory.ram.bytes.count, "flash" if target.memory.flash else None
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
    "Entry",
    "Fabric",
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
