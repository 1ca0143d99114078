"""First values of a step's residents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from insitu.errors import StepError
from insitu.network.graph import draw
from insitu.numbers.formats import Quantized
from insitu.ops.quant import EXACT
from insitu.run.integer import channel_gain, first_integers
from insitu.step.ir import Step, Value

State = dict[str, torch.Tensor]
"""Resident tensors by name; the executors of one run share it and change it in place."""


def _first(value: Value, params: Mapping[str, np.ndarray], seed: int) -> np.ndarray:
    init = value.init
    assert init is not None
    if init.kind == "param" and init.key not in params:
        raise StepError(f"resident %{value.name} needs parameter {init.key!r}, which the network lacks")
    first = params[init.key] if init.kind == "param" else draw(init, value.shape, seed)
    return first if init.times == 1.0 else first * np.float32(init.times)


def first_arrays(step: Step, params: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """The residents' first values for :mod:`insitu.run.integer`: int64, or float32 for reals."""
    return {v.name: first_integers(v, _first(v, params, seed), seed) for v in step.residents}


def carrier(value: Value, real: torch.dtype) -> torch.dtype:
    """The torch type that holds a value: ``real`` for reals, the smallest float that is exact for integers."""
    if not isinstance(value.format, Quantized):
        return real
    return torch.float32 if value.format.reach < EXACT else torch.float64


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
            array = _first(value, params, seed)
            if isinstance(value.format, Quantized):
                array = first_integers(value, array, seed)
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
