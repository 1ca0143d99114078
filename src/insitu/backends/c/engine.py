"""The compiled program as an engine: the bits of the torch executor and of the integer reference, in less time.

What learning changes lies in the program's own memory while it trains, packed as on a device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.backends.c.emit import base_shift
from insitu.backends.c.host import Engine
from insitu.backends.c.memory import packed, unpacked
from insitu.ops.updates import MasterUpdate
from insitu.run.program import Program
from insitu.run.samples import Arrays, Batches
from insitu.step.ir import Step

CALL_BYTES = 1 << 24
"""Bytes of packed samples in one call of C at most."""


class CompiledEngine:
    """A program for one batch size, compiled for this machine; it does not make the training loss.

    Raises:
        ConfigError: an op has no kernel, or there is no compiler.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.c = Engine(program)
        self._effect = lru_cache(maxsize=64)(self._effect_of)

    # --- state -----------------------------------------------------------------------------------------------

    def _parts(self) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
        """Name and bytes of every resident that learning changes; views of the running program."""
        state, residents = self.c.state, self.program.residents
        for name, place in self.c.memory.places.items():
            if place.region == "state":
                yield name, state[place.offset : place.offset + residents[name].bytes]

    @property
    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        return {name: unpacked(self.program.residents[name], part) for name, part in self._parts()}

    def load(self, state: Mapping[str, Any]) -> None:
        for name, part in self._parts():
            if name in state:
                part[:] = np.frombuffer(packed(self.program.residents[name], state[name]), np.uint8)

    def triggered(self) -> list[int]:
        found: list[int] = self.c.fired.tolist()
        self.c.fired[:] = 0
        return found

    def step(self, phase: int) -> Step:
        return self.program.steps[phase]

    def forward(self, _count: int) -> Step:
        return self.program.inference

    # --- training --------------------------------------------------------------------------------------------

    def learn(self, batches: Batches, phase: int, rates: Sequence[float], done: int) -> None:
        first = 0
        while first < len(rates):
            end = self._end(rates, first, first + self._most(phase))
            self.c.set_clock(rates[first], done + first)
            self.c.learn(*self._packed(batches.part(first, end), phase), phase)
            first = end

    def _packed(self, batches: Batches, phase: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Samples and labels of the steps."""
        given = {v.name: v for v in self.program.steps[phase].inputs}
        if "label" not in given:
            none = np.zeros((len(batches), max(self.c.sizes["label_bytes"], 1)), np.uint8)  # C looks at it
            return batches.packed(given["x"]), none
        return batches.packed(given["x"]), batches.packed(given["label"])

    def _end(self, rates: Sequence[float], first: int, most: int) -> int:
        """The first of the next steps that sees another learning rate, or does not fit into the call."""
        rate, end = rates[first], min(len(rates), most)
        others = (n for n in range(first + 1, end) if rates[n] != rate)
        return next((n for n in others if self._effect(rates[n]) != self._effect(rate)), end)

    def _effect_of(self, rate: float) -> tuple[tuple[int, ...], float | None]:
        """What the steps see of a learning rate: the shifts of their updates, and the rate itself where a real copy of
        the weights moves."""
        shifts = tuple(base_shift(o, rate) for o in self.c.moves)
        return shifts, rate if any(isinstance(o, MasterUpdate) for o in self.c.moves) else None

    def _most(self, phase: int) -> int:
        """Steps of one call by the bytes of their samples."""
        (x,) = (v for v in self.program.steps[phase].inputs if v.name == "x")
        return max(1, CALL_BYTES // max(x.bytes, 1))

    # --- prediction ------------------------------------------------------------------------------------------

    @cached_property
    def _by_sample(self) -> bool:
        """Does the forward pass give a sample the same scores alone and in a batch?"""
        return not any(op.record.mixes_samples(op) for op in self.program.inference.ops)

    def infer(self, data: Arrays, first: int, end: int, threads: int) -> npt.NDArray[np.int32] | None:
        if not self._by_sample:
            return None
        samples = data.packed(self.program.inference.inputs[0], np.arange(first, end)[:, None])
        return self.c.infer(samples, threads)[1]
