"""The samples of windows that come in rising order along the first axis: each is read once, and let go when passed."""

from collections import deque

import numpy as np

from seisjax.conventions import AMPLITUDE, TRACE_MASK
from seisjax.errors import UserError
from seisjax.geometry import Box, round_up
from seisjax.volumes import Volume
from seisjax.volumes.volume import Pending


class UnreadableError(UserError):
    """Samples of the survey that cannot be had; others may well be."""


class SlabReader:
    """Reads a box of a volume slab by slab along its first axis, one slab ahead of what is asked for.

    Slabs are cut where chunks end, so that no chunk is fetched twice, and nothing is fetched for one without a live
    trace.
    """

    def __init__(self, volume: Volume, box: Box, behind: int = 0):
        """`box`: all that will be asked for; it may reach past the volume. behind: how many rows before an earlier
        window a later one may start."""
        self._behind = behind
        self._volume = volume
        self._box = box.intersect(Box.whole(volume.shape))
        self._chunk = volume.arrays[AMPLITUDE].chunk[0]
        self._slabs: deque[tuple[Box, np.ndarray]] = deque()
        self._next: tuple[Box, Pending] | None = None
        self._reached = self._box.start[0]  # everything before it was begun to be read

    def read(self, window: Box) -> np.ndarray:
        """float32 samples of a window, to be left as they are, NaN where there are no data. No window may start more
        than `behind` rows before an earlier one did.

        Raises UnreadableError.
        """
        inner = window.intersect(self._box)
        if not inner.size:
            return np.full(window.shape, np.nan, np.float32)
        first = inner.start[0] - self._behind
        while self._slabs and self._slabs[0][0].stop[0] <= first:
            self._slabs.popleft()
        if not self._slabs:  # nothing between the last window and this one is wanted
            self._skip_to(first)
        while not self._slabs or self._slabs[-1][0].stop[0] < inner.stop[0]:
            self._slabs.append(self._fetch())
        if self._slabs[0][0].contains(window):  # as it does with sections: no copy
            box, slab = self._slabs[0]
            return slab[window.relative_to(box.start).slices]
        values = np.full(window.shape, np.nan, np.float32)
        for box, slab in self._slabs:
            part = inner.intersect(box)
            if part.size:
                values[part.relative_to(window.start).slices] = slab[part.relative_to(box.start).slices]
        return values

    def _skip_to(self, row: int) -> None:
        """Read on from the chunk that holds this row, unless what is under way holds it."""
        if self._next is not None and self._next[0].stop[0] <= row:
            self._next = None
        if self._next is None:
            self._reached = max(self._reached, row // self._chunk * self._chunk, self._box.start[0])

    def _fetch(self) -> tuple[Box, np.ndarray]:
        box, pending = self._next or self._begin()
        self._next = self._begin() if self._reached < self._box.stop[0] else None
        try:
            return box, pending()
        except UserError as error:
            raise UnreadableError(str(error)) from error

    def _begin(self) -> tuple[Box, Pending]:
        stop = min(round_up(self._reached + 1, self._chunk), self._box.stop[0])
        sides = (stop - self._reached, *self._box.shape[1:])
        box = Box((self._reached, *self._box.start[1:]), sides)
        self._reached = stop
        try:
            return box, self._start(box)
        except UserError as error:
            raise UnreadableError(str(error)) from error

    def _start(self, box: Box) -> Pending:
        traces = Box(box.start[:-1], box.shape[:-1])
        if TRACE_MASK in self._volume.arrays and not self._volume.read(TRACE_MASK, traces).any():
            return lambda: np.full(box.shape, np.nan, np.float32)
        return self._volume.start_amplitude(box)
