"""The learning engine on an ECP5: cells and clocks with learning and without, and long runs of its RTL against C.

    python benchmarks/fpga.py cells [--lanes 4,8,16,32]       # synthesis; minutes
    python benchmarks/fpga.py clocks [--lanes 8,16]           # place and route, 3 seeds a build: an hour on two cores
    python benchmarks/fpga.py steps [--rows etch,mnist]       # long runs, all residents compared after each step
    python benchmarks/fpga.py ice40                           # cells of an iCE40, and steps of its netlist
    python benchmarks/fpga.py                                 # prints what benchmarks/results/fpga.json holds

Each part writes its rows as they come and leaves out those that are there for the same hardware.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from insitu.backends.c.engine import CompiledEngine
from insitu.backends.engine.build import PRECISION
from insitu.backends.engine.cycles import work
from insitu.backends.engine.image import fitted
from insitu.backends.engine.trainer import HostedEngine
from insitu.backends.rtl import synth, tools
from insitu.backends.rtl.device import Hardware, parameters
from insitu.backends.rtl.parameters import Parameters
from insitu.errors import ConfigError
from insitu.experiment.config import RunConfig
from insitu.experiment.program import executable
from insitu.experiment.resolve import Setup
from insitu.run.samples import Arrays, Batches

RESULTS = Path(__file__).parent / "results" / "fpga.json"
FOLDER = Path(__file__).resolve().parents[1] / "build" / "fpga"
"""Netlists and reports; the WebAssembly tools see files of their working folder alone, and none of /tmp."""
SEEDS = (1, 2, 3)


def builds(lanes: int) -> Iterator[tuple[str, Parameters]]:
    """Names and parameters of what is compared at so many lanes."""
    yield "inference", synth.reference(lanes, learn=False)
    yield "learning", synth.reference(lanes)
    yield "learning, softmax", synth.reference(lanes, softmax=True)
    if lanes == 8:
        yield "inference, S = 16", synth.reference(lanes, learn=False, fraction=16)
        yield "inference without dot", synth.reference(lanes, learn=False, dot=False)
        yield "learning, positions", synth.reference(lanes, positions=True)
        yield "learning, 4-bit words", synth.reference(lanes, weight_bits=4)


def read(path: Path) -> dict[str, Any]:
    """Rows by part; none where there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}


def kept(path: Path, part: str, row: str, found: Any) -> None:
    """Writes a row; the file is read again, for other parts may run at the same time."""
    rows = read(path)
    rows.setdefault(part, {})[row] = found
    path.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
    print(row, found, flush=True)


def stored() -> dict[str, Any]:
    return read(RESULTS)


def keep(part: str, row: str, found: Any) -> None:
    kept(RESULTS, part, row, found)


