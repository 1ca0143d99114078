"""Cycles and energy of microcontrollers, calibrated on MLPerf Tiny results and tested by leaving networks out.

    python benchmarks/mlperf_tiny.py [--out benchmarks/results/mlperf_tiny.json]

Model: cycles(board, network) = factor(board) * Σ_class cost(class) * work(class, network) * error(network); energy =
cycles * pJ/cycle of the board. Costs are shared by the boards and estimated in log space by maximum a posteriori
(Gauss-Newton): Gaussian priors around instruction counts (:data:`PRIOR`), a flat prior on the factors, and an error of
a network that all boards share (what classes cannot tell apart is the same code on every board).

Work classes. ``pointwise``, ``conv``: multiply-accumulates of 1x1 and of wider convolutions; ``single``: of
convolutions of one input channel (the first layer of DS-CNN), ``depthwise``: of one channel per group; ``dense``;
``rounding``: elements that leave a weighted layer, an addition or a pool (requantization with everything that is once
per output; batch norm and ReLU are folded). The vendor's library has kernels of its own for pointwise, depthwise 3x3,
RGB and deep 3x3 convolutions (its public headers); a kernel of 10x4 on one channel is none of these.

What is not independent of the data: a first count (:data:`FIRST`: conv, depthwise, dense and rounding alone, depthwise
without SIMD, errors of boards taken as independent) was evaluated, and failed: DS-CNN and MobileNet have one mix of
those classes and a cost per MAC 1.37 times apart. Counting the first layer of DS-CNN as depthwise failed as well
(MobileNet +24 to +47 %). The finer classes and the second count were made with those residuals known, so what is left
out is unseen by the fit, but not by whoever counted: this is no blind test. Other widths (0.1 to 0.25 shared, priors of
0.2 or 0.3, a prior on the M4's factor) put MobileNet at +11 to +24 % and everything else within 14 %; kept are the
first count's priors of 0.3 and 0.5 and its error of 0.1, now shared. The record holds the residuals of both counts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from math import exp, log, prod
from pathlib import Path
from typing import Any

import numpy as np

from insitu.network import zoo
from insitu.network.graph import Layer

NETWORKS = ("resnet8", "ds-cnn", "mobilenet-v1-0.25", "autoencoder")
CLASSES = ("conv", "pointwise", "single", "depthwise", "dense", "rounding")

CYCLES = {
    "stm32l4r5": (1.59, 1.95, 1.42, 2.39),
    "stm32u575": (1.42, 1.75, 1.27, 2.08),
    "stm32h7a3": (0.92, 1.19, 0.89, 1.30),
}
"""Cycles per MAC, networks as in NETWORKS: clock / median throughput / MACs, MLPerf Tiny v1.2, STMicroelectronics."""

ENERGY = {
    "stm32l4r5": (554.0, 684.0, 520.0, 770.0),
    "stm32u575": (206.0, 247.0, 181.0, 310.0),
    "stm32h7a3": (407.0, 517.0, 396.0, 628.0),
}
"""pJ per MAC: median energy of the board / MACs, the same submissions."""

MORE = {
    "stm32f746": (1.08, None, None, 1.40),
    "stm32g0b1": (7.8, None, None, 9.9),
    "ra8d1": (0.326, 0.626, 0.858, 0.965),
}
"""Boards without energy: Bosch (M7, M0+) and Renesas (M85) submissions; ``None`` where none was made or read."""

Prior = Mapping[str, tuple[float, float]]

PRIOR: Prior = {
    "conv": (1.45, 0.3),
    "pointwise": (1.21, 0.3),
    "single": (4.0, 0.3),
    "depthwise": (2.5, 0.3),
    "dense": (2.21, 0.3),
    "rounding": (10.0, 0.5),
}
"""Cortex-M4 instructions per unit of work, and the standard deviation of their logarithm.

pointwise: SMLAD, 4 deep. Blocks of 2 outputs x 2 positions, 16 MACs: 2 weight words (load, 2 SXTB16), 4 loads of
    expanded inputs, 8 SMLAD, loop 2, packs 0 to 4: 1.25 to 1.5. Blocks of 4 x 2, 32 MACs: 12 + 4 + 16 + 2: 1.06.
    Geometric mean of 1.06 and 1.375.
conv: 2 x 2 as above, 1.375; and to gather and widen the inputs of a position 1.75 instructions an element (per 4:
    load, 2 SXTB16, 2 packs, 2 stores), shared by 16 to 64 outputs: 0.08.
