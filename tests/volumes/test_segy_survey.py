"""SEG-Y surveys column by column: every value equals segyio's, wherever the trace lies and however it starts."""

import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import segyio

from seisjax.errors import UserError
from seisjax.geometry import Box, tiles
from seisjax.volumes import segy_remote, segy_survey
from seisjax.volumes.readers import Column
from seisjax.volumes.segy_survey import SegySurvey, open_segy

LINES = {"inline": 189, "crossline": 193}


def whole(survey: SegySurvey, sides: tuple[int, ...] = ()) -> Column:
    """All traces, read in columns of these sides."""
    box = Box.whole(tuple(len(axis) for axis in survey.axes[:-1]))
    parts = [(cells, survey.column(cells)) for cells in tiles(box, sides or box.shape)]
    if len(parts) == 1:
        return parts[0][1]
    samples = np.empty((*box.shape, len(survey.axes[-1])), survey.dtype)
    live = np.empty(box.shape, bool)
    headers = {name: np.empty(box.shape, values.dtype) for name, values in parts[0][1].headers.items()}
    for cells, part in parts:
        samples[cells.slices], live[cells.slices] = part.samples, part.live
        for name, values in part.headers.items():
            headers[name][cells.slices] = values
    return Column(samples, live, headers)


def assert_equals_segyio(path: Path, axes: Mapping[str, int], vertical: str = "time") -> SegySurvey:
    """Every live cell holds segyio's trace of that cell, every other none; coordinates are scaled."""
    with open_segy([str(path)], axes, vertical) as survey:
        column = whole(survey, tuple(5 for _ in axes))
    with segyio.open(str(path), ignore_geometry=True) as file:
        labels = [axis.labels for axis in survey.axes[:-1]]
        values = [file.attributes(byte)[:] for byte in axes.values()]
        cell = tuple(np.searchsorted(axis, v) for axis, v in zip(labels, values, strict=True))
        np.testing.assert_array_equal(column.samples[cell], file.trace.raw[:])
        assert column.live.sum() == file.tracecount
        assert np.isnan(column.samples[~column.live]).all() if survey.dtype.kind == "f" else column.live.all()
        for name, byte in (segy_survey.COORDINATES | segy_survey.GATHER_COORDINATES).items():
            if name in column.headers:
                scale = {0: 1.0, 1: 1.0, -10: 0.1, -100: 0.01}[int(file.attributes(71)[0][0])]
                np.testing.assert_allclose(column.headers[name][cell], file.attributes(byte)[:] * scale, rtol=1e-12)
        for name, byte in (segy_survey.KEPT_HEADERS | segy_survey.GATHER_HEADERS).items():
            if name in column.headers:
                np.testing.assert_array_equal(column.headers[name][cell], file.attributes(byte)[:])
    return survey


def test_what_a_survey_says_of_itself(survey: Path):
    with open_segy([str(survey)], None, "time") as reader:
        assert reader.name == str(survey)
        assert [axis.name for axis in reader.axes] == ["inline", "crossline", "time"]
        assert reader.attributes == {
            "source_file": str(survey), "header_bytes": LINES, "sampling_interval": 4.0, "sample_format": 5,
            "num_traces": 180,
        }  # fmt: skip
        assert set(reader.column(Box((3, 4), (1, 1))).headers) == {"cdp_x", "cdp_y"}
    assert_equals_segyio(survey, LINES)


def test_lines_gathers_and_three_header_axes(tmp_path: Path, write_survey: Callable[..., Path]):
    random = np.random.default_rng(0)
    for axes in ({"cdp": 21}, {"ffid": 9, "channel": 13}, {"inline": 189, "crossline": 193, "offset": 37}):
        shape = (12, 4, 3)[: len(axes)]
        places = random.permutation(np.indices(shape).reshape(len(axes), -1).T)[: np.prod(shape) - 2].T
        fields = {byte: 20 + 3 * places[i] for i, byte in enumerate(axes.values())}
        fields |= {73: 5 * np.arange(places.shape[1]), 81: 1 + np.arange(places.shape[1]), 181: 9, 71: -10}
        samples = random.normal(size=(places.shape[1], 7))
        assert_equals_segyio(write_survey(tmp_path / "a.segy", samples, fields), axes)
    with open_segy([str(tmp_path / "a.segy")], axes, "depth") as reader:
        assert {"source_coord_x", "group_coord_x", "cdp_x"} == set(
            whole(reader).headers
        )  # those that are 0 are left out
        assert (reader.axes[-1].name, reader.axes[-1].unit) == ("depth", "m")


def test_a_line_reads_back_from_a_volume(tmp_path: Path, write_survey: Callable[..., Path]):
    from seisjax.volumes.ingest import ingest

    samples = np.random.default_rng(1).normal(size=(12, 9)).astype("f4")
    path = write_survey(tmp_path / "a.segy", samples, {21: 100 + 2 * np.arange(12)})
    volume = ingest(path, tmp_path / "a.zarr", axes={"cdp": 21}, chunk=(4, 8), shard=(8, 16))
    assert volume is not None
    assert [str(axis) for axis in volume.axes] == ["cdp:100-122", "time:0-32"]
    np.testing.assert_array_equal(volume.read_amplitude(Box((2, 1), (5, 6))), samples[2:7, 1:7])


