"""What learning costs on hardware: a network, a rule, a precision and a target become bills. No torch, no data.

A :class:`~insitu.experiment.design_point.DesignPoint` names everything; :func:`assess` has it emitted, quantized,
lowered and planned, and costs it with its inference. :func:`references` are the same point with the rules that every
claim is measured against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

from insitu.backends.protocol import find as backend
from insitu.errors import InsituError
from insitu.experiment.design_point import DesignPoint
from insitu.experiment.design_program import program, shares_by_step
from insitu.experiment.memory import moments
from insitu.experiment.record import Moment
from insitu.hardware.bill import Band, Bill, Use, lifetime, total
from insitu.hardware.cost import capacity_bytes
from insitu.hardware.cost import cost as bill_of
from insitu.hardware.mapped import Mapped
from insitu.hardware.target import Array, Engine, Known, find
from insitu.run.program import Program

BASELINES = ("bp", "bp-checkpoint", "bp-stash")
"""What a rule's saving is measured against: BP, BP that recomputes, and BP that keeps one bit of an activation."""


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
        """Of the most written parameter, per training sample: one that learns in some phases rests in the others."""
        writes: dict[str, float] = {}
        for bill in self.bills:
            for name, n in bill.writes_per_weight.items():
                writes[name] = writes.get(name, 0.0) + n / len(self.bills)
        return max(writes.values(), default=0.0)

    @property
    def lifetime_samples(self) -> Band | None:
        """Training samples until the most written parameter has used up its endurance; ``None``: nothing wears out."""
        endurance = next((b.endurance for b in self.bills if b.endurance is not None), None)
        return lifetime(endurance, self.most_writes)

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
        if not isinstance(target, Array) and self.peak_bytes > room:
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


def impact_of(point: DesignPoint, made: Program, target: Known) -> Impact:
    """The bills of a program.

    Raises:
        ConfigError: the point's shares of triggers do not fit.
        ConfigError: an engine has no microcode for it.
        StepError: it does not fit a target without a store.
    """
    shares = shares_by_step(made, point.triggers)
    *steps, inference = _mapped(made, target)
    bills = tuple(
        bill_of(step, layout, target, triggers=mine, mapped=mapped)
        for step, layout, mine, mapped in zip(made.steps, made.layouts, shares, steps)
    )
    forward = bill_of(made.inference, made.inference_layout, target, mapped=inference)
    return Impact(point, bills, forward, made)


def _mapped(made: Program, target: Known) -> Sequence[Mapped | None]:
    """What the backend of an engine knows of each training step and of inference; nothing of other targets."""
    if isinstance(target, Engine):
        return backend(target.backend).mapped(made, target)
    return [None] * (len(made.steps) + 1)


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
