"""The free search: close to ZigZag's, never below what must move, monotone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.errors import ConfigError
from insitu.hardware.mapping import OPERANDS, Traffic, energy_pj, evaluate
from insitu.hardware.nest import Bits, Nest, Plane, conv, conv_dw, conv_dx, dense, dense_dw, dense_dx
from insitu.hardware.search import OBJECTIVES, Array, best
from tests.hardware.test_mapping import EDGE64, WORKLOADS, costs, mapping, nest

SEARCHES = settings(max_examples=60, deadline=None)
WIDTHS = st.sampled_from([1, 2, 4, 8, 16])


def small_planes() -> st.SearchStrategy[Plane]:
    """Convolutions with padding, stride, dilation and groups."""

    def make(
        batch: int, groups: int, k: int, c: int, out: int, kernel: int, stride: int, dilation: int, pad: int
    ) -> Plane:
        plane = max(1, stride * (out - 1) + dilation * (kernel - 1) + 1 - pad)
        return Plane(
            batch, k, c, out, out, kernel, kernel, (plane,) * 2, (stride,) * 2, (dilation,) * 2, groups
        )

    few = st.integers(1, 3)
    channels = st.integers(1, 24)
    return st.builds(
        make, few, few, channels, channels, st.integers(1, 12), few, few, st.integers(1, 2), st.integers(0, 2)
    )


@st.composite
def nests(draw: st.DrawFn) -> Nest:
    """Any product."""
    bits = Bits(draw(WIDTHS), draw(WIDTHS), draw(WIDTHS), draw(st.sampled_from([16, 32])))
    first = draw(st.booleans())
    if draw(st.booleans()):
        return draw(st.sampled_from([conv, conv_dx, conv_dw]))(draw(small_planes()), bits, read_first=first)
    sizes = [draw(st.integers(1, n)) for n in (16, 100, 100)]
    return draw(st.sampled_from([dense, dense_dx, dense_dw]))(*sizes, bits, read_first=first)


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    size = st.sampled_from([1, 4, 8, 16])
    dataflow = draw(st.sampled_from(["weight", "output"]))
    rows = ("C", "K", "FX") if dataflow == "weight" else ("K", "C", "OX", "B")
    return Array(draw(size), draw(size), rows, ("K", "C", "G"), dataflow)


SRAMS = st.integers(6, 18).map(lambda n: 2**n)
FIRSTS = st.sampled_from(OBJECTIVES)
AWAY = st.sets(st.sampled_from(OPERANDS), min_size=1).map(lambda s: tuple(sorted(s)))


def compulsory_bits(what: Nest, name: str) -> float:
    """Each element once."""
    operand = what.operand(name)
    return what.footprint(name) * operand.bits * (1 + operand.read_first)


def port_bits(traffic: Traffic) -> float:
    """Bits that the store's port moves."""
    port = costs().store_port_bits
    return traffic.words("store", port) * port


@pytest.mark.parametrize("first", OBJECTIVES)
@pytest.mark.parametrize("name", WORKLOADS)
def test_the_free_mapping_is_within_ten_per_cent_of_zigzags(name: str, first: str) -> None:
    row = WORKLOADS[name]
    array = Array(EDGE64["rows"], EDGE64["columns"], (row["rows"],), (row["columns"],))
    found = best(nest(row), array, EDGE64["sram_bits"], costs(), zeros=True, first=first)
    assert found.energy_pj <= 1.10 * row["total_pj"]
    assert found.store_bits <= port_bits(evaluate(nest(row), mapping(row), zeros=True)) * (1 + 1e-9)


def test_the_error_as_a_scatter_costs_within_ten_per_cent_of_zigzags_gather() -> None:
    row = WORKLOADS["conv dX 32-16"]
    shape = Plane(1, row["sizes"]["C"], row["sizes"]["K"], 16, 16, 3, 3, (16, 16))
    found = best(conv_dx(shape), Array(8, 8), EDGE64["sram_bits"], costs(), zeros=True)
    assert found.energy_pj <= 1.10 * row["total_pj"]


@given(nests(), arrays(), SRAMS, AWAY, FIRSTS)
@SEARCHES
def test_no_operand_moves_less_than_once(
    what: Nest, array: Array, sram: int, away: tuple[str, ...], first: str
) -> None:
    found = best(what, array, sram, costs(), away, first=first)
    for name in OPERANDS:
        moved = found.traffic.bits("store", operand=name)
        assert moved >= compulsory_bits(what, name) * (1 - 1e-9) if name in away else moved == 0


@given(nests(), arrays(), SRAMS, AWAY, st.booleans())
@SEARCHES
def test_the_result_is_the_evaluation_of_its_mapping(
    what: Nest, array: Array, sram: int, away: tuple[str, ...], zeros: bool
) -> None:
    found = best(what, array, sram, costs(), away, zeros=zeros)
    traffic = evaluate(what, found.mapping, away, zeros=zeros)
    assert found.traffic == traffic
    assert (found.store_bits, found.energy_pj) == (port_bits(traffic), energy_pj(traffic, costs()))


