"""How arrays lie in the memories: what is packed is unpacked, padding is zeros, and places are those of the docs."""

import numpy as np
import pytest

from insitu.backends.engine.forms import Grid, Kernel, Matrix, Planes

RANDOM = np.random.default_rng(2)


@pytest.mark.parametrize(
    "form",
    [
        *(Matrix(10, Grid(6, 3, 2), lanes, by_rows) for lanes in (4, 8) for by_rows in (False, True)),
        *(Kernel((10, 3, 2, 5), lanes) for lanes in (4, 16)),
    ],
    ids=str,
)
def test_weights_come_back_and_padding_is_zero(form):
    shape = form.shape if isinstance(form, Kernel) else (form.rows, form.columns)
    weights = RANDOM.integers(-128, 128, shape)
    words = form.pack(weights)
    assert words.shape == (form.size, form.lanes)
    assert np.array_equal(form.unpack(words), weights)
    assert np.abs(words.astype(int)).sum() == np.abs(weights).sum()


@pytest.mark.parametrize("signed", [False, True])
def test_bytes_have_channels_last(signed):
    grid = Grid(3, 2, 2, 8)
    values = RANDOM.integers(-128, 128, (3, 2, 2)) if signed else RANDOM.integers(0, 256, (3, 2, 2))
    data = grid.pack(values)
    assert data.shape == (32,) and np.array_equal(grid.unpack(data, signed), values)
    assert data[(1 * 2 + 0) * 8 + 2] == values[2, 1, 0] & 255


def test_sixteen_bits_are_two_planes():
    planes = Planes(3, 8)
    data = planes.pack([1, -2, 300])
    assert data[[0, 1, 2, 8, 9, 10]].tolist() == [1, 254, 44, 0, 255, 1]
    assert planes.unpack(data).tolist() == [1, -2, 300]


def test_columns_of_a_flattened_map_are_channels_last():
    matrix = Matrix(1, Grid(2, 1, 3), 4, by_rows=True)
    words = matrix.pack([[0, 1, 2, 10, 11, 12]])  # channel 0 at three places, then channel 1
    assert words.tolist() == [[0, 10, 0, 0], [1, 11, 0, 0], [2, 12, 0, 0]]
