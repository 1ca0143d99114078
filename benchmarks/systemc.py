"""The SystemC model of the learning engine: beside the reference and the RTL, how fast it is, what a bus decides.

    python benchmarks/systemc.py rules                 # every rule against the integer reference, 500 steps
    python benchmarks/systemc.py rtl [--rows mnist]    # rows of benchmarks/fpga.py, memories and cycles, step by step
    python benchmarks/systemc.py speed                 # learned samples a second of CPU, and the RTL's beside them
    python benchmarks/systemc.py platform              # digits and watch data on a system on chip; the time line
    python benchmarks/systemc.py space                 # lanes, engines, clock and width of the bus: what decides
    python benchmarks/systemc.py picture               # docs/figures/systemc-timeline.png
    python benchmarks/systemc.py                       # prints what benchmarks/results/systemc.json holds

Each part writes its rows as they come.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import tempfile
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from fpga import RUNS, kept, read, run_of
from insitu.backends.engine import cycles
from insitu.backends.engine.host import Host
from insitu.backends.engine.image import Image, fitted
from insitu.backends.rtl.device import Hardware
from insitu.backends.systemc.data import Data
from insitu.backends.systemc.device import Model, built
from insitu.errors import ConfigError, InsituError
from insitu.experiment.program import executable, integer_batches
from insitu.rules import RULES
from insitu.run.integer import run
from insitu.run.program import Program

RESULTS = Path(__file__).parent / "results" / "systemc.json"
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "figures" / "systemc-timeline.png"
STEPS = 500
RTL_STEPS = 100
LR = 0.01
STREAMS = {"digits": ("mlp-64-32-10", 10_000), "spar-watch": ("mlp-768-32-7", 10_000)}
"""Of the platform, by data set: the network, and samples."""
SPEED = ("mlp-784-128-10", "mnist", 2_000)


def keep(part: str, row: str, found: Any) -> None:
    """Writes a row."""
    kept(RESULTS, part, row, found)


def stored() -> dict[str, Any]:
    return read(RESULTS)


def program_of(network: str, data: str, rule: str, count: int) -> Program:
    """A rule on a network, with so many training samples, each epoch in the order of a seeded permutation."""
    setup = run_of(network, data, rule, LR)
    program, random = executable(setup, 1), np.random.default_rng(0)
    batches = integer_batches(setup, program, len(setup.data.train))
    order = [n for _ in range(-(-count // len(batches))) for n in random.permutation(len(batches))]
    return replace(program, batches=tuple(batches[n] for n in order[:count]))


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    return [k for k in found if not np.array_equal(found[k], expected[k])]


# --- beside the reference, and beside the RTL -------------------------------------------------------------------------


def rules() -> None:
    """Every rule that has microcode, on two networks, against the integer reference."""
    for network in ("mlp-64-32-10", "cnn-8-16"):
        for rule in RULES:
            try:
                program = program_of(network, "digits", rule, STEPS)
                image = fitted(program)
            except InsituError:
                continue  # no integer form, or no microcode: docs/fpga.md says which
            keep("rules", f"{network}, {rule}", beside_reference(image))


def beside_reference(image: Image) -> dict[str, Any]:
    program = image.program
    host = Host(image, Model(image.build))
    state = {name: np.array(a) for name, a in program.initial_state.items()}
    for t, (x, label) in enumerate(program.batches):
        phase = t % len(program.steps)
        run(program.steps[phase], state, x, label, program.context(t))
        flags = host.learn(x, label, phase, program.lr, t)
        wrong = differences(host.state, state)
        closed = cycles.work(image.code.words, image.entries[phase].start, image.build, flags).cycles
        if wrong or host.cycles != closed:
            return {"steps": t, "differs": wrong or ["cycles"]}
    return {"steps": len(program.batches), "differs": []}


def rtl(words: list[str]) -> None:
    """Both memories, whole, and the cycles of every step: the model against the simulated RTL."""
    for row, (network, data, rule, _, _) in RUNS.items():
        if all(word in row.split(", ") for word in words):
            keep("rtl", row, beside_rtl(fitted(program_of(network, data, rule, RTL_STEPS))))


def beside_rtl(image: Image) -> dict[str, Any]:
    hosts = [Host(image, device) for device in (Hardware(image.build), Model(image.build))]
    build, program, total = image.build, image.program, 0
    for t, (x, label) in enumerate(program.batches):
        for host in hosts:
            host.learn(x, label, t % len(program.steps), program.lr, t)
        memories = [
            (
                host.device.read("a", 0, build.a_words * build.lanes),
                host.device.read("w", 0, build.w_words),
                host.cycles,
            )
            for host in hosts
        ]
        total += memories[0][2]
        if not all(np.array_equal(one, other) for one, other in zip(*memories)):
            return {"steps": t, "equal": False}
    return {"steps": len(program.batches), "cycles": total, "equal": True}


# --- speed ----------------------------------------------------------------------------------------------------------


def speed() -> None:
    """CPU seconds of the model and of the RTL in Verilator, for the same steps, in one run."""
    network, data, count = SPEED
    for rule in ("etch", "bp"):
        program = program_of(network, data, rule, count)
        found = {"model": seconds_of_model(program), "rtl": seconds_of_rtl(program, count // 20)}
        keep("speed", f"{network}, {rule}", {
            "samples a second": round(1 / found["model"]),
            "samples a second, RTL": round(1 / found["rtl"], 1),
            "times the RTL": round(found["rtl"] / found["model"]),
        })  # fmt: skip


def seconds_of_model(program: Program) -> float:
    """CPU seconds a learned sample, samples by DMA; the time to load a program and samples is taken off."""
    with tempfile.TemporaryDirectory() as folder:
        write(program, 8, Path(folder))
        words = ["--mode", "learn", "--chunk", "1000"]
        loading, whole = (
            platform_of([folder], *words, "--samples", n)[1] for n in ("1", str(len(program.batches)))
        )
    return (whole - loading) / (len(program.batches) - 1)


def seconds_of_rtl(program: Program, count: int) -> float:
    """The same of the RTL, with its loop over samples in C++."""
    image = fitted(program)
    hardware = Hardware(image.build)
    Host(image, hardware)
    entry = image.entries[0]
    place = entry.place("x")
    assert place is not None
    chosen = program.batches[:count]
    samples = np.stack([place.form.pack(x) for x, _ in chosen])
    began = time.process_time()
    hardware.sim.samples(
        entry.start, place.start // image.build.lanes, samples, [int(y[0]) for _, y in chosen]
    )
    return (time.process_time() - began) / count


def write(program: Program, lanes: int, folder: Path) -> Data:
    """A program and its samples as the platform reads them."""
    data = Data.fitted(program, lanes)
    (folder / "program.txt").write_text(data.text)
    (folder / "samples.bin").write_bytes(data.samples(program.batches))
    return data


def platform_of(folders: list[str], *options: str) -> tuple[str, float]:
    """What the system on chip prints, and its CPU seconds."""
    files = [str(Path(folder) / name) for folder in folders for name in ("program.txt", "samples.bin")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([str(built("soc")), *options, *files], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(done.stdout)
    return done.stdout, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


# --- the platform ---------------------------------------------------------------------------------------------------


def platform() -> None:
    """Two engines learn two streams at once; what is printed, and the begin and end of every command."""
    with tempfile.TemporaryDirectory() as folder:
        folders = []
        for data, (network, count) in STREAMS.items():
            (Path(folder) / data).mkdir()
            folders.append(str(Path(folder) / data))
            write(program_of(network, data, "etch", count), 8, Path(folders[-1]))
        line = Path(folder) / "timeline.csv"
        for name, options in {"DMA": [], "by the processor": ["--dma", "0"]}.items():
            text, _ = platform_of(folders, *options, "--timeline", str(line))
            keep("platform", name, text.splitlines())
            if name == "DMA":
                rows = [row.split(",") for row in line.read_text().split()]
                shown = [[who, float(b), float(e)] for who, b, e in rows if float(e) < SHOWN]
                keep("platform", "commands", shown)


SHOWN = 0.01
"""Seconds of the time line that are kept."""


def space() -> None:
    """Samples a second of all engines, by lanes, engines that share a bus, its clock and its width."""
    network, data, rule = "mlp-784-128-10", "mnist", "etch"
    program = program_of(network, data, rule, 32)
    for lanes in (8, 32):
        with tempfile.TemporaryDirectory() as folder:
            write(program, lanes, Path(folder))
            for engines, clock, width in product((1, 4, 16), (25, 5), (1, 2, 4, 8)):
                options = ("--width", str(width), "--bus-clock", str(1000 // clock), "--chunk", "32")
                text, _ = platform_of([folder] * engines, *options)
                row = f"{lanes} lanes, {engines} engines, bus of {clock} MHz, {8 * width} bits"
                keep("space", row, row_of(text, engines * len(program.batches)))


def row_of(text: str, samples: int) -> dict[str, Any]:
    found = re.search(r"time ([\d.]+) ms; bus taken ([\d.]+) %", text)
    assert found is not None
    milliseconds, taken = map(float, found.groups())
    return {"samples a second": round(1e3 * samples / milliseconds), "bus taken": round(taken / 100, 4)}


def picture() -> None:
    """The begin of the platform's time line, as docs/figures/systemc-timeline.png."""
    from matplotlib import pyplot

    commands = stored()["platform"]["commands"]
    names = sorted({who for who, _, _ in commands}, reverse=True)
    figure, axes = pyplot.subplots(figsize=(7, 1.6), layout="constrained")
    for y, name in enumerate(names):
        bars = [(1e3 * begin, 1e3 * (end - begin)) for who, begin, end in commands if who == name]
        axes.broken_barh(bars, (y - 0.35, 0.7), facecolor="#4477aa", edgecolor="white")
        axes.plot([sum(bar) for bar in bars], [y + 0.42] * len(bars), "v", color="#cc3311", markersize=5)
    labels = {f"engine{n}": f"engine {n}: {data}" for n, data in enumerate(STREAMS)}
    axes.set_yticks(range(len(names)), [labels[name] for name in names])
    axes.set_xlabel("milliseconds; a bar: 16 samples by one command; red: its interrupt")
    figure.savefig(PICTURE, dpi=150)


PARTS = {"rules": rules, "speed": speed, "platform": platform, "space": space, "picture": picture}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=["rtl", *PARTS])
    parser.add_argument("--rows", default="", help="words of the rows of rtl, comma-separated: etch,mnist")
    args = parser.parse_args()
    if args.part == "rtl":
        rtl([word for word in args.rows.split(",") if word])
    elif args.part:
        PARTS[args.part]()
    else:
        print(json.dumps(stored(), indent=1))


if __name__ == "__main__":
    main()
