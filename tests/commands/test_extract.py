"""Objects and horizons of predicted volumes."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from seisjax.commands.extract import Extraction, extract
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.interpretation import components, horizons
from seisjax.volumes import create_volume, open_volume

SHAPE = (10, 24, 40)
TOP = 12 + 4 * np.sin(np.indices(SHAPE[:2])[1] / 7) + 0.3 * np.indices(SHAPE[:2])[0]  # samples
NAMES = ["sand", "shale, dark", "salt"]


def probabilities() -> np.ndarray:
    """Sand over shale with a horizon between them, and bodies of salt."""
    sample = np.indices(SHAPE)[2]
    shale = 1 / (1 + np.exp(-(sample - TOP[..., None]) / 1.5))
    noise = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(SHAPE), 1.2)
    salt = (0.9 / (1 + np.exp(-60 * (noise - 0.12)))) * (sample > 24)
    return np.stack([(1 - salt) * (1 - shale), (1 - salt) * shale, salt]).astype(np.float32)


@pytest.fixture(scope="module")
def predicted(tmp_path_factory) -> Path:
    """Probabilities in bytes; the last inline is dead."""
    values = probabilities()
    values[:, -1] = np.nan
    axes = [Axis("inline", np.arange(100, 120, 2)), Axis("crossline", np.arange(300, 324))]
    axes.append(Axis("time", 1000 + np.arange(40) * 4.0, "ms"))
    live = np.isfinite(values).all(axis=(0, 3))
    inline, crossline = np.indices(SHAPE[:2])
    path = tmp_path_factory.mktemp("predicted") / "p.zarr"
    attributes = {"prediction": {"run": "runs/a"}}
    with create_volume(path, axes, dtype=None, chunk=(4, 8, 16), shard=(8, 16, 32), attributes=attributes) as volume:
        classes = np.where(live[..., None], values.argmax(axis=0), 255).astype(np.uint8)
        volume.add_array("pred_class", fill=255, values=classes, attributes={"class_names": NAMES})
        compact = np.where(np.isnan(values), 255, np.round(254 * np.nan_to_num(values))).astype(np.uint8)
        volume.add_array(
            "pred_probability",
            dimension_names=["class", "inline", "crossline", "time"],
            values=compact,
            attributes={"scale_factor": 1 / 254, "missing_value": 255, "class_names": NAMES},
        )
        above = {"dimension_names": ["inline", "crossline"]}
        volume.add_array("trace_mask", values=live, **above)
        volume.add_array("cdp_x", values=np.where(live, 4e5 + 25.0 * inline + 5.0 * crossline, np.nan), **above)
        volume.add_array("cdp_y", values=np.where(live, 6e6 + 12.5 * crossline, np.nan), **above)
    return path


def read_ids(path: Path) -> np.ndarray:
    return open_volume(path).read("object_id", Box.whole(SHAPE))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("samples", [1, 2000, 2**20])  # in a block: at least one chunk
@pytest.mark.parametrize("threshold", [None, 0.3])
def test_objects_are_those_of_the_whole_array(predicted, tmp_path, threshold, samples, monkeypatch):
    monkeypatch.setattr(components, "BYTES_PER_SAMPLE", 2**20 // samples)
    files = {"objects": str(tmp_path / "o.zarr"), "table": tmp_path / "o.csv"}
    extract(Extraction(str(predicted), **files, class_name="salt", threshold=threshold, block_mebibytes=1))
    mask = probabilities().argmax(axis=0) == 2
    mask[-1] = False
    if threshold:  # bytes are rounded
        source = open_volume(predicted).read("pred_probability", Box((2, 0, 0, 0), (1, *SHAPE)))[0]
        mask = (source != 255) & (source >= np.ceil(254 * threshold))
    labels, count = ndimage.label(mask)
    ids, rows = read_ids(tmp_path / "o.zarr"), rows_of(tmp_path / "o.csv")
    assert ids.max() == len(rows) == count > 5
    np.testing.assert_array_equal(ids > 0, mask)
    assert len(np.unique(np.stack([ids, labels]).reshape(2, -1), axis=1).T) == count + 1  # one to one
    sizes = [int(row["samples"]) for row in rows]
    assert sizes == sorted(sizes, reverse=True) == np.bincount(ids.ravel())[1:].tolist()


def test_the_table_is_in_the_fields_units(predicted, tmp_path):
    extract(Extraction(str(predicted), str(tmp_path / "o.zarr"), tmp_path / "o.csv", "salt"))
    ids = read_ids(tmp_path / "o.zarr")
    row = rows_of(tmp_path / "o.csv")[0]
    where = np.argwhere(ids == 1)
    assert (row["object"], row["class"], row["samples"]) == ("1", "salt", str(len(where)))
    assert float(row["volume_m2_ms"]) == pytest.approx(len(where) * 25 * 12.5 * 4)
    low, high, (i, j, k) = where.min(axis=0), where.max(axis=0), where.mean(axis=0)
    assert (row["inline_min"], row["inline_max"]) == (str(100 + 2 * low[0]), str(100 + 2 * high[0]))
    assert (row["time_min"], row["time_max"]) == (str(1000 + 4 * low[2]), str(1000 + 4 * high[2]))
    centres = [float(row[f"{name}_centre"]) for name in ("inline", "crossline", "time", "cdp_x", "cdp_y")]
    expected = [100 + 2 * i, 300 + j, 1000 + 4 * k, 4e5 + 25 * i + 5 * j, 6e6 + 12.5 * j]
    assert centres == pytest.approx(expected, abs=1e-3)


def test_the_objects_are_a_volume_that_knows_where_it_comes_from(predicted, tmp_path):
    xarray = pytest.importorskip("xarray")
    extract(Extraction(str(predicted), str(tmp_path / "o.zarr"), class_name="2", min_size=20, command="extract ..."))
    volume = open_volume(tmp_path / "o.zarr")
    assert volume.attributes["prediction"] == {"run": "runs/a"}
    objects = volume.attributes["objects"]
    assert (objects["class"], objects["min_size"], objects["command"]) == ("salt", 20, "extract ...")
    assert np.bincount(read_ids(tmp_path / "o.zarr").ravel())[1:].min() >= 20
    with xarray.open_zarr(tmp_path / "o.zarr") as dataset:
        assert dataset.object_id.dtype == np.uint32
        assert set(dataset.object_id.coords) == {"inline", "crossline", "time", "cdp_x", "cdp_y"}
        assert not dataset.trace_mask.values[-1].any()


def test_the_table_alone_needs_no_volume(predicted, tmp_path):
    extract(Extraction(str(predicted), table=tmp_path / "o.csv", class_name="salt"))
    assert [path.name for path in tmp_path.iterdir()] == ["o.csv"]


@pytest.mark.parametrize("samples", [1, 2**20])
def test_a_horizon_comes_back(predicted, tmp_path, samples, monkeypatch):
    """To a tenth of a sample, from one byte a probability."""
    monkeypatch.setattr(horizons, "BYTES_PER_SAMPLE", 2**20 // samples)
    between = ("sand", "shale, dark")
    summary = extract(Extraction(str(predicted), horizons=tmp_path / "h.csv", between=between, block_mebibytes=1))
    assert summary.startswith("216 of 216 traces picked, 0 of them ambiguous")
    rows = rows_of(tmp_path / "h.csv")
    assert list(rows[0]) == ["inline", "crossline", "cdp_x", "cdp_y", "time_ms", "confidence", "crossings"]
    order = [(int(row["inline"]), int(row["crossline"])) for row in rows]
    assert order == [(i, j) for i in range(100, 118, 2) for j in range(300, 324)]
    times = np.array([float(row["time_ms"]) for row in rows]).reshape(9, 24)
    np.testing.assert_allclose((times - 1000) / 4, TOP[:-1], atol=0.1)
    assert float(rows[30]["cdp_x"]) == 4e5 + 25 + 30
    assert min(float(row["confidence"]) for row in rows) > 0.9


def test_the_top_and_the_base_of_a_class(predicted, tmp_path):
    extract(Extraction(str(predicted), horizons=tmp_path / "base.csv", above="sand"))
    times = np.array([float(row["time_ms"]) for row in rows_of(tmp_path / "base.csv")]).reshape(9, 24)
    np.testing.assert_allclose((times - 1000) / 4, TOP[:-1], atol=0.1)
    summary = extract(Extraction(str(predicted), horizons=tmp_path / "salt.csv", below="salt"))
    rows = rows_of(tmp_path / "salt.csv")
    without = [row for row in rows if row["crossings"] == "0"]
    assert without
    assert all(row["time_ms"] == row["confidence"] == "" for row in without)
    several = sum(int(row["crossings"]) > 1 for row in rows)
    assert f"{len(rows) - len(without)} of 216 traces picked, {several} of them ambiguous" in summary


def test_panels_and_classes_alone(tmp_path):
    """Examples have nothing to do with one another; without probabilities a horizon lies between samples."""
    classes = np.zeros((3, 8, 16), np.uint8)
    classes[:, :, 10:] = 1
    axes = [Axis("example", np.arange(5, 8)), Axis("receiver", np.arange(8)), Axis("time", np.arange(16) * 2.0, "ms")]
    with create_volume(tmp_path / "p.zarr", axes, dtype=None, kind="panels") as volume:
        volume.add_array("pred_class", fill=255, values=classes)
        volume.add_array("receiver_x", values=np.arange(8.0), dimension_names=["receiver"])
    both = Extraction(
        str(tmp_path / "p.zarr"), str(tmp_path / "o.zarr"), tmp_path / "o.csv", "1", connectivity=3,
        horizons=tmp_path / "h.csv", below="1",
    )  # fmt: skip
    summary = extract(both)
    assert summary.splitlines()[0].startswith("3 objects of class 1, the largest of 48 samples, 144 samples in all")
    rows = rows_of(tmp_path / "o.csv")
    assert [row["example_min"] for row in rows] == ["5", "6", "7"]
    assert {row["size_trace_ms"] for row in rows} == {"96"}
    assert {(row["time_ms"], row["confidence"]) for row in rows_of(tmp_path / "h.csv")} == {("19", "1")}
    assert "receiver_x" in open_volume(tmp_path / "o.zarr").arrays


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to extract: give --objects"),
        ({"objects": "o.zarr"}, "give --class"),
        ({"objects": "o.zarr", "class_name": "salty"}, r"--class=salty: there is no such class \(did you mean 'salt'"),
        ({"objects": "o.zarr", "class_name": "3"}, "--class=3: there is no such class"),
        ({"objects": "o.zarr", "class_name": "salt", "threshold": 1.5}, "--threshold=1.5: is a probability"),
        ({"objects": "p.zarr", "class_name": "salt", "overwrite": True}, "is what is read"),
        ({"objects": "there.zarr", "class_name": "salt", "overwrite": True}, r"is another kind of volume \(survey\)"),
        ({"table": "there.csv", "class_name": "salt"}, "there.csv: exists; give --overwrite"),
        ({"table": "t.csv", "class_name": "salt", "horizons": "t.csv", "below": "salt"}, "is the path of --table"),
        ({"horizons": "h.csv"}, "give one of --between"),
        ({"horizons": "h.csv", "below": "salt", "above": "sand"}, "give one of --between"),
        ({"horizons": "h.csv", "between": ("sand",)}, "give two classes"),
        ({"horizons": "h.csv", "between": ("sand", "0")}, "is one class; give two"),
        ({"horizons": "h.csv", "between": ("sand", "chalk")}, "--between=chalk: there is no such class"),
        ({"predictions": "survey", "horizons": "h.csv", "below": "a"}, "holds no predicted classes"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(predicted, layers, tmp_path, options, message):
    (tmp_path / "p.zarr").symlink_to(predicted)
    (tmp_path / "there.zarr").symlink_to(layers)
    (tmp_path / "there.csv").touch()
    before = sorted(tmp_path.iterdir())
    options = {"predictions": str(tmp_path / "p.zarr")} | options
    options |= {"predictions": str(layers)} if options["predictions"] == "survey" else {}
    for name in ("objects", "table", "horizons"):
        if name in options:
            options[name] = tmp_path / options[name] if name != "objects" else str(tmp_path / options[name])
    with pytest.raises(UserError, match=message) as error:
        extract(Extraction(**options))
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_recording_has_no_horizons(tmp_path):
    axes = [Axis("receiver", np.arange(4)), Axis("time", np.arange(50) * 4.0, "ms")]
    with create_volume(tmp_path / "p.zarr", axes, dtype=None, kind="recording") as volume:
        volume.add_array("pred_class", values=(np.indices((4, 50))[1] > 20).astype(np.uint8))
    with pytest.raises(UserError, match="is a recording; launch/detect.py finds"):
        extract(Extraction(str(tmp_path / "p.zarr"), horizons=tmp_path / "h.csv", below="1"))
    extract(Extraction(str(tmp_path / "p.zarr"), table=tmp_path / "o.csv", class_name="1"))
    assert [row["size_trace_ms"] for row in rows_of(tmp_path / "o.csv")] == [str(4 * 29 * 4)]


def test_a_table_that_cannot_be_written_leaves_no_volume(predicted, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        extract(Extraction(str(predicted), str(tmp_path / "o.zarr"), tmp_path / "file" / "o.csv", "salt"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ({"between": ("shale, dark", "sand")}, "--between=shale, dark,sand: no trace picked: the two never touch"),
        ({"along": "sand"}, "--along=sand: no trace picked: the class has no such boundary"),
    ],
)
def test_a_horizon_that_is_nowhere_is_told(predicted, tmp_path, caplog, way, message):
    assert extract(Extraction(str(predicted), horizons=tmp_path / "h.csv", **way)).startswith("0 of 216 traces")
    assert message in caplog.text
