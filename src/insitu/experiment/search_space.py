"""What ``insitu search`` chooses from, and what of it the plan leaves within a budget, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from insitu.data import Dataset
from insitu.errors import ConfigError, InsituError
from insitu.experiment.compare import assessed, over_budget
from insitu.experiment.config import BudgetConfig, CalibrationConfig, RuleSpec, RunConfig
from insitu.experiment.resolve import Setup, build_network
from insitu.inputs import bounds
from insitu.inputs.values import show_pairs
from insitu.network.graph import WEIGHTED
from insitu.rules.protocol import make_rule

Words = Annotated[str, BeforeValidator(str), Field(pattern=r"^(t|[2-8]|16)$")]

NARROW = ("t", "2", "3", "4", "5", "6", "7")
"""Words with fewer bits than heads and last layers can do with."""

RESIDUAL = {"update": "error-feedback", "group_size": "1", "threshold": "4"}
"""A residual for every weight, rounded to nearest."""

PLANNED = CalibrationConfig(samples=8)
"""Samples whose ranges a plan is made with: they place binary points, and bytes do not depend on those."""


class SearchConfig(BudgetConfig):
    """One network on one data set, and every choice that a search has under its budget.

    A rule takes those of ``options`` that it has. ``precision`` is the policy that the words are changed in. Rates are
    powers of two: in integers a rate is a shift.
    """

    network: str = "mlp-64-64-10"
    precision: str | dict[str, Any] = "edge-latent-free-8"
    batch: Annotated[int, AfterValidator(bounds.BATCH.check)] = Field(default=1, ge=1)
    epochs: Annotated[int, AfterValidator(bounds.EPOCHS.check)] = Field(default=5, ge=1)
    validation: float = Field(default=0.1, gt=0, lt=1, description="share of the training split held out")
    rules: tuple[str, ...] = Field(default=("bp", "bp-stash", "pred", "etch"), min_length=1)
    options: dict[str, tuple[Any, ...]] = Field(
        default={"limit": (64, 256, 1024), "violators": ("one", "mean")},
        description="values of options, for the rules that have them",
    )
    weight_bits: tuple[Words, ...] = Field(default=("8", "4"), min_length=1)
    residual_bits: tuple[Annotated[int, Field(ge=0, le=16)], ...] = Field(
        default=(0, 2, 4), min_length=1, description="kept per weight beside its word; 0: none"
    )
    rates: tuple[Annotated[int, Field(ge=-30, le=4)], Annotated[int, Field(ge=-30, le=4)]] = Field(
        default=(-9, -3), description="least and greatest exponent of 2 of the learning rate"
    )
    trials: Annotated[int, AfterValidator(bounds.COUNT.check)] = Field(default=40, ge=1)
    seed: Annotated[int, AfterValidator(bounds.SEED.check)] = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _searchable(self) -> Self:
        if self.hardware is None or self.max_bytes is None:
            raise ValueError("a search needs a budget: max_bytes, and hardware (--max-bytes and --target)")
        if self.policy is None:
            raise ValueError("a search over words needs integers; use a policy of 'insitu list precisions'")
        if self.rates[0] > self.rates[1]:
            raise ValueError(f"rates {self.rates} are none; write the least exponent first")
        return self

    def policies(self, last: str) -> dict[str, str]:
        """The policy with every number of bits of hidden words and of residuals, by short names such as ``4+2``.

        Args:
            last: the last weighted layer. It has words of 8 bits at least, and so have heads.
        """
        return {
            f"{bits}+{residual}" if residual else bits: self._policy(last, bits, residual)
            for bits, residual in product(self.weight_bits, self.residual_bits)
        }

    def _policy(self, last: str, bits: str, residual: int) -> str:
        assert self.policy is not None
        changes = {} if bits == self.policy.weight else {"weight": bits}
        if bits in NARROW:
            changes |= {"head": "8", f"layers.{last}.weight": "8"}
        if residual:
            changes |= RESIDUAL | {"residual_bits": str(residual)}
        colon = "," if ":" in self.policy.name else ":"
        return self.policy.name + (colon + show_pairs(changes) if changes else "")

    def forms(self, rule: str) -> Iterator[dict[str, Any]]:
        """The rule's options in every combination of those that it has."""
        known = {f.name for f in fields(type(make_rule(rule)))}  # type: ignore[arg-type]
        axes = {name: values for name, values in self.options.items() if name in known}
        for values in product(*axes.values()):
            yield dict(zip(axes, values))


@dataclass(frozen=True)
class Candidate:
    """A rule with its options in a precision, and what a step of it takes.

    Attributes:
        options, bits: short names of both, such as ``limit=64`` and ``4+2``.
        peak_bytes: at the training batch.
        energy_uj: of a training sample on the target, the central value; ``None``: the target does not say.
    """

    spec: RuleSpec
    options: str
    bits: str
    peak_bytes: int = 0
    energy_uj: float | None = None

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.spec.rule, self.options, self.bits)))


@dataclass(frozen=True)
class Space:
    """The candidates that may train, from the fewest bytes up, and the others by name with the reason."""

    candidates: tuple[Candidate, ...]
    refused: dict[str, str]


def space(config: SearchConfig, data: Dataset) -> Space:
    """Every candidate of a search, planned: nothing is trained. Of candidates with one step the first is kept.

    Raises:
        ConfigError: for an unknown rule, or where the budget leaves none.
    """
    kept: dict[str, Candidate] = {}
    refused: dict[str, str] = {}
    for asked in _asked(config, data):
        try:
            setup = Setup.of(_planned(config, asked.spec), data)
            impact = assessed(setup, config.hardware)
            reason = over_budget(config, setup, impact)
        except InsituError as error:
            impact, reason = None, str(error)
        if reason or impact is None:
            refused[asked.name] = str(reason)
            continue
        energy = impact.energy.central / 1e6 if impact.energy is not None else None
        kept.setdefault(
            _program(setup), replace(asked, peak_bytes=setup.program.peak_bytes, energy_uj=energy)
        )
    if not kept:
        raise ConfigError(_nothing(refused))
    return Space(tuple(sorted(kept.values(), key=lambda c: (c.peak_bytes, c.name))), refused)


def _asked(config: SearchConfig, data: Dataset) -> Iterator[Candidate]:
    net = build_network(config.network, data, config, config.seed)
    *_, last = (layer.name for layer in net.layers if layer.kind in WEIGHTED)
    for rule in config.rules:
        for options, (bits, precision) in product(config.forms(rule), config.policies(last).items()):
            shown = ",".join(f"{k}={v}" for k, v in options.items())
            yield Candidate(RuleSpec(rule=rule, options=options, precision=precision), shown, bits)


def _planned(config: SearchConfig, spec: RuleSpec) -> RunConfig:
    run = config.run(config.network, spec, config.seed)
    return run.model_copy(update={"calibration": PLANNED})


def _program(setup: Setup) -> str:
    """What candidates with the same step have in common."""
    return "\n".join(str(step) for step in setup.steps)


def _nothing(refused: dict[str, str]) -> str:
    name, reason = next(iter(refused.items()))
    return (
        f"none of {len(refused)} candidates may train; {name}: {reason}; raise --max-bytes or --max-energy-uj, take "
        "another --target, or let --weight-bits, --rules or --set options.limit go further"
    )
