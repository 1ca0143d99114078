"""A folder of WAV files as a data set of log-mel bands or MFCCs; see `classes` for how they lie."""

from __future__ import annotations

import warnings
from math import gcd
from pathlib import Path

import numpy as np

from insitu.data import audio, classes
from insitu.data.dataset import Dataset
from insitu.data.request import Request
from insitu.errors import ConfigError, DataError
from insitu.inputs.arrays import DAMAGE

KIND = classes.Kind("recordings", (".wav",))
OPTIONS = ("rate", *audio.OPTIONS, *classes.OPTIONS)
RATE = 8000
"""Samples a second that recordings are brought to: speech, as telephones carry it."""
MAX_BYTES = 1 << 28
"""Of a file, 256 MiB."""


def load_sounds(root: Path, request: Request) -> Dataset:
    """x float32 (N, 1, frames, bands), or (N, bands, 1, frames) with `layout=sequence`; y int64 (N,).

    Recordings of any rate are brought to `rate` samples a second (8000), their channels averaged. Each band has mean 0
    and deviation 1 over the training split. Options of the features: see `audio.Frames.of`.
    """
    request.allow_options(OPTIONS)
    rate = request.whole("rate", RATE, 1000, 192_000) or RATE
    frames = audio.Frames.of(request, rate)
    plan = classes.plan(root, KIND, request)
    x = frames.stacked([frames(read(path, rate)) for path, _ in plan.files])
    return plan.dataset(root, audio.standardise(x, x[: len(plan.train)], frames.sequence))


def read(path: Path, rate: int) -> np.ndarray:
    """A recording at so many samples a second as float64 in -1 to 1, (T,).

    Raises:
        ConfigError: scipy is not installed.
        DataError: it cannot be read.
    """
    try:
        from scipy.io import wavfile
        from scipy.signal import resample_poly
    except ImportError:
        raise ConfigError(
            f"{path}: WAV files are read by scipy, which is not installed. Install insitu with the extra audio."
        ) from None
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES >> 20} MiB")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks of tags
            found, raw = wavfile.read(path)
        sound = _as_floats(raw)
        if not len(sound) or not np.isfinite(sound).all() or found < 100:
            raise ValueError(f"{len(sound)} samples at {found} Hz, or samples that are no numbers")
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read as a WAV file ({reason}). Convert or remove it.") from None
    shared = gcd(found, rate)
    return sound if found == rate else resample_poly(sound, rate // shared, found // shared)


def _as_floats(raw: np.ndarray) -> np.ndarray:
    """Full scale is 1; channels are averaged."""
    if raw.dtype == np.uint8:
        sound = (raw.astype(np.float64) - 128) / 128
    elif raw.dtype.kind == "i":
        sound = raw / -float(np.iinfo(raw.dtype).min)
    else:
        sound = raw.astype(np.float64)
    return sound.mean(axis=1) if sound.ndim == 2 else sound
