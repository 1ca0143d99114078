"""The theorems of docs/theory.md beside runs of the integer reference.

    python benchmarks/theory.py [--out benchmarks/results/theory.json] [--figure docs/figures/theory.png]

``head``: etch on one dense layer, 8x8 digits (the first :data:`SAMPLES`), until no sample triggers, several seeds; with
the bound of theorem 1 for the best comparator that a projected margin perceptron in float64 finds. ``layers``: etch on
a hidden layer, triggers and changed words by epoch, stochastic words of 8 bits, and hidden low bits with rounding to
nearest. ``rounding``: bias and variance of the rounding of a step.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.experiment.config import RunConfig
from insitu.experiment.program import as_integers
from insitu.experiment.setup import Setup
from insitu.numbers.rounding import drop
from insitu.run.first import first_arrays
from insitu.run.integer import Clock, Ints, run
from insitu.step.ir import Step

Reals = npt.NDArray[np.float64]
SAMPLES = 300
SEEDS = (1, 2, 3)
WORDS = "edge-latent-free-8:error_exponent=static,headroom=5"


class Learner:
    """A training step in the integer reference, with its state."""

    def __init__(self, network: str, seed: int, precision: str, lr: float, samples: int) -> None:
        options = {"activation": "relu"} if network.count("-") > 2 else {}
        self.config = RunConfig(
            data="digits", network=network, rule="etch", precision=precision, batch=1, seed=seed,
            optimizer={"lr": lr}, network_options=options, limit_train=samples,
        )  # fmt: skip
        setup = Setup.of(self.config)
        step = setup.training_step(1)
        errors = tuple(op.outputs[0] for op in step.ops if op.kind == "violated")
        self.step: Step = replace(step, outputs=(*step.outputs, *errors))
        self.state = first_arrays(step, setup.net.params, seed)
        data = setup.data.train
        given = {v.name: v for v in step.inputs}
        shape = (len(data.x), 1, *setup.net.input_shape)
        self.x, self.y = as_integers(given["x"], data.x.reshape(shape)), data.y.astype(np.int64)
        self.unit = {v.name: float(v.unit) for v in (*step.residents, given["x"]) if v.unit is not None}
        self.formats = {v.name: v.format for v in step.residents}
        self.margin = [op.attrs["margin"] for op in step.ops if op.kind == "violated"]
        self.score_unit = [float(op.inputs[0].unit or 0) for op in step.ops if op.kind == "violated"]
        self.t = 0

    def learn(self, i: int) -> tuple[list[bool], dict[str, int]]:
        """One step on sample i: which blocks were triggered, and how many words of each resident changed."""
        before = {k: a.copy() for k, a in self.state.items()}
        clock = Clock(self.config.optimizer.lr, self.config.seed, self.t)
        errors = run(self.step, self.state, self.x[i], self.y[i : i + 1], clock)
        self.t += 1
        changed = {k: int((before[k] != a).sum()) for k, a in self.state.items()}
        return [bool((e != 0).any()) for e in errors], changed


def comparator(x: Reals, y: Ints, bound: Reals, margin: float, units: Reals, lr: float) -> dict[str, float]:
    """The bound of theorem 1 with the best of some comparators: projected margin perceptrons in float64.

    Args:
        x: [N, n] with a last column of ones for the bias; bound: [n] the largest weight; units: [n] the grid.
    """
    best = {"bound": float("inf")}
    squares, steps = (x**2).sum(1).max(), (x * units).sum(1).max()
    for times in (2.0, 4.0, 8.0, 16.0, 32.0):
        a = np.zeros((10, x.shape[1]))
        for epoch in range(300):
            wrong = 0
            for i in np.random.default_rng(epoch).permutation(len(x)):
                z = a @ x[i]
                z[y[i]] -= margin * times
                j = int(z.argmax())
                if j != y[i]:
                    wrong += 1
                    a[j] -= 0.02 * x[i]
                    a[y[i]] += 0.02 * x[i]
                    a = np.clip(a, -bound, bound)
            if not wrong:
                break
        z = x @ a.T
        right = z[np.arange(len(y)), y]
        z[np.arange(len(y)), y] = -np.inf
        gamma = float((right - z.max(1)).min()) - margin
        drift = 2 * gamma - lr * 2 * squares - 2 * steps
        if drift > 0:
            found = float((a**2).sum() / (lr * drift))
            if found < best["bound"]:
                best = {"bound": found, "gamma": gamma, "distance": float((a**2).sum()), "drift": drift}
    return best


def bound_of(one: Learner, lr: float) -> dict[str, float]:
    """The bound of theorem 1 on a layer's samples."""
    names = [next(k for k in one.state if k.endswith(end)) for end in ("weight", "bias")]
    x = one.x.reshape(len(one.x), -1) * one.unit["x"]
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    units = np.r_[np.full(64, one.unit[names[0]]), one.unit[names[1]]]
    least = [one.formats[k].greatest * one.unit[k] for k in names]
    box = np.r_[np.full(64, least[0]), least[1]]
    margin = (one.margin[0] + 1) * one.score_unit[0]  # scores are rounded: by less than a unit together
    return comparator(x, one.y, box, margin, units, lr)


