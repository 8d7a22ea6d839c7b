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
from seisjax.volumes.segy import SegyReader
from seisjax.volumes.segy_grid import build_grid, parse_axes, scaled
from seisjax.volumes.segy_scan import describe_scan, scan

LINES = {"inline": 189, "crossline": 193}


def refused(path: Path, axes: dict[str, int]) -> str:
    with SegyReader(path) as reader, pytest.raises(UserError) as error:
        build_grid(reader, axes)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_axes_hold_lines_steps_and_delay(survey: Path):
    with SegyReader(survey) as reader:
        grid = build_grid(reader, LINES)
        inline, crossline, time = grid.axes
        np.testing.assert_array_equal(inline.labels, np.arange(10, 50, 2))
        np.testing.assert_array_equal(crossline.labels, np.arange(100, 109))
        np.testing.assert_array_equal(time.labels, 8 + 4 * np.arange(30))
        assert (time.name, time.unit) == ("time", "ms")
        assert grid.mask.all()
        depth = build_grid(reader, LINES, "depth").axes[-1]
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
        with SegyReader(path) as reader, segyio.open(str(path), ignore_geometry=True) as expected:
            grid = build_grid(reader, LINES)
            assert grid.mask.sum() == len(lines)
            for trace in range(len(lines)):
                cell = tuple(
                    int(np.flatnonzero(axis.labels == expected.attributes(LINES[axis.name])[trace])[0])
                    for axis in grid.axes[:-1]
                )
                assert grid.trace[cell] == trace


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


def test_traces_that_start_at_different_times_are_refused(tmp_path: Path, write_survey: Callable[..., Path]):
    headers = {189: np.array([1, 2]), 109: np.array([0, 40])}
    path = write_survey(tmp_path / "a.segy", np.ones((2, 5)), headers)
    assert "byte 109: 0 to 40" in refused(path, {"inline": 189})


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
    with SegyReader(path) as reader:
        assert str(scan(reader)[1][0]) == "--axes=ffid:9,channel:13"


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
    with SegyReader(real_data / name) as reader:
        assert str(scan(reader)[1][0]) == f"--axes={axes}"
