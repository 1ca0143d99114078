"""A bill as people read it: every figure with its unit, what is unknown as a dash, and the pictures."""

from __future__ import annotations

import csv
import io
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from insitu.backends.engine.build import PRECISION
from insitu.errors import ConfigError
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.impact import Impact, assess, references
from insitu.experiment.impact_table import COLUMNS, summary, sweep
from insitu.experiment.to_accuracy import CostToAccuracy
from insitu.hardware.bill import Band
from insitu.hardware.stability import Claim
from insitu.hardware.target import find, names
from insitu.report.bill import (
    band_text,
    explain_text,
    micro_seconds,
    points_text,
    summary_text,
    to_accuracy_text,
)
from insitu.report.impact import save_memory_views, save_sweep, sweep_csv
from insitu.report.units import UNKNOWN, bytes_text, energy_text

EDGE = "edge-latent-free-8"
SMALL = "mlp-64-32-10"
ON_ENGINE = DesignPoint(SMALL, "bp", PRECISION, "engine-ecp5-8", activation="relu")


@cache
def impact(rule: str = "bp", precision: str = EDGE, target: str = "stm32l4r5", net: str = SMALL) -> Impact:
    return assess(DesignPoint(net, rule, precision, target, 4))


def text_of(found: Impact) -> str:
    return summary_text(found, references(found.point))


def cells(text: str, first: str) -> list[str]:
    """The line of a table that starts with a word."""
    (line,) = (x for x in text.splitlines() if x.split("  ")[0] == first)
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


# --- one point -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [name for name in names() if find(name).kind != "engine"])
@pytest.mark.parametrize("precision", ["float32", EDGE, "w4a8"])
def test_every_target_has_a_text(target: str, precision: str) -> None:
    found = impact("drtp", precision, target)
    text, rows = text_of(found), explain_text(found.bill)
    assert text.startswith(f"{SMALL}, rule drtp, {precision}, batch 4\non ") and "not modelled: " in text
    assert re.search(r"None|\bnan\b|\binf\b|(?<![0-9.])0 pJ", text + rows) is None
    assert bytes_text(found.peak_bytes) == cells(text, "memory")[1]
    for op in {row.op for row in found.bill.rows}:
        assert f"\n{op} " in rows
    for name, entry in found.bill.cites().items():
        assert cells(rows, name)[1] == f"{entry.value:.4g}" and entry.unit in cells(rows, name)
        assert f"{entry.source}: {found.bill.target.sources[entry.source]}" in rows


@pytest.mark.parametrize("target", ["desktop", "stm32g0b1"])
def test_an_unknown_energy_is_a_dash_and_named(target: str) -> None:
    found = impact(target=target)
    text = text_of(found)
    assert set(cells(text, "energy")[1:]) == {UNKNOWN}
    missing = ", ".join(found.bill.missing())
    assert f"unknown to this target, and so are the sums with them: {missing}\n" in text
    assert "pJ" not in text and "µJ" not in text
    assert UNKNOWN not in cells(text, "time")


def test_a_summary_by_hand() -> None:
    found = impact()
    text = text_of(found)
    energy, inference = found.energy, found.inference.energy
    assert energy is not None and inference is not None
    line = cells(text, "energy")
    assert line[1] == energy_text(energy.central)
    assert line[2] == f"({energy_text(energy.low)} to {energy_text(energy.high)})"
    assert line[3] == f"{energy.central / inference.central:.2f}×" and len(line) == 5  # and × bp-checkpoint
    assert cells(text, "MACs")[1] == "5.06k"  # 2,368 forward and of gradients, 320 of the error
    shares = [cells(text, phase)[-1] for phase in dict.fromkeys(r.phase for r in found.bill.rows)]
    assert sum(float(s.removesuffix(" %")) for s in shares) == pytest.approx(100, abs=0.5)
    assert "look-up tables: " in text and "writes per weight per sample: 0.25 at most" in text


def test_the_roles_of_the_peak_sum_to_the_peak() -> None:
    """Of a rule with phases, with what rests."""
    found = impact("greedy", "float32", net="mlp-64-32-32-10")
    text = text_of(found)
    (line,) = (x for x in text.splitlines() if x.startswith("memory at the peak: "))
    resting = found.program.idle[found.program.highest]
    assert sum(resting.values()) > 0
    for role, n in found.bill.by_role.items():
        if n + resting[role]:
            assert f"{role.value} {bytes_text(n + resting[role])}" in line


@pytest.mark.parametrize(
    ("point", "said"),
    [
        (DesignPoint(SMALL, "bp", EDGE, "accelerator-22nm-rram"), "in the store (RRAM): weight 2.39 KiB"),
        (DesignPoint(SMALL, "bp", EDGE, "accelerator-22nm-rram"), "lifetime of the store: "),
        (DesignPoint(SMALL, "bp", EDGE, "accelerator-22nm"), "area: 0.26 mm²"),
        (ON_ENGINE, "fabric: 8 DSP, 6 BRAM"),
        (DesignPoint("mlp-784-1000-10"), "does not fit: takes 3,191,216 bytes, stm32l4r5 has 655,360 of RAM"),
        (DesignPoint("resnet8", "bp", EDGE, batch=2), "batch norms folded"),
    ],
)
def test_facts_that_only_some_have(point: DesignPoint, said: str) -> None:
    assert said in summary_text(assess(point), {})
    assert said not in summary_text(impact(), {})


