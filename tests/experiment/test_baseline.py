"""The QAT baseline: it learns, on the words of our formats, in the order of every other run."""

from __future__ import annotations

import sys
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insitu.errors import ConfigError, NetworkError
from insitu.experiment.baseline import QatModel, qat
from insitu.experiment.compare import compare
from insitu.experiment.config import CompareConfig, RunConfig, parse
from insitu.experiment.train import train
from insitu.numbers.formats import Fixed


def config(**more: Any) -> RunConfig:
    raw = {"network": "mlp-64-64-10", "optimizer": {"lr": 0.3}, "epochs": 2, **more}
    return parse(RunConfig, raw, "test")


@pytest.fixture
def _brevitas() -> None:
    pytest.importorskip("brevitas")


@pytest.mark.usefixtures("_brevitas")
@pytest.mark.parametrize(("weight_bits", "act_bits"), [(8, 8), (4, 8), (2, 4), (1, 8)])
def test_learns_the_digits_in_few_bits(weight_bits: int, act_bits: int) -> None:
    events: list[dict[str, Any]] = []
    outcome = qat(config(), weight_bits=weight_bits, act_bits=act_bits, on_event=events.append)
    assert outcome.test_accuracy is not None and outcome.test_accuracy > 0.8
    assert outcome.curve.samples == [1437, 2874] == [e["samples"] for e in events]
    assert set(outcome.params) == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    for name in ("fc1.weight", "fc2.weight"):
        weights = outcome.params[name].astype(np.float64)
        step = np.diff(np.unique(weights)).min() / (2 if weight_bits == 1 else 1)
        assert log2(step).is_integer()
        fmt = Fixed(True, max(weight_bits, 2) - 1 + int(log2(step)), -int(log2(step)))
        assert fmt.min < weights.min() and (weight_bits > 1 or set(np.abs(weights).flat) == {step})
        np.testing.assert_array_equal(fmt.values(fmt.words(weights)), weights)


@pytest.mark.usefixtures("_brevitas")
def test_with_many_bits_it_is_back_propagation() -> None:
    """Which needs the same start, order, learning rates and loss."""
    more = {"epochs": 1, "schedule": {"kind": "cosine"}, "optimizer": {"kind": "momentum", "lr": 0.03}}
    ours = train(config(**more))
    theirs = qat(config(**more), weight_bits=16, act_bits=16, input_bits=16)
    assert theirs.curve.train_loss[0] == pytest.approx(ours.curve.train_loss[0], rel=1e-4)
    assert theirs.test_loss == pytest.approx(ours.test_loss, rel=1e-4)


@pytest.mark.usefixtures("_brevitas")
def test_float_weights_behind_binary_ones_stay_within_their_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    quantized = QatModel.quantized

    def spy(model: QatModel) -> Any:
        shares.extend(float(weight.detach().abs().max()) / scale for weight, scale in model.limits)
        return quantized(model)

    monkeypatch.setattr(QatModel, "quantized", spy)
    qat(config(epochs=1), weight_bits=1)
    assert len(shares) == 2 and max(shares) == 1.0


@pytest.mark.usefixtures("_brevitas")
def test_repeats_itself_on_a_convolutional_network() -> None:
    more = {"network": "cnn-4-8", "network_options": {"dropout": 0.1}, "limit_train": 200}
    first, again = (qat(config(**more), weight_bits=4, act_bits=4) for _ in range(2))
    assert first.curve == again.curve
    assert first.params["conv1.weight"].shape == (4, 1, 3, 3)


@pytest.mark.usefixtures("_brevitas")
def test_refusals() -> None:
    with pytest.raises(
        NetworkError, match=r"layer 'bn1' \(batch_norm\) of network .* takes a chain of dense, conv2d"
    ):
        qat(config(network_options={"batch_norm": True}))
    with pytest.raises(ConfigError, match="weight_bits=0 is out of range; use 1 to 16"):
        qat(config(), weight_bits=0)
    with pytest.raises(ConfigError, match=r"optimizer 'sign' is not in torch.optim; use sgd"):
        qat(config(optimizer={"kind": "sign", "lr": 0.01}))


def test_without_brevitas_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brevitas", None)
    monkeypatch.setitem(sys.modules, "brevitas.nn", None)
    with pytest.raises(
        ConfigError, match=r"needs Brevitas, which is not installed; pip install 'insitu\[baseline\]'"
    ):
        qat(config())


@pytest.mark.usefixtures("_brevitas")
def test_a_comparison_shows_it_as_a_row(tmp_path: Path) -> None:
    rules = [{"rule": "bp"}, {"rule": "bp", "precision": "brevitas-w4a8", "label": "qat"}]
    spec = {"networks": ["mlp-64-16-10"], "rules": rules, "seeds": 1, "epochs": 1, "limit_train": 200}
    plain, row = compare(parse(CompareConfig, spec, "test"), tmp_path / "c").rows
    assert (row.label, row.precision) == ("qat", "brevitas-w4a8")
    assert row.test_accuracy is not None and row.curves[0].samples == [200]
    assert row.peak_bytes == plain.peak_bytes  # a float32 step is what such training takes
    assert (tmp_path / "c" / "runs" / "0-qat-s1" / "parameters.npz").exists()


def test_it_is_back_propagation_only() -> None:
    with pytest.raises(ConfigError, match=r"is the baseline of back-propagation.*use rule bp"):
        train(config(rule="dfa", precision="brevitas-w4a8"))
