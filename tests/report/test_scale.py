from __future__ import annotations

import pytest

from insitu.report.labels import Dot, place
from insitu.report.scale import Axis, fit


def test_ticks_are_round_multiples_of_the_unit() -> None:
    assert Axis(0, 300 * 1024, 0, 100).ticks(5, 1024) == [0, 102400, 204800, 307200]
    assert Axis(0.2, 1.0, 0, 1).ticks(4) == [0.2, 0.4, 0.6, 0.8, 1.0]


def test_a_wide_range_is_logarithmic_and_a_narrow_one_is_not() -> None:
    assert fit([1, 100], 0, 1, log=True).log
    assert fit([1, 7], 0, 1, log=True).log and not fit([1, 4], 0, 1, log=True).log
    assert not fit([0, 100], 0, 1, log=True).log
    assert fit([1, 100], 0, 1, log=True).ticks() == [1, 2, 5, 10, 20, 50, 100]


@pytest.mark.parametrize("values", [[], [3.0], [0.0], [-1.0, -1.0]])
def test_an_axis_exists_for_any_values(values: list[float]) -> None:
    axis = fit(values, 0, 100, log=True)
    assert all(0 <= axis(v) <= 100 for v in values)
    assert axis.ticks()


def test_labels_cover_neither_each_other_nor_the_edge() -> None:
    dots = [Dot(100 + 3 * i, 100 + 2 * (i % 3), 60, 14, 4) for i in range(8)]
    places = place(dots, (0, 0, 400, 300))
    boxes = [(p.x - 30, p.y - 7, p.x + 30, p.y + 7) for p in places]
    for i, a in enumerate(boxes):
        assert a[0] >= 0 and a[1] >= 0 and a[2] <= 400 and a[3] <= 300
        for b in boxes[:i]:
            assert min(a[2], b[2]) <= max(a[0], b[0]) + 0.1 or min(a[3], b[3]) <= max(a[1], b[1]) + 0.1
    assert any(p.line for p in places)
