"""Ranges of the samples and activations of a network, measured on data: what static binary points are chosen from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from insitu.errors import DataError
from insitu.experiment.config import CalibrationConfig
from insitu.network.builder import Builder
from insitu.network.graph import Network
from insitu.numbers.formats import F64
from insitu.passes import lower
from insitu.run import integer
from insitu.run.state import extend_state, initial_state
from insitu.run.torch_exec import TorchExecutor
from insitu.step.ir import Step

WORD = 32
"""Bits of the widest integers."""

REACH = 2.0**WORD
"""Samples that integers can hold are at most so large, and their largest at least so small a part of 1."""

DIGITS = 6
"""Significant digits of a measured range: the last ones may differ from machine to machine."""


def _probe_step(net: Network, batch: int) -> Step:
    """The forward pass, giving back what every layer makes."""
    b = Builder(net, batch, name=f"calibrate-{net.name}", real=F64, training=False)
    h = b.x
    for block in net.blocks:
        trace = b.forward(block, h)
        h = trace.output
        b.output(*trace.values.values())
    return b.finish()


def measure(
    net: Network, x: np.ndarray, how: CalibrationConfig, targets: np.ndarray | None = None
) -> dict[str, tuple[float, float]]:
    """(least, greatest) of the samples (``x``) and of every layer's output, by the method of the configuration.

    Args:
        x: samples [N, ...] in the network's input shape; the first ``how.samples`` are used.
        targets: of these samples, [N, ...], whose range (``label``) the outputs share; ``None`` for classes.

    Raises:
        DataError: if a value is not finite, or a layer gives one constant for all samples, or samples are out of reach.
    """
    chosen = np.ascontiguousarray(x[: how.samples])
    if not np.isfinite(chosen).all():
        raise DataError("calibration data hold NaN or infinite values; remove these samples")
    step = _probe_step(net, len(chosen))
    executor = TorchExecutor(
        lower(step, "eager"), extend_state({}, step, net.params, 0, dtype=torch.float64), dtype=torch.float64
    )
    outputs = executor.run(executor.convert(chosen))
    names = [name for block in net.blocks for name in (x.name for x in block.layers)]
    found = {"x": (float(chosen.min()), float(chosen.max()))}
    for name, values in zip(names, outputs):
        found[name] = _range(name, values.numpy(), how)
    if targets is not None:
        found["label"] = _range("of the targets", targets[: how.samples], how)
    if found["x"][0] == found["x"][1]:
        raise DataError(
            f"the {len(chosen)} calibration samples are all {found['x'][0]:g}; give data that vary, or more samples"
        )
    largest = max(map(abs, found["x"]))
    if not REACH**-1 <= largest <= REACH:
        raise DataError(
            f"the calibration samples reach {largest:g}, which no shift of {WORD} bits brings to the scale of a "
            f"weight; divide them by {largest:.0e}"
        )
    return {name: (_short(low), _short(high)) for name, (low, high) in found.items()}


def as_read(net: Network, step: Step) -> Network:
    """The network with the weights that a quantized step reads: rounded, in few bits."""
    params = dict(net.params)
    arrays = initial_state(step, net.params, 0)
    for op in step.ops:
        if op.record.error_below is not None:
            weight, read = op.inputs[1], op.attrs.read
            unit = read.unit if read is not None and read.unit is not None else weight.unit
            shift = 0 if read is None else read.shift
            assert unit is not None, weight.name
            integers = integer.read(read, arrays[weight.name])
            params[weight.name] = (integers * (unit * 2.0**shift)).astype(np.float32)
    return replace(net, params=params)


def _range(name: str, values: np.ndarray, how: CalibrationConfig) -> tuple[float, float]:
    if not np.isfinite(values).all():
        raise DataError(
            f"layer {name} gives values that are not finite on the calibration data; correct its parameters"
        )
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise DataError(
            f"layer {name} gives {low:g} for every calibration sample; more samples, or other first weights, "
            "are needed to choose its range"
        )
    if how.method == "max":
        return low, high
    size = np.abs(values).ravel()
    limit = float(np.percentile(size, how.percentile)) if how.method == "percentile" else _least_squares(size)
    return max(low, -limit), min(high, limit)


def _least_squares(size: np.ndarray, bits: int = 8) -> float:
    """The power-of-two fraction of the largest magnitude that rounds to ``bits`` bits with the least squared error."""
    largest = float(size.max())
    candidates = [largest * 2.0**-k for k in range(6)]

    def loss(limit: float) -> float:
        unit = limit / 2 ** (bits - 1)
        rounded = np.minimum(np.floor(size / unit + 0.5), 2 ** (bits - 1) - 1) * unit
        return float(np.square(rounded - size).sum())

    return min(candidates, key=loss)


def _short(x: float) -> float:
    return float(f"{x:.{DIGITS}g}")
