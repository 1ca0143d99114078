"""Does a ranking survive the uncertainty of the cost table? Monte-Carlo over the bands of its entries.

Two rules on one target pay the same entries, so an entry is drawn once for both: what is uncertain for both alike does
not blur their ranking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from insitu.hardware.bill import Uses, priced
from insitu.hardware.target import Entry, Target

DRAWS = 2000
HEADLINE = 0.95
"""Share of the draws that a claim needs before it may be a headline."""

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Claim:
    """'``better`` takes less energy per sample than ``worse`` on this target'.

    Attributes:
        share: of the draws in which it holds; ``None`` where an energy is unknown.
        ratio: of the two energies: 5th percentile, median, 95th percentile.
    """

    better: str
    worse: str
    target: str
    share: float | None
    ratio: tuple[float, float, float] | None

    @property
    def headline(self) -> bool:
        return self.share is not None and self.share >= HEADLINE

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self) | {"headline": self.headline}

    def __str__(self) -> str:
        if self.share is None or self.ratio is None:
            return f"{self.better} against {self.worse} on {self.target}: energy unknown"
        low, middle, high = self.ratio
        if low == high == 1.0:
            return f"{self.better} and {self.worse} take the same energy on {self.target}"
        words = "holds" if self.headline else "is not stable"
        return (
            f"{self.better} takes less energy than {self.worse} on {self.target}: {words}, {100 * self.share:.1f} % of "
            f"{DRAWS} draws (ratio {middle:.3g}, 90 % between {low:.3g} and {high:.3g})"
        )


def draw(entries: Mapping[str, Entry], draws: int = DRAWS, seed: int = 1) -> dict[str, Floats]:
    """Values of every entry: triangular in the logarithm, from low over the central value to high.

    An entry's stream depends on its own id alone, so other entries do not move it.
    """
    found = {}
    for name, entry in entries.items():
        rng = np.random.default_rng([seed, *name.encode()])
        found[name] = _between(rng, entry, draws)
    return found


def _between(rng: np.random.Generator, entry: Entry, draws: int) -> Floats:
    if not 0 < entry.low < entry.high:
        return np.full(draws, entry.value)
    low, middle, high = np.log([entry.low, entry.value, entry.high])
    return np.asarray(np.exp(rng.triangular(low, middle, high, draws)))


def energies(uses: Uses, drawn: Mapping[str, Floats]) -> Floats | None:
    """What some uses cost in each draw, pJ; ``None`` where an entry is unknown."""
    found: Floats | None = None
    for use, amount in uses.items():
        if any(i not in drawn for i in use):
            return None
        part: Floats = amount * np.prod([drawn[i] for i in use], axis=0)
        found = part if found is None else found + part
    return found


def claim(
    better: str, worse: str, uses: Mapping[str, Uses], target: Target, *, draws: int = DRAWS, seed: int = 1
) -> Claim:
    """How often one contender takes less energy than another over the bands of their target.

    Args:
        better, worse: names of contenders.
        uses: of every contender, per sample.
    """
    drawn = draw(target.entries(), draws, seed)
    a, b = (energies(uses[name], drawn) for name in (better, worse))
    if a is None or b is None:
        return Claim(better, worse, target.name, None, None)
    low, middle, high = np.percentile(a / b, (5, 50, 95))
    return Claim(better, worse, target.name, float(np.mean(a < b)), (float(low), float(middle), float(high)))


def ranking(uses: Mapping[str, Uses], target: Target) -> list[Claim]:
    """Claims about neighbours in the order of central energy, cheapest first; none where it is unknown."""
    bands = {name: priced(target.entries(), mine) for name, mine in uses.items()}
    central = {name: band.central for name, band in bands.items() if band is not None}
    order = sorted(central, key=lambda name: central[name])
    return [claim(a, b, uses, target) for a, b in pairwise(order)]
