"""Theorem 4 of docs/theory.md beside runs of the integer reference, and the moments of the updates it needs.

Imported by benchmarks/theory.py. ``exact``: mean, second moment, kurtosis of every word's update over all training
samples, from the integer forward pass of all of them at once. ``windows``: etch with rotating accumulators on a hidden
block whose input is fixed, a row per window: steps, the loss, what theorem 4 promises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from insitu.ops.updates import BoundUpdate
from insitu.ops.updates.round_robin import SUM
from insitu.run.integer import FUNCTIONS, Ints, shift_right
from insitu.step.context import StepContext
from insitu.step.ir import Op

if TYPE_CHECKING:
    from theory import Learner

Reals = npt.NDArray[np.float64]


@dataclass
class Moments:
    """Of the update of a weight matrix, over all samples, in units of its grid: q = η g / Δ, v = SR(q)."""

    mean: Reals
    second: Reals
    size: Reals
    kurtosis: Reals
    most: Reals
    mean_v2: Reals

    def snr(self, rounded: bool = False) -> Reals:
        """|E q| over the standard deviation, of q or of its rounding."""
        spread = (self.mean_v2 if rounded else self.second) - self.mean**2
        return np.asarray(np.abs(self.mean) / np.sqrt(np.maximum(spread, 1e-300)))


def forward(one: Learner, x: Ints, y: Ints) -> dict[Any, Any]:
    """Every value of a step on all samples at once, nothing learned."""
    step = one.step
    env: dict[Any, Any] = {v: {"x": x, "label": y}[v.name] for v in step.inputs}
    env |= {v: one.state[v.name] for v in step.residents}
    for op in step.ops:
        if not op.outputs:
            continue
        made = FUNCTIONS[op.kind](op, StepContext(), *(env[v] for v in op.inputs))
        env |= dict(zip(op.outputs, made if isinstance(made, tuple) else (made,)))
    return env


def batch(one: Learner) -> tuple[Ints, Ints]:
    return one.x.reshape(-1, *one.x.shape[2:]), one.y


def exact(one: Learner, lr: float, names: Sequence[str] = (), fine: bool = False) -> dict[str, Moments]:
    """Moments of every weight matrix's update at the words of now; ``fine``: with kurtosis and the rounding's noise."""
    x, y = batch(one)
    env, found = forward(one, x, y), {}
    for op in one.step.ops:
        if op.kind != "matmul_dw_update" or (names and op.inputs[2].name not in names):
            continue
        d, a = (env[v].reshape(len(x), -1).astype(np.float64) for v in op.inputs[:2])
        move: BoundUpdate = op.attrs.optimizer
        d *= 2.0 ** -move.shift(lr, 0)
        n = len(x)
        mean, second, size = d.T @ a / n, (d**2).T @ a**2 / n, np.abs(d).T @ np.abs(a) / n
        kurtosis = np.zeros(0)
        v2 = second + np.minimum(size, 0.25)
        if fine:
            third, fourth = (d**3).T @ a**3 / n, (d**4).T @ a**4 / n
            spread = np.maximum(second - mean**2, 1e-150)
            kurtosis = (fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4) / spread**2
            v2 = second + _noise(d, a)
        most = np.maximum(np.ceil(np.abs(d).max(0)[:, None] * np.abs(a).max(0)), 1.0)
        found[op.inputs[2].name] = Moments(mean, second, size, kurtosis, most, v2)
    return found


def _noise(d: Reals, a: Reals) -> Reals:
    """E of the variance p (1 - p) of stochastic rounding, p the fraction of d a."""
    total = np.zeros((d.shape[1], a.shape[1]))
    for row, column in zip(d, a):
        on = row.nonzero()[0]
        q = row[on, None] * column
        part = q - np.floor(q)
        total[on] += part * (1 - part)
    return total / len(d)


def margins(one: Learner) -> dict[str, Reals]:
    """s_y - s_j* of every sample at every head, in units of θ."""
    x, y = batch(one)
    env, found = forward(one, x, y), {}
    rows = np.arange(len(y))
    for op in one.step.ops:
        if op.kind == "violated":
            z = env[op.inputs[0]].astype(np.float64)
            right = z[rows, y]
            z[rows, y] = -np.inf
            found[op.inputs[0].name] = (right - z.max(1)) / op.attrs.margin
    return found


def tail(evidence: Reals | float, total: Reals, most: Reals) -> Reals:
    """Bennett: the chance that a sum of independent terms, of the second moments ``total`` in all, of |term| <= most,
    ever exceeds its mean by ``evidence``."""
    a, t = np.maximum(evidence, 0.0), np.maximum(total, 1e-300)
    u = a * most / t
    phi = (1 + u) * np.log1p(u) - u
    return np.asarray(np.exp(-t / most**2 * phi))


def bad_steps(
    mean: Reals, v2: Reals, most: Reals, window: int, evidence: int, least: float
) -> tuple[Reals, Reals]:
    """Of lemma 1 and theorem 4, per word: the chance of a bad step in a window, and E of its λ - s m, at most.

    Args:
        mean, v2: first and second moment of v; least: λ, in units of the mean.
    """
    size, total = np.abs(mean), window * v2
    right = np.where(size < least, tail(evidence - window * size, total, most), 0.0)
    wrong = tail(float(evidence), total, most)
    return right + wrong, (least - size) * right + (least + size) * wrong


def bound(rows: Sequence[dict[str, Any]], grid: float, least: float, curvature: float) -> list[float]:
    """Theorem 4 after each window, with L* = 0; infinite where λ does not exceed the curvature's term."""
    slack = least - curvature * grid / 2
    costs = np.cumsum([r["cost"] for r in rows])
    return [float((rows[0]["loss"] / grid + c) / slack) if slack > 0 else float("inf") for c in costs]


