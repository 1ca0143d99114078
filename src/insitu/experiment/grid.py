"""One network trained with every rule at every number of weight bits and activation bits, in every regime."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from insitu.data import Dataset
from insitu.errors import CheckpointError, ConfigError, InsituError
from insitu.experiment.command import train_command
from insitu.experiment.compare import provenance, spread
from insitu.experiment.config import CompareConfig, RuleSpec, RunConfig, TrainingConfig, parse
from insitu.experiment.folder import begin
from insitu.experiment.identity import fingerprint
from insitu.experiment.record import Curve, Record, Spread
from insitu.experiment.resolve import Setup, load_data
from insitu.experiment.train import train
from insitu.experiment.workers import completed, workers
from insitu.inputs import bounds
from insitu.inputs.documents import Source, parse_json, read_text
from insitu.rules.protocol import make_rule
from insitu.run.files import make_folder, write_atomic
from insitu.run.lock import held

OnEvent = Callable[[dict[str, Any]], None]


def _weight_bits(text: str) -> str:
    if not re.fullmatch(r"1|t|[2-8]|16|32|(1|t|[2-8])\+[1-9]", text):
        raise ValueError(
            "weight bits are 1 to 8, t (ternary), 16, 32, or bits that are read + hidden ones, such as 4+4"
        )
    return text


WeightBits = Annotated[str, AfterValidator(_weight_bits)]
ActBits = Literal["1", "2", "3", "4", "5", "6", "7", "8"]
Regime = Literal["latent", "latent-free"]


@dataclass(frozen=True)
class Bits:
    """What a point computes with: bits of the weights (``t``: ternary ones) and of the activations, and the regime.

    Latent-free training keeps the quantized weights alone, latent training also real ones behind them. ``4+3`` weights
    are latent-free words of 7 bits, of which the forward pass reads the high 4. Weights of 32 bits stand for float32
    throughout: there is no regime to tell apart, and ``regime`` is ``None``.
    """

    weights: str
    activations: str
    regime: str | None

    @property
    def text(self) -> str:
        """As ``precision`` of a run's configuration."""
        if self.regime is None:
            return "float32"
        visible, _, hidden = self.weights.partition("+")
        changes = {"weight": visible if visible == "2" else "", "hidden": hidden}  # w2 alone is ternary
        given = ",".join(f"{k}={v}" for k, v in changes.items() if v)
        name = f"w{visible}a{self.activations}" + ("-free" if self.regime == "latent-free" else "")
        return f"{name}:{given}" if given else name


class GridConfig(TrainingConfig):
    """One network, every rule with every combination of bits and regime, and several seeds."""

    precision: ClassVar[str] = "float32"  # no field here: every point has its own
    network: str = "mlp-64-64-10"
    rules: tuple[RuleSpec, ...] = Field(default=(RuleSpec(rule="bp"),), min_length=1)
    weight_bits: tuple[Annotated[WeightBits, BeforeValidator(str)], ...] = Field(
        default=("1", "t", "2", "4", "8", "32"),
        min_length=1,
        description="t: ternary; 4+3: 7-bit words, the high 4 bits read; 32: float32",
    )
    regimes: tuple[Regime, ...] = Field(default=("latent", "latent-free"), min_length=1)
    act_bits: tuple[Annotated[ActBits, BeforeValidator(str)], ...] = Field(default=("8",), min_length=1)
    seeds: Annotated[int, AfterValidator(bounds.SEEDS.check)] = Field(default=2, ge=1)
    first_seed: Annotated[int, AfterValidator(bounds.SEED.check)] = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        axes = {name: list(getattr(self, name)) for name in ("weight_bits", "regimes", "act_bits")}
        for what, names in {"rules": [spec.name for spec in self.rules], **axes}.items():
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"{what} has {twice!r} twice; name each once (rules can have labels)")
        return self

    @property
    def columns(self) -> tuple[Bits, ...]:
        """Weight bits within regimes within activation bits; float32, if it is asked for, once and last."""
        quantized = [
            Bits(weights, acts, regime)
            for acts in self.act_bits
            for regime in self.regimes
            for weights in self.weight_bits
            if weights != "32" and (regime == "latent-free" or "+" not in weights)
        ]
        return (*quantized, *([Bits("32", "32", None)] if "32" in self.weight_bits else []))

    def run(self, spec: RuleSpec, bits: Bits, seed: int) -> RunConfig:
        """The configuration of one point.

        Raises:
            ConfigError: if there is no such precision.
        """
        shared = {name: getattr(self, name) for name in TrainingConfig.model_fields}
        plain = CompareConfig(**shared).run(self.network, spec, seed)
        return parse(RunConfig, plain.model_dump() | {"precision": bits.text}, "its configuration")


