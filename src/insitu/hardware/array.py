"""Rows of a bill on a spatial array: products are mapped, everything else streams through a vector unit.

A product's traffic is that of the best mapping (:mod:`insitu.hardware.search`) under the memory that is left for its
tiles. Values that the memory does not hold go store -> SRAM -> logic and back. Cycles are the largest of computing and
of each port (transfers are hidden behind computing, and the other way round).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from insitu.hardware import nest as nests
from insitu.hardware.bill import Band, Row, Use, priced, total
from insitu.hardware.mapping import Costs, Traffic
from insitu.hardware.nest import Bits, Nest, Plane
from insitu.hardware.placement import Placement
from insitu.hardware.search import Array as Geometry
from insitu.hardware.search import best
from insitu.hardware.target import Array, Pes
from insitu.hardware.work import Streams, Work
from insitu.ops.loops import LoopNest
from insitu.step.ir import Op

WIDTH = 8
"""Bits of the factors of a multiplier; wider factors take several turns."""


@dataclass(frozen=True)
class Choice:
    """What mappings and placements are chosen by: unit costs, and whether ``energy`` or the ``store`` counts first."""

    costs: Costs
    first: str = "energy"


FLOWS = {
    "register": "energy.register",
    "accumulator": "energy.accumulator",
    "sram": "memory.sram.",
    "store": "memory.store.",
}


def row(target: Array, how: Choice, index: int, op: Op, part: Work, placement: Placement) -> Row:
    """One part of an op on an array."""
    uses: dict[Use, float] = {}
    reads: dict[str, int] = {}
    writes: dict[str, int] = {}
    utilisation = None
    compute: float
    if part.product is not None:
        traffic = mapped(target.array, how, part.product, placement)
        compute = traffic.compute_cycles * _turns(part)
        utilisation = (
            part.amount * _turns(part) / (compute * target.array.rows.count * target.array.columns.count)
        )
        _count_flows(traffic, uses, reads, writes)
    else:
        compute = _vector_cycles(target, part)
    _count_streams(part, placement, reads, writes, uses)
    for use, amount in _logic(part):
        uses[use] = uses.get(use, 0.0) + amount
    return Row.of(
        index,
        op,
        part,
        reads=reads,
        writes=writes,
        uses=uses,
        cycles=_cycles(target, compute, reads, writes),
        utilisation=utilisation,
    )


# --- products ------------------------------------------------------------------------------------------------


def mapped(array: Pes, how: Choice, product: LoopNest, placement: Placement) -> Traffic:
    """The traffic of the best mapping of a product."""
    operands = {"O": product.made, "W": product.stationary, "I": product.streamed}
    away = tuple(name for name, x in operands.items() if not placement.holds(x.value))
    shape, room = geometry(array, product.form), placement.buffer_bits
    found = best(nest_of(product), shape, room, how.costs, away, first=how.first)
    if product.stationary.value is not None:
        return found.traffic
    kept = tuple(
        f for f in found.traffic.flows if f.operand != "W" or f.level == "register"
    )  # made on the fly
    return Traffic(kept, found.traffic.macs, found.traffic.compute_cycles)


@lru_cache(maxsize=4096)
def nest_of(product: LoopNest) -> Nest:
    """The loop nest of a product."""
    batch, groups, k, c, oy, ox, fy, fx = product.sizes
    bits = Bits(product.made.bits, product.stationary.bits, product.streamed.bits, product.sum_bits)
    suffix = "" if product.form == "forward" else f"_{product.form}"
    if product.kind == "dense" and groups == 1:
        return getattr(nests, f"dense{suffix}")(batch, k, c, bits, read_first=product.added)  # type: ignore[no-any-return]
    shape = Plane(batch, k, c, oy, ox, fy, fx, product.plane, product.stride, product.dilation, groups)
    return getattr(nests, f"conv{suffix}")(shape, bits, read_first=product.added)  # type: ignore[no-any-return]


@lru_cache(maxsize=64)
def geometry(array: Pes, form: str) -> Geometry:
    """The array for a product: the error below swaps the parts of output and input channels."""
    swap = {"K": "C", "C": "K"} if form == "dx" else {}
    columns, rows = (tuple(swap.get(d, d) for d in dims) for dims in (array.column_dims, array.row_dims))
    return Geometry(
        array.rows.count, array.columns.count, rows, columns, array.dataflow.removesuffix("-stationary")
    )


def unit_costs(target: Array) -> Costs:
    """What the search minimises: central values; unknown energies count as their ratio to a bit of the SRAM."""
    entries = target.entries()

    def value(name: str, other: float) -> float:
        entry = entries.get(name)
        return other if entry is None else entry.value

    sram = value("memory.sram.read", 1.0)
    return Costs(
        0.0,
        value("energy.register_read", sram / 16),
        value("energy.register_write", sram / 16),
        value("energy.accumulator_read", sram / 16),
        value("energy.accumulator_write", sram / 16),
        sram,
        value("memory.sram.write", sram),
        value("memory.store.read", 64 * sram),
        value("memory.store.write", 64 * sram),
    )


def _turns(part: Work) -> int:
    """Passes of an 8-bit multiplier that a MAC takes."""
    return 1 if part.real else ceil(part.widths[0] / WIDTH) * ceil(part.widths[1] / WIDTH)


def _count_flows(
    traffic: Traffic, uses: dict[Use, float], reads: dict[str, int], writes: dict[str, int]
) -> None:
    for flow in traffic.flows:
        level = {"accumulator": "register"}.get(flow.level, flow.level)
        bits = float(flow.total_bits)
        side = reads if flow.action == "read" else writes
        side[level] = side.get(level, 0) + round(bits)
        base = FLOWS[flow.level]
        use = (f"{base}{flow.action}",) if base.endswith(".") else (f"{base}_{flow.action}",)
        uses[use] = uses.get(use, 0.0) + bits


# --- everything else -----------------------------------------------------------------------------------------


def _vector_cycles(target: Array, part: Work) -> float:
    return (
        0.0
        if part.kind == "random"
        else ceil(max(part.macs + part.other, part.amount) / target.vector.lanes.count)
    )


def _count_streams(
    part: Work, placement: Placement, reads: dict[str, int], writes: dict[str, int], uses: dict[Use, float]
) -> None:
    """Each operand once; what is not held passes through the SRAM."""

    def pay(level: str, action: str, bits: int) -> None:
        side = reads if action == "read" else writes
        side[level] = side.get(level, 0) + bits
        use = (f"memory.{level}.{action}",)
        uses[use] = uses.get(use, 0.0) + bits

    for streams, action in ((part.reads, "read"), (part.writes, "write")):
        for bits, held in _streams(streams, placement):
            pay("sram", action, bits)
            if not held:
                pay("store", action, bits)
                pay("sram", "write" if action == "read" else "read", bits)


def _streams(streams: Streams, placement: Placement) -> Iterator[tuple[int, bool]]:
    return ((n * value.format.bits, placement.holds(value)) for value, n in streams)


def _logic(part: Work) -> Iterable[tuple[Use, float]]:
    """Arithmetic: an integer product costs the product of its widths, an addition its width."""
    if part.kind == "random":
        return [(("energy.random",), float(part.amount))]
    found: list[tuple[Use, float]] = []
    if part.macs:
        found += _mac(part)
    if part.other:
        width = max(part.widths) / 32
        found.append((("energy.add_float32" if part.real else "energy.add",), part.other * width))
    return found


def _mac(part: Work) -> list[tuple[Use, float]]:
    a, b = part.widths
    if part.real:
        share = max(a, b) / 32
        return [
            (("energy.multiply_float32",), part.macs * share**2),
            (("energy.add_float32",), part.macs * share),
        ]
    sum_bits = part.product.sum_bits if part.product is not None else 2 * max(a, b)
    return [
        (("energy.multiply",), part.macs * a * b / WIDTH**2),
        (("energy.add",), part.macs * sum_bits / 32),
    ]


def _cycles(target: Array, compute: float, reads: dict[str, int], writes: dict[str, int]) -> Band:
    sram, store = target.memory.sram, target.memory.store
    cycles = max(
        compute, reads.get("sram", 0) / sram.bandwidth.value, writes.get("sram", 0) / sram.bandwidth.value
    )
    if store is not None:
        cycles = max(cycles, (reads.get("store", 0) + writes.get("store", 0)) / store.bandwidth.value)
    return Band(cycles, cycles, cycles)


def merit(target: Array, first: str, rows: Sequence[Row]) -> tuple[float, float]:
    """What the placement is chosen by, the least first; without known energies by the traffic to the store."""
    store = float(sum(row.reads.get("store", 0) + row.writes.get("store", 0) for row in rows))
    band = total(priced(target.entries(), row.uses) for row in rows)
    energy = band.central if band is not None else store
    return (store, energy) if first == "store" else (energy, store)
