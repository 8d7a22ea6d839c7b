"""Connected components of a mask that no memory holds: labelled block by block, and joined over the blocks' faces.

Each block is labelled by itself (`scipy.ndimage.label`); its pieces that touch across a face, an edge or a corner of
another block are edges of a graph, whose components (`scipy.sparse.csgraph`) are the objects. In memory are a block,
the pieces' numbers on a cross-section of the volume, and a row for each piece.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from seisjax.errors import UserError
from seisjax.geometry import Box, Shape, tiles

Read = Callable[[Box], np.ndarray]  # the samples of a box that belong to objects, True
Progress = Callable[[], None]

_SLICE = 2**20  # samples whose coordinates are held at a time
_MOST = 2**31 - 1  # pieces: what csgraph counts to, and so fewer objects than uint32 holds
BYTES_PER_SAMPLE = 16  # of a block: what is read (twice: the next block too), labels, numbers


class Pieces(NamedTuple):
    """Connected sets of samples: a row each; columns per axis are (row, axis), in samples from the volume's origin."""

    size: np.ndarray  # int64: samples
    first: np.ndarray  # int64: place of the first sample in C order
    low: np.ndarray  # int32: first sample along each axis
    high: np.ndarray  # int32: last sample along each axis
    total: np.ndarray  # int64: sum of the samples' places along each axis

    @property
    def centre(self) -> np.ndarray:
        """Mean place along each axis, float64 (row, axis)."""
        return self.total / self.size[:, None]

    def where(self, chosen: np.ndarray) -> "Pieces":
        """The rows of a mask, or with these numbers, in that order."""
        return Pieces(*(column[chosen] for column in self))

    @classmethod
    def join(cls, parts: Iterable["Pieces"], ndim: int) -> "Pieces":
        """The rows of several tables, one after the other."""
        none = (np.zeros(0, np.int64),) * 2, (np.zeros((0, ndim), np.int32),) * 2, (np.zeros((0, ndim), np.int64),)
        columns = zip(tuple(itertools.chain(*none)), *parts, strict=True)
        return cls(*(np.concatenate(values) for values in columns))

    def merged(self, group: np.ndarray) -> "Pieces":
        """One row for each group: `group` has the number of each row's, from 0 without gaps."""
        if not len(group):
            return self
        order = np.argsort(group, kind="stable")
        starts = np.flatnonzero(np.diff(group[order], prepend=-1))
        how = (np.add, np.minimum, np.minimum, np.maximum, np.add)
        return Pieces(*(f.reduceat(column[order], starts) for f, column in zip(how, self, strict=True)))


