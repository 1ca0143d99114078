"""How many residual bits a word needs: one layer of 4-bit words on planted data, against theorem 6 of docs/theory.md.

    python benchmarks/residuals.py [--out benchmarks/results/residuals.json]

A word of 4 bits (grid 1/8) has r more bits that move with it; the forward pass reads the 4 bits, rounded to nearest or
with a uniform dither. Features are uniform on [0, 1), labels those of a planted matrix of the box with a margin of θ or
more. The figure is the mean hinge of the last quarter of 10,000 samples over θ. NumPy; scores are real.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from math import log, sqrt
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

WIDTHS, BITS, SEEDS, CLASSES = (16, 64, 256), range(7), range(1, 4), 10
GRID, BOX, RATE, STEPS = 0.125, (-1.0, 0.875), 2.0**-7, 10_000
READS = ("nearest", "dither")


def theta(width: int) -> float:
    """The margin: what a planted matrix gives to about half of the samples."""
    return 0.15 * sqrt(width)


def samples(rng: np.random.Generator, planted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features, and the labels that the planted matrix gives with a margin."""
    kept: list[np.ndarray] = []
    while sum(map(len, kept)) < STEPS:
        h = rng.random((STEPS, planted.shape[1]))
        top = np.partition(h @ planted.T, -2)[:, -2:]
        kept.append(h[top[:, 1] - top[:, 0] >= theta(planted.shape[1])])
    found = np.concatenate(kept)[:STEPS]
    return found, (found @ planted.T).argmax(1)


def dropped(x: np.ndarray, grid: np.ndarray | float, rng: np.random.Generator) -> np.ndarray:
    """Rounded stochastically to a grid."""
    return grid * np.floor(x / grid + rng.random(x.shape))


def hinges(width: int, read: str) -> np.ndarray:
    """The mean hinge of the last quarter over θ: [bits, seeds], all layers side by side."""
    rng = np.random.default_rng(width)
    streams = []
    for seed in SEEDS:
        own = np.random.default_rng(seed)
        streams.append(samples(own, GRID * np.round(own.uniform(*BOX, (CLASSES, width)) / GRID)))
    h = np.tile(np.stack([x for x, _ in streams], 1), (1, len(BITS), 1))  # [steps, layers, width]
    y = np.tile(np.stack([label for _, label in streams], 1), (1, len(BITS)))
    fine = np.repeat(GRID / 2.0 ** np.array(BITS), len(SEEDS))[:, None, None]
    every = np.arange(len(fine))
    z, total = np.zeros((len(fine), CLASSES, width)), np.zeros(len(fine))
    for t in range(STEPS):
        a = dropped(z, GRID, rng) if read == "dither" else GRID * np.floor(z / GRID + 0.5)
        s = np.einsum("lcw,lw->lc", np.clip(a, *BOX), h[t])
        gaps = s - s[every, y[t], None] + theta(width)
        gaps[every, y[t]] = 0.0
        j = gaps.argmax(1)
        most = np.maximum(gaps[every, j], 0.0)
        total += most / theta(width) if t >= STEPS * 3 // 4 else 0.0
        e = np.zeros((len(fine), CLASSES))
        e[every, j], e[every, y[t]] = most > 0, -1.0 * (most > 0)
        z = np.clip(z - dropped(RATE * e[:, :, None] * h[t][:, None, :], fine, rng), *BOX)
    return (total / (STEPS // 4)).reshape(len(BITS), len(SEEDS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "residuals.json")
    args = parser.parse_args()
    rows = []
    for read, width in product(READS, WIDTHS):
        found = hinges(width, read)
        for bits, mine in zip(BITS, found):
            floor = GRID * (2.0**-bits * width / 2 + sqrt(log(CLASSES) * width / 3)) / theta(width)
            row = {
                "read": read,
                "width": width,
                "bits": bits,
                "hinge": fmean(mine),
                "sd": stdev(mine),
                "floor": floor,
            }
            rows.append(row)
            print(row, flush=True)
    args.out.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
