"""The label index: how many samples of each class lie in each chunk of a label array."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seisjax.conventions import IGNORE
from seisjax.geometry import Box, Shape, tiles


@dataclass(frozen=True, eq=False)
class LabelIndex:
    """`counts` is (chunks along each axis ..., classes) uint32; `chunk` the sides of a chunk in samples."""

    chunk: Shape
    counts: np.ndarray

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
