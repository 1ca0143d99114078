"""From a step, its memory plan and a target to the bill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from insitu.errors import ConfigError, StepError
from insitu.hardware import array as arrays
from insitu.hardware import processor as processors
from insitu.hardware.bill import Bill, Row, Use, Uses
from insitu.hardware.mapped import Mapped, rows_of
from insitu.hardware.placement import Placement, placements
from insitu.hardware.target import Array, Engine, Known, Processor, Target
from insitu.hardware.work import Work, period, works
from insitu.ops.common import Entries
from insitu.ops.loops import ACCUMULATOR
from insitu.passes.plan import Layout
from insitu.step.ir import Op, Role, Step, Value
from insitu.step.liveness import storages
from insitu.step.triggers import silences, triggers_of

PARAMETERS = (Role.WEIGHT, Role.HEAD)
FIXED = frozenset({Role.WEIGHT, Role.HEAD, Role.FEEDBACK})
"""Roles that stay in a non-volatile store, whatever the size of the SRAM."""

OMITS = {
    "both": (
        "loading a sample into memory, and the sensor",
        "control, configuration and idle time between samples",
        "code size, until a backend has made the code",
    ),
    "processor": (
        "energy by memory level: it is inside the energy of a cycle, with instruction fetch and leakage",
        "stalls of flash and caches beyond those of the kernels that were calibrated",
    ),
    "array": (
        "leakage, clock tree and on-chip network",
        "instruction and descriptor memory",
        "values that are held in part: each is in the SRAM as a whole or not at all",
        "filling the SRAM at power-on with what it holds from then on",
        "functions beyond additions and products: a look-up, a comparison, a shift is charged as an addition",
        "multipliers for float32: their energy is charged, but neither their area nor a lower rate",
    ),
    "engine": ("energy: no power was measured",),
}
BY_HOST = "writing samples by the host"
"""Of an engine without DMA."""


def cost(
    step: Step,
    layout: Layout,
    target: Known,
    *,
    triggers: Sequence[float] = (),
    first: str = "energy",
    mapped: Mapped | None = None,
) -> Bill:
    """What one execution of a step costs, on average where learning waits for a trigger or defers an update.

    Args:
        step: as executed: quantized and lowered.
        layout: its memory plan.
        target: see :func:`insitu.hardware.target.find`.
        triggers: share of the samples, 0 to 1, for which each trigger of the step fires, in order; one for all of
            them, or nothing: every sample, the worst case.
        first: what an array's mapping and placement minimise, ``energy`` or ``store`` (traffic to the store). With
            ``energy``, more bits never take less energy, nor does a smaller memory. With ``store``, a bigger memory
            never causes more traffic to the store, and more bits never less. One choice cannot promise both.
        mapped: of an engine, the cycles and blocks of the step, which its backend knows; unknown without.

    Raises:
        ConfigError: shares of another number of triggers, or that are none.
        StepError: the step does not fit an array that has no store; names the peak, the op and the remedy.
    """
    shares = shares_of(step, triggers)
    often = _often(step, shares)
    parts = [(i, op, part, often[op] / part.every) for i, op in enumerate(step.ops) for part in works(op)]
    spilled: dict[Role, int] = {}
    if isinstance(target, Processor):
        rows = tuple(processors.row(target, i, op, part).times(share) for i, op, part, share in parts)
    elif isinstance(target, Engine):
        rows = rows_of(target, parts, mapped)
    else:
        rows, placement = _on_array(step, parts, target, first)
        spilled = _spilled(step, placement)
    return Bill(
        step=step.name,
        target=target,
        batch=step.batch,
        rows=rows,
        by_role=layout.by_role,
        table_bytes=_table_bytes(step),
        area_uses=_area(target),
        fabric=None if mapped is None else mapped.fabric,
        writes_per_weight=_writes(step, often),
        spilled=spilled,
        omits=_omits(target),
        triggers=shares,
    )


def _omits(target: Known) -> tuple[str, ...]:
    by_host = isinstance(target, Engine) and target.dma is None
    return (*OMITS["both"], *OMITS[target.kind], *([BY_HOST] if by_host else []))


def shares_of(step: Step, given: Sequence[float] | Mapping[str, float]) -> dict[str, float]:
    """The share of the samples that each trigger of a step fires for; ``given``: as of :func:`cost`.

    Raises:
        ConfigError: their number is another one, or a share is outside 0 to 1.
    """
    names = tuple(triggers_of(step))
    if len(given) not in (0, 1, len(names)) or (given and not names):
        blocks = f"{len(names)}: {', '.join(names)}" if names else "none, every sample is learned from"
        raise ConfigError(
            f"{len(given)} trigger share{'s' * (len(given) != 1)} for {step.name}, whose triggers are {blocks}; give "
            + ("one for all, or one of each in that order" if names else "no shares")
        )
    values = given.values() if isinstance(given, Mapping) else given
    for share in values:
        if not 0.0 <= share <= 1.0:
            raise ConfigError(f"trigger share {share:g} is no share of the samples; use 0 to 1")
    if isinstance(given, Mapping):
        return {name: given[name] for name in names} if given else dict.fromkeys(names, 1.0)
    return dict(zip(names, given if len(given) == len(names) else (*given, 1.0)[:1] * len(names)))


def _often(step: Step, shares: Mapping[str, float]) -> dict[Op, float]:
    """In which share of the steps each op has work: at most the sum over its triggers and the samples of a batch."""
    fires = {op: shares[name] for name, op in triggers_of(step).items()}
    silent = silences(step)
    return {
        op: min(1.0, step.batch * sum(fires[t] for t in silent[op])) if op in silent else 1.0
        for op in step.ops
    }


Parts = list[tuple[int, Op, Work, float]]
"""Index of an op, the op, a part of it, and the share of the steps in which that is done."""


def _on_array(step: Step, parts: Parts, target: Array, first: str) -> tuple[tuple[Row, ...], Placement]:
    """The rows under the best placement."""
    store, how = target.memory.store, arrays.Choice(arrays.unit_costs(target), first)
    capacity = target.memory.sram.bytes.count
    pinned = FIXED if store is not None and store.endurance is not None else frozenset()
    found: list[tuple[tuple[float, float], tuple[Row, ...], Placement]] = []
    for placement in placements(step, capacity, pinned=pinned):
        if store is None and not placement.whole:
            raise StepError(_too_big(step, target))
        rows = tuple(
            arrays.row(target, how, i, op, part, placement).times(share) for i, op, part, share in parts
        )
        found.append((arrays.merit(target, first, rows), rows, placement))
    _, rows, placement = min(found, key=lambda item: item[0])
    return rows, placement


def _too_big(step: Step, target: Target) -> str:
    from insitu.step.liveness import timeline

    sizes = [sum(row.values()) for row in timeline(step)]
    at = sizes.index(max(sizes))
    op = step.ops[at]
    place, room = op.where.layer or "no layer", capacity_bytes(target)
    return (
        f"step {step.name} takes {max(sizes):,} bytes at {op.kind} of {place}, but {target.name} has {room:,} and no "
        "store behind them; use a smaller batch or network, fewer bits, a rule that keeps less, or another target"
    )


def capacity_bytes(target: Target) -> int:
    """Working memory of a target."""
    if isinstance(target, Processor | Engine):
        return target.memory.ram.bytes.count
    assert isinstance(target, Array)
    return target.memory.sram.bytes.count


def _spilled(step: Step, placement: Placement) -> dict[Role, int]:
    """Bytes of what lives in the store, by role."""
    found: dict[Role, int] = {}
    for storage in storages(step):
        if storage.death >= 0 and storage.root not in placement.held:
            found[storage.root.role] = found.get(storage.root.role, 0) + storage.bytes
    return found


def _table_bytes(step: Step) -> int:
    """Look-up tables, equal ones once; entries as wide as the output, or as the largest where that is wider."""
    tables = {(op.attrs.table, op.outputs[0].format.bits) for op in step.ops if isinstance(op.attrs, Entries)}
    return sum(ceil(len(t) * max(bits, *(n.bit_length() for n in t)) / 8) for t, bits in tables)


def _writes(step: Step, often: Mapping[Op, float]) -> dict[str, float]:
    """How often each word of each parameter is written per sample."""
    found: dict[Value, float] = {v: 0 for v in step.residents if v.role in PARAMETERS}
    for op in step.ops:
        for value in op.written:
            if value in found:
                found[value] += often[op] / period(op)
    return {v.name: n / step.batch for v, n in found.items()}


def _area(target: Known) -> Uses | None:
    """Multipliers, adders, registers and memory of an array; of a chip that is there, ``None``."""
    if not isinstance(target, Array) or target.area is None:
        return None
    elements = target.array.rows.count * target.array.columns.count
    sums = elements if target.array.dataflow.startswith("output") else target.array.columns.count
    uses: dict[Use, float] = {
        ("area.multiply",): float(elements),
        ("area.add",): float(elements + target.vector.lanes.count),
        ("area.register",): float(elements * arrays.WIDTH + sums * ACCUMULATOR),
        ("area.sram",): float(8 * target.memory.sram.bytes.count),
    }
    store = target.memory.store
    if store is not None and target.area.store is not None:
        uses["area.store",] = float(8 * store.bytes.count)
    return uses
