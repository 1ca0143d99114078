"""Targets: the built-in ones are whole, a user's file works, and every refusal names its line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path

import pytest

from insitu.errors import ConfigError
from insitu.hardware.schema import numbers
from insitu.hardware.target import Array, Engine, Processor, TargetError, describe, find, load, names

EXPECTED = {
    *(
        "stm32l4r5",
        "stm32l4r5-c",
        "stm32u575",
        "stm32h7a3",
        "stm32g0b1",
        "ra8d1",
        "gap9",
        "esp32c3-c",
        "desktop",
        "edge64-22nm",
        "engine-systemc",
    ),
    *("accelerator-22nm", "accelerator-28nm", "accelerator-22nm-os"),
    *("engine-ecp5-4", "engine-ecp5-8", "engine-ecp5-16", "engine-ecp5-32"),
    *("accelerator-22nm-sram", "accelerator-22nm-mram", "accelerator-22nm-rram"),
}

MINE = """\
base: accelerator-22nm
name: mine
what: twice the rows
sources:
  guess: my own
array:
  rows: {value: 32, unit: "1", source: guess, confidence: exact}
energy:
  add: {value: 0.05, low: 0.04, high: 0.06, unit: pJ, source: guess, confidence: low}
memory:
  store: null
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_names() -> None:
    assert set(names()) == EXPECTED


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_whole(name: str) -> None:
    target = find(name)
    assert target.name == name
    entries = target.entries()
    assert len(entries) >= 8
    for key, entry in entries.items():
        at = target
        for part in key.split("."):
            at = getattr(at, part)
        assert at is entry
        assert 0 <= entry.low <= entry.value <= entry.high
        assert entry.source in target.sources
        assert entry.confidence == "exact" or entry.low < entry.high or entry.unit == "bytes"


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_ids_are_unique(name: str) -> None:
    target = find(name)
    found = list(numbers(target))
    assert len({e.id for e in found}) == len(found)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_source_is_used(name: str) -> None:
    target = find(name)
    text = target.path.read_text()
    own = re.findall(r"^  (\w+): >-$", text, re.MULTILINE)
    unused = set(own) - {e.source for e in target.entries().values()}
    assert not unused


def test_without_torch() -> None:
    code = "import sys, insitu.hardware.target as t; t.find('stm32l4r5'); sys.exit('torch' in sys.modules)"
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    assert subprocess.run([sys.executable, "-c", code], env=environ, check=False).returncode == 0


def test_rows() -> None:
    rows = {r["name"]: r for r in describe()}
    assert set(rows) == EXPECTED
    assert rows["stm32l4r5"]["clock_mhz"] == 120 and rows["stm32l4r5"]["energy"]
    assert rows["accelerator-22nm-rram"]["store"] == "RRAM"
    assert rows["accelerator-22nm-sram"]["store"] is None
    assert not any(rows[n]["energy"] for n in ("desktop", "engine-ecp5-8", "stm32g0b1", "ra8d1"))


CELLS = Path(__file__).parents[2] / "benchmarks" / "results" / "fpga.json"
BUILDS = {"inference": "inference", "learning": "learning", "softmax": "learning, softmax"}
"""What the synthesis calls an engine."""


@pytest.mark.skipif(not CELLS.is_file(), reason="no synthesis is stored")
@pytest.mark.parametrize("lanes", [4, 8, 16, 32])
def test_cells_of_an_engine_are_those_of_the_stored_synthesis(lanes: int) -> None:
    found, target = json.loads(CELLS.read_text())["cells"], find(f"engine-ecp5-{lanes}")
    assert isinstance(target, Engine)
    for name, build in BUILDS.items():
        entry, made = getattr(target.cells, name), found.get(f"{lanes} lanes, {build}")
        assert entry is None or made is None or abs(entry.value / made["comb"] - 1) < 0.1


def test_cached() -> None:
    assert find("gap9") is find("gap9")


def test_reference_array() -> None:
    """The constants of the golden runs: pJ of a MAC, of a 64-bit SRAM port and of a 32-bit DRAM port."""
    edge = find("edge64-22nm")
    assert isinstance(edge, Array) and edge.energy and edge.memory.store
    mac = edge.energy.multiply.value + edge.energy.add.value
    assert mac == pytest.approx(0.11)
    assert edge.memory.sram.read.value * 64 == pytest.approx(5.33)
    assert edge.memory.sram.write.value * 64 == pytest.approx(4.57)
    assert edge.memory.store.read.value * 32 == 256
    assert edge.energy.register_write.value * 8 == pytest.approx(0.02)
    assert edge.energy.accumulator_read.value * 32 == pytest.approx(0.03)
    assert (edge.array.row_dims, edge.array.column_dims) == (("C",), ("K",))


