"""What a learning rule is, the registry of rules, and how one becomes a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, ClassVar, Protocol, get_type_hints, runtime_checkable

from pydantic import TypeAdapter, ValidationError

from insitu.errors import ConfigError
from insitu.network.builder import Builder
from insitu.network.graph import Network
from insitu.numbers.formats import F32, Float
from insitu.ops.state import Optimizer
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
    """Emits one training step. Knows nothing of precision, target or backend."""

    name: ClassVar[str]
    paper: ClassVar[Citation]

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
    known = [f.name for f in fields(RULES[name])]
    for option in options or {}:
        if option not in known:
            raise ConfigError(
                f"rule {name!r} has no option {option!r}; it has {', '.join(known) if known else 'none'}"
            )
        _check_type(name, option, (options or {})[option])
    made: Rule = RULES[name](**(options or {}))
    return made


def _check_type(rule: str, option: str, value: Any) -> None:
    """Refuses a value that the option's annotation does not allow (a whole number is a float, but no bool is)."""
    wanted = get_type_hints(RULES[rule])[option]
    try:
        TypeAdapter(wanted, config={"strict": True, "allow_inf_nan": False}).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ConfigError(
            f"rule {rule!r}, option {option}={value!r}: {reason.lower()}; correct this value"
        ) from None


def describe() -> list[dict[str, Any]]:
    """A row per rule: name, year, paper, options with their defaults, first line of its docstring."""
    return [
        {
            "rule": name,
            "what": (cls.__doc__ or "").strip().splitlines()[0],
            "options": ", ".join(f"{f.name}={f.default}" for f in fields(cls)) or None,
            "year": cls.paper.year,
            "paper": f"{cls.paper.authors}, {cls.paper.title}, {cls.paper.source}",
        }
        for name, cls in RULES.items()
    ]


def choose(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuses an option's value that is not allowed."""
    if value not in allowed:
        raise ConfigError(f"option {option}={value!r} is unknown; use one of {', '.join(allowed)}")


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
) -> Step:
    """One verified training step of a rule for a network, as emitted (see :func:`insitu.passes.lower`)."""
    b = Builder(
        net,
        batch,
        name=f"{rule.name}-{net.name}",
        optimizer=optimizer,
        loss=loss,
        targets=targets,
        with_loss=with_loss,
        real=real,
    )
    rule.emit(net, b)
    return b.finish()
