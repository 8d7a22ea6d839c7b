"""Mean and deviation of the training part."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seisjax.data import training_statistics
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes import create_volume

REGION = Box((2, 3, 10), (17, 30, 50))


def test_all_chunks_give_the_exact_statistics(cube):
    values = cube.amplitude[REGION.slices]
    values = values[np.isfinite(values)].astype(np.float64)
    found = training_statistics(cube.volume, [REGION], max_tiles=1000)
    assert found.count == len(values)
    np.testing.assert_allclose([found.mean, found.std], [values.mean(), values.std()], rtol=1e-12)


def test_a_part_of_the_chunks_is_the_same_part_each_time(cube):
    first, again = (training_statistics(cube.volume, [REGION], max_tiles=6) for _ in range(2))
    assert first == again
    assert 0 < first.count < REGION.size
    np.testing.assert_allclose([first.mean, first.std], [3.0, 1.0], atol=0.1)


def test_several_regions_count_together(cube):
    regions = [Box((0, 0, 0), (5, 40, 60)), Box((10, 3, 7), (4, 9, 50)), Box((19, 0, 0), (1, 40, 60))]
    values = np.concatenate([cube.amplitude[region.slices].ravel() for region in regions])
    found = training_statistics(cube.volume, regions, max_tiles=1000)
    values = values[np.isfinite(values)].astype(np.float64)
    assert found.count == len(values)
    np.testing.assert_allclose([found.mean, found.std], [values.mean(), values.std()], rtol=1e-12)
    assert found.p50 == pytest.approx(np.median(values), rel=1e-6)
    sampled = training_statistics(cube.volume, regions, max_tiles=7)
    assert 0 < sampled.count < found.count


@pytest.mark.parametrize("max_tiles", [11, 1000])
def test_the_number_of_threads_does_not_matter(cube, max_tiles):
    one, *others = (training_statistics(cube.volume, [REGION], max_tiles, num_threads=n) for n in (1, 4, 8))
    assert all(other == one for other in others)


LIMIT = 128 * 2**20  # bytes that the statistics may add to what the imports took
A_LARGE_VOLUME = """
import json, re, sys, time
from pathlib import Path
from seisjax.data import training_statistics
from seisjax.geometry import Axis, Box
from seisjax.volumes import create_volume
from seisjax.volumes import open_volume, set_cache_size

set_cache_size(4)
volume = open_volume(sys.argv[1])

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1))

def found(shape, num_threads):
    statistics = training_statistics(volume, [Box((0,) * 3, shape)], 10**6, num_threads)
    return [statistics.count, statistics.mean, statistics.std, statistics.p0_5, statistics.p50, statistics.p99_5,
            statistics.mad]

found((1, 8, 8), 8)  # what the libraries themselves take when first used
before = peak()
results = [found(volume.shape, n) for n in (1, 4, 8)]
print(json.dumps({"added": peak() - before, "results": results}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak resident set from /proc")
def test_a_volume_twenty_times_the_memory_limit(tmp_path: Path):
    shape, slab, written = (864, 1600, 512), 8, 9  # the other shards are links to those written
    assert 4 * np.prod(shape) > 20 * LIMIT
    axes = [Axis("inline", np.arange(864)), Axis("crossline", np.arange(1600)), Axis("time", np.arange(512) * 4.0)]
    rng = np.random.default_rng(0)
    counts = np.zeros(2**16, np.int64)  # of the values, which are whole numbers about 3,000,000
    with create_volume(tmp_path / "large.zarr", axes, chunk=(8, 32, 64), shard=(8, 1600, 512)) as volume:
        for start in range(0, written * slab, slab):
            steps = rng.standard_normal((slab, *shape[1:]), np.float32) * np.float32(3000 + 50 * start)
            steps = np.clip(np.rint(steps), -(2**15), 2**15 - 1).astype(np.int32)
            counts += np.bincount(steps.ravel() + 2**15, minlength=2**16)
            volume.write("amplitude", Box((start, 0, 0), steps.shape), (steps + 3_000_000).astype(np.float32))
    for i in range(written, shape[0] // slab):
        shards = tmp_path / "large.zarr" / "amplitude" / "c"
        (shards / f"{i}" / "0").mkdir(parents=True)
        (shards / f"{i}" / "0" / "0").hardlink_to(shards / f"{i % written}" / "0" / "0")
    counts *= shape[0] // slab // written
    values, size = np.arange(-(2**15), 2**15, dtype=np.float64) + 3_000_000, int(counts.sum())
    mean = (values * counts).sum() / size
    std = np.sqrt(((values - mean) ** 2 * counts).sum() / size)
    command = [sys.executable, "-c", A_LARGE_VOLUME, str(tmp_path / "large.zarr")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": "."})
    answer = json.loads(done.stdout)
    print(f"{4 * size / 2**20:.0f} MiB of samples, {answer['added'] / 2**20:.1f} MiB added to the peak resident set")
    assert answer["added"] < LIMIT
    one, four, eight = answer["results"]
    assert one == four == eight
    assert one[0] == size
    np.testing.assert_allclose(one[1:3], [mean, std], rtol=1e-6)
    ranks = np.cumsum(counts) / size
    for value, share in zip(one[3:6], (0.005, 0.5, 0.995), strict=True):
        i = int(np.floor(value)) - 3_000_000 + 2**15
        assert ranks[i - 1] - 1e-3 <= share <= ranks[i] + 1e-3


def test_nothing_to_normalise_by_is_one_line(cube):
    with pytest.raises(UserError, match="data.train: no finite amplitude"):
        training_statistics(cube.volume, [Box((4, 4, 0), (1, 1, 60))], 10)
    with pytest.raises(UserError, match="data.train: all amplitudes in the region are"):
        training_statistics(cube.volume, [Box((0, 0, 0), (1, 1, 1))], 10)
