"""Stores that others wrote, opened as they are."""

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr

from seisjax.conventions import IGNORE
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box, parse_region
from seisjax.volumes import create_volume, open_volume
from seisjax.volumes.store import Store

SHAPE = (6, 7, 20)
WHOLE = Box.whole(SHAPE)
VALUES = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, SHAPE)
DIMENSIONS = ("inline", "crossline", "twt")


def dataset(**variables: Any) -> xarray.Dataset:
    """Arrays over inlines 10, 12 ..., crosslines 100, 101 ..., two-way time 0, 4 ... ms."""
    coordinates = {
        "inline": np.arange(10, 22, 2),
        "crossline": np.arange(100, 107),
        "twt": ("twt", np.arange(20) * 4.0, {"units": "ms"}),
    }
    return xarray.Dataset(
        {n: v if isinstance(v, tuple) else (DIMENSIONS, v) for n, v in variables.items()}, coordinates
    )


def save(path: Path, data: xarray.Dataset, version: int = 3, *, consolidated: bool = True, **options: Any) -> Path:
    with warnings.catch_warnings():  # consolidated metadata and text are no part of the specification of Zarr v3
        warnings.simplefilter("ignore")
        data.to_zarr(path, zarr_format=version, consolidated=consolidated, **options)  # pyright: ignore
    return path


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("consolidated", [True, False])
def test_what_xarray_writes(tmp_path: Path, version: int, consolidated: bool) -> None:
    data = dataset(seismic=VALUES, fold=(DIMENSIONS[:2], np.full(SHAPE[:2], 3)), labels_facies=LABELS)
    data = data.assign_coords(well=("inline", list("abcdef")))  # fixed-length text
    volume = open_volume(save(tmp_path / "a.zarr", data, version, consolidated=consolidated))
    assert [(axis.name, axis.unit) for axis in volume.axes] == [("inline", ""), ("crossline", ""), ("twt", "ms")]
    for axis in volume.axes:
        np.testing.assert_array_equal(axis.labels, data[axis.name])
    assert (volume.shape, volume.kind, volume.statistics) == (SHAPE, "survey", None)
    np.testing.assert_array_equal(volume.read_amplitude(WHOLE), VALUES)
    np.testing.assert_array_equal(volume.read_labels("facies", WHOLE), LABELS)
    assert (volume.read("fold", Box.whole(SHAPE[:2])) == 3).all()
    assert "well" not in volume.arrays
    box = parse_region("inline:12-14,twt:8-16", volume.axes)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(volume)).read_amplitude(box), VALUES[1:3, :, 2:5])
    assert "amplitude float32" in volume.describe()


def test_in_a_folder_of_memory(tmp_path: Path) -> None:
    source = save(tmp_path / "a.zarr", dataset(seismic=VALUES), consolidated=False)
    store = Store("memory://foreign/a.zarr")
    for file in filter(Path.is_file, source.rglob("*")):
        store.write_bytes(file.relative_to(source).as_posix(), file.read_bytes())
    np.testing.assert_array_equal(open_volume("memory://foreign/a.zarr").read_amplitude(WHOLE), VALUES)


def test_which_array_is_the_amplitude(tmp_path: Path) -> None:
    path = save(tmp_path / "a.zarr", dataset(near=VALUES, far=2 * VALUES))
    with pytest.raises(UserError, match=r"which of far, near is the amplitude\? choose one, e\.g\. .*a\.zarr#far"):
        open_volume(path)
    volume = open_volume(f"{path}#far")
    np.testing.assert_array_equal(volume.read_amplitude(WHOLE), 2 * VALUES)
    assert volume.url == f"{path}#far"
    with pytest.raises(UserError, match=r"no array 'fa' \(did you mean 'far'\?\)"):
        open_volume(f"{path}#fa")
    with pytest.raises(UserError, match=r"one array, not the group that holds it; open .*a\.zarr#far"):
        open_volume(path / "far")


def test_another_array_of_our_own_store(tmp_path: Path) -> None:
    axes = [Axis(name, np.arange(n)) for name, n in zip(("inline", "crossline", "time"), SHAPE, strict=True)]
    with create_volume(tmp_path / "a", axes) as volume:
        volume.write("amplitude", WHOLE, VALUES)
        volume.add_array("velocity", values=2 * VALUES)
    np.testing.assert_array_equal(open_volume(f"{tmp_path}/a#velocity").read_amplitude(WHOLE), 2 * VALUES)
    np.testing.assert_array_equal(open_volume(f"{tmp_path}/a#amplitude").read_amplitude(WHOLE), VALUES)


