"""Fault sticks become surfaces and bands, and bands become sticks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seisjax.errors import UserError
from seisjax.geometry import Box, tiles
from seisjax.interpretation.fault_sticks import Surface, distances, faults_of, sticks_through, triangles_of
from seisjax.interpretation.text import Points


def file_of(sticks, names=None):
    """Points and places of sticks, one after the other."""
    index = np.concatenate([np.asarray(stick, float).reshape(-1, 3) for stick in sticks])
    numbers = [str(i) for i, stick in enumerate(sticks) for _ in stick]
    fault = [name for name, stick in zip(names or ["f"] * len(sticks), sticks, strict=True) for _ in stick]
    row = np.arange(len(index)) + 1
    text = {"fault": fault, "stick": numbers}
    return Points("f.txt", index[:, :2], None, index[:, 2], "", row, text), index


def plane(strike=0.3, dip=1.2):
    """Crossline of a plane at inline i and sample k."""
    return lambda i, k: 12 + strike * i + k / np.tan(dip) / 2


def test_a_plane_through_sticks_in_any_order_and_direction():
    at = plane()
    sticks = [[[i, at(i, k), k] for k in (0, 20, 39)] for i in (0, 12, 5, 23)]
    sticks[1] = sticks[1][::-1]
    (fault,) = faults_of(*file_of(sticks))
    assert [stick[0, 0] for stick in fault.sticks] in ([0, 5, 12, 23], [23, 12, 5, 0])
    shape, width = (24, 48, 40), 3.0
    i, j, k = np.indices(shape)
    normal = np.array([-0.3, 1, -1 / np.tan(1.2) / 2])
    distance = np.abs(j - at(i, k)) / np.linalg.norm(normal)
    found = Surface([fault], width).near(Box.whole(shape))
    inner = (slice(2, -2), slice(None), slice(3, -3))  # beyond the sticks' ends the band is round
    np.testing.assert_array_equal(found[inner], (distance <= width / 2)[inner])


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**16), st.tuples(*[st.integers(3, 20)] * 3))
def test_boxes_of_any_shape_give_what_the_whole_gives(seed, tile):
    rng = np.random.default_rng(seed)
    sticks = [rng.uniform(-4, 24, (rng.integers(2, 5), 3)) for _ in range(3)]
    surface = Surface(faults_of(*file_of(sticks)), rng.uniform(1, 4))
    shape = (20, 18, 22)
    pieced = np.zeros(shape, bool)
    for box in tiles(Box.whole(shape), tile):
        pieced[box.slices] = surface.near(box)
    np.testing.assert_array_equal(pieced, surface.near(Box.whole(shape)))


def test_triangles_stay_small_and_cover_the_surface():
    (fault,) = faults_of(*file_of([[[0, 0, 0], [0, 10, 300]], [[100, 5, 10], [100, 40, 280]]]))
    triangles = triangles_of(fault)
    sides = np.linalg.norm(np.roll(triangles, 1, axis=1) - triangles, axis=2)
    assert sides.max() <= 16

    def area(t):
        return np.linalg.norm(np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]), axis=1).sum() / 2

    a, b = fault.sticks
    whole = np.array([[a[0], b[0], a[1]], [b[0], b[1], a[1]]])
    assert area(triangles) == pytest.approx(area(whole))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16))
def test_distance_is_that_of_the_nearest_point(seed):
    rng = np.random.default_rng(seed)
    triangle, places = rng.uniform(0, 10, (3, 3)), rng.uniform(-5, 15, (20, 3))
    if seed % 3 == 0:
        triangle[2] = triangle[1]  # a segment
    a, b = np.meshgrid(np.linspace(0, 1, 61), np.linspace(0, 1, 61))
    inside = np.stack([a * (1 - b), a * b, 1 - a], axis=-1).reshape(-1, 3) @ triangle
    expected = np.linalg.norm(places[:, None] - inside, axis=2).min(axis=1)
    found = distances(places, np.broadcast_to(triangle, (20, 3, 3)))
    assert (found <= expected + 1e-9).all()
    assert (found >= expected - 0.3).all()  # the points are that far apart


def test_one_stick_labels_its_line_alone():
    surface = Surface(faults_of(*file_of([[[5, 4, 0], [5, 8, 20]]])), 2.0)
    found = surface.near(Box.whole((11, 12, 21)))
    assert found[5].any(axis=0).all()
    assert not found[[3, 7]].any()


def test_faults_are_told_apart_by_name():
    stick = [[0, 0, 0], [0, 0, 5]]
    faults = faults_of(*file_of([stick, stick, stick], ["a", "b", "a"]))
    assert [(fault.name, len(fault.sticks)) for fault in faults] == [("a", 2), ("b", 1)]


def test_sticks_on_slices_are_ordered_down():
    sticks = [[[0, 5, k], [20, 5, k]] for k in (30, 10, 20)]
    (fault,) = faults_of(*file_of(sticks))
    depths = [stick[0, 2] for stick in fault.sticks]
    assert depths in ([10, 20, 30], [30, 20, 10])


@pytest.mark.parametrize("single", [[[3, 4, 5]], [[3, 4, 5], [3, 4, 5]]])
def test_a_stick_of_one_point_is_refused(single):
    with pytest.raises(UserError, match=r"f.txt, line 3: stick 1 of f has one point; give it another or take it out"):
        faults_of(*file_of([[[0, 0, 0], [0, 0, 5]], single]))


# Back.


@pytest.mark.parametrize("slope", [0.0, 0.4, -0.9, 1.7, -5.0])
def test_a_band_gives_its_stick_back_within_half_a_sample(slope):
    """Down where it is steep, across where it is flat."""
    along, sample = np.indices((80, 60))
    distance = (along - 40 - slope * (sample - 30)) / np.hypot(1, slope)
    (stick,) = sticks_through(*np.nonzero(np.abs(distance) <= 1.5))
    off = np.abs(stick[:, 0] - 40 - slope * (stick[:, 1] - 30)) / np.hypot(1, slope)
    assert off[1:-1].max(initial=0) <= 0.5 + 1e-9
    assert off.max() <= 1.5  # the ends are cut by the section's ends
    assert len(stick) <= 4


def test_pieces_apart_are_sticks_apart():
    across, sample = np.array([[5, 5, 5, 9, 9, 9, 20], [3, 4, 5, 3, 4, 5, 7]])
    sticks = sticks_through(across, sample)
    assert [stick.tolist() for stick in sticks] == [[[5, 3], [5, 5]], [[9, 3], [9, 5]]]


def test_a_bent_fault_keeps_its_bend():
    sample = np.arange(40)
    across = np.where(sample < 20, 10 + sample, 29)
    (stick,) = sticks_through(across, sample)
    assert stick[0].tolist() == [10, 0]
    assert stick[-1].tolist() == [29, 39]
    assert [29, 19] in stick.tolist()
