"""Objects are the same whatever the blocks, and those that scipy finds in the whole array."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.interpretation import components
from seisjax.interpretation.components import blocks_of, find_objects, touching


def objects_of(mask, block, structure, min_size=1):
    """Table and ids of a mask in memory."""
    found = find_objects(lambda box: mask[box.slices], mask.shape, block, structure=structure, min_size=min_size)
    ids = np.full(mask.shape, 999, np.uint32)
    for box in blocks_of(mask.shape, block):
        ids[box.slices] = found.ids(box)
    return found, ids


def expected_ids(mask, structure, min_size=1):
    """What scipy finds in the whole array, numbered as ours."""
    labels, count = ndimage.label(mask, structure)
    sizes, flat = np.bincount(labels.ravel())[1:], labels.ravel()
    first = np.array([np.flatnonzero(flat == i + 1)[0] for i in range(count)], int)
    order = [i for i in np.lexsort((first, -sizes)) if sizes[i] >= min_size] if count else []
    numbers = np.zeros(count + 1, np.uint32)
    numbers[np.array(order, int) + 1] = np.arange(1, len(order) + 1)
    return numbers[labels]


@st.composite
def cases(draw):
    ndim = draw(st.integers(1, 4))
    shape = tuple(draw(st.lists(st.integers(1, 7 if ndim > 2 else 12), min_size=ndim, max_size=ndim)))
    block = tuple(draw(st.lists(st.integers(1, 8), min_size=ndim, max_size=ndim)))
    seed, share = draw(st.integers(0, 2**16)), draw(st.sampled_from([0.1, 0.3, 0.5, 0.8, 1.0]))
    mask = np.random.default_rng(seed).random(shape) < share
    apart = draw(st.lists(st.integers(0, ndim - 1), max_size=1)) if ndim > 1 else []
    return mask, block, touching(ndim, draw(st.integers(1, 3)), apart), draw(st.sampled_from([1, 1, 2, 4]))


@settings(max_examples=120, deadline=None)
@given(cases())
def test_blocks_of_any_shape_give_what_scipy_finds_in_the_whole(case):
    mask, block, structure, min_size = case
    found, ids = objects_of(mask, block, structure, min_size)
    np.testing.assert_array_equal(ids, expected_ids(mask, structure, min_size))
    assert len(found) == ids.max(initial=0)
    for i in range(len(found)):
        where = np.argwhere(ids == i + 1)
        row = found.table.where(np.array([i]))
        assert row.size[0] == len(where)
        np.testing.assert_array_equal(row.low[0], where.min(axis=0))
        np.testing.assert_array_equal(row.high[0], where.max(axis=0))
        np.testing.assert_allclose(row.centre[0], where.mean(axis=0))


def test_a_spiral_through_all_blocks_is_one_object():
    mask = np.zeros((9, 9), bool)
    for i in range(0, 9, 4):
        mask[i : 9 - i, i] = mask[i, i : 9 - i] = mask[8 - i, i : 9 - i] = True
    mask[2, 2:7] = mask[2:7, 6] = mask[6, 4:7] = True
    for block in [(1, 1), (2, 3), (4, 4), (9, 9)]:
        found, ids = objects_of(mask, block, touching(2, 1))
        np.testing.assert_array_equal(ids, expected_ids(mask, touching(2, 1)))
    assert len(found) == ids.max()


def test_corners_join_only_where_asked():
    mask = np.zeros((4, 4, 4), bool)
    mask[1, 1, 1] = mask[2, 2, 2] = mask[1, 2, 1] = True
    numbers = [len(objects_of(mask, (2, 2, 2), touching(3, c))[0]) for c in (1, 2, 3)]
    assert numbers == [2, 1, 1]
    mask[1, 2, 1] = False
    assert [len(objects_of(mask, (2, 2, 2), touching(3, c))[0]) for c in (1, 2, 3)] == [2, 2, 1]


def test_examples_are_apart():
    mask = np.ones((3, 4, 4), bool)
    found, ids = objects_of(mask, (1, 2, 4), touching(3, 3, apart=[0]))
    assert found.table.size.tolist() == [16, 16, 16]
    assert ids[:, 0, 0].tolist() == [1, 2, 3]


def test_small_ones_cost_nothing_but_those_that_may_go_on():
    mask = np.zeros((64, 64), bool)
    mask[::2, ::2] = True  # 1024 specks
    mask[30:34, 30:34] = True  # over four blocks
    kept = []
    structure = touching(2, 1)
    for box in blocks_of(mask.shape, (32, 32)):
        kept.append(components._label(mask[box.slices], box, mask.shape, structure, 5)[1])
    assert max(kept) < 40
    found, _ = objects_of(mask, (32, 32), structure, 5)
    assert found.table.size.tolist() == [16 + 4]


def test_too_many_pieces_are_one_line(monkeypatch):
    monkeypatch.setattr(components, "_MOST", 100)
    mask = np.zeros((64, 64), bool)
    mask[::2, ::2] = True
    with pytest.raises(UserError, match="more than 100 connected pieces; raise --min_size"):
        objects_of(mask, (32, 32), touching(2, 1))


def test_only_a_cross_section_is_kept():
    """Along the longest axis blocks come and go; what is kept of them lies across it."""
    shape, structure = (4, 64, 8), touching(3, 3)
    frontier = components._Frontier(components._slowest_first(shape), structure)
    for box in blocks_of(shape, (2, 4, 4)):
        index = tuple(a // b for a, b in zip(box.start, (2, 4, 4), strict=True))
        list(frontier.join(index, np.ones(box.shape, np.int32), 0))
        held = sum(
            plane.size for planes in frontier._planes for p in (planes.before, planes.now) for plane in p.values()
        )
        assert held <= 2 * (4 * 8 + 4 * 8 + 4 * 4)
    assert Box((0, 60, 0), (2, 4, 4)) in blocks_of(shape, (2, 4, 4))