class Point(Record):
    """A finished run, as ``points/<id>.json``; ``id`` is the fingerprint of its configuration."""

    id: str
    samples: int
    seconds: float
    diverged: bool
    curve: Curve


class Cell(Record):
    """One rule at one precision, over the seeds.

    ``refused`` holds the reason where rule, network or precision cannot be trained; then there are no runs. ``points``
    are the ids of the runs, in the order of the seeds. ``diverged`` counts the seeds whose loss left the finite
    numbers; they count in the means. ``seconds`` is the mean training time of a seed, evaluation excluded. Accuracies
    are fractions.
    """

    rule: str
    label: str
    rule_options: dict[str, object]
    precision: str
    weight_bits: str
    act_bits: str
    regime: str | None
    refused: str | None = None
    seeds: list[int] = Field(default_factory=list)
    points: list[str] = Field(default_factory=list)
    test_accuracy: Spread | None = None
    test_loss: Spread | None = None
    diverged: int = 0
    seconds: float | None = None
    curves: list[Curve] = Field(default_factory=list)
    command: str | None = None


class GridResults(Record):
    """A grid: what ``results.json`` holds; cells in the order of rules, then columns."""

    version: Literal[1] = 1
    kind: Literal["grid"] = "grid"
    insitu: str
    created: str
    command: str
    environment: dict[str, str]
    config: dict[str, object]
    rows: list[Cell]


@dataclass(frozen=True)
class _Job:
    """A run that is to be done."""

    id: str
    config: RunConfig


@dataclass(frozen=True)
class _Plan:
    """The runs of a cell, or why there are none."""

    spec: RuleSpec
    bits: Bits
    jobs: tuple[_Job, ...] = ()
    refused: str | None = None


def _plan(config: GridConfig, data: Dataset) -> list[_Plan]:
    """Every cell, checked; a refusal does not depend on the seed.

    Raises:
        ConfigError: for a rule that does not exist, two rules that are the same, or if no cell can be trained.
    """
    for spec in config.rules:
        make_rule(spec.rule, dict(spec.options))
    plans = [_cell_plan(config, spec, bits, data) for spec in config.rules for bits in config.columns]
    if all(plan.refused for plan in plans):
        first = plans[0]
        raise ConfigError(
            f"no point of the grid can be trained; {first.spec.name} at {first.bits.text}: {first.refused}"
        )
    seen: dict[str, str] = {}
    for plan in plans:
        for job in plan.jobs:
            if other := seen.get(job.id):
                raise ConfigError(f"rules {other!r} and {plan.spec.name!r} are the same runs; drop one")
            seen[job.id] = plan.spec.name
    return plans


def _cell_plan(config: GridConfig, spec: RuleSpec, bits: Bits, data: Dataset) -> _Plan:
    try:
        runs = [config.run(spec, bits, config.first_seed + i) for i in range(config.seeds)]
        Setup.of(runs[0], data)
    except InsituError as error:
        return _Plan(spec, bits, refused=str(error))
    return _Plan(spec, bits, tuple(_Job(fingerprint(run), run) for run in runs))


def _run(job: _Job, data: Dataset | None) -> Point:
    outcome = train(job.config, data=data)
    return Point(
        id=job.id,
        samples=outcome.samples,
        seconds=outcome.seconds,
        diverged=outcome.diverged,
        curve=outcome.curve,
    )


def grid(
    config: GridConfig,
    out: Path | None = None,
    *,
    resume: bool = False,
    jobs: int = 1,
    cluster: str | None = None,
    command: str = "",
    on_event: OnEvent = lambda _e: None,
) -> GridResults:
    """Trains every point, and writes ``points/<id>.json`` after each and ``results.json`` at the end into ``out``.

    A point that its rule or precision refuses is a cell with the reason, and the others are trained.

    Args:
        resume: keep the points that are done.
        jobs: runs at a time; with more than one each takes one thread.
        cluster: address of a dask scheduler, whose workers do the runs instead.
        command: recorded in the results.
        on_event: called with ``{"kind": "refused", ...}`` for every refused cell before the first run, and with
            ``{"kind": "run", "done": i, "of": n, ...}`` after every run.

    Raises:
        ConfigError: if nothing can be trained, or the workers cannot be used.
        CheckpointError: if ``out`` holds something else, cannot be read or written, or another process writes there.
    """
    with held(out) if out else nullcontext():
        return _grid(config, out, resume, workers(jobs, cluster), command, on_event)


