"""Accesses of fixed mappings: ZigZag's, and small ones by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from insitu.errors import ConfigError
from insitu.hardware.mapping import Costs, Mapping, Traffic, energies_pj, energy_pj, evaluate
from insitu.hardware.nest import Bits, Nest, Plane, Window, conv, conv_dw, conv_dx, dense, dense_dw, dense_dx

GOLDEN = json.loads((Path(__file__).parent / "golden" / "zigzag.json").read_text())
WORKLOADS = GOLDEN["workloads"]
EDGE64 = GOLDEN["hardware"]
SIDES = (("read", "below"), ("write", "below"), ("read", "above"), ("write", "above"))
PORTS = {"register": 8, "accumulator": EDGE64["accumulator_bits"]}
PORTS |= {level: EDGE64[f"{level}_port_bits"] for level in ("sram", "store")}


def costs() -> Costs:
    """edge64's energies per bit."""
    h = EDGE64
    sums, sram, store = h["accumulator_bits"], h["sram_port_bits"], h["store_port_bits"]
    return Costs(
        h["mac_pj"],
        h["register_read_pj"] / 8,
        h["register_write_pj"] / 8,
        h["accumulator_pj"] / sums,
        h["accumulator_pj"] / sums,
        h["sram_read_pj"] / sram,
        h["sram_write_pj"] / sram,
        h["store_pj"] / store,
        h["store_pj"] / store,
        sram,
        store,
    )


def nest(row: dict[str, Any]) -> Nest:
    """A workload of the file."""
    n = {"B": 1, "G": 1, "K": 1, "C": 1, "OY": 1, "OX": 1, "FY": 1, "FX": 1} | row["sizes"]
    bits = Bits(made=row["final_bits"], partial=EDGE64["accumulator_bits"])
    if "plane" not in row:
        return (dense_dw if row["form"] == "dw" else dense)(n["B"], n["K"], n["C"], bits)
    plane, stride = (row["plane"],) * 2, (row["stride"],) * 2
    shape = Plane(n["B"], n["K"], n["C"], n["OY"], n["OX"], n["FY"], n["FX"], plane, stride, groups=n["G"])
    return (conv_dw if row["form"] == "dw" else conv)(shape, bits)


def mapping(row: dict[str, Any]) -> Mapping:
    """ZigZag's mapping of a workload."""
    axes = [
        ((row[axis], EDGE64[axis]),) if row[axis] in row["spatial"] else () for axis in ("columns", "rows")
    ]
    cuts = row["cuts"]
    ends = (
        ("O", cuts["O"]["accumulator"], cuts["O"]["sram"]),
        ("W", cuts["W"]["register"], cuts["W"]["sram"]),
        ("I", 0, cuts["I"]["sram"]),
    )
    return Mapping(axes[0], axes[1], tuple((d, n) for d, n in row["loops"]), ends)


def words(traffic: Traffic, operand: str, level: str) -> list[float]:
    """Port accesses in the order of the file."""
    flows = [f for f in traffic.flows if (f.operand, f.level) == (operand, level)]
    return [float(sum(f.words(PORTS[level]) for f in flows if (f.action, f.side) == s)) for s in SIDES]


@pytest.mark.parametrize("name", WORKLOADS)
def test_zigzag_mappings_give_the_accesses_and_energies_that_zigzag_counts(name: str) -> None:
    row = WORKLOADS[name]
    traffic = evaluate(nest(row), mapping(row), zeros=True)
    for operand, levels in row["accesses"].items():
        for level, expected in levels.items():
            assert words(traffic, operand, level) == expected, (operand, level)
    energies = energies_pj(traffic, costs())
    for operand, levels in row["energies_pj"].items():
        for level, expected in levels.items():
            assert energies[level, operand] == pytest.approx(expected, rel=1e-3), (operand, level)
    assert traffic.macs * costs().mac == pytest.approx(row["mac_pj"], rel=1e-3)
    assert energy_pj(traffic, costs()) == pytest.approx(row["total_pj"], rel=1e-3)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize(("outer", "inner"), [(1, 1), (5, 1), (1, 4), (5, 3), (7, 5)])
def test_a_window_counts_the_distinct_positions(stride: int, dilation: int, outer: int, inner: int) -> None:
    window = Window("OX", "FX", stride, dilation, 10**6)
    distinct = {stride * i + dilation * j for i in range(outer) for j in range(inner)}
    assert window.positions(outer, inner) == len(distinct)
    assert Window("OX", "FX", stride, dilation, 3).positions(outer, inner) == min(3, len(distinct))


def test_footprints_are_capped_by_the_unpadded_plane() -> None:
    shape = Plane(2, 8, 4, 6, 6, 3, 3, (6, 6))
    padded = conv(shape)
    assert padded.footprint("I") == 2 * 4 * 6 * 6
    assert padded.footprint("I", {"OY": 2, "OX": 6, "FY": 3, "FX": 3}) == 4 * 6
    assert conv_dx(shape).footprint("O") == 2 * 4 * 6 * 6
    assert conv_dw(shape).footprint("O") == 8 * 4 * 3 * 3


def test_a_scattered_error_writes_the_positions_that_nothing_reaches() -> None:
    shape = Plane(1, 8, 4, 3, 3, 1, 1, (6, 6), (2, 2))
    assert conv(shape).footprint("I") == 4 * 3 * 3
    assert conv_dx(shape).footprint("O") == 4 * 6 * 6


