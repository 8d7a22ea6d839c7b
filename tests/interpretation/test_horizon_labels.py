"""Horizons as maps and as labels, and back again."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seisjax.errors import UserError
from seisjax.geometry import Axis
from seisjax.interpretation.field import Grid
from seisjax.interpretation.frame import Frame
from seisjax.interpretation.horizon_labels import area_labels, band_labels, check_order, map_horizon
from seisjax.interpretation.horizons import pick_band, pick_horizon
from seisjax.interpretation.text import Points, read_points

SHAPE = (5, 7, 60)
GRID = Grid(np.array([4.3e5, 6.5e6]), np.array([[20.0, 15.0], [-7.5, 10.0]]))


def frame(grid=GRID, unit="ms"):
    axes = (Axis("inline", np.arange(100, 110, 2)), Axis("crossline", np.arange(300, 307)))
    return Frame("survey.zarr", (*axes, Axis("time", 1000 + np.arange(60) * 4.0, unit)), grid)


def points(index, lines=True, xy=True, path="h.txt", **other):
    """A file's points at these places, in samples."""
    index = np.asarray(index, float)
    own = np.stack([100 + 2 * index[:, 0], 300 + index[:, 1]], axis=1)
    z = 1000 + 4 * index[:, 2]
    row = np.arange(len(index)) + 1
    return Points(path, own if lines else None, GRID.places(index[:, :2]) if xy else None, z, "", row, **other)


def surface(index, seed=0):
    rng = np.random.default_rng(seed)
    a, b, c = rng.uniform(-1, 1, 3)
    return 30 + 9 * a * np.sin(index[0] / 2 + c) + 9 * b * np.cos(index[1] / 3)


def complete(seed=0):
    """A pick on every trace."""
    index = np.indices(SHAPE[:2]).reshape(2, -1)
    return np.column_stack([*index, surface(index, seed)])


# Places.


@pytest.mark.parametrize(("lines", "xy"), [(True, True), (True, False), (False, True)])
def test_lines_and_map_coordinates_give_the_same_places(lines, xy):
    index = np.array([[0, 0, 3.25], [1, 2, 0], [4, 6, 59], [2.5, 3.25, 10], [-1, 9, 70]])
    np.testing.assert_allclose(frame().index(points(index, lines, xy)), index, atol=1e-6)


def test_units_and_signs(caplog):
    index = np.array([[0, 0, 3.25], [1, 2, 50]])
    one = points(index)
    in_seconds = Points("h.csv", one.lines, one.xy, one.z / 1000, "s", one.row)
    np.testing.assert_allclose(frame().index(in_seconds), index)
    np.testing.assert_allclose(frame().index(Points("h", one.lines, None, one.z / 1000, "", one.row), "s"), index)
    upwards = Points("h.csv", one.lines, one.xy, -one.z, "", one.row)
    with caplog.at_level("WARNING", "seisjax.notes"):
        np.testing.assert_allclose(frame().index(upwards), index)
    assert "h.csv: z is negative throughout" in caplog.text


def test_a_file_of_another_survey_is_told(caplog):
    one = points(complete())
    moved = Points("h.txt", one.lines, one.xy + 1000, one.z, "", one.row)
    with caplog.at_level("WARNING", "seisjax.notes"):
        frame().index(moved)
    assert "h.txt: x and y lie 1414 (median) from where survey.zarr has these" in caplog.text


def test_map_coordinates_need_a_transform():
    with pytest.raises(
        UserError, match=r"h.txt, line 1: has map coordinates alone, and survey.zarr has no cdp_x and cdp_y"
    ):
        frame(None).index(points(complete(), lines=False))


def test_rounded_line_numbers_give_way_to_map_coordinates():
    index = np.array([[0.4, 0, 3.25], [1.3, 2, 50]])
    one = points(index)
    stick = Points("f.txt", np.rint(one.lines), one.xy, one.z, "", one.row, rounded=True)
    np.testing.assert_allclose(frame().index(stick), index, atol=1e-6)
    np.testing.assert_allclose(frame(None).index(stick)[:, 0], [0.5, 1.5])  # inlines 101 and 103 (of 100, 102, ...)


# Maps.


