"""A program as data for the model: ``program.txt``, which every engine reads, and samples as they lie in its memory.

insitu-engine VERSION       of the map and the instruction set
name ...                    for messages
build LANES FRACTION ADDRESS_BITS OPERAND_BITS WEIGHT_BITS
sizes A_BYTES W_WORDS CODE_WORDS
softmax 0|1                 it needs the unit
sample BYTES
infer ENTRY SAMPLE          address of the forward pass's microcode; where its sample lies in A
scores ADDRESS CLASSES
phase SAMPLE ONE_HOT RATES ENTRY...     a training step; entries by SHIFT; no one-hot label: 4294967295
triggers NAME...            of that phase
state A_BYTES W_WORDS STEPS LANES SCALARS       residents, from address 0 on; states of the random registers
code, table WORD...         hexadecimal
a, w ADDRESS BYTE...        hexadecimal; w: a byte a weight, the address in words
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.backends.engine import bus, isa
from insitu.backends.engine.host import first_states
from insitu.backends.engine.image import Image, assemble, fitted, power
from insitu.errors import ConfigError
from insitu.numbers.lfsr import REGISTERS
from insitu.run.program import Batch

RATES = 6
"""Most learning rates of a program, each half of the one before: values of the register SHIFT."""

Words = npt.NDArray[Any]


@dataclass(frozen=True)
class Data:
    """What is loaded into the model.

    Attributes:
        image: the program's, with the largest rate.
        code: the microcode of all rates, one behind the other.
        bases: where each begins.
    """

    image: Image
    code: tuple[int, ...]
    bases: tuple[int, ...]

    @staticmethod
    def of(image: Image) -> Data:
        """With microcode for smaller rates, as far as they have the shifts and the constants of the first."""
        code, bases = list(image.code.words), [0]
        for n in range(1, RATES):
            try:
                other = assemble(
                    image.program, replace(image.build, code_words=1 << 16), image.program.lr / 2**n
                )
            except ConfigError:
                break
            if other.constants != image.constants or len(code) + len(other.code.words) > 1 << 16:
                break
            bases.append(len(code))
            code += isa.moved(other.code.words, len(code))
        build = replace(image.build, code_words=power(len(code)))
        return Data(replace(image, build=build), tuple(code), tuple(bases))

    @staticmethod
    def fitted(program: Any, lanes: int) -> Data:
        """For the smallest engine that holds the program."""
        return Data.of(fitted(program, lanes))

    # --- the program ---------------------------------------------------------------------------------------------

    @cached_property
    def text(self) -> str:
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        image, build = self.image, self.image.build
        forward = image.entries[-1]
        sample, (scores, place) = forward.place("x"), forward.output
        assert sample is not None
        yield f"insitu-engine {bus.VERSION}"
        yield f"name {image.program.name}"
        bits = build.fraction, build.address_bits, build.operand_bits, build.weight_bits
        yield f"build {build.lanes} {' '.join(map(str, bits))}"
        yield f"sizes {build.a_words * build.lanes} {build.w_words} {build.code_words}"
        yield f"softmax {int(bool(image.table))}"
        yield f"sample {self.sample_bytes}"
        yield f"infer {forward.start} {sample.start}"
        yield f"scores {place.start} {scores.size}"
        for n in range(len(image.entries) - 1):
            yield from self._phase(n)
        a, w = self._state
        yield f"state {a} {w} {image.program.t} {' '.join(map(str, self._states))}"
        yield f"code {_hex(self.code)}"
        if image.table:
            yield f"table {_hex(image.full_table)}"
        yield f"a {image.constants_start} {_hex(image.constants)}"
        yield from self._residents()

    def _phase(self, n: int) -> Iterator[str]:
        """A training step: where its input lies, and its entries."""
        entry = self.image.entries[n]
        sample = entry.place("x")
        assert sample is not None and sample.form.size == self.sample_bytes
        takes_label = any(v.name == "label" for v in entry.step.inputs)
        label = entry.place("label") if takes_label else None
        one_hot = bus.NOWHERE if label is None else label.start
        starts = " ".join(str(base + entry.start) for base in self.bases)
        yield f"phase {sample.start} {one_hot} {len(self.bases)} {starts}"
        if entry.triggers:
            yield f"triggers {' '.join(entry.triggers)}"

    def _residents(self) -> Iterator[str]:
        image = self.image
        for name, place in image.residents.items():
            packed = np.asarray(place.form.pack(image.program.initial_state[name])).ravel()
            yield f"{'w' if place.weights else 'a'} {place.start} {_hex(packed.astype(np.int64) & 255)}"

    @property
    def _state(self) -> tuple[int, int]:
        """Ends of the residents in A and W."""
        places = list(self.image.residents.values())
        a, w = ([p.end for p in places if p.weights == kind] for kind in (False, True))
        return max(a, default=0), max(w, default=0)

    @property
    def _states(self) -> Sequence[int]:
        """Of the random registers when training goes on."""
        program = self.image.program
        there = program.initial_state.get(REGISTERS, np.zeros(2, np.int64))
        return [int(s) or first for s, first in zip(there, first_states(program))]

    # --- samples -------------------------------------------------------------------------------------------------

    @property
    def sample_bytes(self) -> int:
        place = self.image.entries[-1].place("x")
        assert place is not None
        return place.form.size

    def samples(self, batches: Sequence[Batch]) -> bytes:
        """Samples one behind the other, each as it lies in A and a byte of its label behind it."""
        place = self.image.entries[-1].place("x")
        assert place is not None
        return b"".join(
            place.form.pack(x).tobytes() + bytes([int(np.ravel(label)[0])]) for x, label in batches
        )


def _hex(words: Any) -> str:
    return " ".join(f"{int(word):x}" for word in words)
