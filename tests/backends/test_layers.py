"""Layers that the networks of the other tests do not have: C and the integer reference side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from insitu.network.layers import Describe
from tests.backends.programs import pair

STEPS = 6


def channels_dropped(d: Describe) -> None:
    d.conv(4, 3)
    d.activation("relu")
    d.dropout(0.4, channels=True)


def upsampled(d: Describe) -> None:
    d.conv(4, 3)
    d.activation("relu")
    d.upsample((2, 3))
    d.conv(3, 3, stride=2)
    d.upsample(2)
    d.activation("relu")


@pytest.mark.parametrize("rule", ["bp", "dfa", "bp-stash"])
@pytest.mark.parametrize("layers", [channels_dropped, upsampled])
def test_training_steps_are_bit_equal(layers: Callable[[Describe], None], rule: str) -> None:
    d = Describe("layers", (2, 6, 7))
    layers(d)
    d.conv(3, 3)
    d.activation("relu")
    d.flatten()
    d.dense(4)
    both = pair(rule, d.network(3), "edge-latent-free-8", batch=2)
    assert list(both.learn(STEPS)) == []
    mine, theirs = both.scores()
    assert np.array_equal(mine, theirs)