@given(nests(), arrays(), SRAMS, AWAY)
@SEARCHES
def test_a_bigger_sram_never_gives_more_store_traffic(
    what: Nest, array: Array, sram: int, away: tuple[str, ...]
) -> None:
    sizes = [sram, sram * 3 // 2, sram * 2, sram * 64]
    moved = [best(what, array, size, costs(), away).store_bits for size in sizes]
    assert all(b <= a * (1 + 1e-6) for a, b in pairwise(moved))


def widened(what: Nest, name: str, more: int) -> Nest:
    """The same nest with a wider operand."""
    wider = (replace(o, bits=o.bits + more) if o.name == name else o for o in what.operands)
    return replace(what, operands=tuple(wider))


@given(nests(), arrays(), SRAMS, AWAY, st.sampled_from(OPERANDS), st.integers(1, 8))
@SEARCHES
def test_more_bits_never_give_less_store_traffic(
    what: Nest, array: Array, sram: int, away: tuple[str, ...], name: str, more: int
) -> None:
    narrow, wide = (best(n, array, sram, costs(), away) for n in (what, widened(what, name, more)))
    assert wide.store_bits >= narrow.store_bits * (1 - 1e-6)
    if wide.store_bits <= narrow.store_bits * (1 + 1e-9):
        assert wide.energy_pj >= narrow.energy_pj * (1 - 1e-6)


@given(nests(), arrays(), AWAY, st.sampled_from(OPERANDS), st.integers(1, 8))
@SEARCHES
def test_more_bits_never_take_less_energy_where_all_fits(
    what: Nest, array: Array, away: tuple[str, ...], name: str, more: int
) -> None:
    """Where not, less store traffic comes first, and may cost energy inside."""
    narrow, wide = (best(n, array, 2**40, costs(), away) for n in (what, widened(what, name, more)))
    assert wide.energy_pj >= narrow.energy_pj * (1 - 1e-6)


@given(nests(), arrays(), SRAMS, AWAY, st.sampled_from(OPERANDS), st.integers(1, 8))
@SEARCHES
def test_energy_first_more_bits_never_take_less_and_a_bigger_sram_never_more(
    what: Nest, array: Array, sram: int, away: tuple[str, ...], name: str, more: int
) -> None:
    found = best(what, array, sram, costs(), away, first="energy").energy_pj
    wide = best(widened(what, name, more), array, sram, costs(), away, first="energy").energy_pj
    roomy = best(what, array, 2 * sram, costs(), away, first="energy").energy_pj
    assert roomy * (1 - 1e-6) <= found <= wide * (1 + 1e-6)
    assert found <= best(what, array, sram, costs(), away).energy_pj * (1 + 1e-6)


@given(nests(), arrays(), SRAMS, st.sampled_from(OPERANDS), st.integers(1, 8))
@SEARCHES
def test_more_bits_in_the_sram_never_take_less_energy(
    what: Nest, array: Array, sram: int, name: str, more: int
) -> None:
    away = tuple(o for o in OPERANDS if o != name)
    narrow, wide = (best(n, array, sram, costs(), away) for n in (what, widened(what, name, more)))
    assert wide.energy_pj >= narrow.energy_pj * (1 - 1e-6)


def test_an_axis_takes_a_dim_that_suits_and_stays_idle_without_one() -> None:
    array = Array(8, 8)
    forward, below, gradient = (
        best(f(4, 32, 16), array, 2**16, costs()) for f in (dense, dense_dx, dense_dw)
    )
    assert (forward.mapping.columns, forward.mapping.rows) == ((("K", 8),), (("C", 8),))
    assert (below.mapping.columns, below.mapping.rows) == ((("C", 8),), (("K", 8),))
    assert gradient.mapping.rows == ()


def test_two_axes_do_not_take_one_dim() -> None:
    mapped = best(dense(1, 64, 3), Array(8, 8, ("K",), ("K",), "output"), 2**16, costs()).mapping
    assert sorted(mapped.columns + mapped.rows) == [("K", 8)]


def test_weights_that_stay_are_read_once_for_a_batch() -> None:
    found = best(dense(32, 256, 256), Array(8, 8), 2**17, costs())
    assert found.traffic.bits("store", operand="W") == 256 * 256 * 8


def test_operands_in_the_sram_cause_no_store_traffic() -> None:
    found = best(dense(1, 64, 64), Array(8, 8), 2**10, costs(), ("W",))
    assert found.store_bits == 64 * 64 * 8
    assert best(dense(1, 64, 64), Array(8, 8), 2**10, costs(), ()).store_bits == 0


def test_what_cannot_be_searched_is_refused() -> None:
    with pytest.raises(ConfigError, match="off_chip: X"):
        best(dense(1, 8, 8), Array(8, 8), 2**10, costs(), ("X",))
    with pytest.raises(ConfigError, match="first: 'time' is unknown"):
        best(dense(1, 8, 8), Array(8, 8), 2**10, costs(), first="time")
    with pytest.raises(ConfigError, match="0 rows"):
        best(dense(1, 8, 8), Array(0, 8), 2**10, costs())
