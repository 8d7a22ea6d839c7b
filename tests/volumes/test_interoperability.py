"""Our stores in other people's tools, without a warning (warnings are errors in every test)."""

from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr

from seisjax.conventions import AMPLITUDE
from seisjax.geometry import Axis, Box
from seisjax.volumes import StreamingStatistics, create_volume

SHAPE = (5, 6, 40)
VALUES = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
LABELS = np.random.default_rng(0).choice(np.array([0, 1, 255], np.uint8), SHAPE)
CDP_X = np.random.default_rng(0).normal(5e5, 1e3, size=SHAPE[:2])


@pytest.fixture(scope="module", params=["time", "depth"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "survey.zarr"
    vertical = Axis(request.param, np.arange(40) * 2.5, "ms" if request.param == "time" else "m")
    axes = (Axis("inline", np.arange(100, 105)), Axis("crossline", np.arange(10, 22, 2)), vertical)
    statistics = StreamingStatistics()
    statistics.update(VALUES)
    with create_volume(path, axes, chunk=(2, 2, 16), shard=(4, 4, 32)) as volume:
        volume.add_array("cdp_x", dimension_names=("inline", "crossline"), values=CDP_X)
        volume.add_array("ffid", np.int32, dimension_names=("inline", "crossline"))
        volume.write(AMPLITUDE, Box.whole(SHAPE), VALUES)
        volume.set_statistics(statistics.result())
        volume.add_array("labels_facies", np.uint8, values=LABELS)
    classes = ("class", "inline", "crossline", vertical.name)
    with volume:
        volume.add_array("pred_class", np.uint8, fill=255, values=LABELS)
        volume.add_array("pred_probability", dimension_names=classes, values=np.stack([VALUES, VALUES]))
    return path


def check_dataset(dataset: xarray.Dataset, vertical: str) -> None:
    np.testing.assert_array_equal(dataset[AMPLITUDE].values, VALUES)
    for name in ("labels_facies", "pred_class"):
        assert dataset[name].dtype == np.uint8
        np.testing.assert_array_equal(dataset[name].values, LABELS)
    assert dataset["inline"].dtype == dataset["ffid"].dtype == np.int32
    assert dataset["trace_mask"].dtype == bool
    np.testing.assert_array_equal(dataset.coords["cdp_x"].values, CDP_X)
    assert dataset[AMPLITUDE].dims == ("inline", "crossline", vertical)
    assert dataset["pred_probability"].sizes["class"] == 2
    assert dataset.sel(inline=102, crossline=14)[AMPLITUDE].shape == (40,)
    assert dataset[vertical].attrs["unitsV1"] in ({"time": "ms"}, {"length": "m"})
    assert dataset[AMPLITUDE].attrs["statsV1"]["count"] == VALUES.size
    assert dataset.attrs["apiVersion"].startswith("1.")


def vertical_of(store: Path) -> str:
    return "time" if (store / "time").exists() else "depth"


def test_xarray_opens_it(store: Path) -> None:
    check_dataset(xarray.open_zarr(store), vertical_of(store))


def test_mdio_opens_it(store: Path) -> None:
    mdio = pytest.importorskip("mdio", reason="multidimio is not installed")
    check_dataset(mdio.open_mdio(store), vertical_of(store))


def test_mdio_accepts_the_metadata(store: Path) -> None:
    stats = pytest.importorskip("mdio.builder.schemas.v1.stats", reason="multidimio is not installed")
    group = zarr.open_group(store, mode="r")
    found = stats.SummaryStatistics.model_validate(dict(group[AMPLITUDE].attrs)["statsV1"])
    assert found.std == pytest.approx(VALUES.astype(np.float64).std(), rel=1e-6)


def test_zarr_python_opens_it(store: Path) -> None:
    group = zarr.open_group(store, mode="r")
    assert group.metadata.consolidated_metadata is not None
    array = group[AMPLITUDE]
    assert isinstance(array, zarr.Array)
    np.testing.assert_array_equal(np.asarray(array[:]), VALUES)
    assert (array.chunks, array.shards) == ((2, 2, 16), (4, 4, 32))


def test_whole_numbers_with_a_scale_become_floats_in_xarray(tmp_path: Path) -> None:
    axes = [Axis(name, np.arange(n)) for name, n in zip(("inline", "crossline", "time"), SHAPE, strict=True)]
    with create_volume(tmp_path / "a", axes, dtype="int16") as volume:
        volume.write(AMPLITUDE, Box.whole(SHAPE), np.full(SHAPE, 3))
        volume.set_attributes(AMPLITUDE, {"scale_factor": 0.5})
    assert (xarray.open_zarr(tmp_path / "a")[AMPLITUDE].values == 1.5).all()
