"""A host that trains by an engine: writes samples, keys and microcode, starts it, reads what has changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from insitu.backends.engine import isa
from insitu.backends.engine.forms import Grid, Planes
from insitu.backends.engine.image import Entry, Image, assemble
from insitu.backends.engine.layout import Place
from insitu.numbers import lfsr, prng
from insitu.numbers.prng import MASK
from insitu.run.program import Program

Ints = npt.NDArray[np.int64]


class Device(Protocol):
    """An engine as its host sees it: the executor of microcode, or hardware.

    Attributes:
        flags: of the triggers, as the last run left them.
        states: of the random registers, of the lanes and of the scalars.
    """

    flags: int
    states: tuple[int, int]

    def write(self, memory: str, address: int, data: npt.NDArray[Any]) -> None:
        """Into ``a`` (bytes), ``w`` (words of P weights), ``code`` or ``table``, from an address on."""
        ...

    def read(self, memory: str, address: int, count: int) -> npt.NDArray[Any]:
        """So many elements of a memory."""
        ...

    def run(self, start: int, label: int) -> int:
        """Runs the microcode at an address to its END; the cycles that it takes."""
        ...


class Host:
    """Trains a program on a device.

    Attributes:
        cycles: of the last run.
    """

    def __init__(self, image: Image, device: Device) -> None:
        self.image, self.device = image, device
        self.cycles = 0
        self._lr = image.program.lr
        device.write("code", 0, image.words)
        device.write("a", image.constants_start, np.frombuffer(image.constants, np.uint8))
        if image.table:
            device.write("table", 0, image.full_table)
        self.load(image.program.initial_state)

    # --- state -----------------------------------------------------------------------------------------------

    def load(self, state: Mapping[str, Any]) -> None:
        """Writes residents; names that the program lacks are left aside."""
        for name, place in self.image.residents.items():
            if name in state:
                self.device.write("w" if place.weights else "a", place.start, place.form.pack(state[name]))
        if lfsr.REGISTERS in state:
            firsts = first_states(self.image.program)
            lanes, scalars = (int(s) or first for s, first in zip(state[lfsr.REGISTERS], firsts))
            self.device.states = lanes, scalars

    @property
    def state(self) -> dict[str, Ints]:
        """All residents by name."""
        found = {name: self._resident(name, place) for name, place in self.image.residents.items()}
        if lfsr.REGISTERS in self.image.program.residents:
            states = zip(self.device.states, first_states(self.image.program))
            found[lfsr.REGISTERS] = np.array([0 if s == first else s for s, first in states])
        return found

    def _resident(self, name: str, place: Place) -> Ints:
        shape = self.image.program.residents[name].shape
        data = self.device.read("w" if place.weights else "a", place.start, place.form.size)
        assert not isinstance(place.form, Grid)
        return place.form.unpack(data).reshape(shape)

    # --- steps ------------------------------------------------------------------------------------------------

    def learn(self, x: Ints, label: Ints, phase: int, lr: float, t: int) -> int:
        """A training step with one sample; the flags of the triggers that have fired."""
        self._follow(lr)
        entry = self.image.entries[phase]
        self._keys(entry, t)
        self._start(entry, x, int(np.asarray(label).ravel()[0]))
        return self.device.flags

    def infer(self, x: Ints) -> Ints:
        """The scores of one sample."""
        entry = self.image.entries[-1]
        self._start(entry, x, 0)
        value, place = entry.output
        assert isinstance(place.form, Planes)
        return place.form.unpack(self.device.read("a", place.start, place.form.size)).reshape(value.shape)

    def _start(self, entry: Entry, x: Ints, label: int) -> None:
        names = {v.name for v in entry.step.inputs}
        self._input(entry, "x", x)
        if "label" in names:
            self._input(entry, "label", np.arange(isa.CLASSES) == label)
        self.cycles = self.device.run(entry.start, label)

    def _input(self, entry: Entry, name: str, array: Any) -> None:
        place = entry.place(name)
        if place is not None:
            self.device.write("a", place.start, place.form.pack(array))

    def _follow(self, lr: float) -> None:
        """Microcode for another learning rate."""
        if lr != self._lr:
            self.image = assemble(self.image.program, self.image.build, lr)
            self.device.write("code", 0, self.image.words)
            self._lr = lr

    def _keys(self, entry: Entry, t: int) -> None:
        """The start states of the generator for the random updates of a training step."""
        for address, stream in self.image.code.keys:
            if entry.start <= address < entry.end:
                key = prng.key(self.image.program.seed, stream, t) & MASK or lfsr.FOR_ZERO
                words = isa.encode("KEYLO", bits=key & 0xFFFF), isa.encode("KEYHI", bits=key >> 16)
                self.device.write("code", address, np.array(words, np.int64))


def first_states(program: Program) -> list[int]:
    """Of the random registers of lanes and scalars, where they have not drawn yet."""
    return [prng.key(program.seed, lfsr.REGISTERS, which) for which in (0, 1)]
