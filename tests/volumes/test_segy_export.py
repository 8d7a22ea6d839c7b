"""SEG-Y out: the template's headers, the volume's samples."""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segyio

from seisjax.errors import UserError
from seisjax.geometry import Box, parse_region
from seisjax.volumes import Volume
from seisjax.volumes.ingest import ingest
from seisjax.volumes.segy_export import check_segy, ibm_float, write_segy

SMALL: dict[str, Any] = {"chunk": (4, 4, 8), "shard": (8, 8, 16)}
FORMAT_CODE = slice(3224, 3226)


@pytest.fixture
def volume(survey: Path, tmp_path: Path) -> Volume:
    """The survey with a class array that holds 0, 1, 2."""
    volume = ingest(survey, tmp_path / "a.zarr", **SMALL)
    classes = np.random.default_rng(5).integers(0, 3, volume.shape).astype("u1")
    volume.add_array("pred_class", "uint8", values=classes)
    volume.finish()
    return volume


def headers(path: Path, num_samples: int, itemsize: int) -> tuple[bytes, np.ndarray]:
    """The file's header without its format code, and the trace headers."""
    data = path.read_bytes()
    traces = np.frombuffer(data[3600:], [("header", "V240"), ("samples", f"V{num_samples * itemsize}")])
    return data[:3224] + data[3226:3600], traces["header"]


def test_gives_an_ingested_file_back(volume: Volume, survey: Path, tmp_path: Path):
    write_segy(volume, "amplitude", Box.whole(volume.shape), tmp_path / "out.segy")
    assert (tmp_path / "out.segy").read_bytes() == survey.read_bytes()


def test_an_interval_that_overruled_the_headers_does_so_in_the_template(survey: Path, tmp_path: Path):
    data = bytearray(survey.read_bytes())
    data[3600 + 116 : 3600 + 118] = (2000).to_bytes(2, "big")  # of trace 1, where the binary header says 4000
    survey.write_bytes(data)
    volume = ingest(survey, tmp_path / "a.zarr", interval=4.0, **SMALL)
    write_segy(volume, "amplitude", Box.whole(volume.shape), tmp_path / "out.segy")
    assert (tmp_path / "out.segy").read_bytes() == survey.read_bytes()
    del volume.attributes["interval_overruled"]  # seen before anything is computed for it
    with pytest.raises(UserError, match="its headers disagree"):
        check_segy(volume, Box.whole(volume.shape), tmp_path / "new.segy")


@pytest.mark.parametrize(("template_format", "written"), [(1, 1), (2, 2), (3, 3), (5, 5), (8, 5)])
def test_format_changes_only_where_it_must(tmp_path, write_survey, template_format, written):
    random = np.random.default_rng(6)
    lines = random.permutation(np.argwhere(np.ones((9, 10))))[:70]
    fields = {189: 3 * lines[:, 0], 193: lines[:, 1], 37: random.integers(0, 99, 70), 71: -100}
    template = write_survey(tmp_path / "t.segy", np.ones((70, 7)), fields, sample_format=template_format)
    volume = ingest(template, tmp_path / "a.zarr", **SMALL)
    classes = random.integers(0, 256, volume.shape).astype("u1")
    volume.add_array("pred_class", "uint8", values=classes)
    write_segy(volume, "pred_class", Box.whole(volume.shape), tmp_path / "out.segy")

    with segyio.open(str(tmp_path / "out.segy"), ignore_geometry=True) as file:
        np.testing.assert_array_equal(file.trace.raw[:], classes[lines[:, 0], lines[:, 1]])
        assert int(file.format) == written
    sizes = {1: 4, 2: 4, 3: 2, 5: 4, 8: 1}
    before, after = headers(template, 7, sizes[template_format]), headers(tmp_path / "out.segy", 7, sizes[written])
    assert before[0] == after[0]
    np.testing.assert_array_equal(before[1], after[1])


