"""Time of one training step, PyTorch autograd + torch.optim.SGD against our executor, in one run side by side.

    python benchmarks/step_time.py [--threads 1,2] [--turns 20] [--out benchmarks/results/step_time.json]

The contestants take turns of 25 steps, so that noise of the machine hits all alike; a figure is a ratio of
medians. Each step includes making the loss error and the update, and leaves the loss value out (PyTorch computes it
on the way).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch

from insitu.network import zoo
from insitu.network.graph import Network
from insitu.network.torch.module import to_module
from insitu.passes import lower
from insitu.rules import emit_step, make_rule
from insitu.run.state import extend_state
from insitu.run.torch_exec import TorchExecutor

LR = 1e-4
CASES = [("mlp-784-1000-10", 1), ("mlp-784-1000-10", 128), ("lenet5", 1), ("lenet5", 128)]
CASES += [("mlp-784-1024-1024-1024-10", 128)]
RULES = ["bp", "dfa", "drtp", "pred"]


def pytorch(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    """The usual loop body."""
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=LR)
    loss = torch.nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss(module(x), y).backward()
        optimizer.step()

    return step


def plain_module(name: str, net: Network) -> torch.nn.Module:
    """A hand-written nn.Sequential for an MLP, PyTorch at its best; else the network's own module."""
    if not name.startswith("mlp-"):
        return to_module(net)
    layers: list[torch.nn.Module] = []
    for i, o in pairwise(int(n) for n in name.split("-")[1:]):
        layers += [torch.nn.Linear(i, o), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def ours(rule: str, net: Network, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    """One step of a rule, label conversion included."""
    step = lower(emit_step(make_rule(rule), net, len(x)))
    executor = TorchExecutor(step, extend_state({}, step, net.params, seed=1))
    return lambda: executor.run(executor.convert(x, y), lr=LR) and None


WARM, BLOCK = 5, 25
"""Steps in a row per turn, and how many of them are not counted: caches hold the contestant's own weights, as in a
training run, and not those of the one before."""


def race(contestants: dict[str, Callable[[], None]], turns: int) -> dict[str, float]:
    """Median seconds of a step of each, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(turns):
        for name, step in contestants.items():
            for i in range(BLOCK):
                start = time.perf_counter()
                step()
                if i >= WARM:
                    times[name].append(time.perf_counter() - start)
    return {name: median(t) for name, t in times.items()}


def measure(name: str, batch: int, turns: int) -> dict[str, float]:
    """PyTorch's microseconds, and the ratios."""
    net = zoo.build(name)
    torch.manual_seed(0)
    x, y = torch.rand(batch, *net.input_shape), torch.randint(0, net.outputs, (batch,))
    baseline = pytorch(plain_module(name, net), x, y)
    medians = race({"pytorch": baseline} | {rule: ours(rule, net, x, y) for rule in RULES}, turns)
    ratios = {f"{rule}/pytorch": medians[rule] / medians["pytorch"] for rule in RULES}
    return {"pytorch_us": medians["pytorch"] * 1e6, **ratios, "drtp/bp": medians["drtp"] / medians["bp"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", default="1,2", help="torch thread counts, comma-separated")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = []
    for threads in map(int, options.threads.split(",")):
        torch.set_num_threads(threads)
        for name, batch in CASES:
            row = {"network": name, "batch": batch, "threads": threads} | measure(name, batch, options.turns)
            found.append(row)
            print("  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
