"""Fibre-optic recordings: what dascore reads, as channels by time."""

import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.volumes.das import DasReader
from seisjax.volumes.ingest import ingest
from seisjax.volumes.sources import detect_format, open_reader

pytestmark = pytest.mark.filterwarnings("ignore")  # of dascore's own dependencies
dascore: Any = pytest.importorskip("dascore")
START = np.datetime64("2022-03-04T05:06:07.5", "ns")


def save(path: Path, values: np.ndarray, *, seconds: float = 0.0, first: float = 100.0, dims: Any = None) -> Path:
    """Write values (time, distance), every 2 ms and 10 m, as DASDAE."""
    times = START + np.timedelta64(round(seconds * 1e9), "ns") + np.arange(len(values)) * np.timedelta64(2, "ms")
    coords = {"time": times, "distance": first + 10.0 * np.arange(values.shape[1])}
    patch = dascore.Patch(values, coords=coords, dims=("time", "distance"), attrs={"data_type": "strain_rate"})
    patch.transpose(*(dims or patch.dims)).io.write(str(path), "dasdae")
    return path


@pytest.mark.parametrize("dims", [("time", "distance"), ("distance", "time")])
def test_channels_are_receivers_whatever_the_stored_order(tmp_path: Path, dims: tuple[str, str]):
    values = np.random.default_rng(0).normal(size=(60, 7)).astype(np.float32)
    path = save(tmp_path / "a.h5", values, dims=dims)
    assert detect_format(str(path)) == "das"
    volume = ingest(path, tmp_path / "v.zarr", chunk=(2, 60), shard=(2, 60))
    assert [axis.name for axis in volume.axes] == ["receiver", "time"]
    np.testing.assert_array_equal(volume.read_amplitude(Box.whole((7, 60))), values.T)
    np.testing.assert_array_equal(volume.read("distance", Box.whole((7,))), 100 + 10 * np.arange(7))
    np.testing.assert_allclose(volume.axes[1].labels, 2 * np.arange(60))
    assert volume.attributes["start_time"] == "2022-03-04T05:06:07.500000Z"
    assert volume.attributes["sampling_interval"] == 2.0
    assert volume.attributes["data_type"] == "strain_rate"


def test_distances_in_feet_become_metres(tmp_path: Path):
    values = np.random.default_rng(0).normal(size=(60, 7)).astype(np.float32)
    (patch,) = dascore.read(save(tmp_path / "m.h5", values))
    patch.set_units(distance="ft").io.write(str(tmp_path / "ft.h5"), "dasdae")
    volume = ingest(tmp_path / "ft.h5", tmp_path / "v.zarr", chunk=(2, 60), shard=(2, 60))
    np.testing.assert_allclose(volume.read("distance", Box.whole((7,))), 0.3048 * (100 + 10 * np.arange(7)))
    np.testing.assert_array_equal(volume.read_amplitude(Box.whole((7, 60))), values.T)


def test_files_follow_one_another_with_gaps(tmp_path: Path):
    values = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    save(tmp_path / "b.h5", values[70:], seconds=0.14)
    save(tmp_path / "a.h5", values[:40])
    volume = ingest([tmp_path / "b.h5", tmp_path / "a.h5"], tmp_path / "v.zarr")
    found = volume.read_amplitude(Box.whole((3, 100)))
    np.testing.assert_array_equal(found[:, :40], values[:40].T)
    np.testing.assert_array_equal(found[:, 70:], values[70:].T)
    assert np.isnan(found[:, 40:70]).all()
    resampled = ingest(tmp_path / "a.h5", tmp_path / "slow.zarr", resample=250.0)
    assert resampled.shape == (3, 20)


def test_places_come_from_a_table_by_channel(tmp_path: Path):
    path, table = save(tmp_path / "a.h5", np.ones((9, 3), np.float32)), tmp_path / "channels.csv"
    table.write_text("name,x,y,z\n2,20,0,5\n1,10,0,5\n0,0,0,5\n")
    with DasReader([str(path)], stations=str(table)) as reader:
        assert reader.attributes["receiver_names"] == ["2", "1", "0"]
        headers = reader.column(Box((0,), (3,))).headers
    np.testing.assert_array_equal(headers["receiver_x"], [20, 10, 0])
    np.testing.assert_array_equal(headers["distance"], [120, 110, 100])


def test_arrays_that_are_no_fibre_stay_arrays(tmp_path: Path):
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["amplitude"] = np.zeros((4, 5), np.float32)
    assert detect_format(str(tmp_path / "plain.h5")) == "hdf5"
    path = save(tmp_path / "a.h5", np.ones((9, 3), np.float32))
    assert detect_format(f"{path}:/waveforms/data") == "hdf5"


def test_bad_files_are_one_line(tmp_path: Path):
    good = save(tmp_path / "good.h5", np.ones((9, 3), np.float32))
    (tmp_path / "bad.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"x" * 600)
    with pytest.raises(UserError, match=r"bad\.h5: holds no recording that dascore can read"):
        open_reader([str(tmp_path / "bad.h5")], format="das")
    moved = save(tmp_path / "moved.h5", np.ones((9, 3), np.float32), seconds=1, first=105.0)
    with pytest.raises(UserError, match=r"moved\.h5: its channels lie elsewhere than those of .*good\.h5"):
        ingest([good, moved], tmp_path / "v.zarr")


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["deformation_rate_event_1", "terra15_v5_test_file"])
def test_real_recordings(real_data: Path, tmp_path: Path, name: str):
    path = real_data / "das" / f"{name}.hdf5"
    volume = ingest(path, tmp_path / "v.zarr")
    patch = dascore.read(str(path))[0].transpose("distance", "time")
    np.testing.assert_array_equal(volume.read_amplitude(Box.whole(volume.shape)), patch.data)
    np.testing.assert_allclose(volume.read("distance", Box.whole(volume.shape[:1])), patch.get_array("distance"))
    times = patch.get_array("time")
    expected = (times - times[0]) / np.timedelta64(1, "ms")
    np.testing.assert_allclose(volume.axes[1].labels, expected, atol=1e-5)
    assert volume.attributes["start_time"].startswith(str(times[0])[:26])


def test_without_dascore_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = save(tmp_path / "a.h5", np.ones((9, 3), np.float32))
    monkeypatch.setitem(sys.modules, "dascore", None)
    with pytest.raises(UserError, match=r"pip install 'seisjax\[das\]'"):
        open_reader([str(path)], format="das")
    assert detect_format(str(path)) == "hdf5"
