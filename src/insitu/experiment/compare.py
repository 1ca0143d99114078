"""The main job: the same networks, every rule, several seeds, and what a step of each costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import BaseModel

import insitu
from insitu.data import Dataset
from insitu.errors import ConfigError, StepError
from insitu.experiment.command import train_command
from insitu.experiment.config import CompareConfig, RuleSpec, RunConfig, dump
from insitu.experiment.design_point import DesignPoint, Shares
from insitu.experiment.folder import begin
from insitu.experiment.identity import named
from insitu.experiment.impact import Impact, impact_of
from insitu.experiment.memory import both, by_role, moments
from insitu.experiment.record import Bytes, Hardware, Macs, Moment, Rejected, Results, Row, Spread
from insitu.experiment.resolve import Setup, load_data
from insitu.experiment.train import Outcome, environment, train
from insitu.experiment.workers import completed, workers
from insitu.hardware.target import find
from insitu.passes import plan
from insitu.run.files import write_atomic
from insitu.run.lock import held
from insitu.step.ir import Phase, Step

Key = tuple[str, str]
"""Network, and the name of a rule."""

OnEvent = Callable[[dict[str, Any]], None]

GRACE = 10.0
"""Seconds that the workers of a comparison that was killed have to end, before its runs go on here."""


@dataclass(frozen=True)
class StepCost:
    """What one training step of a rule takes, next to inference at the same batch."""

    peak: Bytes
    eager: Bytes
    inference_bytes: int
    macs: Macs
    inference_macs: float
    timeline: list[Moment]
    eager_timeline: list[Moment]


def _macs(step: Step) -> Macs:
    counted = step.counts().macs
    return Macs(**{phase.value: counted.get(phase, 0) / step.batch for phase in Phase})


def _mean_macs(steps: Sequence[Step]) -> Macs:
    counted = [_macs(step) for step in steps]
    return Macs(**{phase.value: fmean(getattr(m, phase.value) for m in counted) for phase in Phase})


def step_cost(setup: Setup) -> StepCost:
    """Peak bytes, operations and the memory picture of a run's step, from the program itself.

    Of a rule with phases: the bytes and the picture of the phase with the highest peak (with what the other phases
    need and must not be lost), the mean operations of all.
    """
    made = setup.program
    highest = made.highest
    eager, fused, rest = made.eager[highest], made.steps[highest], made.idle[highest]
    return StepCost(
        peak=by_role(both(made.layouts[highest].by_role, rest)),
        eager=by_role(both(plan(eager).by_role, rest)),
        inference_bytes=made.inference_layout.peak_bytes,
        macs=_mean_macs(made.steps),
        inference_macs=_macs(made.inference).total,
        timeline=moments(fused, rest),
        eager_timeline=moments(eager, rest),
    )


@dataclass(frozen=True)
class _Job:
    network: str
    spec: RuleSpec
    config: RunConfig
    folder: Path | None


def _jobs(config: CompareConfig, out: Path | None) -> list[_Job]:
    jobs = []
    for n, network in enumerate(config.networks):
        for spec in config.rules:
            for seed in range(config.first_seed, config.first_seed + config.seeds):
                place = None
                if out:
                    safe = "".join(c if c.isalnum() or c in "-._=" else "_" for c in spec.name)
                    place = out / "runs" / f"{n}-{safe}-s{seed}"
                jobs.append(_Job(network, spec, config.run(network, spec, seed), place))
    return jobs


def _run(job: _Job, resume: bool, data: Dataset | None) -> Outcome:
    with held(job.folder, grace=GRACE) if job.folder else nullcontext():
        return train(job.config, job.folder, resume=resume, data=data)


def compare(
    config: CompareConfig,
    out: Path | None = None,
    *,
    resume: bool = False,
    jobs: int = 1,
    command: str = "",
    on_event: OnEvent = lambda _e: None,
) -> Results:
    """Trains every rule on every network with every seed, and writes ``results.json`` into ``out``.

    Everything is checked before the first step: a rule that cannot serve a network refuses the comparison.

    Args:
        out: folder; a run folder per rule and seed lies under ``runs/`` in it.
        resume: keep finished runs, go on with started ones.
        jobs: runs at a time; with more than one each takes one thread.
        command: recorded in the results.
        on_event: called with ``{"kind": "run", "done": i, "of": n, ...}`` after every run.

    Raises:
        CheckpointError: another process writes into ``out``, or it holds another comparison.
    """
    with held(out) if out else nullcontext():
        return _compare(config, out, resume, jobs, command, on_event)


def _compare(
    config: CompareConfig, out: Path | None, resume: bool, jobs: int, command: str, on_event: OnEvent
) -> Results:
    data = load_data(config)
    every = _jobs(config, out)
    setups = {(j.network, j.spec.name): Setup.of(j.config, data) for j in reversed(every)}
    impacts: dict[Key, Impact | None] = {}
    over: dict[Key, str] = {}
    for key, setup in reversed(setups.items()):
        try:
            impacts[key] = assessed(setup, config.hardware)
            reason = over_budget(config, setup, impacts[key])
        except StepError as error:
            impacts[key], reason = None, str(error)
        if reason:
            over[key] = reason
    planned = [j for j in every if (j.network, j.spec.name) not in over]
    if not planned:
        reasons = "; ".join(f"{rule}: {reason}" for (_, rule), reason in over.items())
        raise ConfigError(
            f"every rule is over budget: {reasons}; raise --max-bytes or --max-energy-uj, or take another --target"
        )
    if out:
        begin(out, "comparison", config, resume)
    outcomes: dict[int, Outcome] = {}
    with workers(jobs) as pool:
        work = partial(_run, resume=resume, data=None if pool else data)  # other processes load their own
        for i, outcome in completed(pool, work, planned):
            outcomes[i] = outcome
            on_event(
                {
                    "kind": "run",
                    "done": len(outcomes),
                    "of": len(planned),
                    "network": planned[i].network,
                    "rule": planned[i].spec.name,
                    "seed": outcome.config.seed,
                    "test_accuracy": outcome.test_accuracy,
                    "test_loss": outcome.test_loss,
                    "seconds": outcome.seconds,
                }
            )
    rows = _rows(config, planned, outcomes, setups, impacts)
    rejected = [Rejected(rule=rule, network=net, reason=reason) for (net, rule), reason in over.items()]
    results = Results(**provenance(config, command), rows=rows, rejected=rejected)
    if out:
        write_atomic(out / "compare.yaml", dump(config))
        write_atomic(out / "results.json", results.model_dump_json(indent=1) + "\n")
    return results


def provenance(config: BaseModel, command: str) -> dict[str, Any]:
    """Where results come from: version, time, command, environment and configuration."""
    return {
        "insitu": insitu.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "environment": environment(),
        "config": config.model_dump(mode="json", exclude={"data_dir"}),
    }


def _rows(
    config: CompareConfig,
    jobs: list[_Job],
    outcomes: dict[int, Outcome],
    setups: dict[Key, Setup],
    impacts: dict[Key, Impact | None],
) -> list[Row]:
    costs = {key: step_cost(setup) for key, setup in setups.items()}
    rows = []
    trained = {(job.network, job.spec.name) for job in jobs}
    for network in config.networks:
        first = next((s.name for s in config.rules if s.rule == "bp"), None)
        baseline = costs[network, first] if first is not None else None
        of_bp = impacts[network, first] if first is not None else None
        for spec in config.rules:
            key = (network, spec.name)
            if key not in trained:
                continue
            runs = [outcomes[i] for i, j in enumerate(jobs) if (j.network, j.spec.name) == key]
            row = _row(setups[key], spec, runs, costs[key], baseline)
            rows.append(row.model_copy(update={"hardware": hardware_of(impacts[key], of_bp, row.samples)}))
    return rows


def assessed(setup: Setup, target: str | None, triggers: Shares = ()) -> Impact | None:
    """What the run's step takes on the target, if there is one.

    Args:
        triggers: shares of the samples for which triggers fire; nothing: every sample.

    Raises:
        ConfigError: an unknown target.
        StepError: the step does not fit a target without a store.
    """
    if target is None:
        return None
    c = setup.config
    options = tuple(c.rule_options.items())
    point = DesignPoint(
        c.network, c.rule, c.precision_name, target, c.batch, None, options, c.optimizer.kind, c.loss
    )
    point = replace(point, triggers=triggers)
    return impact_of(point, setup.program, find(target))


def over_budget(config: CompareConfig, setup: Setup, impact: Impact | None) -> str | None:
    """Why a rule may not train; ``None`` if it may."""
    peak = setup.program.peak_bytes
    if config.max_bytes is not None and peak > config.max_bytes:
        return f"takes {peak:,} bytes, more than {config.max_bytes:,}"
    if impact is None:
        return None
    energy = impact.energy
    if config.max_energy_uj is not None and energy is None:
        return f"its energy on {config.hardware} is unknown"
    if (
        config.max_energy_uj is not None
        and energy is not None
        and energy.central > 1e6 * config.max_energy_uj
    ):
        return f"takes {energy.central / 1e6:.4g} µJ a sample on {config.hardware}, more than {config.max_energy_uj:g}"
    return impact.problem


def hardware_of(impact: Impact | None, bp: Impact | None, samples: int) -> Hardware | None:
    """As a record."""
    if impact is None:
        return None
    energy, seconds, life = impact.energy, impact.seconds, impact.lifetime_samples
    inference, of_bp = impact.inference.energy, bp.energy if bp is not None else None
    return Hardware(
        target=impact.inference.target.name,
        peak_bytes=impact.peak_bytes,
        energy_pj=(energy.low, energy.central, energy.high) if energy is not None else None,
        energy_to_inference=energy.central / inference.central if energy and inference else None,
        energy_to_bp=energy.central / of_bp.central if energy and of_bp else None,
        seconds=seconds.central if seconds is not None else None,
        run_energy_uj=1e-6 * samples * energy.central if energy is not None else None,
        writes_per_weight=impact.most_writes,
        lifetime_samples=life.central if life is not None else None,
        problem=impact.problem,
    )


def spread(values: list[float | None]) -> Spread | None:
    """Over all seeds; nothing where one of them has no finite value."""
    known = [v for v in values if v is not None]
    return Spread.of(known) if len(known) == len(values) else None


def _before(found: dict[str, float | None] | None) -> dict[str, float] | None:
    """The two accuracies of a network that came pretrained."""
    values = [v for v in (found or {}).values() if v is not None]
    return {"float32": values[0], "quantized": values[-1]} if values else None


def _row(setup: Setup, spec: RuleSpec, runs: list[Outcome], cost: StepCost, bp: StepCost | None) -> Row:
    config = setup.config
    return Row(
        rule=spec.rule,
        label=spec.name,
        rule_options=dict(spec.options),
        network=config.network,
        input_shape=setup.data.sample_shape,
        outputs=setup.net.outputs,
        data=config.data,
        precision=config.precision_name,
        batch=config.batch,
        optimizer=config.optimizer.kind,
        lr=config.optimizer.lr,
        seeds=[r.config.seed for r in runs],
        epochs=config.epochs,
        samples=runs[0].samples,
        test_accuracy=spread([r.test_accuracy for r in runs]),
        test_loss=spread([r.test_loss for r in runs]),
        before=_before(runs[0].before),
        majority=setup.data.majority if config.target == "label" else None,
        tested=len(setup.data.test),
        peak_bytes=cost.peak,
        eager_bytes=cost.eager,
        inference_bytes=cost.inference_bytes,
        bytes_to_inference=cost.peak.total / cost.inference_bytes,
        bytes_to_bp=cost.peak.total / bp.peak.total if bp else None,
        macs_per_sample=cost.macs,
        inference_macs=cost.inference_macs,
        macs_to_inference=cost.macs.total / cost.inference_macs,
        macs_to_bp=cost.macs.total / bp.macs.total if bp else None,
        diverged=sum(r.diverged for r in runs),
        seconds=fmean(r.seconds for r in runs),
        curves=[r.curve for r in runs],
        timeline=cost.timeline,
        eager_timeline=cost.eager_timeline,
        command=train_command(config),
        paper=str(setup.rule.paper),
        identity={"network": named(config)["network"], "data": setup.data.digest},
    )
