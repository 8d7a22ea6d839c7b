"""What samples cover, and where traces stand."""

import numpy as np
import pytest

from seisjax.geometry import Axis
from seisjax.interpretation.field import Grid, Line, fit_places, labels_at, measure


def axes(*names_and_units):
    return [Axis(name, np.arange(4) * 4.0, unit) for name, unit in names_and_units]


def turned_grid(angle=0.6, skew=0.0):
    """6 x 9 traces, 25 m and 12.5 m apart, turned, far from the origin."""
    c, s = np.cos(angle), np.sin(angle)
    steps = np.array([[25.0 * c, 25.0 * s], [-12.5 * s + skew * c, 12.5 * c + skew * s]])
    index = np.argwhere(np.ones((6, 9), bool)).astype(float)
    return index, np.array([4.3e5, 6.5e6]) + index @ steps


@pytest.mark.parametrize("skew", [0.0, 4.0])
def test_a_turned_grid_gives_cells_and_places(skew):
    index, xy = turned_grid(skew=skew)
    rng = np.random.default_rng(0)
    some = rng.permutation(len(index))[:20]
    found = fit_places(index[some], xy[some] + rng.uniform(-0.5, 0.5, (20, 2)))  # coordinates in whole metres
    assert isinstance(found, Grid)
    assert found.cell == pytest.approx(25.0 * 12.5, rel=0.02)
    np.testing.assert_allclose(found.places(index), xy, atol=1.5)


def test_what_is_no_grid_has_no_measure():
    index, xy = turned_grid()
    assert fit_places(index, np.random.default_rng(0).permutation(xy)) is None
    assert fit_places(index, np.zeros_like(xy)) is None  # headers were not filled in
    assert fit_places(index[:9], xy[:9]) is None  # one inline
    assert fit_places(index[:0], xy[:0]) is None


def test_a_crooked_line_is_measured_along_itself():
    angle = np.linspace(0, 1.5, 40)
    xy = 1000.0 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    live = np.flatnonzero(np.arange(40) % 7 != 3)
    found = fit_places(live[:, None].astype(float), xy[live])
    assert isinstance(found, Line)
    assert found.cell == pytest.approx(1000.0 * 1.5 / 39, rel=1e-3)
    np.testing.assert_allclose(found.places(np.array([[3.0]])), xy[3:4], atol=1.0)


@pytest.mark.parametrize(
    ("names", "grid", "factor", "column"),
    [
        ([("inline", ""), ("crossline", ""), ("time", "ms")], True, 312.5 * 4, "volume_m2_ms"),
        ([("inline", ""), ("crossline", ""), ("depth", "m")], True, 312.5 * 4, "volume_m3"),
        ([("inline", ""), ("crossline", ""), ("time", "ms")], False, 4, "size_trace_ms"),
        ([("x", "m"), ("y", "m"), ("depth", "m")], False, 64, "volume_m3"),
        ([("receiver", "m"), ("time", "s")], False, 16, "area_m_s"),
        ([("x", "ft"), ("depth", "ft")], False, 16, "area_ft2"),
        ([("receiver", ""), ("time", "")], False, 1, "size_trace_sample"),
    ],
)
def test_the_column_says_what_is_counted(names, grid, factor, column):
    places = fit_places(*turned_grid()) if grid else None
    found = measure(axes(*names), places)
    assert found.column == column
    assert found.factor == pytest.approx(factor)


def test_labels_between_samples():
    axis = Axis("crossline", np.array([10, 12, 20]))
    np.testing.assert_array_equal(labels_at(axis, np.array([0.5, 1.25, np.nan])), [11, 14, np.nan])
