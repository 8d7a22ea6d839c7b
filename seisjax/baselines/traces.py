"""Where a survey is labelled, seen from above: the traces that hold a label, and how far others are from them."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from seisjax.conventions import IGNORE, LABELS_PREFIX
from seisjax.geometry import Box, tiles
from seisjax.volumes import Volume


class LabelledTraces:
    """The traces of the training part of a survey that hold a label.

    Labels are read once, in columns of chunks. Memory: such a column, a byte a trace of the survey, and 100 bytes each
    trace of the border.

    `border`: places int64 (N, lateral axes) of the labelled traces with a neighbour that has no label, along inlines or
    crosslines: seen from anywhere without a label, the nearest labelled trace is one of them.
    """

    def __init__(self, volume: Volume, labels: str, train: Sequence[Box]) -> None:
        """`train`: the regions of the training part; what is labelled outside them is not looked at."""
        self._volume, self._labels, self._train = volume, labels, tuple(train)
        self._labelled = np.zeros(volume.shape[:-1], bool)
        for tile in self._columns():
            self._labelled[tile.slices[:-1]] |= (volume.read_labels(labels, tile) != IGNORE).any(axis=-1)
        self._border = self._labelled & np.logical_not(ndimage.binary_erosion(self._labelled))
        self.border = np.argwhere(self._border)
        self._tree = KDTree(self.border)

    def distance(self, box: Box) -> np.ndarray:
        """Distances float64 (lateral sides) of a box's traces to the nearest labelled one, in lines; inf: none is.

        0 on a labelled trace, 1 on the line beside it; where neither line nor trace is the same, the root of the sum of
        both distances squared. The box may reach outside the survey.
        """
        places = lateral_places(box)
        distance = self._tree.query(places)[0] if len(self.border) else np.full(len(places), np.inf)
        distance = distance.reshape(box.shape[:-1])
        inside = box.intersect(Box.whole(self._volume.shape))
        if inside.size:
            here = inside.relative_to(box.start).slices[:-1]
            distance[here][self._labelled[inside.slices[:-1]]] = 0.0
        return distance

    def border_labels(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Labels of the border's traces, part by part: places (n, lateral axes), and uint8 (n, samples of a trace)."""
        for tile in self._columns():
            of_border = self._border[tile.slices[:-1]]
            if of_border.any():
                labels = np.full((of_border.sum(), self._volume.shape[-1]), IGNORE, np.uint8)
                labels[:, tile.slices[-1]] = self._volume.read_labels(self._labels, tile)[of_border]
                yield np.argwhere(of_border) + tile.start[:-1], labels

    def _columns(self) -> Iterator[Box]:
        """The training part in boxes as high as its regions, each within a column of chunks."""
        chunk = self._volume.arrays[LABELS_PREFIX + self._labels].chunk
        for region in self._train:
            yield from tiles(region, (*chunk[:-1], self._volume.shape[-1]))


def lateral_places(box: Box) -> np.ndarray:
    """The places int64 (traces, lateral axes) of a box's traces, in C order."""
    sides = [np.arange(a, b) for a, b in zip(box.start[:-1], box.stop[:-1], strict=True)]
    return np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, len(sides))
