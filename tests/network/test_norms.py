"""Batch norms folded into weights, or replaced by RMS norms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from insitu.errors import NetworkError
from insitu.network import zoo
from insitu.network.graph import Network
from insitu.network.layers import Describe
from insitu.network.norms import folded, with_rms
from insitu.network.torch.module import to_module


def trained(net: Network) -> Network:
    """The network with norms that do something."""
    rng = np.random.default_rng(0)
    made = {
        k: (np.abs(v) + rng.random(v.shape)).astype(np.float32) if v.ndim == 1 else v
        for k, v in net.params.items()
    }
    return replace(net, params=made)


@pytest.mark.parametrize("name", ["mlp-12-10-8-4", "cnn-4-6", "resnet8"])
def test_folding_changes_no_prediction(name: str) -> None:
    shape = {} if name.startswith("mlp") else {"input_shape": (3, 16, 16), "classes": 5}
    options = {} if name == "resnet8" else {"batch_norm": True}
    net = trained(zoo.build(name, **shape, **options))
    flat = folded(net)
    assert not any(layer.kind == "batch_norm" for layer in flat.layers)
    assert set(flat.params) == {x.param(s) for x in flat.layers for s in x.params}
    x = torch.rand(6, *net.input_shape, dtype=torch.float64)
    before, after = (to_module(n, dtype=torch.float64).eval()(x) for n in (net, flat))
    assert torch.allclose(before, after, rtol=1e-4, atol=1e-4)


def test_a_norm_that_stands_elsewhere_is_refused() -> None:
    d = Describe("odd", (6,))
    d.dense(5)
    d.activation("relu")
    d.batch_norm(name="late")
    d.dense(3)
    with pytest.raises(
        NetworkError, match=r"batch norm late of odd does not stand alone.*use network option norm=rms"
    ):
        folded(d.network())


def test_rms_norms_have_no_parameters() -> None:
    net = with_rms(zoo.build("cnn-4-6", batch_norm=True))
    assert [x.kind for x in net.layers].count("rms_norm") == 2
    assert not any("running" in name for name in net.params)
