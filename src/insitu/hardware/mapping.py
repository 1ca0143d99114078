"""What moves when a nest runs on an array with a given mapping.

A tile is fetched again when a loop that moves its operand turns outside it; loops that do not, directly outside it,
reuse it. Levels: ``register`` (W, per element of the array), ``accumulator`` (O), ``sram`` and ``store``. I has no
register: what is read stays at the output of the SRAM while the loops directly outside do not move it. All counts
are averages over tiles: a loop of 10 on 8 columns is 2 turns of 5.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from insitu.errors import ConfigError
from insitu.hardware.nest import Nest, Number, Operand

LEVELS = ("register", "accumulator", "sram", "store")
DATAFLOWS = ("weight", "output")
OPERANDS = ("O", "W", "I")
_EPS = 1e-9

Loops = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Mapping:
    """Where and when each step of a nest runs.

    Attributes:
        columns, rows: dims unrolled along the array's axes D1 and D2, with how far.
        loops: (dim, turns), innermost first.
        cuts: per operand (name, n, m): its register or accumulator holds a tile of the innermost n loops, the SRAM
            of the innermost m.
        dataflow: ``weight``: the accumulators are at the end of the rows and add along them, so rows take reduced
            dims and columns dims of O; ``output``: an accumulator per element, both axes take dims of O.
    """

    columns: Loops
    rows: Loops
    loops: Loops
    cuts: tuple[tuple[str, int, int], ...]
    dataflow: str = "weight"

    @property
    def turns(self) -> int:
        """Cycles of computing: the product of all loops."""
        return prod(n for _, n in self.loops)


@dataclass(frozen=True)
class Flow:
    """One kind of access.

    Attributes:
        operand, level: of whom, where.
        action: ``read`` or ``write``.
        side: with the neighbour ``below`` (towards the multipliers) or ``above``.
        bits: per element.
        elements: of one transfer.
        transfers: how many.
    """

    operand: str
    level: str
    action: str
    side: str
    bits: int
    elements: Number
    transfers: Number

    @property
    def total(self) -> Number:
        """Elements of all transfers."""
        return self.elements * self.transfers

    @property
    def total_bits(self) -> Number:
        """Bits of all transfers."""
        return self.total * self.bits

    def words(self, port_bits: int) -> Number:
        """Accesses of a port: each transfer starts a new word."""
        return np.ceil(self.elements * self.bits / port_bits - _EPS) * self.transfers


@dataclass(frozen=True)
class Traffic:
    """Everything that moves.

    Attributes:
        flows: the accesses, none of them empty.
        macs: multiply-accumulates.
        compute_cycles: product of the temporal loops.
    """

    flows: tuple[Flow, ...]
    macs: int
    compute_cycles: int

    def bits(self, level: str, action: str | None = None, operand: str | None = None) -> float:
        """Bits that a level reads or writes, of one operand or all."""
        chosen = (f for f in self.flows if f.level == level and action in (None, f.action))
        return float(sum(f.total_bits for f in chosen if operand in (None, f.operand)))

    def words(self, level: str, port_bits: int, action: str | None = None) -> float:
        """Accesses of a port of so many bits; the cycles that it is busy."""
        return float(
            sum(f.words(port_bits) for f in self.flows if f.level == level and action in (None, f.action))
        )

    def cycles(self, sram_port_bits: int = 64, store_port_bits: int = 32) -> dict[str, float]:
        """Cycles of computing and of each port (SRAM read, SRAM write, store); the caller takes the largest."""
        return {
            "compute": float(self.compute_cycles),
            "sram read": self.words("sram", sram_port_bits, "read"),
            "sram write": self.words("sram", sram_port_bits, "write"),
            "store": self.words("store", store_port_bits),
        }


@dataclass(frozen=True)
class Costs:
    """Unit energies: pJ per bit, and per multiply-accumulate.

    Attributes:
        sram_port_bits, store_port_bits: bits that an access takes at least; 1 charges exactly the bits that move.
    """

    mac: float
    register_read: float
    register_write: float
    accumulator_read: float
    accumulator_write: float
    sram_read: float
    sram_write: float
    store_read: float
    store_write: float
    sram_port_bits: int = 1
    store_port_bits: int = 1

    def port_bits(self, level: str) -> int:
        """Bits of an access of a level."""
        return {"sram": self.sram_port_bits, "store": self.store_port_bits}.get(level, 1)

    def of(self, flow: Flow) -> Number:
        """Energy of a flow, pJ."""
        port = self.port_bits(flow.level)
        per_bit: float = getattr(self, f"{flow.level}_{flow.action}")
        return (flow.words(port) * port if port > 1 else flow.total_bits) * per_bit


def energy_pj(traffic: Traffic, costs: Costs) -> float:
    """Energy of the arithmetic and of all accesses."""
    return traffic.macs * costs.mac + float(sum(costs.of(f) for f in traffic.flows))


def energies_pj(traffic: Traffic, costs: Costs) -> dict[tuple[str, str], float]:
    """Energy of the accesses by (level, operand); the multiply-accumulates are not in it."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    for flow in traffic.flows:
        found[flow.level, flow.operand] += float(costs.of(flow))
    return dict(found)


