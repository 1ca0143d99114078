"""Activation functions by tables in C: one network of all of them, so that one program is compiled."""

from __future__ import annotations

import numpy as np

from insitu.network.layers import Describe
from insitu.ops.activations import ACTIVATIONS, Tabulated
from tests.backends.programs import pair

STEPS = 12


def test_all_tables_are_bit_equal_in_c_over_training_steps() -> None:
    functions = [name for name, f in ACTIVATIONS.items() if isinstance(f.on_integers(1.0), Tabulated)]
    assert {"relu6", "clipped_relu", "hardsigmoid", "hardswish", "silu", "gelu"} <= {*functions}
    d = Describe("tables", (12,))
    for name in functions:
        d.dense(9)
        d.activation(name, **ACTIVATIONS[name].options)
    d.dense(4)
    both = pair("bp", d.network(3), "edge-latent-free-8")
    assert list(both.learn(STEPS)) == []
    mine, theirs = both.scores()
    assert np.array_equal(mine, theirs)
