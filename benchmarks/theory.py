"""The theorems of docs/theory.md beside runs of the integer reference.

    python benchmarks/theory.py [--out benchmarks/results/theory.json] [--figure docs/figures/theory.png]

``head``, ``nearest``: etch on one dense layer, 8x8 digits (the first :data:`SAMPLES`), until none triggers; several
seeds; bounds of theorems 1 and 5 for the best comparator that a projected margin perceptron in float64 finds.
``layers``: etch on a hidden layer, triggers, margins and changed words by epoch, three updates, two schedules.
``rounding``: bias and variance of the rounding of a step. ``rotating``: theorem 4. ``moments``: signal to noise and
kurtosis of updates on MNIST. ``--part NAME`` renews one of them in the stored record.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.experiment.config import RunConfig, ScheduleConfig
from insitu.experiment.resolve import Setup
from insitu.numbers.rounding import drop
from insitu.run.initial import initial_state
from insitu.run.integer import Ints, run
from insitu.run.samples import as_integers
from insitu.step.context import StepContext
from insitu.step.ir import Step
from theory_windows import Moments, bound, curvature, exact, margins, windows

Reals = npt.NDArray[np.float64]
Drift = Callable[[float, float], float]
SAMPLES = 300
SEEDS = (1, 2, 3)
WORDS = "edge-latent-free-8:error_exponent=static,headroom=5,activation_headroom=4"
NARROW = "edge-latent-free-8:error_exponent=static,headroom=1,activation_headroom=1"
"""The box of the recipes."""


class Learner:
    """A training step in the integer reference, with its state."""

    def __init__(
        self,
        network: str,
        seed: int,
        precision: str,
        lr: float,
        samples: int,
        *,
        data: str = "digits",
        biases: bool = True,
        rule: dict[str, Any] | None = None,
    ) -> None:
        options = {"activation": "relu"} if network.count("-") > 2 else {}
        self.config = RunConfig(
            data=data, network=network, rule="etch", precision=precision, batch=1, seed=seed,
            optimizer={"lr": lr}, network_options=options, limit_train=samples,
            rule_options=rule or {},
        )  # fmt: skip
        setup = Setup.of(self.config)
        step = setup.training_step(1)
        errors = tuple(op.outputs[0] for op in step.ops if op.kind == "violated")
        ops = tuple(op for op in step.ops if biases or op.kind != "sum_to_channels_update")
        self.step: Step = replace(step, ops=ops, outputs=(*step.outputs, *errors))
        self.state = initial_state(step, setup.net.params, seed)
        train = setup.data.train
        given = {v.name: v for v in step.inputs}
        shape = (len(train.x), 1, *setup.net.input_shape)
        self.x, self.y = as_integers(given["x"], train.x.reshape(shape)), train.y.astype(np.int64)
        self.unit = {v.name: float(v.unit) for v in (*step.residents, given["x"]) if v.unit is not None}
        self.formats = {v.name: v.format for v in step.residents}
        self.margin = [op.attrs.margin for op in step.ops if op.kind == "violated"]
        self.score_unit = [float(op.inputs[0].unit or 0) for op in step.ops if op.kind == "violated"]
        self.every = any(op.kind == "violated" and op.attrs.every for op in step.ops)
        self.t = 0

    def learn(self, i: int, lr: float | None = None) -> tuple[list[bool], dict[str, int]]:
        """One step on sample i: which blocks were triggered, and how many words of each resident changed."""
        before = {k: a.copy() for k, a in self.state.items()}
        context = StepContext(self.config.optimizer.lr if lr is None else lr, self.config.seed, self.t)
        errors = run(self.step, self.state, self.x[i], self.y[i : i + 1], context)
        self.t += 1
        changed = {k: int((before[k] != a).sum()) for k, a in self.state.items()}
        return [bool((e != 0).any()) for e in errors], changed


def comparator(
    x: Reals, y: Ints, bound: Reals, margin: float, drift_of: Drift, lr: float
) -> dict[str, float]:
    """The bound of theorem 1 or 5 with the best of some comparators: projected margin perceptrons in float64.

    Args:
        x: [N, n] with a last column of ones for the bias; bound: [n] the largest weight; drift_of: what the potential
            falls by at a trigger, over η, from γ and the distance.
    """
    best = {"bound": float("inf")}
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
        drift = drift_of(gamma, float((a**2).sum()) ** 0.5)
        if drift > 0:
            found = float((a**2).sum() / (lr * drift))
            if found < best["bound"]:
                best = {"bound": found, "gamma": gamma, "distance": float((a**2).sum()), "drift": drift}
    return best


def bound_of(one: Learner, lr: float, hidden: int = 0) -> dict[str, float]:
    """The bound of theorem 1 on a layer's samples; of theorem 5 for words with hidden bits."""
    names = [next(k for k in one.state if k.endswith(end)) for end in ("weight", "bias")]
    x = one.x.reshape(len(one.x), -1) * one.unit["x"]
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    units = np.r_[np.full(64, one.unit[names[0]]), one.unit[names[1]]]
    least = [one.formats[k].greatest * one.unit[k] for k in names]
    box = np.r_[np.full(64, least[0]), least[1]]
    margin = (one.margin[0] + 1) * one.score_unit[0]  # scores are rounded: by less than a unit together
    squares, part = (x**2).sum(1), lr * x / units % 1
    kappa = (2 * lr * squares + 2 / lr * (units**2 * part * (1 - part)).sum(1)).max()
    lost = np.sqrt(((x > 0) * units**2 / 2).sum(1).max())  # P: what rounding to nearest takes from both rows
    read_off = (
        x[:, :-1].sum(1) * units[0] * 2**hidden
    ).max()  # the visible word is half a step away, in both rows

    def stochastic(gamma: float, _distance: float) -> float:
        return float(2 * gamma - kappa)

    def nearest(gamma: float, distance: float) -> float:
        size = lr * np.sqrt(2 * squares.max()) + lost
        return float(2 * (gamma - read_off) - 2 * lost * distance / lr - size**2 / lr)

    return comparator(x, one.y, box, margin, nearest if hidden else stochastic, lr)