def cells(lanes: list[int]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for n in lanes:
        for name, p in builds(n):
            row = f"{n} lanes, {name}"
            digest = synth.digest(synth.written(p, FOLDER, "now"))
            if stored().get("cells", {}).get(row, {}).get("digest") != digest:
                keep("cells", row, synth.cells(p, FOLDER, row.replace(" ", "_")))


def clocks(lanes: list[int]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS:
        for n in lanes:
            for name in ("learning", "inference"):
                row, file = f"{n} lanes, {name}, seed {seed}", f"{n}_lanes,_{name}"
                p = dict(builds(n))[name]
                digest = synth.digest(synth.written(p, FOLDER, "now"))
                if stored().get("clocks", {}).get(row, {}).get("digest") == digest:
                    continue
                if not (FOLDER / f"{file}.json").exists() or synth.digest(FOLDER / f"{file}.il") != digest:
                    synth.cells(p, FOLDER, file)
                keep("clocks", row, {**synth.clock(FOLDER, file, seed), "digest": digest})


# --- long runs ---------------------------------------------------------------------------------------------------


RUNS: dict[str, tuple[str, str, str, float, int]] = {
    f"{network}, {rule}, {data}": (network, data, rule, lr, count)
    for network, data, rules, lr, count in (
        ("mlp-64-32-10", "digits", ("etch",), 0.01, 10_000),
        ("mlp-784-128-10", "mnist", ("etch",), 0.01, 10_000),
        ("mlp-64-32-10", "digits", ("drtp", "pred", "bp-stash", "bp"), 0.01, 1_000),
        ("mlp-784-128-10", "mnist", ("drtp", "pred", "bp-stash", "bp"), 0.01, 1_000),
        ("cnn-8-16", "digits", ("etch", "drtp"), 0.01, 1_000),
        ("lenet5", "mnist", ("etch", "drtp"), 0.01, 1_000),
        ("cnn-8-16", "digits", ("pred", "bp-stash"), 0.01, 500),
    )
    for rule in rules
}
"""Network, data, rule, learning rate and steps of every row."""
MOST_TESTED = {"lenet5": 500}
"""Test samples of a network whose inference takes a second in simulation."""
SMALL: dict[str, Any] = {"lanes": 4, "operand_bits": 16, "fraction": 16, "positions": False}
"""What fits an iCE40 UP5K, whose eight multipliers take operands of 16 bits."""


def run_of(network: str, data: str, rule: str, lr: float) -> Setup:
    options = {"network_options": {"activation": "relu"}, "optimizer": {"lr": lr}}
    named = {"data": data, "network": network, "rule": rule, "precision": PRECISION, "batch": 1}
    return Setup.of(RunConfig.model_validate(named | options))


def compared(
    network: str, data: str, rule: str, lr: float, count: int, family: str | None = None, **build: Any
) -> dict[str, Any]:
    """Steps of a rule on the RTL and in C, all residents compared after each; then the test set on both.

    With a family of FPGAs, its netlist is simulated. Samples come in the order of the seeded permutation of each epoch.
    """
    setup = run_of(network, data, rule, lr)
    program = executable(setup, 1)
    image, c = fitted(program, **build), CompiledEngine(program)
    rtl = HostedEngine(image, Hardware(image.build, family))
    train, began, cycles = setup.data.train, time.process_time(), []
    closed: dict[int, int] = {}  # cycles by the closed form, by the triggers that fired
    flat = Arrays(train.x.reshape(len(train.x), *setup.net.input_shape), train.y)
    for t in range(count):
        epoch, at = divmod(t, len(train.x))
        if at == 0:
            order = np.random.default_rng(epoch).permutation(len(train.x))
        batches = Batches(flat, order[at : at + 1][:, None])
        for engine in (rtl, c):
            engine.learn(batches, 0, [lr], t)
        cycles.append(rtl.host.cycles)
        flags, shown = rtl.host.device.flags, rtl.host.image
        if flags not in closed:
            closed[flags] = work(shown.code.words, shown.entries[0].start, shown.build, flags).cycles
        found, expected = rtl.state, c.state
        wrong = [k for k in found if not np.array_equal(found[k], expected[k])]
        wrong += [] if cycles[-1] == closed[flags] else ["cycles"]
        if wrong:
            return {"steps": t, "lr": lr, "differs": wrong}
    test = setup.data.test
    many = MOST_TESTED.get(network, len(test.x))
    tested = Arrays(test.x[:many].reshape(-1, *setup.net.input_shape), test.y[:many])
    scores = rtl.infer(tested, 0, len(tested.x), 1)
    same = np.array_equal(scores, c.infer(tested, 0, len(tested.x), 1))
    return {
        "steps": count,
        "lr": lr,
        "scores equal": bool(same),
        "tested": len(tested.x),
        "accuracy": round(float((scores.reshape(len(tested.x), -1).argmax(1) == tested.y).mean()), 4),
        "cycles": {"least": min(cycles), "most": max(cycles), "mean": round(float(np.mean(cycles)), 1)},
        "inference": rtl.host.cycles,
        "cpu seconds": round(time.process_time() - began),
    }


def steps(words: list[str]) -> None:
    """Runs the rows whose names have all of the words, and leaves out those that are there."""
    for row, run in RUNS.items():
        if all(word in row.split(", ") for word in words) and row not in stored().get("steps", {}):
            try:
                keep("steps", row, compared(*run))
            except ConfigError as error:
                keep("steps", row, {"refused": str(error)})


def ice40() -> None:
    """Cells of the small build with learning and without, and steps of its netlist."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    run = ("mlp-64-32-10", "digits", "etch", 0.01, 1_000)
    build = parameters(fitted(executable(run_of(*run[:4]), 1), **SMALL).build)
    for learn in (False, True):
        source = synth.written(replace(build, learn=learn), FOLDER, f"ice40-{int(learn)}")
        found = tools.synthesize(source, source.with_suffix(".json"), "ice40")
        kept = {name: n for name, n in found.items() if name.startswith("SB_")}
        keep("ice40", "learning" if learn else "inference", kept)
    keep("steps", "mlp-64-32-10, etch, digits, netlist of an iCE40", compared(*run, family="ice40", **SMALL))


# --- reading -----------------------------------------------------------------------------------------------------


def overheads() -> dict[str, float]:
    """Learning over inference in cells, by lanes."""
    rows = stored().get("cells", {})
    found = {}
    for n in (4, 8, 16, 32):
        with_, without = (rows.get(f"{n} lanes, {name}") for name in ("learning", "inference"))
        if with_ and without:
            found[f"{n} lanes"] = with_["comb"] / without["comb"] - 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=["cells", "clocks", "steps", "ice40"])
    parser.add_argument("--lanes", default="")
    parser.add_argument("--rows", default="", help="words of the rows of steps, comma-separated: etch,mnist")
    args = parser.parse_args()
    lanes = [int(n) for n in args.lanes.split(",") if n]
    if args.part == "cells":
        cells(lanes or [4, 8, 16, 32])
    elif args.part == "clocks":
        clocks(lanes or [8, 16])
    elif args.part == "ice40":
        ice40()
    elif args.part == "steps":
        steps([word for word in args.rows.split(",") if word])
    else:
        print(json.dumps({**stored(), "learning over inference": overheads()}, indent=1))


if __name__ == "__main__":
    main()
