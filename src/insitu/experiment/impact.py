"""What learning costs on hardware: a network, a rule, a precision and a target become bills. No torch, no data.

A :class:`DesignPoint` names everything; :func:`assess` emits the step, quantizes, lowers and plans it, and costs it
with its inference. :func:`references` are the same point with the rules that every claim is measured against.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import prod
from statistics import fmean
from typing import Any

from insitu.errors import ConfigError, InsituError
from insitu.experiment.memory import idle, moments
from insitu.experiment.record import Moment
from insitu.experiment.workers import completed, workers
from insitu.hardware.bill import Band, Bill, Use, fields, total
from insitu.hardware.cost import capacity_bytes, shares_of
from insitu.hardware.cost import cost as bill_of
from insitu.hardware.target import Array, Processor, find
from insitu.inputs import bounds, foreign
from insitu.network import zoo
from insitu.network.builder import inference_step
from insitu.network.graph import Network
from insitu.network.norms import folded, with_rms
from insitu.network.phases import Phases
from insitu.ops.optimizers import Optimizer
from insitu.passes import lower
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules.protocol import emit_phases, make_rule, phases
from insitu.run.program import Program
from insitu.step.ir import Shape, Step
from insitu.step.triggers import triggers_of

BASELINES = ("bp", "bp-checkpoint", "bp-stash")
"""What a rule's saving is measured against: BP, BP that recomputes, and BP that keeps one bit of an activation."""


@dataclass(frozen=True)
class DesignPoint:
    """One question to the cost model.

    Attributes:
        network: a name of the zoo, or ``file.py:function``, which is run.
        rule, options: a learning rule and its options.
        precision: a policy.
        target: a built-in target, or the path of a file.
        batch: samples per step.
        norm: ``keep``, ``fold`` or ``rms`` batch norms; ``None``: keep them where the rule and the precision can, else
            fold.
        optimizer, loss: as for training.
        activation: of all hidden layers; ``None``: the network's own.
        triggers: shares of the samples, 0 to 1, for which the triggers of the rule fire: by the names of
            :attr:`Impact.triggers`, or as numbers, in the order of the network's layers and the rule's phases, or one
            for all of them; nothing: every sample, the worst case.
        input_shape: of a sample; ``None``: the network's default.
        classes: outputs; ``None``: the network's default.

    Raises:
        ConfigError: triggers that are no such shares, or a batch out of range.
    """

    network: str
    rule: str = "bp"
    precision: str = "float32"
    target: str = "stm32l4r5"
    batch: int = 1
    norm: str | None = None
    options: tuple[tuple[str, Any], ...] = ()
    optimizer: str = "sgd"
    loss: str = "xent"
    activation: str | None = None
    triggers: tuple[float, ...] | tuple[tuple[str, float], ...] = ()
    input_shape: Shape | None = None
    classes: int | None = None

    def __post_init__(self) -> None:
        for name in ("triggers", "options"):
            given = getattr(self, name)
            if isinstance(given, Mapping | list):
                object.__setattr__(self, name, tuple(given.items() if isinstance(given, Mapping) else given))
        _check_shares(self.triggers)
        if type(self.batch) is not int or not 1 <= self.batch <= bounds.BATCH.value:
            raise ConfigError(f"batch={self.batch!r} is out of range; use 1 to {bounds.BATCH.value:,}")

    @property
    def name(self) -> str:
        """As tables call it."""
        options = ",".join(f"{k}={v}" for k, v in self.options)
        return f"{self.rule}[{options}]" if options else self.rule


