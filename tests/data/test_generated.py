"""Batches made on the devices are those of the host: for every mesh, and crops and paddings alike."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from seisjax.conventions import IGNORE
from seisjax.data import GeneratedBatches, WindowSource, make_sampler, training_batches
from seisjax.errors import UserError
from seisjax.geometry import parse_region
from seisjax.sharding import make_mesh
from seisjax.synthesis import Panels, SyntheticVolume, write_microseismic
from seisjax.synthetic.parameters import MICROSEISMIC_1024, QUICKSTART, Noise, ReceiverArray, Traces

pytestmark = pytest.mark.quick_compiler

TINY = replace(
    QUICKSTART,
    array=ReceiverArray(lines=2, stations=7, station_spacing=150.0),
    num_samples=96,
    noise_only=0.3,
    noise=Noise(swell_level=(0.0, 0.0)),
    traces=Traces(dead=0.2),
)


def make_panels():
    return SyntheticVolume("synthetic:tiny.py", Panels(TINY, 2**32 - 1), 5000)


@pytest.fixture(scope="module")
def volume():
    return make_panels()


def make_source(volume, window, padded):
    regions = [parse_region("example:10-4000,time:0-300", volume.axes)]
    sampler = make_sampler(
        "uniform", volume=volume, labels="event", regions=regions, window=window, seed=5, overhang=0.25
    )
    return WindowSource(volume, "event", sampler, padded, labelled_only=True)


def made_by_devices(volume, count):
    """Batches of crops that reach past the region, made by 2 x 4 devices."""
    source = make_source(volume, (1, 6, 40), (1, 8, 48))
    options = {"batch_size": 8, "mesh": make_mesh(2, 4), "space_dim": 3, "start_step": 3}
    return list(islice(GeneratedBatches(source, volume.examples.window, **options), count))


@pytest.mark.parametrize(
    ("mesh", "window", "padded", "space_dim"),
    [
        ((1, 1), (1, 14, 76), (1, 16, 96), None),  # whole panels of the region, padded
        pytest.param((8, 1), (1, 6, 40), (1, 8, 48), None, marks=pytest.mark.slow),  # crops that reach past the region
        pytest.param((4, 2), (1, 6, 40), (1, 8, 48), 2, marks=pytest.mark.slow),
        ((2, 4), (1, 6, 40), (1, 8, 48), 3),
    ],
)
def test_device_and_host_make_the_same_batches(volume, mesh, window, padded, space_dim):
    source, mesh = make_source(volume, window, padded), make_mesh(*mesh)
    common = {"batch_size": 8, "mesh": mesh, "space_dim": space_dim, "start_step": 3}
    host = training_batches(source, num_threads=2, prefetch=2, **common)
    device = GeneratedBatches(source, volume.examples.window, **common)
    seen = set()
    for expected, made in islice(zip(host, device, strict=False), 2):
        for name in ("image", "labels"):
            assert made[name].dtype == expected[name].dtype
            assert made[name].sharding.is_equivalent_to(expected[name].sharding, made[name].ndim)
        image, labels = (np.asarray(expected[name]) for name in ("image", "labels"))
        np.testing.assert_allclose(made["image"], image, rtol=0, atol=1e-3 * np.sqrt(np.nanmean(image**2)))
        np.testing.assert_array_equal(made["labels"], labels)
        np.testing.assert_array_equal(labels == IGNORE, np.isnan(image[..., 0]))
        seen |= set(np.unique(labels))
    host.close()
    device.close()
    assert seen == {0, 1, IGNORE}


@pytest.mark.slow
def test_stored_read_and_device_made_panels_are_the_same_with_all_noise_and_s(tmp_path):
    """The three ways in, on a preset's panels (of fewer receivers)."""
    parameters = replace(MICROSEISMIC_1024, array=ReceiverArray(lines=8, stations=16), classes="phase", noise_only=0.0)
    panels = Panels(parameters, seed=7)
    virtual = SyntheticVolume("synthetic:preset.py", panels, 4)
    volumes = write_microseismic(tmp_path / "panels.zarr", parameters, 4, seed=7), virtual
    window, mesh = (1, 128, 1024), make_mesh(1, 1)
    common = {"batch_size": 2, "mesh": mesh, "space_dim": None, "start_step": 0}

    def source(volume):
        regions = [parse_region("example:0-3", volume.axes)]
        options = {"labels": "phase", "regions": regions, "window": window, "seed": 5, "overhang": 0.0}
        return WindowSource(
            volume, "phase", make_sampler("uniform", volume=volume, **options), window, labelled_only=True
        )

    stored, made = (training_batches(source(volume), num_threads=2, prefetch=2, **common) for volume in volumes)
    device = GeneratedBatches(source(virtual), panels.window, **common)
    batches = [next(stream) for stream in map(iter, (stored, made, device))]
    for stream in (stored, made, device):
        stream.close()
    images, labels = ([np.asarray(batch[name]) for batch in batches] for name in ("image", "labels"))
    rms = np.sqrt(np.nanmean(images[0] ** 2))
    for image, label in zip(images[1:], labels[1:], strict=True):
        np.testing.assert_allclose(image, images[0], rtol=0, atol=1e-3 * rms)
        np.testing.assert_array_equal(label, labels[0])
    assert set(np.unique(labels[0])) == {0, 1, 2, IGNORE}


def test_what_cannot_be_made_on_devices_is_one_line(volume):
    common = {"batch_size": 8, "space_dim": None, "start_step": 0}
    source = make_source(volume, (2, 6, 40), (2, 8, 48))
    with pytest.raises(UserError, match=r"data\.window=\(2, 6, 40\)"):
        GeneratedBatches(source, volume.examples.window, mesh=make_mesh(1, 1), **common)
    source = make_source(volume, (1, 6, 40), (1, 8, 48))
    with pytest.raises(UserError, match=r"data\.batch_size"):
        GeneratedBatches(source, volume.examples.window, mesh=make_mesh(3, 1), **common)


GENERATE = """
from pathlib import Path
import numpy as np

sys.path.insert(0, sys.argv[4])
from test_generated import make_panels, made_by_devices

found = {}
for step, batch in enumerate(made_by_devices(make_panels(), 2)):
    for name, array in batch.items():
        for shard in array.addressable_shards:
            start = [side.indices(n)[0] for side, n in zip(shard.index, array.shape)]
            found["_".join([name, str(step), *map(str, start)])] = np.asarray(shard.data)
np.savez(Path(sys.argv[5], sys.argv[3]), **found)
"""


@pytest.mark.slow
def test_processes_make_the_batches_of_one(processes, tmp_path):
    processes(2, GENERATE, Path(__file__).parent, tmp_path, devices=4)
    wanted = made_by_devices(make_panels(), 2)
    pieces = [dict(np.load(tmp_path / f"{i}.npz")) for i in range(2)]
    assert not set(pieces[0]) & set(pieces[1])
    pieces = pieces[0] | pieces[1]
    for key, piece in pieces.items():
        name, step, *start = key.split("_")
        whole = np.asarray(wanted[int(step)][name])
        place = tuple(slice(int(a), int(a) + n) for a, n in zip(start, piece.shape, strict=True))
        np.testing.assert_array_equal(piece, whole[place])
    assert sum(piece.size for piece in pieces.values()) == sum(a.size for batch in wanted for a in batch.values())
