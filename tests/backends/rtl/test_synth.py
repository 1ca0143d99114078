"""Area of the engine: a budget against the stored figure, and where it comes from."""

import json
from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="the extra 'fpga' is not installed")
pytest.importorskip("pyosys", reason="the extra 'fpga' is not installed")

from insitu.backends.rtl import attribute, synth, tools
from insitu.errors import ConfigError

STORED = json.loads((Path(__file__).parents[3] / "benchmarks" / "results" / "fpga.json").read_text())["cells"]
GROWTH = 1.02
"""More cells than this share of the stored ones need a new run of benchmarks/fpga.py, and a reason."""


def test_eight_lanes_with_learning_keep_to_their_budget(tmp_path):
    stored, found = STORED["8 lanes, learning"], synth.cells(synth.reference(8), tmp_path, "learning")
    assert found["comb"] <= GROWTH * stored["comb"]
    assert found["ff"] <= GROWTH * stored["ff"]
    assert (found["dsp"], found["bram"]) == (stored["dsp"], stored["bram"])
    fed = attribute.attribute(tmp_path / "learning.json")
    luts = found["lut4"] + 2 * found["carry"]
    assert 0.9 * luts < fed.total() <= luts and sum(n for name, n in fed.items() if "lane" in name) > luts / 4


def test_learning_takes_no_multiplier_and_no_block_ram():
    for lanes in (8, 16):
        inference, learning = (STORED[f"{lanes} lanes, {name}"] for name in ("inference", "learning"))
        assert [learning[k] - inference[k] for k in ("dsp", "bram")] == [0, 0]


def test_an_error_of_yosys_is_told():
    with pytest.raises(ConfigError, match="yosys stopped at"):
        tools.yosys("read_rtlil /nowhere/at/all.il")
