"""Windows of a volume as samples: an image and its labels, padded and masked."""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from seisjax.conventions import AMPLITUDE, IGNORE, LABELS_PREFIX
from seisjax.data.draws import Draw, Sampler
from seisjax.errors import UserError
from seisjax.geometry import Box, Shape
from seisjax.volumes import Pending, Volume

MAX_ATTEMPTS = 1000  # draws of one sample before the region counts as unlabelled

Batch = dict[str, np.ndarray]


class WindowSource:
    """Random access to the samples of a sampler's windows.

    A sample is {"image": float32 (*padded, 1), "labels": uint8 (*padded)}. The image keeps the volume's units. Outside
    the region of its draw, where the data is dead or not finite, and in the padding at the end of each axis, the
    image is NaN and the labels are IGNORE; nothing outside the region is ever read. A section of another direction is
    laid out as the sampler's window is: its two long sides in their order.

    Args:
      volume: where the samples come from.
      labels: name of the labels; None leaves them all IGNORE.
      sampler: which windows.
      padded: sides of the samples, at least those of the window.
      labelled_only: never return a window without a labelled sample that has data: the sampler draws again.
    """

    def __init__(
        self, volume: Volume, labels: str | None, sampler: Sampler, padded: Sequence[int], *, labelled_only: bool
    ) -> None:
        self.volume = volume
        self.labels = labels
        self.sampler = sampler
        self.padded: Shape = tuple(padded)
        self.labelled_only = labelled_only and labels is not None
        self._bytes_used = 0
        self._lock = threading.Lock()
        if labels is not None:
            index = volume.label_index(labels)
            self._chunk, self._labelled = index.chunk, np.asarray(index.counts.any(axis=-1))

    def __len__(self) -> int:
        """Number of samples of a finite sampler; an endless one has no length (TypeError)."""
        return len(self.sampler)  # pyright: ignore[reportArgumentType]

    def __getitem__(self, index: int) -> Batch:
        """Sample number `index`: a pure function of the sampler's seed, the index and the data."""
        return {name: array[0] for name, array in self.read([index]).items()}

    def read(self, indices: Sequence[int]) -> Batch:
        """The samples of these numbers, stacked; all their reads are under way together.

        A number past the end of a finite sampler gives a sample of NaN and IGNORE alone.
        Raises UserError where no window with a label is found.
        """
        image = np.full((len(indices), *self.padded, 1), np.nan, np.float32)
        labels = np.full((len(indices), *self.padded), IGNORE, np.uint8)
        attempts = [0] * len(indices)
        waiting = list(range(len(indices)))
        while waiting:
            reads: deque[tuple[int, Draw, Pending, Pending | None]] = deque()
            self.sampler.read_ahead([indices[row] for row in waiting if not attempts[row]])
            for row in waiting:
                draw, attempts[row] = self._draw(indices[row], attempts[row])
                if draw is not None:
                    reads.append((row, draw, *self._start(draw.inner)))
            waiting = []
            while reads:  # what is done with is let go at once
                row, draw, image_read, labels_read = reads.popleft()
                place = (row, *self._laid_out(draw).slices)
                side = image[(*place, 0)].shape
                data = image_read().reshape(side)
                if labels_read is not None:
                    known = np.where(np.isnan(data), IGNORE, labels_read().reshape(side))
                    if self.labelled_only and (known == IGNORE).all():
                        attempts[row] += 1
                        waiting.append(row)
                        continue
                    labels[place] = known
                image[(*place, 0)] = data
                self._count(draw.inner)
        return {"image": image, "labels": labels}

    @property
    def bytes_used(self) -> int:
        """Bytes, as stored arrays count them, of the samples that were handed out so far by this process."""
        return self._bytes_used

    def _draw(self, index: int, attempt: int) -> tuple[Draw | None, int]:
        """The first window from this attempt on that may hold a label, as far as the label index can tell."""
        for number in range(attempt, MAX_ATTEMPTS):
            draw = self.sampler.draw(index, number)
            if draw is None or not self.labelled_only or self._may_be_labelled(draw.inner):
                return draw, number
        raise UserError(
            f"data.labels: {MAX_ATTEMPTS} windows in a row held no sample labelled in '{self.labels}'; "
            "narrow data.train to the part that is labelled"
        )

    def _may_be_labelled(self, box: Box) -> bool:
        if not box.size:
            return False
        start = tuple(a // c for a, c in zip(box.start, self._chunk, strict=True))
        stop = tuple(-(-b // c) for b, c in zip(box.stop, self._chunk, strict=True))
        return bool(self._labelled[Box.between(start, stop).slices].any())

    def _laid_out(self, draw: Draw) -> Box:
        """Where what is read of a window stands in the sample."""
        inner, window = draw.inner.relative_to(draw.box.start), self.sampler.window
        if draw.box.shape == window:
            return inner
        across, thin = draw.box.shape.index(1), window.index(1)
        return Box(_moved(inner.start, across, thin), _moved(inner.shape, across, thin))

    def _start(self, box: Box) -> tuple[Pending, Pending | None]:
        """Begin to read a box: the image and (or None) the labels."""
        labels = None if self.labels is None else self.volume.start_labels(self.labels, box)
        return self.volume.start_amplitude(box), labels

    def _count(self, box: Box) -> None:
        names = [AMPLITUDE] if self.labels is None else [AMPLITUDE, LABELS_PREFIX + self.labels]
        size = box.size * sum(self.volume.arrays[name].dtype.itemsize for name in names)
        with self._lock:
            self._bytes_used += size

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


def _moved(sides: Shape, source: int, target: int) -> Shape:
    """The sides with one taken out and put back at another place."""
    rest = list(sides)
    rest.insert(target, rest.pop(source))
    return tuple(rest)