def test_macs_of_groups() -> None:
    assert conv(Plane(2, 4, 3, 5, 5, 3, 3, (5, 5), groups=6)).macs == 2 * 6 * 4 * 3 * 25 * 9


def matrix_times_vector(form: str = "dense", **options: Any) -> Nest:
    make = {"dense": dense, "dx": dense_dx, "dw": dense_dw}[form]
    return make(1, 4, 6, Bits(8, 8, 8, 32), **options)


def plain(cut: int, *loops: tuple[str, int]) -> Mapping:
    """One multiplier."""
    return Mapping((), (), loops, tuple((o, 0, cut) for o in "OWI"))


def test_sums_that_are_interrupted_go_back_and_forth_at_their_own_width() -> None:
    traffic = evaluate(matrix_times_vector(), plain(2, ("K", 4), ("C", 6)))
    # 4 sums, 6 visits each: the first reads nothing, the last writes 8 bits
    assert traffic.bits("sram", "write", "O") == 4 * (5 * 32 + 8)
    assert traffic.bits("sram", "read", "O") == 4 * (5 * 32 + 8)
    assert traffic.bits("store", "write", "O") == 4 * 8
    assert traffic.bits("sram", "read", "W") == 24 * 8
    assert traffic.bits("sram", "read", "I") == 6 * 8
    assert traffic.compute_cycles == 24


def test_sums_that_are_not_leave_once() -> None:
    traffic = evaluate(matrix_times_vector(), plain(2, ("C", 6), ("K", 4)))
    assert traffic.bits("sram", "write", "O") == traffic.bits("sram", "read", "O") == 4 * 8
    assert traffic.bits("accumulator", "read", "O") == (20 + 4) * 32
    assert traffic.bits("sram", "read", "I") == 24 * 8


def test_zeros_are_read_where_asked() -> None:
    traffic = evaluate(matrix_times_vector(), plain(2, ("K", 4), ("C", 6)), zeros=True)
    assert traffic.bits("sram", "write", "O") == 24 * 32
    assert traffic.bits("sram", "read", "O") == 24 * 32 + 4 * 8


def test_partial_sums_may_spill_to_the_store() -> None:
    traffic = evaluate(matrix_times_vector(), plain(0, ("K", 4), ("C", 6)))
    assert traffic.bits("store", "write", "O") == 4 * (5 * 32 + 8)
    assert traffic.bits("store", "read", "O") == 4 * 5 * 32


@pytest.mark.parametrize("zeros", [False, True])
def test_an_update_reads_the_weights_once_and_writes_them_once(zeros: bool) -> None:
    what = matrix_times_vector("dw", read_first=True)
    traffic = evaluate(what, plain(2, ("C", 6), ("K", 4)), zeros=zeros)
    for level in ("store", "sram"):
        twice = 1 if level == "store" else 2  # the SRAM's both sides
        assert traffic.bits(level, "read", "O") == traffic.bits(level, "write", "O") == 24 * 8 * twice


def test_what_lives_in_the_sram_does_not_touch_the_store() -> None:
    traffic = evaluate(matrix_times_vector("dx"), plain(2, ("K", 4), ("C", 6)), ("W",))
    assert {f.operand for f in traffic.flows if f.level == "store"} == {"W"}


def test_an_output_stationary_array_sums_in_place() -> None:
    ends = tuple((o, 0, 1) for o in "OWI")
    square = Mapping((("K", 4),), (("B", 4),), (("C", 10),), ends, "output")
    traffic = evaluate(dense(4, 4, 10), square)
    assert traffic.bits("sram", "write", "O") == 16 * 8
    assert traffic.bits("sram", "read", "W") == traffic.bits("sram", "read", "I") == 40 * 8
    assert traffic.bits("register", "write", "W") == 160 * 8  # every row has its own copy
    assert traffic.cycles() == {
        "compute": 10,
        "sram read": 10 + 10 + 2,
        "sram write": 2 + 5 + 5,
        "store": 10 + 10 + 4,
    }


def test_a_mapping_that_does_not_cover_the_nest_is_refused() -> None:
    with pytest.raises(ConfigError, match="C runs 5 x 1 steps of 6"):
        evaluate(matrix_times_vector(), plain(2, ("K", 4), ("C", 5)))


@pytest.mark.parametrize(
    ("columns", "rows", "dataflow", "message"),
    [
        ("C", "C", "weight", "columns of an array of dataflow 'weight' cannot take C"),
        ("K", "B", "weight", "rows of an array of dataflow 'weight' cannot take B"),
        ("K", "C", "output", "rows of an array of dataflow 'output' cannot take C"),
        ("K", "C", "none", "dataflow 'none' is unknown"),
    ],
)
def test_an_array_that_cannot_add_up_is_refused(columns: str, rows: str, dataflow: str, message: str) -> None:
    ends = tuple((o, 0, 0) for o in "OWI")
    with pytest.raises(ConfigError, match=message):
        evaluate(dense(4, 4, 4), Mapping(((columns, 4),), ((rows, 4),), (("B", 4), ("C", 4)), ends, dataflow))


def test_an_empty_loop_is_refused() -> None:
    with pytest.raises(ConfigError, match="K=0"):
        dense(1, 0, 4)


def test_energies_sum_to_the_total() -> None:
    row = WORKLOADS["conv forward 16-32"]
    traffic = evaluate(nest(row), mapping(row))
    parts = energies_pj(traffic, costs())
    assert sum(parts.values()) + traffic.macs * costs().mac == pytest.approx(energy_pj(traffic, costs()))
