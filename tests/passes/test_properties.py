"""What holds for every network, rule and optimizer: passes change memory and order, never the numbers."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insitu.passes import VIEWS, fuse, lower, plan
from insitu.passes.order import candidates, dependencies, schedule
from insitu.step.ir import Op, Step, Value
from insitu.step.liveness import peak_bytes, roots, storages

from .networks import Case, assert_same, cases, executor, trained

PROPERTY = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@PROPERTY
@given(cases())
def test_fused_step_computes_what_the_eager_step_computes(case: Case) -> None:
    step = case.step()
    expected, outputs = trained(case, step)
    got, fused_outputs = trained(case, lower(step))
    assert_same(got, expected)
    for a, b in zip(fused_outputs, outputs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@PROPERTY
@given(cases())
def test_each_pass_keeps_the_numbers_and_verifies(case: Case) -> None:
    step = case.step()
    expected, _ = trained(case, step, 1)
    for changed in (fuse.fuse_updates(step), fuse.gate_before_unpool(step), fuse.in_place(step)):
        changed.verify()
        assert_same(trained(case, changed, 1)[0], expected)


@PROPERTY
@given(cases())
def test_passes_are_idempotent(case: Case) -> None:
    step = lower(case.step())
    for again in (fuse.fuse_updates, fuse.gate_before_unpool, fuse.in_place):
        assert str(again(step)) == str(step)


@PROPERTY
@given(cases())
def test_fused_peak_is_never_above_the_eager_one(case: Case) -> None:
    step = case.step()
    assert peak_bytes(lower(step)) <= peak_bytes(step)


@PROPERTY
@given(cases(), st.sampled_from(VIEWS))
def test_the_executor_holds_what_the_liveness_says(case: Case, view: str) -> None:
    step = lower(case.step(), view)
    made = executor(case, step, torch.float32)
    assert made.measure(made.convert(*case.inputs()), lr=0.05) == peak_bytes(step)


def overlaps(step: Step, align: int) -> list[str]:
    """Pairs of transients that share bytes while both are alive."""
    offsets = plan(step, align=align).offsets
    transient = [s for s in storages(step) if s.root.name in offsets]
    return [
        f"{a.root.name} and {b.root.name}"
        for i, a in enumerate(transient)
        for b in transient[:i]
        if a.birth <= b.death
        and b.birth <= a.death
        and offsets[a.root.name] < offsets[b.root.name] + b.bytes
        and offsets[b.root.name] < offsets[a.root.name] + a.bytes
    ]


@PROPERTY
@given(cases(), st.sampled_from(VIEWS), st.sampled_from([1, 4, 16]))
def test_plan(case: Case, view: str, align: int) -> None:
    step = lower(case.step(), view)
    layout = plan(step, align=align)
    transient = [s for s in storages(step) if not s.root.resident and s.death >= 0]
    assert set(layout.offsets) == {s.root.name for s in transient}
    assert overlaps(step, align) == []
    assert all(offset % align == 0 for offset in layout.offsets.values())
    assert layout.arena_bytes == max(layout.offsets[s.root.name] + s.bytes for s in transient)
    assert layout.resident_bytes == sum(v.bytes for v in step.residents)
    assert layout.peak_bytes >= peak_bytes(step)
    assert sum(layout.by_role.values()) == layout.peak_bytes
    assert all(n >= 0 for n in layout.by_role.values())


def versions(step: Step) -> dict[Op, list[tuple[Value, int]]]:
    """What each op reads: its operands, and how often their storage was written before."""
    root = roots(step)
    written: dict[Value, int] = {}
    found = {}
    for op in step.ops:
        found[op] = [(v, written.get(root[v], 0)) for v in op.inputs]
        for value in op.written:
            written[root[value]] = written.get(root[value], 0) + 1
    return found


@PROPERTY
@given(cases(), st.integers(0, 2**32))
def test_any_order_reads_what_the_emitted_order_reads(case: Case, seed: int) -> None:
    step = fuse.fuse_updates(case.step())
    expected, _ = trained(case, step, 1)
    shuffled = schedule(step, lambda _growth, i: ((i * 2654435761 + seed) * 40503 % 65521,))
    for order in (shuffled, *candidates(step)):
        assert sorted(map(id, order.ops)) == sorted(map(id, step.ops))
        assert versions(order) == versions(step)
    assert_same(trained(case, shuffled, 1)[0], expected)


@PROPERTY
@given(cases())
def test_dependencies_point_back(case: Case) -> None:
    step = case.step()
    for i, needs in enumerate(dependencies(step)):
        assert all(0 <= j < i for j in needs)
