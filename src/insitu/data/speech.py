"""`spoken-digits`: the Free Spoken Digit Dataset, split as its authors do or by speaker."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from insitu.data import audio
from insitu.data.dataset import Dataset, Split
from insitu.data.folders import Layout
from insitu.data.request import Request
from insitu.data.selection import shuffled
from insitu.errors import DataError
from insitu.inputs import arrays as archives

NAME = "spoken-digits"
FILE = "fsdd_8khz.npz"
LAYOUT = Layout("fsdd", ((FILE,),))
LICENCE = "CC BY-SA 4.0"
SPEAKERS = 6
OPTIONS = ("speaker", "role", *audio.OPTIONS)
ROLES = ("everyone", "pretrain", "personal")
REMEDY = f"Put {FILE} into the folder fsdd of --data-dir or INSITU_DATA (no mirror has it)."
_KEYS = ("audio", "offsets", "label", "speaker", "is_test", "sample_rate")
_ORDER = 1  # of the shuffle: recordings lie by speaker and digit in the file


def load_speech(root: Path, request: Request) -> Dataset:
    """x float32 (N, 1, 32, 20): 32 frames of 20 log-mel bands; y is the digit. Both splits are in a mixed order.

    Recordings 0 to 4 of every speaker and digit are for tests, as the data set's authors say. Option `role` says
    whose recordings these are, and option `speaker` (0..5, default 5) who is left out:
    - `everyone` (default): all six speakers.
    - `pretrain`: the other five, in both splits.
    - `personal`: the speaker who was left out, in both splits.
    Each band has mean 0 and deviation 1 over the training samples of those who pretrain. Options of the features: see
    `audio.Frames.of`.
    """
    left_out = request.whole("speaker", SPEAKERS - 1, 0, SPEAKERS - 1)
    role = request.choice("role", ROLES[0], ROLES)
    path = root / LAYOUT.folder / FILE
    stored = archives.read(path, REMEDY, _KEYS)
    _check(path, stored)
    frames = audio.Frames.of(request, int(stored["sample_rate"]))
    x = frames.stacked(
        [frames(sound / 2.0**15) for sound in np.split(stored["audio"], stored["offsets"][1:-1])]
    )
    y_N, is_test = stored["label"].astype(np.int64), stored["is_test"].astype(bool)
    mine = stored["speaker"] == left_out
    home = np.ones_like(mine) if role == "everyone" else ~mine
    x = audio.standardise(x, x[home & ~is_test], frames.sequence)
    who = mine if role == "personal" else home
    train, test = np.flatnonzero(who & ~is_test), np.flatnonzero(who & is_test)
    if not len(train) or not len(test):
        raise DataError(f"{path}: speaker {left_out} leaves one split empty. {REMEDY}")
    train = train[shuffled(len(train), _ORDER)][: request.limit_train]
    test = test[shuffled(len(test), _ORDER)][: request.limit_test]
    return Dataset(
        name=NAME,
        train=Split(x[train], y_N[train]),
        test=Split(x[test], y_N[test]),
        classes=10,
        class_names=tuple(str(digit) for digit in range(10)),
        sample_shape=x.shape[1:],
        source=str(path),
        licence=LICENCE,
    )


def _check(path: Path, stored: dict[str, np.ndarray]) -> None:
    sound, offsets = stored["audio"], stored["offsets"]
    count = len(offsets) - 1 if offsets.ndim == 1 else 0
    sound_shapes = all(stored[key].shape == (count,) for key in ("label", "speaker", "is_test"))
    sound_types = sound.ndim == 1 and sound.dtype == np.int16 and offsets.dtype.kind in "iu"
    fits = count > 0 and sound_shapes and sound_types and offsets[0] == 0 and offsets[-1] == len(sound)
    rate = stored["sample_rate"]
    if not fits or (np.diff(offsets.astype(np.int64)) <= 0).any() or rate.size != 1 or int(rate) < 1000:
        raise DataError(f"{path}: audio, offsets, label, speaker and is_test do not fit together. {REMEDY}")
