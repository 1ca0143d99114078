"""The bars of speed: a silent step costs little more than an inference, and the lanes are busy."""

import pytest

from insitu.backends.engine.cycles import work
from insitu.backends.engine.image import fitted
from insitu.backends.engine.listing import ALL
from insitu.ops.loops import loops
from tests.backends.engine.pairs import made

LANES = 8


def cycles(name: str, fired: int, entry: int = 0) -> int:
    image = fitted(made("etch", name), LANES)
    return work(image.code.words, image.entries[entry].start, image.build, fired).cycles


def test_a_silent_step_costs_at_most_a_tenth_more_than_an_inference() -> None:
    assert cycles("mlp-784-128-10", 0) <= 1.10 * cycles("mlp-784-128-10", 0, -1)


@pytest.mark.parametrize(("name", "share"), [("mlp-784-128-10", 0.90), ("cnn-8-16", 0.70)])
def test_lanes_are_busy_in_a_step_that_triggers(name: str, share: float) -> None:
    products = sum(nest.macs for op in made("etch", name).steps[0].ops if (nest := loops(op)) is not None)
    assert products / LANES / cycles(name, ALL) >= share
