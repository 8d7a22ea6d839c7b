"""Windows of a volume as samples: an image and its labels, padded and masked."""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np

from seisjax.conventions import AMPLITUDE, IGNORE, LABELS_PREFIX, labelled_section
from seisjax.data.draws import Draw, Sampler
from seisjax.errors import UserError
from seisjax.geometry import Box, Shape, section_axis
from seisjax.volumes import Pending, Volume

MAX_ATTEMPTS = 1000  # draws of one sample before the region counts as unlabelled

Batch = dict[str, np.ndarray]
_Place = tuple[Box, np.ndarray, np.ndarray]  # a box to be read, and where its amplitudes and its labels belong
Samples = Callable[[], tuple[np.ndarray, np.ndarray]]  # amplitudes and labels under way
_ALIGNMENT = 64  # bytes: arrays that begin at a multiple are taken over by the host's device without a copy
_PIECE = 2**15  # samples looked at together in the search for a labelled one
_TRACES_KEPT = 2**22  # traces of which it is kept in memory whether they hold data


class WindowSource:
    """Random access to the samples of a sampler's windows.

    A sample is {"image": float32 (*padded, channels), "labels": uint8 (*padded)}. The image keeps the volume's units.
    Outside the region of its draw, where the data is dead or not finite, and in the padding at the end of each axis,
    the image is NaN and the labels are IGNORE; nothing outside the region is ever read. A section of another direction
    is laid out as the sampler's window is: its two long sides in their order.

    Args:
      volume: where the samples come from.
      labels: name of the labels; None leaves them all IGNORE.
      sampler: which windows.
      padded: sides of the samples, at least those of the window.
      labelled_only: never return a window without a labelled sample that has data: the sampler draws again.
      neighbours: sections on either side of the window's own, which is the middle one of 1 + 2 * neighbours channels
        (see `section_axis`). Those outside the region are NaN.
    """

    def __init__(
        self,
        volume: Volume,
        labels: str | None,
        sampler: Sampler,
        padded: Sequence[int],
        *,
        labelled_only: bool,
        neighbours: int = 0,
    ) -> None:
        self.volume = volume
        self.labels = labels
        self.sampler = sampler
        self.padded: Shape = tuple(padded)
        self.labelled_only = labelled_only and labels is not None
        self.neighbours = neighbours
        self._beside = WindowSource(volume, None, sampler, padded, labelled_only=False) if neighbours else None
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

    def read(self, indices: Sequence[int], part: Box | None = None, *, as_stored: bool = False) -> Batch:
        """The samples of these numbers, stacked; all their reads are under way together.

        With a `part`, counted from a padded sample's origin, that part of every sample alone is handed out, and no
        more is read; but where a window's part holds no labelled sample and `labelled_only` asks for one, labelled
        chunks of the rest are read until one has data. So the windows are the same whatever the part.

        A number past the end of a finite sampler gives a sample of NaN and IGNORE alone.

        `as_stored` leaves to the device what it does better (`training.step.decode`), and copies nothing on the way:
        images are in the type in which the volume stores them, where the device can decode that (`Coding.fill`), and
        the labels of samples that are stored but no data are what they are.
        Raises UserError where no window with a label is found.
        """
        part = Box.whole(self.padded) if part is None else part
        start, dtype, fill = self._reader(as_stored)
        sections = _empty((len(indices), *part.shape, 1 + 2 * self.neighbours), dtype)
        image, labels = labelled_section(sections), self._empty_labels((len(indices), *part.shape))
        windows: dict[int, _Window | None] = {}
        attempts = [0] * len(indices)
        waiting = list(range(len(indices)))
        while waiting:
            self.sampler.read_ahead([indices[row] for row in waiting if not attempts[row]])
            for row in waiting:
                draw, attempts[row] = self._draw(indices[row], attempts[row])
                window = windows[row] = None if draw is None else _Window(draw, self.sampler.window, part)
                if window is None or window.place.shape != part.shape:
                    image[row] = fill
                    if self.labels is not None:
                        labels[row] = IGNORE
            drawn = {row: window for row in waiting if (window := windows[row]) is not None}
            places = [(w.box, *w.views(image[row], labels[row])) for row, w in drawn.items() if w.box.size]
            start(places)()
            doubtful = {}
            if self.labelled_only:
                doubtful = {r: w for r, w in drawn.items() if not _any_labelled(image[r], labels[r], fill)}
            waiting = sorted(doubtful.keys() - self._labelled_beyond(doubtful))
            self._count(window.box for row, window in drawn.items() if row not in waiting)
            for row in waiting:
                attempts[row] += 1
        if self._beside is not None:
            self._beside._read_beside(windows, sections, as_stored)
        return {"image": sections, "labels": labels}

    @property
    def bytes_used(self) -> int:
        """Bytes, as stored arrays count them, of the samples that were handed out so far by this process."""
        return self._bytes_used + (0 if self._beside is None else self._beside.bytes_used)

    def _read_beside(self, windows: Mapping[int, "_Window | None"], sections: np.ndarray, as_stored: bool) -> None:
        """Fill in all but the middle of sections (B, *part, channels) that lie side by side in the draws' regions."""
        start, _, fill = self._reader(as_stored)
        middle, places = sections.shape[-1] // 2, []
        unknown = np.empty(sections.shape[1:-1], np.uint8)
        for channel in set(range(sections.shape[-1])) - {middle}:
            sections[..., channel] = fill
            for row, window in windows.items():
                if window is not None and (box := window.beside(channel - middle)).size:
                    places.append((box, *window.views(sections[row, ..., channel], unknown)))
        start(places)()
        self._count(box for box, _, _ in places)

    def _reader(self, as_stored: bool) -> tuple[Callable[[Sequence[_Place]], Callable[[], None]], np.dtype, Any]:
        """What begins to read to some places, with the type of the images and what stands for no data."""
        dtype, fill = stored_type(self.volume) if as_stored else (np.dtype(np.float32), None)
        if fill is None:
            return self._start_decoded, dtype, np.nan
        return partial(self._start_stored, fill=fill), dtype, fill

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
        return bool(box.size and self._labelled[self._chunks(box).slices].any())

    def _chunks(self, box: Box) -> Box:
        """The chunks of labels that a box touches, counted in chunks."""
        start = tuple(a // c for a, c in zip(box.start, self._chunk, strict=True))
        return Box.between(start, tuple(-(-b // c) for b, c in zip(box.stop, self._chunk, strict=True)))

    def _labelled_beyond(self, windows: Mapping[int, "_Window"]) -> set[int]:
        """Of windows whose read part holds no labelled sample with data, those that hold one elsewhere, by row.

        Chunk by chunk, all windows together: the first one decides nearly always.
        """
        found: set[int] = set()
        rest = {row: self._labelled_rest(window) for row, window in windows.items()}
        count = 1
        while rest:
            reads = deque((row, self._start(box)) for row, boxes in rest.items() for box in boxes[:count])
            while reads:
                row, read = reads.popleft()
                if (read()[1] != IGNORE).any():
                    found.add(row)
            rest = {row: boxes[count:] for row, boxes in rest.items() if row not in found and boxes[count:]}
            count *= 2
        return found

    def _labelled_rest(self, window: "_Window") -> list[Box]:
        """What a window holds of the chunks with labels, the largest first, but for those in the part that was read."""
        inner = window.draw.inner
        chunks = self._chunks(inner)
        cells = np.argwhere(self._labelled[chunks.slices]) + chunks.start
        boxes = (Box(tuple((cell * self._chunk).tolist()), self._chunk).intersect(inner) for cell in cells)
        return sorted((box for box in boxes if not window.box.contains(box)), key=lambda box: -box.size)

    def _start(self, box: Box) -> Samples:
        """Begin to read a box; calling what is returned waits for the amplitudes and the labels of those with data."""
        if not box.size:
            return lambda: (np.zeros(box.shape, np.float32), np.zeros(box.shape, np.uint8))
        labels = None if self.labels is None else self.volume.start_labels(self.labels, box)
        amplitude = self.volume.start_amplitude(box)

        def finish() -> tuple[np.ndarray, np.ndarray]:
            data = amplitude()
            known = np.full(box.shape, IGNORE, np.uint8) if labels is None else labels()
            known[np.isnan(data)] = IGNORE
            return data, known

        return finish

    def _start_decoded(self, places: Sequence[_Place]) -> Callable[[], None]:
        """Begin to read; calling what is returned waits, and puts amplitudes and labels where they belong."""
        reads = deque((self._start(box), image, labels) for box, image, labels in places)

        def finish() -> None:
            while reads:  # what is done with is let go at once
                read, image, labels = reads.popleft()
                image[...], known = read()
                if self.labels is not None:
                    labels[...] = known

        return finish

    def _start_stored(self, places: Sequence[_Place], fill: Any) -> Callable[[], None]:
        """Begin to read samples, as they are stored, to where they belong; calling what is returned waits for them."""
        volume, known, name = self.volume, [], LABELS_PREFIX + (self.labels or "")
        boxes = [box for box, _, _ in places]
        reads = [volume.start_read_into(AMPLITUDE, boxes, [image for _, image, _ in places])]
        if self.labels is not None and volume.arrays[name].dtype == np.uint8:
            reads.append(volume.start_read_into(name, boxes, [labels for _, _, labels in places]))
        elif self.labels is not None:
            known = [volume.start_labels(self.labels, box) for box in boxes]
        live = self._start_live(boxes)

        def finish() -> None:
            for wait in reads:
                wait()
            for (_, _, labels), read in zip(places, known, strict=False):
                labels[...] = read()
            for (_, image, labels), read in zip(places, live, strict=True):
                traces = read()
                if not traces.all():
                    image[~traces] = fill
                    if self.labels is not None:
                        labels[~traces] = IGNORE

        return finish

    def _empty_labels(self, shape: Shape) -> np.ndarray:
        """Labels to be filled in; without any, always the same array of IGNORE, which cannot be written to."""
        return _ignored(shape) if self.labels is None else _empty(shape, np.dtype(np.uint8))

    def _start_live(self, boxes: Sequence[Box]) -> list[Pending]:
        """As `Volume.start_live`, of each box; of small volumes, the mask is read once."""
        if math.prod(self.volume.shape[:-1]) > _TRACES_KEPT:
            return [self.volume.start_live(box) for box in boxes]
        return [partial(self._live.__getitem__, box.slices[:-1]) for box in boxes]

    @cached_property
    def _live(self) -> np.ndarray:
        return self.volume.start_live(Box.whole(self.volume.shape))()

    def _count(self, boxes: Iterable[Box]) -> None:
        names = [AMPLITUDE] if self.labels is None else [AMPLITUDE, LABELS_PREFIX + self.labels]
        size = sum(box.size for box in boxes) * sum(self.volume.arrays[name].dtype.itemsize for name in names)
        with self._lock:
            self._bytes_used += size

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_live")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


def stored_type(volume: Volume) -> tuple[np.dtype, Any]:
    """The type of a volume's images that are read `as_stored`, and what stands for no data in them; float32 and None
    where they have to be decoded before."""
    dtype = volume.arrays[AMPLITUDE].dtype.newbyteorder("=")
    fill = volume.coding.fill(dtype)
    return (np.dtype(np.float32), None) if fill is None else (dtype, fill)


class _Window:
    """What is read of a draw for a part of its sample.

    `box`: in the volume; `place`: where it stands in the part. A section of another direction is turned on the way.
    """

    def __init__(self, draw: Draw, window: Shape, part: Box) -> None:
        self.draw = draw
        across = thin = 0  # the axis with a side of 1 of the draw, and that of the window
        if draw.box.shape != window:
            across, thin = draw.box.shape.index(1), window.index(1)
        inner = draw.inner.relative_to(draw.box.start)
        laid = Box(_moved(inner.start, across, thin), _moved(inner.shape, across, thin)).intersect(part)
        self.place = laid.relative_to(part.start) if laid.size else Box.whole((0,) * len(window))
        start = map(sum, zip(_moved(laid.start, thin, across), draw.box.start, strict=True))
        self.box = Box(tuple(start), _moved(laid.shape, thin, across))
        self._turned = thin, across

    def beside(self, offset: int) -> Box:
        """The box moved by so many samples across the section; empty where that is outside the region."""
        axis = section_axis(self.draw.box.shape)
        if axis is None:
            return Box(self.box.start, (0,) * len(self.box.shape))
        start = [a + offset * (i == axis) for i, a in enumerate(self.box.start)]
        return Box(tuple(start), self.box.shape).intersect(self.draw.region)

    def views(self, image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the box holds of arrays (*part), with the axes of the volume."""
        place, (thin, across) = self.place.slices, self._turned
        image, labels = image[place], labels[place]
        if thin != across:
            image, labels = np.moveaxis(image, thin, across), np.moveaxis(labels, thin, across)
        return image, labels


def _empty(shape: Shape, dtype: np.dtype) -> np.ndarray:
    """An array to be filled, at an address that suits the device."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % _ALIGNMENT
    return memory[first : first + size].view(dtype).reshape(shape)


@lru_cache(maxsize=1)
def _ignored(shape: Shape) -> np.ndarray:
    labels = _empty(shape, np.dtype(np.uint8))
    labels[...] = IGNORE
    labels.flags.writeable = False
    return labels


def _any_labelled(image: np.ndarray, labels: np.ndarray, fill: Any) -> bool:
    """Whether a sample is labelled that has data; nearly always the first few tell."""
    image, labels = image.reshape(-1), labels.reshape(-1)
    for first in range(0, labels.size, _PIECE):
        piece = slice(first, first + _PIECE)
        known = labels[piece] != IGNORE
        if known.any():
            valid = np.isfinite(image[piece]) if image.dtype.kind == "f" else image[piece] != fill
            if (known & valid).any():
                return True
    return False


def _moved(sides: Shape, source: int, target: int) -> Shape:
    """The sides with one taken out and put back at another place."""
    if source == target:
        return sides
    rest = list(sides)
    rest.insert(target, rest.pop(source))
    return tuple(rest)
