"""SEG-Y to volume: every value in its place, and nothing left behind by bad input."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segyio
from hypothesis import given, settings
from hypothesis import strategies as st

from seisjax.conventions import IGNORE
from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.volumes import Volume, open_volume
from seisjax.volumes.ingest import ingest
from seisjax.volumes.segy import SegyReader
from seisjax.volumes.segy_survey import SegySurvey
from seisjax.volumes.store import Store

SMALL: dict[str, Any] = {"chunk": (4, 4, 8), "shard": (8, 8, 16)}  # several shard columns in small surveys


def assert_equals_segyio(volume: Volume, path: Path, axes: dict[str, int]) -> None:
    """Each trace of the file stands in its cell, and all other cells are masked."""
    amplitude = volume.read_amplitude(Box.whole(volume.shape))
    mask = volume.read("trace_mask", Box.whole(volume.shape[:-1]))
    with segyio.open(str(path), ignore_geometry=True) as file:
        np.testing.assert_allclose(volume.axes[-1].labels, np.asarray(file.samples))
        lines = [file.attributes(byte)[:] for byte in axes.values()]
        cell = tuple(np.searchsorted(axis.labels, line) for axis, line in zip(volume.axes, lines, strict=False))
        np.testing.assert_array_equal(amplitude[cell], file.trace.raw[:].astype("f4"))
        assert mask[cell].all()
        assert mask.sum() == file.tracecount
    assert np.isnan(amplitude[~mask]).all()


LINES = {"inline": 189, "crossline": 193}


@pytest.mark.parametrize("sample_format", [1, 2, 3, 5, 8])
def test_every_format(tmp_path: Path, write_survey: Callable[..., Path], sample_format: int):
    inline, crossline = (part.ravel() for part in np.mgrid[1:4, 1:5])
    samples = np.random.default_rng(2).integers(-120, 120, (12, 9))
    path = write_survey(tmp_path / "a.segy", samples, {189: inline, 193: crossline}, sample_format=sample_format)
    volume = ingest(path, tmp_path / "a.zarr")
    assert volume.arrays["amplitude"].dtype == np.float32
    assert_equals_segyio(open_volume(str(tmp_path / "a.zarr")), path, LINES)
    assert volume.attributes["sample_format"] == sample_format


def test_remembers_where_it_came_from(survey: Path, tmp_path: Path):
    ingest(survey, tmp_path / "a.zarr", **SMALL)
    volume = open_volume(str(tmp_path / "a.zarr"))
    assert volume.attributes["source_file"] == str(survey)
    assert volume.attributes["header_bytes"] == LINES
    assert volume.attributes["sampling_interval"] == 4.0
    traces = Box.whole(volume.shape[:-1])
    inline, crossline = np.mgrid[10:50:2, 100:109]
    np.testing.assert_allclose(volume.read("cdp_x", traces), (1000 + inline) / 10)
    np.testing.assert_allclose(volume.read("cdp_y", traces), (500 + crossline) / 10)
    assert "offset" not in volume.arrays  # 0 throughout


def test_keeps_headers(tmp_path: Path, write_survey: Callable[..., Path]):
    headers = {189: np.array([1, 1, 2]), 193: np.array([1, 2, 2]), 21: np.array([0, 7, 9])}
    volume = ingest(write_survey(tmp_path / "a.segy", np.ones((3, 4)), headers), tmp_path / "a.zarr")
    np.testing.assert_array_equal(volume.read("cdp", Box.whole((2, 2))), [[0, 7], [0, 9]])


@settings(max_examples=10, deadline=None)
@given(steps=st.tuples(st.integers(1, 5), st.integers(1, 5)), seed=st.integers(0, 1000))
def test_ragged_stepped_and_shuffled_surveys(steps: tuple[int, int], seed: int, write_survey: Callable[..., Path]):
    random = np.random.default_rng(seed)
    lines = random.permutation(np.argwhere(np.ones((11, 10))))[: random.integers(30, 110)]
    headers = {189: 7 + steps[0] * lines[:, 0], 193: 900 + steps[1] * lines[:, 1]}
    with tempfile.TemporaryDirectory() as folder:
        path = write_survey(Path(folder) / "a.segy", random.normal(size=(len(lines), 20)), headers)
        calls: list[tuple[int, int]] = []
        volume = ingest(path, f"{folder}/a.zarr", **SMALL, progress=lambda *call: calls.append(call))
        assert_equals_segyio(volume, path, LINES)
        assert calls == [(i + 1, len(calls)) for i in range(len(calls))]


def test_reads_one_shard_column_at_a_time(survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    read = SegyReader.traces

    def traces(self: SegyReader, numbers: np.ndarray):
        asked.append(len(numbers))
        return read(self, numbers)

    monkeypatch.setattr(SegyReader, "traces", traces)
    ingest(survey, tmp_path / "a.zarr", **SMALL)
    assert sum(asked) == 180
    assert max(asked) == 64


def test_statistics_leave_out_what_is_not_finite(tmp_path: Path, write_survey: Callable[..., Path]):
    samples = np.random.default_rng(3).normal(3, 2, (20, 50)).astype("f4")
    samples[4, 7], samples[5, 8], samples[6, 9] = np.nan, np.inf, -np.inf
    path = write_survey(tmp_path / "a.segy", samples, {189: np.arange(20) // 5, 193: np.arange(20) % 5})
    volume = ingest(path, tmp_path / "a.zarr")
    finite, statistics = samples[np.isfinite(samples)], volume.statistics
    assert statistics is not None
    assert statistics.non_finite == 3
    assert statistics.count == finite.size
    np.testing.assert_allclose([statistics.mean, statistics.std], [finite.mean(), finite.std()], rtol=1e-5)
    read = volume.read_amplitude(Box.whole(volume.shape))
    np.testing.assert_array_equal(np.isnan(read).reshape(20, 50), ~np.isfinite(samples))


def test_traces_flagged_dead_are_masked_where_they_are_zero(tmp_path: Path, write_survey: Callable[..., Path]):
    samples = np.ones((4, 6))
    samples[1] = 0
    headers = {189: np.array([1, 1, 2, 2]), 193: np.array([1, 2, 1, 2]), 29: np.array([1, 2, 2, 1])}
    volume = ingest(write_survey(tmp_path / "a.segy", samples, headers), tmp_path / "a.zarr")
    np.testing.assert_array_equal(volume.read("trace_mask", Box.whole((2, 2))), [[True, False], [True, True]])
    statistics = volume.statistics
    assert statistics is not None
    assert (statistics.count, statistics.mean) == (18, 1.0)


@pytest.mark.parametrize("dtype", ["int8", "int16", "float16"])
def test_compact_types_hold_small_whole_numbers_as_they_are(tmp_path, write_survey, dtype: str):
    headers = {189: np.array([1, 1, 2]), 193: np.array([1, 2, 2])}
    path = write_survey(tmp_path / "a.segy", np.arange(12).reshape(3, 4), headers)
    volume = ingest(path, tmp_path / "a.zarr", dtype=dtype)
    assert volume is not None
    assert volume.arrays["amplitude"].dtype == dtype
    assert_equals_segyio(volume, path, LINES)
    assert volume.arrays["amplitude"].attributes["compression"]["max_error"] == 0


def test_float16_must_hold_every_sample(tmp_path: Path, write_survey: Callable[..., Path]):
    headers = {189: np.array([1, 1, 2]), 193: np.array([1, 2, 2])}
    path = write_survey(tmp_path / "a.segy", np.full((3, 4), 1e5), headers)
    with pytest.raises(UserError, match="does not fit --dtype=float16"):
        ingest(path, tmp_path / "a.zarr", dtype="float16")
    assert list(tmp_path.iterdir()) == [path]
    path = write_survey(path, np.full((3, 4), 1e-9), headers)
    with pytest.raises(UserError, match="sample .*e-.* does not fit --dtype=float16"):
        ingest(path, tmp_path / "a.zarr", dtype="float16")


@pytest.mark.parametrize("url", ["memory://bucket-of-others/surveys", "folder"])
def test_a_place_that_holds_other_things_is_left_alone(survey: Path, tmp_path: Path, url: str):
    if url == "folder":
        url, place = str(tmp_path / "a.zarr"), Store(str(tmp_path / "a.zarr.partial"))
    else:
        place = Store(url)
    place.write_bytes("wells/a.las", b"depth")
    with pytest.raises(UserError, match="(holds other things .such as wells/a.las|exists and is no unfinished volume)"):
        ingest(survey, url, **SMALL)
    assert place.read_bytes("wells/a.las") == b"depth"


@pytest.mark.parametrize("url", ["memory://in-and-out", "in-and-out.zarr"])
def test_a_survey_is_not_replaced_by_itself(survey: Path, tmp_path: Path, url: str):
    url = url if "://" in url else str(tmp_path / url)
    before = ingest(survey, url, **SMALL).statistics
    with pytest.raises(UserError, match="is what is read; choose another place"):
        ingest(url, f"{url}/", dtype="int16", overwrite=True)
    assert open_volume(url).statistics == before


def test_after_a_failed_read_the_same_call_goes_on(survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole, asked, said = SegySurvey.column, [], []

    def fail_once(self: SegySurvey, cells: Box):
        asked.append(cells)
        if len(asked) == 3:
            raise UserError("survey.segy: cannot be read (Input/output error); check the file")
        return whole(self, cells)

    monkeypatch.setattr(SegySurvey, "column", fail_once)
    with pytest.raises(UserError, match="Input/output error"):
        ingest(survey, tmp_path / "a.zarr", **SMALL, say=said.append)
    assert said == [f"{tmp_path / 'a.zarr.partial'}: keeps what is done; give the same command again to go on"]
    volume = ingest(survey, tmp_path / "a.zarr", **SMALL)
    assert len(asked) == len(set(asked)) + 1  # the one that failed is read again, and no other
    assert_equals_segyio(volume, survey, LINES)


@pytest.mark.parametrize("sample_format", [2, 3])
def test_whole_numbers_are_missing_where_a_trace_has_not_begun(tmp_path: Path, write_survey, sample_format: int):
    lines = {189: np.array([1, 1, 2, 2]), 193: np.array([1, 2, 1, 2])}
    late = np.array([0, 8, 0, 8])  # ms: two samples
    for name, value in (("amplitude", 100), ("labels", 1)):
        write_survey(tmp_path / name, np.full((4, 5), value), lines | {109: late}, sample_format=sample_format)
    volume = ingest(tmp_path / "amplitude", tmp_path / "a.zarr", labels=tmp_path / "labels", dtype="int16")
    assert volume.statistics is not None
    assert (volume.statistics.mean, volume.statistics.count, volume.statistics.non_finite) == (100, 20, 8)
    found = volume.read_amplitude(Box.whole(volume.shape))
    expected = np.full((2, 2, 7), 100.0)
    expected[:, 0, 5:] = expected[:, 1, :2] = np.nan
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        volume.read("labels_facies", Box.whole(volume.shape)), np.where(np.isnan(expected), IGNORE, 1)
    )


# Labels.


def label_file(survey: Path, write_survey: Callable[..., Path], change: Callable[[np.ndarray], object] | None = None):
    """Labels 0, 1, 2 on the grid of `survey`, changed before they are written as float."""
    with segyio.open(str(survey), ignore_geometry=True) as file:
        headers = {byte: file.attributes(byte)[:] for byte in (189, 193, 109)}
    labels = np.random.default_rng(4).integers(0, 3, (180, 30)).astype("f4")
    if change:
        change(labels)
    return write_survey(survey.parent / "labels.segy", labels, headers), labels.reshape(20, 9, 30)


def test_labels_on_the_same_grid(survey: Path, tmp_path: Path, write_survey: Callable[..., Path]):
    path, labels = label_file(survey, write_survey, lambda values: values.__setitem__((3, 4), IGNORE))
    volume = ingest(
        survey, tmp_path / "a.zarr", labels=path, label_name="rocks", class_names=["sand", "shale", "salt"], **SMALL
    )
    assert volume.label_names() == ["rocks"]
    assert volume.class_names("rocks") == ["sand", "shale", "salt"]
    np.testing.assert_array_equal(volume.read_labels("rocks", Box.whole(volume.shape)), labels)
    np.testing.assert_array_equal(volume.label_index("rocks").histogram, [np.sum(labels == i) for i in range(3)])


def test_classes_without_names_are_numbered(survey: Path, tmp_path: Path, write_survey: Callable[..., Path]):
    path, _ = label_file(survey, write_survey)
    volume = ingest(survey, tmp_path / "a.zarr", labels=path)
    assert volume.class_names("facies") == ["class 0", "class 1", "class 2"]


def test_traces_without_labels_or_samples_are_ignored(tmp_path: Path, write_survey: Callable[..., Path]):
    corners = {189: np.array([1, 1, 2, 2]), 193: np.array([1, 2, 1, 2])}
    samples = write_survey(tmp_path / "a.segy", np.ones((3, 4)), {byte: line[:3] for byte, line in corners.items()})
    labels = write_survey(tmp_path / "b.segy", np.ones((3, 4)), {byte: line[1:] for byte, line in corners.items()})
    volume = ingest(samples, tmp_path / "a.zarr", labels=labels)
    np.testing.assert_array_equal(
        volume.read("labels_facies", Box.whole((2, 2, 1)))[..., 0], [[IGNORE, 1], [1, IGNORE]]
    )


def test_labels_that_are_nan_are_unlabelled(survey: Path, tmp_path: Path, write_survey: Callable[..., Path]):
    path, _ = label_file(survey, write_survey, lambda values: values.__setitem__((100, 20), np.nan))
    volume = ingest(survey, tmp_path / "a.zarr", labels=path, **SMALL)
    labels = volume.read("labels_facies", Box.whole(volume.shape))
    assert np.count_nonzero(labels == IGNORE) == 1
    assert labels.reshape(-1, labels.shape[-1])[100, 20] == IGNORE


@pytest.mark.parametrize(
    ("value", "classes", "what"),
    [
        (-1, [], "label -1 .*0 to 254"),
        (256, [], "label 256 .*0 to 254"),
        (1.5, [], "label 1.5 "),
        (2, ["sand", "shale"], r"label 2 .*0 to 1 \(the classes named\)"),
    ],
)
def test_labels_that_are_no_class_are_refused(survey, tmp_path, write_survey, value, classes, what):
    path, _ = label_file(survey, write_survey, lambda values: values.__setitem__((100, 20), value))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=what):
        ingest(survey, tmp_path / "new" / "a.zarr", labels=path, class_names=classes, **SMALL)
    assert sorted(tmp_path.iterdir()) == before


def test_labels_that_label_nothing_are_refused(survey: Path, tmp_path: Path, write_survey: Callable[..., Path]):
    path, _ = label_file(survey, write_survey, lambda values: values.fill(IGNORE))
    with pytest.raises(UserError, match="labels no sample"):
        ingest(survey, tmp_path / "a.zarr", labels=path)


@pytest.mark.parametrize("change", ["lines", "line numbers", "samples", "interval"])
def test_labels_of_another_grid_are_refused(survey, tmp_path, write_survey, change):
    inline, crossline = (part.ravel() for part in np.mgrid[10:50:2, 100:109])
    labels, interval = np.zeros((180, 29 if change == "samples" else 30)), 2000 if change == "interval" else 4000
    inline = inline + 2 * (change == "line numbers")
    keep = slice(9 if change == "lines" else 0, None)
    path = write_survey(
        tmp_path / "b.segy", labels[keep], {189: inline[keep], 193: crossline[keep], 109: 8}, interval=interval
    )
    with pytest.raises(UserError, match="labels must lie on the survey's own grid"):
        ingest(survey, tmp_path / "a.zarr", labels=path)
    assert not list(tmp_path.glob("a.zarr*"))


# Nothing is left behind, nothing is lost.


def test_an_output_that_exists_is_kept(survey: Path, tmp_path: Path):
    ingest(survey, tmp_path / "a.zarr")
    with pytest.raises(UserError, match="--overwrite"):
        ingest(survey, tmp_path / "a.zarr")
    with pytest.raises(UserError, match="such file"):
        ingest(tmp_path / "none.segy", tmp_path / "a.zarr", overwrite=True)
    assert_equals_segyio(open_volume(str(tmp_path / "a.zarr")), survey, LINES)
    ingest(survey, tmp_path / "a.zarr", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "survey.segy"]


KILLED = """
import os, signal, sys
from seisjax.volumes.ingest import ingest
ingest(sys.argv[1], sys.argv[2], chunk=(4, 4, 8), shard=(8, 8, 16),
            progress=lambda done, total: done == 2 and os.kill(os.getpid(), signal.SIGKILL))