# --- numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("band", "shown"),
    [
        (None, UNKNOWN),
        (Band(1e3, 1e3, 1e3), "1 nJ"),
        (Band(5e2, 1.5e6, 2.5e9), "1.5 µJ  (500 pJ to 2.5 mJ)"),
        (Band(0, 0, 0), "0 pJ"),
    ],
)
def test_bands(band: Band | None, shown: str) -> None:
    assert band_text(band) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, UNKNOWN), (2.5e-6, "2.5 µs"), (0.00123, "1.23 ms"), (0.25, "0.25 s"), (61, "1 min 01 s")],
)
def test_times(seconds: float | None, shown: str) -> None:
    assert micro_seconds(seconds) == shown


# --- many points ---------------------------------------------------------------------------------------------


@cache
def rows() -> list[dict[str, Any]]:
    return sweep(
        [
            DesignPoint(SMALL, rule, precision, target, 2)
            for rule in ("bp", "drtp", "hsic")
            for precision in ("float32", EDGE)
            for target in ("stm32l4r5", "desktop", "accelerator-22nm")
        ]
    )


def test_a_line_per_point_and_the_refusals() -> None:
    claim = Claim("drtp", "bp", "stm32l4r5", 0.97, (0.8, 0.9, 0.99))
    text = points_text(rows(), [claim])
    table, refused, ranking = text.split("\n\n")
    assert len(table.splitlines()) == 1 + 15 and "None" not in text
    assert len(refused.splitlines()) == 1 + 3 and "label_gram" in refused
    assert ranking == f"ranking\n{claim}\n" and "97.0 %" in ranking
    dashes = [line for line in table.splitlines() if "desktop" in line]
    assert len(dashes) == 5 and all(line.split().count(UNKNOWN) == 4 for line in dashes)


def test_only_refusals() -> None:
    text = points_text([r for r in rows() if r["refused"]])
    assert text.startswith("refused\nhsic") and points_text([]) == ""


def test_csv_reads_back() -> None:
    found = list(csv.DictReader(io.StringIO(sweep_csv(rows()))))
    assert len(found) == 18 and all(tuple(row) == COLUMNS for row in found)
    for read, row in zip(found, rows()):
        for column, value in row.items():
            text = read[column]
            assert text == "" if value is None else type(value)(text) == value, column


def whole(label: str, **more: Any) -> CostToAccuracy:
    return CostToAccuracy(label, "float32", "stm32l4r5", more.pop("samples", None), (1, 2), **more)


def test_energy_to_an_accuracy() -> None:
    band = Band(1e9, 2e9, 3e9)
    found = [
        whole("bp", samples=28740.0, sample_pj=band, energy_pj=band, seconds=75.0, to_bp=1.0),
        whole("never", sample_pj=band),
        whole("refused", refused="it does not fit"),
    ]
    text = to_accuracy_text(found, 0.95)
    assert text.startswith("to 95.0 % of the test samples\n") and "None" not in text
    assert cells(text, "bp")[3:] == ["1 of 2", "28.7k", "2 mJ", "1 mJ", "3 mJ", "1.00×", "1 min 15 s"]
    assert cells(text, "never")[4:] == [UNKNOWN] * 6
    assert text.endswith("refused\nrefused on stm32l4r5: it does not fit\n")


# --- pictures ------------------------------------------------------------------------------------------------


def drawn(path: Path) -> bool:
    """A picture with more than one colour in it."""
    pixels = imread(path)
    return path.stat().st_size > 5000 and len({tuple(p) for p in pixels[::7, ::7].reshape(-1, 4)}) > 3


def test_the_memory_picture_is_written(tmp_path: Path) -> None:
    path = save_memory_views(
        [impact(), impact("greedy", "float32", net="mlp-64-32-32-10")], tmp_path / "m.png"
    )
    assert path.parent == tmp_path and drawn(path)
    alone = save_memory_views([impact()], tmp_path / "one.png")
    assert drawn(alone) and imread(alone).shape[0] < imread(path).shape[0]  # a row per point


@pytest.mark.parametrize(
    "targets", [("stm32l4r5",), ("desktop",), ("stm32l4r5", "desktop", "accelerator-22nm")]
)
def test_the_sweep_picture_is_written(targets: tuple[str, ...], tmp_path: Path) -> None:
    path = save_sweep([r for r in rows() if r["target"] in targets], tmp_path / "s.png")
    assert drawn(path)


def test_a_target_where_all_is_refused_has_a_field_too(tmp_path: Path) -> None:
    big = [summary(DesignPoint("mlp-784-1000-10", target=t)) for t in ("stm32l4r5", "accelerator-22nm-sram")]
    assert all(row["refused"] for row in big)
    assert drawn(save_sweep(big, tmp_path / "s.png"))  # one has a peak, but no room
    with pytest.raises(ConfigError, match="nothing to draw: every point was refused"):
        save_sweep(big[1:], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