def narrow() -> dict[str, float | None]:
    """The bound of theorem 1 in the box of the recipes; ``None``: no comparator has a positive drift."""
    found = bound_of(Learner("mlp-64-10", SEEDS[0], NARROW, 2.0**-6, SAMPLES), 2.0**-6)["bound"]
    return {"bound": found if np.isfinite(found) else None}


def head(hidden: int = 0) -> dict[str, Any]:
    """Triggers of a margin perceptron in integers until it is silent, and the bound."""
    runs, lr, found = [], 2.0**-6, {}
    words = WORDS + (f",hidden={hidden},update=threshold" if hidden else "")
    for seed in SEEDS:
        one = Learner("mlp-64-10", seed, words, lr, SAMPLES)
        for a in one.state.values():
            a[...] = 0
        flips = Flips(one.state["fc1.weight"], hidden)
        order, total, curve = np.random.default_rng(seed), 0, []
        for _ in range(200):
            new = 0
            for i in order.permutation(len(one.x)):
                new += one.learn(i)[0][0]
                flips.see(one.state["fc1.weight"])
            total += new
            curve.append(total)
            if not new:
                break
        found = found or bound_of(one, lr, hidden)  # the samples and the grid are those of every seed
        record = flips.record() | {"greatest": one.formats["fc1.weight"].greatest}
        runs.append({"seed": seed, "triggers": curve, "silent": not new, **found, **record})
    return {"lr": lr, "samples": SAMPLES, "hidden": hidden, "runs": runs}