def head() -> dict[str, Any]:
    """Triggers of a margin perceptron in integers until it is silent, and the bound."""
    runs, lr, found = [], 2.0**-6, {}
    for seed in SEEDS:
        one = Learner("mlp-64-10", seed, WORDS, lr, SAMPLES)
        for a in one.state.values():
            a[...] = 0
        order, total, curve = np.random.default_rng(seed), 0, []
        for _ in range(200):
            new = sum(one.learn(i)[0][0] for i in order.permutation(len(one.x)))
            total += new
            curve.append(total)
            if not new:
                break
        found = found or bound_of(one, lr)  # the samples and the grid are those of every seed
        runs.append({"seed": seed, "triggers": curve, "silent": not new, **found})
    return {"lr": lr, "samples": SAMPLES, "runs": runs}


def layers(epochs: int = 30) -> dict[str, Any]:
    """Triggers and changed words by epoch with a hidden layer: stochastic rounding, and rounding to nearest of words
    with hidden low bits."""
    found = {}
    for label, precision in (
        ("stochastic, 8 bits", "edge-latent-free-8:error_exponent=static,headroom=1"),
        (
            "nearest, 8 of 14 bits",
            "edge-latent-free-8:error_exponent=static,headroom=1,hidden=6,update=threshold",
        ),
    ):
        one = Learner("mlp-64-64-10", 1, precision, 2.0**-6, 1000)
        order, rows = np.random.default_rng(1), []
        hidden = next(k for k in one.state if k.endswith("weight"))
        for _ in range(epochs):
            triggers, writes, seen = np.zeros(2), 0, one.state[hidden].copy()
            for i in order.permutation(len(one.x)):
                which, changed = one.learn(i)
                triggers += which
                writes += changed[hidden]
            shift = 6 if "nearest" in label else 0
            flips = int(
                (
                    (seen + (1 << shift >> 1) >> shift) != (one.state[hidden] + (1 << shift >> 1) >> shift)
                ).sum()
            )
            rows.append({"triggers": (triggers / len(one.x)).tolist(), "writes": writes, "moved": flips})
        found[label] = rows
    return found


def rounding(draws: int = 200_000) -> list[dict[str, float]]:
    """Bias and variance of a stochastically rounded step of x grid units, and the bounds that the theorems use."""
    words = np.random.default_rng(1).integers(0, 1 << 32, draws)
    rows = []
    for x in (1, 37, 100, 128, 255, 300):
        moved = drop(np.full(draws, x), 8, "stochastic", words)
        rows.append(
            {
                "step": x / 256,
                "bias": float(moved.mean() - x / 256),
                "variance": float(moved.var()),
                "bound": x / 256,
            }
        )
    return rows


def figure(record: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for r in record["head"]["runs"]:
        (line,) = left.plot(range(1, len(r["triggers"]) + 1), r["triggers"], label=f"seed {r['seed']}")
        left.axhline(r["bound"], color=line.get_color(), ls=":")
    left.set(
        xlabel="epoch",
        ylabel="samples that triggered, in all",
        yscale="log",
        title="one layer; dotted: theorem 1",
    )
    left.legend()
    for label, rows in record["layers"].items():
        right.plot([max(r["moved"], 0.5) for r in rows], label=f"words moved: {label}")
        right.plot([1000 * r["triggers"][0] for r in rows], "--", label=f"triggers: {label}")
    right.set(xlabel="epoch", yscale="log", title="hidden layer, per 1,000 samples")
    right.legend(fontsize=7)
    fig.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--out", type=Path, default=root / "benchmarks" / "results" / "theory.json")
    parser.add_argument("--figure", type=Path, default=root / "docs" / "figures" / "theory.png")
    args = parser.parse_args()
    record = {"head": head(), "layers": layers(), "rounding": rounding()}
    for r in record["head"]["runs"]:
        print({k: v if k != "triggers" else v[-1] for k, v in r.items()}, "epochs", len(r["triggers"]))
    for label, rows in record["layers"].items():
        print(label, rows[0], rows[-1])
    print(record["rounding"])
    args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    figure(record, args.figure)


if __name__ == "__main__":
    main()
