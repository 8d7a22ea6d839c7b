"""A process that reads a part of each window gets that part of the whole samples, and reads no more than it needs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seisjax.conventions import AMPLITUDE, IGNORE
from seisjax.data import GridWindows, WindowSource, make_sampler
from seisjax.data.pipeline import _blocks
from seisjax.geometry import Axis, Box
from seisjax.volumes import bytes_read, create_volume, open_volume, set_cache_size

REGION = Box((2, 0, 0), (14, 40, 60))
SAMPLES = [0, 3, 7, 8, 12, 40]


@pytest.fixture(scope="module")
def sources(cube):
    """Sources with overhang, padding, dead traces, sections of three directions, and windows to be drawn again."""

    def source(kind, window, padded, region=REGION, directions=()):
        options = {"regions": [region], "window": window, "seed": 3, "overhang": 0.25, "directions": directions}
        sampler = make_sampler(kind, volume=cube.volume, labels="facies", batch_size=8, **options)
        return WindowSource(cube.volume, "facies", sampler, padded, labelled_only=True)

    return {
        "cubes": source("uniform", (7, 11, 30), (8, 16, 32)),
        "sections": source("uniform", (1, 13, 21), (1, 16, 24)),
        "thick": source("balanced", (3, 20, 50), (4, 24, 56)),
        "across": source("uniform", (1, 13, 13), (1, 16, 16), directions=("inline", "crossline", "time")),
        "grid": source("grid", (5, 8, 16), (8, 8, 16)),
        "blocks": source("blocks", (2, 8, 16), (2, 8, 16)),
    }


@pytest.fixture(scope="module")
def whole(sources):
    return {name: source.read(SAMPLES) for name, source in sources.items()}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_part_is_that_part_of_the_whole_samples(sources, whole, data):
    name = data.draw(st.sampled_from(sorted(sources)))
    ends = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in sources[name].padded]
    part = Box.between(*zip(*ends, strict=True))
    found = sources[name].read(SAMPLES, part)
    for key, samples in whole[name].items():
        np.testing.assert_array_equal(found[key], samples[(slice(None), *part.slices)])


def test_what_the_parts_above_meet(sources, whole):
    """Windows that hold no label at first and are drawn again, and slabs without a label in windows with one."""
    source = sources["sections"]
    first = WindowSource(source.volume, "facies", source.sampler, source.padded, labelled_only=False).read(SAMPLES)
    assert (first["labels"] == IGNORE).all(axis=(1, 2, 3)).any()
    labelled = (whole["cubes"]["labels"] != IGNORE).any(axis=(2, 3))
    assert (labelled.any(axis=1) & ~labelled[:, :7].all(axis=1)).any()


def test_bytes_used_by_all_parts_are_those_of_the_whole(cube, sources):
    slabs = [Box((0, 0, 8 * i), (8, 16, 8)) for i in range(4)]
    used = []
    for parts in ([None], slabs):
        before = sources["cubes"].bytes_used
        for part in parts:
            sources["cubes"].read(SAMPLES, part)
        used.append(sources["cubes"].bytes_used - before)
    assert used[0] == used[1] > 0


@pytest.fixture
def panels(tmp_path):
    """4 panels of 128 x 128 samples of noise in chunks of 16 x 16; labels on the first receivers alone, or on all."""
    axes = [Axis(name, np.arange(n)) for name, n in (("example", 4), ("receiver", 128), ("time", 128))]
    shape = (4, 128, 128)
    rng = np.random.default_rng(0)
    with create_volume(tmp_path / "panels.zarr", axes, chunk=(1, 16, 16), shard=(1, 128, 128)) as volume:
        volume.write(AMPLITUDE, Box.whole(shape), rng.normal(size=shape).astype(np.float32))
        labels = rng.integers(0, 200, shape).astype(np.uint8)
        for name in ("dense", "sparse"):
            volume.add_array(f"labels_{name}", np.uint8)
            volume.write(f"labels_{name}", Box.whole(shape), labels)
            labels[:, 4:] = IGNORE
    set_cache_size(0)
    yield tmp_path / "panels.zarr"
    set_cache_size(256)


def fetched(path, labels, part, labelled_only=True):
    """Bytes read for the part of each of the four panels, from a volume opened for it."""
    volume = open_volume(path)
    grid = GridWindows([Box.whole(volume.shape)], (1, 128, 128))
    source = WindowSource(volume, labels, grid, (1, 128, 128), labelled_only=labelled_only)
    before = bytes_read()
    source.read(range(4), part)
    return bytes_read() - before


def slab(axis, count, i):
    start, shape = [0, 0, 0], [1, 128, 128]
    start[axis], shape[axis] = i * (128 // count), 128 // count
    return Box(tuple(start), tuple(shape))


@pytest.mark.parametrize("axis", [1, 2])
def test_a_slab_of_whole_chunks_costs_its_share_of_the_bytes(panels, axis):
    everything = fetched(panels, "dense", None)
    assert everything > 4 * 4 * 128 * 128
    for count in (2, 4):
        for i in range(count):
            assert fetched(panels, "dense", slab(axis, count, i)) <= 1.1 / count * everything


def test_to_know_that_a_window_is_labelled_elsewhere_takes_one_chunk(panels):
    # Amplitudes and labels of a chunk, and the tables that tell where in their shards they are.
    chunk = 16 * 16 * (4 + 1) + 2 * (8 * 8 * 16 + 4)
    for i in range(4):
        more, least = (fetched(panels, "sparse", slab(1, 4, i), labelled_only) for labelled_only in (True, False))
        assert more == least if i == 0 else least < more <= least + 4 * chunk


def test_devices_that_divide_nothing_evenly_get_one_part_a_row():
    # Two of six devices in two rows of three: the end of the first row, the start of the second.
    held = [Box((0, 0, 16), (4, 1, 8)), Box((4, 0, 0), (4, 1, 8))]
    first, second = _blocks(held)
    assert (first.rows, first.part) == ((0, 1, 2, 3), Box((0, 16), (1, 8)))
    assert (second.rows, second.part) == ((4, 5, 6, 7), Box((0, 0), (1, 8)))
    # Rows with the same slabs are read together; slabs that lie apart, with what is between them.
    rows = [Box((row, slab), (2, 8)) for row in (6, 0) for slab in (24, 8)]
    (block,) = _blocks(rows)
    assert (block.rows, block.part) == ((0, 1, 6, 7), Box((8,), (24,)))
