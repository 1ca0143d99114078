"""A replay buffer: a uniform sample of everything that the network has ever seen, by reservoir sampling."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def replayed(before: int, stream: int, capacity: int, seed: int) -> Ints:
    """Which sample is learned once more behind each sample of the stream: [stream].

    Samples are numbered in the order in which they were seen: those of pretraining first, then the stream's. The buffer
    leaves the factory with ``capacity`` of the former; sample n of all takes the place of one of them with the
    probability capacity / n (Vitter's algorithm R), after a sample was drawn from the buffer.
    """
    rng = np.random.default_rng([seed, capacity])
    buffer = rng.permutation(before)[:capacity]
    drawn = np.zeros(stream, np.int64)
    for t in range(stream):
        drawn[t] = buffer[rng.integers(len(buffer))]
        place = int(rng.integers(before + t + 1))
        if place < len(buffer):
            buffer[place] = before + t
    return drawn
