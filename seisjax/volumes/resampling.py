"""Samples at other times: a band-limited, zero-phase resampling whose values do not depend on how a record is cut.

Every new sample is a sum over its neighbours alone, weighted by a sinc in a Kaiser window (Crochiere & Rabiner,
Multirate Digital Signal Processing, 1983). Whatever is asked for, a sample has the same bits.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from seisjax.conventions import AMPLITUDE, IGNORE, LABELS_PREFIX
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes.coding import Coding
from seisjax.volumes.label_index import LabelIndex, as_classes, count_labels
from seisjax.volumes.volume import Pending, Volume

# 80 dB down from the lower of the two Nyquist frequencies on, and flat to 1e-4 up to 0.84 of it.
_ZEROS, _BETA, _CUTOFF = 32, 7.857, 0.92
_BLOCK = 2**15  # samples worked on at a time
_CLOSE = 1e-6  # share of an interval by which two of them may differ and yet be the same


def resample(values: np.ndarray, positions: np.ndarray, ratio: float, origin: int = 0) -> np.ndarray:
    """float32 samples (rows, positions) of `values` (rows, samples) at rising `positions`, in old samples.

    `ratio`: old samples a new one (new interval / old interval); above 1, what the new interval cannot hold is taken
    out first. values[:, 0] is old sample number `origin`; `reach(ratio)` old samples on both sides have a say.
    Every unbroken stretch stands for itself, as if its first and last values went on; NaN where the nearest old sample
    is NaN or not there.
    """
    whole, nearest = (np.floor(positions + half).astype(np.int64) - origin for half in (0.0, 0.5))
    shifts = positions - np.floor(positions)
    result = np.full((len(values), len(positions)), np.nan, np.float32)
    stretches = _stretches(values)
    for first in range(0, len(positions), _BLOCK):
        part = slice(first, first + _BLOCK)
        weights, inverse = _weights(shifts[part], ratio)
        start = whole[part] - (len(weights) // 2 - 1)
        for rows, begin, end in stretches:
            inside = slice(*np.searchsorted(nearest[part], (begin, end)))
            if inside.start < inside.stop:
                summed = _sum(values[rows, begin:end], start[inside] - begin, weights, inverse[inside])
                result[rows, first + inside.start : first + inside.stop] = summed
    return result


def _sum(values: np.ndarray, start: np.ndarray, weights: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Weighted sums (rows, new samples) over the neighbours from `start` on, in their order, whatever the shapes."""
    total, product = np.zeros((2, len(values), len(start)))
    for k, weight in enumerate(weights):
        neighbours = values.take(start + k, axis=1, mode="clip")
        total += np.multiply(neighbours, weight[phase], out=product)
    return total


def reach(ratio: float) -> int:
    """Old samples on either side that have a say in a new one."""
    return math.ceil(_ZEROS * max(ratio, 1.0))


