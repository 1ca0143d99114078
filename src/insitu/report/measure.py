"""What rules are judged by: test accuracy, or test loss where a task has no classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from insitu.experiment.front import front
from insitu.experiment.record import Curve, Row, Spread
from insitu.report.units import bytes_text, energy_text, spread_text


@dataclass(frozen=True)
class Measure:
    """A figure of merit: ``field`` of rows and curves, times ``factor`` in pictures."""

    field: str
    title: str
    unit: str
    factor: float
    higher: bool
    digits: int

    def of(self, row: Row) -> Spread | None:
        found: Spread | None = getattr(row, self.field)
        return found

    def points(self, curve: Curve) -> list[float | None]:
        found: list[float | None] = getattr(curve, self.field)
        return found

    def text(self, spread: Spread | None) -> str:
        shown = spread_text(spread, self.factor, self.digits)
        return f"{shown} {self.unit}".rstrip() if spread else shown

    @property
    def axis(self) -> str:
        return f"{self.title} ({self.unit})" if self.unit else self.title


ACCURACY = Measure("test_accuracy", "test accuracy", "%", 100.0, True, 2)
LOSS = Measure("test_loss", "test loss", "", 1.0, False, 3)


def measure_of(rows: Iterable[Row]) -> Measure:
    """Accuracy if any row or curve has one."""
    rows = list(rows)
    curves = [a for r in rows for c in r.curves for a in c.test_accuracy]
    scored = any(r.test_accuracy for r in rows) or any(a is not None for a in curves)
    return ACCURACY if scored or all(r.test_loss is None for r in rows) else LOSS


@dataclass(frozen=True)
class Cost:
    """What a training step takes, over what inference on the device takes: of a row, unknown without a number.

    Attributes:
        title: of an axis.
        of: the ratio of a row.
    """

    title: str
    of: Callable[[Row], float | None]


def bytes_cost(rows: Sequence[Row]) -> Cost:
    """Peak bytes over the least of inference: a device infers in its own words, sample by sample."""
    least = min(row.inference_bytes for row in rows)
    title = f"peak of a training step, × inference ({bytes_text(least)})"
    return Cost(title, lambda row: row.peak_bytes.total / least)


def energy_cost(rows: Sequence[Row]) -> Cost | None:
    """Energy of a learned sample over that of inference, in the same way; ``None`` where no row has one."""
    known = {row.label: row.hardware for row in rows if row.hardware and row.hardware.energy_pj}
    inference = [
        h.energy_pj[1] / h.energy_to_inference
        for h in known.values()
        if h.energy_pj and h.energy_to_inference
    ]
    if not inference:
        return None
    least, target = min(inference), next(iter(known.values())).target

    def of(row: Row) -> float | None:
        return row.hardware.energy_pj[1] / least if row.hardware and row.hardware.energy_pj else None

    return Cost(f"energy of a learned sample on {target}, × inference ({energy_text(least)})", of)


def pareto(rows: Sequence[Row], measure: Measure, cost: Cost | None = None) -> list[Row]:
    """Rows that no other row beats: from the least cost (bytes, unless told) up, each better than all before it."""
    taken = cost or bytes_cost(rows)
    scored = [(c, s.mean, r) for r in rows if (s := measure.of(r)) and (c := taken.of(r)) is not None]
    sign = 1 if measure.higher else -1
    return [scored[i][2] for i in front([(size, sign * mean) for size, mean, _ in scored])]


def steps(points: Sequence[tuple[float, float]], stop: float) -> list[tuple[float, float]]:
    """Corners of the stairs through the points of a front, level after each, up to ``stop``."""
    corners: list[tuple[float, float]] = []
    for point in points:
        corners += [(point[0], corners[-1][1]), point] if corners else [point]
    return [*corners, (stop, corners[-1][1])] if corners else []


@dataclass(frozen=True)
class MeanPoint:
    """Mean and range over the seeds that have a value after so many samples."""

    samples: int
    mean: float
    low: float
    high: float


def mean_curve(curves: Sequence[Curve], measure: Measure) -> list[MeanPoint]:
    """One curve over all seeds; values that are no finite number are left out."""
    scaled = ([None if v is None else measure.factor * v for v in measure.points(c)] for c in curves)
    return mean_of(zip((c.samples for c in curves), scaled))


def mean_of(curves: Iterable[tuple[Sequence[int], Sequence[float | None]]]) -> list[MeanPoint]:
    """One curve over several, each of samples and values; ``None`` is left out."""
    seen: dict[int, list[float]] = {}
    for at, values in curves:
        for samples, value in zip(at, values, strict=True):
            if value is not None:
                seen.setdefault(samples, []).append(value)
    return [MeanPoint(n, fmean(v), min(v), max(v)) for n, v in sorted(seen.items())]
