"""A volume that nobody stored reads as the stored one does."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from seisjax.data import GridWindows, WindowSource, check_labelled
from seisjax.errors import UserError
from seisjax.geometry import Box, parse_region
from seisjax.synthesis import Panels, SyntheticVolume, has_events, open_data, panel_events, write_microseismic
from seisjax.synthetic.parameters import QUICKSTART, Noise, ReceiverArray, Traces
from seisjax.volumes import open_volume

TINY = replace(
    QUICKSTART,
    array=ReceiverArray(lines=2, stations=7, station_spacing=150.0),
    num_samples=96,
    noise_only=0.3,
    noise=Noise(swell_level=(0.0, 0.0)),
    traces=Traces(dead=0.2),
)
NUM = 6


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("panels") / "panels.zarr"
    write_microseismic(path, TINY, NUM, seed=4)
    return open_volume(path)


@pytest.fixture(scope="module")
def panels():
    return Panels(TINY, 4)


@pytest.fixture
def virtual(panels):
    return SyntheticVolume("synthetic:tiny.py?seed=4&examples=6", panels, NUM)


BOXES = [Box((0, 0, 0), (NUM, 14, 96)), Box((2, 3, 10), (1, 5, 50)), Box((-1, -2, 90), (3, 20, 10))]


@pytest.mark.parametrize("box", BOXES)
def test_it_reads_as_the_stored_volume(stored, virtual, box):
    amplitude = virtual.read_amplitude(box)
    np.testing.assert_array_equal(amplitude, stored.read_amplitude(box))
    np.testing.assert_array_equal(virtual.read_labels("event", box), stored.read_labels("event", box))
    amplitude[:] = 0  # what was handed out is the caller's own
    np.testing.assert_array_equal(virtual.read_amplitude(box), stored.read_amplitude(box))


def test_it_is_described_as_the_stored_volume(stored, virtual):
    assert virtual.kind == stored.kind == "panels"
    assert virtual.shape == stored.shape
    assert [str(axis) for axis in virtual.axes] == [str(axis) for axis in stored.axes]
    assert virtual.label_names() == stored.label_names() == ["event"]
    assert virtual.class_names("event") == stored.class_names("event")
    for name in stored.arrays:
        if name.startswith(("receiver", "time", "example", "trace_mask")):
            whole = Box.whole(stored.arrays[name].shape)
            np.testing.assert_array_equal(virtual.read(name, whole), stored.read(name, whole))
            assert virtual.read(name, whole).dtype == stored.read(name, whole).dtype
    for name in ("parameters", "seed", "sampling_interval", "generator"):
        assert name in stored.attributes
    assert virtual.statistics is None
    assert "seed 4" in virtual.describe()
    with pytest.raises(UserError, match="no array"):
        virtual.read("cdp_x", Box((0,), (1,)))


def test_its_events_are_those_of_the_stored_volume(stored, virtual, panels, monkeypatch):
    assert has_events(stored)
    assert has_events(virtual)
    virtual.read_amplitude(Box.whole(virtual.shape))
    monkeypatch.setattr(panels, "panel", None)  # what was read is not made again for its events
    expected, found = panel_events(stored, range(NUM)), panel_events(virtual, range(NUM))
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        assert len(values) > 0
        np.testing.assert_array_equal(found[name], values)


def test_the_windows_of_a_panel_cost_one_panel(virtual, panels, monkeypatch):
    made = []
    monkeypatch.setattr(panels, "panel", lambda number: made.append(number) or Panels.panel(panels, number))
    region = parse_region("example:1-2", virtual.axes)
    source = WindowSource(virtual, "event", GridWindows([region], (1, 7, 48)), (1, 8, 48), labelled_only=False)
    assert len(source) == 8
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(source.__getitem__, range(8)))
    assert sorted(made) == [1, 2]


def test_the_mask_alone_makes_no_panel(virtual, panels, stored, monkeypatch):
    monkeypatch.setattr(panels, "panel", None)
    box = Box((1, 2), (4, 9))
    np.testing.assert_array_equal(virtual.read("trace_mask", box), stored.read("trace_mask", box))


def test_a_pickled_volume_reads_the_same(virtual):
    virtual.read_amplitude(BOXES[1])
    copy = pickle.loads(pickle.dumps(virtual))
    assert copy.fingerprint == virtual.fingerprint
    np.testing.assert_array_equal(copy.read_amplitude(BOXES[1]), virtual.read_amplitude(BOXES[1]))


def test_labels_of_another_volume_take_the_place_of_its_own(virtual, tmp_path):
    other = write_microseismic(tmp_path / "phases.zarr", replace(TINY, classes="phase"), NUM, seed=4)
    relabelled = virtual.with_labels(other)
    assert relabelled.label_names() == ["phase"]
    np.testing.assert_array_equal(relabelled.read_labels("phase", BOXES[0]), other.read_labels("phase", BOXES[0]))
    np.testing.assert_array_equal(relabelled.read_amplitude(BOXES[0]), virtual.read_amplitude(BOXES[0]))
    np.testing.assert_array_equal(relabelled.label_index("phase").histogram, other.label_index("phase").histogram)


def test_fingerprints_tell_seeds_parameters_and_receivers_apart(panels):
    others = [Panels(TINY, 5), Panels(replace(TINY, clip=9.0), 4)]
    assert len({panels.fingerprint, *(other.fingerprint for other in others)}) == 3
    assert Panels(TINY, 4).fingerprint == panels.fingerprint


def test_millions_of_panels_need_no_memory():
    volume = open_data("synthetic:quickstart?seed=3&examples=10000000")
    assert volume.shape == (10_000_000, 128, 512)
    assert volume.fingerprint == open_data("synthetic:quickstart?seed=3").fingerprint
    index = volume.label_index("event")
    assert index.counts.strides == (0, 0, 0, 0)
    check_labelled(volume, "event", {"train": (parse_region("example:5-9000000", volume.axes),)})


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("synthetic:quickstrat", "synthetic=quickstrat: .*did you mean 'quickstart'"),
        ("synthetic:missing.py?seed=1", "no such file"),
        ("synthetic:quickstart?sede=1", "'sede' is unknown .*'seed'"),
        ("synthetic:quickstart?seed=-1", "no whole number"),
        ("synthetic:quickstart?seed=4294967296", "between 0 and"),
        ("synthetic:quickstart?examples=0", "between 1 and 10000000"),
        ("synthetic:quickstart?examples=10000001", "between 1 and 10000000"),
    ],
)
def test_bad_urls_are_one_line(url, message):
    with pytest.raises(UserError, match=message):
        open_data(url)


def test_stored_volumes_without_events_say_so(tmp_path, stored):
    bare = write_microseismic(tmp_path / "panels.zarr", TINY, 1, seed=0)
    bare.arrays = {name: info for name, info in bare.arrays.items() if not name.startswith("event_")}
    assert not has_events(bare)
    with pytest.raises(UserError, match="no table of events"):
        panel_events(bare, range(1))
