from __future__ import annotations

from math import inf, nan

import pytest

from insitu.experiment.record import Spread
from insitu.report import units


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (163112, "159 KiB"), (10230, "9.99 KiB"),
        (3 * 1024**2 + 1024**2 // 2, "3.50 MiB"), (1024**3, "1.00 GiB"), (None, "–"), (nan, "–"), (inf, "–"),
    ],
)  # fmt: skip
def test_bytes(count: float | None, shown: str) -> None:
    assert units.bytes_text(count) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0"), (816.3125, "816"), (40.3125, "40.3"), (999, "999"), (999.9, "1.00k"), (70192, "70.2k"),
     (1_230_000, "1.23M"), (2.5e9, "2.50G"), (None, "–")],
)  # fmt: skip
def test_counts(count: float | None, shown: str) -> None:
    assert units.count_text(count) == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0"), (32, "<0.1"), (1536, "1.5"), (None, "–")])
def test_kib_tells_none_from_little(count: float | None, shown: str) -> None:
    assert units.kib(count) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.071, "0.07 s"),
        (14.16, "14.2 s"),
        (59.99, "1 min 00 s"),
        (245, "4 min 05 s"),
        (7380, "2 h 03 min"),
        (None, "–"),
    ],
)
def test_seconds(value: float | None, shown: str) -> None:
    assert units.seconds_text(value) == shown


def test_shares_ratios_and_spreads() -> None:
    assert units.percent(0.9375) == "93.8 %"
    assert units.percent(None) == units.ratio(None) == units.spread_text(None) == "–"
    assert units.ratio(1.4331) == "1.43×"
    assert units.spread_text(Spread.of([0.9, 0.92]), 100) == "91.00 ± 1.41"
    assert units.spread_text(Spread.of([0.9]), 100) == "90.00"
