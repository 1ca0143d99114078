"""First values of a step's residents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from insitu.errors import StepError
from insitu.network.graph import draw
from insitu.step.ir import Step, Value

State = dict[str, torch.Tensor]
"""Resident tensors by name; the executors of one run share it and change it in place."""


def _first(value: Value, params: Mapping[str, np.ndarray], seed: int) -> np.ndarray:
    init = value.init
    assert init is not None
    if init.kind == "param":
        if init.key not in params:
            raise StepError(f"resident %{value.name} needs parameter {init.key!r}, which the network lacks")
        return params[init.key]
    return draw(init, value.shape, seed)


def extend_state(
    state: State,
    step: Step,
    params: Mapping[str, np.ndarray],
    seed: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: Any = "cpu",
) -> State:
    """Adds the residents of ``step`` that ``state`` lacks; returns ``state``.

    Args:
        params: the network's parameters, float32.
        seed: of the run; feedback matrices follow from it.
    """
    for value in step.residents:
        if value.name not in state:
            array = np.ascontiguousarray(_first(value, params, seed))
            state[value.name] = torch.from_numpy(array.copy()).to(device=device, dtype=dtype)
    return state
