"""The bill: memory is the plan's, sums are sums, prices are amounts times entries, and unknown is never zero."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from math import ceil, prod
from typing import Any

import pytest

from insitu.errors import StepError
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.design_program import network, program
from insitu.experiment.impact import Impact, assess
from insitu.hardware.bill import ZERO, Band, Bill, Row, fields, level, total
from insitu.hardware.cost import OMITS, capacity_bytes, cost
from insitu.hardware.target import Array, Processor, Target, find, names
from insitu.passes import plan
from insitu.step.ir import Role
from tests.conformance.test_memory import executor_for, inputs_for

NET, EDGE = "mlp-64-32-10", "edge-latent-free-8"
ARRAY, CORE = "accelerator-22nm", "stm32l4r5"
UNKNOWN = ("desktop", "stm32g0b1")
"""Targets whose energies nobody has measured."""
MODELLED = [name for name in names() if find(name).kind != "engine"]
"""Targets that run any step; engines of microcode are in ``tests/backends/engine/test_bill.py``."""


@cache
def impact(
    rule: str = "bp", precision: str = "float32", target: str = CORE, net: str = NET, batch: int = 4
) -> Impact:
    return assess(DesignPoint(net, rule, precision, target, batch))


def bill(*args: Any, **options: Any) -> Bill:
    return impact(*args, **options).bill


def array_of(name: str = ARRAY) -> Array:
    found = find(name)
    assert isinstance(found, Array)
    return found


def costed(target: Processor | Array, rule: str = "bp", precision: str = "float32", batch: int = 4) -> Bill:
    """On a target that is changed."""
    made = program(DesignPoint(NET, rule, precision, "", batch))
    return cost(made.steps[0], made.layouts[0], target)


def central(band: Band | None) -> float:
    assert band is not None
    return band.central


def close(a: Band | None, b: Band | None) -> bool:
    assert a is not None and b is not None
    return (a.low, a.central, a.high) == pytest.approx((b.low, b.central, b.high), rel=1e-9)


# --- memory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["bp", "bp-checkpoint", "drtp", "shallow"])
@pytest.mark.parametrize("net", ["mlp-784-100-50-10", "lenet5"])
@pytest.mark.parametrize("target", [CORE, ARRAY])
def test_peak_bytes_are_the_plans_and_the_executors(rule: str, net: str, target: str) -> None:
    found = impact(rule, target=target, net=net, batch=8)
    (step,), (layout,) = found.program.steps, found.program.layouts
    graph = network(net, "keep")
    executor = executor_for(step, graph)
    measured = executor.measure(inputs_for(executor, graph, 8), lr=0.01)
    assert found.bill.peak_bytes == found.peak_bytes == layout.peak_bytes == plan(step).peak_bytes == measured
    assert found.bill.by_role[Role.WEIGHT] == sum(v.bytes for v in step.residents if v.role == Role.WEIGHT)


def test_phases_add_what_rests() -> None:
    found = impact("greedy", net="mlp-64-32-32-10")
    assert len(found.bills) > 1
    rest = [sum(r.values()) for r in found.program.idle]
    assert any(rest) and found.peak_bytes == max(b.peak_bytes + r for b, r in zip(found.bills, rest))


def test_tables_are_as_wide_as_their_entries() -> None:
    """ReLU: the exponentials of the loss alone, up to 2**15; tanh: two tables of 256 bytes more."""
    plain, curved = (
        assess(DesignPoint("mlp-64-32-10", "bp", EDGE, CORE, 2, activation=fn)) for fn in ("relu", "tanh")
    )
    tables = [
        op.attrs.table for op in plain.program.steps[0].ops if op.kind == "softmax_error" and op.attrs.table
    ]
    assert [max(t) for t in tables] == [2**15]
    assert plain.bill.table_bytes == ceil(16 * len(tables[0]) / 8)
    entries = [op.attrs.table for op in curved.program.steps[0].ops if op.kind == "lut"]
    assert [len(t) for t in entries] == [256, 256] and entries[0] != entries[1]
    (exponentials,) = (op.attrs.table for op in curved.program.steps[0].ops if op.kind == "softmax_error")
    widths = [max(n.bit_length() for n in t) for t in entries]
    assert max(widths) <= 8
    assert curved.bill.table_bytes == 2 * 256 + ceil(16 * len(exponentials) / 8)
    assert bill().table_bytes == 0 and bill().code_bytes is None


# --- sums ----------------------------------------------------------------------------------------------------

ADDITIVE = [
    (rule, precision, target)
    for rule, precision in (("bp", "float32"), ("bp", EDGE), ("drtp", EDGE), ("bp", "w4a8"))
    for target in (CORE, ARRAY, "accelerator-22nm-mram", "accelerator-22nm-os", "edge64-22nm")
]


@pytest.mark.parametrize(("rule", "precision", "target"), ADDITIVE)
def test_every_sum_is_the_sum_of_its_parts(rule: str, precision: str, target: str) -> None:
    found = bill(rule, precision, target)
    parts = [
        found.energy_by(lambda row: row.phase),
        found.energy_by(lambda row: row.layer or ""),
        found.energy_by(lambda row: str(row.index)),
        found.energy_by_level(),
    ]
    for groups in parts:
        assert close(total(groups.values()), found.energy)
    assert close(found.energy, found.priced(found.uses))
    cycles = total(row.cycles for row in found.rows)
    assert cycles is not None and close(cycles.times(1 / found.batch), found.cycles)
    assert close(found.seconds, found.cycles and found.cycles.times(1e-6 / found.target.clock.value))
    assert sum(found.macs.values()) == sum(found.widths().values())
    halves = [replace(found, rows=found.rows[:7]), replace(found, rows=found.rows[7:])]
    assert close(total(half.energy for half in halves), found.energy)
    for side, whole in enumerate(found.traffic()):
        apart = [half.traffic()[side] for half in halves]
        assert whole == {k: sum(p.get(k, 0) for p in apart) for k in whole}


@pytest.mark.parametrize("target", MODELLED)
def test_bands_hold_their_central_value_and_nothing_is_negative(target: str) -> None:
    found = bill("bp", EDGE, target, net="mlp-64-16-10")
    bands = [found.energy, found.cycles, found.seconds, found.area, found.lifetime_samples]
    for band in (*bands, *(row.cycles for row in found.rows)):
        assert band is None or 0 <= band.low <= band.central <= band.high
    assert central(found.cycles) > 0 and central(found.seconds) > 0
    for row in found.rows:
        assert row.utilisation is None or 0 < row.utilisation <= 1
        assert all(n >= 0 for n in (*row.uses.values(), *row.reads.values(), *row.writes.values()))


def test_levels_are_those_of_the_target() -> None:
    assert set(bill("bp", EDGE).energy_by_level()) == {"core"}
    parts = set(bill("bp", EDGE, "edge64-22nm", net="mlp-784-1000-10").energy_by_level())
    assert parts == {"logic", "random", "register", "sram", "store"}
    assert level(("energy.accumulator_write",)) == "register" and level(("memory.store.read",)) == "store"


# --- prices --------------------------------------------------------------------------------------------------


def by_hand(found: Bill, row: Row) -> Band:
    """Amounts times entries, use by use."""
    entries = found.target.entries()
    sums = [
        sum(n * prod(getattr(entries[i], part) for i in use) for use, n in row.uses.items())
        for part in ("low", "value", "high")
    ]
    return Band(*sums)


@pytest.mark.parametrize("target", [CORE, ARRAY, "gap9", "accelerator-22nm-rram"])
def test_a_row_costs_its_uses(target: str) -> None:
    found = bill("bp", EDGE, target)
    for row in found.rows:
        assert row.uses and close(found.priced(row.uses), by_hand(found, row))


def row_of(found: Bill, op: str, phase: str, layer: str = "fc1") -> Row:
    (row,) = (r for r in found.rows if (r.op, r.phase, r.layer) == (op, phase, layer))
    return row


def test_a_dense_layer_on_a_core_by_hand() -> None:
    """MACs x cycles of a dense MAC (x the factor of its numbers) x pJ of a cycle."""
    real = bill(batch=1)
    macs = 64 * 32
    band = real.priced(row_of(real, "matmul", "forward").uses)
    assert central(band) == pytest.approx(macs * 2.25 * 2.95 * 347)
    integer = bill("bp", EDGE, batch=1)
    row = row_of(integer, "matmul", "forward")
    assert central(integer.priced(row.uses)) == pytest.approx(macs * 2.25 * 347)
    assert central(row.cycles) == pytest.approx(macs * 2.25) and row.macs == {"8x8": macs}
    low = bill("bp", "w4a8", batch=1)
    row = row_of(low, "matmul", "forward")
    assert row.macs == {"4x8": macs}
    assert central(row.cycles) == pytest.approx(macs * (2.25 + 0.998))
    ends = row_of(integer, "matmul", "rounding")
    assert central(ends.cycles) == pytest.approx(32 * 9.12)


def test_a_dense_layer_on_an_array_by_hand() -> None:
    """Everything is in the SRAM; 64 x 32 weights on 16 x 16 multipliers: 8 turns a sample."""
    found = bill("bp", EDGE, ARRAY, batch=1)
    assert found.spilled == {}
    row = row_of(found, "matmul", "forward")
    op = next(o for o in impact("bp", EDGE, ARRAY, batch=1).program.steps[0].ops if o.kind == "matmul")
    sums = op.attrs.format.bits
    macs, bias = 64 * 32, op.inputs[2].bytes * 8
    assert row.uses["energy.multiply",] == macs and row.uses["energy.add",] == macs * sums / 32
    assert row.uses["memory.sram.read",] == row.reads["sram"]
    assert row.reads["sram"] == 8 * macs + 2 * 8 * 64 + bias  # columns hold 16 of 32 outputs: the input twice
    assert row.writes["sram"] == 8 * 32 and "store" not in row.reads
    ports = row.reads["sram"] / array_of().memory.sram.bandwidth.value
    assert central(row.cycles) == pytest.approx(max(8, ports)) and row.utilisation == 1.0


def test_reals_cost_what_reals_cost() -> None:
    found = bill(target=ARRAY)
    row = row_of(found, "matmul", "forward")
    macs = 4 * 64 * 32
    assert row.uses["energy.multiply_float32",] == row.uses["energy.add_float32",] == macs
    assert not any(use[0] in ("energy.multiply", "energy.add") for use in found.uses)


# --- unknown is None -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", UNKNOWN)
@pytest.mark.parametrize("precision", ["float32", EDGE])
def test_without_energies_there_is_no_energy(target: str, precision: str) -> None:
    found = bill("bp", precision, target)
    assert found.energy is None
    for groups in (found.energy_by(lambda row: row.phase), found.energy_by_level()):
        assert groups and set(groups.values()) == {None}
    assert all(found.priced(row.uses) is None for row in found.rows if row.uses)
    missing = found.missing()
    assert missing and not set(missing) & set(found.entries)
    assert all(i.startswith(("energy.", "memory.")) for i in missing)
    assert found.cycles is not None and found.area is None and found.lifetime_samples is None
    plain = json.loads(json.dumps(fields(found)))
    assert plain["energy_pj_per_sample"] is None and plain["unknown"] == missing
    assert {row["energy_pj"] for row in plain["rows"] if row["energy_pj"] is None} == {None}


def without(target: Array, name: str) -> Array:
    """A target that does not know one of its energies."""
    assert target.energy is not None
    return replace(target, energy=replace(target.energy, **{name: None}))


@pytest.mark.parametrize(
    ("name", "precision", "hidden"),
    [
        ("random", EDGE, {"random"}),
        ("multiply", EDGE, {"forward", "error", "gradient"}),
        ("add", EDGE, {"forward", "error", "gradient", "update", "rounding"}),
        ("multiply_float32", "float32", {"forward", "error", "gradient", "update"}),
    ],
)
def test_one_unknown_entry_is_named_and_hides_only_what_uses_it(
    name: str, precision: str, hidden: set[str]
) -> None:
    found = costed(without(array_of(), name), precision=precision)
    assert found.energy is None and found.missing() == [f"energy.{name}"]
    groups = found.energy_by(lambda row: row.phase)
    assert {phase for phase, band in groups.items() if band is None} == hidden
    for row in found.rows:
        uses = any(f"energy.{name}" in use for use in row.uses)
        assert (found.priced(row.uses) is None) == uses
    assert f"energy.{name}" not in found.cites()


def test_an_unknown_entry_that_nothing_uses_hides_nothing() -> None:
    changed = without(array_of(), "multiply_float32")
    assert close(costed(changed, precision=EDGE).energy, costed(array_of(), precision=EDGE).energy)


def test_unknown_cycles() -> None:
    core = find(CORE)
    assert isinstance(core, Processor)
    found = costed(replace(core, cycles=replace(core.cycles, random=None)), precision=EDGE)
    assert found.cycles is None and found.seconds is None and found.energy is None
    assert found.missing() == ["cycles.random"]
    assert {row.phase for row in found.rows if row.cycles is None} == {"random"}


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    assert total([Band(1, 2, 3), None]) is None
    assert total([]) == ZERO and total([Band(1, 2, 3), Band(1, 1, 1)]) == Band(2, 3, 4)


# --- wear, room, area ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "batch"), [("bp", 1), ("bp", 4), ("dfa", 2), ("shallow", 4)])
def test_writes_per_weight(rule: str, batch: int) -> None:
    found = bill(rule, EDGE, batch=batch)
    moved = {"fc2.weight", "fc2.bias"} if rule == "shallow" else {f"fc{i}.{k}" for i in (1, 2) for k in KINDS}
    everything = {f"fc{i}.{k}" for i in (1, 2) for k in KINDS}
    assert found.writes_per_weight == {name: (name in moved) / batch for name in everything}
    assert not any(impact(rule, EDGE, batch=batch).inference.writes_per_weight.values())


KINDS = ("weight", "bias")


def test_a_frozen_layer_costs_no_update() -> None:
    for target in (CORE, ARRAY):
        found = bill("shallow", EDGE, target, net="mlp-64-32-16-10")
        learning = {"error", "feedback", "gradient", "update", "random"}
        assert {row.layer for row in found.rows if row.phase in learning} <= {"fc3", "output"}
        layers = {row.layer for row in bill("bp", EDGE, target, net="mlp-64-32-16-10").rows}
        assert {"fc1", "fc2", "fc3"} <= layers
        energy = found.energy_by(lambda row: f"{row.phase} {row.layer}")
        assert "update fc3" in energy and not {"update fc1", "update fc2"} & set(energy)


def test_only_what_wears_out_has_a_lifetime() -> None:
    lives = {name: bill("bp", EDGE, name).lifetime_samples for name in MODELLED}
    assert {n for n, life in lives.items() if life is not None} == {
        "accelerator-22nm-mram",
        "accelerator-22nm-rram",
    }
    mram, rram = lives["accelerator-22nm-mram"], lives["accelerator-22nm-rram"]
    assert mram is not None and rram is not None and rram.central < mram.central
    entry = find("accelerator-22nm-rram").entries()["memory.store.endurance"]
    assert rram.central == pytest.approx(entry.value * 4)  # a write per step of 4 samples
    assert central(bill("bp", EDGE, "accelerator-22nm-rram", batch=8).lifetime_samples) == 2 * rram.central
    assert impact("bp", EDGE, "accelerator-22nm-rram").inference.lifetime_samples is None


def test_weights_stay_in_a_store_that_keeps_them() -> None:
    """However small they are; of a volatile store what fits the SRAM is not there."""
    kept, volatile = (bill("dfa", EDGE, name) for name in ("accelerator-22nm-mram", ARRAY))
    sizes = kept.by_role
    assert kept.spilled == {r: sizes[r] for r in (Role.WEIGHT, Role.FEEDBACK)} and volatile.spilled == {}
    assert kept.traffic()[1]["store"] >= 8 * (64 * 32 + 32 * 10)


@pytest.mark.parametrize(("rule", "precision"), [("bp", "float32"), ("drtp", "float32")])
def test_an_array_without_a_store_refuses_what_it_cannot_hold(rule: str, precision: str) -> None:
    with pytest.raises(StepError) as caught:
        impact(rule, precision, "accelerator-22nm-sram", net="mlp-784-1000-10", batch=1)
    made = program(DesignPoint("mlp-784-1000-10", rule, precision, "", 1))
    text = str(caught.value)
    for part in (
        f"{made.peak_bytes:,} bytes",
        "fc",
        "1,048,576",
        "no store",
        "use a smaller batch",
        "fewer bits",
    ):
        assert part in text, text
    assert any(f" at {op.kind} of {op.where.layer}" in text for op in made.steps[0].ops)
    assert bill(rule, EDGE, "accelerator-22nm-sram", net="mlp-784-1000-10", batch=1).peak_bytes < 2**20


def test_a_core_that_is_too_small_says_so() -> None:
    found = impact("bp", "float32", CORE, net="mlp-784-1000-10")
    assert found.problem == f"takes {found.peak_bytes:,} bytes, stm32l4r5 has 655,360 of RAM"
    assert impact().problem is None and capacity_bytes(find(CORE)) == 655_360
    assert impact("bp", "float32", "accelerator-22nm-mram", net="mlp-784-1000-10").problem is not None


def test_area_by_hand() -> None:
    """16 x 16 multipliers and adders, 16 lanes, 8-bit registers, 32-bit sums, 256 KB."""
    weight = bill("bp", EDGE, ARRAY)
    want = 256 * 70.5 + (256 + 16) * 34.2 + (256 * 8 + 16 * 32) * 0.62 + 8 * 262_144 * 0.11
    assert central(weight.area) == pytest.approx(want)
    output = array_of("accelerator-22nm-os")
    assert output.array.dataflow == "output-stationary"
    uses = costed(output).area_uses
    count = output.array.rows.count * output.array.columns.count
    assert uses is not None and uses["area.register",] == count * (8 + 32)
    assert bill().area is None
    unknown = replace(array_of(), area=replace(array_of().area, sram=None))  # type: ignore[type-var]
    assert costed(unknown).area is None and costed(unknown).missing() == ["area.sram"]


# --- what it stands on ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", MODELLED)
def test_every_figure_names_its_sources_and_what_it_leaves_out(target: str) -> None:
    found = bill("drtp", EDGE, target, net="mlp-64-16-10")
    cycles = [use for row in found.rows for use in row.cycle_uses]
    used = {i for use in (*found.uses, *cycles, *(found.area_uses or ())) for i in use}
    assert set(found.cites()) | set(found.missing()) == used
    plain = fields(found)
    for name, entry in found.cites().items():
        assert entry.id == name and found.target.sources[entry.source] == plain["cites"][name]["source"] != ""
    assert set(OMITS["both"]) | set(OMITS[found.target.kind]) == set(found.omits) == set(plain["omits"])
    assert json.loads(json.dumps(plain)) == plain


def test_the_target_does_not_change_what_is_done() -> None:
    """Operations and memory are the program's; only their price is the target's."""
    targets: list[Target] = [find(name) for name in MODELLED]
    found = [bill("bp", EDGE, t.name, net="mlp-64-16-10") for t in targets]
    for part in ("macs", "peak_bytes", "writes_per_weight", "table_bytes"):
        assert len({json.dumps(getattr(b, part)) for b in found}) == 1