def test_a_region_holds_its_traces_in_the_order_of_the_template(volume: Volume, survey: Path, tmp_path: Path):
    box = parse_region("inline:20-32,crossline:103-105", volume.axes)
    write_segy(volume, "pred_class", box, tmp_path / "out.segy")
    with segyio.open(str(tmp_path / "out.segy")) as file:
        np.testing.assert_array_equal(file.ilines, np.arange(20, 33, 2))
        np.testing.assert_array_equal(file.xlines, np.arange(103, 106))
        np.testing.assert_array_equal(segyio.tools.cube(file), volume.read("pred_class", box))
    whole = headers(survey, 30, 4)[1].reshape(20, 9)
    np.testing.assert_array_equal(headers(tmp_path / "out.segy", 30, 4)[1].reshape(7, 3), whole[box.slices[:2]])


def test_dead_traces_are_zeros(tmp_path: Path, write_survey: Callable[..., Path]):
    samples = np.ones((4, 6), "f4")
    samples[1] = 0
    fields = {189: np.array([1, 1, 2, 2]), 193: np.array([1, 2, 1, 2]), 29: np.array([1, 2, 1, 1])}
    template = write_survey(tmp_path / "t.segy", samples, fields)
    volume = ingest(template, tmp_path / "a.zarr")
    write_segy(volume, "amplitude", Box.whole(volume.shape), tmp_path / "out.segy")
    assert (tmp_path / "out.segy").read_bytes() == template.read_bytes()


