"""Which engine trains a run: refused before the first step where it cannot, made where it can. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from insitu.backends.protocol import find
from insitu.errors import ConfigError
from insitu.experiment.config import TORCH, RunConfig
from insitu.run.engine import AnySize, Engine
from insitu.run.program import Program
from insitu.step.ir import Step


def check_engine(config: RunConfig) -> None:
    """Refuses what no engine of a backend computes, whatever the network and the rule are.

    Raises:
        ConfigError: real numbers, another device than this processor, or a backend that only writes projects.
    """
    name = config.engine
    if name == TORCH:
        return
    if not find(name).runs:
        raise ConfigError(
            f"engine {name}: backend {name} writes projects but runs nothing; use --engine torch"
        )
    if config.policy is None:
        raise ConfigError(
            f"engine {name} computes in integers, but precision {config.precision_name} is real numbers; choose a "
            "policy of 'insitu list precisions', or use --engine torch"
        )
    if config.device != "cpu":
        raise ConfigError(
            f"engine {name} runs on this processor, but device is {config.device!r}; use device cpu, or --engine torch"
        )


def check_steps(name: str, steps: Iterable[Step]) -> None:
    """Refuses steps that an engine has no form for, and an engine that lacks a tool; nothing is compiled.

    Raises:
        ConfigError: naming op, layer and remedy, or the missing tool.
    """
    backend = find(name)
    reasons = (
        [backend.missing()] if backend.missing() else (r for step in steps for r in backend.refuse(step))
    )
    for reason in reasons:
        raise ConfigError(f"engine {name}: {reason}; or use --engine torch")


def engine_of(name: str, program: Callable[[int], Program], batch: int) -> Engine | None:
    """The engine of a run, for any batch size; ``None``: the torch executor, which the trainer has itself.

    Args:
        program: the run's program for a batch size.
        batch: the run's.

    Raises:
        ConfigError: the engine refuses the program.
    """
    if name == TORCH:
        return None
    backend = find(name)

    def made(size: int) -> Engine:
        try:
            engine = backend.engine(program(size))
        except ConfigError as error:
            raise ConfigError(f"engine {name}: {error}; or use --engine torch") from None
        assert engine is not None, f"backend {name} says that it runs programs, and made no engine"
        return engine

    return AnySize(made, batch)