class Flips:
    """Of a stored matrix: how far its words move, how often they turn, how often the bits that are read change."""

    def __init__(self, words: Ints, hidden: int) -> None:
        self.hidden, self.last, self.way = hidden, words.copy(), np.zeros(words.shape, np.int64)
        self.top = int(words.max())
        self.moved = np.zeros(words.shape, np.int64)
        self.writes, self.turns, self.flips = (np.zeros(words.shape, np.int64) for _ in range(3))

    def read(self, words: Ints) -> Ints:
        return words + (1 << self.hidden >> 1) >> self.hidden

    def see(self, words: Ints) -> None:
        rows = (words != self.last).any(1)
        if not rows.any():
            return
        old, new = self.last[rows], words[rows]
        self.top = max(self.top, int(new.max()))
        way = np.sign(new - old)
        self.moved[rows] += np.abs(new - old)
        self.writes[rows] += way != 0
        self.turns[rows] += way * self.way[rows] < 0
        self.flips[rows] += self.read(new) != self.read(old)
        self.way[rows] = np.where(way != 0, way, self.way[rows])
        self.last[rows] = new

    def record(self) -> dict[str, Any]:
        """``allowed``: what theorem 5 allows, word by word; ``holds``: no word exceeds it."""
        allowed = np.minimum(self.writes, (self.moved >> self.hidden) + self.turns + 1)
        found = {k: int(getattr(self, k).sum()) for k in ("writes", "turns", "flips")}
        moved = float(self.moved.sum() / 2**self.hidden)
        holds = bool((self.flips <= allowed).all())
        return found | {"moved_words": moved, "allowed": int(allowed.sum()), "holds": holds, "top": self.top}


UPDATES = {
    "stochastic, 8 bits": "",
    "nearest, 8 of 14 bits": ",hidden=6,update=threshold",
    "rotating, 8 bits": ",update=round-robin,slices=2,window=16,evidence=6",
}
RATES = {"constant": ScheduleConfig(), "cosine to 5 %": ScheduleConfig(kind="cosine", final=0.05)}


def layers(epochs: int = 30) -> dict[str, Any]:
    """Triggers, margins and changed words by epoch with a hidden layer: three updates, two schedules."""
    found: dict[str, Any] = {}
    for label, extra in UPDATES.items():
        for rate, schedule in RATES.items():
            precision = f"edge-latent-free-8:error_exponent=static,headroom=1,activation_headroom=1{extra}"
            one = Learner("mlp-64-64-10", 1, precision, 2.0**-6, 1000)
            order, rows = np.random.default_rng(1), []
            name, shift = "fc1.weight", 6 if "nearest" in label else 0
            flips = Flips(one.state[name], shift)
            for _ in range(epochs):
                triggers, seen, before = np.zeros(2), one.state[name].copy(), flips.record()
                for i in order.permutation(len(one.x)):
                    lr = 2.0**-6 * schedule.factor(one.t / (epochs * len(one.x)))
                    triggers += one.learn(i, lr)[0]
                    flips.see(one.state[name])
                now = flips.record()
                rows.append(
                    {
                        "triggers": (triggers / len(one.x)).tolist(),
                        "writes": now["writes"] - before["writes"],
                        "flips": now["flips"] - before["flips"],
                        "moved": int((flips.read(seen) != flips.read(one.state[name])).sum()),
                        "margins": {k: quantiles(v) for k, v in margins(one).items()},
                    }
                )
            found[f"{label}, {rate}"] = {"epochs": rows, **flips.record()}
            print(label, rate, rows[-1], flips.record(), flush=True)
    return found


def quantiles(values: Reals) -> list[float]:
    """At 5, 25, 50, 75 and 95 %."""
    return [round(float(q), 4) for q in np.percentile(values, [5, 25, 50, 75, 95])]


