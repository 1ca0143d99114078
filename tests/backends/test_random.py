"""Random networks, rules and policies: the self-test of the generated program, under the sanitizers."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.backends.c.host import self_test
from insitu.errors import ConfigError, NetworkError, StepError
from insitu.network import zoo
from insitu.network.graph import Network
from insitu.ops.activations import ACTIVATIONS
from insitu.run.samples import as_integers
from tests.backends.programs import program, samples
from tests.backends.test_c import READY

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")

PARTS = 4
EXAMPLES = int(os.environ.get("INSITU_RANDOM_PROGRAMS", "24")) // PARTS
"""Programs in each part; the parts are shared by the processes of a test run. With 200 they were equal too."""

STEPS = 3


def network(draw: Random) -> Network:
    """A small net: dense, or convolutions with pools."""
    activation = draw.choice(["relu", *ACTIVATIONS])
    classes = draw.randint(2, 11)
    if draw.random() < 0.5:
        sizes = [draw.randint(1, 33) for _ in range(draw.randint(2, 4))]
        return zoo.build(f"mlp-{'-'.join(map(str, sizes))}-{classes}", activation=activation)
    channels = [draw.randint(1, 9) for _ in range(draw.randint(1, 2))]
    shape = (draw.randint(1, 3), draw.choice([4, 7, 8, 10]), draw.choice([4, 6, 9]))
    return zoo.build(
        f"cnn-{'-'.join(map(str, channels))}", input_shape=shape, classes=classes, activation=activation
    )


def policy(draw: Random) -> str:
    """Words of any width, latent or not, with every kind of update and rounding."""
    weight = draw.choice(["1", "t", "2", "3", "4", "5", "6", "8", "11", "16"])
    act = draw.choice([2, 3, 4, 6, 8, 8, 12])
    free = weight == "t" or draw.random() < 0.7
    name = "edge-latent-free-8" if free else "w8a8"
    fields = [f"weight={weight}", f"activation={act}"]
    if draw.random() < 0.5:
        fields.append(f"error={draw.choice([4, 6, 8, 12, 16])}")
    if draw.random() < 0.3:
        fields.append(f"rounding={draw.choice(['floor', 'half-up', 'stochastic'])}")
    if free and draw.random() < 0.4:
        fields.append(
            f"update={draw.choice(['threshold', 'dst', 'niti', 'integer-sgd', 'round-robin', 'error-feedback'])}"
        )
    if "update=error-feedback" in fields:
        fields.append(f"group_size={draw.choice([1, 3, 9])}")
        threshold = draw.randint(4, 8)
        fields.append(
            f"residual_bits={draw.randint(2 if threshold in (4, 8) else 4, 16)},threshold={threshold}"
        )
    if draw.random() < 0.2:
        fields.append("generator=lfsr")
    if draw.random() < 0.2:
        fields.append("error_exponent=static")
        if draw.random() < 0.7:
            fields.append(f"defer={draw.randint(2, 3)}")  # refused for updates that do not defer
    return f"{name}:{','.join(fields)}"


REFUSED = (ConfigError, NetworkError, StepError)
"""A rule refuses the network, a policy its fields, or the quantize pass a width."""


@pytest.mark.parametrize("part", range(PARTS))
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_a_random_program_has_the_bits_of_the_reference(part: int, seed: int) -> None:
    for draw in (Random(f"{part} {seed} {i}") for i in range(1000)):
        net, rule, chosen = network(draw), draw.choice(READY), policy(draw)
        batch, lr = draw.randint(1, 3), draw.choice([0.5, 0.1, 0.01])
        try:
            _, made = program(rule, net, chosen, batch, lr)
        except REFUSED:
            continue
        break
    batches = []
    for t in range(STEPS * len(made.steps)):
        step = made.steps[t % len(made.steps)]
        x, y = samples(net, step.batch, t)
        batches.append((as_integers(step.inputs[0], x), y))
    assert self_test(replace(made, batches=tuple(batches))) == "self-test: all equal\n", (
        rule,
        net.name,
        chosen,
        batch,
        lr,
    )
