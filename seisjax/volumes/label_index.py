"""The label index: how many samples of each class lie in each chunk of a label array."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from seisjax.conventions import IGNORE
from seisjax.geometry import Box, Shape, grow, round_up, tiles
from seisjax.volumes.metadata import ArrayInfo

_LEAST_SIDE = 16  # chunks of labels that we did not write are counted in groups of at least so many samples a side
_BLOCK = 2**24  # samples read at a time


@dataclass(frozen=True, eq=False)
class LabelIndex:
    """`counts` is (chunks along each axis ..., classes) uint32; `chunk` the sides of a chunk in samples.

    counted: False where nobody looked at the labels, and a count above 0 only says that the class may be there.
    """

    chunk: Shape
    counts: np.ndarray
    counted: bool = True

    @property
    def histogram(self) -> np.ndarray:
        """Samples of each class in the whole array, (classes,) int64."""
        return self.counts.sum(axis=tuple(range(len(self.chunk))), dtype=np.int64)

    def upper_bound(self, box: Box) -> np.ndarray:
        """(classes,) int64: at most so many samples of each class lie in `box`, which may reach past the array."""
        first = (max(a // c, 0) for a, c in zip(box.start, self.chunk, strict=True))
        last = (max(-(-b // c), 0) for b, c in zip(box.stop, self.chunk, strict=True))
        touched = self.counts[tuple(map(slice, first, last))]
        return touched.sum(axis=tuple(range(len(self.chunk))), dtype=np.int64)


class LabelCounter:
    """Counts classes while labels are written; what was written twice counts once."""

    def __init__(self, shape: Sequence[int], chunk: Shape):
        self.chunk = chunk
        grid = tuple(-(-n // c) for n, c in zip(shape, chunk, strict=True))
        self.counts = np.zeros((*grid, 0), np.uint32)

    def count(self, box: Box, labels: np.ndarray) -> None:
        """Count uint8 `labels` of `box`, which is made of whole chunks but at the array's end."""
        for tile in tiles(box, self.chunk):
            found = np.bincount(labels[tile.relative_to(box.start).slices].ravel(), minlength=256)[:IGNORE]
            classes = int(np.flatnonzero(found)[-1]) + 1 if found.any() else 0
            self.ensure(classes)
            chunk = tuple(a // c for a, c in zip(tile.start, self.chunk, strict=True))
            self.counts[chunk] = found[: self.counts.shape[-1]]

    def ensure(self, classes: int) -> None:
        """Hold counts of at least so many classes."""
        missing = classes - self.counts.shape[-1]
        if missing > 0:
            self.counts = np.pad(self.counts, [(0, 0)] * len(self.chunk) + [(0, missing)])


def as_classes(values: np.ndarray) -> np.ndarray:
    """Labels of any whole-number type as uint8; IGNORE where a value is outside 0 to 254."""
    if values.dtype == np.uint8:
        return values
    values = values.astype(np.int64, copy=False)
    return np.where((values >= 0) & (values < IGNORE), values, IGNORE).astype(np.uint8)


def count_labels(info: ArrayInfo, classes: int, read: Callable[[Box], np.ndarray]) -> LabelIndex:
    """The index of labels that have none: all of them are read once, through `read` (uint8), a block at a time.

    Its chunks are those of the array, or groups of them where they are thin; it counts at least `classes` classes.
    """
    sides = zip(info.chunk, info.shape, strict=True)
    chunk = tuple(round_up(min(_LEAST_SIDE, n), c) for c, n in sides)
    counter = LabelCounter(info.shape, chunk)
    for block in tiles(Box.whole(info.shape), grow(chunk, info.shape, _BLOCK)):
        counter.count(block, read(block))
    counter.ensure(classes)
    return LabelIndex(chunk, counter.counts)