def touching(ndim: int, connectivity: int, apart: Sequence[int] = ()) -> np.ndarray:
    """Which of its neighbours a sample is connected with: a boolean array of sides 3.

    connectivity: 1 over faces, 2 over edges too, 3 over corners too. Along the axes `apart` nothing is connected.
    """
    structure = ndimage.generate_binary_structure(ndim, min(connectivity, ndim))
    for axis in apart:
        structure[tuple([slice(None)] * axis + [slice(None, None, 2)])] = False
    return structure


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of a volume, largest first; number i + 1 is row i. Equal sizes stand by their first samples."""

    table: Pieces
    _numbers: np.ndarray  # uint32: the object of each piece, 0 where none
    _starts: dict[Box, int]  # the first piece of each block
    _labels_of: Callable[[Box], tuple[np.ndarray, int]]

    def __len__(self) -> int:
        return len(self.table.size)

    def ids(self, block: Box) -> np.ndarray:
        """uint32 object numbers in one of the blocks, 0 where there is none; reads the mask again."""
        labels, count = self._labels_of(block)
        start = self._starts[block]
        own = self._numbers[start : start + count]
        return np.concatenate([np.zeros(1, np.uint32), own])[labels]


def find_objects(
    read: Read,
    shape: Shape,
    block: Shape,
    *,
    structure: np.ndarray,
    min_size: int = 1,
    progress: Progress = lambda: None,
) -> Objects:
    """The connected components of a mask of this shape, the same for blocks of any shape.

    Args:
      read: the mask in a box, boolean. It is asked for each block of `tiles`, in the order of `blocks_of`.
      structure: as `touching` gives it.
      min_size: samples; smaller objects are left out.
      progress: called after each block.
    Raises UserError where there are more pieces than can be counted.
    """

    def labels_of(box: Box) -> tuple[np.ndarray, int]:
        return _label(read(box), box, shape, structure, min_size)

    frontier = _Frontier(_slowest_first(shape), structure)
    parts, edges, starts, number = [], [], {}, 0
    for box in blocks_of(shape, block):
        labels, count = labels_of(box)
        index = tuple(a // b for a, b in zip(box.start, block, strict=True))
        edges += frontier.join(index, labels, number)
        parts.append(_measure(labels, count, box, shape))
        starts[box] = number
        number += count
        if number > _MOST:
            raise UserError(
                f"more than {_MOST} connected pieces; raise --min_size or --threshold, or choose another class"
            )
        progress()
    group = _components(number, edges)
    whole = Pieces.join(parts, len(shape)).merged(group)
    order = np.lexsort((whole.first, -whole.size))
    order = order[whole.size[order] >= min_size]
    numbers = np.zeros(len(whole.size), np.uint32)
    numbers[order] = np.arange(1, len(order) + 1, dtype=np.uint32)
    return Objects(whole.where(order), numbers[group], starts, labels_of)


def blocks_of(shape: Shape, block: Shape) -> list[Box]:
    """The blocks of a volume in the order in which they are labelled: along its longest axis slowest."""
    order = _slowest_first(shape)
    return sorted(tiles(Box.whole(shape), block), key=lambda box: [box.start[axis] for axis in order])


def _slowest_first(shape: Shape) -> list[int]:
    """Axes, the longest first: what is kept of the blocks before lies across it, and is small then."""
    return sorted(range(len(shape)), key=lambda axis: -shape[axis])


def _components(number: int, edges: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The object of each piece, from 0."""
    if not number:
        return np.zeros(0, np.int32)
    one, other = (np.concatenate([np.zeros(0, np.int64), *(edge[i] for edge in edges)]) for i in (0, 1))
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(number, number))
    return connected_components(graph, directed=False)[1]


def _label(mask: np.ndarray, box: Box, shape: Shape, structure: np.ndarray, min_size: int) -> tuple[np.ndarray, int]:
    """Labels int32 of a block's pieces from 1, and their number.

    Pieces that end inside the block and are too small are left out at once: noise makes millions of them.
    """
    labels = np.zeros(box.shape, np.int32)
    if mask.any():
        ndimage.label(mask, structure, output=labels)
    count = int(labels.max())
    if min_size <= 1 or not count:
        return labels, count
    keep = _sizes(labels, count) >= min_size
    for axis, (a, b, n) in enumerate(zip(box.start, box.stop, shape, strict=True)):
        for goes_on, place in ((a > 0, 0), (b < n, -1)):
            if goes_on:
                found = np.unique(labels.take(place, axis=axis))
                keep[found[found > 0] - 1] = True
    numbers = np.concatenate([[0], np.cumsum(keep) * keep]).astype(np.int32)
    return numbers[labels], int(keep.sum())


def _sizes(labels: np.ndarray, count: int) -> np.ndarray:
    """Samples of each label from 1 on, counted in parts: each takes 8 bytes a sample."""
    flat = labels.ravel()
    parts = (flat[i : i + _SLICE] for i in range(0, flat.size, _SLICE))
    return sum((np.bincount(part, minlength=count + 1) for part in parts), np.zeros(count + 1, np.int64))[1:]


def _measure(labels: np.ndarray, count: int, box: Box, shape: Shape) -> Pieces:
    """The pieces that labels from 1 to `count` mark in a box of a volume."""
    ndim = labels.ndim
    size, first = np.zeros(count, np.int64), np.full(count, np.iinfo(np.int64).max)
    low, high = np.full((count, ndim), np.iinfo(np.int32).max, np.int32), np.full((count, ndim), -1, np.int32)
    total = np.zeros((count, ndim), np.int64)
    flat = labels.ravel()
    for begin in range(0, flat.size if count else 0, _SLICE):
        place = begin + np.flatnonzero(flat[begin : begin + _SLICE])
        if not len(place):
            continue
        row = flat[place] - 1
        part = slice(row.min(), row.max() + 1)  # numbers of neighbours lie close together
        row -= part.start
        local = np.unravel_index(place, labels.shape)
        where = [values + start for values, start in zip(local, box.start, strict=True)]
        size[part] += np.bincount(row)
        # The first of a row's samples is the one that is assigned last.
        seen = np.full(part.stop - part.start, np.iinfo(np.int64).max)
        seen[row[::-1]] = np.ravel_multi_index(where, shape)[::-1]
        np.minimum(first[part], seen, out=first[part])
        for axis, values in enumerate(where):
            np.minimum.at(low[part, axis], row, values.astype(np.int32))
            np.maximum.at(high[part, axis], row, values.astype(np.int32))
            # Sums of whole numbers below 2^53 are exact in float64.
            total[part, axis] += np.bincount(row, values).astype(np.int64)
    return Pieces(size, first, low, high, total)


