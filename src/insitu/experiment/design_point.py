"""One question to the cost model: a network, a rule, a precision, a target and a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from insitu.errors import ConfigError
from insitu.inputs import bounds
from insitu.step.ir import Shape

Shares = tuple[float, ...] | tuple[tuple[str, float], ...]
"""Of the samples, for each trigger: in order, or with names."""


@dataclass(frozen=True)
class DesignPoint:
    """One question to the cost model.

    Attributes:
        network: a name of the zoo, ``file.py:function``, which is run, or a file of layers (.onnx, .npz).
        rule, options: a learning rule and its options.
        precision: a policy.
        target: a built-in target, or the path of a file.
        batch: samples per step.
        norm: ``keep``, ``fold`` or ``rms`` batch norms; ``None``: keep them where the rule and the precision can, else
            fold.
        optimizer, loss: as for training.
        activation: of all hidden layers; ``None``: the network's own.
        triggers: shares of the samples, 0 to 1, for which the triggers of the rule fire: by the names of an
            :class:`~insitu.experiment.impact.Impact`, or as numbers, in the order of the network's layers and the
            rule's phases, or one for all of them; nothing: every sample, the worst case.
        input_shape: of a sample; ``None``: the network's default.
        classes: outputs; ``None``: the network's default.
        batch_norm, dropout: of a network of the zoo, as for training; ``None``: the network's own.

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
    triggers: Shares = ()
    input_shape: Shape | None = None
    classes: int | None = None
    batch_norm: bool | None = None
    dropout: float | None = None

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
    numbers = isinstance(given, tuple) and all(is_number(x) for x in given)
    pairs = isinstance(given, tuple) and all(
        isinstance(x, tuple) and len(x) == 2 and isinstance(x[0], str) and is_number(x[1]) for x in given
    )
    if not (numbers or pairs):
        raise ConfigError(
            f"triggers={given!r} are no shares of the samples; write (0.5,) for all triggers, or one by name: "
            "{'fc1.head': 0.1, 'output': 0.05}"
        )


def is_number(value: Any) -> bool:
    """Is it an int or a float? A bool is neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)
