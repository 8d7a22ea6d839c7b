"""Whole-number geometry, checked against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seisjax.errors import UserError
from seisjax.geometry import (
    Axis,
    Box,
    Lattice,
    check_disjoint,
    format_region,
    format_regions,
    lattice_stride,
    padded_window,
    parse_region,
    parse_regions,
    round_up,
    sampling,
    section_windows,
    tiles,
)

AXES = (
    Axis("inline", np.arange(1075, 1099)),
    Axis("crossline", np.arange(1000, 1100, 2)),
    Axis("time", np.arange(40) * 0.125 + 123456.0, "ms"),
)


def sides(low: int, high: int, ndim: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.integers(low, high)] * ndim)


@st.composite
def boxes(draw, ndim=2, low=-6, high=8, smallest=0):
    return Box(draw(sides(low, high, ndim)), draw(sides(smallest, 7, ndim)))


@st.composite
def lattices(draw, ndim=2):
    window = draw(sides(1, 6, ndim))
    stride = tuple(draw(st.integers(1, w)) for w in window)
    return Lattice(draw(sides(1, 12, ndim)), window, stride, draw(sides(-5, 5, ndim)))


def samples(box: Box) -> set[tuple[int, ...]]:
    return set(itertools.product(*map(range, box.start, box.stop)))


@given(boxes(), boxes())
def test_intersection_holds_the_common_samples(a, b):
    common = a.intersect(b)
    assert samples(common) == samples(a) & samples(b)
    assert common.size == len(samples(common))
    if a.size:
        assert b.contains(a) == (samples(a) <= samples(b))


@given(boxes(low=0), sides(1, 5, 2))
def test_tiles_partition_a_box(box, tile):
    pieces = list(tiles(box, tile))
    covered = [point for piece in pieces for point in samples(piece)]
    assert len(covered) == len(set(covered))
    assert set(covered) == samples(box)
    for piece in pieces:
        assert piece.size == 0 or all(
            a // t == (b - 1) // t for a, b, t in zip(piece.start, piece.stop, tile, strict=True)
        )


@given(lattices())
def test_lattice_covers_and_wastes_no_window(lattice):
    extent = Box(lattice.origin, lattice.shape)
    windows = [lattice[i] for i in range(len(lattice))]
    assert samples(extent) <= set().union(*map(samples, windows))
    last = windows[-1]
    for axis, count in enumerate(lattice.counts):
        assert count == 1 or last.stop[axis] - lattice.stride[axis] < extent.stop[axis]
    with pytest.raises(IndexError):
        lattice[len(lattice)]


@given(lattices(), boxes(smallest=1))
def test_touching_finds_exactly_the_windows_that_meet_a_box(lattice, box):
    expected = [lattice[i] for i in range(len(lattice)) if lattice[i].intersect(box).size]
    assert list(lattice.touching(box)) == expected


@given(st.data())
def test_region_text_round_trip(data):
    start = tuple(data.draw(st.integers(0, len(axis) - 1)) for axis in AXES)
    stop = tuple(data.draw(st.integers(a + 1, len(axis))) for a, axis in zip(start, AXES, strict=True))
    box = Box.between(start, stop)
    assert parse_region(format_region(box, AXES), AXES) == box


def test_region_reads_labels_with_both_ends():
    box = parse_region("inline:1075-1088, crossline:1010", AXES)
    assert box == Box((0, 5, 0), (14, 1, 40))
    assert parse_region("", AXES) == Box.whole((24, 50, 40))
    assert parse_region("crossline:1001-1005", AXES) == Box((0, 1, 0), (24, 2, 40))
    negative = (Axis("x", np.arange(-5, 5)),)
    assert parse_region("x:-3--1", negative) == Box((2,), (3,))
    summed = (Axis("depth", np.arange(10) * 3.3),)  # 9.899999999999999, 19.799999999999997
    assert parse_region("depth:9.9-19.8", summed) == Box((3,), (4,))
    assert parse_region("depth:9.9", summed) == Box((3,), (1,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inline", "cannot read 'inline'"),
        ("inlin:1075-1080", "no axis 'inlin' .did you mean 'inline'"),
        ("inline:1075-1076,inline:1080-1081", "stands twice"),
        ("inline:1-9", "no inline between 1 and 9; it has inline:1075-1098"),
        ("xline:1010-1020", "no axis 'xline' .did you mean 'crossline'"),
        ("inline:1088-1075", "'inline:1088-1075' is reversed; write inline:1075-1088"),
        ("crossline:1001", "no crossline between 1001 and 1001"),
        ("inline:..-..", "cannot read"),
    ],
)
def test_region_errors_are_one_line(text, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_region(text, AXES)
    assert "\n" not in str(caught.value)


def test_regions_text_round_trip():
    text = "inline:1075-1080,crossline:1000-1098; inline:1090 ,crossline:1010-1020;"
    regions = parse_regions(text, AXES)
    assert [region.start[:2] for region in regions] == [(0, 0), (15, 5)]
    assert parse_regions(format_regions(regions, AXES), AXES) == regions
    assert parse_regions(" ;", AXES) == (Box.whole([len(axis) for axis in AXES]),)


def test_regions_that_overlap_are_named():
    message = "regions 'inline:1080-1085' and 'crossline:1010' share inline:1080-1085,crossline:1010-1010,time:"
    with pytest.raises(UserError, match=message):
        parse_regions("inline:1076,crossline:1000;inline:1080-1085;crossline:1010", AXES)


def test_section_windows_keep_the_order_of_the_long_sides():
    assert section_windows((1, 40, 20), (), AXES) == ((1, 40, 20),)
    assert section_windows((1, 20, 24), ("time", "inline"), AXES) == ((20, 24, 1), (1, 20, 24))
    assert section_windows((20, 1, 24), ("crossline", "inline"), AXES) == ((20, 1, 24), (1, 20, 24))


@given(boxes(smallest=1), boxes(smallest=1), sides(0, 3, 2))
def test_disjoint_means_a_gap_along_some_axis(a, b, gap):
    # Grow `a` by the gap along one axis at a time: where it then still misses `b`, that axis parts them.
    def grown(axis):
        grow = [g if i == axis else 0 for i, g in enumerate(gap)]
        start = [s - g for s, g in zip(a.start, grow, strict=True)]
        stop = [s + g for s, g in zip(a.stop, grow, strict=True)]
        span = Box.between(start, stop)
        return not range(max(span.start[axis], b.start[axis]), min(span.stop[axis], b.stop[axis]))

    parted = any(grown(axis) for axis in range(2))
    if parted:
        check_disjoint({"train": [a], "test": [b]}, gap, AXES[:2])
    else:
        with pytest.raises(UserError, match="data.train and data.test"):
            check_disjoint({"train": [a], "test": [b]}, gap, AXES[:2])


@given(st.integers(0, 1000), st.integers(1, 64))
def test_round_up(value, multiple):
    rounded = round_up(value, multiple)
    assert rounded % multiple == 0
    assert 0 <= rounded - value < multiple


def test_padded_window_keeps_sections():
    assert padded_window((1, 250, 256), 16) == (1, 256, 256)


@given(sides(1, 300, 3), st.sampled_from([0.0, 0.25, 0.5, 0.9]), st.sampled_from([1, 2, 16]))
def test_lattice_stride_leaves_no_hole(window, overlap, multiple):
    for side, stride in zip(window, lattice_stride(window, overlap, multiple), strict=True):
        assert 1 <= stride <= side
        assert stride % multiple == 0 or stride == side


@pytest.mark.parametrize(("step", "unit"), [(0.004, "s"), (4, "ms"), (4.0, ""), (4000, "us"), (4000, "µs")])
def test_sampling_is_in_seconds_whatever_the_axis_counts_in(step, unit):
    assert sampling(Axis("time", (np.arange(9) + 5) * step, unit)) == pytest.approx((0.004, 0.02))


@pytest.mark.parametrize(
    ("labels", "unit", "message"),
    [
        ([0, 4, 8], "m", "axis time: counts in m, not in s, ms"),
        ([0, 4, 9], "ms", "axis time: its samples are not evenly spaced"),
        ([0], "ms", "axis time: its samples are not evenly spaced"),
    ],
)
def test_axes_that_are_no_even_time_are_refused(labels, unit, message):
    with pytest.raises(UserError, match=message):
        sampling(Axis("time", np.array(labels), unit))
