"""Windows of a volume as samples: an image and its labels, padded and masked."""

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
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
# Boxes to be read, where the amplitudes of each belong, and where its labels do; None: they are not asked for.
_Places = tuple[list[Box], list[np.ndarray], list[np.ndarray | None]]
_Start = Callable[[_Places], Callable[[], None]]  # begins to read; what it returns waits
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
        self._bytes_used = 0
        self._lock = threading.Lock()
        if labels is not None:
            index = volume.label_index(labels)
            self._chunk, self._labelled = index.chunk, np.asarray(index.counts.any(axis=-1))
            self._labels_are_counted = index.counted

    def __len__(self) -> int:
        """Number of samples of a finite sampler; an endless one has no length (TypeError)."""
        return len(self.sampler)  # pyright: ignore[reportArgumentType]

    def __getitem__(self, index: int) -> Batch:
        """Sample number `index`: a pure function of the sampler's seed, the index and the data."""
        return {name: array[0] for name, array in self.read([index]).items()}

    def place(self, index: int) -> tuple[Volume, Box]:
        """Where sample number `index` lies: the volume, and what of the window is inside the draw's region.

        Where windows must hold a label, it is read to know. Raises IndexError past the end of a finite sampler.
        """
        draw = self.sampler.draw(index)
        # All that is only made is labelled, and takes long to make.
        if self.labelled_only and self._labels_are_counted:
            draw = _Reading(self, [index], Box.whole(self.padded), False).draw()
        if draw is None:
            raise IndexError(index)
        return self.volume, draw.inner

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
        return self.start(indices, part, as_stored=as_stored)()

    def start(self, indices: Sequence[int], part: Box | None = None, *, as_stored: bool = False) -> Callable[[], Batch]:
        """Begin `read`; calling what is returned waits for the samples, and for others where windows hold no label.

        What Python does to samples (decoding those that the device cannot, making those that are not stored) is done
        before this returns: threads that begin batches share that work, while TensorStore's reads need no thread.
        """
        return _Reading(self, indices, Box.whole(self.padded) if part is None else part, as_stored)

    @property
    def reads_alone(self) -> bool:
        """Whether TensorStore does all the work of samples that are read `as_stored`."""
        return self.volume.reads_alone and self._stored[1] is not None

    @property
    def bytes_used(self) -> int:
        """Bytes, as stored arrays count them, of the samples that were handed out so far by this process."""
        return self._bytes_used

    @cached_property
    def _stored(self) -> tuple[np.dtype, Any]:
        """`stored_type` of the volume, looked up once."""
        return stored_type(self.volume)

    def _reader(self, as_stored: bool) -> tuple[_Start, np.dtype, Any]:
        """What begins to read to some places, with the type of the images and what stands for no data."""
        dtype, fill = self._stored if as_stored else (np.dtype(np.float32), None)
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
            looked = [(row, box) for row, boxes in rest.items() for box in boxes[:count]]
            labels: list[Any] = [np.empty(box.shape, np.uint8) for _, box in looked]
            images = [np.empty(box.shape, np.float32) for _, box in looked]
            self._start_decoded(([box for _, box in looked], images, labels))()
            found |= {row for (row, _), known in zip(looked, labels, strict=True) if (known != IGNORE).any()}
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

    def _start_decoded(self, places: _Places) -> Callable[[], None]:
        """Read amplitudes, and labels of those with data, to where they belong; nothing is left to wait for."""
        volume = self.volume
        reads = deque(
            (image, labels, volume.start_amplitude(box), None if labels is None else self._start_labels(box))
            for box, image, labels in zip(*places, strict=True)
        )
        while reads:  # what is done with is let go at once
            image, labels, amplitude, known = reads.popleft()
            image[...] = amplitude()
            if labels is not None and known is not None:
                labels[...] = known()
                labels[np.isnan(image)] = IGNORE
        return lambda: None

    def _start_labels(self, box: Box) -> Pending:
        assert self.labels is not None
        return self.volume.start_labels(self.labels, box)

    def _start_stored(self, places: _Places, fill: Any) -> Callable[[], None]:
        """Begin to read samples, as they are stored, to where they belong; calling what is returned waits for them."""
        boxes, images, labels = places
        reads = [self.volume.start_read_into(AMPLITUDE, boxes, images), self._start_stored_labels(boxes, labels)]
        live = self._start_live(boxes) if self._any_dead else []

        def finish() -> None:
            for wait in reads:
                wait()
            if not live:
                return
            for image, known, read in zip(images, labels, live, strict=True):
                traces = read()
                if not traces.all():
                    image[~traces] = fill
                    if known is not None:
                        known[~traces] = IGNORE

        return finish

    def _start_stored_labels(self, boxes: list[Box], outs: list[np.ndarray | None]) -> Callable[[], None]:
        """As `_start_stored`, labels alone."""
        name = LABELS_PREFIX + (self.labels or "")
        asked = [(box, out) for box, out in zip(boxes, outs, strict=True) if out is not None]
        if not asked:
            return lambda: None
        if self.volume.arrays[name].dtype == np.uint8:
            return self.volume.start_read_into(name, *zip(*asked, strict=True))
        reads = [(out, self._start_labels(box)) for box, out in asked]

        def finish() -> None:
            for out, read in reads:
                out[...] = read()

        return finish

    def _empty_labels(self, shape: Shape) -> np.ndarray:
        """Labels to be filled in; without any, always the same array of IGNORE, which cannot be written to."""
        return _ignored(shape) if self.labels is None else _empty(shape, np.dtype(np.uint8))

    def _start_live(self, boxes: Sequence[Box]) -> list[Pending]:
        """As `Volume.start_live`, of each box; of small volumes, the mask is read once."""
        if self._keeps_live:
            return [partial(self._live.__getitem__, box.slices[:-1]) for box in boxes]
        return [self.volume.start_live(box) for box in boxes]

    @property
    def _keeps_live(self) -> bool:
        return math.prod(self.volume.shape[:-1]) <= _TRACES_KEPT

    @cached_property
    def _any_dead(self) -> bool:
        """Whether a trace of the volume may hold no data; to ask each window takes as long as to begin its read."""
        return not (self._keeps_live and self._live.all())

    @cached_property
    def _live(self) -> np.ndarray:
        return self.volume.start_live(Box.whole(self.volume.shape))()

    def _count(self, amplitudes: int, labels: int) -> None:
        """Count so many samples as used."""
        size = amplitudes * self.volume.arrays[AMPLITUDE].dtype.itemsize
        if self.labels is not None:
            size += labels * self.volume.arrays[LABELS_PREFIX + self.labels].dtype.itemsize
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


