"""Impacts as plain values: a row of a table, JSON, and a table of many points at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from insitu.errors import InsituError
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.impact import Impact, assess
from insitu.experiment.workers import completed, workers
from insitu.hardware.bill import fields
from insitu.hardware.target import Array

COLUMNS = (
    *("network", "rule", "precision", "target", "batch", "norm", "refused", "peak_bytes", "inference_bytes"),
    *("bytes_to_inference", "macs", "macs_to_inference", "energy_pj", "energy_pj_low", "energy_pj_high"),
    *("inference_energy_pj", "energy_to_inference", "cycles", "seconds", "store_bits", "area_um2"),
    *("writes_per_weight", "lifetime_samples", "triggers"),
)
"""Columns of a sweep; per sample where it makes sense."""


def summary(point: DesignPoint) -> dict[str, Any]:
    """A point as one row of :data:`COLUMNS`; what is unknown is ``None``."""
    try:
        return summary_of(assess(point))
    except InsituError as error:
        return _named(point) | {"refused": str(error)}


def _named(point: DesignPoint) -> dict[str, Any]:
    names = {
        "network": point.network,
        "rule": point.name,
        "precision": point.precision,
        "target": point.target,
    }
    return {**dict.fromkeys(COLUMNS), **names, "batch": point.batch}


def summary_of(found: Impact) -> dict[str, Any]:
    """An assessed point as one row."""
    row = _named(found.point)
    energy, inference, cycles = found.energy, found.inference.energy, found.cycles
    row |= {
        "norm": found.program.norm,
        "refused": found.problem,
        "peak_bytes": found.peak_bytes,
        "inference_bytes": found.inference.peak_bytes,
        "bytes_to_inference": found.peak_bytes / found.inference.peak_bytes,
        "macs": found.macs,
        "macs_to_inference": found.macs / found.inference_macs,
        "cycles": cycles and cycles.central,
        "seconds": found.seconds and found.seconds.central,
        "store_bits": found.bits("store") if isinstance(found.inference.target, Array) else None,
        "area_um2": found.bill.area and found.bill.area.central,
        "writes_per_weight": found.most_writes,
        "lifetime_samples": found.lifetime_samples and found.lifetime_samples.central,
        "triggers": " ".join(f"{name}={share:g}" for name, share in found.triggers.items()) or None,
    }
    if energy is not None:
        row |= {"energy_pj": energy.central, "energy_pj_low": energy.low, "energy_pj_high": energy.high}
    if inference is not None:
        row["inference_energy_pj"] = inference.central
        row["energy_to_inference"] = energy and energy.central / inference.central
    return row


def plain(found: Impact, others: Mapping[str, Impact]) -> dict[str, Any]:
    """A point with its bills and the baselines, as plain values for JSON."""
    return {
        **summary_of(found),
        "bills": [fields(bill) for bill in found.bills],
        "inference": fields(found.inference),
        "references": {name: summary_of(other) for name, other in others.items()},
    }


def sweep(points: Sequence[DesignPoint], jobs: int = 1) -> list[dict[str, Any]]:
    """A row per point (see :func:`summary`), in their order; refused ones with the reason.

    Args:
        jobs: processes; points with one program stay together.
    """
    groups: dict[DesignPoint, list[int]] = {}
    for i, point in enumerate(points):
        groups.setdefault(replace(point, target="", triggers=()), []).append(i)
    rows: dict[int, dict[str, Any]] = {}
    tasks = [[points[i] for i in numbers] for numbers in groups.values()]
    with workers(jobs) as pool:
        for k, found in completed(pool, _summaries, tasks, torch=False):
            rows |= dict(zip(list(groups.values())[k], found))
    return [rows[i] for i in range(len(points))]


def _summaries(points: Sequence[DesignPoint]) -> list[dict[str, Any]]:
    return [summary(point) for point in points]
