"""Samples per second of on-line training (batch 1) of an MLP: the C engine, our torch executor, PyTorch autograd.

    python benchmarks/engine_speed.py [--turns 12] [--out benchmarks/results/engine_speed.json]

One process, one thread, on real MNIST digits (folder INSITU_DATA), or on made ones of the same share of zeros. The
contestants take turns, so that noise of the machine hits all alike; a figure is a median over the turns. The C engine
and the executor compute the same bits in precision edge-latent-free-8 (8-bit stored weights, no real copy); autograd is
float32: an ``nn.Sequential`` of the same layers with cross-entropy and ``torch.optim.SGD``. Bars: 10 times autograd, 5
times the executor.

``forward``: multiply-accumulates per cycle of the forward pass of one sample, in cycles of the time stamp counter, and
their share of the most that the instructions in use do: 32 a cycle with AVX2 (two 256-bit multiply-adds of 16-bit
words), 64 with AVX-512 VNNI (the same of bytes). Inputs that are 0 side by side are skipped and count as work
done; ``dense`` samples have none.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from insitu.backends.c.host import Engine, features
from insitu.data import Dataset, Split
from insitu.errors import InsituError
from insitu.experiment.config import OptimizerConfig, RunConfig
from insitu.experiment.program import executable
from insitu.experiment.resolve import Setup
from insitu.run.samples import Feed
from insitu.run.state import extend_state
from insitu.run.torch_exec import TorchExecutor

NETWORK, PRECISION, LR = "mlp-784-1000-10", "edge-latent-free-8", 0.01
RULES = ["bp", "drtp", "pred", "mono-forward"]
SAMPLES = 4096
PEAK = 64 if "-DINSITU_VNNI" in features() else 32
AUTOGRAD_BAR, EXECUTOR_BAR = 10, 5
STEPS = {"c": 4096, "torch": 64, "autograd": 512}
"""Training steps of a turn."""

Turn = Callable[[], int]
"""Trains on, and says how many samples it took."""


def configuration(rule: str) -> RunConfig:
    return RunConfig(
        network=NETWORK,
        rule=rule,
        precision=PRECISION,
        batch=1,
        data="mnist",
        limit_train=SAMPLES,
        limit_test=100,
        optimizer=OptimizerConfig(lr=LR),
    )


def made_digits() -> Dataset:
    """Samples with MNIST's 81 % of zeros."""
    rng = np.random.default_rng(0)
    x = rng.random((SAMPLES, 1, 28, 28), dtype=np.float32)
    x *= rng.random(x.shape) > 0.81
    split = Split(x, rng.integers(0, 10, SAMPLES))
    return Dataset("made", split, split, 10, tuple("0123456789"), (1, 28, 28), "made", "CC0-1.0")


def loaded() -> tuple[str, Dataset]:
    """The data, and what they are."""
    from insitu.experiment.resolve import load_data

    try:
        return "MNIST", load_data(configuration("bp"))
    except InsituError:
        return "made, with the zeros of MNIST", made_digits()


# --- contestants -------------------------------------------------------------------------------------------------


def compiled(setup: Setup) -> tuple[Engine, Turn]:
    """The C engine, fed as in a run: gathered in the order of an epoch."""
    program = executable(setup, 1)
    engine = Engine(program)
    given = {v.name: v for v in program.steps[0].inputs}
    data, steps = setup.data.train, STEPS["c"]
    x = Feed(given["x"], data.x.reshape(len(data), -1))
    labels = Feed(given["label"], data.y)
    order = np.random.default_rng(1).permutation(len(data))
    parts = [order[i : i + steps, None] for i in range(0, len(data) - steps + 1, steps)]
    turns = count()

    def turn() -> int:
        part = parts[next(turns) % len(parts)]
        engine.learn(x.batches(part), labels.batches(part))
        return steps

    return engine, turn


def samples(setup: Setup) -> tuple[torch.Tensor, torch.Tensor]:
    data = setup.data.train
    return torch.from_numpy(data.x.reshape(len(data), -1)), torch.from_numpy(data.y.astype(np.int64))


def executor(setup: Setup) -> Turn:
    """Our torch executor."""
    step = setup.training_step(1)
    made = TorchExecutor(step, extend_state({}, step, setup.net.params, seed=1), seed=1)
    x, y = samples(setup)
    done = count()

    def turn() -> int:
        for _ in range(STEPS["torch"]):
            t = next(done)
            i = t % len(x)
            made.run(made.convert(x[i : i + 1], y[i : i + 1]), lr=LR, t=t)
        return STEPS["torch"]

    return turn


