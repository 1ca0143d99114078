"""From a run's configuration to the program that C computes: its steps, first values, and samples as packed integers.

Nothing here needs torch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from insitu.backends.c.host import compiler
from insitu.backends.c.project import Program, Source
from insitu.errors import ConfigError
from insitu.experiment.config import RunConfig
from insitu.numbers.formats import Float, Quantized
from insitu.numbers.packing import pack, packed_size, unpack
from insitu.run.first import first_arrays
from insitu.step.ir import Value

if TYPE_CHECKING:
    from insitu.experiment.setup import Setup

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

ROWS = 4096
"""Samples that are quantized at a time: memory for the passing 64-bit integers."""


def c_program(setup: Setup, batch: int) -> Program:
    """The lowered steps of all phases at a batch size, the prediction of one sample, and the first values."""
    program = _steps(setup, batch)
    first: dict[str, npt.NDArray[Any]] = {}
    for step in (*program.steps, program.inference):
        missing = replace(step, residents=tuple(v for v in step.residents if v.name not in first))
        first |= first_arrays(missing, setup.net.params, setup.config.seed)
    return replace(program, first=first)


def _steps(setup: Setup, batch: int) -> Program:
    config = setup.config
    return Program(
        name=f"{config.rule}-{setup.net.name}",
        steps=tuple(setup.training_step(batch, phase) for phase in range(setup.phases.count)),
        inference=setup.prediction(1),
        first={},
        lr=config.optimizer.lr,
        seed=config.seed,
    )


def check_engine(config: RunConfig) -> None:
    """Refuses what C does not compute whatever the network and the rule are.

    Raises:
        ConfigError: real numbers, or another device than this processor.
    """
    if config.engine != "c":
        return
    if config.policy is None:
        raise ConfigError(
            f"engine c computes in integers, but precision {config.precision_name} is real numbers; choose a policy of "
            "'insitu list precisions', or use --engine torch"
        )
    if config.device != "cpu":
        raise ConfigError(
            f"engine c runs on this processor, but device is {config.device!r}; use device cpu, or --engine torch"
        )


def check_program(setup: Setup) -> None:
    """Refuses a run in C whose steps have ops, formats or updates without a kernel; nothing is compiled.

    Raises:
        ConfigError: naming op, layer and remedy, or the missing compiler.
    """
    if setup.config.engine != "c":
        return
    try:
        compiler()
        Source(_steps(setup, setup.config.batch)).bodies  # noqa: B018  # writing them finds what is missing
    except ConfigError as error:
        raise ConfigError(f"engine c: {error}; or use --engine torch") from None


# --- samples -----------------------------------------------------------------------------------------------------


def as_integers(value: Value, array: npt.NDArray[Any]) -> Ints:
    """Real samples in the units of a step's input, ties up, as :func:`insitu.run.state.integer_samples` rounds in
    float32; class indices as they are."""
    if value.unit is None:
        return np.asarray(array).astype(np.int64)
    fmt = value.format
    assert isinstance(fmt, Quantized)
    position = np.asarray(array, np.float32) / np.float32(value.unit)
    position += np.float32(value.zero)
    position += np.float32(0.5)
    out: Ints = np.clip(np.floor(position), fmt.least, fmt.greatest).astype(np.int64)
    return out


class Feed:
    """Samples (or labels) as the bytes of one input of a step, quantized once, gathered to batches of any size."""

    def __init__(self, value: Value, array: npt.NDArray[Any]) -> None:
        self.value = value
        self.bits = value.size // value.shape[0] * value.format.bits
        blocks = [self._block(array[i : i + ROWS]) for i in range(0, len(array), ROWS)]
        self.rows = np.concatenate(blocks)

    @property
    def whole(self) -> bool:
        """Does every sample fill whole bytes? Else each bit has a byte here."""
        return self.bits % 8 == 0

    def _block(self, array: npt.NDArray[Any]) -> Bytes:
        fmt: Any = self.value.format
        words = as_integers(self.value, array)
        data = pack(words if self.value.unit is None else fmt.from_integers(words), fmt)
        if not self.whole:
            data = np.unpackbits(data, count=len(array) * self.bits, bitorder="little")
        return data.reshape(len(array), -1)

    def batches(self, index: npt.NDArray[np.intp]) -> Bytes:
        """Packed batches [steps, bytes] of the samples ``index`` [steps, batch]."""
        rows = self.rows[index.ravel()].reshape(len(index), -1)
        return rows if self.whole else np.packbits(rows, axis=1, bitorder="little")


def integer_batches(setup: Setup, program: Program, count: int) -> list[tuple[Ints, Ints]]:
    """Integer samples and labels of the first training samples, a batch for each of ``count`` steps, phases in turn."""
    data, found = setup.data.train, []
    for t in range(count):
        step = program.steps[t % len(program.steps)]
        given = {v.name: v for v in step.inputs}
        chosen = np.arange(t * step.batch, (t + 1) * step.batch) % len(data)
        x = data.x[chosen].reshape(step.batch, *setup.net.input_shape)
        found.append((as_integers(given["x"], x), data.y[chosen].astype(np.int64)))
    return found


def unpacked(value: Value, data: Bytes) -> npt.NDArray[Any]:
    """The integers (or float32) that the bytes of a resident in C hold: the way back from ``project.packed``."""
    fmt: Any = value.format
    if isinstance(fmt, Float):
        return np.frombuffer(data[: 4 * value.size].tobytes(), "<f4").reshape(value.shape)
    words = unpack(data[: packed_size(value.size, fmt)], fmt, value.size)
    return (words if value.unit is None else fmt.integers(words)).reshape(value.shape)
