"""States of several devices as one: the mean of stored words, rounded stochastically, in the words' own formats.

A state is a list of byte arrays, one for each resident that learning changes, packed as devices hold them
(:mod:`insitu.numbers.packing`), with its format beside it. No torch.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.errors import ConfigError
from insitu.numbers import prng
from insitu.numbers.formats import AnyFormat, PowerOfTwo, Quantized
from insitu.numbers.packing import pack, unpack
from insitu.numbers.rounding import Ints, counter_words
from insitu.run.program import Program

MOST = 1 << 24
"""Samples that all states together may stand for: products of words of 32 bits then fit 64."""


@dataclass(frozen=True)
class Stored:
    """A resident as bytes: its name, the format of its words, how many there are, and the packed words."""

    name: str
    format: AnyFormat
    count: int
    data: bytes

    @property
    def words(self) -> Ints:
        return unpack(self.data, self.format, self.count)


State = Sequence[Stored]


def stored(program: Program, arrays: Mapping[str, npt.NDArray[Any]]) -> list[Stored]:
    """What learning changes of a program, as bytes.

    Args:
        arrays: integers by name, as the reference and the engines hold them.

    Raises:
        ConfigError: a resident has real values, or words whose mean is not that of their values.
    """
    found = []
    for name in sorted(program.written):
        value = program.residents[name]
        fmt = value.format
        if not isinstance(fmt, Quantized) or isinstance(fmt, PowerOfTwo):
            raise ConfigError(
                f"{name} is stored in {fmt}, whose words have no mean; train in a fixed-point precision"
            )
        words = np.asarray(arrays[name], np.int64).ravel()
        words = words if value.unit is None else fmt.from_integers(words)
        found.append(Stored(name, fmt, value.size, pack(words, fmt).tobytes()))
    return found


def restored(program: Program, state: State) -> dict[str, Ints]:
    """The way back from :func:`stored`: integers by name."""
    found = {}
    for part in state:
        value, fmt = program.residents[part.name], part.format
        words = part.words
        if isinstance(fmt, Quantized) and value.unit is not None:
            words = fmt.integers(words)
        found[part.name] = words.reshape(value.shape)
    return found


def state_delta(before: State, after: State) -> list[bytes]:
    """What has to be sent of a state to one who has ``before``: for each resident the bits that differ, compressed.

    Raises:
        ConfigError: the states are of different programs.
    """
    _check([before, after])
    return [zlib.compress(_differing(a.data, b.data), 9) for a, b in zip(before, after)]


def state_apply(before: State, delta: Sequence[bytes]) -> list[Stored]:
    """The state ``after`` of :func:`state_delta`, to the bit.

    Raises:
        ConfigError: the delta is of another state, or damaged.
    """
    if len(delta) != len(before):
        raise ConfigError(
            f"a delta of {len(delta)} arrays does not fit a state of {len(before)}; send it again"
        )
    found = []
    for part, data in zip(before, delta):
        reader = zlib.decompressobj()
        try:
            bits = reader.decompress(data, len(part.data) + 1)
        except zlib.error as error:
            raise ConfigError(f"the delta of {part.name} is damaged: {error}; send it again") from None
        if len(bits) != len(part.data) or not reader.eof:
            raise ConfigError(f"the delta of {part.name} has another size than its state; send it again")
        found.append(replace(part, data=_differing(part.data, bits)))
    return found


def state_merge(states: Sequence[State], weights: Sequence[int], seed: int) -> list[Stored]:
    """The weighted mean of states, in the words' own formats: each word is rounded up with a chance equal to its
    remainder, by the bit-defined random words of ``seed``; so its expectation is the mean.

    Args:
        states: of one program.
        weights: integers, say how many samples each state has learned; their sum is 1 to 2**24.
        seed: another one in every round.

    Raises:
        ConfigError: states or weights do not fit.
    """
    _check(states)
    total = sum(weights)
    if len(weights) != len(states) or min(weights, default=0) < 0 or not 0 < total <= MOST:
        raise ConfigError(
            f"{len(weights)} weights of sum {total} do not fit {len(states)} states; use a sum of 1 to 2**24"
        )
    found = []
    for parts in zip(*states):
        first = parts[0]
        mean = np.zeros(first.count, np.int64)
        for part, weight in zip(parts, weights):
            mean += part.words * weight
        random = counter_words(prng.key(seed, f"{first.name}.merge"), mean.shape)
        words = (mean + (random * total >> 32)) // total
        found.append(replace(first, data=pack(words, first.format).tobytes()))
    return found


def _differing(a: bytes, b: bytes) -> bytes:
    return (np.frombuffer(a, np.uint8) ^ np.frombuffer(b, np.uint8)).tobytes()


def _check(states: Sequence[State]) -> None:
    kinds = {tuple((p.name, str(p.format), p.count) for p in state) for state in states}
    if len(kinds) != 1:
        raise ConfigError(f"{len(states)} states are of {len(kinds)} programs; pass states of one program")
