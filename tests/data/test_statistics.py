"""Mean and deviation of the training part."""

import numpy as np
import pytest

from seisjax.data import training_statistics
from seisjax.errors import UserError
from seisjax.geometry import Box

REGION = Box((2, 3, 10), (17, 30, 50))


def test_all_chunks_give_the_exact_statistics(cube):
    values = cube.amplitude[REGION.slices]
    values = values[np.isfinite(values)].astype(np.float64)
    found = training_statistics(cube.volume, REGION, max_tiles=1000)
    assert found.count == len(values)
    np.testing.assert_allclose([found.mean, found.std], [values.mean(), values.std()], rtol=1e-12)


def test_a_part_of_the_chunks_is_the_same_part_each_time(cube):
    first, again = (training_statistics(cube.volume, REGION, max_tiles=6) for _ in range(2))
    assert first == again
    assert 0 < first.count < REGION.size
    np.testing.assert_allclose([first.mean, first.std], [3.0, 1.0], atol=0.1)


def test_nothing_to_normalise_by_is_one_line(cube):
    with pytest.raises(UserError, match="data.train: no finite amplitude"):
        training_statistics(cube.volume, Box((4, 4, 0), (1, 1, 60)), 10)
    with pytest.raises(UserError, match="data.train: all amplitudes in the region are"):
        training_statistics(cube.volume, Box((0, 0, 0), (1, 1, 1)), 10)