DUPLICATES = {189: np.array([1, 2, 2, 3, 2, 3]), 29: np.array([1, 1, 1, 2, 1, 1]), 37: np.arange(1, 7)}


@pytest.mark.parametrize(
    ("policy", "rows"), [("first", [0, 1, 5]), ("last", [0, 4, 5]), ("mean", [[0], [1, 2, 4], [5]])]
)
def test_duplicates(tmp_path: Path, write_survey: Callable[..., Path], policy: str, rows: list, monkeypatch):
    """The third cell holds a trace that is flagged dead, and one that is not."""
    monkeypatch.setattr(segy_survey, "_MEAN_BYTES", 1)  # one cell at a time
    samples = np.random.default_rng(2).integers(-50, 50, (6, 8))
    samples[3] = 0
    path = write_survey(tmp_path / "a.segy", samples, DUPLICATES, sample_format=3)
    with open_segy([str(path)], {"inline": 189}, "time", policy) as reader:
        column = whole(reader)
        assert (reader.dtype, reader.attributes["num_duplicates"]) == (np.float32 if policy == "mean" else np.int16, 3)
    expected = [samples[row].mean(axis=0) if policy == "mean" else samples[row] for row in rows]
    np.testing.assert_array_equal(column.samples, np.array(expected, column.samples.dtype))
    np.testing.assert_array_equal(column.headers["fold"], [1, 3, 2])
    first = [np.min(row) for row in rows]
    np.testing.assert_array_equal(column.headers["offset"], DUPLICATES[37][first])
    assert column.live.all()
    with pytest.raises(UserError, match=r"traces 2 and 3 are both inline 2.*--duplicates=first"):
        open_segy([str(path)], {"inline": 189}, "time")


def test_a_mean_leaves_out_what_is_no_number(tmp_path: Path, write_survey: Callable[..., Path]):
    samples = np.array([[1, np.nan, np.nan, 4], [3, 5, np.nan, np.inf]], "f4")
    path = write_survey(tmp_path / "a.segy", np.append(samples, samples[:1], 0), {189: np.array([1, 1, 2])})
    with open_segy([str(path)], {"inline": 189}, "time", "mean") as reader:
        np.testing.assert_array_equal(whole(reader).samples[0], [2, 5, np.nan, np.inf])


def test_traces_lie_where_they_start(tmp_path: Path, write_survey: Callable[..., Path]):
    samples = np.random.default_rng(3).normal(size=(4, 5)).astype("f4")
    samples[3] = 0
    fields = {189: np.arange(4), 109: np.array([8, 0, 4, 2]), 29: np.array([1, 1, 1, 2])}
    path = write_survey(tmp_path / "a.segy", samples, fields)
    with open_segy([str(path)], {"inline": 189}, "time") as reader:
        column = whole(reader)
        np.testing.assert_array_equal(reader.axes[-1].labels, np.arange(0, 28, 4))
    expected = np.full((4, 7), np.nan, "f4")
    for row, start in enumerate((2, 0, 1)):
        expected[row, start : start + 5] = samples[row]
    np.testing.assert_array_equal(column.samples, expected)
    np.testing.assert_array_equal(column.live, [True, True, True, False])  # the last is dead, and on no axis


def test_several_files_are_one_survey(survey: Path, tmp_path: Path, write_survey: Callable[..., Path]):
    with segyio.open(str(survey), ignore_geometry=True) as file:
        fields = {byte: file.attributes(byte)[:] for byte in (189, 193, 109, 71, 181, 185)}
        samples, odd = file.trace.raw[:], np.arange(180) % 3 == 1
    paths = []
    for name, rows in (("a.segy", odd), ("b.segy", ~odd)):
        part = {byte: values[rows] for byte, values in fields.items()}
        paths.append(str(write_survey(tmp_path / name, samples[rows], part)))
    with open_segy([str(survey)], None, "time") as one, open_segy(paths, None, "time") as reader:
        expected, column = whole(one), whole(reader, (7, 4))
        assert reader.attributes["source_files"] == paths
    np.testing.assert_array_equal(column.samples, expected.samples)
    for name, values in expected.headers.items():
        np.testing.assert_array_equal(column.headers[name], values)
    with pytest.raises(UserError, match=r"a.segy and .*survey.segy overlap: 240 traces lie in 180 of 180 cells"):
        open_segy([paths[0], str(survey)], None, "time")


