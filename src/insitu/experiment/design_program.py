"""From a design point to what is executed: its network, the steps that learn, the forward pass, shares of triggers.

No torch, no data: a name becomes a network of the zoo (or of a user's file), a rule emits, a policy quantizes,
:mod:`insitu.passes` lower.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import Any

from insitu.errors import ConfigError, InsituError
from insitu.experiment.design_point import DesignPoint, Shares, is_number
from insitu.experiment.memory import idle
from insitu.experiment.own_network import own
from insitu.hardware.cost import shares_of
from insitu.hardware.target import find
from insitu.inputs import foreign
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

Layers = tuple[tuple[str, Any], ...]
"""Options of :func:`insitu.network.zoo.build` that change layers."""


def network(
    name: str,
    norm: str,
    activation: str | None = None,
    input_shape: Shape | None = None,
    classes: int | None = None,
    batch_norm: bool | None = None,
    dropout: float | None = None,
) -> Network:
    """A network of the zoo, or of a user's file, with its batch norms kept, folded or replaced by RMS norms.

    Args:
        activation, input_shape, classes, batch_norm, dropout: ``None``: the network's own.

    Raises:
        ConfigError: an unknown name or activation, a shape that does not fit, or layers asked of a user's file.
    """
    layers = {"activation": activation, "batch_norm": batch_norm, "dropout": dropout}
    given = tuple((option, value) for option, value in layers.items() if value is not None)
    return _network(name, norm, given, input_shape, classes, foreign.stamp(name))


@lru_cache(maxsize=64)
def _network(
    name: str, norm: str, layers: Layers, shape: Shape | None, classes: int | None, _stamp: Any
) -> Network:
    net = _plain(name, layers, shape, classes)
    if shape is not None and prod(net.input_shape) != prod(shape):
        raise ConfigError(
            f"network {name} takes {prod(net.input_shape)} inputs, a sample of {'x'.join(map(str, shape))} has "
            f"{prod(shape)}; use another network or input"
        )
    return {"keep": lambda: net, "fold": lambda: folded(net), "rms": lambda: with_rms(net)}[norm]()


def _plain(name: str, layers: Layers, shape: Shape | None, classes: int | None) -> Network:
    if foreign.has_layers(name) and layers:
        option, value = layers[0]
        raise ConfigError(f"network {name!r} has its own layers; leave out {option}={value!r}")
    if (found := own(name, shape)) is not None:
        return found
    if name.startswith(zoo.SIZED):
        return zoo.build(name, **dict(layers))
    return zoo.build(name, input_shape=shape, classes=classes, **dict(layers))


def network_of(point: DesignPoint, norm: str) -> Network:
    """The network of a point."""
    p = point
    return network(p.network, norm, p.activation, p.input_shape, p.classes, p.batch_norm, p.dropout)


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


def shares_by_step(made: Program, given: Shares) -> list[tuple[float, ...] | dict[str, float]]:
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
        return [() if not names and known else tuple(x for x in given if is_number(x)) for names in named]
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
    for step, mine in zip(steps, shares_by_step(made, shares)):
        shares_of(step, mine)
    return True


def ask_names(points: Iterable[DesignPoint]) -> None:
    """Refuses names that do not exist; a point with known names may still be refused.

    Raises:
        ConfigError: an unknown network, activation, rule, precision, target or optimizer.
    """
    asked = list(points)
    for point in asked:
        network_of(point, "keep")
    for rule in dict.fromkeys(p.rule for p in asked):
        make_rule(rule)
    for precision in dict.fromkeys(p.precision for p in asked):
        make(precision)
    for target in dict.fromkeys(p.target for p in asked if p.target):
        find(target)
    for optimizer in dict.fromkeys(p.optimizer for p in asked):
        Optimizer(optimizer)
