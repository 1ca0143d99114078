"""Few threads, and one comparison of networks that all tests use."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from insitu.network.graph import Network


@pytest.fixture(autouse=True)
def _few_threads() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def same() -> Callable[[Network, Network], None]:
    """Asserts that two networks have the same layers, blocks, shapes and parameters."""

    def check(a: Network, b: Network) -> None:
        assert a.input_shape == b.input_shape
        assert list(a.layers) == list(b.layers)
        assert a.blocks == b.blocks
        assert list(a.params) == list(b.params)
        for name in a.params:
            np.testing.assert_array_equal(a.params[name], b.params[name], err_msg=name)

    return check
