"""Random changes to a batch of images (N, C, H, W): shifts and mirror images, vectorised and seeded.

Every function draws only from the `numpy.random.Generator` it is given and never writes into its input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from insitu.errors import ConfigError, DataError


def pad_crop(x: np.ndarray, pad: int, rng: np.random.Generator) -> np.ndarray:
    """Shift each image by -pad..pad rows and columns, filling with 0. Same shape and type."""
    _check(x, pad)
    if pad == 0:
        return x
    n, _, rows, columns = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    down, right = rng.integers(0, 2 * pad + 1, size=(2, n))
    crops = np.lib.stride_tricks.sliding_window_view(padded, (rows, columns), axis=(2, 3))
    return crops[np.arange(n), :, down, right]


def flip(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror each image left to right with probability 1/2. Same shape and type."""
    _check(x, 0)
    mirrored = rng.random(len(x)) < 0.5
    return np.where(mirrored[:, None, None, None], x[..., ::-1], x)


@dataclass(frozen=True)
class Augment:
    """`pad_crop` by `pad` pixels, then `flip`: `Augment(pad=4, flip=True)(x_NCHW, rng)` gives a new batch."""

    pad: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.pad, bool) or not isinstance(self.pad, int) or self.pad < 0:
            raise ConfigError(f"augmentation pad={self.pad!r}: give a whole number of pixels, 0 or more.")

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """x (N, C, H, W) -> same shape and type; the result depends only on x and the state of `rng`."""
        shifted = pad_crop(x, self.pad, rng)
        return flip(shifted, rng) if self.flip else shifted


def _check(x: np.ndarray, pad: int) -> None:
    if x.ndim != 4:
        raise DataError(
            f"augmentation got a batch of shape {x.shape}. Give images (N, C, H, W), or turn it off."
        )
    if pad < 0:
        raise ConfigError(f"augmentation pad={pad}: give a whole number of pixels, 0 or more.")
