"""`spoken-digits`, and the features of sound."""

from __future__ import annotations

import numpy as np
import pytest

from insitu.data import load
from insitu.data.audio import Frames
from insitu.data.request import Request
from insitu.errors import ConfigError, DataError


def tone(frequency: float, seconds: float = 0.8, rate: int = 8000) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def frames(**options) -> Frames:
    return Frames.of(Request("x", options=options), 8000)


def test_a_higher_tone_lies_in_a_higher_band():
    make = frames()
    loudest = [make(tone(f)).mean(axis=0).argmax() for f in (200, 400, 800, 1600, 3200)]
    assert loudest == sorted(set(loudest))
    assert make(tone(200)).shape == (32, 20)


def test_every_band_hears_something():
    for rate in (8000, 16000, 44100):
        make = Frames.of(Request("x", options={"features": "mfcc", "bands": "40"}), rate)
        assert (make.filters.sum(axis=1) > 0).all()


def test_coefficients_are_the_transform_of_the_logarithms():
    scipy_fft = pytest.importorskip("scipy.fft", reason="scipy is not installed (extra audio)")
    sound = np.random.default_rng(0).normal(size=6000)
    bands, coefficients = frames(bands=20)(sound), frames(features="mfcc", bands=10)(sound)
    expected = scipy_fft.dct(bands.astype(np.float64), norm="ortho")[:, :10]
    np.testing.assert_allclose(coefficients, expected, rtol=1e-4, atol=1e-4)


def test_a_short_recording_stands_in_silence_and_a_long_one_is_cut_where_it_is_loud():
    make = frames()
    short = make(tone(500, 0.1))
    assert short[0].max() < short[16].max() and short[31].max() < short[16].max()
    assert short[0].max() == pytest.approx(np.log(1e-6), abs=0.1)
    long = np.concatenate([np.zeros(8000), tone(500, 0.7), np.zeros(9000)])
    assert make(long)[[0, 16, 31]].max(axis=1).min() > np.log(1e-3)


def recordings(**change) -> dict[str, np.ndarray]:
    """Six speakers, two digits, six recordings each; a tone for each digit."""
    label, speaker, index = (
        a.ravel() for a in np.meshgrid([0, 1], np.arange(6), np.arange(6), indexing="ij")
    )
    sounds = [(8000 * tone(300 * (1 + d) + 20 * s, 0.2 + 0.02 * i)).astype(np.int16)
              for d, s, i in zip(label, speaker, index)]  # fmt: skip
    sound = {
        "audio": np.concatenate(sounds),
        "offsets": np.cumsum([0, *(len(s) for s in sounds)]),
        "label": label.astype(np.uint8),
        "speaker": speaker.astype(np.uint8),
        "is_test": index < 2,
        "sample_rate": np.int32(8000),
    }
    return sound | change


def save(root, **change) -> None:
    (root / "fsdd").mkdir(exist_ok=True)
    np.savez(root / "fsdd/fsdd_8khz.npz", **recordings(**change))


def test_roles_share_out_the_speakers(tmp_path):
    save(tmp_path)
    sizes = {}
    for role in ("everyone", "pretrain", "personal"):
        data = load("spoken-digits", data_dir=tmp_path, options={"role": role, "speaker": "3"})
        sizes[role] = (len(data.train), len(data.test))
        assert set(data.train.y) == set(data.test.y) == {0, 1}
    assert sizes == {"everyone": (48, 24), "pretrain": (40, 20), "personal": (8, 4)}
    rows = {role: {x.tobytes() for x in load("spoken-digits", data_dir=tmp_path, options={"role": role}).train.x}
            for role in ("pretrain", "personal")}  # fmt: skip
    assert not rows["pretrain"] & rows["personal"]


def test_features_are_standardised_by_those_who_pretrain(tmp_path):
    save(tmp_path)
    data = load("spoken-digits", data_dir=tmp_path, options={"role": "pretrain"})
    np.testing.assert_allclose(data.train.x.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.x.std(axis=(0, 1, 2)), 1, atol=1e-5)
    other = load("spoken-digits", data_dir=tmp_path, options={"role": "personal"})
    assert abs(float(other.train.x.mean())) > 1e-3


def test_a_sequence_has_bands_for_channels(tmp_path):
    save(tmp_path)
    plain = load("spoken-digits", data_dir=tmp_path, options={"bands": 12, "frames": 10})
    turned = load(
        "spoken-digits", data_dir=tmp_path, options={"bands": 12, "frames": 10, "layout": "sequence"}
    )
    assert plain.sample_shape == (1, 10, 12) and turned.sample_shape == (12, 1, 10)
    np.testing.assert_allclose(
        turned.train.x[:, :, 0], plain.train.x[:, 0].transpose(0, 2, 1), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speaker": 6}, "speaker=6: give a whole number from 0 to 5"),
        ({"role": "nobody"}, "choose one of everyone, pretrain, personal"),
        ({"features": "wavelets"}, "choose one of log-mel, mfcc"),
        ({"bands": 0}, "bands=0: give a whole number from 2 to 128"),
        ({"word": 1}, "has no option 'word'. Options are: speaker, role, features"),
    ],
)
def test_bad_options(tmp_path, options, message):
    save(tmp_path)
    with pytest.raises(ConfigError, match=message):
        load("spoken-digits", data_dir=tmp_path, options=options)


@pytest.mark.parametrize(
    "change",
    [
        {"offsets": np.array([0, 5])},
        {"audio": np.zeros(10)},
        {"label": np.zeros(3, np.uint8)},
        {"sample_rate": np.array([8000, 8000])},
    ],
)
def test_a_damaged_file(tmp_path, change):
    save(tmp_path, **change)
    with pytest.raises(DataError, match=r"do not fit together\. Put fsdd_8khz\.npz into the folder fsdd"):
        load("spoken-digits", data_dir=tmp_path)


def test_the_real_recordings(real_data):
    data = load("spoken-digits", data_dir=real_data)
    assert (len(data.train), len(data.test), data.sample_shape) == (2700, 300, (1, 32, 20))
    assert np.bincount(data.test.y).tolist() == [30] * 10
    assert len(np.unique(data.train.y[:50])) == 10  # in a mixed order
    few = load("spoken-digits", data_dir=real_data, limit_test=60)
    assert np.bincount(few.test.y).min() > 0
