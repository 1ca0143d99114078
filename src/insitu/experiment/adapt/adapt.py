"""``insitu adapt``: every rule on the same streams, a rate for each chosen on held-back samples."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from insitu.backends.protocol import find as backend
from insitu.errors import ConfigError, InsituWarning
from insitu.experiment.adapt.config import FROZEN, AdaptConfig
from insitu.experiment.adapt.learner import Learner, setup_of
from insitu.experiment.adapt.record import AdaptCurve, AdaptResults, AdaptRow
from insitu.experiment.adapt.scenarios import Scenario, Stream, World, find, stream, world
from insitu.experiment.adapt.start import pretrained, with_heads
from insitu.experiment.compare import assessed, provenance
from insitu.experiment.config import TORCH, RuleSpec, dump
from insitu.experiment.folder import begin
from insitu.experiment.impact import Impact
from insitu.experiment.record import Spread
from insitu.experiment.workers import completed, workers
from insitu.hardware.target import find as find_target
from insitu.inputs.documents import Source, parse_json, read_text
from insitu.run.files import make_folder, write_atomic
from insitu.run.lock import held

OnEvent = Callable[[dict[str, Any]], None]
POINTS = 20
"""Evaluations along a stream, unless the user says after how many samples."""


@dataclass(frozen=True)
class _Place:
    """Where the files of a rule are: those of another specification have other names, so nothing is written over."""

    out: Path
    spec: RuleSpec

    def file(self, kind: str, *more: str) -> Path:
        safe = "".join(c if c.isalnum() or c in "-._=" else "_" for c in self.spec.name)
        mark = hashlib.sha256(self.spec.model_dump_json().encode()).hexdigest()[:8]
        return self.out / kind / "-".join([safe, mark, *more])


def adapt(
    config: AdaptConfig,
    out: Path,
    *,
    resume: bool = False,
    jobs: int = 1,
    command: str = "",
    on_event: OnEvent = lambda _e: None,
) -> AdaptResults:
    """Every rule meets the same streams; writes ``results.json`` into ``out``.

    Everything is checked before the first step. A rate is chosen for each rule by trials on the first seed's stream,
    scored on samples that are held back from it and from pretraining; test samples serve no choice.

    Args:
        out: folder: pretrained networks, trials and finished streams lie in it.
        resume: keep what is finished; rules and seeds may be added.
        jobs: rules at a time.
        on_event: called with ``{"kind": "rule", ...}`` after every rule.

    Raises:
        InsituError: the request does not fit, or ``out`` holds something else.
    """
    with held(out):
        config = with_engine(config)
        scenario = find(config.scenario)
        given = world(scenario, config.regime, config.data, config.data_dir)
        first = stream(given, config.regime, config.first_seed, config.limit)
        _check(config, first)
        begin(out, "adaptation", config, resume, _shared)
        for seed in _seeds(config):
            pretrained(
                config, _network(config), first.source, seed, out / "pretrain" / f"s{seed}", again=True
            )
        rows: dict[int, AdaptRow] = {}
        with workers(jobs) as pool:
            work = partial(_row, config=config, out=out, given=None if pool else given)
            for i, row in completed(pool, work, config.rules):
                rows[i] = row
                on_event({"kind": "rule", "done": len(rows), "of": len(config.rules), "row": row})
        results = _results(config, scenario, first, [row for _, row in sorted(rows.items())], command)
        write_atomic(out / "adapt.yaml", dump(config))
        write_atomic(out / "results.json", results.model_dump_json(indent=1) + "\n")
        return results


def with_engine(config: AdaptConfig) -> AdaptConfig:
    """The configuration with the torch executor, where the engine lacks a tool; says so."""
    if config.engine == TORCH or (reason := backend(config.engine).missing()) is None:
        return config
    warnings.warn(f"{reason}: the torch executor learns instead, slower", InsituWarning, stacklevel=3)
    return config.model_copy(update={"engine": TORCH})


def _check(config: AdaptConfig, at: Stream) -> None:
    """Refuses what cannot serve before anything is trained or written."""
    find_target(config.hardware)
    if config.replay > len(at.source.train):
        raise ConfigError(
            f"replay={config.replay}, but the buffer begins with samples of pretraining, which are "
            f"{len(at.source.train)}; use at most so many"
        )
    for spec in config.rules:
        setup_of(config, spec, config.first_seed, _network(config), config.start, at)


def _shared(config: AdaptConfig) -> dict[str, Any]:
    """What two configurations of one folder have in common."""
    return config.model_dump(mode="json", exclude={"rules", "seeds", "engine", "data_dir"})


def _seeds(config: AdaptConfig) -> range:
    return range(config.first_seed, config.first_seed + config.seeds)


def _network(config: AdaptConfig) -> str:
    return config.network or find(config.scenario).network


def _learner(config: AdaptConfig, spec: RuleSpec, given: World, seed: int, out: Path) -> Learner:
    network = _network(config)
    at = stream(given, config.regime, seed, config.limit)
    start = pretrained(config, network, at.source, seed, out / "pretrain" / f"s{seed}")
    plain = setup_of(config, spec, seed, network, start, at)
    folder = _Place(out, spec).file("heads", f"s{seed}")
    ready = with_heads(config, spec, plain.config.rule, network, at.source, seed, start, folder)
    setup = plain if ready == start else setup_of(config, spec, seed, network, ready, at)
    return Learner(setup, at, spec.rule == FROZEN, config.replay if spec.rule != FROZEN else 0)


def _row(spec: RuleSpec, config: AdaptConfig, out: Path, given: World | None) -> AdaptRow:
    """All seeds of a rule, and what they come to."""
    given = given or world(find(config.scenario), config.regime, config.data, config.data_dir)
    first = _learner(config, spec, given, config.first_seed, out)
    trials = _trials(config, spec, first, out)
    lr = spec.lr if spec.lr is not None else _best(trials)
    curves = []
    for seed in _seeds(config):
        path = _Place(out, spec).file("runs", f"s{seed}.json")
        if not path.exists():
            learner = first if seed == config.first_seed else _learner(config, spec, given, seed, out)
            every = config.every or max(len(learner.stream.samples) // POINTS, 1)
            _keep(path, learner.run(lr or 0.0, every).model_dump_json())
        curves.append(AdaptCurve.model_validate(_read(path)))
    return _summary(config, spec, first, lr, trials, curves)


def _keep(path: Path, text: str) -> None:
    make_folder(path.parent)
    write_atomic(path, text + "\n")


def _read(path: Path) -> Any:
    source = Source(str(path), "remove it and pass --resume")
    return parse_json(read_text(path, source), source)


def _trials(config: AdaptConfig, spec: RuleSpec, learner: Learner, out: Path) -> dict[str, float]:
    """Score by rate, as many for every rule; none where nothing is to be chosen."""
    if learner.frozen or spec.lr is not None:
        return {}
    path = _Place(out, spec).file("trials", f"s{config.first_seed}.json")
    if not path.exists():
        found = {f"{lr:g}": learner.trial(lr, config.choose) for lr in config.rates}
        _keep(path, json.dumps(found))
    return {str(lr): float(score) for lr, score in _read(path).items()}


def _best(trials: dict[str, float]) -> float | None:
    """The rate of the best score; of equal ones the lowest, which wrecks least."""
    if not trials:
        return None
    return float(max(sorted(trials, key=float), key=lambda lr: trials[lr]))


def _summary(
    config: AdaptConfig,
    spec: RuleSpec,
    learner: Learner,
    lr: float | None,
    trials: dict[str, float],
    curves: list[AdaptCurve],
) -> AdaptRow:
    setup, made = learner.setup, learner.setup.program
    impact = assessed(setup, config.hardware, _shares(curves))
    assert impact is not None
    energy, ratio = _energy(impact, learner)
    goal = learner.stream.goal
    return AdaptRow(
        label=spec.name,
        rule=spec.rule,
        precision=setup.config.precision_name,
        lr=lr,
        trials=trials,
        seeds=[c.seed for c in curves],
        new_before=Spread.of([_new(c, 0, goal) for c in curves]),
        new=Spread.of([_new(c, -1, goal) for c in curves]),
        last=Spread.of([c.domains[-1][-1] for c in curves]),
        old_before=Spread.of([c.old[0] for c in curves]),
        old=Spread.of([c.old[-1] for c in curves]),
        forgotten=Spread.of([c.old[0] - c.old[-1] for c in curves]),
        prequential=Spread.of([c.prequential[-1] or 0.0 for c in curves]),
        peak_bytes=(made.inference_layout.peak_bytes if learner.frozen else made.peak_bytes)
        + learner.replay_bytes,
        replay_bytes=learner.replay_bytes,
        inference_bytes=made.inference_layout.peak_bytes,
        writes_per_weight=learner.per_sample * impact.most_writes,
        energy_pj=energy,
        energy_to_inference=ratio,
        seconds=fmean(c.seconds for c in curves),
        curves=curves,
        paper="" if learner.frozen else str(setup.rule.paper),
    )


def _new(curve: AdaptCurve, point: int, goal: tuple[int, ...]) -> float:
    """The mean of the domains that count."""
    return fmean(curve.domains[point][k] for k in goal)


def _shares(curves: list[AdaptCurve]) -> tuple[tuple[str, float], ...]:
    """How often each trigger fired, on the mean of the seeds."""
    return tuple((name, fmean(c.triggered[name] for c in curves)) for name in curves[0].triggered)


def _energy(impact: Impact, learner: Learner) -> tuple[tuple[float, float, float] | None, float | None]:
    """pJ of a sample of the stream (low, central, high), and over inference's; one that learns predicts by its own
    forward pass."""
    inference = impact.inference.energy
    band = inference if learner.frozen else impact.energy
    if band is None or inference is None:
        return None, None
    times = max(learner.per_sample, 1)
    found = (times * band.low, times * band.central, times * band.high)
    return found, found[1] / inference.central


def _results(
    config: AdaptConfig, scenario: Scenario, at: Stream, rows: list[AdaptRow], command: str
) -> AdaptResults:
    return AdaptResults(
        **provenance(config, command),
        what=scenario.what,
        data=at.source.name,
        network=_network(config),
        domains=list(at.names),
        goal=[at.names[k] for k in at.goal],
        pretrained_on=len(at.source.train),
        stream=len(at.samples),
        tested_old=len(at.source.test),
        tested_new=sum(map(len, at.tests)),
        held_old=len(at.old_held),
        held_new=sum(map(len, at.held)),
        target=config.hardware,
        engine=config.engine,
        rows=rows,
    )
