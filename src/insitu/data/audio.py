"""From recordings to frames of log-mel bands or MFCCs: what a small network listens to.

Shape legend: T samples of sound, N recordings, L frames, B bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from insitu.data.request import Request

OPTIONS = ("features", "bands", "frames", "window_ms", "hop_ms", "layout")
_FLOOR = 1e-6
"""Added to the power of a band before its logarithm: about the noise of one bit of 16."""


@dataclass(frozen=True)
class Frames:
    """Short-time spectra of a recording.

    Attributes:
        rate: samples a second.
        mfcc: cepstral coefficients (the first ``bands`` of a DCT-II over twice as many log-mel bands), not the
            log-mel bands themselves.
        bands, frames: numbers a frame, and frames a recording.
        window, hop: length of a frame and way to the next one, in samples.
        sequence: samples are (bands, 1, frames), for convolutions over time alone; else maps (1, frames, bands).
    """

    rate: int
    mfcc: bool
    bands: int
    frames: int
    window: int
    hop: int
    sequence: bool

    @staticmethod
    def of(request: Request, rate: int) -> Frames:
        """As the options say: `features` (log-mel or mfcc), `bands`, `frames`, `window_ms`, `hop_ms`, `layout`."""
        window = request.whole("window_ms", 32, 1, 1000) or 32
        hop = request.whole("hop_ms", 20, 1, 1000) or 20
        return Frames(
            rate=rate,
            mfcc=request.choice("features", "log-mel", ("log-mel", "mfcc")) == "mfcc",
            bands=request.whole("bands", 20, 2, 128) or 20,
            frames=request.whole("frames", 32, 1, 1024) or 32,
            window=max(window * rate // 1000, 2),
            hop=max(hop * rate // 1000, 1),
            sequence=request.choice("layout", "map", ("map", "sequence")) == "sequence",
        )

    @property
    def length(self) -> int:
        """Samples of sound that the frames of a recording span."""
        return (self.frames - 1) * self.hop + self.window

    @cached_property
    def points(self) -> int:
        """Of the Fourier transform: a power of two, at least twice the window, so that no low band is empty."""
        return 1 << (2 * self.window - 1).bit_length()

    @cached_property
    def filters(self) -> np.ndarray:
        """Triangles that are evenly wide in mel (2595 log10(1 + f / 700)), from 20 Hz to half the rate."""
        count = self.bands * (2 if self.mfcc else 1)
        low, high = (2595 * np.log10(1 + f / 700) for f in (20.0, self.rate / 2))
        corners = 700 * (10 ** (np.linspace(low, high, count + 2) / 2595) - 1)
        bins = np.fft.rfftfreq(self.points, 1 / self.rate)
        left, middle, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
        rising, falling = (bins - left) / (middle - left), (right - bins) / (right - middle)
        return np.maximum(0.0, np.minimum(rising, falling))

    @cached_property
    def cosines(self) -> np.ndarray:
        """The orthonormal DCT-II, (bands, 2 bands)."""
        count = 2 * self.bands
        angles = np.pi / count * (np.arange(count) + 0.5) * np.arange(self.bands)[:, None]
        scale = np.where(np.arange(self.bands) == 0, np.sqrt(1 / count), np.sqrt(2 / count))
        return scale[:, None] * np.cos(angles)

    def __call__(self, sound_T: np.ndarray) -> np.ndarray:
        """Features of a recording in -1 to 1, float32 (frames, bands).

        A recording that is longer than the frames span is cut to where its energy is; one that is shorter stands in
        the middle of silence.
        """
        sound = _fit(np.asarray(sound_T, np.float64), self.length, self.hop)
        starts = np.arange(self.frames)[:, None] * self.hop
        pieces = sound[starts + np.arange(self.window)] * np.hanning(self.window)
        power = np.abs(np.fft.rfft(pieces, self.points)) ** 2 / self.window
        found = np.log(power @ self.filters.T + _FLOOR)
        return (found @ self.cosines.T if self.mfcc else found).astype(np.float32)

    def stacked(self, found: list[np.ndarray]) -> np.ndarray:
        """Recordings as samples of a network, float32 (N, 1, L, B) or (N, B, 1, L)."""
        x_NLB = np.stack(found)
        return np.ascontiguousarray(x_NLB.transpose(0, 2, 1)[:, :, None] if self.sequence else x_NLB[:, None])


def _fit(sound: np.ndarray, length: int, hop: int) -> np.ndarray:
    """So many samples: the loudest stretch, or the recording with silence around it."""
    if len(sound) <= length:
        before = (length - len(sound)) // 2
        return np.pad(sound, (before, length - len(sound) - before))
    energy = np.concatenate([[0.0], np.cumsum(sound**2)])
    starts = np.arange(0, len(sound) - length + 1, hop)
    at = int(starts[np.argmax(energy[starts + length] - energy[starts])])
    return sound[at : at + length]


def standardise(x: np.ndarray, known: np.ndarray, sequence: bool) -> np.ndarray:
    """x with mean 0 and deviation 1 of each band over the samples ``known``; a constant band keeps the deviation 1.

    sequence: as in `Frames`; bands are the channels of x, else its last axis.
    """
    axes = (0, 2, 3) if sequence else (0, 1, 2)
    mean = known.mean(axes, np.float64, keepdims=True)[0]
    deviation = known.std(axes, np.float64, keepdims=True)[0]
    deviation[deviation == 0.0] = 1.0
    return ((x - mean) / deviation).astype(np.float32)