def _weights(shifts: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights (neighbours, different shifts), their sum 1, and for every shift (0 to 1) which of them is its own."""
    phases, inverse = np.unique(np.round(shifts, 9), return_inverse=True)
    half = reach(ratio)
    distance = np.arange(1 - half, half + 1)[:, None] - phases
    inside = np.sqrt(np.maximum(1 - (distance / (_ZEROS * max(ratio, 1.0))) ** 2, 0))
    weights = np.sinc(_CUTOFF / max(ratio, 1.0) * distance) * np.where(inside > 0, np.i0(_BETA * inside), 0)
    if ratio == 1:  # samples that stay where they are stay what they are
        weights = np.where((phases % 1 == 0)[None], distance == 0, weights)
    return weights / sum(weights), inverse


def _stretches(values: np.ndarray) -> list[tuple[np.ndarray, int, int]]:
    """Rows and the bounds of what is unbroken in them: whole rows some at a time, then the others one by one."""
    finite = np.isfinite(values)
    whole = finite.all(axis=1)
    many = max(_BLOCK // min(max(values.shape[1], 1), _BLOCK), 1)
    found = [(rows, 0, values.shape[1]) for rows in np.split(np.flatnonzero(whole), range(many, whole.sum(), many))]
    for row in np.flatnonzero(~whole):
        edges = np.flatnonzero(np.diff(finite[row], prepend=False, append=False))
        found += [(np.array([row]), int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return found


def same_interval(a: float, b: float) -> bool:
    """Whether two sampling intervals are one, but for rounding."""
    return abs(a - b) <= _CLOSE * max(a, b)


def sampling_interval(axis: Axis) -> float | None:
    """The interval of an axis in its unit; None where it has no unit, one sample, or samples unevenly apart."""
    if not axis.unit or len(axis) < 2:
        return None
    labels = np.asarray(axis.labels, np.float64)
    interval = float(labels[-1] - labels[0]) / (len(labels) - 1)
    steps = np.diff(labels)
    return interval if np.all(np.abs(steps - interval) <= 0.01 * interval) else None


class ResampledVolume(Volume):
    """A volume as if it had been recorded at another interval: amplitudes are resampled when they are read.

    Labels are those of the nearest old sample. Arrays without the last axis stay; others of the volume are not there.
    It is read, not written.
    """

    reads_alone = False
    source: Volume  # as it was recorded

    def __init__(self, volume: Volume, interval: float):
        """`interval`: of the last axis, in its unit. Raises UserError where the volume has no even interval."""
        last = volume.axes[-1]
        known = sampling_interval(last)
        if known is None:
            raise UserError(f"{volume.url}: its {last.name} axis has no even interval; it cannot be resampled")
        self.__setstate__(volume.__getstate__())
        self.source, self._ratio, self._reads_only, self._indices = volume, interval / known, True, {}
        count = math.floor((len(last) - 1) / self._ratio + _CLOSE) + 1
        labels = np.round(float(last.labels[0]) + interval * np.arange(count), 9)
        if np.array_equal(labels, np.rint(labels)):
            labels = labels.astype(np.int64)
        self.axes = (*volume.axes[:-1], Axis(last.name, labels, last.unit))
        self.attributes = {**volume.attributes, "sampling_interval": interval, "resampled_from": known}
        kept = {n: info for n, info in volume.arrays.items() if last.name not in info.dimension_names}
        amplitude = dataclasses.replace(volume.arrays[AMPLITUDE], shape=self.shape, dtype=np.dtype(np.float32))
        labels = {
            n: dataclasses.replace(info, shape=self.shape)
            for n, info in volume.arrays.items()
            if n.startswith(LABELS_PREFIX) and n not in kept
        }
        self.arrays = {**kept, **labels, AMPLITUDE: amplitude}

    def start_read(self, name: str, box: Box) -> Pending:
        """Begin `read` and return at once; amplitudes are float32."""
        if name == AMPLITUDE:
            return self.start_amplitude(box)
        if name.startswith(LABELS_PREFIX) and box.size:
            old, nearest = self._nearest(box)
            reading = self.source.start_read(name, old)
            return lambda: reading().take(nearest, axis=-1)
        return self.source.start_read(name, box)

    def start_read_into(self, name: str, boxes: Sequence[Box], outs: Sequence[np.ndarray]) -> Callable[[], None]:
        """As `Volume.start_read_into`; amplitudes are float32, and resampled at once."""
        return self._read_each_into(name, boxes, outs)

    @property
    def coding(self) -> Coding:
        """Resampled samples are amplitudes."""
        return Coding()

    def _nearest(self, box: Box) -> tuple[Box, np.ndarray]:
        """The old samples around those of a box inside the volume, and the nearest of them to each of its own."""
        nearest = np.floor(np.arange(box.start[-1], box.stop[-1]) * self._ratio + 0.5).astype(np.int64)
        nearest = np.minimum(nearest, len(self.source.axes[-1]) - 1)
        first, last = int(nearest[0]), int(nearest[-1])
        return Box((*box.start[:-1], first), (*box.shape[:-1], last + 1 - first)), nearest - first

    def label_index(self, name: str) -> LabelIndex:
        """As `Volume.label_index`: labels are read once and counted, where the volume's own index has any."""
        array = self._label_array(name)
        info, known = self.arrays[array], self.source.label_index(name)
        if not known.counted:
            return _whole_traces(known, info.shape[-1])

        def read(box: Box) -> np.ndarray:
            labelled = known.upper_bound(self._nearest(box)[0]).any()
            return as_classes(self.read(array, box)) if labelled else np.full(box.shape, IGNORE, np.uint8)

        with self._lock:
            if array not in self._indices:
                self._indices[array] = count_labels(info, known.counts.shape[-1], read)
            return self._indices[array]

    def start_amplitude(self, box: Box) -> Pending:
        """Begin `read_amplitude` and return at once; calling what is returned waits, and resamples."""
        numbers = np.arange(box.start[-1], box.stop[-1])
        numbers = numbers[(numbers >= 0) & (numbers < len(self.axes[-1]))]
        if not len(numbers):
            return lambda: np.full(box.shape, np.nan, np.float32)
        positions = numbers * self._ratio
        old = self._around(box, positions)
        reading = self.source.start_amplitude(old)
        offset = int(numbers[0]) - box.start[-1]

        def finish() -> np.ndarray:
            rows = reading().reshape(-1, old.shape[-1])
            values = np.full((len(rows), box.shape[-1]), np.nan, np.float32)
            values[:, offset : offset + len(numbers)] = resample(rows, positions, self._ratio, old.start[-1])
            return values.reshape(box.shape)

        return finish

    def _around(self, box: Box, positions: np.ndarray) -> Box:
        """The old samples that those of a box are made of, which lie at `positions` among them."""
        half = reach(self._ratio)
        first, stop = math.floor(positions[0]) - half, math.floor(positions[-1]) + half + 1
        return Box((*box.start[:-1], first), (*box.shape[:-1], stop - first))

    def start_fetch(self, name: str, box: Box) -> Callable[[], int]:
        """As `Volume.start_fetch`: the chunks of old samples that those of the box are made of."""
        if name == AMPLITUDE and box.size:
            numbers = np.array([box.start[-1], box.stop[-1] - 1])
            box = self._around(box, numbers * self._ratio).intersect(Box.whole(self.source.shape))
            name = self.source.nearest_copy(name, box)
        elif name.startswith(LABELS_PREFIX) and box.size:
            box, _ = self._nearest(box)
        return self.source.start_fetch(name, box)


def as_recorded(volume: Volume) -> Volume:
    """The volume that a resampled one is made of; any other as it is."""
    return volume.source if isinstance(volume, ResampledVolume) else volume


def _whole_traces(index: LabelIndex, samples: int) -> LabelIndex:
    """An index that counts nothing, for traces of so many samples: its chunks hold them whole."""
    counts = index.counts if index.counts.shape[-2] == 1 else index.counts.max(axis=-2, keepdims=True)
    return LabelIndex((*index.chunk[:-1], samples), counts, counted=False)
