"""Energy and time to a target accuracy: what a whole run costs, not one step of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from operator import sub
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import ValidationError

from insitu.errors import CheckpointError, ConfigError, InsituError
from insitu.experiment.config import CompareConfig
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.impact import Impact, assess
from insitu.experiment.network_options import OF_FILES, billed
from insitu.experiment.record import Curve, Results, Row
from insitu.hardware.bill import Band
from insitu.hardware.target import find
from insitu.inputs.documents import Source, parse_json, read_text
from insitu.inputs.foreign import is_file
from insitu.network import zoo


@dataclass(frozen=True)
class CostToAccuracy:
    """A rule's run up to an accuracy, on one target.

    Attributes:
        label, precision, target: what ran where.
        samples: training samples until the mean over the seeds of the first evaluation at or above the accuracy;
            ``None`` where a seed never got there.
        reached: seeds that got there, of all.
        sample_pj: energy per training sample, pJ.
        energy_pj, seconds: of all those samples.
        to_bp: energy over that of BP in the same precision; ``None`` without one.
        refused: why the target cannot run it.
        triggers: share of those samples for which each trigger fired, as the runs counted it (1 where they did not).
    """

    label: str
    precision: str
    target: str
    samples: float | None
    reached: tuple[int, int]
    sample_pj: Band | None = None
    energy_pj: Band | None = None
    seconds: float | None = None
    to_bp: float | None = None
    refused: str | None = None
    triggers: Mapping[str, float] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def load(path: Path) -> Results:
    """The results file of a comparison, or the one in a folder.

    Raises:
        CheckpointError: it cannot be read or is none.
    """
    file = path / "results.json" if path.is_dir() else path
    source = Source(f"results {file}", "pass the results.json of a comparison", CheckpointError)
    try:
        return Results.model_validate(parse_json(read_text(file, source), source))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise CheckpointError(
            f"{file} is no results file: {place}: {first['msg'].lower()}; run 'insitu compare'"
        ) from None


def samples_to(curves: Iterable[Curve], accuracy: float) -> tuple[float | None, tuple[int, int]]:
    """Mean samples until the first evaluation at or above an accuracy, and how many of the seeds got there."""
    stops = [(c, evaluations_to(c, accuracy)) for c in curves]
    known = [c.samples[n - 1] for c, n in stops if n is not None]
    return (fmean(known) if known and len(known) == len(stops) else None), (len(known), len(stops))


def evaluations_to(curve: Curve, accuracy: float) -> int | None:
    """Evaluations until the first at or above an accuracy, that one included."""
    reached = (n for n, a in enumerate(curve.test_accuracy, 1) if a is not None and a >= accuracy)
    return next(reached, None)


def shares_to(curves: Iterable[Curve], accuracy: float) -> tuple[tuple[str, float], ...]:
    """Share of the samples up to an accuracy (or to the end) for which each trigger fired, over all seeds; nothing
    where a run has not counted."""
    fired: dict[str, float] = {}
    seen = 0
    for curve in curves:
        if curve.triggered is None:
            return ()
        samples = curve.samples[: evaluations_to(curve, accuracy)]
        for n, shares in zip(map(sub, samples, (0, *samples)), curve.triggered):
            seen += n
            for name, share in shares.items():
                fired[name] = fired.get(name, 0.0) + n * share
    return tuple((name, n / seen) for name, n in fired.items())


def point_of(row: Row, target: str, options: Mapping[str, Any]) -> DesignPoint:
    """The question to the cost model that a row of results stands for; ``options`` of :func:`options_of`."""
    point = DesignPoint(
        row.network,
        row.rule,
        row.precision,
        target,
        row.batch,
        options=tuple(row.rule_options.items()),
        optimizer=row.optimizer,
        input_shape=row.input_shape,
        classes=row.outputs,
    )
    return replace(point, **options)


def _ask_shape(row: Row, impact: Impact) -> None:
    """Refuses to bill another network than the one that ran: results of an older insitu do not say its input."""
    if (
        row.input_shape is None
        and not row.network.startswith(zoo.SIZED)
        and impact.inference_macs != row.inference_macs
    ):
        raise ConfigError(
            f"the results do not say of what shape the samples of {row.network} were: its runs counted "
            f"{row.inference_macs:,.0f} MACs a forward pass, and at the default shape it takes "
            f"{impact.inference_macs:,.0f}; repeat the comparison"
        )


def to_accuracy(
    results: Results, network: str, accuracy: float, targets: Sequence[str]
) -> list[CostToAccuracy]:
    """A line per rule and target, cheapest first; what never gets there comes last.

    Raises:
        ConfigError: the results do not hold the network, or a target is unknown.
    """
    for target in targets:
        find(target)
    rows = [row for row in results.rows if row.network == network]
    if not rows:
        known = ", ".join(dict.fromkeys(row.network for row in results.rows))
        raise ConfigError(f"the results hold no network {network!r}; they hold {known}")
    found = [_of_row(row, accuracy, target, options_of(results, row)) for target in targets for row in rows]
    base = {(w.precision, w.target): w for w, row in zip(found, rows * len(targets)) if row.rule == "bp"}
    return sorted((_against(w, base.get((w.precision, w.target))) for w in found), key=_rank)


def options_of(results: Results, row: Row) -> dict[str, Any]:
    """What the runs of a row did with their network, and their loss, as options of a design point.

    Raises:
        CheckpointError: the results are not those of a comparison.
    """
    try:
        config = CompareConfig.model_validate({"data_dir": None, **results.config})
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"])) or "config"
        raise CheckpointError(
            f"the results are of no comparison: config.{place} does not fit; pass what 'insitu compare' wrote"
        ) from None
    spec = next((s for s in config.rules if s.name == row.label), None)
    given = dict(config.network_options) | dict(spec.network_options if spec is not None else {})
    if is_file(row.network):  # older versions let a file have options that it did not see
        given = {name: value for name, value in given.items() if name in OF_FILES}
    loss = {} if config.loss == "xent" else {"loss": config.loss}
    return billed(row.network, given) | loss


def _of_row(row: Row, accuracy: float, target: str, options: Mapping[str, Any]) -> CostToAccuracy:
    samples, reached = samples_to(row.curves, accuracy)
    blank = CostToAccuracy(row.label, row.precision, target, samples, reached)
    try:
        point = replace(point_of(row, target, options), triggers=shares_to(row.curves, accuracy))
        impact = assess(point)
        _ask_shape(row, impact)
    except InsituError as error:
        return replace(blank, refused=str(error))
    return run_cost(blank, impact)


def run_cost(blank: CostToAccuracy, impact: Impact) -> CostToAccuracy:
    """The energy and time of all samples."""
    samples, energy, seconds = blank.samples, impact.energy, impact.seconds
    return replace(
        blank,
        sample_pj=energy,
        energy_pj=energy.times(samples) if energy is not None and samples is not None else None,
        seconds=seconds.central * samples if seconds is not None and samples is not None else None,
        refused=impact.problem,
        triggers=impact.triggers,
    )


def _against(mine: CostToAccuracy, bp: CostToAccuracy | None) -> CostToAccuracy:
    if bp is None or bp.energy_pj is None or mine.energy_pj is None:
        return mine
    return replace(mine, to_bp=mine.energy_pj.central / bp.energy_pj.central)


def _rank(cost: CostToAccuracy) -> tuple[str, bool, bool, float]:
    """By energy; unknown energies behind known ones, by samples."""
    energy = cost.energy_pj.central if cost.energy_pj is not None else cost.samples or 0.0
    return cost.target, cost.samples is None, cost.energy_pj is None, energy
