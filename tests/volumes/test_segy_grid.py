"""Axes from header bytes."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import segyio
from hypothesis import given, settings
from hypothesis import strategies as st

from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.volumes.segy import TraceList
from seisjax.volumes.segy_grid import Grid, build_grid, parse_axes, scaled
from seisjax.volumes.segy_scan import describe_scan, scan

LINES = {"inline": 189, "crossline": 193}


def refused(path: Path, axes: dict[str, int]) -> str:
    with TraceList([path]) as traces, pytest.raises(UserError) as error:
        build_grid(traces, axes)
    assert "\n" not in str(error.value)
    return str(error.value)


def trace_of_cell(grid: Grid) -> np.ndarray:
    """Trace number of every cell, -1 for none."""
    place, numbers = grid.traces(Box.whole(grid.shape[:-1]))
    trace = np.full(grid.shape[:-1], -1)
    trace.ravel()[place] = numbers
    return trace


def test_axes_hold_lines_steps_and_delay(survey: Path):
    with TraceList([survey]) as traces:
        grid = build_grid(traces, LINES)
        inline, crossline, time = grid.axes
        np.testing.assert_array_equal(inline.labels, np.arange(10, 50, 2))
        np.testing.assert_array_equal(crossline.labels, np.arange(100, 109))
        np.testing.assert_array_equal(time.labels, 8 + 4 * np.arange(30))
        assert (time.name, time.unit) == ("time", "ms")
        assert grid.num_filled == 180
        depth = build_grid(traces, LINES, "depth").axes[-1]
        assert (depth.name, depth.unit) == ("depth", "m")


@settings(max_examples=25, deadline=None)
@given(
    steps=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    firsts=st.tuples(st.integers(-50, 5000), st.integers(0, 5000)),
    shape=st.tuples(st.integers(2, 5), st.integers(2, 6)),
    seed=st.integers(0, 1000),
)
def test_ragged_stepped_and_shuffled_surveys(steps, firsts, shape, seed, write_survey):
    """Every trace lies in the cell of its line numbers, whatever is missing and whatever the order in the file."""
    random = np.random.default_rng(seed)
    lines = np.array([(i, j) for i in range(shape[0]) for j in range(shape[1])])
    lines = random.permutation(lines)[: random.integers(max(shape), len(lines) + 1)]
    inline, crossline = (first + step * line for first, step, line in zip(firsts, steps, lines.T, strict=True))
    if len(set(inline)) < 2 or len(set(crossline)) < 2:
        return  # a constant axis is refused
    samples = random.normal(size=(len(lines), 3)).astype("f4")
    with tempfile.TemporaryDirectory() as folder:
        path = write_survey(Path(folder) / "a.segy", samples, {189: inline, 193: crossline})
        with TraceList([path]) as traces, segyio.open(str(path), ignore_geometry=True) as expected:
            grid = build_grid(traces, LINES)
            assert (grid.num_filled, grid.num_shared) == (len(lines), 0)
            found = trace_of_cell(grid)
            for trace in range(len(lines)):
                cell = tuple(
                    int(np.flatnonzero(axis.labels == expected.attributes(LINES[axis.name])[trace])[0])
                    for axis in grid.axes[:-1]
                )
                assert found[cell] == trace


def test_a_constant_axis_is_refused(survey: Path):
    message = refused(survey, {"inline": 189, "crossline": 71})
    assert "crossline:71 is -10 in all 180 traces" in message
    assert "--scan" in message


def test_duplicates_are_refused_and_counted(tmp_path: Path, write_survey: Callable[..., Path]):
    path = write_survey(
        tmp_path / "a.segy", np.ones((4, 5)), {189: np.array([1, 1, 2, 2]), 193: np.array([5, 6, 6, 6])}
    )
    message = refused(path, LINES)
    assert "4 traces lie in 3 of 4 cells" in message
    assert "traces 3 and 4 are both inline 2, crossline 6" in message


def test_bytes_that_span_no_grid_are_refused_with_counts(tmp_path: Path, write_survey: Callable[..., Path]):
    random = np.random.default_rng(0)
    headers = {189: random.integers(0, 2**30, 50), 193: random.integers(0, 2**30, 50)}
    path = write_survey(tmp_path / "a.segy", np.ones((50, 2)), headers)
    message = refused(path, LINES)
    assert "cells for 50 traces, at most 0.0% filled" in message
    few = {189: np.arange(40) * np.arange(40), 193: np.arange(40)}
    message = refused(write_survey(tmp_path / "b.segy", np.ones((40, 2)), few), LINES)
    assert "inline (byte 189: 1522 lines, 0 to 1521)" in message
    assert "60840 or more are missing, inline 2, 3, 5 and 1479 more" in message


@pytest.mark.parametrize(
    ("axes", "what"),
    [
        ({"inline": 190, "crossline": 193}, "no trace header field starts at byte 190"),
        ({"inline": 189, "crossline": 189}, "one header byte stands for two axes"),
        ({"time": 189, "crossline": 193}, "cannot name this axis"),
        ({}, "names no axis"),
    ],
)
def test_axes_that_cannot_be(survey: Path, axes: dict[str, int], what: str):
    assert what in refused(survey, axes)


def test_any_box_of_cells_knows_its_traces(tmp_path: Path, write_survey: Callable[..., Path]):
    """Three axes, shuffled, some cells empty and some with several traces."""
    random = np.random.default_rng(4)
    cells = random.integers(0, (4, 5, 6), (90, 3))
    fields = {189: 10 + cells[:, 0], 193: 3 * cells[:, 1], 37: 100 * cells[:, 2] - 200}
    path = write_survey(tmp_path / "a.segy", np.ones((90, 2)), fields)
    with TraceList([path]) as traces:
        grid = build_grid(traces, {"inline": 189, "crossline": 193, "offset": 37}, duplicates="first")
    assert grid.shape == (4, 5, 6, 2)
    assert grid.num_filled == len(np.unique(cells, axis=0))
    for _ in range(20):
        start = random.integers(0, grid.shape[:-1])
        box = Box.between(start, [random.integers(a + 1, n + 1) for a, n in zip(start, grid.shape[:-1], strict=True)])
        place, numbers = grid.traces(box)
        inside = np.all((cells >= box.start) & (cells < box.stop), axis=1)
        np.testing.assert_array_equal(numbers, np.flatnonzero(inside))
        np.testing.assert_array_equal(np.stack(np.unravel_index(place, box.shape), 1) + box.start, cells[inside])


def test_a_grid_keeps_8_bytes_a_trace(survey: Path):
    with TraceList([survey]) as traces:
        grid = build_grid(traces, LINES)
    owner = grid.keys
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    assert owner.nbytes == 180 * 8


def test_differing_starts_make_one_axis(tmp_path: Path, write_survey: Callable[..., Path]):
    headers = {189: np.arange(4), 109: np.array([40, 0, 8, 999]), 29: np.array([1, 1, 1, 2])}
    path = write_survey(tmp_path / "a.segy", np.ones((4, 5)), headers)
    with TraceList([path]) as traces:
        grid = build_grid(traces, {"inline": 189})
    np.testing.assert_array_equal(grid.axes[-1].labels, np.arange(0, 60, 4))
    np.testing.assert_array_equal(grid.shifts(headers[109], np.zeros(4)), [10, 0, 2, -1])


def test_starts_that_fit_no_axis_are_refused(tmp_path: Path, write_survey: Callable[..., Path]):
    for delays, what in [((0, 4, 6), "start at 0 and at 6 ms"), ((0, 4, 32000), "an axis of 8005 samples")]:
        path = write_survey(tmp_path / "a.segy", np.ones((3, 5)), {189: np.arange(3), 109: np.array(delays)})
        assert what in refused(path, {"inline": 189})


def test_intervals_that_differ_among_traces(tmp_path: Path, write_survey: Callable[..., Path]):
    headers = {189: np.arange(3), 117: np.array([0, 4000, 2000])}
    path = write_survey(tmp_path / "a.segy", np.ones((3, 5)), headers)
    message = refused(path, {"inline": 189})
    assert "sampling interval 2 in trace 3 (byte 117), 4 in the binary header" in message
    with TraceList([path], 4.0) as traces:
        assert build_grid(traces, {"inline": 189}, interval=4.0).shape == (3, 5)


def test_coordinates_of_zero_are_no_axes(survey: Path):
    assert "these coordinates are all zero" in refused(survey, {"inline": 189, "source_x": 73})


def test_files_that_overlap_are_refused(tmp_path: Path, write_survey: Callable[..., Path]):
    for name, first in (("a.segy", 1), ("b.segy", 3)):
        write_survey(tmp_path / name, np.ones((3, 5)), {189: first + np.arange(3)})
    with TraceList([tmp_path / "a.segy", tmp_path / "b.segy"]) as traces, pytest.raises(UserError) as error:
        build_grid(traces, {"inline": 189})
    assert "a.segy and " in str(error.value)
    assert "overlap: 6 traces lie in 5 of 5 cells; traces 3 of a.segy and 1 of b.segy are both inline 3" in str(
        error.value
    )


def test_axes_as_flags():
    assert parse_axes("inline:189, crossline:193") == LINES
    for text in ("inline", "inline:x", "inline:1,inline:5"):
        with pytest.raises(UserError, match="cannot read"):
            parse_axes(text)


def test_scalars_multiply_and_divide():
    values, scalars = np.array([100, 100, 100]), np.array([-10, 0, 10])
    np.testing.assert_array_equal(scaled(values, scalars), [10, 100, 1000])


def test_scan_proposes_the_axes(survey: Path, tmp_path: Path, write_survey: Callable[..., Path]):
    assert "--axes=inline:189,crossline:193" in describe_scan(str(survey))
    shot, channel = (part.ravel() for part in np.mgrid[3:7, 1:6])
    path = write_survey(tmp_path / "shots.segy", np.ones((20, 4)), {9: shot, 13: channel, 1: np.arange(20)})
    with TraceList([path]) as traces:
        assert str(scan(traces)[1][0]) == "--axes=ffid:9,channel:13"


def test_scan_gives_its_reasons_and_what_is_odd(tmp_path: Path, write_survey: Callable[..., Path]):
    inline, crossline = (part.ravel() for part in np.mgrid[10:22:2, 5:25])
    fields = {189: inline, 193: crossline, 71: -10, 73: 50, 77: 10 * crossline, 109: 8 * (inline // 20)}
    keep = np.setdiff1d(np.arange(120), [3, *range(40, 60)])  # no inline 14
    rows = np.append(keep, keep[-1])  # and a trace twice
    fields = {byte: np.broadcast_to(v, 120)[rows] for byte, v in fields.items()}
    text = describe_scan(str(write_survey(tmp_path / "a.segy", np.ones((100, 4)), fields)))
    assert "inline:189 changes slowest, 5 values 10 to 20 step 2 (1 between them absent); crossline:193 fastest" in text
    assert "99 of 120 cells filled, 1 traces share a cell with another" in text
    assert "no trace at all on 1 of inline:10-20: 14" in text
    assert "start of the traces (byte 109): 0 to 8 ms, differing" in text
    assert "cdp_x, cdp_y (bytes 181, 185): all zero" in text
    assert "source x, y (bytes 73, 77): 5 to 5, 5 to 24" in text
    assert "coordinate scalar (byte 71): -10" in text
    assert "samples of 64 traces (float32): 1 to 1, 0.0% zero, 0 not finite" in text
    assert "to ingest: --axes=inline:189,crossline:193 --vertical=time --duplicates=first|last|mean" in text


@pytest.mark.parametrize(
    ("shape", "fields"),
    [
        ((6, 7, 4), {"inline": 189, "crossline": 193, "offset": 37}),
        ((30,), {"cdp": 21}),
        ((5, 8), {"cdp": 21, "offset": 37}),
    ],
)
def test_scan_proposes_gathers_and_lines(tmp_path: Path, write_survey, shape, fields):
    places = np.indices(shape).reshape(len(shape), -1)
    headers = {byte: 7 + 2 * places[i] for i, byte in enumerate(fields.values())}
    path = write_survey(tmp_path / "a.segy", np.ones((places.shape[1], 4)), headers)
    with TraceList([path]) as traces:
        best = scan(traces)[1][0]
    assert (best.header_bytes, best.fill, best.shared) == (fields, 1.0, 0)


def test_scan_of_a_file_without_line_numbers(tmp_path: Path, write_survey: Callable[..., Path]):
    path = write_survey(tmp_path / "a.segy", np.ones((6, 4)), {})
    assert "no two fields span a grid" in describe_scan(str(path))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("f3/f3.sgy", "inline:189,crossline:193"),
        ("f3/f3-withdead.sgy", "inline:189,crossline:193"),
        ("f3/f3_sparse.sgy", "inline:189,crossline:193"),
        ("volve/volve10-migvel-depth-sub3d.sgy", "inline:189,crossline:193"),
        ("volve/volve10r12-full-twt-arb.sgy", "cdp:21"),
        ("viking/viking_small.segy", "ffid:9,channel:13"),
    ],
)
def test_scan_of_real_surveys(real_data: Path, name: str, axes: str):
    with TraceList([real_data / name]) as traces:
        assert str(scan(traces)[1][0]) == f"--axes={axes}"