def curvature(rows: Sequence[dict[str, Any]]) -> tuple[float, list[float]]:
    """ℓ of a run (A5), and those of its windows at 5, 50 and 95 %."""
    moved = [r for r in rows if r["grid"]]
    each = [2 * (-r["fall"] - r["first"]) / r["grid"] for r in moved]
    whole = 2 * sum(-r["fall"] - r["first"] for r in moved) / sum(r["grid"] for r in moved)
    return float(whole), [float(q) for q in np.percentile(each, [5, 50, 95])]


def block_loss(one: Learner) -> float:
    """Mean loss of the first block's head in real numbers, at the words as they are read: the highest violation, or
    the sum of all where the rule takes every violator."""
    x = batch(one)[0].reshape(len(one.y), -1) * one.unit["x"]
    w = {k: one.state[k] * one.unit[k] for k in one.state if k.startswith("fc1") and k in one.unit}
    s = np.maximum(x @ w["fc1.weight"].T + w["fc1.bias"], 0) @ w["fc1.head.weight"].T + w["fc1.head.bias"]
    rows = np.arange(len(one.y))
    over = s - s[rows, one.y][:, None] + one.margin[0] * one.score_unit[0]
    over[rows, one.y] = 0
    over = np.maximum(over, 0)
    return float((over.sum(1) if one.every else over.max(1)).mean())


NAMES = ("fc1.weight", "fc1.head.weight")


def window_of(one: Learner, moves: dict[str, Op], samples: Ints, rate: float) -> int:
    """What training steps on ``samples`` do to the first block over one window, all of them at once: its words stand
    still meanwhile. The same integers as one step after the other (a test compares). Returns the triggers."""
    x, y = batch(one)
    env = forward(one, x[samples], y[samples])
    seed, triggers = one.config.seed, 0
    for op in moves.values():
        o: BoundUpdate = op.attrs.optimizer
        d, a, w = (env[v] for v in op.inputs[:3])
        rows, k = o.method.rows(w.shape, one.t), o.shift(rate, 0)
        sums = np.zeros((rows.stop - rows.start, w.shape[1]), np.int64)
        for i in range(len(samples)):
            r, c = o.words(seed, one.t + i, *w.shape)
            v = shift_right(d[i, rows, None] * a[i], k, "stochastic", r[rows][:, None] ^ c)
            sums = np.clip(sums + v, SUM.least, SUM.greatest)
        step = np.sign(sums) * (np.abs(sums) >= o.method.evidence)
        w[rows] = np.clip(w[rows] - step, o.format.least, o.format.greatest)
    error = next(op.outputs[0] for op in one.step.ops if op.kind == "violated")
    triggers = int(env[error].any(1).sum())
    one.t += len(samples)
    return triggers


def windows(one: Learner, count: int, lr: Callable[[float], float], least: float) -> list[dict[str, Any]]:
    """A row per window of the first block.

    Args:
        lr: of the progress from 0 to 1; least: λ of theorem 4, the gradient that a good step has at least.
    """
    moves = {op.inputs[2].name: op for op in one.step.ops if op.kind == "matmul_dw_update"}
    moves = {name: moves[name] for name in NAMES}
    draw, rows, samples = np.random.default_rng(one.config.seed), [], len(one.x)
    window, evidence = (getattr(moves[NAMES[0]].attrs.optimizer.method, k) for k in ("window", "evidence"))
    loss = block_loss(one)
    for k in range(count):
        rate = lr(k / count)
        stats = exact(one, rate, NAMES)
        before = {name: one.state[name].copy() for name in NAMES}
        t = one.t
        triggers = window_of(one, moves, draw.integers(0, samples, window), rate)
        row: dict[str, Any] = {"steps": 0, "wrong": 0, "bad": 0, "cost": 0.0, "chance": 0.0, "left": 0}
        first = grid = 0.0
        for name in NAMES:
            o, m = moves[name].attrs.optimizer, stats[name]
            part = o.method.rows(before[name].shape, t)
            d = one.state[name] - before[name]
            unit = one.unit[name] / (2.0 ** -o.shift(rate, 0) / o.ratio)  # Δ / η
            first += float((d * m.mean).sum()) * unit * one.unit[name]
            grid += float((d**2).sum()) * one.unit[name] ** 2
            moved, along = d != 0, -np.sign(d) * m.mean * unit
            row["steps"] += int(moved.sum())
            row["wrong"] += int((along < 0)[moved].sum())
            row["bad"] += int((along < least)[moved].sum())
            chance, cost = bad_steps(
                m.mean[part], m.mean_v2[part], m.most[part], window, evidence, least / unit
            )
            row["chance"] += float(chance.sum())
            to = before[name] - np.sign(m.mean)
            room = (to >= o.format.least) & (to <= o.format.greatest)
            row["left"] += int((room & (window * np.abs(m.mean) >= 2 * evidence)).sum())
            row["cost"] += float(cost.sum()) * unit
        new = block_loss(one)
        row |= {
            "loss": loss,
            "fall": loss - new,
            "first": first,
            "grid": grid,
            "rate": rate,
            "triggers": triggers,
        }
        rows.append(row)
        loss = new
    return rows
