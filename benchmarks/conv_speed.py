"""CPU time of learning from one sample with convolutions: the C engine in 8-bit integers, PyTorch autograd in float32.

    python benchmarks/conv_speed.py [--turns 7] [--before REV] [--out benchmarks/results/conv_speed.json]

One process, one thread, random samples. The contestants of a network take turns, so that noise of the machine hits all
alike; a figure is the least CPU time of the turns. The engine learns at batch 1 in precision edge-latent-free-8;
autograd is cross-entropy and ``torch.optim.SGD`` on the same network (batch norms folded, ReLU) at batch 32 and at
batch 1.

Three tables: a learned sample of each rule against autograd (bars: 2 times at batch 32, 4 times at batch 1,
``bp-stash`` at most 1.1 times ``bp``); single forward convolutions, in multiply-accumulates and as a share of the most
that the instructions in use do, against ``torch.nn.functional.conv2d``; with ``--before``, dense learning against that
commit.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from against import unpacked
from engine_speed import tsc_hz
from insitu.backends.c import host
from insitu.backends.c.host import Engine, features
from insitu.data import Dataset, Split
from insitu.experiment.config import OptimizerConfig, RunConfig
from insitu.experiment.program import executable
from insitu.experiment.resolve import Setup
from insitu.network.torch.module import to_module
from insitu.run.program import Program
from insitu.run.samples import Feed

PRECISION, LR, SAMPLES = "edge-latent-free-8", 0.01, 512
NETWORKS: dict[str, tuple[tuple[int, ...], int, dict[str, str]]] = {
    "cnn-32-64-64": ((3, 32, 32), 10, {}),
    "resnet8": ((3, 32, 32), 10, {"norm": "fold"}),
    "ds-cnn": ((1, 49, 10), 12, {"norm": "fold"}),
    "lenet5": ((1, 28, 28), 10, {"activation": "relu"}),
}
DENSE = "mlp-784-1000-10"
RULES = ["etch", "pred", "bp", "bp-stash"]
DENSE_RULES = RULES[:3]
"""Of the default network, whose tanh has no one-bit derivative."""
BAR_32, BAR_1, STASH_BAR = 2.0, 4.0, 1.1
SHARE_BARS = {"3x3": 0.35, "pointwise": 0.2}
DEPTHWISE_BAR = 2.0
BUDGET = 0.06
"""CPU seconds of a turn."""

Call = Callable[[], int]
"""Works, and says for how many samples."""


def peak() -> int:
    """Multiply-accumulates a cycle of two multiply-adds: of words of 16 bits, or of bytes with VNNI."""
    flags = features()
    return 128 if "-DINSITU_VNNI" in flags else 64 if "-DINSITU_AVX512" in flags else 32


def data(network: str) -> Dataset:
    shape, classes, _ = NETWORKS.get(network, ((1, 28, 28), 10, {}))
    rng = np.random.default_rng(0)
    split = Split(rng.random((SAMPLES, *shape), dtype=np.float32), rng.integers(0, classes, SAMPLES))
    names = tuple(map(str, range(classes)))
    return Dataset("made", split, split, classes, names, shape, "made", "CC0-1.0")


def setup(network: str, rule: str) -> Setup:
    options = NETWORKS[network][2] if network in NETWORKS else {}
    config = RunConfig(
        network=network,
        network_options=options,
        rule=rule,
        precision=PRECISION,
        batch=1,
        data="mnist",
        limit_train=SAMPLES,
        limit_test=100,
        optimizer=OptimizerConfig(lr=LR),
    )
    return Setup.of(config, data(network))


# --- contestants -------------------------------------------------------------------------------------------------


def learning(engine: Engine, made: Setup) -> Call:
    """Sixteen steps of the engine."""
    given = {v.name: v for v in engine.program.steps[0].inputs}
    split, index = made.data.train, np.arange(SAMPLES)[:, None]
    x = Feed(given["x"], split.x.reshape(SAMPLES, -1)).batches(index)
    labels = Feed(given["label"], split.y).batches(index)
    done = 0

    def call() -> int:
        nonlocal done
        at = done % SAMPLES
        engine.learn(x[at : at + 16], labels[at : at + 16])
        done += 16
        return 16

    return call


def inference(engine: Engine, made: Setup) -> Call:
    value, split = engine.program.inference.inputs[0], made.data.train
    rows = Feed(value, split.x.reshape(SAMPLES, -1)).batches(np.arange(16)[:, None])
    return lambda: engine.infer(rows) and len(rows)


def autograd(made: Setup, batch: int) -> tuple[Call, Call]:
    """A step, and a forward pass, of the usual loop of PyTorch."""
    module = to_module(made.net)
    optimizer, loss = torch.optim.SGD(module.parameters(), lr=LR), torch.nn.CrossEntropyLoss()
    x = torch.from_numpy(made.data.train.x[:batch].reshape(batch, *made.net.input_shape))
    y = torch.from_numpy(made.data.train.y[:batch].astype(np.int64))

    def learn() -> int:
        optimizer.zero_grad()
        loss(module(x), y).backward()
        optimizer.step()
        return batch

    def infer() -> int:
        with torch.no_grad():
            module(x)
        return batch

    return learn, infer


def race(contestants: dict[str, Call], turns: int) -> dict[str, float]:
    """Least CPU seconds per sample of each, taking turns; the first turn warms up."""
    best = dict.fromkeys(contestants, float("inf"))
    for turn in range(turns + 1):
        for name, call in contestants.items():
            samples, start = 0, time.process_time()
            while (spent := time.process_time() - start) < BUDGET:
                samples += call()
            if turn:
                best[name] = min(best[name], spent / samples)
    return best


def learned(network: str, turns: int) -> dict[str, Any]:
    """Milliseconds per sample of a network's rows, and their ratios."""
    setups = {rule: setup(network, rule) for rule in RULES}
    engines = {rule: Engine(executable(made, 1)) for rule, made in setups.items()}
    contestants = {rule: learning(engines[rule], setups[rule]) for rule in RULES}
    contestants["forward"] = inference(engines["bp"], setups["bp"])
    contestants["autograd-32"], contestants["torch-forward-32"] = autograd(setups["bp"], 32)
    contestants["autograd-1"], _ = autograd(setups["bp"], 1)
    found = race(contestants, turns)
    macs = sum(engines["bp"].program.inference.counts().macs.values())
    rows = []
    for rule in RULES:
        to_32, to_1 = found["autograd-32"] / found[rule], found["autograd-1"] / found[rule]
        reached = to_32 >= BAR_32 and to_1 >= BAR_1
        rows.append(
            {
                "rule": rule,
                "ms": found[rule] * 1e3,
                "to_batch_32": to_32,
                "to_batch_1": to_1,
                "reached": reached,
            }
        )
    return {
        "network": network,
        "ms": {name: value * 1e3 for name, value in found.items()},
        "forward_gmac_per_s": macs / found["forward"] / 1e9,
        "stash_to_bp": found["bp-stash"] / found["bp"],
        "rows": rows,
    }