single: scalar; 3.26 counted by emulation of our own loop, 5 by disassembly of another; geometric mean.
depthwise: SMLAD over pairs of taps, 4 channels, 8 MACs: 4 loads, 12 to pair the bytes (6 where the weights were
    paired beforehand), 4 SMLAD, 2 to 4 of the loop: 1.9 to 3, times 10/9 for the ninth tap: 2.1 to 3.3.
dense: 2.21, counted by emulation of a SIMD dot product without blocks.
rounding: at best bias, shift, SMMULR, offset, SSAT, store: 6. At most bias 2, multiplier and shift of the channel 2,
    SMULL with rounding 4, shift with rounding 3, offset, clamping 2, store: 16. Geometric mean.
0.3: other people's kernels, a third more or less; 0.5 where what is once per output also holds loops and addresses.
"""

FIRST: Prior = {
    "conv": (1.35, 0.3),
    "depthwise": (4.2, 0.3),
    "dense": (2.21, 0.3),
    "rounding": (14.0, 0.5),
}
"""The first count: blocks of 2 x 2 for every convolution, scalar depthwise kernels of 3 to 6, a long requantization."""

FOLDED = {"pointwise": "conv", "single": "conv"}
"""The classes of the first count."""

PRIORS: Mapping[str, Prior] = {
    "stm32f746": PRIOR,
    "stm32g0b1": {c: (28.0, 0.5) if c == "rounding" else (7.2, 0.3) for c in CLASSES},
    "ra8d1": {
        "conv": (0.3, 0.5),
        "pointwise": (0.3, 0.5),
        "single": (1.2, 0.7),
        "depthwise": (1.2, 0.7),
        "dense": (0.3, 0.7),
        "rounding": (4.0, 0.7),
    },
}
"""M0+: 7.2 instructions per scalar MAC, counted by emulation; a requantization needs a 64-bit product made of four.
M85: 8 int8 products per cycle at the peak of Helium, a third to a half of it with loads; 4 lanes of 32 bits in
depthwise kernels and requantization. These boards have the factor 1: what differs from the counts is in the costs."""

NOISE = 0.05
"""Standard deviation of the logarithm of a measured over a modelled count, by board and network."""

SHARED = 0.1
"""The same, by network: what all boards share."""

Work = Mapping[str, Mapping[str, float]]
Points = Mapping[str, tuple[float | None, ...]]


def _kind(layer: Layer) -> str:
    shape = layer.params["weight"]
    if layer.kind == "dense":
        return "dense"
    if layer.depthwise:
        return "depthwise"
    if shape[1] == 1:
        return "single"
    return "pointwise" if prod(shape[2:]) == 1 else "conv"


def work(name: str) -> dict[str, float]:
    """Units of every class in one inference."""
    found = dict.fromkeys(CLASSES, 0.0)
    for layer in zoo.build(name).layers:
        if layer.kind in ("dense", "conv2d"):
            found[_kind(layer)] += prod(layer.params["weight"]) * prod(layer.shape[1:])
        if layer.kind in ("dense", "conv2d", "add", "avg_pool", "max_pool"):
            found["rounding"] += prod(layer.shape)
    return found


def folded(units: Mapping[str, float]) -> dict[str, float]:
    """The same work in the classes of the first count."""
    found = dict.fromkeys(FIRST, 0.0)
    for name, amount in units.items():
        found[FOLDED.get(name, name)] += amount
    return found


def macs(units: Mapping[str, float]) -> float:
    """Multiply-accumulates of one inference."""
    return sum(amount for name, amount in units.items() if name != "rounding")


def fit(
    points: Points,
    amounts: Work,
    prior: Prior,
    free: bool = True,
    shared: float = SHARED,
    noise: float = NOISE,
) -> tuple[dict[str, float], dict[str, float]]:
    """Factors by board and costs by class, the most probable ones.

    Args:
        points: cycles per MAC by board, in the order of ``amounts``; ``None``: left out.
        amounts: work by network.
        prior: centre and standard deviation of the logarithm of each cost.
        free: boards have factors; ``False``: they are 1.
        shared, noise: standard deviations of the errors by network, and by board and network.
    """
    classes, boards, nets = list(prior), list(points), list(amounts)
    center = np.array([log(prior[c][0]) for c in classes] + [0.0] * (len(boards) + len(nets)))
    board = 1e6 if free else 1e-6
    spread = np.array([prior[c][1] for c in classes] + [board] * len(boards) + [shared] * len(nets))
    found = center.copy()
    for _ in range(50):
        system, right = [np.diag(1 / spread)], [(center - found) / spread]
        for b, n in ((b, n) for b in range(len(boards)) for n in range(len(nets))):
            measured = points[boards[b]][n]
            if measured is None:
                continue
            units = amounts[nets[n]]
            parts = np.array([units[c] for c in classes]) * np.exp(found[: len(classes)])
            row = np.zeros(len(found))
            row[: len(classes)] = parts / parts.sum()
            at = [len(classes) + b, len(classes) + len(boards) + n]
            row[at] = 1.0
            system.append(row[None] / noise)
            gap = log(measured * macs(units)) - log(parts.sum()) - found[at].sum()
            right.append(np.array([gap / noise]))
        found = found + np.linalg.lstsq(np.concatenate(system), np.concatenate(right), rcond=None)[0]
    values = np.exp(found).tolist()
    return dict(zip(boards, values[len(classes) :])), dict(zip(classes, values))


def _without(points: Points, index: int) -> dict[str, tuple[float | None, ...]]:
    return {b: tuple(None if i == index else y for i, y in enumerate(row)) for b, row in points.items()}


def _mean(values: Iterable[float]) -> float:
    return exp(float(np.mean([log(v) for v in values])))


def _per_cycle(board: str, index: int | None = None) -> list[float]:
    pairs = zip(ENERGY[board], CYCLES[board], strict=True)
    return [e / c for i, (e, c) in enumerate(pairs) if i != index]


def leave_one_out(
    amounts: Work, prior: Prior = PRIOR, **errors: float
) -> tuple[list[dict[str, Any]], list[dict[str, dict[str, float]]]]:
    """A row per board and network with the relative errors of a fit to the other networks; and the folds' costs."""
    rows, folds = [], []
    for index, (name, units) in enumerate(amounts.items()):
        factors, costs = fit(_without(CYCLES, index), amounts, prior, **errors)
        folds.append({b: {c: f * cost for c, cost in costs.items()} for b, f in factors.items()})
        for board in CYCLES:
            predicted = sum(cost * units[c] for c, cost in folds[-1][board].items()) / macs(units)
            energy = predicted * _mean(_per_cycle(board, index))
            rows.append(
                {
                    "board": board,
                    "network": name,
                    "cycles_per_mac": CYCLES[board][index],
                    "predicted_cycles_per_mac": round(predicted, 3),
                    "cycles_error": round(predicted / CYCLES[board][index] - 1, 4),
                    "energy_pj_per_mac": ENERGY[board][index],
                    "predicted_energy_pj_per_mac": round(energy, 1),
                    "energy_error": round(energy / ENERGY[board][index] - 1, 4),
                }
            )
    return rows, folds


