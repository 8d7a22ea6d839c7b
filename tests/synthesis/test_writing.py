"""A volume of panels: what it holds, and that it is the generator's."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.synthesis import panel_events, write_microseismic, write_part
from seisjax.synthetic.arrays import receivers
from seisjax.synthetic.parameters import QUICKSTART, Noise, ReceiverArray, Traces
from seisjax.volumes import open_volume

pytestmark = pytest.mark.quick_compiler

TINY = replace(
    QUICKSTART,
    num_samples=256,
    noise_only=0.3,
    noise=Noise(swell_level=(0.0, 0.0)),
    traces=Traces(dead=0.2),
)
NUM = 8
SMALL = replace(TINY, array=ReceiverArray(lines=2, stations=4, station_spacing=150.0), num_samples=128)
NUM_SMALL = 65  # in pairs: more than 64 units would be made of single panels
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


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "small.zarr"
    write_microseismic(path, SMALL, NUM_SMALL, seed=5)
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
    assert volume.arrays["receiver_component"].attributes["component_names"] == ["z"]
    np.testing.assert_array_equal(volume.read("receiver_component", Box.whole((18,))), 0)


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
        # Labels begin at the first sample after the onset, on receivers where it can be seen.
        assert (group["event_first_arrival"].values <= np.array(first)).all()
        assert np.isfinite(group["event_size"]).all()


def test_events_are_found_by_panel(path):
    volume = open_volume(path)
    everything = panel_events(volume, range(NUM))
    assert {"panel", "origin_time", "x", "y", "z", "snr", "first_arrival", "size"} == set(everything)
    chosen = everything["panel"][1:3]
    some = panel_events(volume, chosen[::-1])
    for name, values in everything.items():
        np.testing.assert_array_equal(some[name], values[1:3])


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


def test_receivers_that_cannot_be_read_leave_nothing(tmp_path):
    (tmp_path / "array.csv").write_text("x,y\n1,2\n")
    parameters = replace(TINY, array=ReceiverArray(file=str(tmp_path / "array.csv")))
    with pytest.raises(UserError, match=r"array\.csv.*x,y,z"):
        write_microseismic(tmp_path / "panels.zarr", parameters, 2, 0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["array.csv"]


def test_onset_labels_may_take_all_values_of_their_scale(tmp_path):
    volume = write_microseismic(tmp_path / "panels.zarr", replace(SMALL, classes="onset", noise_only=0.0), 3, seed=1)
    labels = volume.read_labels("onset", Box.whole(volume.shape))
    assert volume.arrays["labels_onset"].attributes["label_scale"] == 100
    assert set(np.unique(labels)) > {0, 50, 90}
    histogram = volume.label_index("onset").histogram
    np.testing.assert_array_equal(histogram, np.bincount(labels[labels != 255], minlength=101))
    assert "onset: 0 to 100" in volume.describe()


def files_of(store: Path) -> dict[str, bytes]:
    """All files of a store but the group's document, which holds the hour."""
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file() and p.parent != store}


def test_the_store_is_the_same_for_any_number_of_processes(small, tmp_path):
    said: list[str] = []
    team = {"num_processes": 3, "say": said.append}
    for process in (2, 0):
        assert write_part(tmp_path / "team.zarr", SMALL, NUM_SMALL, 5, process_id=process, **team) is None
    volume = write_part(tmp_path / "team.zarr", SMALL, NUM_SMALL, 5, process_id=1, **team)
    assert volume is not None
    assert volume.statistics == open_volume(small).statistics
    assert files_of(tmp_path / "team.zarr") == files_of(small)
    assert ["left to other processes" in line for line in said] == [True, True]
    assert [entry.name for entry in tmp_path.iterdir()] == ["team.zarr"]


def test_what_was_stopped_goes_on_where_it_ended(small, tmp_path):
    def stop(done: int, total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_microseismic(tmp_path / "a.zarr", SMALL, NUM_SMALL, 5, progress=stop)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zarr.partial"]
    with pytest.raises(UserError, match="begun with --seed=5, now it is 6"):
        write_microseismic(tmp_path / "a.zarr", SMALL, NUM_SMALL, 6)
    with pytest.raises(UserError, match="begun with --config=microseismic"):
        write_microseismic(tmp_path / "a.zarr", replace(SMALL, clip=9.0), NUM_SMALL, 5)
    calls: list[tuple[int, int]] = []
    write_microseismic(tmp_path / "a.zarr", SMALL, NUM_SMALL, 5, progress=lambda *call: calls.append(call))
    # Panels are written down in pairs here: what the stop cut off is made again, the rest is not.
    assert calls == [(done, NUM_SMALL) for done in range(5, NUM_SMALL + 1)]
    assert files_of(tmp_path / "a.zarr") == files_of(small)


def test_a_process_number_must_be_one_of_them(tmp_path):
    with pytest.raises(UserError, match="--process_id=2"):
        write_part(tmp_path / "a.zarr", SMALL, 2, 0, num_processes=2, process_id=2)
    assert not list(tmp_path.iterdir())
