"""Images as a worse camera delivers them: six corruptions of five severities, the same at every load.

They follow the common-corruptions benchmarks (Hendrycks and Dietterich, 2019, arXiv 1903.12261; for digits
MNIST-C, Mu and Gilmer, 2019, arXiv 1906.02337) in NumPy alone. Both splits are changed alike: a device whose
camera is bad learns from bad images and is tested on bad images. Everything works on pixels in [0, 1], after
an option such as `size`, and is clipped to [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from insitu.data.dataset import Dataset
from insitu.data.request import Request
from insitu.errors import ConfigError

OPTIONS = ("corruption", "severity")
SEVERITIES = 5
SEVERITY = 3  # when only the corruption is named
_SEEDS = {"train": 1, "test": 2}
_BLOCK = 1000  # images at a time, so that no second copy of a data set is made

Stream = np.random.PCG64  # only its raw words are used: NumPy keeps them the same in every version


@dataclass(frozen=True)
class Pixels:
    """How the values of a data set become pixels in [0, 1]: value * deviation + mean, one pair a channel."""

    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)


UNIT = Pixels()
"""The values are pixels already."""


@dataclass(frozen=True)
class Kind:
    """One corruption: `apply(x_NCHW, strength, stream)` returns new pixels; a strength for each severity."""

    apply: Callable[[np.ndarray, float, Stream], np.ndarray]
    strengths: tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Corruption:
    """A kind of `KINDS` and a severity in 1..5."""

    kind: str
    severity: int

    @classmethod
    def of(cls, request: Request) -> Corruption | None:
        """What the options `corruption` (a name of `KINDS`, or "none") and `severity` (1..5) ask for.

        Raises `ConfigError` for an unknown name or severity, and for a severity without a corruption.
        """
        kind = request.choice("corruption", "none", ("none", *KINDS))
        severity = request.whole("severity", None, 1, SEVERITIES)
        if kind != "none":
            return cls(kind, severity or SEVERITY)
        if severity is not None:
            raise ConfigError(
                f"data '{request.name}': option 'severity' has no use without a corruption. Remove it, or set "
                f"corruption to one of {', '.join(KINDS)}."
            )
        return None

    def apply(self, data: Dataset, pixels: Pixels) -> None:
        """Overwrite x of both splits, images (N, C, H, W). A limit gives the first images of the whole set."""
        mean, deviation = (np.array(v, np.float32)[:, None, None] for v in (pixels.mean, pixels.deviation))
        kind = KINDS[self.kind]
        for part, seed in _SEEDS.items():
            x_NCHW, stream = getattr(data, part).x, Stream(seed)
            for start in range(0, len(x_NCHW), _BLOCK):
                block = x_NCHW[start : start + _BLOCK]
                worse = kind.apply(block * deviation + mean, kind.strengths[self.severity - 1], stream)
                block[:] = (np.clip(worse, 0.0, 1.0) - mean) / deviation


def _noise(x: np.ndarray, strength: float, stream: Stream) -> np.ndarray:
    """Add independent, nearly normal noise of deviation `strength` to every value.

    A noise value is the sum of the eight bytes of a raw word: whole numbers, so it is the same everywhere.
    """
    sums = stream.random_raw(x.size).view(np.uint8).reshape(-1, 8).sum(axis=1, dtype=np.int32)
    mean, deviation = 8 * 255 / 2, math.sqrt(8 * (256**2 - 1) / 12)
    noisy: np.ndarray = x + ((sums - mean) * (strength / deviation)).astype(np.float32).reshape(x.shape)
    return noisy


def _blur(x: np.ndarray, strength: float, stream: Stream) -> np.ndarray:
    """A Gaussian whose deviation is `strength` times the side; beyond the rim the rim's pixels go on."""
    down, across = (_gaussian(side, strength * side) for side in x.shape[2:])
    blurred: np.ndarray = down @ x @ across.T
    return blurred


def _gaussian(side: int, deviation: float) -> np.ndarray:
    """The blur of one axis as a matrix (side, side); its rows sum to 1."""
    reach = math.ceil(3 * deviation)
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (steps / deviation) ** 2)
    matrix = np.zeros((side, side))
    targets = np.arange(side)[:, None]
    np.add.at(matrix, (targets, np.clip(targets + steps, 0, side - 1)), weights / weights.sum())
    return matrix.astype(np.float32)


def _contrast(x: np.ndarray, strength: float, stream: Stream) -> np.ndarray:
    """Draw every value towards the mean of its image and channel; `strength` is the contrast that is left."""
    mean = x.mean(axis=(2, 3), keepdims=True)
    flat: np.ndarray = (x - mean) * np.float32(strength) + mean
    return flat


def _brightness(x: np.ndarray, strength: float, stream: Stream) -> np.ndarray:
    """Add `strength` to every value."""
    return x + np.float32(strength)


def _rotate(x: np.ndarray, strength: float, stream: Stream) -> np.ndarray:
    """Turn every image counter-clockwise by `strength` degrees about its centre, bilinear; outside is black."""
    rows, columns = x.shape[2:]
    turn = math.radians(strength)
    down, right = np.mgrid[:rows, :columns] - np.array([rows - 1, columns - 1])[:, None, None] / 2
    top, below = _neighbours(right * math.sin(turn) + down * math.cos(turn), rows)
    left, beside = _neighbours(right * math.cos(turn) - down * math.sin(turn), columns)
    framed = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    upper = framed[:, :, top, left] * (1 - beside) + framed[:, :, top, left + 1] * beside
    lower = framed[:, :, top + 1, left] * (1 - beside) + framed[:, :, top + 1, left + 1] * beside
    turned: np.ndarray = upper * (1 - below) + lower * below
    return turned


def _neighbours(offset: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Index of the framed pixel at or before each place, counted from the centre, and the next one's share."""
    place = np.clip(offset + (side - 1) / 2 + 1, 0, side + 1)  # a frame of one pixel lies around the image
    first = np.minimum(place.astype(np.int64), side)
    return first, (place - first).astype(np.float32)


def _invert(x: np.ndarray, strength: float, stream: Stream) -> np.ndarray:
    """Go the share `strength` of the way to the negative; 1 is the negative itself."""
    return x + np.float32(strength) * (1 - 2 * x)


KINDS = {
    "noise": Kind(_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "blur": Kind(_blur, (0.02, 0.03, 0.045, 0.065, 0.09)),
    "contrast": Kind(_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "brightness": Kind(_brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "rotate": Kind(_rotate, (10.0, 20.0, 30.0, 40.0, 50.0)),
    "invert": Kind(_invert, (0.2, 0.4, 0.6, 0.8, 1.0)),
}
