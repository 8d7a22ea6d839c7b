"""Surveys and labels in other formats than SEG-Y."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from seisjax.conventions import IGNORE
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes import Volume, create_volume, open_volume
from seisjax.volumes.ingest import ingest
from seisjax.volumes.sources import detect_format, open_reader

SHAPE = (5, 7, 12)


@pytest.fixture
def values() -> np.ndarray:
    """Noise with one dead trace."""
    samples = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    samples[2, 3] = np.nan
    return samples


def assert_holds(volume: Volume, values: np.ndarray) -> None:
    """All samples, and a mask of the traces that are not NaN throughout."""
    np.testing.assert_array_equal(volume.read_amplitude(Box.whole(volume.shape)), values)
    mask = volume.read("trace_mask", Box.whole(volume.shape[:-1]))
    np.testing.assert_array_equal(mask, ~np.isnan(values).all(axis=-1))


def save(path: Path, values: np.ndarray, **beside: np.ndarray) -> Path:
    """Write an array, and 1-D arrays beside it, in the format that the suffix says; "c.npz" is compressed."""
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        arrays: dict[str, Any] = {"seismic": values, **beside}
        (np.savez_compressed if path.stem == "c" else np.savez)(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in {"survey/seismic": values, **beside}.items():
                file[name] = array
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "c.npz", "a.h5"])
@pytest.mark.parametrize("dtype", ["f4", ">f8", "i2"])
def test_arrays_in_files(tmp_path: Path, values: np.ndarray, name: str, dtype: str):
    values = (100 * np.nan_to_num(values)).astype(dtype) if dtype == "i2" else values.astype(dtype)
    volume = ingest(save(tmp_path / name, values), tmp_path / "a.zarr", interval=4.0)
    assert_holds(volume, values.astype("f4"))
    assert [axis.name for axis in volume.axes] == ["inline", "crossline", "time"]
    np.testing.assert_array_equal(volume.axes[-1].labels, 4 * np.arange(12))
    assert (volume.axes[-1].unit, volume.attributes["num_traces"]) == ("ms", 35)


def test_a_column_major_array(tmp_path: Path, values: np.ndarray):
    assert_holds(ingest(save(tmp_path / "a.npy", np.asfortranarray(values)), tmp_path / "a.zarr"), values)


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_axes_named_by_arrays(tmp_path: Path, values: np.ndarray, name: str):
    path = save(
        tmp_path / name, values, il=np.arange(10, 20, 2), crossline=np.arange(7) + 100.0, depth=np.arange(12) * 5
    )
    volume = ingest(path, tmp_path / "a.zarr", axes="inline:il,crossline", vertical="depth")
    assert [str(axis) for axis in volume.axes] == ["inline:10-18", "crossline:100-106", "depth:0-55"]
    assert volume.axes[-1].unit == "m"
    for axes, what in (
        ("inline:xl,crossline", "names no 1-D array"),
        ("inline:crossline,crossline", "5 rising"),
        ("a", "2"),
    ):
        with pytest.raises(UserError, match=what):
            ingest(path, tmp_path / "b.zarr", axes=axes)


def test_dimension_scales_name_the_axes(tmp_path: Path, values: np.ndarray):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["line"], file["trace"] = values, np.arange(5) + 3, np.arange(7) + 8
        for i, name in enumerate(("line", "trace")):
            scale, array = file[name], file["x"]
            assert isinstance(scale, h5py.Dataset)
            assert isinstance(array, h5py.Dataset)
            scale.make_scale(name)
            array.dims[i].attach_scale(scale)
    volume = ingest(tmp_path / "a.h5", tmp_path / "a.zarr")
    assert [str(axis) for axis in volume.axes] == ["line:3-7", "trace:8-14", "time:0-11"]


def test_which_array(tmp_path: Path, values: np.ndarray):
    path = save(tmp_path / "a.h5", values, other=values + 1)
    with pytest.raises(UserError, match="which of its arrays.*other.*survey/seismic.*--dataset"):
        ingest(path, tmp_path / "a.zarr")
    assert_holds(ingest(path, tmp_path / "a.zarr", dataset="other"), values + 1)
    assert_holds(ingest(f"{path}:/survey/seismic", tmp_path / "b.zarr"), values)
    with pytest.raises(UserError, match="no array 'survey/sesmic'.*did you mean"):
        ingest(f"{path}:/survey/sesmic", tmp_path / "c.zarr")


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32", "uint8"])
def test_labels_of_any_type(tmp_path: Path, values: np.ndarray, dtype: str):
    known = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 3
    labels = save(tmp_path / "labels.npy", known.astype(dtype))
    volume = ingest(save(tmp_path / "a.npy", values), tmp_path / "a.zarr", labels=labels)
    expected = np.where(np.isnan(values), IGNORE, known)  # a dead trace has no label
    np.testing.assert_array_equal(volume.read_labels("facies", Box.whole(SHAPE)), expected)


def test_samples_without_an_interval_are_told(tmp_path: Path, values: np.ndarray, caplog: pytest.LogCaptureFixture):
    path = save(tmp_path / "a.npy", values)
    ingest(path, tmp_path / "a.zarr", interval=4.0)
    assert "interval" not in caplog.text
    volume = ingest(path, tmp_path / "b.zarr")
    assert volume.axes[-1].unit == ""
    assert "a.npy: does not say its sampling interval: time is in sample numbers; give --interval" in caplog.text


def test_an_interval_overrules_the_file(tmp_path: Path, values: np.ndarray):
    path = save(tmp_path / "a.npz", values, time=np.arange(SHAPE[-1]) * 4.0)
    labels = save(tmp_path / "b.npz", np.zeros(SHAPE, np.uint8), time=np.arange(SHAPE[-1]) * 4.0)
    assert str(ingest(path, tmp_path / "a.zarr").axes[-1]) == "time:0-44"
    volume = ingest(path, tmp_path / "b.zarr", interval=2.0, labels=labels)
    assert str(volume.axes[-1]) == "time:0-22"
    assert volume.label_names() == ["facies"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"interval": -3.0}, "--interval=-3: must be above 0, in ms"),
        ({"interval": 0.0}, "--interval=0: must be above 0"),
        ({"axes": "inline,inline"}, "each by another name"),
        ({"dataset": "other"}, "--dataset=other.*leave it out"),
        ({"sections": ["inline", "inline"]}, "--sections=inline,inline.*twice"),
    ],
)
def test_options_that_fit_no_array_are_one_line(tmp_path: Path, values: np.ndarray, options: dict, words: str):
    path = save(tmp_path / "a.npy", values)
    with pytest.raises(UserError, match=words):
        ingest(path, tmp_path / "a.zarr", **options)
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_array_is_one_line(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.ones((0, 3, 4), np.float32))
    with pytest.raises(UserError, match=r"a.npy: holds no sample \(0 inline x 3 crossline x 4 time\)"):
        ingest(tmp_path / "a.npy", tmp_path / "a.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_a_single_trace_is_no_survey(tmp_path: Path, values: np.ndarray):
    np.save(tmp_path / "a.npy", values[0, 0])
    with pytest.raises(UserError, match=r"a.npy: has the shape \(12,\); a survey has two axes or more"):
        ingest(tmp_path / "a.npy", tmp_path / "a.zarr")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "c.npz", "a.h5"])
def test_files_that_are_cut_off_are_one_line(tmp_path: Path, values: np.ndarray, name: str):
    path = save(tmp_path / name, values)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UserError, match=f"{name}.*cannot be read"):
        ingest(path, tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == [path]


def test_formats_are_told_by_content(tmp_path: Path, values: np.ndarray):
    for name, kind in (("a.npy", "npy"), ("a.npz", "npz"), ("a.h5", "hdf5")):
        path = save(tmp_path / name, values).rename(tmp_path / f"{kind}.data")
        assert detect_format(str(path)) == kind
    assert detect_format("https://host/survey.SGY") == "segy"
    assert detect_format("s3://bucket/survey.zarr#velocity") == "volume"
    assert detect_format(str(tmp_path)) == "volume"
    with pytest.raises(UserError, match="no such file"):
        detect_format(str(tmp_path / "none.npy"))
    with pytest.raises(UserError, match="only SEG-Y files"):
        open_reader([str(tmp_path / "npy.data"), str(tmp_path / "npz.data")])


def test_zgy(tmp_path: Path, values: np.ndarray):
    pytest.importorskip("pyzgy")
    from seisjax.volumes.zgy import _openzgy

    api = _openzgy()
    samples = np.where(np.isnan(values), 0, values).astype(np.float32)
    with api.ZgyWriter(
        str(tmp_path / "a.zgy"), size=SHAPE, datatype=api.SampleDataType.float, zunitdim=api.UnitDimension.time,
        zunitname="ms", zunitfactor=0.001, zstart=100, zinc=4, annotstart=(10, 200), annotinc=(2, -1),
        corners=((0, 0), (40, 0), (0, 60), (40, 60)),
    ) as writer:  # fmt: skip
        writer.write((0, 0, 0), samples)
        writer.finalize()
    volume = ingest(tmp_path / "a.zgy", tmp_path / "a.zarr", chunk=(2, 4, 8), shard=(2, 4, 16))
    assert [str(axis) for axis in volume.axes] == ["inline:10-18", "crossline:194-200", "time:100-144"]
    assert_holds(volume, values[:, ::-1])  # crosslines fall along the file
    np.testing.assert_allclose(volume.read("cdp_x", Box.whole((5, 7)))[:, 0], 10 * np.arange(5))
    np.testing.assert_allclose(volume.read("cdp_y", Box.whole((5, 7)))[0], 10 * np.arange(7)[::-1])


def test_a_zgy_file_that_is_cut_off_is_one_line(tmp_path: Path):
    pytest.importorskip("pyzgy")
    (tmp_path / "b.zgy").write_bytes(b"VBS\0" + bytes(100))
    with pytest.raises(UserError, match="b.zgy.*cannot be read"):
        ingest(tmp_path / "b.zgy", tmp_path / "b.zarr")


@pytest.fixture
def stored(tmp_path: Path, values: np.ndarray) -> Path:
    """A volume with two label sets, coordinates, and places of receivers."""
    axes = [Axis("inline", np.arange(5) * 2), Axis("crossline", np.arange(7)), Axis("time", np.arange(12) * 4, "ms")]
    with create_volume(tmp_path / "stored.zarr", axes, attributes={"source_file": "x.segy"}) as volume:
        volume.write("amplitude", Box.whole(SHAPE), values)
        volume.write("trace_mask", Box.whole(SHAPE[:-1]), ~np.isnan(values).all(axis=-1))
        volume.add_array("cdp_x", dimension_names=["inline", "crossline"], values=np.arange(35.0).reshape(5, 7))
        volume.add_array("station", dimension_names=["inline"], values=np.arange(5))
        for i, name in enumerate(("facies", "faults")):
            volume.add_array(f"labels_{name}", np.uint8, attributes={"class_names": ["a", "b", "c"][: 3 - i]})
            volume.write(f"labels_{name}", Box.whole(SHAPE), np.full(SHAPE, 1 - i))
    return tmp_path / "stored.zarr"


def test_a_volume_is_made_anew_with_all_it_holds(stored: Path, tmp_path: Path, values: np.ndarray):
    volume = ingest(stored, tmp_path / "a.zarr", chunk=(2, 2, 4), shard=(4, 4, 8), sections=["inline"])
    before = open_volume(str(stored))
    assert_holds(volume, values)
    assert volume.arrays["amplitude"].chunk == (2, 2, 4)
    assert [str(axis) for axis in volume.axes] == [str(axis) for axis in before.axes]
    assert (volume.attributes["source_file"], volume.kind) == ("x.segy", "survey")
    assert volume.label_names() == ["facies", "faults"]
    assert volume.class_names("faults") == ["a", "b"]
    whole = Box.whole(SHAPE)
    for name in ("facies", "faults"):
        np.testing.assert_array_equal(volume.read_labels(name, whole), before.read_labels(name, whole))
    np.testing.assert_array_equal(volume.read("cdp_x", Box.whole((5, 7))), before.read("cdp_x", Box.whole((5, 7))))
    np.testing.assert_array_equal(volume.read("station", Box.whole((5,))), np.arange(5))
    compact = ingest(tmp_path / "a.zarr", tmp_path / "b.zarr", dtype="int16")
    scale = compact.arrays["amplitude"].attributes["scale_factor"]
    np.testing.assert_allclose(compact.read_amplitude(whole), values, atol=0.51 * scale)
    assert "sections_inline_amplitude" not in compact.arrays
    again = ingest(tmp_path / "b.zarr", tmp_path / "c.zarr")
    np.testing.assert_array_equal(again.read_amplitude(whole), compact.read_amplitude(whole))


def test_what_arrays_say_of_themselves_is_handed_on(stored: Path, tmp_path: Path):
    volume = open_volume(str(stored))
    soft = {"class_names": ["noise", "onset"], "label_scale": 254, "interpretation": {"kind": "bands"}}
    volume.set_attributes("cdp_x", {"unitsV1": {"length": "ft"}})
    volume.add_array("labels_onset", np.uint8, attributes=soft)
    volume.write("labels_onset", Box.whole(SHAPE), np.full(SHAPE, 133))
    volume.finish()
    made = ingest(stored, tmp_path / "a.zarr", dtype="int16")
    assert made.arrays["cdp_x"].attributes["unitsV1"] == {"length": "ft"}
    assert {key: made.arrays["labels_onset"].attributes[key] for key in soft} == soft
    assert "label_scale" not in made.arrays["labels_facies"].attributes
    live = made.read("trace_mask", Box.whole(SHAPE[:-1]))
    assert (made.read("labels_onset", Box.whole(SHAPE))[live] == 133).all()


@pytest.mark.parametrize("kind", ["npy", "npz", "h5", "zarr"])
def test_labels_in_any_format(stored: Path, tmp_path: Path, values: np.ndarray, kind: str):
    labels = np.random.default_rng(2).integers(0, 3, SHAPE)
    if kind == "zarr":
        path = stored
        labels[:] = 1
    else:
        path = save(tmp_path / f"b.{kind}", labels)
    labels[2, 3] = 255  # no trace is there
    volume = (
        ingest(save(tmp_path / "a.npy", values), tmp_path / "a.zarr", labels=path)
        if kind != "zarr"
        else ingest(stored, tmp_path / "a.zarr", labels=path)
    )
    np.testing.assert_array_equal(volume.read_labels("facies", Box.whole(SHAPE)), labels)
    assert volume.class_names("facies") == (["a", "b", "c"] if kind == "zarr" else ["class 0", "class 1", "class 2"])


def test_labels_alone_make_a_volume_that_another_takes_labels_from(stored: Path, tmp_path: Path):
    labels = np.random.default_rng(2).integers(0, 3, SHAPE).astype(np.uint8)
    np.savez(tmp_path / "b.npz", labels=labels, inline=np.arange(5) * 2, time=np.arange(12) * 4)
    volume = ingest([], tmp_path / "a.zarr", labels=tmp_path / "b.npz", label_name="rocks", class_names=["x", "y", "z"])
    assert "amplitude" not in volume.arrays
    np.testing.assert_array_equal(volume.read_labels("rocks", Box.whole(SHAPE)), labels)
    joined = open_volume(str(stored)).with_labels(open_volume(str(tmp_path / "a.zarr")))
    assert joined.label_names() == ["rocks"]
    np.testing.assert_array_equal(joined.label_index("rocks").histogram, np.bincount(labels.ravel()))


def test_labels_on_another_grid_are_refused(stored: Path, tmp_path: Path):
    with pytest.raises(UserError, match="labels must lie on the survey's own grid"):
        ingest(stored, tmp_path / "a.zarr", labels=save(tmp_path / "b.npy", np.zeros((5, 7, 11), np.uint8)))
    with pytest.raises(UserError, match="2 axes where the survey has 3"):
        ingest(stored, tmp_path / "a.zarr", labels=save(tmp_path / "b.npy", np.zeros((5, 7), np.uint8)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.npy", "stored.zarr"]


@pytest.mark.parametrize("option", [{"interval": 2.0}, {"duplicates": "mean"}, {"axes": "inline,crossline"}])
def test_options_that_mean_nothing_for_a_volume_are_refused(stored: Path, tmp_path: Path, option: dict):
    (name,) = option
    with pytest.raises(UserError, match=rf"^--{name}=.*means nothing for .*; leave it out$"):
        ingest(stored, tmp_path / "new.zarr", **option)
    assert not list(tmp_path.glob("new*"))