def _grid(
    config: GridConfig,
    out: Path | None,
    resume: bool,
    helpers: AbstractContextManager[Executor | None],
    command: str,
    on_event: OnEvent,
) -> GridResults:
    data = load_data(config)
    plans = _plan(config, data)
    with helpers as pool:
        if out:
            begin(out, "grid", config, resume, _key)
            make_folder(out / "points")
        for plan in plans:
            if plan.refused:
                on_event({"kind": "refused", **_name(plan), "reason": plan.refused})
        found = _train(plans, data, out, pool, on_event)
    results = GridResults(
        **provenance(config, command),
        rows=[_cell(plan, found) for plan in plans],
    )
    if out:
        write_atomic(out / "results.json", results.model_dump_json(indent=1) + "\n")
    return results


def _name(plan: _Plan) -> dict[str, str]:
    return {"rule": plan.spec.name, "precision": plan.bits.text}


def _train(
    plans: list[_Plan], data: Dataset, out: Path | None, pool: Executor | None, on_event: OnEvent
) -> dict[str, Point]:
    """The points of all plans by id: those that lie in the folder, and the others trained."""
    all_jobs = [(plan, job) for plan in plans for job in plan.jobs]
    found = {point.id: point for point in _stored(out, [job.id for _, job in all_jobs])} if out else {}
    missing = [(plan, job) for plan, job in all_jobs if job.id not in found]
    work = partial(_run, data=None if pool else data)  # other processes load their own
    for i, point in completed(pool, work, [job for _, job in missing]):
        if out:
            write_atomic(_file(out, point.id), point.model_dump_json() + "\n")
        found[point.id] = point
        on_event(
            {
                "kind": "run",
                "done": len(found),
                "of": len(all_jobs),
                **_name(missing[i][0]),
                "seed": point.curve.seed,
                "test_accuracy": point.curve.test_accuracy[-1],
                "test_loss": point.curve.test_loss[-1],
                "diverged": point.diverged,
                "seconds": point.seconds,
            }
        )
    return found


def _key(config: GridConfig) -> dict[str, Any]:
    """What has to agree for a grid to go on: everything that can change bits."""
    return config.model_dump(mode="json", exclude={"checkpoint_steps", "data_dir"})


def _file(out: Path, id: str) -> Path:
    return out / "points" / f"{id}.json"


def _stored(out: Path, ids: list[str]) -> Iterator[Point]:
    """The points of these ids that are done."""
    for id in ids:
        path = _file(out, id)
        if not path.exists():
            continue
        source = Source(f"point {path} is damaged", "remove it to train this point anew", CheckpointError)
        try:
            point = Point.model_validate(parse_json(read_text(path, source), source))
        except ValidationError:
            point = None
        if point is None or point.id != id:
            raise CheckpointError(f"point {path} is damaged; remove it to train this point anew")
        yield point


def _cell(plan: _Plan, found: dict[str, Point]) -> Cell:
    cell = Cell(
        rule=plan.spec.rule,
        label=plan.spec.name,
        rule_options=dict(plan.spec.options),
        precision=plan.bits.text,
        weight_bits=plan.bits.weights,
        act_bits=plan.bits.activations,
        regime=plan.bits.regime,
        refused=plan.refused,
    )
    if plan.refused:
        return cell
    points = [found[job.id] for job in plan.jobs]
    runs = {
        "seeds": [p.curve.seed for p in points],
        "points": [p.id for p in points],
        "test_accuracy": spread([p.curve.test_accuracy[-1] for p in points]),
        "test_loss": spread([p.curve.test_loss[-1] for p in points]),
        "diverged": sum(p.diverged for p in points),
        "seconds": fmean(p.seconds for p in points),
        "curves": [p.curve for p in points],
        "command": train_command(plan.jobs[0].config),
    }
    return cell.model_copy(update=runs)