def test_band_of_a_mac() -> None:
    """An int8 MAC at 22 nm: 0.07, 0.12, 0.34 pJ."""
    energy = find("accelerator-22nm").energy
    low, value, high = (
        getattr(energy.multiply, k) + getattr(energy.add, k) for k in ("low", "value", "high")
    )
    assert (low, value, high) == pytest.approx((0.072, 0.12, 0.34))


def test_kinds() -> None:
    assert isinstance(find("stm32l4r5"), Processor) and find("stm32l4r5").kind == "processor"
    assert find("accelerator-22nm").kind == "array"


def test_users_file(tmp_path: Path) -> None:
    mine = find(_write(tmp_path, MINE))
    base = find("accelerator-22nm")
    assert isinstance(mine, Array) and isinstance(base, Array)
    assert mine.array.rows.count == 32 and mine.array.columns == base.array.columns
    assert mine.energy.add.value == 0.05 and mine.energy.multiply == base.energy.multiply
    assert mine.memory.store is None and mine.memory.sram == base.memory.sram
    assert mine.sources["guess"] == "my own"
    assert is_dataclass(mine) and hash(mine.array.rows)


def test_users_file_is_read_again(tmp_path: Path) -> None:
    path = _write(tmp_path, MINE)
    first = load(path)
    _write(tmp_path, MINE.replace("0.05", "0.055"))
    os.utime(path, ns=(1, 1))
    assert load(path) is not first


def test_unknown_name() -> None:
    with pytest.raises(ConfigError, match="'stm32l4' is unknown; did you mean 'stm32l4r5'"):
        find("stm32l4")


def test_an_engine_by_name_with_other_numbers() -> None:
    found = find("engine-systemc:lanes=16,dma=64,clock=100")
    assert isinstance(found, Engine) and found.dma is not None
    assert (found.lanes.value, found.dma.value, found.clock.value) == (16, 64, 100)
    assert (
        found.name == "engine-systemc:lanes=16,dma=64,clock=100"
        and find("engine-systemc").name == "engine-systemc"
    )


@pytest.mark.parametrize(("name", "reason"), [
    ("engine-systemc:lanes=5", "lanes is '5'; use one of 4, 8, 16, 32"),
    ("engine-systemc:clock=fast", "clock is 'fast'; use a positive number of MHz"),
    ("engine-systemc:clock=-1", "clock is '-1'"),
    ("engine-systemc:clock=inf", "clock is 'inf'"),
    ("engine-systemc:cells=3", "'cells' of engine-systemc cannot be changed by name; lanes, dma, clock can"),
    ("engine-systemc:", "'' of engine-systemc cannot be changed by name"),
    ("engine-ecp5-8:dma=8", "'dma' of engine-ecp5-8 cannot be changed by name; lanes, clock can"),
    ("stm32l4r5:clock=80", "'clock' of stm32l4r5 cannot be changed by name; only those of an engine can"),
])  # fmt: skip
def test_numbers_that_no_name_can_change(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)):
        find(name)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"No such file.*pass a \.yaml"):
        find(tmp_path / "none.yaml")


ADD = "  add: {value: 0.05, low: 0.04, high: 0.06, unit: pJ, source: guess, confidence: low}"

