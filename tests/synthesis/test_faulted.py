"""Faulted volumes: stored, made as they are read, and made on devices, they are the same."""

import pickle
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from seisjax.conventions import IGNORE
from seisjax.data import GeneratedBatches, WindowSource, make_sampler, training_batches
from seisjax.errors import UserError
from seisjax.geometry import Box, parse_region
from seisjax.sharding import make_mesh
from seisjax.synthesis import FaultedVolumes, SyntheticVolume, faulted, has_events, open_data, write_part
from seisjax.synthetic.fault_parameters import FAULTS_64, FaultedVolume, Faults, Layers
from seisjax.volumes import open_volume

pytestmark = pytest.mark.quick_compiler

TINY = replace(FAULTS_64, shape=(20, 24, 40), faults=Faults(count=(2, 3), slip=(3.0, 8.0)), layers=Layers(horizons=2))
NUM = 5
LABELS = ("fault", "facies", "horizon")


@pytest.fixture(scope="module")
def blocks():
    """Blocks of 16 traces a side, so that a volume has four of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faulted, "_CHUNK", 16)
        patch.setattr(faulted, "_BLOCK", 16 * 16 * 40)
        yield


@pytest.fixture(scope="module")
def stored(blocks, tmp_path_factory):
    path = tmp_path_factory.mktemp("faults") / "faults.zarr"
    write_part(path, TINY, NUM, seed=4)
    return open_volume(path)


@pytest.fixture(scope="module")
def survey(blocks, tmp_path_factory):
    path = tmp_path_factory.mktemp("survey") / "survey.zarr"
    calls = []
    write_part(path, TINY, 1, seed=4, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i + 1, 4) for i in range(4)]
    return open_volume(path)


@pytest.fixture(scope="module")
def examples(blocks):
    return FaultedVolumes(TINY, 4)


def test_the_volume_says_what_it_holds(stored):
    assert stored.kind == "panels"
    assert [axis.name for axis in stored.axes] == ["example", "inline", "crossline", "time"]
    assert stored.shape == (NUM, 20, 24, 40)
    assert stored.axes[3].unit == "ms"
    assert stored.label_names() == ["facies", "fault", "horizon"]
    assert stored.class_names("fault") == ["none", "fault"]
    assert stored.class_names("facies") == ["facies 1", "facies 2", "facies 3"]
    assert stored.class_names("horizon") == ["none", "horizon 1", "horizon 2"]
    assert stored.attributes["generator"] == "faults"
    assert stored.attributes["parameters"]["shape"] == [20, 24, 40]
    assert not has_events(stored)
    for label in LABELS:
        values = stored.read_labels(label, Box.whole(stored.shape))
        np.testing.assert_array_equal(
            stored.label_index(label).histogram, np.bincount(values.ravel(), minlength=len(stored.class_names(label)))
        )
    amplitude = stored.read_amplitude(Box.whole(stored.shape))
    assert stored.statistics.std == pytest.approx(amplitude.std(), rel=1e-4)
    assert stored.statistics.std == pytest.approx(1, rel=0.1)


def test_others_read_it_too(stored, survey):
    with xr.open_zarr(stored.url) as group:
        assert group["horizon_1"].dims == ("example", "inline", "crossline")
        assert group["horizon_1"].attrs["unitsV1"] == {"time": "ms"}
        assert group["fault_slip"].attrs["units"] == "samples"
        assert group["example_snr"].dims == ("example",)
        assert ((group["example_snr"] >= 2) & (group["example_snr"] <= 6)).all()
        numbers = group["faults_example"].values
        np.testing.assert_array_equal(np.bincount(numbers), group["example_faults"].values)
        for example, number, slip in zip(
            numbers, group["faults_number"].values, group["faults_slip"].values, strict=True
        ):
            of_fault = group["fault_slip"].values[example][group["fault_id"].values[example] == number]
            assert (np.sign(of_fault) == np.sign(slip)).all()
            assert (np.abs(of_fault) <= np.abs(slip) * 1.0001).all()
        assert ((group["faults_dip"] >= 55) & (group["faults_dip"] <= 85)).all()
        # A horizon's depth is where geological time is the same everywhere.
        depth, time = group["horizon_2"].values / 4.0, group["geological_time"].values
        found = [np.interp(depth[0, x, y], np.arange(40), time[0, x, y]) for x, y in np.argwhere(np.isfinite(depth[0]))]
        assert len(found) > 50
        assert np.ptp(found) < 2e-3
    with xr.open_zarr(survey.url) as group:
        assert group["amplitude"].dims == ("inline", "crossline", "time")


def test_one_example_is_a_survey_and_the_first_of_many(stored, survey):
    assert survey.kind == "survey"
    assert survey.shape == (20, 24, 40)
    whole = Box.whole(survey.shape)
    first = Box((0, 0, 0, 0), (1, 20, 24, 40))
    np.testing.assert_array_equal(survey.read_amplitude(whole), stored.read_amplitude(first)[0])
    np.testing.assert_array_equal(survey.read("fault_id", whole), stored.read("fault_id", first)[0])


@pytest.mark.parametrize(
    "box",
    [Box((0, 0, 0, 0), (NUM, 20, 24, 40)), Box((2, 3, 10, 5), (1, 15, 12, 20)), Box((-1, -2, 20, 30), (3, 9, 10, 20))],
)
def test_made_as_it_is_read_it_is_the_stored_one(stored, examples, box):
    virtual = SyntheticVolume("synthetic:tiny.py", examples, NUM)
    np.testing.assert_array_equal(virtual.read_amplitude(box), stored.read_amplitude(box))
    for label in LABELS:
        np.testing.assert_array_equal(virtual.read_labels(label, box), stored.read_labels(label, box))
    inner = box.intersect(Box.whole(stored.shape))
    for name in ("fault_id", "fault_slip", "geological_time"):
        np.testing.assert_array_equal(virtual.read(name, inner), stored.read(name, inner))
    traces = Box(inner.start[:3], inner.shape[:3])
    for name in ("horizon_1", "horizon_2", "trace_mask"):
        np.testing.assert_array_equal(virtual.read(name, traces), stored.read(name, traces))


def test_it_is_described_as_the_stored_volume(stored, survey, examples):
    for kept, number in ((stored, NUM), (survey, 1)):
        virtual = SyntheticVolume("synthetic:tiny.py", examples, number)
        assert (virtual.kind, virtual.shape, virtual.label_names()) == (kept.kind, kept.shape, kept.label_names())
        assert [str(axis) for axis in virtual.axes] == [str(axis) for axis in kept.axes]
        assert all(virtual.class_names(label) == kept.class_names(label) for label in LABELS)
        for name, info in virtual.arrays.items():
            assert (info.dtype, info.shape) == (kept.arrays[name].dtype, kept.arrays[name].shape)
            assert info.dimension_names == kept.arrays[name].dimension_names
        assert not has_events(virtual)


def test_a_pickled_volume_reads_the_same(examples):
    virtual = SyntheticVolume("synthetic:tiny.py", examples, NUM)
    copy, box = pickle.loads(pickle.dumps(virtual)), Box((1, 2, 3, 4), (1, 3, 3, 3))
    assert copy.fingerprint == virtual.fingerprint
    np.testing.assert_array_equal(copy.read_amplitude(box), virtual.read_amplitude(box))


def source_of(volume, label, window, padded, region):
    regions = [parse_region(region, volume.axes)]
    options = {"regions": regions, "window": window, "seed": 5, "overhang": 0.25}
    sampler = make_sampler("uniform", volume=volume, labels=label, **options)
    return WindowSource(volume, label, sampler, padded, labelled_only=True)


@pytest.mark.parametrize(
    ("label", "count", "mesh", "space_dim", "window", "padded", "region"),
    [
        ("fault", 2000, (4, 2), 2, (1, 12, 10, 16), (1, 16, 12, 16), "example:10-1900"),
        ("facies", 2000, (2, 2), 4, (1, 20, 1, 40), (1, 20, 1, 48), "example:3-4,time:0-100"),
        ("horizon", 1, (2, 2), 1, (8, 9, 16), (8, 12, 16), "inline:2-17"),
    ],
)
def test_device_and_host_make_the_same_batches(examples, label, count, mesh, space_dim, window, padded, region):
    volume = SyntheticVolume("synthetic:tiny.py", examples, count)
    source, mesh = source_of(volume, label, window, padded, region), make_mesh(*mesh)
    common = {"batch_size": 4, "mesh": mesh, "space_dim": space_dim, "start_step": 1}
    host = training_batches(source, num_threads=2, prefetch=2, **common)
    device = GeneratedBatches(source, volume.examples.window, **common)
    for expected, made in islice(zip(host, device, strict=False), 2):
        for name in ("image", "labels"):
            assert made[name].sharding.is_equivalent_to(expected[name].sharding, made[name].ndim)
        image, labels = (np.asarray(expected[name]) for name in ("image", "labels"))
        np.testing.assert_allclose(made["image"], image, rtol=0, atol=1e-3 * np.sqrt(np.nanmean(image**2)))
        np.testing.assert_array_equal(made["labels"], labels)
        np.testing.assert_array_equal(labels == IGNORE, np.isnan(image[..., 0]))
    host.close()
    device.close()


def test_windows_of_several_examples_are_not_made_on_devices(examples):
    volume = SyntheticVolume("synthetic:tiny.py", examples, NUM)
    source = source_of(volume, "fault", (2, 12, 10, 16), (2, 12, 10, 16), "example:0-4")
    with pytest.raises(UserError, match=r"data\.window=\(2, 12, 10, 16\)"):
        GeneratedBatches(source, examples.window, batch_size=4, mesh=make_mesh(1, 1), space_dim=None, start_step=0)


def test_processes_and_restarts_make_the_volume_of_one(survey, blocks, tmp_path):
    def stop(done, total):
        if done == 1:
            raise KeyboardInterrupt

    options = {"num_processes": 2}
    with pytest.raises(KeyboardInterrupt):
        write_part(tmp_path / "a.zarr", TINY, 1, 4, process_id=1, progress=stop, **options)
    assert write_part(tmp_path / "a.zarr", TINY, 1, 4, process_id=0, **options) is None
    assert write_part(tmp_path / "a.zarr", TINY, 1, 4, process_id=1, **options) is not None
    wanted, found = files(Path(survey.url)), files(tmp_path / "a.zarr")
    assert wanted.keys() == found.keys()
    for name in wanted.keys() - {"zarr.json"}:  # which holds the time of day
        assert found[name] == wanted[name], name


def files(folder):
    """Names and contents of a folder's files."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def real_blocks(monkeypatch):
    """Blocks of the size that users have."""
    monkeypatch.setattr(faulted, "_CHUNK", 64)
    monkeypatch.setattr(faulted, "_BLOCK", 2**21)


def test_presets_open_by_url(real_blocks):
    many = open_data("synthetic:faults_128?seed=3&examples=1000")
    assert many.shape == (1000, 128, 128, 128)
    one = open_data("synthetic:faults_256?seed=3&examples=1")
    assert one.shape == (256, 256, 256)
    assert one.arrays["amplitude"].chunk == (64, 128, 256)
    assert many.fingerprint != one.fingerprint
    with pytest.raises(UserError, match="did you mean 'faults_128'"):
        open_data("synthetic:fault_128")


@pytest.mark.parametrize(
    ("shape", "num_examples", "block"),
    [
        ((128, 128, 128), 2, (1, 128, 128, 128)),
        ((64, 64, 64), 1, (64, 64, 64)),
        ((1000, 700, 500), 1, (64, 64, 500)),
        ((1000, 30, 2000), 1, (64, 30, 2000)),
        ((65, 64, 4096), 3, (1, 64, 64, 4096)),
    ],
)
def test_blocks_are_small_whatever_the_size(real_blocks, shape, num_examples, block):
    parameters = replace(FaultedVolume(), shape=shape)
    assert FaultedVolumes(parameters, 0).layout(num_examples)[1] == block
