"""Gates that are fixed: a network whose learning provably ends (docs/theory.md, theorem 7), and what that costs.

    python benchmarks/gates.py [--out benchmarks/results/gates.json]

Two hidden layers of 128 on the embedded digits, one sample at a time, words of 8 bits that move by stochastic rounding.
Gates are those of the ReLU, 1[W h > 0], or fixed, 1[V x > 0] with random V. Heads are trained, or fixed random signs.
The rate is chosen on a fifth of the training samples at the first seed. Test accuracy after 10 epochs; and, of 300
samples at that rate, the epochs until a whole one triggers nothing anywhere. NumPy; errors are not rounded.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from insitu.data import load

HIDDEN, CLASSES, THETA, GRID, EPOCHS, SEEDS = 128, 10, 1.0, 2.0**-8, 10, range(1, 6)
RATES = (2.0**-8, 2.0**-7, 2.0**-6)
ROWS = {
    "ReLU, trained heads": (False, False),
    "ReLU, fixed heads": (False, True),
    "fixed gates, trained heads": (True, False),
    "fixed gates, fixed heads": (True, True),
}
"""Are gates fixed, are heads fixed?"""


@dataclass
class Net:
    """Hidden layers with a head each; the last head is the network's output."""

    gates: bool
    heads: bool
    rate: float
    rng: np.random.Generator
    inputs: int

    def __post_init__(self) -> None:
        sizes = (self.inputs, HIDDEN, HIDDEN)
        self.w = [self.drop(self.rng.normal(0, n**-0.5, (HIDDEN, n))) for n in sizes[:2]]
        self.v = [self.rng.normal(0, 1, (HIDDEN, self.inputs)) for _ in self.w]
        signs = [self.rng.choice((-1.0, 1.0), (CLASSES, HIDDEN)) / 8 for _ in self.w]
        self.a = signs if self.heads else [np.zeros((CLASSES, HIDDEN)) for _ in self.w]

    def drop(self, x: np.ndarray) -> np.ndarray:
        """Rounded stochastically to the grid of the words."""
        return GRID * np.floor(x / GRID + self.rng.random(x.shape))

    def moved(self, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        return np.clip(w - self.drop(self.rate * g), -0.5, 0.5 - GRID)

    def layer(self, i: int, h: np.ndarray, x: np.ndarray) -> np.ndarray:
        z = self.w[i] @ h
        return np.where(self.v[i] @ x > 0, z, 0.0) if self.gates else np.maximum(z, 0.0)

    def learn(self, x: np.ndarray, y: int) -> int:
        """One sample; how many blocks it triggers."""
        h, fired = x, 0
        for i in range(len(self.w)):
            out = self.layer(i, h, x)
            s = self.a[i] @ out
            worse = s - s[y] + THETA > 0
            worse[y] = False
            if worse.any():
                fired += 1
                e = worse / worse.sum()
                e[y] = -1.0
                gate = self.v[i] @ x > 0 if self.gates else out > 0
                d = np.where(gate, self.a[i].T @ e, 0.0)
                self.w[i] = self.moved(self.w[i], np.outer(d, h))
                if not self.heads:
                    self.a[i] = self.moved(self.a[i], np.outer(e, out))
            h = out
        return fired

    def accuracy(self, x: np.ndarray, y: np.ndarray) -> float:
        right = 0
        for sample, label in zip(x, y):
            h = sample
            for i in range(len(self.w)):
                h = self.layer(i, h, sample)
            right += int((self.a[-1] @ h).argmax() == label)
        return right / len(y)


Samples = tuple[np.ndarray, np.ndarray]


def trained(row: str, rate: float, seed: int, data: Samples, epochs: int) -> tuple[Net, int | None]:
    """A network after some epochs, or after the first silent one, whose number is the second result."""
    rng = np.random.default_rng(seed)
    net = Net(*ROWS[row], rate, rng, data[0].shape[1])
    for epoch in range(1, epochs + 1):
        if not sum(net.learn(data[0][i], int(data[1][i])) for i in rng.permutation(len(data[1]))):
            return net, epoch
    return net, None


def scores(row: str, train: Samples, test: Samples) -> dict[str, object]:
    cut = len(train[1]) * 4 // 5
    first, held = ((part[:cut] for part in train), (part[cut:] for part in train))
    data, (xv, yv) = (next(first), next(first)), (next(held), next(held))
    found = {rate: trained(row, rate, 1, data, EPOCHS)[0].accuracy(xv, yv) for rate in RATES}
    rate = max(found, key=lambda r: found[r])
    tests = [100 * trained(row, rate, seed, data, EPOCHS)[0].accuracy(*test) for seed in SEEDS]
    few = (train[0][:300], train[1][:300])
    silent = [trained(row, rate, seed, few, 150)[1] for seed in SEEDS]
    validation = {f"{r:g}": 100 * v for r, v in found.items()}
    return {
        "rate": rate,
        "validation": validation,
        "test": fmean(tests),
        "sd": stdev(tests),
        "silent": silent,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gates.json")
    args = parser.parse_args()
    data = load("digits")
    train, test = ((np.asarray(p.x).reshape(len(p.y), -1), np.asarray(p.y)) for p in (data.train, data.test))
    rows = {}
    for row in ROWS:
        rows[row] = scores(row, train, test)
        print(row, rows[row], flush=True)
    args.out.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
