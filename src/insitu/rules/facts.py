"""What a rule needs and keeps, read from the steps that it emits."""

from __future__ import annotations

from dataclasses import fields
from inspect import cleandoc
from typing import Any

from insitu.errors import NetworkError, StepError
from insitu.network import zoo
from insitu.network.graph import Network
from insitu.passes import lower, plan
from insitu.passes.precision import NAMED
from insitu.passes.quantize import quantize
from insitu.rules.protocol import RULES, Rule, emit_phases, make_rule
from insitu.step.ir import Phase, Role, Step

EXAMPLE = "mlp-784-100-50-10"
"""The network on which docs and ``insitu show rule`` say what a rule keeps alive."""


def example() -> Network:
    """The network of :data:`EXAMPLE`, with ReLUs, which every rule takes."""
    return zoo.build(EXAMPLE, activation="relu")


def smallest_batch(rule: Rule, net: Network) -> int:
    """The smallest batch that the rule learns from: 1, or 2 for one that compares samples."""
    try:
        emit_phases(rule, net, 1)
    except NetworkError:
        return 2
    return 1


def executed(rule: Rule, net: Network, batch: int) -> Step:
    """The step that is executed; of a rule with phases the one that takes most."""
    steps = [lower(step) for step in emit_phases(rule, net, batch)]
    return max(steps, key=lambda step: plan(step).peak_bytes)


def alive(step: Step) -> list[str]:
    """Names of the activations that are still alive when the error of the network's output is made."""
    last = next((i for i, op in enumerate(step.ops) if op.where.layer == "output"), len(step.ops) - 1)
    roles = {v.name: v.role for op in step.ops for v in op.outputs} | {v.name: v.role for v in step.inputs}
    return [
        name
        for name, (birth, death) in step.keeps().items()
        if birth <= last < death and roles[name] == Role.ACTIVATION
    ]


def unready(rule: Rule) -> str | None:
    """Why the rule's step on a small network cannot be quantized to 8 bits; ``None`` if it can."""
    net = zoo.build("mlp-8-6-6-4", activation="relu")
    try:
        for step in emit_phases(rule, net, smallest_batch(rule, net)):
            quantize(step, NAMED["edge-latent-free-8"], net.params)
    except StepError as error:
        return str(error)
    return None


def integer_ready(rule: Rule) -> bool:
    """Can its step be quantized?"""
    return unready(rule) is None


def needs(rule: Rule) -> dict[str, Any]:
    """What the rule asks for.

    ``forward_only`` is the rule's own statement (the tests move later layers and look). The rest is read from the
    steps for two small networks: ``feedback`` (a matrix beside the weights, stored or regenerated), ``min_batch``,
    ``conv`` (serves convolutions), ``integer`` (its step can be quantized).
    """
    net = zoo.build("mlp-8-6-6-4", activation="relu")
    batch = smallest_batch(rule, net)
    steps = emit_phases(rule, net, batch)
    ops = [op for step in steps for op in step.ops]
    stored = any(v.role == Role.FEEDBACK for step in steps for v in step.residents)
    try:
        emit_phases(rule, zoo.build("cnn-8-16"), batch)
        conv = True
    except NetworkError:
        conv = False
    return {
        "forward_only": rule.forward_only,
        "feedback": stored or any(op.phase == Phase.FEEDBACK for op in ops),
        "min_batch": batch,
        "conv": conv,
        "integer": integer_ready(rule),
    }


def describe() -> list[dict[str, Any]]:
    """A row per rule: what it is, what it needs, its options with their defaults, and its paper."""
    return [
        {
            "rule": name,
            "what": cleandoc(cls.__doc__ or "").splitlines()[0],
            **needs(make_rule(name)),
            "options": ", ".join(f"{f.name}={f.default}" for f in fields(cls)) or None,
            "year": cls.paper.year,
            "paper": f"{cls.paper.authors}, {cls.paper.title}, {cls.paper.source}",
        }
        for name, cls in RULES.items()
    ]


def explain(name: str, batch: int = 32) -> dict[str, Any]:
    """One rule in full: its docstring, what it needs, and what its step keeps alive on :data:`EXAMPLE`.

    Raises:
        ConfigError: for an unknown rule.
    """
    rule = make_rule(name)
    net = example()
    step = executed(rule, net, batch)
    return {
        "rule": name,
        "text": cleandoc(type(rule).__doc__ or ""),
        "paper": str(rule.paper),
        **needs(rule),
        "options": {f.name: f.default for f in fields(type(rule))},  # type: ignore[arg-type]
        "network": EXAMPLE,
        "batch": batch,
        "alive": alive(step),
        "bytes": {role.value: n for role, n in plan(step).by_role.items() if n},
    }
