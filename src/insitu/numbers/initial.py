"""The kinds of initial values of a resident (:class:`insitu.step.ir.Init`): one table, which everything reads.

A rule that needs another kind adds it here, or from outside by ``KINDS["hadamard"] = Kind(...)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from insitu.errors import StepError
from insitu.numbers import prng
from insitu.step.ir import Init, Shape

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Kind:
    """A kind of initial values.

    Attributes:
        draw: ``(init, shape, seed) -> float32 array``; ``None`` for what the network itself brings.
        max_abs: the largest magnitude of ``init``; ``None`` where it says nothing about the size (the network's own
            values, and zeros).
        bits: bits that hold every value exactly, where there are so few; a feedback matrix then takes no more.
        random: a feedback matrix of integers is drawn in its format by the bit-defined generator, not rounded to it.
    """

    draw: Callable[[Init, Shape, int], Array] | None
    max_abs: Callable[[Init], float | None] = lambda _init: 1.0
    bits: int | None = None
    random: bool = False


FREQUENCIES = (50.0, 512.0)
"""Of the first and the last row of a set of waves, in radians a column (Apolinario 2025)."""


def _waves(shape: Shape) -> Array:
    """Row c: sin(f_c t), t = 0, 1, ... the column."""
    f = np.linspace(*FREQUENCIES, shape[0])
    t = np.arange(shape[1], dtype=np.float64)
    return np.sin(f[:, None] * t[None, :])


def _uniform(init: Init, shape: Shape, seed: int) -> Array:
    return prng.uniform(prng.key(seed, init.key), prod(shape), init.bound).reshape(shape)


KINDS: dict[str, Kind] = {
    "param": Kind(None, max_abs=lambda _init: None),
    "zeros": Kind(lambda _init, shape, _seed: np.zeros(shape, np.float32), max_abs=lambda _init: None),
    "ones": Kind(lambda _init, shape, _seed: np.ones(shape, np.float32)),
    "eye": Kind(lambda _init, shape, _seed: np.eye(*shape, dtype=np.float32)),
    "uniform": Kind(_uniform, max_abs=lambda init: init.bound, random=True),
    "sine": Kind(lambda _init, shape, _seed: _waves(shape).astype(np.float32)),
    "square": Kind(
        lambda _init, shape, _seed: np.where(_waves(shape) >= 0, 1.0, -1.0).astype(np.float32), bits=1
    ),
}
"""``param``: the network's value of that name. ``uniform``: in [-bound, bound), stream ``key``. ``sine``: rows of
waves; ``square``: their signs, with sign(0) = +1."""


def kind_of(init: Init) -> Kind:
    """The entry of the table.

    Raises:
        StepError: for a kind that is not in the table, with those that are.
    """
    if init.kind not in KINDS:
        raise StepError(
            f"initial values of kind {init.kind!r} are unknown; use one of {', '.join(KINDS)}, or add an entry to "
            "insitu.numbers.initial.KINDS"
        )
    return KINDS[init.kind]


def draw(init: Init, shape: Shape, seed: int) -> Array:
    """The float32 values that an :class:`Init` stands for.

    Raises:
        StepError: for an unknown kind, or ``param``, whose values are the network's.
    """
    make = kind_of(init).draw
    if make is None:
        raise StepError(f"initial values of kind {init.kind!r} are the network's own; pass them")
    return make(init, shape, seed)