# --- the accesses of one operand, of given tiles --------------------------------------------------------------


@dataclass(frozen=True)
class Visits:
    """Tiles of an operand as they move between two levels.

    Attributes:
        elements: of a tile.
        count: how often one moves.
    """

    elements: Number
    count: Number


def read_flows(operand: Operand, held: Visits | None, latch: Visits, copies: Number) -> Iterator[Flow]:
    """Accesses of what is read, between the SRAM and the multipliers.

    Args:
        held: tiles of the register; ``None`` without one.
        latch: what the multipliers see.
        copies: array elements that hold the same element of the operand.
    """
    name, bits = operand.name, operand.bits
    if held is not None:
        yield Flow(name, "register", "read", "below", bits, latch.elements * copies, latch.count)
        yield Flow(name, "register", "write", "above", bits, held.elements * copies, held.count)
    below = latch if held is None else held
    yield Flow(name, "sram", "read", "below", bits, below.elements, below.count)


def write_flows(operand: Operand, sums: Visits, held: Visits, full: Number, zeros: bool) -> Iterator[Flow]:
    """Accesses of the output, between the multipliers and the SRAM.

    Args:
        sums: what the multipliers add, each cycle.
        held: tiles of the accumulators.
        full: elements of the output.
        zeros: see :func:`evaluate`.
    """
    name, partial = operand.name, operand.widest
    yield Flow(name, "accumulator", "write", "below", partial, sums.elements, sums.count)
    yield Flow(name, "accumulator", "read", "below", partial, sums.elements, _again(sums, full, zeros))
    yield from _exchange(operand, "accumulator", "sram", held, full, zeros)


def store_flows(operand: Operand, tile: Visits, full: Number, zeros: bool) -> Iterator[Flow]:
    """Accesses of any operand between store and SRAM; arguments as of :func:`write_flows`."""
    if operand.written:
        yield from _exchange(operand, "sram", "store", tile, full, zeros)
    else:
        yield Flow(operand.name, "sram", "write", "above", operand.bits, tile.elements, tile.count)
        yield Flow(operand.name, "store", "read", "below", operand.bits, tile.elements, tile.count)


def _again(moved: Visits, full: Number, zeros: bool) -> Number:
    """Visits of a tile that holds partial sums already; with zeros all, if any."""
    first = full / moved.elements
    later = np.maximum(moved.count - first, 0)
    return np.where(later > _EPS * moved.count, moved.count, 0.0) if zeros else later


def _exchange(
    operand: Operand, low: str, high: str, moved: Visits, full: Number, zeros: bool
) -> Iterator[Flow]:
    """Tiles of the output between two levels: partial sums both ways, each final element once up."""
    name, partial, elements = operand.name, operand.widest, moved.elements
    again = _again(moved, full, zeros)
    final = moved.count - again
    # an accumulator works at one width; memories are charged for what they hold
    widths = {
        level: (partial, operand.bits) if level != "accumulator" else (partial,) * 2 for level in (low, high)
    }
    for count, which in ((again, 0), (final, 1)):
        yield Flow(name, low, "read", "above", widths[low][which], elements, count)
        yield Flow(name, high, "write", "below", widths[high][which], elements, count)
    if zeros and operand.read_first:
        again = np.maximum(again - full / elements, 0)
    yield Flow(name, low, "write", "above", partial, elements, again)
    yield Flow(name, high, "read", "below", partial, elements, again)
    if operand.read_first:
        first = full / elements
        yield Flow(name, low, "write", "above", widths[low][1], elements, first)
        yield Flow(name, high, "read", "below", widths[high][1], elements, first)


