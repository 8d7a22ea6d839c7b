"""Draws by blocks: pure, each sample at most once a pass, each batch from many blocks, little read in vain."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from seisjax.conventions import IGNORE
from seisjax.data import BlockWindows, WindowSource, make_sampler
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes import Volume, bytes_read, create_volume, open_volume

CHUNK = (8, 8, 8)


def make_volume(url: str, shape: tuple[int, ...], labels: np.ndarray | None = None) -> Volume:
    axes = [Axis(axis, np.arange(n)) for axis, n in zip(("inline", "crossline", "time"), shape, strict=True)]
    with create_volume(url, axes, chunk=CHUNK, shard=(64, 64, 64)) as volume:
        for box in volume.shards():
            noise = np.random.default_rng(box.start).normal(size=box.shape).astype(np.float32)
            volume.write("amplitude", box, noise)
        if labels is not None:
            volume.add_array("labels_facies", np.uint8)
            for box in volume.shards("labels_facies"):
                volume.write("labels_facies", box, labels[box.slices])
    return open_volume(volume.url)


@pytest.fixture(scope="module")
def volume() -> Volume:
    return make_volume("memory://blocks/plain/", (60, 70, 50))


def sampler_of(volume, regions, window, *, labels=None, batch_size=8, room=0.5, **options) -> BlockWindows:
    regions = [regions] if isinstance(regions, Box) else regions
    options = {"seed": 2, "overhang": 0.0, "batch_size": batch_size, "block_mebibytes": room, **options}
    sampler = make_sampler("blocks", volume=volume, labels=labels, regions=regions, window=window, **options)
    assert isinstance(sampler, BlockWindows)
    return sampler


@st.composite
def cases(draw):
    start = draw(st.tuples(*[st.integers(0, 20)] * 3))
    shape = tuple(draw(st.integers(9, n - a)) for a, n in zip(start, (60, 70, 50), strict=True))
    window = draw(st.sampled_from([(1, 6, 8), (8, 8, 8), (5, 1, 9), (4, 7, 3), (16, 16, 16), (1, 1, 20)]))
    return Box(start, shape), window, draw(st.sampled_from([1, 3, 8, 12, 16, 40]))


@settings(max_examples=25, deadline=None)
@given(cases())
def test_each_sample_comes_at_most_once_a_pass_and_a_batch_from_many_blocks(volume, case):
    region, window, batch_size = case
    try:
        sampler = sampler_of(volume, region, window, batch_size=batch_size, room=32)
    except UserError as error:
        assume("fewer than" not in str(error))
        raise
    (block,) = sampler.blocks
    part = sampler._parts[0]
    seen = np.zeros(volume.shape, int)
    first = 0
    for i in range(part.slots * int(np.prod(block)) * 2):
        slot, _ = sampler.slot(i)
        if slot < part.slots:  # of the first pass
            draw = sampler.draw(i)
            assert draw.box.shape == window
            assert draw.region == region
            assert region.contains(draw.box) or any(n < w for n, w in zip(region.shape, window, strict=True))
            seen[draw.inner.slices] += 1
            first += 1
    assert seen.max() == 1
    assert first >= part.slots * int(np.prod(block)) / 2
    for k in range(20):
        batch = [sampler.slot(i)[0] for i in range(k * batch_size, (k + 1) * batch_size)]
        places = {block_of(sampler, slot) for slot in batch}
        assert len(places) >= min(8, batch_size)


def block_of(sampler: BlockWindows, slot: int) -> tuple[int, ...]:
    """The start of a slot's block: the least start of its windows."""
    part = sampler._parts[0]
    starts = [part.draw(slot, i, 0, 0).box.start for i in range(int(np.prod(sampler.blocks[0])))]
    return (*map(min, zip(*starts, strict=True)), slot // part.slots)


def test_every_sample_is_seen_over_the_passes(volume):
    region = Box((3, 2, 1), (50, 60, 45))
    sampler = sampler_of(volume, region, (12, 14, 10))
    seen = np.zeros(volume.shape, int)
    for i in range(6000):
        seen[sampler.draw(i).box.slices] += 1
    assert (seen[region.slices] > 0).all()
    seen[region.slices] = 0
    assert not seen.any()


@pytest.mark.parametrize("window", [(1, 16, 24), (16, 16, 16), (12, 10, 14)])
def test_hardly_more_is_read_than_is_used(tmp_path, window):
    volume = make_volume(str(tmp_path / "volume"), (96, 100, 90))
    whole = Box.whole(volume.shape)
    stored = sum(file.stat().st_size for file in (tmp_path / "volume" / "amplitude").rglob("*") if file.is_file())
    factor = {}
    for kind in ("uniform", "blocks"):
        options = {"labels": None, "regions": [whole], "seed": 0, "overhang": 0.0, "batch_size": 8}
        fresh = open_volume(volume.url)
        sampler = make_sampler(kind, volume=fresh, window=window, block_mebibytes=8, **options)
        source = WindowSource(fresh, None, sampler, window, labelled_only=False)
        before = bytes_read()
        for k in range(40):
            source.read(range(8 * k, 8 * k + 8))
        factor[kind] = (bytes_read() - before) / (source.bytes_used * stored / (whole.size * 4))
    assert factor["blocks"] < factor["uniform"]


def test_rows_that_stand_together_share_blocks(volume):
    sampler = sampler_of(volume, Box.whole(volume.shape), (1, 16, 16), batch_size=64)
    for k in range(10):
        slots = [sampler.slot(64 * k + row)[0] for row in range(64)]
        assert all(len(set(slots[first : first + 8])) <= 2 for first in range(0, 64, 8))


def test_a_part_without_labels_is_left_out():
    labels = np.full((64, 64, 48), IGNORE, np.uint8)
    labels[:32] = 1
    volume = make_volume("memory://blocks/half/", labels.shape, labels)
    sampler = sampler_of(volume, Box.whole(labels.shape), (1, 16, 16), labels="facies")
    source = WindowSource(volume, "facies", sampler, (1, 16, 16), labelled_only=True)
    starts = [sampler.draw(i).box.start[0] for i in range(400)]
    assert np.mean([start < 32 for start in starts]) > 0.7
    assert (source.read(range(200))["labels"] == 1).all(axis=(2, 3)).all()


def test_several_regions_and_directions_take_turns_by_blocks(volume):
    regions = [Box((0, 0, 0), (30, 70, 50)), Box((32, 0, 0), (28, 70, 50))]
    sampler = sampler_of(volume, regions, (1, 16, 16), directions=("inline", "crossline"), weights=(3, 1), room=2)
    assert len({int(np.prod(block)) for block in sampler.blocks}) == 1
    draws = [sampler.draw(i) for i in range(64 * 64)]
    share = np.mean([draw.region == regions[0] for draw in draws])
    assert abs(share - 0.75) < 0.02
    assert abs(np.mean([draw.box.shape[0] == 1 for draw in draws]) - 0.5) < 0.02
    for k in range(100):
        assert len({sampler.slot(i)[0] for i in range(8 * k, 8 * k + 8)}) == 8