def autograd(setup: Setup) -> Turn:
    """The usual loop of PyTorch."""
    layers: list[torch.nn.Module] = []
    for i, o in pairwise(int(n) for n in NETWORK.split("-")[1:]):
        layers += [torch.nn.Linear(i, o), torch.nn.ReLU()]
    module = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(module.parameters(), lr=LR)
    loss = torch.nn.CrossEntropyLoss()
    x, y = samples(setup)
    done = count()

    def turn() -> int:
        for _ in range(STEPS["autograd"]):
            i = next(done) % len(x)
            optimizer.zero_grad()
            loss(module(x[i : i + 1]), y[i : i + 1]).backward()
            optimizer.step()
        return STEPS["autograd"]

    return turn


def race(contestants: dict[str, Turn], turns: int) -> dict[str, float]:
    """Median seconds per sample of each, taking turns; the first turn warms up."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for i in range(turns + 1):
        for name, turn in contestants.items():
            start = time.perf_counter()
            made = turn()
            if i:
                times[name].append((time.perf_counter() - start) / made)
    return {name: median(t) for name, t in times.items()}


# --- forward pass ------------------------------------------------------------------------------------------------


def tsc_hz() -> float | None:
    """The frequency of the time stamp counter: that of the model's name, else the present one."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    named = re.search(r"model name.*@ ([0-9.]+)GHz", text)
    present = re.search(r"cpu MHz\s*: ([0-9.]+)", text)
    if named:
        return float(named[1]) * 1e9
    return float(present[1]) * 1e6 if present else None


def forward(engine: Engine, rows: np.ndarray, turns: int) -> dict[str, float | None]:
    """MAC per cycle of the forward pass."""
    times = []
    for _ in range(turns + 1):
        start = time.perf_counter()
        engine.infer(rows)
        times.append((time.perf_counter() - start) / len(rows))
    seconds, hz = median(times[1:]), tsc_hz()
    macs = sum(engine.program.inference.counts().macs.values())
    rate = macs / (seconds * hz) if hz else None
    return {
        "us": seconds * 1e6,
        "macs": macs,
        "mac_per_cycle": rate,
        "share_of_peak": rate / PEAK if rate else None,
    }


def forwards(setup: Setup, engine: Engine, turns: int) -> dict[str, Any]:
    """Of the data's samples, and of samples without zeros."""
    value, data = engine.program.inference.inputs[0], setup.data.train.x[:512].reshape(512, -1)
    dense = 0.2 + 0.7 * np.random.default_rng(0).random(data.shape, dtype=np.float32)
    index = np.arange(512)[:, None]
    return {
        name: forward(engine, Feed(value, x).batches(index), turns)
        for name, x in (("data", data), ("dense", dense))
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    kind, data = loaded()
    rows, passes = [], {}
    for rule in RULES:
        setup = Setup.of(configuration(rule), data)
        engine, turn = compiled(setup)
        found = race({"c": turn, "torch": executor(setup), "autograd": autograd(setup)}, options.turns)
        row: dict[str, Any] = {"rule": rule, **{f"{n}_samples_per_s": 1 / s for n, s in found.items()}}
        row["to_autograd"] = found["autograd"] / found["c"]
        row["to_executor"] = found["torch"] / found["c"]
        row["reached"] = row["to_autograd"] >= AUTOGRAD_BAR and row["to_executor"] >= EXECUTOR_BAR
        rows.append(row)
        print("  ".join(f"{k} {v:.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
        if rule == "bp":
            passes = forwards(setup, engine, options.turns)
            for name, numbers in passes.items():
                shown = {k: v if v is None else round(v, 3) for k, v in numbers.items()}
                print(f"forward, {name}: {shown}")
    result = {
        "network": NETWORK,
        "precision": PRECISION,
        "data": kind,
        "zeros": float((data.train.x == 0).mean()),
        "flags": list(features()),
        "tsc_hz": tsc_hz(),
        "load": os.getloadavg()[0],
        "bars": {"autograd": AUTOGRAD_BAR, "executor": EXECUTOR_BAR},
        "rows": rows,
        "forward": passes,
    }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