ROTATING = (
    ("one violator, after 4 epochs, constant rate", "one", 4, (256, 32), ScheduleConfig(), SEEDS),
    ("one violator, after 4 epochs, cosine to 5 %", "one", 4, (256, 32), RATES["cosine to 5 %"], SEEDS),
    ("one violator, after 4 epochs, constant rate, T = 64, E = 2", "one", 4, (64, 2), ScheduleConfig(), (1,)),
    ("one violator, from the start, constant rate", "one", 0, (256, 32), ScheduleConfig(), (1,)),
    ("all violators, from the start, constant rate", "all", 0, (256, 32), ScheduleConfig(), (1,)),
)
"""Label, violators, epochs of the stochastic update before, window and evidence (64, 2: the policy's), rate, seeds."""
WINDOWS = 240


def rate_of(schedule: ScheduleConfig) -> Callable[[float], float]:
    return lambda progress: 2.0**-7 * schedule.factor(progress)


def rotating() -> list[dict[str, Any]]:
    """Theorem 4 on the first block of a network, its biases held."""
    found = []
    for label, violators, epochs, (window, evidence), schedule, seeds in ROTATING:
        for seed in seeds:
            words = "edge-latent-free-8:error_exponent=static,headroom=1,activation_headroom=1"
            rule = {"violators": violators}
            first = Learner("mlp-64-64-10", seed, words, 2.0**-6, 1000, biases=False, rule=rule)
            order = np.random.default_rng(seed)
            for _ in range(epochs):
                for i in order.permutation(len(first.x)):
                    first.learn(i)
            words += f",update=round-robin,slices=8,window={window},evidence={evidence}"
            one = Learner("mlp-64-64-10", seed, words, 2.0**-6, 1000, biases=False, rule=rule)
            for k, a in first.state.items():
                one.state[k][...] = a
            grid = one.unit["fc1.weight"]
            least = grid / 2.0**-7 * evidence / window / 2  # λ: half of what E stands for, at the first rate
            rows = windows(one, WINDOWS, rate_of(schedule), least)
            curve, each = curvature(rows)
            limits = bound(rows, grid, least, curve)
            found.append(
                {
                    "label": label,
                    "seed": seed,
                    "least": least,
                    "grid": grid,
                    "curvature": curve,
                    "curvatures": each,
                    "bound": [round(b, 1) for b in limits] if np.isfinite(limits).all() else None,
                    "fell": sum(r["fall"] > 0 for r in rows if r["grid"]) / sum(r["grid"] > 0 for r in rows),
                    **{k: [r[k] for r in rows] for k in ("steps", "wrong", "bad", "triggers", "left")},
                    **{k: [round(r[k], 5) for r in rows] for k in ("loss", "chance", "cost")},
                }
            )
            r = found[-1]
            print(
                label,
                seed,
                {k: sum(r[k]) for k in ("steps", "bad", "chance")},
                limits[-1],
                curve,
                each,
                flush=True,
            )
    return found