# --- a mapping ------------------------------------------------------------------------------------------------


def evaluate(
    nest: Nest, mapping: Mapping, off_chip: Iterable[str] = OPERANDS, *, zeros: bool = False
) -> Traffic:
    """Counts the accesses of a mapping.

    Args:
        off_chip: operands that are in the store; the others are in the SRAM from the start and stay there.
        zeros: as ZigZag counts: where partial sums visit a level, a zero is read before the first, and the last is
            written there at the width of a partial sum. Off, first visits read nothing and last ones write the
            final width.

    Raises:
        ConfigError: the mapping does not cover the nest, or the array cannot add up as it says.
    """
    spatial = _spatial(nest, mapping)
    away = frozenset(off_chip)
    cuts = {name: (low, high) for name, low, high in mapping.cuts}
    copies_all = prod(spatial.values())
    flows: list[Flow] = []
    for operand in nest.operands:
        low, high = cuts[operand.name]
        first, held, tile = (_visits(operand, spatial, mapping.loops, cut) for cut in (0, low, high))
        full = operand.footprint(nest.extent)
        if operand.written:
            flows += write_flows(operand, Visits(first.elements, mapping.turns), held, full, zeros)
        else:
            kept = held if operand.name == "W" else None
            flows += read_flows(operand, kept, first, copies_all / first.elements)
        if operand.name in away:
            flows += store_flows(operand, tile, full, zeros)
    return Traffic(tuple(f for f in flows if f.total > _EPS), nest.macs, mapping.turns)


def _spatial(nest: Nest, mapping: Mapping) -> dict[str, float]:
    """How many steps of each dim run at a time, on average."""
    _check_axes(nest, mapping)
    found: dict[str, float] = {}
    for dim, size in nest.sizes:
        turns = prod(n for d, n in mapping.loops if d == dim)
        width = prod(n for d, n in (*mapping.columns, *mapping.rows) if d == dim)
        if turns * width < size:
            raise ConfigError(
                f"mapping: {dim} runs {turns} x {width} steps of {size}. Raise a factor of loops, columns or rows."
            )
        found[dim] = size / turns
    return found


def _check_axes(nest: Nest, mapping: Mapping) -> None:
    """Refuses axes that the accumulators cannot add along."""
    if mapping.dataflow not in DATAFLOWS:
        raise ConfigError(f"dataflow {mapping.dataflow!r} is unknown; use one of {', '.join(DATAFLOWS)}")
    for axis, loops in (("columns", mapping.columns), ("rows", mapping.rows)):
        for dim, size in loops:
            if size > 1 and not allowed(nest, mapping.dataflow, axis, dim):
                want = "is not a plain dim of O" if _needs_output(mapping.dataflow, axis) else "moves O"
                raise ConfigError(
                    f"mapping: {axis} of an array of dataflow {mapping.dataflow!r} cannot take {dim}: it {want}."
                    " Choose another dim, or 1."
                )


def _needs_output(dataflow: str, axis: str) -> bool:
    return dataflow == "output" or axis == "columns"


def allowed(nest: Nest, dataflow: str, axis: str, dim: str) -> bool:
    """Whether an axis (``columns`` or ``rows``) can be unrolled over a dim of the nest."""
    output = nest.operand("O")
    if dim not in nest.extent:
        return False
    return dim in output.dims if _needs_output(dataflow, axis) else dim not in output.moved_by


def _visits(operand: Operand, spatial: dict[str, float], loops: Loops, cut: int) -> Visits:
    """The tile of the innermost loops, and how often it moves."""
    tile = dict(spatial)
    for dim, turns in loops[:cut]:
        tile[dim] *= turns
    count, still = 1, True
    for dim, turns in loops[cut:]:
        still = still and (turns == 1 or dim not in operand.moved_by)
        if not still:
            count *= turns
    return Visits(operand.footprint(tile), count)
