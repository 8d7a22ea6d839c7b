"""A volume of panels: what it holds, and that it is the generator's."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import xarray as xr

from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.synthesis import write_microseismic
from seisjax.synthetic.arrays import receivers
from seisjax.synthetic.parameters import QUICKSTART, Noise, ReceiverArray, Traces
from seisjax.volumes import open_volume

TINY = replace(
    QUICKSTART,
    num_samples=256,
    noise_only=0.3,
    noise=Noise(swell_level=(0.0, 0.0)),
    traces=Traces(dead=0.2),
)
NUM = 8
# Map coordinates, of which float32 holds half metres only.
PLACES = receivers(ReceiverArray(lines=3, stations=6, station_spacing=150.0)).places + [4.5e5, 6.7e6, 0.0]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("panels")
    np.savetxt(folder / "array.csv", PLACES, delimiter=",", header="x,y,z", comments="", fmt="%.17g")
    parameters, calls = replace(TINY, array=ReceiverArray(file=str(folder / "array.csv"))), []
    path = folder / "panels.zarr"
    write_microseismic(path, parameters, NUM, seed=4, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i + 1, NUM) for i in range(NUM)]
    return path


def test_the_volume_holds_panels_labels_receivers_and_parameters(path):
    volume = open_volume(path)
    assert volume.kind == "panels"
    assert [axis.name for axis in volume.axes] == ["example", "receiver", "time"]
    assert volume.shape == (NUM, 18, 256)
    np.testing.assert_allclose(volume.axes[2].labels, np.arange(256) * 4.0)
    assert volume.axes[2].unit == "ms"
    assert volume.class_names("event") == ["noise", "event"]
    assert volume.attributes["seed"] == 4
    assert volume.attributes["parameters"]["snr"] == list(TINY.snr)
    assert volume.attributes["parameters"].keys() == asdict(TINY).keys()
    places = np.stack([volume.read(f"receiver_{name}", Box.whole((18,))) for name in "xyz"], axis=-1)
    np.testing.assert_array_equal(places, PLACES)


def test_statistics_and_label_index_count_the_live_samples(path):
    volume = open_volume(path)
    whole = Box.whole(volume.shape)
    amplitude, labels = volume.read_amplitude(whole), volume.read_labels("event", whole)
    live = np.isfinite(amplitude)
    assert 0 < (~live).sum() < live.sum()
    np.testing.assert_array_equal(labels == 255, ~live)
    statistics = volume.statistics
    assert statistics is not None
    assert statistics.count == live.sum()
    assert statistics.std == pytest.approx(amplitude[live].std(), rel=1e-4)
    np.testing.assert_array_equal(volume.label_index("event").histogram, [(labels == 0).sum(), (labels == 1).sum()])


def test_the_event_table_names_the_panels_with_events(path):
    with xr.open_zarr(path) as group:
        labels = group["labels_event"].values
        panels = group["event_panel"].values
        np.testing.assert_array_equal(panels, np.flatnonzero((labels == 1).any(axis=(1, 2))))
        assert 0 < len(panels) < NUM
        assert group["event_snr"].dims == ("event",)
        assert ((group["event_snr"] >= 0.999) & (group["event_snr"] <= 3.001)).all()
        for name, low, high in zip("xy", PLACES.min(axis=0), PLACES.max(axis=0), strict=False):
            assert ((group[f"event_{name}"] >= low - 0.01) & (group[f"event_{name}"] <= high + 0.01)).all()
        assert ((group["event_z"] >= 1500) & (group["event_z"] <= 1900)).all()
        first = [np.flatnonzero((labels[i] == 1).any(axis=0))[0] * 0.004 for i in panels]
        assert (group["event_origin_time"].values < first).all()


def test_an_existing_output_stays_unless_it_may_be_overwritten(path):
    before = open_volume(path).fingerprint
    with pytest.raises(UserError, match="--overwrite"):
        write_microseismic(path, TINY, 1, seed=0)
    assert open_volume(path).fingerprint == before


@pytest.mark.parametrize(("num", "seed"), [(0, 0), (1, -1), (1, 2**32)])
def test_bad_numbers_are_refused_and_nothing_is_left(tmp_path, num, seed):
    with pytest.raises(UserError, match="must"):
        write_microseismic(tmp_path / "panels.zarr", TINY, num, seed)
    assert not list(tmp_path.iterdir())
