"""What a learning rule is, the registry of rules, and how one becomes a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from math import prod
from typing import Any, ClassVar, Protocol, get_type_hints, runtime_checkable

from insitu.errors import ConfigError, NetworkError
from insitu.inputs import bounds
from insitu.inputs.values import fit_all
from insitu.network.builder import Builder, inference_step
from insitu.network.graph import Network
from insitu.network.phases import ONE, Phases
from insitu.numbers.formats import F32, Float
from insitu.ops.optimizers import Optimizer
from insitu.passes.sweep import sweep
from insitu.step.ir import Step


@dataclass(frozen=True)
class Citation:
    """Where a rule was published."""

    authors: str
    year: int
    title: str
    source: str

    def __str__(self) -> str:
        return f"{self.authors} ({self.year}), {self.title}, {self.source}"


@runtime_checkable
class Rule(Protocol):
    """Emits one training step. Knows nothing of precision, target or backend.

    ``forward_only``: what a block learns from is made at the block or arrives by forward passes; no error is sent
    back to it from a later one.

    A rule may have three methods more: ``phases(net) -> Phases``, if it has a schedule over time (``emit`` then reads
    ``b.phase``); ``emit_inference(net, b)``, if it predicts by something else than the network's own forward pass; it
    ends in ``b.output(scores)``, scores [B, classes]; and ``emit_exits(net, b)``, if its blocks have classifiers: the
    same with the scores of each, in order, in front.
    """

    name: ClassVar[str]
    paper: ClassVar[Citation]

    @property
    def forward_only(self) -> bool: ...

    def emit(self, net: Network, b: Builder) -> None: ...


RULES: dict[str, type[Any]] = {}
"""Rule classes by name; the registry of ``insitu list rules``."""


def rule(cls: type[Any]) -> type[Any]:
    """Class decorator: adds a rule to :data:`RULES` under its ``name``."""
    RULES[cls.name] = cls
    return cls


def make_rule(name: str, options: Mapping[str, Any] | None = None) -> Rule:
    """A rule by name, with its options.

    Raises:
        ConfigError: for an unknown rule or option, naming the known ones.
    """
    if name not in RULES:
        near = get_close_matches(name, RULES, n=1)
        hint = f"did you mean {near[0]!r}? Known" if near else "known"
        raise ConfigError(f"rule {name!r} is unknown; {hint}: {', '.join(RULES)}")
    hints = get_type_hints(RULES[name])
    declared = {f.name: hints[f.name] for f in fields(RULES[name])}
    given = fit_all(options or {}, declared, f"rule {name!r}")
    for option, value in given.items():
        try:
            bounds.check_option(value)
        except ValueError as error:
            raise ConfigError(
                f"rule {name!r}, option {option}={value!r}: {error}; correct this value"
            ) from None
    made: Rule = RULES[name](**given)
    return made


def ask_labels(rule: str, b: Builder, why: str, instead: str = "dfa") -> None:
    """Refuses regression targets for a rule of class labels, with the nearest rule that works."""
    if b.targets:
        raise NetworkError(
            f"rule {rule} cannot train {b.net.name} on regression targets: {why}; use {instead}"
        )


def ask_hidden(rule: str, net: Network) -> None:
    """Refuses a network without a hidden block."""
    if len(net.blocks) < 2:
        raise NetworkError(f"rule {rule} needs a hidden block, but {net.name} has none; use bp")


def choose(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuses an option's value that is not allowed."""
    if value not in allowed:
        raise ConfigError(f"option {option}={value!r} is unknown; use one of {', '.join(allowed)}")


def phases(rule: Rule, net: Network) -> Phases:
    """The rule's schedule over time on a network; one phase for most rules."""
    found: Phases = rule.phases(net) if hasattr(rule, "phases") else ONE
    return found


def emit_step(
    rule: Rule,
    net: Network,
    batch: int,
    *,
    optimizer: Optimizer | None = None,
    loss: str = "xent",
    targets: bool = False,
    with_loss: bool = False,
    real: Float = F32,
    phase: int = 0,
    start: int = 0,
) -> Step:
    """One verified training step of a rule for a network, as emitted (see :func:`insitu.passes.lower`).

    Args:
        phase: of a rule with a schedule over time (see :func:`phases`).
        start: the block whose input the step takes instead of the samples (see :attr:`Phases.starts`).
    """
    b = Builder(
        net,
        batch,
        name=f"{rule.name}-{net.name}" + (f"-phase{phase}" if phase else ""),
        optimizer=optimizer,
        loss=loss,
        targets=targets,
        with_loss=with_loss,
        real=real,
        phase=phase,
        start=start,
    )
    rule.emit(net, b)
    step = b.finish()
    _bounded(step)
    return _without_frozen(rule, net, step) if net.frozen else step


def _bounded(step: Step) -> None:
    """Refuses what no memory holds, before it has values."""
    try:
        bounds.RESIDENTS.check(sum(prod(value.shape) for value in step.residents))
    except ValueError as error:
        raise ConfigError(
            f"step {step.name}: its weights and states are a number of values that {error}; use a smaller network, or "
            "smaller options of the rule"
        ) from None


def _without_frozen(rule: Rule, net: Network, step: Step) -> Step:
    """The step without what serves frozen parameters only.

    Raises:
        NetworkError: if nothing is left that learns.
    """
    kept = {*net.params, *(v.name for v in emit_inference(rule, net, 1).residents)}
    swept = sweep(step, kept)
    if not any(v.name in kept for op in swept.ops if op.kind != "bn_track" for v in op.written):
        raise _nothing_learns(rule, net)
    return swept


def _nothing_learns(rule: Rule, net: Network) -> NetworkError:
    free = ", ".join(net.trainable)
    if not free:
        return NetworkError(
            f"network {net.name} cannot learn: all of its parameters are frozen; set requires_grad for one"
        )
    return NetworkError(
        f"rule {rule.name} would change nothing in {net.name}: of the parameters that it trains all are frozen, and "
        f"it does not train {free}; use rule bp, or set requires_grad for a parameter of another block"
    )


def emit_phases(rule: Rule, net: Network, batch: int, **options: Any) -> list[Step]:
    """The step of every phase; ``options`` as of :func:`emit_step`."""
    found = phases(rule, net)
    return [emit_step(rule, net, batch, phase=k, start=found.start(k), **options) for k in range(found.count)]


def emit_exits(rule: Rule, net: Network, batch: int, *, real: Float = F32) -> Step | None:
    """The forward pass with the scores of every block's classifier, in order, and those of the network, each
    [B, classes]; ``None`` for a rule, or a network, without such classifiers."""
    if not hasattr(rule, "emit_exits"):
        return None
    b = Builder(net, batch, name=f"exits-{rule.name}-{net.name}", real=real, training=False)
    rule.emit_exits(net, b)
    step = b.finish()
    return step if len(step.outputs) > 1 else None


def emit_inference(rule: Rule, net: Network, batch: int, *, real: Float = F32) -> Step:
    """How a network that the rule trained predicts: scores [B, classes]; mostly its forward pass."""
    if not hasattr(rule, "emit_inference"):
        return inference_step(net, batch, real=real)
    b = Builder(net, batch, name=f"infer-{rule.name}-{net.name}", real=real, training=False)
    rule.emit_inference(net, b)
    return b.finish()