def test_picks_stand_on_their_traces():
    picks = complete()[[3, 17, 20]]
    horizon = map_horizon(points(picks, path="a/top.txt"), frame())
    assert horizon.name == "top"
    assert np.isfinite(horizon.position).sum() == 3
    np.testing.assert_allclose(horizon.position.ravel()[[3, 17, 20]], picks[:, 2])
    np.testing.assert_array_equal(horizon.row.ravel()[[3, 17, 20]], [1, 2, 3])


def test_points_between_traces_are_told_and_left_out(caplog):
    picks = complete()[:4]
    picks[1, 1] += 0.4
    with caplog.at_level("WARNING", "seisjax.notes"):
        horizon = map_horizon(points(picks), frame())
    assert np.isfinite(horizon.position).sum() == 3
    assert "1 of 4 points lie between traces" in caplog.text
    with pytest.raises(UserError, match=r"h.txt: no point lies on a trace of survey.zarr; give --fill"):
        map_horizon(points(picks[1:2]), frame())


def test_filling_interpolates_as_far_as_asked():
    every = complete()
    every[:, 2] = 20 + 2 * every[:, 0] + every[:, 1]  # a plane
    corners = every[(every[:, 0] % 4 == 0) & (every[:, 1] % 3 == 0)]
    filled = map_horizon(points(corners), frame(), fill=10).position
    np.testing.assert_allclose(filled, every[:, 2].reshape(SHAPE[:2]))
    near = map_horizon(points(corners), frame(), fill=1).position
    assert np.isfinite(near[[0, 1, 3, 4]][:, [0, 3, 6]]).all()
    assert np.isnan(near[2]).all()
    line = map_horizon(points(every[:7]), frame(), fill=3).position  # one inline: nothing lies between
    assert np.isfinite(line).sum() == 7


def test_the_ways_with_duplicates():
    twice = complete()[[3, 3, 8]]
    twice[1, 2] += 2
    for how, value in (("first", 0), ("last", 2), ("mean", 1)):
        position = map_horizon(points(twice), frame(), duplicates=how).position.ravel()
        assert position[3] == pytest.approx(twice[0, 2] + value)
        assert position[8] == pytest.approx(twice[2, 2])
    twice[1, 2] = twice[0, 2]
    assert np.isfinite(map_horizon(points(twice), frame()).position).sum() == 2


@pytest.mark.parametrize(
    ("picks", "options", "message"),
    [
        (
            [[0, 0, 3], [0, 0, 4.5]],
            {},
            r"h.txt, lines 1 and 2: inline 100, crossline 300 stands there with 1012 and 1018 ms",
        ),
        (
            [[0, 0, 3], [9, 0, 4]],
            {},
            r"h.txt, line 2: inline 118, crossline 300, z 1016 lies outside survey.zarr \(inline",
        ),
        (
            [[0, 0, 3], [1, 0, 61]],
            {},
            r"h.txt, line 2: .* z 1244 lies outside .* like 1 of 2 points; give --outside=skip",
        ),
        ([[0, 0, -200], [1, 0, -201]], {"outside": "skip"}, r"like 2 of 2 points; check --unit"),
    ],
)
def test_bad_horizons_are_one_line(picks, options, message):
    with pytest.raises(UserError, match=message) as error:
        map_horizon(points(picks), frame(), **options)
    assert "\n" not in str(error.value)


def test_points_outside_can_be_skipped():
    picks = [[0, 0, 3], [9, 0, 4], [1, 0, 61], [0, -1, 3]]
    assert np.isfinite(map_horizon(points(picks), frame(), outside="skip").position).sum() == 1


def test_crossing_horizons_are_named_with_file_and_line():
    upper, lower = complete(), complete()
    lower[:, 2] += 3
    lower[11, 2] = upper[11, 2] - 5
    lower[4, 2] = upper[4, 2]  # they may touch
    both = [map_horizon(points(picks, path=path), frame()) for picks, path in ((upper, "top.txt"), (lower, "base.txt"))]
    with pytest.raises(
        UserError, match=r"base.txt, line 12: at inline 102, crossline 304 it lies at .* above top.txt at"
    ):
        check_order(both, frame())
    lower[11, 2] = upper[11, 2]
    check_order([map_horizon(points(picks), frame()) for picks in (upper, lower)], frame())


# Labels, and back.