class _Reading:
    """A batch whose reads are under way; calling it waits, and reads others for windows that hold no label."""

    def __init__(self, source: WindowSource, indices: Sequence[int], part: Box, as_stored: bool) -> None:
        self._source, self._indices, self._part = source, indices, part
        self._start, dtype, self._fill = source._reader(as_stored)
        shape = (len(indices), *part.shape)
        self._sections, self._labels = _empty((*shape, 1 + 2 * source.neighbours), dtype), source._empty_labels(shape)
        self._attempts = [0] * len(indices)
        self._begin(range(len(indices)))

    def __call__(self) -> Batch:
        self._wait()
        while again := self._without_label():
            for row in again:
                self._attempts[row] += 1
            self._begin(again)
            self._wait()
        return {"image": self._sections, "labels": self._labels}

    def draw(self) -> Draw | None:
        """The window of the one sample, None past the end of a finite sampler."""
        self()
        return self._windows[0].draw if self._windows else None

    def _begin(self, rows: Sequence[int]) -> None:
        """Draw the windows of these rows and begin to read them."""
        source, self._windows = self._source, {}
        source.sampler.read_ahead([self._indices[row] for row in rows if not self._attempts[row]])
        for row in rows:
            draw, self._attempts[row] = source._draw(self._indices[row], self._attempts[row])
            window = None if draw is None else _Window(draw, source.sampler.window, self._part)
            if window is None or not window.whole:
                self._sections[row] = self._fill
                if source.labels is not None:
                    self._labels[row] = IGNORE
            if window is not None:
                self._windows[row] = window
        self._wait = self._start(self._places())

    def _places(self) -> _Places:
        """What is read of the windows: the section that is labelled, and those beside it in the draw's region."""
        image, middle = labelled_section(self._sections), self._source.neighbours
        boxes, images, labels = [], [], []
        for row, window in self._windows.items():
            if not window.box.size:
                continue
            boxes.append(window.box)
            images.append(window.view(image[row]))
            labels.append(None if self._source.labels is None else window.view(self._labels[row]))
            for offset in (*range(-middle, 0), *range(1, middle + 1)):
                box, beside = window.beside(offset), self._sections[row, ..., middle + offset]
                if box.size:
                    boxes.append(box)
                    images.append(window.view(beside))
                    labels.append(None)
                else:
                    beside[...] = self._fill
        return boxes, images, labels

    def _without_label(self) -> list[int]:
        """Rows to be drawn anew, of those read last; the others count as used."""
        again: set[int] = set()
        if self._source.labelled_only:
            image = labelled_section(self._sections)
            doubtful = {
                row: window
                for row, window in self._windows.items()
                if not _any_labelled(image[row], self._labels[row], self._fill)
            }
            again = doubtful.keys() - self._source._labelled_beyond(doubtful)
        used = [window for row, window in self._windows.items() if row not in again]
        labels, middle = sum(window.box.size for window in used), self._source.neighbours
        beside = sum(window.beside(k).size for window in used for k in range(-middle, middle + 1) if k)
        self._source._count(labels + beside, labels)
        return sorted(again)