"""


def test_a_killed_ingest_leaves_no_store_that_looks_whole(survey: Path, tmp_path: Path, repository: Path):
    output = tmp_path / "a.zarr"
    killed = subprocess.run([sys.executable, "-c", KILLED, survey, output], cwd=repository, check=False)
    assert killed.returncode == -9
    assert not output.exists()
    (partial,) = tmp_path.glob("a.zarr.*")
    with pytest.raises(UserError, match="never finished"):
        open_volume(str(partial))
    with pytest.raises(UserError, match=r"begun with --chunk=\[4, 4, 8\].*--overwrite"):
        ingest(survey, output)
    assert partial.exists()
    assert_equals_segyio(ingest(survey, output, overwrite=True), survey, LINES)
    assert not partial.exists()


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "vertical"),
    [
        ("f3/f3.sgy", "time"),
        ("f3/f3-withdead.sgy", "time"),
        ("f3/f3_sparse.sgy", "time"),
        ("volve/volve10-migvel-depth-sub3d.sgy", "depth"),
    ],
)
def test_real_surveys_equal_what_segyio_reads(real_data: Path, tmp_path: Path, name: str, vertical: str):
    volume = ingest(real_data / name, tmp_path / "a.zarr", vertical=vertical)
    assert_equals_segyio(volume, real_data / name, LINES)
    assert volume.axes[-1].name == vertical


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "axes"),
    [("volve/volve10r12-full-twt-arb.sgy", {"cdp": 21}), ("viking/viking_small.segy", {"ffid": 9, "channel": 13})],
)
def test_lines_and_gathers(real_data: Path, tmp_path: Path, name: str, axes: dict[str, int]):
    assert_equals_segyio(ingest(real_data / name, tmp_path / "a.zarr", axes=axes), real_data / name, axes)


@pytest.mark.real_data
def test_a_labelled_survey(real_data: Path, tmp_path: Path):
    folder = real_data / "penobscot"
    volume = ingest(folder / "amplitude.segy", tmp_path / "a.zarr", labels=folder / "facies.segy")
    assert_equals_segyio(volume, folder / "amplitude.segy", LINES)
    with segyio.open(str(folder / "facies.segy"), ignore_geometry=True) as file:
        labels = file.trace.raw[:].reshape(volume.shape)
    np.testing.assert_array_equal(volume.read_labels("facies", Box.whole(volume.shape)), labels)
    assert len(volume.class_names("facies")) == 8
