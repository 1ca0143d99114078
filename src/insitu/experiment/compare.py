"""The main job: the same networks, every rule, several seeds, and what a step of each costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import insitu
from insitu.data import Dataset
from insitu.errors import CheckpointError
from insitu.experiment.command import train_command
from insitu.experiment.config import CompareConfig, RuleSpec, RunConfig, TrainingConfig, dump
from insitu.experiment.pool import completed, workers
from insitu.experiment.record import Bytes, Macs, Moment, Results, Row, Spread
from insitu.experiment.setup import Setup, load_data
from insitu.experiment.train import Outcome, environment, train
from insitu.passes import lower, plan
from insitu.run.files import make_folder, write_atomic
from insitu.step.ir import Phase, Role, Step
from insitu.step.liveness import peak_bytes, timeline

OnEvent = Callable[[dict[str, Any]], None]


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


def _bytes(by_role: dict[Role, int]) -> Bytes:
    return Bytes(total=sum(by_role.values()), **{role.value: n for role, n in by_role.items()})


def _macs(step: Step) -> Macs:
    counted = step.counts().macs
    return Macs(**{phase.value: counted.get(phase, 0) / step.batch for phase in Phase})


def _mean_macs(steps: list[Step]) -> Macs:
    counted = [_macs(step) for step in steps]
    return Macs(**{phase.value: fmean(getattr(m, phase.value) for m in counted) for phase in Phase})


def _moments(step: Step, idle: dict[Role, int]) -> list[Moment]:
    rows = zip(step.ops, timeline(step))
    return [
        Moment(op=op.kind, layer=op.where.layer, phase=op.phase.value, bytes=_bytes(_sum(row, idle)))
        for op, row in rows
    ]


def step_cost(setup: Setup) -> StepCost:
    """Peak bytes, operations and the memory picture of a run's step, from the program itself.

    Of a rule with phases: the bytes and the picture of the phase with the highest peak (with what the other phases
    need and must not be lost), the mean operations of all.
    """
    batch = setup.config.batch
    emitted = [setup.emitted(batch, k) for k in range(setup.phases.count)]
    lowered = [lower(step) for step in emitted]
    idle = [_idle(setup, emitted, step) for step in emitted]
    highest = max(range(len(lowered)), key=lambda k: peak_bytes(lowered[k]) + sum(idle[k].values()))
    eager, fused, more = emitted[highest], lowered[highest], idle[highest]
    forward = setup.inference(batch)
    return StepCost(
        peak=_bytes(_sum(plan(fused).by_role, more)),
        eager=_bytes(_sum(plan(eager).by_role, more)),
        inference_bytes=plan(forward).peak_bytes,
        macs=_mean_macs(lowered),
        inference_macs=_macs(forward).total,
        timeline=_moments(fused, more),
        eager_timeline=_moments(eager, more),
    )


def _idle(setup: Setup, steps: list[Step], step: Step) -> dict[Role, int]:
    """Bytes by role of residents that a phase's step does not touch, but that must not be lost.

    All of them where phases take turns; the network's own where every phase comes once.
    """
    touched = {v.name for v in step.residents}
    others = {v.name: v for other in steps for v in other.residents if v.name not in touched}
    kept = [v for v in others.values() if setup.phases.period is not None or v.name in setup.net.params]
    return {role: sum(v.bytes for v in kept if v.role == role) for role in Role}


def _sum(a: dict[Role, int], b: dict[Role, int]) -> dict[Role, int]:
    return {role: a[role] + b[role] for role in Role}


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
    """
    data = load_data(config)
    planned = _jobs(config, out)
    setups = {(j.network, j.spec.name): Setup.of(j.config, data) for j in reversed(planned)}
    if out:
        _open(out, config, resume)
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
    rows = _rows(config, planned, outcomes, setups)
    results = Results(
        **provenance(config, command),
        rows=rows,
    )
    if out:
        write_atomic(out / "compare.yaml", dump(config))
        write_atomic(out / "results.json", results.model_dump_json(indent=1) + "\n")
    return results


def provenance(config: TrainingConfig, command: str) -> dict[str, Any]:
    """Where results come from: version, time, command, environment and configuration."""
    return {
        "insitu": insitu.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "environment": environment(),
        "config": config.model_dump(mode="json", exclude={"data_dir"}),
    }


def _open(out: Path, config: CompareConfig, resume: bool) -> None:
    if (out / "compare.yaml").exists() and not resume:
        raise CheckpointError(
            f"folder {out} already holds a comparison; pass --resume to go on with it, or another --out"
        )
    make_folder(out)
    if not (out / "compare.yaml").exists():
        write_atomic(out / "compare.yaml", dump(config))


def _rows(
    config: CompareConfig,
    jobs: list[_Job],
    outcomes: dict[int, Outcome],
    setups: dict[tuple[str, str], Setup],
) -> list[Row]:
    costs = {key: step_cost(setup) for key, setup in setups.items()}
    rows = []
    for network in config.networks:
        baseline = next((costs[network, s.name] for s in config.rules if s.rule == "bp"), None)
        for spec in config.rules:
            key = (network, spec.name)
            runs = [outcomes[i] for i, j in enumerate(jobs) if (j.network, j.spec.name) == key]
            rows.append(_row(setups[key], spec, runs, costs[key], baseline))
    return rows


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
    )