# --- single convolutions -----------------------------------------------------------------------------------------


class Array(ctypes.Structure):
    """``insitu_array``."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_uint32),
        ("bits", ctypes.c_uint8),
        ("form", ctypes.c_uint8),
    )


class Read(ctypes.Structure):
    """``insitu_read``: zeros read weights as they are stored."""

    _fields_ = (
        ("channels", ctypes.c_void_p),
        ("per_unit", ctypes.c_float),
        ("low", ctypes.c_int32),
        ("high", ctypes.c_int32),
        ("how", ctypes.c_uint8 * 4),
    )


class Fit(ctypes.Structure):
    """``insitu_fit``."""

    _fields_ = (
        ("times", ctypes.c_int32),
        ("low", ctypes.c_int32),
        ("high", ctypes.c_int32),
        ("stream", ctypes.c_uint32),
        ("shift", ctypes.c_int8),
        ("rounding", ctypes.c_uint8),
        ("limited", ctypes.c_uint8),
        ("least", ctypes.c_int32),
        ("most", ctypes.c_int32),
    )


HALF_UP = 2

KERNELS: list[tuple[str, int, int, int, int, int]] = [
    ("3x3", 32, 32, 32, 3, 1),
    ("3x3", 64, 16, 16, 3, 1),
    ("3x3", 64, 8, 8, 3, 1),
    ("pointwise", 64, 25, 5, 1, 1),
    ("pointwise", 128, 16, 16, 1, 1),
    ("depthwise", 64, 25, 5, 3, 64),
    ("depthwise", 64, 16, 16, 3, 64),
]
"""Kind, channels in and out, plane, kernel, groups."""


def kernel_calls(
    library: ctypes.CDLL, channels: int, h: int, w: int, kernel: int, groups: int
) -> tuple[Call, Call]:
    """One convolution by the engine's kernel and by torch at batch 1."""
    rng, pad = np.random.default_rng(0), kernel // 2
    shape = (channels, channels // groups, kernel, kernel)
    x = rng.integers(0, 256, (1, channels, h, w), dtype=np.uint8)
    weights = rng.integers(-128, 128, shape, dtype=np.int8)
    z = np.zeros_like(x)
    arrays = [Array(a.ctypes.data, a.size, 8, int(a.dtype == np.int8)) for a in (x, weights, z)]
    sizes = (1, channels, h, w, channels, h, w, kernel, kernel, groups, 1, 1, pad, pad, 1, 1)
    geometry, read = (ctypes.c_uint32 * 16)(*sizes), Read()
    fit = Fit(1, 0, 255, 0, 12, HALF_UP, 0, 0, 0)
    x_array, w_array, z_array = (ctypes.byref(a) for a in arrays)
    rest = (geometry, ctypes.byref(read), ctypes.byref(read), ctypes.c_int8(0), ctypes.byref(fit), None, None)

    def ours() -> int:
        library.insitu_conv2d(x_array, w_array, None, z_array, *rest)
        return 1

    ours.keep = (x, weights, z, arrays)  # type: ignore[attr-defined]
    real, kernels = torch.from_numpy(x).float(), torch.from_numpy(weights).float()

    def theirs() -> int:
        with torch.no_grad():
            torch.nn.functional.conv2d(real, kernels, padding=pad, groups=groups)
        return 1

    return ours, theirs


def single(program: Program, turns: int) -> list[dict[str, Any]]:
    """The table of forward convolutions; the kernel is called in the library of a program that has one."""
    library, hz = ctypes.CDLL(str(host.library(program)[0])), tsc_hz()
    rows = []
    for kind, channels, h, w, kernel, groups in KERNELS:
        ours, theirs = kernel_calls(library, channels, h, w, kernel, groups)
        found = race({"c": ours, "torch": theirs}, turns)
        rate = channels * (channels // groups) * kernel * kernel * h * w / found["c"]
        share = rate / (peak() * hz) if hz else None
        ratio = found["torch"] / found["c"]
        bar = SHARE_BARS.get(kind)
        reached = ratio >= DEPTHWISE_BAR if bar is None else share is not None and share >= bar
        rows.append(
            {
                "kind": kind,
                "shape": [channels, h, w],
                "us": found["c"] * 1e6,
                "gmac_per_s": rate / 1e9,
                "share_of_peak": share,
                "to_torch": ratio,
                "reached": reached,
            }
        )
    return rows


# --- dense layers ------------------------------------------------------------------------------------------------

PATH_OF = "import conv_speed as s; print(s.host.library(s.executable(s.setup(s.DENSE, {rule!r}), 1))[0])"


def library_of(source: Path, rule: str) -> str:
    """The compiled program of another tree."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(source), str(Path(__file__).parent)))}
    command = [sys.executable, "-c", PATH_OF.format(rule=rule)]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.split()[-1]


def dense(rev: str, turns: int) -> list[dict[str, Any]]:
    """Learning without convolutions, before and now."""
    with tempfile.TemporaryDirectory() as place:
        source = unpacked(rev, Path(place))
        return [against(source, rule, turns) for rule in DENSE_RULES]


def against(source: Path, rule: str, turns: int) -> dict[str, Any]:
    """One rule: this engine, that of another tree, autograd at batch 1."""
    made = setup(DENSE, rule)
    program = executable(made, 1)
    now = Engine(program)
    with patch.object(host, "library", lambda *_: (library_of(source, rule), now.moves)):
        before = Engine(program)
    learn, _ = autograd(made, 1)
    found = race({"before": learning(before, made), "now": learning(now, made), "autograd": learn}, turns)
    return {
        "rule": rule,
        "ms": found["now"] * 1e3,
        "now_to_before": found["now"] / found["before"],
        "to_autograd": found["autograd"] / found["now"],
    }


def shown(row: dict[str, Any]) -> str:
    return "  ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--before")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    networks = []
    for network in options.networks:
        networks.append(learned(network, options.turns))
        print(network, shown({k: v for k, v in networks[-1].items() if isinstance(v, float)}), flush=True)
        for row in networks[-1]["rows"]:
            print("  ", shown(row), flush=True)
    singles = single(executable(setup("cnn-32-64-64", "bp"), 1), options.turns)
    before = dense(options.before, options.turns) if options.before else []
    for row in singles + before:
        print(shown(row), flush=True)
    result = {
        "precision": PRECISION,
        "flags": list(features()),
        "peak_mac_per_cycle": peak(),
        "tsc_hz": tsc_hz(),
        "load": os.getloadavg()[0],
        "bars": {
            "batch_32": BAR_32,
            "batch_1": BAR_1,
            "stash_to_bp": STASH_BAR,
            "share": SHARE_BARS,
            "depthwise": DEPTHWISE_BAR,
        },
        "networks": networks,
        "single": singles,
        "before": options.before,
        "dense": {"network": DENSE, "rows": before},
    }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