class _Frontier:
    """The last samples of the blocks that were labelled, where blocks to come touch them.

    Of two blocks that touch, the earlier one has the lower index along the first axis of the order in which they
    differ; so its last plane along that axis holds all its samples that touch the later one.
    """

    def __init__(self, order: Sequence[int], structure: np.ndarray):
        self._order = tuple(order)
        self._steps = [tuple(int(i) - 1 for i in step) for step in np.argwhere(structure)]
        # Of each axis in the order: where we are, and planes of blocks one step before, and of this step.
        self._planes = [_Planes() for _ in order]

    def join(self, index: Shape, labels: np.ndarray, start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of pieces that touch, of blocks before and of this one, whose pieces are `start` + label - 1."""
        for level, axis in enumerate(self._order):
            steps = [step for step in self._steps if step[axis] == -1]
            if not steps:
                continue
            planes, later = self._planes[level], self._order[level + 1 :]
            planes.reach(tuple(index[a] for a in self._order[: level + 1]))
            own = np.asarray(labels.take(0, axis=axis))
            if planes.before and own.any():
                around = planes.around(index, axis, later, own.shape)
                yield from self._touching(around, own, axis, steps, start)
            last = np.asarray(labels.take(-1, axis=axis))
            if last.any():
                planes.now[index] = np.where(last > 0, last + np.int64(start), 0)

    @staticmethod
    def _touching(
        around: np.ndarray, own: np.ndarray, axis: int, steps: Sequence[Shape], start: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of pieces in a plane, and in the plane before with a border of 1, that are one of the steps apart."""
        for step in steps:
            moves = step[:axis] + step[axis + 1 :]
            other = around[tuple(slice(1 + m, 1 + m + n) for m, n in zip(moves, own.shape, strict=True))]
            both = (other > 0) & (own > 0)
            if both.any():
                known, place = np.unique(other[both], return_inverse=True)
                width = int(own.max()) + 1
                pairs = np.unique(place * width + own[both])
                yield known[pairs // width] - 1, pairs % width + (start - 1)


class _Planes:
    """Last planes of blocks along one axis, by the blocks' indices: of the step before and of this one."""

    def __init__(self) -> None:
        self.before: dict[Shape, np.ndarray] = {}
        self.now: dict[Shape, np.ndarray] = {}
        self._at: Shape = ()

    def reach(self, at: Shape) -> None:
        """Indices up to this axis; what is no neighbour any more is dropped."""
        if at != self._at:
            self.before = self.now if at[:-1] == self._at[:-1] else {}
            self.now, self._at = {}, at

    def around(self, index: Shape, axis: int, later: Sequence[int], shape: Shape) -> np.ndarray:
        """The plane before a block (numbers from 1), and one sample more on each side from its neighbours' planes."""
        plane = np.zeros([n + 2 for n in shape], np.int64)
        rest = [a for a in range(len(index)) if a != axis]
        target = {-1: slice(0, 1), 0: slice(1, -1), 1: slice(-1, None)}
        source = {-1: slice(-1, None), 0: slice(None), 1: slice(0, 1)}
        for steps in itertools.product(*((-1, 0, 1) if a in later else (0,) for a in rest)):
            neighbour = list(index)
            neighbour[axis] -= 1
            for a, step in zip(rest, steps, strict=True):
                neighbour[a] += step
            found = self.before.get(tuple(neighbour))
            if found is not None:
                plane[tuple(target[s] for s in steps)] = found[tuple(source[s] for s in steps)]
        return plane
