"""What a hardware target consists of: sections of numbers, each with its unit, its band and its source.

Field names are the keys of the YAML file; a field with a default may be missing, one of ``| None`` may be null
(unknown, never zero). Reading, with a refusal for everything that does not fit, is in :mod:`insitu.hardware.target`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, get_args, get_type_hints

CONFIDENCES = ("exact", "high", "medium", "low")
DIMS = ("B", "G", "K", "C", "OX", "OY", "FX", "FY")
"""Loops of a product: batch, groups, output and input channels, the plane of the output, the kernel."""
DATAFLOWS = ("weight-stationary", "output-stationary")


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
        unpack: extra per MAC with words below 8 bits; where ``word`` is known, per MAC of a convolution's adjoint or
            gradient with words of other than 8 bits.
        word: extra per word of an array whose words are not whole bytes, read or written, where known apart.
        dense_dx, conv_dx, conv_dw: per MAC of training's products, where known apart; else as in the forward pass.
        conv_update: per weight of a convolution, where known apart.
        call: per call of a kernel, where known.
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
    dense_dx: Annotated[Entry | None, Unit("cycles/MAC")] = None
    conv_dx: Annotated[Entry | None, Unit("cycles/MAC")] = None
    conv_dw: Annotated[Entry | None, Unit("cycles/MAC")] = None
    conv_update: Annotated[Entry | None, Unit("cycles/weight")] = None
    call: Annotated[Entry | None, Unit("cycles/call")] = None
    word: Annotated[Entry | None, Unit("cycles/word")] = None


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
    """What an FPGA has: multipliers, the widest factor of one, block RAMs and their bits, LUTs."""

    dsp: Annotated[Entry, Unit("1")]
    dsp_bits: Annotated[Entry, Unit("bits")]
    bram: Annotated[Entry, Unit("1")]
    bram_bits: Annotated[Entry, Unit("bits")]
    lut: Annotated[Entry, Unit("1")]


@dataclass(frozen=True, kw_only=True)
class Target:
    """What both kinds share. ``path``: the file; ``sources``: what the keys in entries stand for."""

    kind: ClassVar[str]

    name: str
    what: str
    clock: Annotated[Entry, Unit("MHz")]
    path: Path = Path()
    sources: Mapping[str, str] = field(default_factory=dict)

    def entries(self) -> dict[str, Entry]:
        """Every known number by its dotted id, in the order of the schema."""
        return self._table

    @cached_property
    def _table(self) -> dict[str, Entry]:
        return {e.id: e for e in numbers(self)}


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


@dataclass(frozen=True, kw_only=True)
class EngineMemory:
    """All block RAM of the device."""

    ram: Ram


@dataclass(frozen=True, kw_only=True)
class Cells:
    """LUTs of an engine: one that only infers, one that learns, one that learns by errors of a softmax too."""

    inference: Annotated[Entry | None, Unit("LUT")]
    learning: Annotated[Entry | None, Unit("LUT")]
    softmax: Annotated[Entry | None, Unit("LUT")]


@dataclass(frozen=True, kw_only=True)
class Engine(Target):
    """An engine that runs microcode on an FPGA: a backend knows the cycles of each op, and refuses what it cannot run.

    ``backend``: its name (:mod:`insitu.backends.protocol`); ``dma``: width of the bus by which it fetches its samples;
    without, a host writes them, which is not in the bill.
    """

    kind: ClassVar[str] = "engine"

    backend: str
    lanes: Annotated[Entry, Unit("1")]
    memory: EngineMemory
    fabric: Fabric
    cells: Cells
    dma: Annotated[Entry | None, Unit("bits")] = None


Known = Processor | Array | Engine
"""Any kind of target."""

KINDS: dict[str, type[Processor] | type[Array] | type[Engine]] = {
    "processor": Processor,
    "array": Array,
    "engine": Engine,
}


@dataclass(frozen=True)
class Slot:
    """One key of a section: what type, how marked, and whether it may be null or missing."""

    name: str
    type: Any
    marks: tuple[Any, ...]
    null: bool
    optional: bool


def schema_of(kind: Any) -> tuple[Slot, ...]:
    if kind not in _SCHEMAS:
        hints = get_type_hints(kind, include_extras=True)
        _SCHEMAS[kind] = tuple(_slot(f, hints[f.name]) for f in fields(kind) if f.name not in GIVEN)
    return _SCHEMAS[kind]


_SCHEMAS: dict[Any, tuple[Slot, ...]] = {}


def _slot(f: Field[Any], hint: Any) -> Slot:
    marks = getattr(hint, "__metadata__", ())
    bare = hint.__origin__ if marks else hint
    kinds = [t for t in get_args(bare) if t is not NoneType] if isinstance(bare, UnionType) else [bare]
    return Slot(f.name, kinds[0], marks, isinstance(bare, UnionType), f.default is not MISSING)


GIVEN = ("path", "sources")
"""Fields of a target that are no keys of the schema."""


def numbers(section: Any) -> Iterator[Entry]:
    """Every known number of a section, in the order of the schema."""
    for slot in schema_of(type(section)):
        value = getattr(section, slot.name)
        if isinstance(value, Entry):
            yield value
        elif is_dataclass(value):
            yield from numbers(value)
