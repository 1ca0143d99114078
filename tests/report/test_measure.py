from __future__ import annotations

import pytest

from insitu.experiment.record import Curve, Results
from insitu.report.measure import ACCURACY, LOSS, bytes_cost, energy_cost, mean_curve, measure_of, pareto
from insitu.report.memory import peak_of, samples_of, stacks
from insitu.report.palette import ROLES, rule_style, rule_styles
from insitu.step.ir import Phase, Role
from tests.report import factory


def test_loss_is_the_measure_where_there_is_no_accuracy(results: Results) -> None:
    assert measure_of(results.rows) is ACCURACY
    blank = [None] * 20
    rows = [
        row.model_copy(
            update={
                "test_accuracy": None,
                "curves": [c.model_copy(update={"test_accuracy": blank}) for c in row.curves],
            }
        )
        for row in results.rows
    ]
    assert measure_of(rows) is LOSS


def test_the_front_holds_what_nothing_beats(results: Results) -> None:
    rows = results.rows[:10]
    front = pareto(rows, ACCURACY)
    for row in rows:
        assert row.test_accuracy
        beaten = any(
            f.peak_bytes.total <= row.peak_bytes.total and f.test_accuracy.mean >= row.test_accuracy.mean
            for f in front
            if f.test_accuracy and f is not row
        )
        assert beaten != any(f is row for f in front)


def test_the_mean_curve_leaves_out_what_diverged() -> None:
    curves = [
        Curve(seed=1, samples=[10, 20], train_loss=[1, 1], test_loss=[1, 1], test_accuracy=[0.5, 0.7]),
        Curve(seed=2, samples=[10, 20], train_loss=[1, None], test_loss=[1, None], test_accuracy=[0.3, None]),
    ]
    first, last = mean_curve(curves, ACCURACY)
    assert (first.mean, first.low, first.high) == pytest.approx((40, 30, 50))
    assert (last.samples, last.mean, last.low) == (20, 70, 70)


def test_equal_neighbours_merge_and_the_peak_survives_thinning() -> None:
    moments = factory.timeline("bp", 100)
    merged = samples_of(moments)
    assert sum(s.count for s in merged) == len(moments)
    thin = samples_of(moments, limit=20)
    assert len(thin) <= 20
    assert sum(s.count for s in thin) == len(moments)
    highest = max(m.bytes.total for m in moments)
    assert all(peak_of(s).bytes.total == highest for s in (merged, thin))  # type: ignore[union-attr]
    *_, top = stacks(merged).values()
    assert top == [s.bytes.total for s in merged]


def test_every_role_and_phase_has_a_colour() -> None:
    from insitu.report.palette import PHASE_COLOURS, ROLE_COLOURS

    assert set(ROLE_COLOURS) == {r.value for r in Role} == set(ROLES)
    assert set(PHASE_COLOURS) == {p.value for p in Phase}


def test_a_rule_keeps_its_style_on_every_network(results: Results) -> None:
    styles = rule_styles(results.rows)
    assert list(styles) == list(factory.RULES)
    assert len({rule_style(i) for i in range(40)}) == 40


def test_costs_are_over_the_least_inference(results: Results) -> None:
    """A row in wider words, or by batches, has an inference of its own that no device runs."""
    rows = list(results.rows[:3])
    rows[1] = rows[1].model_copy(update={"inference_bytes": rows[0].inference_bytes // 4})
    cost = bytes_cost(rows)
    assert cost.of(rows[0]) == rows[0].peak_bytes.total / rows[1].inference_bytes
    assert energy_cost(rows) is None
    rows[0] = rows[0].model_copy(update={"hardware": factory.hardware(8e6, 2.0)})
    rows[2] = rows[2].model_copy(update={"hardware": factory.hardware(6e6, 3.0)})
    energy = energy_cost(rows)
    assert energy is not None and "stm32l4r5-c" in energy.title and "2 µJ" in energy.title
    assert [energy.of(row) for row in rows] == [4.0, None, 3.0]
    assert [row.label for row in pareto(rows, ACCURACY, energy)] == [rows[2].label, rows[0].label]
