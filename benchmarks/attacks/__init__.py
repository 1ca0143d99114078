"""Attacks on the command line, by kind: each case is drawn from a seed, and must end well or in a refusal of one line.

A module here adds kinds by the decorator :func:`kind`; ``benchmarks/attack.py`` runs them in turn, and the test suite
runs a few cases of each.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.attacks.forks import Ended, ran

Random = np.random.Generator


@dataclass(frozen=True)
class Case:
    """One attack: where it may write, and what it draws from."""

    folder: Path
    rng: Random

    def insitu(self, *words: object, **more: float | str) -> Ended:
        """The command line in the case's folder."""
        return ran([str(word) for word in words], self.folder, **more)  # type: ignore[arg-type]

    def whole(self, below: int) -> int:
        """A number from 0 on."""
        return int(self.rng.integers(below))

    def pick(self, *choices: str) -> str:
        return choices[self.whole(len(choices))]


Attack = Callable[[Case], str | None]
"""Runs a case; ``None``, or the fault that it found."""

KINDS: dict[str, Attack] = {}


def kind(name: str) -> Callable[[Attack], Attack]:
    """Adds an attack under a name."""

    def add(attack: Attack) -> Attack:
        assert name not in KINDS, f"two kinds are called {name!r}"
        KINDS[name] = attack
        return attack

    return add


def case(name: str, seed: int, number: int, folder: Path) -> Case:
    """The case of a number; the same for the same seed."""
    folder.mkdir(parents=True, exist_ok=True)
    return Case(folder, np.random.default_rng([seed, zlib.crc32(name.encode()), number]))


def sound(ended: Ended, what: str, codes: tuple[int, ...] = (0, 2)) -> str | None:
    """A fault, unless a command ended well or in a refusal: exit 2 and one line that says why.

    ``codes``: exit codes that are right; of ``check`` 1 too, which says that a check failed.
    """
    last = ended.last
    if ended.code not in codes or "Traceback" in ended.err:
        return f"{what}: {ended.how}: {last}"
    if ended.code == 2 and len(ended.refusal) != 1:
        return f"{what}: a refusal of {len(ended.refusal)} lines: {last}"
    return None
