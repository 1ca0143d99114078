"""Initial values of a step's residents; no torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from insitu.errors import StepError
from insitu.numbers.initial import draw, kind_of
from insitu.run.integer import initial_integers
from insitu.step.ir import Step, Value


def initial_value(value: Value, params: Mapping[str, np.ndarray], seed: int) -> np.ndarray:
    """The real initial value of a resident.

    Raises:
        StepError: the network lacks the parameter, or the kind of initial values is unknown.
    """
    init = value.init
    assert init is not None
    own = kind_of(init).draw is None
    if own and init.key not in params:
        raise StepError(f"resident %{value.name} needs parameter {init.key!r}, which the network lacks")
    first = params[init.key] if own else draw(init, value.shape, seed)
    return first if init.times == 1.0 else first * np.float32(init.times)


def initial_state(step: Step, params: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """The residents' initial values for :mod:`insitu.run.integer`: int64, or float32 for reals."""
    return {v.name: initial_integers(v, initial_value(v, params, seed), seed) for v in step.residents}
