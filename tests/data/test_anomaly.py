"""Normal classes and anomalies."""

from __future__ import annotations

import numpy as np
import pytest

from insitu.data import load
from insitu.errors import ConfigError


def test_a_network_sees_normal_samples_alone() -> None:
    whole, data = load("digits"), load("digits", options={"normal": "1, 7"})
    assert set(data.train.y) == {0} and len(data.train) == np.isin(whole.train.y, (1, 7)).sum()
    assert np.array_equal(data.test.y == 0, np.isin(whole.test.y, (1, 7))) and len(data.test) == 360
    assert data.class_names == ("normal", "anomalous") and data.digest != whole.digest
    for same in ([1, 7], ["1", "7"], "7,1"):
        assert load("digits", options={"normal": same}).digest == data.digest


def test_a_limit_counts_the_samples_that_are_kept() -> None:
    data = load("digits", limit_train=50, limit_test=30, options={"normal": 3})
    assert (len(data.train), len(data.test)) == (50, 30)


def test_names_and_validation_samples(tmp_path) -> None:
    path, x = tmp_path / "own.npz", np.arange(12.0, dtype=np.float32).reshape(6, 2)
    y = np.array(["hum", "hum", "rattle", "hum", "rattle", "hum"])
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y, x_val=x[:3], y_val=y[:3])
    data = load(str(path), options={"normal": "hum"})
    assert len(data.train) == 4 and len(data.validation) == 2 and data.test.y.tolist() == [0, 0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("normal", "message"),
    [
        ("eleven", r"no class 'eleven'\. Choose of 0, 1"),
        (10, "no class '10'"),
        (list(range(10)), r"all classes are normal\. Leave one out"),
    ],
)
def test_bad_choices(normal: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load("digits", options={"normal": normal})


def test_targets_that_are_no_classes(tmp_path) -> None:
    np.savez(tmp_path / "r.npz", x=np.zeros((9, 2)), y=np.arange(9.0))
    with pytest.raises(ConfigError, match="its targets are no classes"):
        load(str(tmp_path / "r.npz"), options={"normal": 1})