def moments(samples: int = 4000, epochs: int = 3) -> list[dict[str, Any]]:
    """Signal to noise of every word's update, its kurtosis, and margins: MNIST, early and late."""
    words, lr = "edge-latent-free-8:error_exponent=static,headroom=1,activation_headroom=1", 2.0**-7
    one = Learner("mlp-784-100-10", 1, words, lr, samples, data="mnist")
    order, found = np.random.default_rng(1), []
    for epoch in range(epochs):
        for n, i in enumerate(order.permutation(samples)):
            one.learn(i, lr)
            last = n + 1 == samples
            if last or (epoch == 0 and n + 1 == samples // 8):
                space = margins(one)
                row: dict[str, Any] = {
                    "samples": one.t,
                    "margins": {k: quantiles(v) for k, v in space.items()},
                }
                row["triggers"] = {k: float((v < 1).mean()) for k, v in space.items()}
                if epoch in (0, epochs - 1):
                    row["words"] = {k: _spread(m) for k, m in exact(one, lr, fine=True).items()}
                found.append(row)
                print(row, flush=True)
    return found


def _spread(m: Moments) -> dict[str, Any]:
    on = m.second > 0
    return {
        "alive": float(on.mean()),
        "snr": quantiles(m.snr()[on]),
        "snr_rounded": quantiles(m.snr(rounded=True)[on]),
        "kurtosis": quantiles(m.kurtosis[on]),
    }


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

    fig, axes = plt.subplots(2, 2, figsize=(9.5, 6.8), layout="constrained")
    (silent, moved), (steps, spaces) = axes
    for part, color, label in (("head", "C0", "stochastic"), ("nearest", "C1", "nearest, 10 hidden bits")):
        for n, r in enumerate(record[part]["runs"]):
            named = {} if n else {"label": label}
            silent.plot(range(1, len(r["triggers"]) + 1), r["triggers"], color=color, **named)
            silent.axhline(r["bound"], color=color, ls=":")
    silent.set(xlabel="epoch", ylabel="samples that triggered, in all", yscale="log")
    silent.set_title("one layer; dotted: bounds of theorems 1 and 5")
    silent.legend(fontsize=7)
    for n, (label, found) in enumerate(record["layers"].items()):
        rows = found["epochs"]
        style = {"color": f"C{n // 2}", "ls": "--" if n % 2 else "-", "label": label}
        moved.plot(range(1, len(rows) + 1), [max(r["moved"], 0.5) for r in rows], **style)
        if n < 2:
            for q, width in ((0, 0.8), (1, 1.2), (2, 2.0)):
                space = [r["margins"]["fc1.head"][q] for r in rows]
                style = {"color": "C0", "ls": "--" if n % 2 else "-", "lw": width}
                name = f"{(5, 25, 50)[q]} % of samples, {label.split(', ')[-1]}"
                spaces.plot(range(1, len(rows) + 1), space, label=name, **style)
    moved.set(xlabel="epoch", yscale="log", title="hidden layer: words (of 4,096) an epoch changes")
    moved.legend(fontsize=7)
    spaces.axhline(1, color="gray", lw=0.8)
    spaces.set(
        xlabel="epoch", ylabel="(s_y - s_j*) / θ", title="hidden layer, stochastic: quantiles of margins"
    )
    spaces.legend(fontsize=7)
    for n, label in enumerate(dict.fromkeys(r["label"] for r in record["rotating"] if r["seed"] == 2)):
        for r in (r for r in record["rotating"] if r["label"] == label):
            at = range(1, len(r["steps"]) + 1)
            named = {"label": label.split(", ")[-1]} if r["seed"] == 1 else {}
            steps.plot(at, np.cumsum(r["steps"]), color=f"C{n}", **named)
            steps.plot(at, r["bound"], color=f"C{n}", ls=":")
    steps.set(xlabel="window of 256 samples", ylabel="steps of words, in all", yscale="log")
    steps.set_title("rotating accumulators; dotted: theorem 4")
    steps.legend(fontsize=7)
    fig.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    root = Path(__file__).resolve().parents[1]
    made: dict[str, Callable[[], Any]] = {
        "head": head,
        "nearest": lambda: head(hidden=10),
        "narrow": narrow,
        "layers": layers,
        "rounding": rounding,
        "round-robin": rotating,
        "moments": moments,
    }
    parser.add_argument("--part", choices=[*made, "none"], help="renew only this part; none: draw only")
    parser.add_argument("--out", type=Path, default=root / "benchmarks" / "results" / "theory.json")
    parser.add_argument("--figure", type=Path, default=root / "docs" / "figures" / "theory.png")
    args = parser.parse_args()
    record = json.loads(args.out.read_text(encoding="utf-8")) if args.part else {}
    for name, make in made.items():
        if args.part in (None, name):
            record[name] = make()
    lines = (f"{json.dumps(name)}: {json.dumps(part)}" for name, part in record.items())
    args.out.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    if args.part in (None, "none"):
        figure(record, args.figure)


if __name__ == "__main__":
    main()