REFUSALS = {
    "unknown key": (ADD, ADD.replace("  add:", "  ad:"), 9, "energy.ad", "did you mean 'add'"),
    "unknown key of an entry": (ADD, ADD.replace("low:", "lo:"), 9, "energy.add.lo", "did you mean 'low'"),
    "twice": (ADD, f"{ADD}\n{ADD}", 10, "file", "first in line 9"),
    "unit": (ADD, ADD.replace("unit: pJ", "unit: pJ/bit"), 9, "energy.add.unit", "write pJ"),
    "negative": (ADD, ADD.replace("0.04", "-0.04"), 9, "energy.add.low", "negative"),
    "order": (ADD, ADD.replace("0.04", "0.055"), 9, "energy.add", "0.055 <= 0.05 <= 0.06 does not hold"),
    "infinite": (ADD, ADD.replace("0.06", ".inf"), 9, "energy.add.high", "no number"),
    "infinite by size": (ADD, ADD.replace("0.06", "inf"), 9, "energy.add.high", "not finite"),
    "not a number": (ADD, ADD.replace("0.05", "nan"), 9, "energy.add.value", "not finite"),
    "text for a number": (ADD, ADD.replace("0.05", "'0.05'"), 9, "energy.add.value", "no number"),
    "no band": (ADD, ADD.replace("low: 0.04, ", ""), 9, "energy.add", "low is missing"),
    "no unit": (ADD, ADD.replace("unit: pJ, ", ""), 9, "energy.add", "unit is missing"),
    "no source": (ADD, ADD.replace("source: guess, ", ""), 9, "energy.add", "source is missing"),
    "source": (ADD, ADD.replace("guess", "gues"), 9, "energy.add.source", "did you mean 'guess'"),
    "confidence": (
        ADD,
        ADD.replace("confidence: low", "confidence: sure"),
        9,
        "energy.add.confidence",
        "unknown",
    ),
    "bare number": (ADD, "  add: 0.05", 9, "energy.add", "no source"),
    "zero size": ("value: 32", "value: 0", 7, "array.rows.value", "must not be 0"),
    "size unknown": (
        '{value: 32, unit: "1", source: guess, confidence: exact}',
        "null",
        7,
        "array.rows",
        "known",
    ),
    "wrong kind": (
        "name: mine",
        "name: mine\nkind: procesor",
        3,
        "kind",
        "accelerator-22nm is of kind array",
    ),
    "other kind": ("name: mine", "name: mine\nkind: processor", 3, "kind", "take another base"),
    "no name": ("name: mine\n", "", 1, "name", "add one of its own"),
    "section": ("  rows:", "  row_dims: [K]\n  rows:", 6, "array", "K is along rows and columns"),
    "loop": ("  rows:", "  row_dims: [C, Z]\n  rows:", 7, "array.row_dims", "'Z' is unknown"),
    "loop twice": ("  rows:", "  row_dims: [C, C]\n  rows:", 7, "array.row_dims", "twice"),
    "no list": ("  rows:", "  row_dims: C\n  rows:", 7, "array.row_dims", "list"),
    "dataflow": (
        "  rows:",
        "  dataflow: weight\n  rows:",
        7,
        "array.dataflow",
        "use weight-stationary, output-stationary",
    ),
    "no mapping": ("  store: null", "  sram: 5", 11, "memory.sram", "is no mapping"),
    "must be known": ("  store: null", "  sram: null", 11, "memory.sram", "must be known"),
    "base": ("base: accelerator-22nm", "base: accelerator-22", 1, "base", "did you mean 'accelerator-22nm'"),
    "base of itself": ("base: accelerator-22nm", "base: mine.yaml", 1, "base", "leads back"),
    "no YAML": ("  store: null", "  store: [", 12, "file", "is no YAML"),
    "empty text": ("what: twice the rows", "what: ''", 3, "what", "must be a text"),
    "itself": ("array:\n", "array: &a\n  columns: *a\n", 6, "file", "has an anchor or an alias"),
}


@pytest.mark.parametrize("case", sorted(REFUSALS))
def test_refused_with_its_line(case: str, tmp_path: Path) -> None:
    old, new, line, key, reason = REFUSALS[case]
    assert old in MINE
    with pytest.raises(TargetError) as error:
        load(_write(tmp_path, MINE.replace(old, new, 1)))
    text = str(error.value)
    assert "\n" not in text and "; " in text
    assert reason in text
    match = re.match(r"([\w.-]+):(\d+): (\S+):", text)
    assert match and match[3] == key
    assert line is None or (match[1], int(match[2])) == ("mine.yaml", line)


@pytest.mark.parametrize("key", ["kind", "sources", "name", "clock", "memory", "vector"])
def test_missing_key(key: str, tmp_path: Path) -> None:
    text = find("accelerator-22nm").path.read_text()
    without = re.sub(rf"^{key}:.*\n(?:  .*\n)*", "", text, flags=re.MULTILINE)
    with pytest.raises(TargetError, match=rf"mine\.yaml:\d+: {key}: is missing"):
        load(_write(tmp_path, without))


def test_kind_is_checked(tmp_path: Path) -> None:
    text = find("accelerator-22nm").path.read_text().replace("kind: array", "kind: aray")
    with pytest.raises(TargetError, match=r"mine\.yaml:1: kind: 'aray' is unknown; did you mean 'array'"):
        load(_write(tmp_path, text))


def test_empty_file(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"mine\.yaml:1: file: is empty"):
        load(_write(tmp_path, "# nothing\n"))


def test_not_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TargetError):
        load(path)


def test_energy_counts_once(tmp_path: Path) -> None:
    text = (
        "base: stm32l4r5\nname: mine\nwhat: two energies\nenergy:\n"
        "  conv: {value: 2, low: 1, high: 3, unit: pJ/MAC, source: energy, confidence: low}\n"
    )
    with pytest.raises(TargetError, match=r":4: energy: cycle and conv would count twice"):
        load(_write(tmp_path, text))
