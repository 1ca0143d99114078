"""Weight updates: a file and a frozen dataclass per method, all of them by the name that policies use."""

from __future__ import annotations

from importlib.metadata import entry_points

from insitu.ops.updates.base import BoundUpdate, WeightUpdate
from insitu.ops.updates.bop import Bop
from insitu.ops.updates.dst import Dst
from insitu.ops.updates.error_feedback import ErrorFeedback
from insitu.ops.updates.integer_sgd import IntegerSgd
from insitu.ops.updates.master import MasterUpdate
from insitu.ops.updates.niti import Niti
from insitu.ops.updates.round_robin import RoundRobin
from insitu.ops.updates.stochastic import Stochastic
from insitu.ops.updates.threshold import Threshold

METHODS: dict[str, type[WeightUpdate]] = {
    cls.name: cls for cls in (Stochastic, Threshold, ErrorFeedback, RoundRobin, Bop, Dst, IntegerSgd, Niti)
}
"""Every method; :func:`register` and entry points of the group ``insitu.updates`` add more."""


def register(cls: type[WeightUpdate]) -> type[WeightUpdate]:
    """Adds a method from outside; a decorator of its class."""
    METHODS[cls.name] = cls
    return cls


def find(name: str) -> type[WeightUpdate] | None:
    """The method of a name; installed packages are looked at where insitu has none."""
    if name not in METHODS:
        for entry in entry_points(group="insitu.updates", name=name):
            register(entry.load())
    return METHODS.get(name)


__all__ = [
    "METHODS",
    "Bop",
    "BoundUpdate",
    "Dst",
    "ErrorFeedback",
    "IntegerSgd",
    "MasterUpdate",
    "Niti",
    "RoundRobin",
    "Stochastic",
    "Threshold",
    "WeightUpdate",
    "find",
    "register",
]
