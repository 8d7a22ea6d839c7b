"""Windows of a volume as samples: an image and its labels, padded and masked."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from seisjax.conventions import AMPLITUDE, IGNORE, LABELS_PREFIX
from seisjax.data.windows import Sampler
from seisjax.errors import UserError
from seisjax.geometry import Box, Shape
from seisjax.volumes import Pending, Volume

MAX_ATTEMPTS = 1000  # draws of one sample before the region counts as unlabelled

Batch = dict[str, np.ndarray]


class WindowSource:
    """Random access to the samples of a sampler's windows.

    A sample is {"image": float32 (*padded, 1), "labels": uint8 (*padded)}. The image keeps the volume's units. Outside
    the sampler's region, where the data is dead or not finite, and in the padding at the end of each axis, the image
    is NaN and the labels are IGNORE; nothing outside the region is ever read.

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
            reads = []
            for row in waiting:
                box, attempts[row] = self._draw(indices[row], attempts[row])
                if box is not None:
                    reads.append((row, box, *self._start(box)))
            waiting = []
            for row, box, image_read, labels_read in reads:
                inner = box.intersect(self.sampler.region)
                place = (row, *inner.relative_to(box.start).slices)
                data = image_read()
                if labels_read is not None:
                    known = np.where(np.isnan(data), IGNORE, labels_read())
                    if self.labelled_only and (known == IGNORE).all():
                        attempts[row] += 1
                        waiting.append(row)
                        continue
                    labels[place] = known
                image[(*place, 0)] = data
                self._count(inner)
        return {"image": image, "labels": labels}

    @property
    def bytes_used(self) -> int:
        """Bytes, as stored arrays count them, of the samples that were handed out so far by this process."""
        return self._bytes_used

    def _draw(self, index: int, attempt: int) -> tuple[Box | None, int]:
        """The first window from this attempt on that may hold a label, as far as the label index can tell."""
        for number in range(attempt, MAX_ATTEMPTS):
            box = self.sampler.draw(index, number)
            if box is None or not self.labelled_only or self._may_be_labelled(box):
                return box, number
        raise UserError(
            f"data.labels: {MAX_ATTEMPTS} windows in a row held no sample labelled in '{self.labels}'; "
            "narrow data.train to the part that is labelled"
        )

    def _may_be_labelled(self, box: Box) -> bool:
        box = box.intersect(self.sampler.region)
        if not box.size:
            return False
        start = tuple(a // c for a, c in zip(box.start, self._chunk, strict=True))
        stop = tuple(-(-b // c) for b, c in zip(box.stop, self._chunk, strict=True))
        return bool(self._labelled[Box.between(start, stop).slices].any())

    def _start(self, box: Box) -> tuple[Pending, Pending | None]:
        """Begin to read the part of a window inside the region: the image and (or None) the labels."""
        inner = box.intersect(self.sampler.region)
        labels = None if self.labels is None else self.volume.start_read(LABELS_PREFIX + self.labels, inner)
        return self.volume.start_amplitude(inner), labels

    def _count(self, box: Box) -> None:
        names = [AMPLITUDE] if self.labels is None else [AMPLITUDE, LABELS_PREFIX + self.labels]
        size = box.size * sum(self.volume.arrays[name].dtype.itemsize for name in names)
        with self._lock:
            self._bytes_used += size

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())