def test_a_path_with_the_sign(tmp_path: Path) -> None:
    save(tmp_path / "line.zarr", dataset(near=VALUES, far=2 * VALUES)).rename(tmp_path / "line#4.zarr")
    with pytest.raises(UserError, match="which of far, near"):
        open_volume(tmp_path / "line#4.zarr")
    np.testing.assert_array_equal(open_volume(f"{tmp_path}/line#4.zarr#near").read_amplitude(WHOLE), VALUES)


def test_the_vertical_comes_last(tmp_path: Path) -> None:
    path = save(tmp_path / "a.zarr", dataset(seismic=VALUES).transpose("twt", ...))
    with pytest.raises(UserError, match=r"twt has to be the last .* write it in the order \(inline, crossline, twt\)"):
        open_volume(path)


def test_dimensions_without_names(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("seismic", data=VALUES)
    with pytest.raises(UserError, match="'seismic': its dimensions have no names"):
        open_volume(tmp_path / "a.zarr")


@pytest.mark.parametrize("labels", [np.arange(7, 0, -1), np.zeros(7), np.r_[np.nan, 1:7]])
def test_labels_that_do_not_rise(tmp_path: Path, labels: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    volume = open_volume(save(tmp_path / "a.zarr", dataset(seismic=VALUES).assign_coords(crossline=labels)))
    np.testing.assert_array_equal(volume.axes[1].labels, range(7))
    assert "the labels of crossline do not rise" in caplog.text


def test_without_coordinates(tmp_path: Path) -> None:
    volume = open_volume(save(tmp_path / "a.zarr", xarray.Dataset({"v": (("x", "y", "z"), VALUES)})))
    assert [str(axis) for axis in volume.axes] == ["x:0-5", "y:0-6", "z:0-19"]


@pytest.mark.parametrize("version", [2, 3])
def test_packed_samples_are_what_xarray_reads(tmp_path: Path, version: int) -> None:
    values = VALUES.copy()
    values[2, 3, 4:9] = np.nan
    packing = {"dtype": "int16", "scale_factor": 0.25, "add_offset": 10.0, "_FillValue": -32768}
    path = save(tmp_path / "a.zarr", dataset(seismic=values), version, encoding={"seismic": packing})
    expected = xarray.open_zarr(path)["seismic"].values
    assert np.isnan(expected).sum() == 5
    np.testing.assert_array_equal(open_volume(path).read_amplitude(WHOLE), expected.astype(np.float32))


@pytest.mark.parametrize("version", [2, 3])
def test_a_null_value_of_floats(tmp_path: Path, version: int) -> None:
    values = VALUES.astype(np.float64)
    values[0, 0] = np.nan
    path = save(tmp_path / "a.zarr", dataset(v=values), version, encoding={"v": {"_FillValue": -999.25}})
    assert (np.asarray(zarr.open_array(path / "v")[0, 0]) == -999.25).all()
    np.testing.assert_array_equal(open_volume(path).read_amplitude(WHOLE), values.astype(np.float32))


def test_big_endian_and_wide_samples(tmp_path: Path) -> None:
    values = VALUES.astype(">f8")
    values[0, 0, 0] = 1e300
    volume = open_volume(save(tmp_path / "a.zarr", dataset(v=values), 2))
    assert np.isnan(volume.read_amplitude(WHOLE)[0, 0, 0])
    np.testing.assert_array_equal(volume.read_amplitude(WHOLE)[1:], VALUES[1:])


# Labels of others.


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", "bool"])
def test_labels_of_any_type(tmp_path: Path, dtype: str) -> None:
    labels = LABELS.astype(dtype)
    expected = labels.astype(np.uint8)
    if labels.dtype.kind == "i":
        labels[0] = -1
        expected[0] = IGNORE
    if labels.itemsize > 1:
        labels[1], labels[2, 0, 0] = 256, 255
        expected[1], expected[2, 0, 0] = IGNORE, IGNORE
    volume = open_volume(save(tmp_path / "a.zarr", dataset(v=VALUES, labels_x=labels)))
    np.testing.assert_array_equal(volume.read_labels("x", WHOLE), expected)
    past = volume.read_labels("x", Box((5, 0, 0), (2, 7, 20)))
    np.testing.assert_array_equal(past[0], expected[5])
    assert (past[1] == IGNORE).all()
    index = volume.label_index("x")
    np.testing.assert_array_equal(index.histogram, np.bincount(expected[expected != IGNORE]))
    assert volume.class_names("x") == [f"class {i}" for i in range(2 if dtype == "bool" else 3)]


def test_an_index_is_counted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    chunks = {"labels_x": {"chunks": (1, 7, 20)}}
    volume = open_volume(save(tmp_path / "a.zarr", dataset(v=VALUES, labels_x=LABELS), encoding=chunks))
    assert "labels_x uint8" not in volume.describe()
    assert "no label index" not in caplog.text
    index = volume.label_index("x")
    assert index.chunk == (6, 7, 20)
    again = pickle.loads(pickle.dumps(volume))
    np.testing.assert_array_equal(again.label_index("x").counts, index.counts)
    assert caplog.text.count("no label index: reading all 840 labels once") == 1
    assert "x: class 0 " in volume.describe()


def test_the_index_of_many_chunks(tmp_path: Path) -> None:
    shape = (40, 33, 20)
    labels = np.random.default_rng(0).integers(0, 4, shape)
    data = xarray.Dataset({"v": (DIMENSIONS, np.zeros(shape, "f4")), "labels_x": (DIMENSIONS, labels)})
    chunks = {"labels_x": {"chunks": (5, 20, 20)}}
    index = open_volume(save(tmp_path / "a.zarr", data, encoding=chunks)).label_index("x")
    assert index.chunk == (20, 20, 20)
    np.testing.assert_array_equal(index.counts[1, 1, 0], np.bincount(labels[20:, 20:].ravel()))


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c", "d"]])
def test_class_names_of_others(tmp_path: Path, names: list[str]) -> None:
    data = dataset(v=VALUES, labels_x=LABELS)
    data["labels_x"].attrs["class_names"] = names
    volume = open_volume(save(tmp_path / "a.zarr", data))
    assert volume.class_names("x") == names
    if len(names) == 2:
        with pytest.raises(UserError, match="labels_x: holds value 2 but has 2 classes"):
            volume.label_index("x")
    else:
        np.testing.assert_array_equal(volume.label_index("x").histogram, [*np.bincount(LABELS.ravel()), 0])


def test_labels_over_other_axes_are_no_labels(tmp_path: Path) -> None:
    data = dataset(v=VALUES, labels_map=(DIMENSIONS[:2], LABELS[..., 0]), labels_real=VALUES)
    assert open_volume(save(tmp_path / "a.zarr", data)).label_names() == []


def test_labels_alone(tmp_path: Path) -> None:
    volume = open_volume(save(tmp_path / "a.zarr", dataset(labels_x=LABELS.astype("u1"))))
    assert (volume.shape, volume.label_names()) == (SHAPE, ["x"])
    with pytest.raises(UserError, match="no array 'amplitude'"):
        volume.read_amplitude(WHOLE)


# What cannot be read or written.


def test_nothing_is_written_to_them(tmp_path: Path) -> None:
    path = save(tmp_path / "a.zarr", dataset(v=VALUES))
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    with open_volume(path) as volume, pytest.raises(UserError, match="is read, not written"):
        volume.add_array("pred_class", np.uint8)
    with pytest.raises(UserError, match="is read, not written"):
        volume.write("amplitude", WHOLE, VALUES)
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before
    with pytest.raises(UserError, match="exists and is not a volume"):
        create_volume(path, [Axis("time", np.arange(3))], overwrite=True)


@pytest.mark.parametrize(
    ("version", "change", "message"),
    [
        (2, {"compressor": {"id": "zfpy", "mode": 4, "tolerance": 0.1}}, "codec zfpy"),
        (2, {"compressor": {"id": "lzma"}}, "lzma"),
        (2, {"dtype": "<U4", "fill_value": ""}, "type <U4"),
        (3, {"codecs": [{"name": "numcodecs.zfpy", "configuration": {}}]}, "codec numcodecs.zfpy"),
        (3, {"data_type": {"name": "fixed_length_utf32", "configuration": {"length_bytes": 4}}}, "fixed_length_utf32"),
        (3, {"chunk_grid": {"name": "rectilinear", "configuration": {}}}, "chunk_shape"),
    ],
)
def test_what_tensorstore_cannot_open(tmp_path: Path, version: int, change: dict, message: str) -> None:
    path = save(tmp_path / "a.zarr", dataset(amplitude=VALUES, other=VALUES), version, consolidated=False)
    document = path / "amplitude" / ("zarr.json" if version == 3 else ".zarray")
    document.write_text(json.dumps(json.loads(document.read_text()) | change))
    with pytest.raises(UserError, match=rf"'amplitude' cannot be read \(.*{message}.*\); write it again") as error:
        open_volume(path)
    assert "\n" not in str(error.value)
    assert "amplitude" in open_volume(f"{path}#other").arrays


def test_our_own_without_consolidated_metadata_is_unfinished(tmp_path: Path) -> None:
    axes = [Axis(name, np.arange(n)) for name, n in zip(("inline", "crossline", "time"), SHAPE, strict=True)]
    with create_volume(tmp_path / "a", axes):
        pass
    document = json.loads((tmp_path / "a" / "zarr.json").read_text())
    del document["consolidated_metadata"]
    (tmp_path / "a" / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match="never finished"):
        open_volume(tmp_path / "a")


# MDIO.


def save_mdio_v0(path: Path, live: np.ndarray) -> Path:
    """The layout of MDIO v0: the axes at the group, arrays in `data/`, live mask and headers in `metadata/`."""
    root = zarr.open_group(path, mode="w", zarr_format=2)
    axes = zip(("inline", "crossline", "sample"), (range(10, 22, 2), range(100, 107), range(0, 80, 4)), strict=True)
    dimension = [{"name": name, "coords": list(coords)} for name, coords in axes]
    root.attrs.update({"api_version": "0.9.0", "dimension": dimension, "trace_count": int(live.sum()), "mean": 0.0})
    keys: Any = {"name": "v2", "separator": "/"}
    data, metadata = root.create_group("data"), root.create_group("metadata")
    values = np.where(live[..., None], VALUES, 0)
    for name, chunks in (("chunked_012", (4, 4, 8)), ("chunked_01", (4, 4, 20))):
        data.create_array(name, data=values, chunks=chunks, chunk_key_encoding=keys)
    metadata.create_array("live_mask", data=live, chunk_key_encoding=keys)
    headers = np.zeros(SHAPE[:2], [("inline", "i4"), ("crossline", "i4")])
    metadata.create_array("chunked_012_trace_headers", data=headers, chunk_key_encoding=keys)
    zarr.consolidate_metadata(root.store)
    return path


def test_mdio_v0(tmp_path: Path) -> None:
    live = np.random.default_rng(0).random(SHAPE[:2]) < 0.7
    path = save_mdio_v0(tmp_path / "a.mdio", live)
    volume = open_volume(path)
    assert [str(axis) for axis in volume.axes] == ["inline:10-20", "crossline:100-106", "sample:0-76"]
    assert volume.arrays["amplitude"].chunk == (4, 4, 8)
    np.testing.assert_array_equal(volume.read_amplitude(WHOLE), np.where(live[..., None], VALUES, np.nan))
    axes = [*volume.axes[:2], Axis("time", volume.axes[2].labels, "ms")]
    with create_volume(tmp_path / "labels", axes, dtype=None) as labels:
        labels.add_array("labels_x", values=LABELS.astype(np.uint8))
    found = volume.with_labels(labels).read_labels("x", WHOLE)
    np.testing.assert_array_equal(found, np.where(live[..., None], LABELS, IGNORE))
    other = open_volume(f"{path}#data/chunked_01")
    assert other.arrays["amplitude"].chunk == (4, 4, 20)
    np.testing.assert_array_equal(other.read_amplitude(WHOLE), volume.read_amplitude(WHOLE))
    for consolidated in path.rglob(".zmetadata"):
        consolidated.unlink()
    np.testing.assert_array_equal(open_volume(path).read_amplitude(WHOLE), volume.read_amplitude(WHOLE))
