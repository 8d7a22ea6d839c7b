"""How many labelled samples of each class lie in the chunks of a region: exact, from the label index where it can say.

The label index counts whole chunks, so only chunks that a region's border cuts, and of those only labelled ones, are
read.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from seisjax.conventions import IGNORE
from seisjax.errors import UserError
from seisjax.geometry import Box, Shape
from seisjax.volumes import LabelIndex, Volume
from seisjax.volumes.ahead import read_ahead

_READ_AHEAD = 16  # chunks under way at once


class RegionChunks:
    """The chunks of a label array that a region touches.

    `cells` is the box of them, counted in chunks; `whole` (its shape, bool) tells which lie wholly in the region, but
    for what the volume's end cuts off.
    """

    def __init__(self, index: LabelIndex, region: Box, shape: Shape) -> None:
        self.chunk, self.region = index.chunk, region
        start, stop, chunk = np.array(region.start), np.array(region.stop), np.array(index.chunk)
        self.cells = Box.between((start // chunk).tolist(), (-(-stop // chunk)).tolist())
        self.whole = np.ones(self.cells.shape, bool)
        for axis, (a, n) in enumerate(zip(self.cells.start, self.cells.shape, strict=True)):
            first = np.arange(a, a + n) * chunk[axis]
            last = np.minimum(first + chunk[axis], shape[axis])
            inside = (first >= start[axis]) & (last <= stop[axis])
            self.whole &= np.expand_dims(inside, [i for i in range(self.whole.ndim) if i != axis])
        self._counts = index.counts[self.cells.slices]

    def part(self, number: int) -> Box:
        """The samples of chunk `number` (C order) that lie in the region."""
        cell = np.unravel_index(number, self.cells.shape)
        start = tuple((int(i) + a) * c for i, a, c in zip(cell, self.cells.start, self.chunk, strict=True))
        return Box(start, self.chunk).intersect(self.region)

    def cut(self) -> Iterator[int]:
        """Numbers of the chunks that the border cuts and that hold labelled samples, here or beyond it."""
        yield from map(int, np.flatnonzero(self._counts.any(axis=-1) & ~self.whole))

    def from_the_middle(self) -> Iterator[int]:
        """Numbers of the chunks that hold labelled samples, here or beyond the border, those in the middle first."""
        grid = np.ogrid[tuple(map(slice, self.cells.shape))]
        away = sum((cell - (n - 1) / 2) ** 2 for cell, n in zip(grid, self.cells.shape, strict=True))
        numbers = np.flatnonzero(self._counts.any(axis=-1))
        yield from map(int, numbers[np.argsort(np.ravel(away)[numbers], kind="stable")])

    def counts(self, volume: Volume, labels: str) -> np.ndarray:
        """Labelled samples of each class in the region, chunk by chunk: int64 (chunks, classes)."""
        counts = self._counts.reshape(-1, self._counts.shape[-1]).astype(np.int64)
        for number, values in _read_ahead(volume, labels, self.cut(), self.part):
            found = np.bincount(values.ravel(), minlength=IGNORE + 1)[:IGNORE]
            counts[number] = found[: counts.shape[-1]]
        return counts


def class_counts(volume: Volume, labels: str, regions: Sequence[Box]) -> np.ndarray:
    """Labelled samples of each class in the regions together, int64 (classes,). Exact."""
    index = volume.label_index(labels)
    total = np.zeros(index.counts.shape[-1], np.int64)
    for region in regions:
        total += RegionChunks(index, region, volume.shape).counts(volume, labels).sum(axis=0)
    return total


def fit_classes(values: np.ndarray, count: int) -> np.ndarray:
    """One number for each of `count` classes: what is beyond is cut off, what is missing is 0.

    A label array may name more classes than a network has, or fewer.
    """
    return np.pad(values[:count], (0, max(count - len(values), 0)))


def check_labelled(volume: Volume, labels: str, splits: dict[str, tuple[Box, ...]]) -> None:
    """Raise UserError if a region of a split holds no labelled sample that has data.

    Exact, and cheap: labelled chunks are read from the region's middle on until one holds such a sample, as the first
    one does nearly always. Labels that nobody counted are those that are made, everywhere.
    """
    index = volume.label_index(labels)
    if not index.counted:
        return
    for name, regions in splits.items():
        for number, region in enumerate(regions):
            chunks = RegionChunks(index, region, volume.shape)
            if not _any_counts(volume, labels, chunks):
                which = f" (region {number + 1} of {len(regions)})" if len(regions) > 1 else ""
                raise UserError(
                    f"data.{name}{which}: no sample of labels '{labels}' is labelled there and has data (all are "
                    f"{IGNORE}, or on dead traces, NaN or missing); choose another region or other labels"
                )


def _any_counts(volume: Volume, labels: str, chunks: RegionChunks) -> bool:
    for number, values in _read_ahead(volume, labels, chunks.from_the_middle(), chunks.part):
        known = values != IGNORE
        if known.any() and np.isfinite(volume.read_amplitude(chunks.part(number))[known]).any():
            return True
    return False


def _read_ahead(
    volume: Volume, labels: str, numbers: Iterator[int], part: Callable[[int], Box]
) -> Iterator[tuple[int, np.ndarray]]:
    """Number and labels of each chunk's part."""
    return read_ahead(((number, volume.start_labels(labels, part(number))) for number in numbers), _READ_AHEAD)
