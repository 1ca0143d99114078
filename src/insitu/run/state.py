"""A step's residents as torch tensors: initial values, carriers, and back to reals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from insitu.numbers.formats import Quantized
from insitu.ops.quant import EXACT
from insitu.run.initial import initial_state, initial_value
from insitu.run.integer import channel_gain, initial_integers
from insitu.step.ir import Step, Value

__all__ = ["State", "carrier", "extend_state", "initial_state", "integer_samples", "real_value"]

State = dict[str, torch.Tensor]
"""Resident tensors by name; the executors of one run share it and change it in place."""


def carrier(value: Value, real: torch.dtype) -> torch.dtype:
    """The torch type that holds a value: ``real`` for reals, the smallest float that is exact for integers."""
    if not isinstance(value.format, Quantized):
        return real
    return torch.float32 if value.format.max_abs < EXACT else torch.float64


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
        dtype: of reals; integers are held by a float that is exact for them.
    """
    for value in step.residents:
        if value.name not in state:
            array = initial_value(value, params, seed)
            if isinstance(value.format, Quantized):
                array = initial_integers(value, array, seed)
            tensor = torch.from_numpy(np.ascontiguousarray(array).copy())
            state[value.name] = tensor.to(device=device, dtype=carrier(value, dtype))
    return state


def real_value(value: Value, tensor: torch.Tensor) -> np.ndarray:
    """What a resident stands for, float32."""
    array = tensor.detach().cpu().double().numpy()
    unit = 1.0 if value.unit is None else value.unit * channel_gain(value)
    return np.asarray(array * unit).astype(np.float32)


def integer_samples(value: Value, x: torch.Tensor) -> torch.Tensor:
    """Real samples as the integers of a step's input, float32; ties go up."""
    fmt = value.format
    assert isinstance(fmt, Quantized) and value.unit is not None
    position = x.float() / value.unit + value.zero
    return position.add_(0.5).floor_().clamp_(fmt.least, fmt.greatest)