def test_without_axes_the_error_proposes_some(tmp_path: Path, write_survey: Callable[..., Path]):
    shot, channel = (part.ravel() for part in np.mgrid[3:7, 1:6])
    path = write_survey(tmp_path / "a.segy", np.ones((20, 4)), {9: shot, 13: channel})
    with pytest.raises(UserError) as error:
        open_segy([str(path)], None, "time")
    assert "inline:189 is 0 in all 20 traces" in str(error.value)
    assert "the scan proposes --axes=ffid:9,channel:13 (ffid:9 changes slowest, 4 values 3 to 6" in str(error.value)
    assert "\n" not in str(error.value)


def test_refused_options(survey: Path):
    for arguments, what in [
        (({"inline": 189}, "tiem"), "--vertical=tiem"),
        ((None, "time", "frist"), "--duplicates=frist: unknown .did you mean 'first'"),
        ((None, "time", "refuse", -1.0), "--interval"),
    ]:
        with pytest.raises(UserError, match=what):
            open_segy([str(survey)], *arguments)


@pytest.mark.parametrize(("sample_format", "num_samples"), [(1, 9), (2, 9), (3, 9), (5, 9), (8, 9), (5, 6000)])
def test_over_http(tmp_path: Path, write_survey, serving, sample_format: int, num_samples: int):
    pytest.importorskip("segy")
    pytest.importorskip("aiohttp")
    cells = np.random.default_rng(5).permutation(np.argwhere(np.ones((4, 5))))[:18]
    samples = np.random.default_rng(4).integers(-100, 100, (18, num_samples)) / (4 if sample_format in (1, 5) else 1)
    fields = {189: cells[:, 0], 193: cells[:, 1], 181: 7 + np.arange(18), 71: -10}
    path = write_survey(tmp_path / "a.segy", samples, fields, sample_format=sample_format)
    with serving(tmp_path) as url, open_segy([f"{url}/a.segy"], None, "time") as remote:
        column = whole(remote, (3, 3))
        assert remote.attributes["source_file"] == f"{url}/a.segy"
    with open_segy([str(path)], None, "time") as local:
        expected = whole(local)
    np.testing.assert_array_equal(column.samples, expected.samples)
    np.testing.assert_array_equal(column.headers["cdp_x"], expected.headers["cdp_x"])


def test_servers_that_fail(
    tmp_path: Path, survey: Path, serving: Callable[..., AbstractContextManager[str]], monkeypatch
):
    pytest.importorskip("segy")
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(segy_remote, "_WAITS", (0.0, 0.0))
    failures = iter(range(1000))

    def flaky(handler) -> bool:
        if next(failures) % 5 == 1:
            handler.send_error(503)
            return True
        return False

    with serving(tmp_path, flaky) as url, open_segy([f"{url}/survey.segy"], None, "time") as reader:
        assert whole(reader).live.all()

    down = False
    with (
        serving(tmp_path, lambda handler: down and handler.send_error(503) is None) as url,
        open_segy([f"{url}/survey.segy"], None, "time") as reader,
    ):
        down = True  # half-way
        with pytest.raises(UserError, match=f"^{url}/survey.segy: .*tried 3 times .*503.*Service Unavailable"):
            whole(reader)

    def without_ranges(handler) -> bool:
        del handler.headers["Range"]
        return False

    for before, name, what in [
        (None, "none.segy", "no such file"),
        (lambda handler: handler.send_error(503) is None, "survey.segy", "tried 3 times"),
        (without_ranges, "survey.segy", "range requests"),
    ]:
        with serving(tmp_path, before) as url, pytest.raises(UserError, match=f"^{url}/{name}: .*{what}") as error:
            open_segy([f"{url}/{name}"], None, "time")
        assert "\n" not in str(error.value)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(UserError, match="cannot be read.*Cannot connect"):
            open_segy([f"http://127.0.0.1:{unused.getsockname()[1]}/a.segy"], None, "time")


def test_the_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "segy", None)
    with pytest.raises(UserError, match=r"s3://bucket/a.segy: .*pip install 'seisjax\[cloud\]'"):
        open_segy(["s3://bucket/a.segy"], None, "time")


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_the_missing_backend_is_told(monkeypatch: pytest.MonkeyPatch, scheme: str, package: str):
    pytest.importorskip("segy")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"^{scheme}://bucket/a.segy: .*{package}.*; pip install {package}, or copy"):
        open_segy([f"{scheme}://bucket/a.segy"], None, "time")


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "axes", "vertical"),
    [
        ("viking/viking_small.segy", {"ffid": 9, "channel": 13}, "time"),
        ("volve/volve10r12-full-twt-arb.sgy", {"cdp": 21}, "time"),
        ("volve/volve10r12-full-z-il10117sub.sgy", {"cdp": 21}, "depth"),
        ("volve/volve10-migvel-depth-sub3d.sgy", LINES, "depth"),
        ("f3/f3.sgy", LINES, "time"),
        ("f3/f3-withdead.sgy", LINES, "time"),
        ("f3/f3_sparse.sgy", LINES, "time"),
    ],
)
def test_real_surveys_equal_segyio(real_data: Path, name: str, axes: dict[str, int], vertical: str):
    assert_equals_segyio(real_data / name, axes, vertical)
