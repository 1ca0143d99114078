"""What the caller asked for: limits and options, checked once and read by every loader."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from insitu.errors import ConfigError


@dataclass(frozen=True)
class Request:
    """A checked request. Limits are sample counts >= 1 or None for all; a limit above the count means all."""

    name: str
    limit_train: int | None = None
    limit_test: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, limit in (("limit_train", self.limit_train), ("limit_test", self.limit_test)):
            if limit is not None:
                whole_number(self.name, key, limit, 1)

    def allow_options(self, allowed: Sequence[str]) -> None:
        """Raise `ConfigError` for the first option that is not in `allowed`."""
        for key in self.options:
            if key not in allowed:
                known = (
                    f"Options are: {', '.join(allowed)}." if allowed else "It takes no options; remove it."
                )
                raise ConfigError(f"data '{self.name}' has no option '{key}'. {known}")

    def whole(self, key: str, default: int | None, low: int, high: int | None = None) -> int | None:
        """Option `key` as an int in low..high (also from text such as "3"), else `default`."""
        value = self.options.get(key)
        return default if value is None else whole_number(self.name, key, value, low, high)

    def choice(self, key: str, default: str, allowed: Sequence[str]) -> str:
        """Option `key` as one of `allowed` (a number may stand for its text), else `default`."""
        value = self.options.get(key)
        value = default if value is None else value
        if str(value) not in allowed:
            raise ConfigError(
                f"data '{self.name}', option {key}={value!r}: choose one of {', '.join(allowed)}."
            )
        return str(value)

    def fraction(self, key: str, default: float) -> float:
        """Option `key` as a number strictly between 0 and 1."""
        try:
            value = float(self.options.get(key, default))
        except (TypeError, ValueError):
            value = 0.0
        if not 0.0 < value < 1.0:
            raise ConfigError(
                f"data '{self.name}', option {key}={self.options.get(key)!r}: give a number between 0 and 1."
            )
        return value


def whole_number(name: str, key: str, value: Any, low: int, high: int | None = None) -> int:
    """`value` as an int in low..high; raise `ConfigError` otherwise."""
    try:
        number = int(value) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError):
        number = None
    if number is None or isinstance(value, bool) or number < low or (high is not None and number > high):
        wanted = f"from {low} to {high}" if high is not None else f"of at least {low}"
        raise ConfigError(f"data '{name}', {key}={value!r}: give a whole number {wanted}.")
    return number