class _Window:
    """What is read of a draw for a part of its sample.

    `box`: in the volume; `place`: where it stands in the part, `whole` where it fills that. A section of another
    direction is turned on the way.
    """

    def __init__(self, draw: Draw, window: Shape, part: Box) -> None:
        self.draw = draw
        across = thin = 0  # the axis with a side of 1 of the draw, and that of the window
        if draw.box.shape != window:
            across, thin = draw.box.shape.index(1), window.index(1)
        self._turned = thin, across
        drawn, region = draw.box, draw.region
        if part.shape == drawn.shape == window and not any(part.start) and region.contains(drawn):  # nearly always
            self.box, self.place, self.whole = drawn, part, True
            return
        corner, sides, place = [], [], []
        offsets, extents = _moved(part.start, thin, across), _moved(part.shape, thin, across)
        for a, n, c, m, offset, extent in zip(
            drawn.start, drawn.shape, region.start, region.shape, offsets, extents, strict=True
        ):
            origin = a + offset
            first = max(origin, c)
            corner.append(first)
            place.append(first - origin)
            sides.append(max(min(origin + extent, a + n, c + m) - first, 0))
        self.box = Box(tuple(corner), tuple(sides))
        self.place = Box(_moved(tuple(place), across, thin), _moved(self.box.shape, across, thin))
        self.whole = self.place.shape == part.shape

    def beside(self, offset: int) -> Box:
        """The box moved by so many samples across the section; empty where that is outside the region."""
        axis = section_axis(self.draw.box.shape)
        if axis is None:
            return Box(self.box.start, (0,) * len(self.box.shape))
        start = [a + offset * (i == axis) for i, a in enumerate(self.box.start)]
        return Box(tuple(start), self.box.shape).intersect(self.draw.region)

    def view(self, array: np.ndarray) -> np.ndarray:
        """What the box holds of an array (*part), with the axes of the volume."""
        if not self.whole:
            array = array[self.place.slices]
        thin, across = self._turned
        return array if thin == across else np.moveaxis(array, thin, across)


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
