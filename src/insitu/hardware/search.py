"""A small free search for the mapping of a nest: least store traffic, then least energy.

A dim of a product leaves at most one operand where it is, so only two orders of loops count at a level: which operand's
loops come first is one choice of three, and nothing else of the order changes any access. What is left to choose is how
far the SRAM's tile goes along each dim, and which operands stay in the SRAM as a whole. All of that is counted in one
pass over arrays of candidates.

A bigger SRAM only adds candidates, and wider operands only make each of them dearer and take some away: hence what
comes first, store traffic or energy, never grows with the SRAM and never shrinks with the bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

import numpy as np
import numpy.typing as npt

from insitu.errors import ConfigError
from insitu.hardware.mapping import (
    OPERANDS,
    Costs,
    Loops,
    Mapping,
    Traffic,
    Visits,
    allowed,
    energy_pj,
    evaluate,
    read_flows,
    store_flows,
    write_flows,
)
from insitu.hardware.nest import DIMS, Nest, Number, Operand

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

SPLITS = 7
"""Tile sizes that are tried along one dim, at most."""

WASTE = 1.06
"""Splits that run more than this many turns for one needed are left out."""

OBJECTIVES = ("store", "energy")

_EPS = 1e-9


@dataclass(frozen=True)
class Array:
    """Multipliers in rows and columns.

    Attributes:
        rows, columns: how many.
        row_dims, column_dims: dims that may be unrolled along them; those that do not suit a nest are passed over.
        dataflow: as of a :class:`~insitu.hardware.mapping.Mapping`.
    """

    rows: int
    columns: int
    row_dims: tuple[str, ...] = ("C", "K", "FX")
    column_dims: tuple[str, ...] = ("K", "C", "G")
    dataflow: str = "weight"


@dataclass(frozen=True)
class Best:
    """What the search found.

    Attributes:
        mapping: the mapping.
        traffic: its accesses, as :func:`~insitu.hardware.mapping.evaluate` counts them.
        store_bits: bits read from and written to the store, in whole words of its port.
        energy_pj: of the arithmetic and all accesses.
    """

    mapping: Mapping
    traffic: Traffic
    store_bits: float
    energy_pj: float


@dataclass(frozen=True)
class _Terms:
    """What a search is about, besides the nest: as the arguments of :func:`best`."""

    room: int
    costs: Costs
    away: frozenset[str]
    zeros: bool
    first: str


@lru_cache(maxsize=65536)
def best(
    nest: Nest,
    array: Array,
    sram_bits: int,
    costs: Costs,
    off_chip: tuple[str, ...] = OPERANDS,
    *,
    zeros: bool = False,
    first: str = "store",
) -> Best:
    """The mapping with the least store traffic, and of those with the least energy; or simply with the least energy.

    Args:
        sram_bits: room for tiles of the operands that are off-chip; what lives in the SRAM takes none of it. Room for
            less than one tile of the array is taken as room for one.
        off_chip: operands in the store.
        zeros: as of :func:`~insitu.hardware.mapping.evaluate`.
        first: ``store`` or ``energy``. Where the SRAM is tight, the last bit of store traffic can cost more inside the
            array than it is worth; ``energy`` weighs them.

    Raises:
        ConfigError: an operand or objective is unknown, or the array has no rows or columns.
    """
    unknown = set(off_chip) - set(OPERANDS)
    if unknown:
        raise ConfigError(f"off_chip: {', '.join(sorted(unknown))}: use operands of {', '.join(OPERANDS)}")
    if array.rows < 1 or array.columns < 1:
        raise ConfigError(f"array of {array.rows} rows and {array.columns} columns: both are at least 1")
    if first not in OBJECTIVES:
        raise ConfigError(f"first: {first!r} is unknown; use one of {', '.join(OBJECTIVES)}")
    terms = _Terms(sram_bits, costs, frozenset(off_chip), zeros, first)
    found = [_best_of_spatial(nest, array.dataflow, axes, terms) for axes in _unrollings(nest, array)]
    if first == "energy":
        return min(found, key=lambda b: b.energy_pj)
    least = min(b.store_bits for b in found)
    return min((b for b in found if b.store_bits <= least * (1 + _EPS)), key=lambda b: b.energy_pj)


def _unrollings(nest: Nest, array: Array) -> Iterator[tuple[Loops, Loops]]:
    """Dims on the columns and rows, with how far; an axis without a dim that suits stays at 1."""

    def choices(axis: str, dims: tuple[str, ...], size: int) -> list[Loops]:
        suits = [d for d in dims if allowed(nest, array.dataflow, axis, d) and nest.extent[d] > 1]
        return [((d, min(size, nest.extent[d])),) for d in suits] if size > 1 else []

    columns = choices("columns", array.column_dims, array.columns) or [()]
    rows = choices("rows", array.row_dims, array.rows) or [()]
    for column, row in product(columns, rows):
        if column and row and column[0][0] == row[0][0]:
            yield column, ()
            yield (), row
        else:
            yield column, row


# --- tiles ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _splits(turns: int) -> tuple[int, ...]:
    """Turns of a loop that may be inside the SRAM's tile: 1, all, and a few that waste little."""
    fair = [n for n in range(2, turns) if n * -(-turns // n) <= WASTE * turns]
    if len(fair) > SPLITS - 2:
        aims = [turns ** (i / (SPLITS - 1)) for i in range(1, SPLITS - 1)]
        fair = sorted({min(fair, key=lambda n: abs(n / aim - aim / n)) for aim in aims})
    return tuple(sorted({1, *fair, turns}))


@lru_cache(maxsize=4096)
def _tiles(turns: tuple[int, ...]) -> Floats:
    """Turns inside the tile, (candidates, dims in the order of DIMS); the first has 1 everywhere, the last all.

    Batch and plane are cut together, in the order batch, rows, columns, or into squares: how many of their steps are in
    a tile counts, and whole rows or squares have the fewest halos.
    """
    b, g, k, c, oy, ox, fy, fx = turns
    planes = (
        {(1, 1, n) for n in _splits(ox)}
        | {(1, n, ox) for n in _splits(oy)}
        | {(n, oy, ox) for n in _splits(b)}
    )
    planes |= {(1, ny, nx) for ny, nx in zip(_splits(oy), _splits(ox))}
    kernels = {(1, fx), (fy, fx)}
    rows = [
        (nb, ng, nk, nc, ny, nx, *kernel)
        for nb, ny, nx in sorted(planes)
        for ng in sorted({1, g})
        for nk in _splits(k)
        for nc in _splits(c)
        for kernel in sorted(kernels)
    ]
    return np.array([(1,) * len(turns), *rows], dtype=np.float64)


class _Space:
    """Candidates of one spatial unrolling: their tiles, and what each operand's tile holds.

    Arrays have the shape (candidates,).
    """

    def __init__(self, nest: Nest, axes: tuple[Loops, Loops], whole: bool) -> None:
        self.nest = nest
        width = {d: n for loops in axes for d, n in loops}
        dims = [d for d in DIMS if d in nest.extent]
        needed = {d: -(-nest.extent[d] // width.get(d, 1)) for d in dims}
        turns = tuple(needed.get(d, 1) for d in DIMS)
        tiles = np.array([turns], dtype=np.float64) if whole else _tiles(turns)
        self.inner = {d: tiles[:, i] for i, d in enumerate(DIMS) if d in nest.extent}
        self.outer = {d: -(-needed[d] // n) for d, n in self.inner.items()}
        ones = np.ones(len(tiles))
        self.inside: Floats = prod(self.inner.values(), start=ones)
        self.outside: Floats = prod(self.outer.values(), start=ones)
        self.unit = {d: nest.extent[d] / (n * self.outer[d]) for d, n in self.inner.items()}
        average = {d: n * self.unit[d] for d, n in self.inner.items()}
        largest = {d: np.minimum(nest.extent[d], n * width.get(d, 1)) for d, n in self.inner.items()}
        operands = {o.name: o for o in nest.operands}
        self.latch = {name: o.footprint(self.unit) for name, o in operands.items()}
        self.tile = {name: o.footprint(average) for name, o in operands.items()}
        self.room = {name: o.footprint(largest) for name, o in operands.items()}
        smallest = {d: np.full(len(tiles), min(n, width.get(d, 1))) for d, n in nest.extent.items()}
        self.room_piece = {name: o.footprint(smallest) for name, o in operands.items()}
        self.full = {name: float(o.footprint(nest.extent)) for name, o in operands.items()}
        self.still_inside = {name: self._still(o, self.inner) for name, o in operands.items()}
        self.still_outside = {name: self._still(o, self.outer) for name, o in operands.items()}

    def _still(self, operand: Operand, loops: dict[str, Floats]) -> Floats:
        """Turns of the loops that leave an operand where it is."""
        moving = operand.moved_by
        return prod((n for d, n in loops.items() if d not in moving), start=np.ones(len(self.inside)))


# --- candidates -----------------------------------------------------------------------------------------------

WHOLE, TILE, PIECE = range(3)
"""What the SRAM holds of an operand: all of it, the tile of the inner loops, or what the array takes at a time."""


@dataclass(frozen=True)
class _Picks:
    """Candidates; arrays of one length.

    Attributes:
        tile: which tile.
        inner_first, outer_first: index in OPERANDS of the operand that the first loops inside the tile, and outside
            it, leave in place.
        states: by operand, what the SRAM holds of it.
    """

    tile: Ints
    inner_first: Ints
    outer_first: Ints
    states: dict[str, Ints]


def _latched(space: _Space, name: str, at: Ints | slice, inner_first: Number, outer_first: Number) -> Visits:
    """What the array takes of an operand at a time, and how often.

    Args:
        at: the tiles.
        inner_first, outer_first: whether its loops come first inside the tile, and outside it.
    """
    inner, outer = space.still_inside[name][at], space.still_outside[name][at]
    inside = space.inside[at]
    all_inside = inner >= inside  # no loop in the tile moves it, and reuse goes on outside
    reuse = np.where(inner_first, inner, np.where(all_inside, inside, 1.0))
    reuse = reuse * np.where(all_inside & outer_first, outer, 1.0)
    return Visits(space.latch[name][at], inside * space.outside[at] / reuse)


def _tiled(space: _Space, name: str, at: Ints | slice, outer_first: Number) -> Visits:
    """The tile of an operand, and how often it moves; arguments as of :func:`_latched`."""
    reuse = np.where(outer_first, space.still_outside[name][at], 1.0)
    return Visits(space.tile[name][at], space.outside[at] / reuse)


def _array_energy(
    operand: Operand, latch: Visits, turns: Floats, copies: Number, full: float, terms: _Terms
) -> Number:
    """pJ of an operand below the SRAM's far side; registers and accumulators hold one element."""
    if operand.written:
        flows = write_flows(operand, Visits(latch.elements, turns), latch, full, terms.zeros)
    else:
        flows = read_flows(operand, latch if operand.name == "W" else None, latch, copies)
    return sum(terms.costs.of(f) for f in flows)


def _price(operand: Operand, tile: Visits, full: float, terms: _Terms) -> Number:
    """What moving tiles between store and SRAM costs: bits of the store's port, or pJ."""
    flows = store_flows(operand, tile, full, terms.zeros)
    if terms.first == "energy":
        return sum(terms.costs.of(f) for f in flows)
    port = terms.costs.store_port_bits
    return sum(f.words(port) * port if port > 1 else f.total_bits for f in flows if f.level == "store")


def _prices(space: _Space, operand: Operand, terms: _Terms) -> Floats:
    """Prices, (4, operand that comes first outside, candidates): WHOLE, TILE, and PIECE without and with the loops that
    leave the operand in place first.
    """
    name, full, every = operand.name, space.full[operand.name], slice(None)
    mine = np.array([[other == name] for other in OPERANDS])
    moves = [Visits(full, 1.0), _tiled(space, name, every, mine)]
    moves += [_latched(space, name, every, first, mine) for first in (False, True)]
    found = np.empty((4, len(OPERANDS), len(space.inside)))
    for i, visits in enumerate(moves):
        found[i] = _price(operand, visits, full, terms)
    return found


def _rooms(space: _Space, operand: Operand) -> Floats:
    """Bits in the SRAM, (states, 1, candidates)."""
    found = np.empty((3, 1, len(space.inside)))
    for i, elements in enumerate((space.full, space.room, space.room_piece)):
        found[i] = elements[operand.name] * operand.widest
    return found


def _cheapest_states(space: _Space, terms: _Terms) -> tuple[Floats, Ints]:
    """The least price over the states, and which those are.

    Both of the shape (operand that comes first inside, operand that comes first outside, candidates). States of the
    operands that are off-chip are the digits of a number to the base 3, the last operand's first.
    """
    count = len(space.inside)
    operands = [space.nest.operand(name) for name in OPERANDS if name in terms.away]
    held = np.zeros((1, 1, count))
    for operand in operands:
        held = (held[:, None] + _rooms(space, operand)).reshape(-1, 1, count)
    fits = held <= terms.room
    fits[-1, :, 0] = True  # pieces of single steps, the least that the array can do with
    prices = [_prices(space, operand, terms) for operand in operands]
    least, states = [], []
    for name in OPERANDS:
        total = np.zeros((1, len(OPERANDS), count))
        for operand, price in zip(operands, prices):
            mine = price[[WHOLE, TILE, PIECE + (operand.name == name)]]
            total = (total[:, None] + mine).reshape(-1, len(OPERANDS), count)
        total = np.where(fits, total, np.inf)
        states.append(np.argmin(total, axis=0))
        least.append(total.min(axis=0))
    return np.stack(least), np.stack(states)


def _inside_energy(space: _Space, terms: _Terms) -> Floats:
    """pJ below the SRAM's far side, in the shape of :func:`_cheapest_states`."""
    found = np.zeros((len(OPERANDS), len(OPERANDS), len(space.inside)))
    turns, unit = space.inside * space.outside, prod(space.unit.values())
    for index, name in enumerate(OPERANDS):
        operand, mine = space.nest.operand(name), np.array([[other == name] for other in OPERANDS])
        copies = unit / space.latch[name]
        for first in (False, True):
            latch = _latched(space, name, slice(None), first, mine)
            rows = [i for i in range(len(OPERANDS)) if (i == index) == first]
            found[rows] += _array_energy(operand, latch, turns, copies, space.full[name], terms)
    return found


def _picks(space: _Space, terms: _Terms) -> _Picks:
    """The candidates that come first by the first objective, of those that fit."""
    prices, best_states = _cheapest_states(space, terms)
    if terms.first == "energy":
        prices = prices + _inside_energy(space, terms)
    inner_first, outer_first, tile = np.nonzero(prices <= prices.min() * (1 + _EPS))
    state = best_states[inner_first, outer_first, tile]
    states = {}
    for name in reversed(OPERANDS):
        states[name] = state % 3 if name in terms.away else np.full_like(state, WHOLE)
        state = state // 3 if name in terms.away else state
    return _Picks(tile, inner_first, outer_first, states)


def _energies(space: _Space, picks: _Picks, terms: _Terms) -> Floats:
    """pJ of the picks."""
    at = picks.tile
    turns = space.inside[at] * space.outside[at]
    unit = prod(n[at] for n in space.unit.values())
    total = np.full(len(at), space.nest.macs * terms.costs.mac)
    for operand in space.nest.operands:
        name, full = operand.name, space.full[operand.name]
        outer_first = picks.outer_first == OPERANDS.index(name)
        latch = _latched(space, name, at, picks.inner_first == OPERANDS.index(name), outer_first)
        tile, state = _tiled(space, name, at, outer_first), picks.states[name]
        elements = np.where(state == WHOLE, full, np.where(state == TILE, tile.elements, latch.elements))
        count = np.where(state == WHOLE, 1.0, np.where(state == TILE, tile.count, latch.count))
        total = total + _array_energy(operand, latch, turns, unit / latch.elements, full, terms)
        if name in terms.away:
            moved = store_flows(operand, Visits(elements, count), full, terms.zeros)
            total = total + sum(terms.costs.of(f) for f in moved)
    return total


def _best_of_spatial(nest: Nest, dataflow: str, axes: tuple[Loops, Loops], terms: _Terms) -> Best:
    """The best temporal mapping of a spatial one.

    If all operands fit in the SRAM at once, one tile dominates all others: the whole.
    """
    everything = sum(
        float(o.footprint(nest.extent)) * o.widest for o in nest.operands if o.name in terms.away
    )
    space = _Space(nest, axes, whole=everything <= terms.room)
    if everything <= terms.room:
        orders = np.arange(len(OPERANDS))
        picks = _Picks(orders * 0, orders, orders * 0, dict.fromkeys(OPERANDS, orders * 0 + WHOLE))
    else:
        picks = _picks(space, terms)
    index = int(np.argmin(_energies(space, picks, terms)))
    mapping = _mapping(space, axes, dataflow, picks, index)
    traffic = evaluate(nest, mapping, terms.away, zeros=terms.zeros)
    port = terms.costs.store_port_bits
    moved = traffic.words("store", port) * port
    return Best(mapping, traffic, moved, energy_pj(traffic, terms.costs))


def _mapping(space: _Space, axes: tuple[Loops, Loops], dataflow: str, picks: _Picks, index: int) -> Mapping:
    """A pick as a mapping."""
    tile = int(picks.tile[index])
    firsts = OPERANDS[int(picks.inner_first[index])], OPERANDS[int(picks.outer_first[index])]
    inner, outer = (
        _ordered(space.nest, {d: int(n[tile]) for d, n in turns.items()}, first)
        for turns, first in zip((space.inner, space.outer), firsts)
    )
    loops = (*inner, *outer)
    ends = {WHOLE: len(loops), TILE: len(inner), PIECE: 0}
    cuts = tuple((name, 0, ends[int(picks.states[name][index])]) for name in OPERANDS)
    return Mapping(axes[0], axes[1], loops, cuts, dataflow)


def _ordered(nest: Nest, turns: dict[str, int], first: str) -> Loops:
    """Loops with those first that leave an operand where it is; without those of one turn."""
    moving = nest.operand(first).moved_by
    return tuple(sorted(((d, n) for d, n in turns.items() if n > 1), key=lambda loop: loop[0] in moving))
