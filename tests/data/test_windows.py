"""Samplers: pure functions of (seed, index, attempt), and where their windows may stand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seisjax.data import Draw, GridWindows, ShuffledWindows, UniformWindows
from seisjax.errors import UserError
from seisjax.geometry import Box

REGION = Box((10, 0, 5), (30, 40, 64))


@settings(max_examples=50)
@given(
    st.tuples(*[st.integers(1, 20)] * 3), st.tuples(*[st.integers(1, 12)] * 3), st.floats(0, 0.9), st.integers(0, 2**63)
)
def test_uniform_windows_keep_to_their_region_but_for_the_overhang(shape, window, overhang, index):
    region = Box((3, 4, 5), shape)
    box = UniformWindows(region, window, -7, overhang).draw(index).box
    assert box.shape == window
    for start, n, w, origin in zip(box.start, shape, window, region.start, strict=True):
        margin = int(overhang * w) if w > 1 else 0
        if n < w:
            assert start == origin
        else:
            assert origin - margin <= start <= origin + n - w + margin


def test_uniform_windows_see_the_edge_as_often_as_the_middle():
    region = Box((0,), (64,))
    seen = np.zeros(64)
    sampler = UniformWindows(region, (16,), 0, 0.5)
    for i in range(4000):
        seen[sampler.draw(i).inner.slices] += 1
    starts = {sampler.draw(i).box.start[0] for i in range(4000)}
    assert starts == set(range(-8, 57))
    assert seen[0] > 0.5 * seen[32]


def test_uniform_overhang_must_be_a_share():
    with pytest.raises(UserError, match="data.overhang=1.5"):
        UniformWindows(REGION, (4, 8, 8), 0, 1.5)


def test_grid_covers_the_region_once():
    grid = GridWindows([REGION], (7, 16, 64))
    covered = np.zeros((60, 60, 80), int)
    for i in range(len(grid)):
        draw = grid.draw(i)
        assert draw is not None
        covered[draw.box.slices] += 1
    assert (covered[REGION.slices] == 1).all()
    assert grid.draw(0) == Draw(Box(REGION.start, (7, 16, 64)), REGION)
    assert grid.draw(len(grid)) is None


def test_shuffled_windows_pass_over_the_whole_grid_each_time_in_another_order():
    grid = GridWindows([REGION], (4, 8, 8))
    sampler, n = ShuffledWindows(grid, 5), len(grid)
    first, second = ([sampler.draw(t * n + i).box.start for i in range(n)] for t in range(2))
    assert sorted(first) == sorted(second) == sorted(grid[i].box.start for i in range(n))
    assert first != second
    one = ShuffledWindows(GridWindows([REGION], REGION.shape), 5)
    assert one.draw(0) == one.draw(17) == one.draw(3, 9) == Draw(REGION, REGION)