def test_what_cannot_be_written_is_refused(volume: Volume, survey: Path, tmp_path: Path, write_survey):
    whole, out = Box.whole(volume.shape), tmp_path / "out.segy"
    before = survey.read_bytes()
    other = write_survey(
        tmp_path / "other.segy", np.ones((4, 30)), {189: np.arange(4) // 2, 193: np.arange(4) % 2, 109: 8}
    )
    half = write_survey(
        tmp_path / "half.segy", np.ones((20, 9)), {189: np.arange(10, 50, 2), 193: 100 + np.arange(20) % 9}
    )
    for arguments, what in [
        (("amplitude", parse_region("time:8-60", volume.axes), out), "must span time:8-124"),
        (("pred_clas", whole, out), "did you mean 'pred_class'"),
        (("trace_mask", whole, out), "other axes"),
        (("amplitude", whole, survey), "exists"),
        (("amplitude", whole, out, tmp_path / "none.segy"), "no such SEG-Y template"),
        (("amplitude", whole, out, other), "lacks 180 traces of the region, the first at inline 10, crossline 100"),
        (("amplitude", whole, out, half), "where time:8-124"),
    ]:
        with pytest.raises(UserError, match=what):
            write_segy(volume, *arguments)
    with pytest.raises(UserError, match="exists"):
        write_segy(volume, "amplitude", whole, survey, overwrite=True)  # never onto its own template
    assert survey.read_bytes() == before
    assert not list(tmp_path.glob("out.segy*"))


def test_a_template_that_lacks_traces_is_refused(volume: Volume, survey: Path, tmp_path: Path, write_survey):
    with segyio.open(str(survey), ignore_geometry=True) as file:
        fields = {byte: file.attributes(byte)[:-1] for byte in (189, 193, 109)}
        template = write_survey(tmp_path / "t.segy", file.trace.raw[:][:-1], fields)
    with pytest.raises(UserError, match="lacks 1 traces"):
        write_segy(volume, "amplitude", Box.whole(volume.shape), tmp_path / "out.segy", template)


def test_a_write_that_fails_half_way_leaves_nothing(volume: Volume, tmp_path: Path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # Python ignores SIGXFSZ
    try:
        with pytest.raises(UserError, match="cannot be written .File too large"):
            write_segy(volume, "pred_class", Box.whole(volume.shape), tmp_path / "out.segy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.glob("out.segy*"))


def test_ibm_floats_are_read_back_by_segyio():
    values = np.array([0, 1, -1, 254, -255, 0.1, 1e20, -3e-20, 65535], "f4")
    read = segyio.tools.native(ibm_float(values).view("u4").copy(), format=1).view("f4")
    np.testing.assert_allclose(read, values, rtol=2**-20)
    np.testing.assert_array_equal(read[[0, 1, 2, 3, 4, 8]], values[[0, 1, 2, 3, 4, 8]])


@pytest.mark.parametrize(
    ("axes", "fields"),
    [
        ({"cdp": 21}, {21: np.arange(5, 29)}),
        ({"ffid": 9, "channel": 13}, {9: np.arange(24) // 6, 13: np.arange(24) % 6, 109: np.arange(24) // 6 * 8}),
        (
            {"inline": 189, "crossline": 193, "offset": 37},
            dict(zip((189, 193, 37), np.indices((2, 3, 4)), strict=True)),
        ),
    ],
)
def test_lines_gathers_and_differing_starts_come_back(tmp_path: Path, write_survey, axes, fields):
    random = np.random.default_rng(7)
    order = random.permutation(24)
    fields = {byte: values.ravel()[order] for byte, values in fields.items()}
    template = write_survey(tmp_path / "t.segy", random.normal(size=(24, 30)), fields)
    volume = ingest(template, tmp_path / "a.zarr", axes=axes)
    write_segy(volume, "amplitude", Box.whole(volume.shape), tmp_path / "out.segy")
    assert (tmp_path / "out.segy").read_bytes() == template.read_bytes()


def test_traces_of_one_cell_all_get_its_samples(tmp_path: Path, write_survey: Callable[..., Path]):
    samples = np.random.default_rng(8).normal(size=(5, 6)).astype("f4")
    template = write_survey(tmp_path / "t.segy", samples, {189: np.array([3, 1, 3, 2, 1]), 37: np.arange(5)})
    volume = ingest(template, tmp_path / "a.zarr", axes={"inline": 189}, duplicates="last")
    write_segy(volume, "amplitude", Box.whole(volume.shape), tmp_path / "out.segy")
    with segyio.open(str(tmp_path / "out.segy"), ignore_geometry=True) as file:
        np.testing.assert_array_equal(file.trace.raw[:], samples[[2, 4, 2, 3, 4]])
        np.testing.assert_array_equal(file.attributes(37)[:], np.arange(5))


def test_a_survey_of_several_files_is_written_file_by_file(tmp_path: Path, write_survey: Callable[..., Path]):
    samples = np.random.default_rng(9).normal(size=(24, 6)).astype("f4")
    line, cdp = np.divmod(np.arange(24), 6)
    paths = [
        write_survey(tmp_path / f"{i}.segy", samples[i::2], {189: line[i::2], 193: cdp[i::2], 109: 8 * i})
        for i in range(2)
    ]
    volume = ingest(paths, tmp_path / "a.zarr", chunk=(2, 2, 8), shard=(2, 4, 8))
    with pytest.raises(UserError, match="made from 2 SEG-Y files; name the one to write"):
        write_segy(volume, "amplitude", Box.whole(volume.shape), tmp_path / "out.segy")
    for path in paths:
        write_segy(volume, "amplitude", Box.whole(volume.shape), tmp_path / "out.segy", path, overwrite=True)
        assert (tmp_path / "out.segy").read_bytes() == path.read_bytes()


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["f3/f3.sgy", "f3/f3-withdead.sgy", "f3/f3_sparse.sgy"])
def test_real_surveys_come_back(real_data: Path, tmp_path: Path, name: str):
    volume = ingest(real_data / name, tmp_path / "a.zarr")
    write_segy(volume, "amplitude", Box.whole(volume.shape), tmp_path / "out.segy")
    with (
        segyio.open(str(real_data / name), ignore_geometry=True) as template,
        segyio.open(str(tmp_path / "out.segy"), ignore_geometry=True) as out,
    ):
        np.testing.assert_array_equal(out.trace.raw[:], template.trace.raw[:])
        assert out.text[0] == template.text[0]
        assert [dict(h) for h in out.header] == [dict(h) for h in template.header]
        assert int(out.format) == 5
