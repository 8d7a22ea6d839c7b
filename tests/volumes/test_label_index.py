"""The label index: counts of every chunk, in whatever order shards were written."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seisjax.conventions import IGNORE
from seisjax.geometry import Box, tiles
from seisjax.volumes import LabelIndex
from seisjax.volumes.label_index import LabelCounter

sides = st.tuples(*[st.integers(1, 12)] * 3)


@settings(max_examples=30, deadline=None)
@given(shape=sides, chunk=st.tuples(*[st.integers(1, 5)] * 3), seed=st.integers(0, 9), order=st.randoms())
def test_counts_of_every_chunk(shape, chunk, seed, order) -> None:
    labels = np.random.default_rng(seed).choice(np.array([0, 1, 4, IGNORE], np.uint8), shape)
    counter = LabelCounter(shape, chunk)
    shards = list(tiles(Box.whole(shape), tuple(2 * c for c in chunk)))
    order.shuffle(shards)
    for box in [*shards, shards[0]]:  # what is written twice counts once
        counter.count(box, labels[box.slices])
    for tile in tiles(Box.whole(shape), chunk):
        counts = counter.counts[tuple(a // c for a, c in zip(tile.start, chunk, strict=True))]
        inside = labels[tile.slices]
        assert list(counts) == [np.count_nonzero(inside == label) for label in range(counts.size)]
    assert LabelIndex(chunk, counter.counts).histogram.sum() == np.count_nonzero(labels != IGNORE)


@settings(max_examples=30, deadline=None)
@given(shape=sides, start=st.tuples(*[st.integers(-8, 14)] * 3), side=sides, seed=st.integers(0, 9))
def test_no_box_holds_more_than_the_bound(shape, start, side, seed) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)
    counter = LabelCounter(shape, (3, 4, 5))
    counter.ensure(3)
    counter.count(Box.whole(shape), labels)
    box = Box(start, side)
    inner = box.intersect(Box.whole(shape))
    inside = labels[inner.slices] if inner.size else np.zeros(0, np.uint8)
    bound = LabelIndex((3, 4, 5), counter.counts).upper_bound(box)
    assert (np.bincount(inside.ravel(), minlength=3) <= bound).all()
    if not inner.size and (np.array(box.stop) <= 0).any():
        assert not bound.any()