def _band(value: float, others: Iterable[float], error: float) -> dict[str, float]:
    """The value, and the widest of what the folds gave and of the board's largest error."""
    low, high = min(*others, value / (1 + error)), max(*others, value * (1 + error))
    return {"value": _round(value), "low": _round(low), "high": _round(high)}


def _round(value: float) -> float:
    return float(f"{value:.3g}")


def measure() -> dict[str, Any]:
    """Everything the record holds."""
    amounts = {name: work(name) for name in NETWORKS}
    rows, folds = leave_one_out(amounts)
    factors, costs = fit(CYCLES, amounts, PRIOR)
    boards: dict[str, Any] = {}
    for board, factor in factors.items():
        error = max(abs(r["cycles_error"]) for r in rows if r["board"] == board)
        cycles = {c: _band(factor * costs[c], [f[board][c] for f in folds], error) for c in CLASSES}
        boards[board] = {
            "factor": _round(factor),
            "cycles": cycles,
            "pj_per_cycle": _round(_mean(_per_cycle(board))),
        }
    for board, points in MORE.items():
        _, own = fit({board: points}, amounts, PRIORS[board], free=False)
        boards[board] = {"cycles": {c: _round(v) for c, v in own.items()}}
    first, _ = leave_one_out({n: folded(u) for n, u in amounts.items()}, FIRST, shared=1e-6, noise=0.1)
    keys = ("board", "network", "cycles_error", "energy_error")
    return {
        "work": amounts,
        "prior": {c: PRIOR[c][0] for c in CLASSES},
        "costs": {c: _round(v) for c, v in costs.items()},
        "boards": boards,
        "residuals": rows,
        "residuals_of_first_count": [{k: r[k] for k in keys} for r in first],
    }


def _table(rows: Iterable[Mapping[str, Any]]) -> str:
    return "\n".join(
        f"{r['board']:10} {r['network']:18} cycles {r['cycles_error']:+7.1%}  energy {r['energy_error']:+7.1%}"
        for r in rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(__file__).parent / "results" / "mlperf_tiny.json"
    parser.add_argument("--out", type=Path, default=default)
    args = parser.parse_args()
    record = measure()
    print(_table(record["residuals"]))
    print("first count:")
    print(_table(record["residuals_of_first_count"]))
    args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