def _check_shares(given: Any) -> None:
    """Refuses what is neither numbers nor pairs of a name and a number."""
    numbers = isinstance(given, tuple) and all(_is_number(x) for x in given)
    pairs = isinstance(given, tuple) and all(
        isinstance(x, tuple) and len(x) == 2 and isinstance(x[0], str) and _is_number(x[1]) for x in given
    )
    if not (numbers or pairs):
        raise ConfigError(
            f"triggers={given!r} are no shares of the samples; write (0.5,) for all triggers, or one by name: "
            "{'fc1.head': 0.1, 'output': 0.05}"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Impact:
    """The bills of a point; of a rule with phases one each, and their means.

    Attributes:
        bills: of the training step, per phase.
        inference: of the forward pass at the same batch.
        program: what was costed.
    """

    point: DesignPoint
    bills: tuple[Bill, ...]
    inference: Bill
    program: Program

    @property
    def bill(self) -> Bill:
        """That of the phase with the highest peak."""
        return self.bills[self.program.highest]

    @property
    def peak_bytes(self) -> int:
        """The largest of all phases, with what rests meanwhile."""
        return self.program.peak_bytes

    @property
    def energy(self) -> Band | None:
        """pJ per training sample."""
        return _mean([b.energy for b in self.bills])

    @property
    def uses(self) -> dict[Use, float]:
        """What a training sample pays, by entries of the cost table."""
        found: dict[Use, float] = {}
        for bill in self.bills:
            for use, amount in bill.uses.items():
                found[use] = found.get(use, 0.0) + amount / len(self.bills)
        return found

    @property
    def cycles(self) -> Band | None:
        """Per training sample."""
        return _mean([b.cycles for b in self.bills])

    @property
    def seconds(self) -> Band | None:
        """Per training sample."""
        return _mean([b.seconds for b in self.bills])

    @cached_property
    def macs(self) -> float:
        """Per training sample."""
        return fmean(sum(b.macs.values()) / b.batch for b in self.bills)

    @property
    def inference_macs(self) -> float:
        """Per sample."""
        return sum(self.inference.macs.values()) / self.inference.batch

    def bits(self, level: str) -> float:
        """Bits read from and written to a memory level per training sample."""
        both = (b.traffic() for b in self.bills)
        return fmean((r.get(level, 0) + w.get(level, 0)) / self.point.batch for r, w in both)

    @property
    def most_writes(self) -> float:
        """Of the most written parameter, per sample."""
        return max((n for b in self.bills for n in b.writes_per_weight.values()), default=0.0)

    @property
    def lifetime_samples(self) -> Band | None:
        """The shortest of all phases."""
        found = [b.lifetime_samples for b in self.bills]
        known = [band for band in found if band is not None]
        return min(known, key=lambda band: band.central, default=None)

    @property
    def triggers(self) -> dict[str, float]:
        """Share of the samples for which each trigger fires; of a rule with phases, ``phase:`` in front of its name."""
        named = [f"{k}:" if len(self.bills) > 1 else "" for k in range(len(self.bills))]
        return {
            k + name: share for k, bill in zip(named, self.bills) for name, share in bill.triggers.items()
        }

    @property
    def problem(self) -> str | None:
        """Why the target cannot hold it; ``None`` where it can."""
        target = self.inference.target
        room = capacity_bytes(target)
        if isinstance(target, Processor) and self.peak_bytes > room:
            return f"takes {self.peak_bytes:,} bytes, {target.name} has {room:,} of RAM"
        if isinstance(target, Array) and target.memory.store is not None:
            room += target.memory.store.bytes.count
            if self.peak_bytes > room:
                return f"takes {self.peak_bytes:,} bytes, {target.name} has {room:,}"
        return None


def timelines(found: Impact) -> tuple[list[Moment], list[Moment]]:
    """The memory picture of the phase with the highest peak: of the executed program, and of the emitted one."""
    made = found.program
    k = made.highest
    return moments(made.steps[k], made.idle[k]), moments(made.eager[k], made.idle[k])


def _mean(bands: Sequence[Band | None]) -> Band | None:
    found = total(bands)
    return found and found.times(1 / len(bands))


# --- from a point to what is executed ------------------------------------------------------------------------


def network(
    name: str,
    norm: str,
    activation: str | None = None,
    input_shape: Shape | None = None,
    classes: int | None = None,
) -> Network:
    """A network of the zoo, or of a user's file, with its batch norms kept, folded or replaced by RMS norms.

    Args:
        input_shape, classes: ``None``: the network's own.

    Raises:
        ConfigError: an unknown name or activation, or a shape that does not fit.
    """
    return _network(name, norm, activation, input_shape, classes, foreign.stamp(name))


@lru_cache(maxsize=64)
def _network(
    name: str, norm: str, activation: str | None, shape: Shape | None, classes: int | None, _stamp: Any
) -> Network:
    net = _plain(name, activation, shape, classes)
    if shape is not None and prod(net.input_shape) != prod(shape):
        raise ConfigError(
            f"network {name} takes {prod(net.input_shape)} inputs, a sample of {'x'.join(map(str, shape))} has "
            f"{prod(shape)}; use another network or input"
        )
    return {"keep": lambda: net, "fold": lambda: folded(net), "rms": lambda: with_rms(net)}[norm]()


def _plain(name: str, activation: str | None, shape: Shape | None, classes: int | None) -> Network:
    if foreign.is_file(name):
        from insitu.network.torch.userfile import from_file

        if activation is not None:
            raise ConfigError(
                f"network {name!r} has its own activations; leave out activation={activation!r}"
            )
        return from_file(name, shape)
    if name.startswith(zoo.SIZED):
        return zoo.build(name, activation=activation)
    return zoo.build(name, input_shape=shape, classes=classes, activation=activation)


def network_of(point: DesignPoint, norm: str) -> Network:
    """The network of a point."""
    return network(point.network, norm, point.activation, point.input_shape, point.classes)


def _reconstructs(net: Network) -> bool:
    return net.name.startswith("autoencoder")


def program(point: DesignPoint) -> Program:
    """The steps of a point; its target does not matter.

    Raises:
        NetworkError, StepError, ConfigError: as the rule, the precision or a name is refused.
    """
    return _programmed(point, foreign.stamp(point.network))


@lru_cache(maxsize=256)
def _programmed(point: DesignPoint, _stamp: Any) -> Program:
    if point.norm is not None:
        return _program(point, point.norm)
    try:
        return _program(point, "keep")
    except InsituError:
        if not any(x.kind == "batch_norm" for x in network_of(point, "keep").layers):
            raise
    return _program(point, "fold")


def _program(point: DesignPoint, norm: str) -> Program:
    net, policy = network_of(point, norm), make(point.precision)
    rule = make_rule(point.rule, dict(point.options))
    optimizer = Optimizer(point.optimizer)
    targets = _reconstructs(net)
    loss = "mse" if targets else point.loss

    def quantized(step: Step) -> Step:
        return step if policy is None else quantize(step, policy, net.params)

    emitted = emit_phases(rule, net, point.batch, optimizer=optimizer, loss=loss, targets=targets)
    forward = quantized(inference_step(net, point.batch))
    return program_of(tuple(map(quantized, emitted)), forward, phases(rule, net), net, norm)


def program_of(
    eager: tuple[Step, ...], forward: Step, schedule: Phases, net: Network, norm: str = "keep"
) -> Program:
    """What is executed of steps as emitted (and quantized), and of the forward pass."""
    steps = tuple(map(lower, eager))
    forward = lower(forward)
    rest = tuple(idle(schedule, net, steps, step) for step in steps)
    return Program(net.name, steps, forward, eager=eager, idle=rest, norm=norm)


def cost(network: str, **options: Any) -> Impact:
    """What a training step of a network takes: ``insitu.cost("lenet5", rule="drtp", target="stm32l4r5")``.

    Args:
        options: the other attributes of a :class:`DesignPoint`.

    Raises:
        InsituError: as of :func:`assess`.
    """
    return assess(DesignPoint(network, **options))


def assess(point: DesignPoint) -> Impact:
    """The bills of a point.

    Raises:
        InsituError: a name, the rule, the precision or the target refuses.
    """
    target = find(point.target)
    return impact_of(point, program(replace(point, target="", triggers=())), target)


def impact_of(point: DesignPoint, made: Program, target: Processor | Array) -> Impact:
    """The bills of a program.

    Raises:
        ConfigError: the point's shares of triggers do not fit.
        StepError: it does not fit a target without a store.
    """
    shares = _by_step(made, point.triggers)
    bills = tuple(
        bill_of(step, layout, target, triggers=mine)
        for step, layout, mine in zip(made.steps, made.layouts, shares)
    )
    return Impact(point, bills, bill_of(made.inference, made.inference_layout, target), made)


Shares = tuple[float, ...] | tuple[tuple[str, float], ...]
"""Of the samples, for each trigger: in order, or with names."""


def _by_step(made: Program, given: Shares) -> list[tuple[float, ...] | dict[str, float]]:
    """The shares of the triggers of each step, by name, whatever order its ops are executed in.

    Raises:
        ConfigError: names that are not those of the triggers. Another number of shares is left to the bill to refuse.
    """
    named = [list(triggers_of(step)) for step in made.eager]
    prefix = [f"{k}:" if len(named) > 1 else "" for k in range(len(named))]
    known = [front + name for front, names in zip(prefix, named) for name in names]
    pairs = [x for x in given if isinstance(x, tuple)]
    if pairs and sorted(name for name, _ in pairs) != sorted(known):
        raise ConfigError(
            f"trigger shares are of {', '.join(name for name, _ in pairs)}, but the triggers are "
            f"{', '.join(known) or 'none'}; give one of each"
        )
    if not pairs and len(given) != len(known):
        return [() if not names and known else tuple(x for x in given if _is_number(x)) for names in named]
    shares = dict(pairs) if pairs else dict(zip(known, given))
    return [{n: shares[front + n] for n in names} for front, names in zip(prefix, named)]


def with_triggers(points: Sequence[DesignPoint], shares: Shares) -> list[DesignPoint]:
    """The points with shares of triggers, those of rules that learn from every sample without.

    Raises:
        ConfigError: no point has a trigger, or one has another number of them.
    """
    found = [replace(point, triggers=shares if _waits(point, shares) else ()) for point in points]
    if not any(point.triggers for point in found):
        named = ", ".join(dict.fromkeys(point.rule for point in points))
        raise ConfigError(f"trigger shares for {named}: every sample is learned from; leave out --triggers")
    return found


def _waits(point: DesignPoint, shares: Shares) -> bool:
    """Does a point's learning wait for triggers? What is refused anyway is left to say why itself."""
    try:
        made = program(replace(point, target="", triggers=()))
    except InsituError:
        return True
    steps = made.steps
    if not any(map(triggers_of, steps)):
        return False
    for step, mine in zip(steps, _by_step(made, shares)):
        shares_of(step, mine)
    return True


def ask_names(points: Iterable[DesignPoint]) -> None:
    """Refuses names that do not exist; a point with known names may still be refused.

    Raises:
        ConfigError: an unknown network, activation, rule, precision, target or optimizer.
    """
    asked = list(points)
    for point in {(p.network, p.activation): p for p in asked}.values():
        network_of(point, "keep")
    for rule in dict.fromkeys(p.rule for p in asked):
        make_rule(rule)
    for precision in dict.fromkeys(p.precision for p in asked):
        make(precision)
    for target in dict.fromkeys(p.target for p in asked if p.target):
        find(target)
    for optimizer in dict.fromkeys(p.optimizer for p in asked):
        Optimizer(optimizer)


def references(point: DesignPoint) -> dict[str, Impact]:
    """The baselines at the same place; those that refuse the network are left out."""
    found = {}
    for rule in BASELINES:
        try:
            found[rule] = assess(replace(point, rule=rule, options=(), triggers=()))
        except InsituError:
            continue
    return found


def refusal(point: DesignPoint) -> str | None:
    """Why a point cannot be trained on its target; ``None`` if it can."""
    try:
        return assess(point).problem
    except InsituError as error:
        return str(error)


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


def plain(found: Impact, others: Mapping[str, Impact]) -> dict[str, Any]:
    """A point with its bills and the baselines, as plain values for JSON."""
    return {
        **summary_of(found),
        "bills": [fields(bill) for bill in found.bills],
        "inference": fields(found.inference),
        "references": {name: summary_of(other) for name, other in others.items()},
    }


COLUMNS = (
    *("network", "rule", "precision", "target", "batch", "norm", "refused", "peak_bytes", "inference_bytes"),
    *("bytes_to_inference", "macs", "macs_to_inference", "energy_pj", "energy_pj_low", "energy_pj_high"),
    *(
        "inference_energy_pj",
        "energy_to_inference",
        "cycles",
        "seconds",
        "store_bits",
        "area_um2",
        "writes_per_weight",
    ),
    "lifetime_samples",
    "triggers",
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
