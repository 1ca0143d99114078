"""Merged states: exact where states agree, unbiased where they do not, and deltas that give the state back."""

from __future__ import annotations

import numpy as np
import pytest

from insitu import state_apply, state_delta, state_merge
from insitu.errors import ConfigError
from insitu.numbers.formats import parse
from insitu.numbers.packing import pack
from insitu.run.merge import Stored, restored, stored
from tests.backends.programs import program


def state(words: np.ndarray, fmt: str = "s4.0") -> list[Stored]:
    made = parse(fmt)
    return [Stored("w", made, words.size, pack(words, made).tobytes())]


@pytest.mark.parametrize("fmt", ["s4.0", "s8.5", "t2"])
def test_the_mean_of_equal_states_is_the_state(fmt: str) -> None:
    low, high = parse(fmt).low, parse(fmt).high
    one = state(np.random.default_rng(1).integers(low, high + 1, 101), fmt)
    assert state_merge([one, one, one], [3, 1, 7], seed=5) == one


def test_words_are_rounded_to_their_neighbours_without_bias() -> None:
    count = 40_000
    merged = state_merge([state(np.full(count, -3)), state(np.full(count, -2))], [3, 1], seed=1)[0].words
    assert set(merged.tolist()) == {-3, -2}
    assert abs(merged.mean() + 2.75) < 4 * np.sqrt(0.25 * 0.75 / count)
    other = state_merge([state(np.full(count, -3)), state(np.full(count, -2))], [3, 1], seed=2)[0].words
    assert (merged != other).any()


def test_a_delta_gives_the_state_back() -> None:
    _, made = program("drtp", "mlp", "edge-latent-free-4")
    before = stored(made, made.initial_state)
    for name, array in restored(made, before).items():
        assert np.array_equal(array, made.initial_state[name])
    word = bytes((before[0].data[0] ^ 0x11,)) + before[0].data[1:]
    after = [Stored(before[0].name, before[0].format, before[0].count, word), *before[1:]]
    delta = state_delta(before, after)
    assert state_apply(before, delta) == after
    with pytest.raises(ConfigError, match="send it again"):
        state_apply(before, [delta[0][:-3], *delta[1:]])


def test_what_does_not_fit_is_refused() -> None:
    a, b = state(np.zeros(4, int)), state(np.zeros(5, int))
    with pytest.raises(ConfigError, match="of 2 programs"):
        state_merge([a, b], [1, 1], seed=0)
    with pytest.raises(ConfigError, match="weights"):
        state_merge([a, a], [0, 0], seed=0)
