"""Folders of WAV files."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from insitu.data import load
from insitu.data.sounds import read
from insitu.errors import ConfigError, DataError

pytest.importorskip("scipy", reason="scipy is not installed (extra audio)")

RATES = (8000, 16000, 11025)


def sing(path: Path, frequency: float, rate: int = 8000, width: int = 2, channels: int = 1) -> None:
    """A second of a tone, written by the standard library."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = np.sin(2 * np.pi * frequency * np.arange(rate) / rate)
    raw = (sound * 100 + 128).round().astype(np.uint8) if width == 1 else (sound * 25_600).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.repeat(raw, channels).tobytes())


def fill(root: Path, classes: str = "ab", count: int = 5, **form) -> Path:
    for k, name in enumerate(classes):
        for i in range(count):
            sing(
                root / name / f"{i}.WAV" if i % 2 else root / name / f"{i}.wav",
                400 * (k + 1) + 10 * i,
                **form,
            )
    return root


def test_a_folder_of_classes(tmp_path):
    data = load(str(fill(tmp_path / "set")))
    assert (len(data.train), len(data.test), data.sample_shape) == (8, 2, (1, 32, 20))
    assert data.class_names == ("a", "b")
    np.testing.assert_allclose(data.train.x.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    sequence = load(str(tmp_path / "set"), options={"layout": "sequence", "features": "mfcc", "bands": 10})
    assert sequence.sample_shape == (10, 1, 32)


@pytest.mark.parametrize("form", [{"rate": 16000}, {"rate": 44100}, {"width": 1}, {"channels": 2}])
def test_other_rates_widths_and_channels_sound_the_same(tmp_path, form):
    sing(tmp_path / "plain.wav", 500)
    sing(tmp_path / "other.wav", 500, **form)
    plain, other = read(tmp_path / "plain.wav", 8000), read(tmp_path / "other.wav", 8000)
    inner = slice(100, -100)  # the filter of another rate rings at the ends
    np.testing.assert_allclose(plain[inner], other[inner], atol=0.02)
    assert len(plain) == len(other) == 8000


def test_stored_splits_with_validation(tmp_path):
    for part in ("train", "test", "val"):
        fill(tmp_path / part, count=2)
    data = load(str(tmp_path))
    assert (len(data.train), len(data.test), len(data.validation)) == (4, 4, 4)


def test_what_cannot_be_read_is_named(tmp_path):
    fill(tmp_path / "set")
    bad = tmp_path / "set" / "a" / "0.wav"
    for content in (b"", b"RIFF", bad.read_bytes()[:44], b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(20)):
        bad.write_bytes(content)
        with pytest.raises(DataError, match=r"0\.wav: cannot be read as a WAV file"):
            load(str(tmp_path / "set"))


def test_images_and_recordings_in_one_folder(tmp_path):
    fill(tmp_path / "set")
    (tmp_path / "set" / "a" / "cover.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds images and recordings\. Keep one of them"):
        load(str(tmp_path / "set"))


def test_bad_options(tmp_path):
    fill(tmp_path / "set")
    with pytest.raises(ConfigError, match="rate=10: give a whole number from 1000 to 192000"):
        load(str(tmp_path / "set"), options={"rate": 10})
    with pytest.raises(ConfigError, match=r"has no option 'mode'\. Options are: rate, features"):
        load(str(tmp_path / "set"), options={"mode": "grey"})