@st.composite
def stacks(draw):
    """Horizons (horizon, trace) in order, and the width of a band."""
    count, seed = draw(st.integers(1, 3)), draw(st.integers(0, 2**16))
    gap = draw(st.sampled_from([0.0, 0.3, 1.0, 6.5]))
    index = np.indices((1, 40))[:, 0]
    base = 12 + (surface(index, seed) - 30) / 3
    horizons = np.stack([base + i * (gap + index[1] / 10) for i in range(count)])
    return horizons, draw(st.floats(1.0, 7.0))


@settings(max_examples=40, deadline=None)
@given(stacks())
def test_areas_give_their_horizons_back_within_half_a_sample(case):
    """However thin the areas are, where classes are taken in order."""
    positions, _ = case
    labels = area_labels(positions, np.arange(60))
    assert labels.max() < len(positions) + 1
    for number, position in enumerate(positions):
        below = (labels > number).astype(np.float32)
        picks = pick_horizon(1 - below, below)
        assert np.abs(picks.position - position).max() <= 0.5
        assert (picks.crossings == 1).all()


@settings(max_examples=40, deadline=None)
@given(stacks(), st.booleans())
def test_bands_give_their_horizon_back_within_half_a_sample(case, background):
    positions, width = case
    for number, position in enumerate(positions):
        labels = band_labels(positions[number : number + 1], np.arange(60), width, 1, background)
        assert set(np.unique(labels)) == {1, 0 if background else 255}
        picks = pick_band((labels == 1).astype(np.float32))
        assert np.abs(picks.position - position).max() <= 0.5 + 1e-9
        np.testing.assert_array_equal(picks.crossings, 1)


def test_a_soft_band_is_found_to_a_fraction_of_a_sample():
    depth = np.linspace(10.0, 45.0, 100)
    inside = np.exp(-0.5 * ((np.arange(60) - depth[:, None]) / 2) ** 2).astype(np.float32)
    np.testing.assert_allclose(pick_band(inside).position, depth, atol=0.05)


def test_of_several_bands_the_clearest_is_taken_and_cut_ones_are_none():
    inside = np.full((5, 60), 0.1, np.float32)
    inside[0, 10:14], inside[0, 30:33] = 0.7, 0.95
    inside[1, :4], inside[2, 57:] = 0.9, 0.9  # at the ends
    inside[3, 20:24], inside[3, 24] = 0.9, np.nan
    inside[4] = np.nan
    picks = pick_band(inside)
    assert picks.crossings.tolist() == [2, 0, 0, 0, 0]
    assert picks.position[0] == pytest.approx(31)
    assert picks.confidence[0] == pytest.approx(0.8)
    assert np.isnan(picks.position[1:]).all()
    assert pick_band(inside[:0]).position.shape == (0,)
    assert np.isnan(pick_band(inside[:, :1]).position).all()


def test_overlapping_bands_go_to_the_nearer_horizon():
    labels = band_labels(np.array([[10.0], [12.0]]), np.arange(20), 5, 1, True)[0]
    assert labels.tolist() == [0] * 8 + [1] * 4 + [2] * 3 + [0] * 5


def test_what_a_missing_pick_leaves_open_is_not_labelled():
    positions = np.array([[10.0, np.nan, 10], [20, 20, np.nan], [30, 30, 30]])
    samples = np.arange(0, 40, 5)
    assert area_labels(positions, samples).tolist() == [
        [0, 0, 1, 1, 2, 2, 3, 3],
        [255, 255, 255, 255, 2, 2, 3, 3],
        [0, 0, 255, 255, 255, 255, 3, 3],
    ]
    bands = band_labels(positions, np.arange(40), 2, 1, True)
    assert (bands[0] == 0).sum() == 40 - 6
    assert set(np.unique(bands[1:])) == {1, 2, 3, 255}


def test_a_text_file_makes_the_whole_way(tmp_path: Path):
    path = tmp_path / "top.csv"
    rows = "\n".join(f"{100 + 2 * i:.0f},{300 + j:.0f},{1 + 0.004 * k}" for i, j, k in complete())
    path.write_text("inline,crossline,time_s\n" + rows)
    horizon = map_horizon(read_points(path, "horizon", "time"), frame())
    np.testing.assert_allclose(horizon.position.ravel(), complete()[:, 2])
