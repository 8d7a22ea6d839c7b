"""Windows drawn around labelled samples, so that each class has its share, however rare it is."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from seisjax.data.draws import Draw, Turns, generator
from seisjax.data.label_counts import RegionChunks, fit_classes
from seisjax.data.windows import check_overhang, start_range
from seisjax.errors import UserError
from seisjax.geometry import Box, Shape
from seisjax.volumes import Pending, Volume

_MAX_CHUNKS = 100  # that are tried for one draw: counted labels may lie on dead traces, which are not read
_CHUNKS_KEPT = 64  # decoded chunks of labels: 16 MiB where a chunk has 64 x 64 x 64 samples


class BalancedWindows:
    """Windows that hold a labelled sample of a class chosen by shares, endless.

    The class of sample i depends on i alone. Among the labelled samples of this class in all regions one is drawn,
    each as likely as any other: a chunk by its count of the class, then a sample in it. The window stands at a random
    place that holds the sample, within the same bounds as a uniform draw. So no window is without a label.

    With `weights` the region is drawn first, by its weight among the regions that hold the class. Several `windows`
    (directions) are drawn alike.

    Start-up reads the labelled chunks that the regions' borders cut; memory: 16 bytes a chunk and class in it.

    Args:
      volume: holds the labels.
      labels: name of the labels.
      regions: where the windows lie.
      windows: sides of a window, one each direction; the first axis order is that of the volume.
      window: sides of the samples as they are handed out.
      seed: the run's.
      overhang: share of a window's side that it may reach past its region.
      weights: one each region; empty: every labelled sample counts alike.
      class_shares: share of the windows drawn around each class; empty: all classes that are there alike.

    Raises UserError for shares or weights that do not fit.
    """

    def __init__(
        self,
        volume: Volume,
        labels: str,
        regions: Sequence[Box],
        windows: Sequence[Shape],
        window: Shape,
        *,
        seed: int,
        overhang: float,
        weights: Sequence[float] = (),
        class_shares: Sequence[float] = (),
    ) -> None:
        check_overhang(overhang)
        self.window = window
        self._volume, self._labels = volume, labels
        self._windows, self._seed, self._overhang = tuple(windows), seed, overhang
        index = volume.label_index(labels)
        self._chunks = [RegionChunks(index, region, volume.shape) for region in regions]
        counts = [chunks.counts(volume, labels) for chunks in self._chunks]
        self._totals = np.array([c.sum(axis=0) for c in counts])  # (regions, classes)
        self._weights = np.asarray(weights, np.float64) if len(weights) else None
        reachable = self._totals if self._weights is None else self._totals * (self._weights[:, None] > 0)
        self._turns = Turns(_class_shares(class_shares, reachable.sum(axis=0), labels))
        # For each region and class: the chunks that hold it, and how many samples of it they hold up to each of them.
        self._holders = [[np.flatnonzero(c[:, k]) for k in range(c.shape[1])] for c in counts]
        self._sums = [
            [np.cumsum(c[held, k]) for k, held in enumerate(holders)]
            for c, holders in zip(counts, self._holders, strict=True)
        ]
        self._recent = _RecentChunks(volume, labels)

    def draw(self, index: int, attempt: int = 0) -> Draw:
        """The window of sample `index`; it depends on the seed, the index, the attempt and the labels alone."""
        k, random = self._turns[index][0], generator(self._seed, index, attempt)
        for _ in range(_MAX_CHUNKS):
            r, number = self._chunk(k, random)
            part = self._chunks[r].part(number)
            found = np.flatnonzero(self._recent.read(part) == k)
            if found.size:
                place = np.unravel_index(found[random.integers(found.size)], part.shape)
                anchor = [int(i) + a for i, a in zip(place, part.start, strict=True)]
                return self._around(anchor, self._chunks[r].region, random)
        raise UserError(
            f"data.labels: class {k} of '{self._labels}' was not found where it was counted; its samples lie on dead "
            "traces; give it the share 0 in data.class_shares"
        )

    def read_ahead(self, indices: Sequence[int]) -> None:
        """Begin to read the labels that `draw` looks at first for these samples."""
        for index in indices:
            r, number = self._chunk(self._turns[index][0], generator(self._seed, index))
            self._recent.start(self._chunks[r].part(number))

    def _chunk(self, k: int, random: np.random.Generator) -> tuple[int, int]:
        """A region and the number of a chunk in it that holds class `k`."""
        totals = self._totals[:, k]
        shares = totals if self._weights is None else np.where(totals > 0, self._weights, 0.0)
        sums = np.cumsum(shares / shares.sum())
        r = min(int(np.searchsorted(sums, random.random(), side="right")), int(np.flatnonzero(shares)[-1]))
        at = np.searchsorted(self._sums[r][k], random.integers(totals[r]), side="right")
        return r, int(self._holders[r][k][at])

    def _around(self, anchor: Sequence[int], region: Box, random: np.random.Generator) -> Draw:
        window = self._windows[int(random.integers(len(self._windows)))]
        start = []
        for v, a, n, w in zip(anchor, region.start, region.shape, window, strict=True):
            low, high = start_range(n, w, self._overhang)
            start.append(int(random.integers(max(a + low, v - w + 1), min(a + high, v), endpoint=True)))
        return Draw(Box(tuple(start), window), region)


def _class_shares(shares: Sequence[float], counts: np.ndarray, labels: str) -> np.ndarray:
    """One share for each class that is counted, from those given; classes that are not named have none."""
    if not counts.any():
        raise UserError(f"data.sampling='balanced': no sample of labels '{labels}' is labelled in the regions")
    if not len(shares):
        return (counts > 0).astype(np.float64)
    if min(shares) < 0 or not sum(shares) > 0:
        raise UserError(f"data.class_shares={tuple(shares)}: give shares of at least 0, not all 0")
    for k, (share, count) in enumerate(zip(shares, fit_classes(counts, len(shares)), strict=True)):
        if share > 0 and not count:
            raise UserError(
                f"data.class_shares: class {k} of '{labels}' has the share {share:g} but no sample in the training "
                "regions; give it 0"
            )
    return fit_classes(np.asarray(shares, np.float64), len(counts))


class _RecentChunks:
    """The labels read last, for all threads."""

    def __init__(self, volume: Volume, labels: str) -> None:
        self._volume, self._labels = volume, labels
        self._reads: OrderedDict[Box, Pending] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, box: Box) -> np.ndarray:
        """The labels in `box`."""
        return self.start(box)()

    def start(self, box: Box) -> Pending:
        """Begin to read the labels in `box`, unless they are there."""
        with self._lock:
            if box not in self._reads:
                self._reads[box] = _Once(self._volume.start_labels(self._labels, box))
            self._reads.move_to_end(box)
            while len(self._reads) > _CHUNKS_KEPT:
                self._reads.popitem(last=False)
            return self._reads[box]

    def __getstate__(self) -> dict[str, Any]:
        return {"_volume": self._volume, "_labels": self._labels}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_volume"], state["_labels"])


class _Once:
    """A read that is waited for once, and remembered."""

    def __init__(self, read: Pending) -> None:
        self._read: Pending | None = read
        self._values: np.ndarray | None = None
        self._lock = threading.Lock()

    def __call__(self) -> np.ndarray:
        with self._lock:
            if self._read is not None:
                self._values, self._read = self._read(), None
            assert self._values is not None
            return self._values
